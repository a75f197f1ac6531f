"""The source of tradable symbols, with configured accounts and a running system's access tokens."""

import asyncio

import msgspec

from bus.delivery import Delivered
from bus.events import UniverseMember
from observer.cli.master_queries import answers_of
from observer.reference.listings.model import TradableAnswer
from observer.store.listings import ListingReader
from observer.store.writer import StoreWriter
from tests.store.listings import listing_changed
from tests.workers.three_accounts import run, scene

STREAM = "6" * 32


def stored(day):
    """Store the KOSPI master file's listings, no KOSDAQ file, and universe members of both."""
    members = [
        UniverseMember("kis", "korean_stocks", "2026-11-18", 1, each.symbol, "", each.exchange, 1.0, 1.0, None, None)
        for each in day.simulator.market.instruments
    ]
    writer = StoreWriter(day.settings.store.url)
    writer.open()
    writer.commit([Delivered("master-file", STREAM, 1, [listing_changed(), *members])])
    writer.close()


def test_the_broker_is_asked_with_the_running_systems_token_where_the_database_knows_nothing():
    async def scenario():
        async with scene(8) as day:
            await asyncio.to_thread(stored, day)
            with ListingReader(day.settings.store.url) as reader:
                kospi, kosdaq = await answers_of(lambda: day.settings, day.clock, reader, ["KOSPI", "KOSDAQ"])
            assert (kospi.source, [each.symbol for each in kospi.securities]) == ("database", ["005930"])
            listed = {each.symbol for each in day.simulator.market.instruments if each.exchange == "KOSDAQ"}
            assert kosdaq.source == "broker"
            assert {each.symbol for each in kosdaq.securities} == listed

    run(scenario)


def test_the_answer_without_a_token_names_the_command_that_gets_a_token(tmp_path):
    async def scenario():
        async with scene(8) as day:
            await asyncio.to_thread(stored, day)
            run_settings = msgspec.structs.replace(day.settings.run, runtime=str(tmp_path))
            stopped = msgspec.structs.replace(day.settings, run=run_settings)
            with ListingReader(stopped.store.url) as reader:
                [kosdaq] = await answers_of(lambda: stopped, day.clock, reader, ["KOSDAQ"])
            assert kosdaq == TradableAnswer(
                "KOSDAQ",
                "",
                "database: knows nothing of it; broker: no account has a valid token: `observer run` gets one",
                (),
            )

    run(scenario)
