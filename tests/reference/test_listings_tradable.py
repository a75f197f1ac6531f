"""Tradable symbols: from the database first, from the broker only for exchanges without a master file."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import date

import pytest

from bus.events import SectorAssigned, UniverseMember
from observer.base.errors import ConfigError, ProviderError
from observer.brokers.kis.client import KisClient, tradable_abroad, tradable_in_korea
from observer.reference.listings.model import SecuritySource, Tradable, TradableAnswer, first_answer
from observer.reference.listings.tradable import TradableAtBroker, TradableInDatabase
from observer.simulator.market.market import Market
from observer.store.listings import ListingReader
from tests.conformance.test_providers_kis_simulator import pipeline_to_a_simulator
from tests.reference.instruments import instrument, stock
from tests.reference.scene import contents, scene, symbols

Connected = Callable[[], contextlib.AbstractAsyncContextManager[SecuritySource]]


def member(exchange, symbol):
    return UniverseMember("kis", "korean_stocks", "2026-11-18", 1, symbol, "", exchange, 1.0, 1.0, None, None)


def sector(exchange, symbol):
    return SectorAssigned("US", exchange, symbol, 1, None, "sector_code", 0.0, "", "")


@contextlib.asynccontextmanager
async def unreachable():
    raise ConfigError("no account has a valid token")
    yield


def at_simulator(pipeline, opened):
    @contextlib.asynccontextmanager
    async def connected():
        opened.append("broker")
        yield KisClient(pipeline)

    return connected


def play(folder, body):
    async def run():
        async with scene(folder) as played:
            with ListingReader(f"sqlite:///{folder / 'observer.db'}") as reader:
                await body(played, reader)

    asyncio.run(run())


def answered(folder, exchange, reported):
    """The answer with these events in the database and a simulated broker."""
    found: list[tuple[TradableAnswer, Market]] = []
    opened: list[str] = []

    async def body(played, reader):
        async with pipeline_to_a_simulator() as (pipeline, market):
            played.publication.publish_together(reported(market))
            broker = TradableAtBroker(reader, at_simulator(pipeline, opened))
            found.append((await first_answer(exchange, [TradableInDatabase(reader), broker]), market))

    play(folder, body)
    [(answer, market)] = found
    return answer, market, opened


def test_the_database_answers_for_an_exchange_whose_file_is_stored_without_a_broker_call(tmp_path):
    async def body(played, reader):
        played.host.offer("NASD", contents(symbols(300)))
        await played.masters.check("NASD")
        answer = await first_answer("NASD", [TradableInDatabase(reader), TradableAtBroker(reader, unreachable)])
        assert (answer.source, answer.reason) == ("database", "")
        assert [each.symbol for each in answer.securities] == symbols(300)

    play(tmp_path, body)


def test_the_broker_is_asked_about_the_universe_where_no_file_of_its_exchange_came(tmp_path):
    def whole_market(market):
        return [member("KOSPI", each.symbol) for each in market.instruments]

    answer, market, _ = answered(tmp_path, "KOSPI", whole_market)
    traded = sorted(each.symbol for each in market.instruments if each.exchange == "KOSPI" and not each.suspended)
    assert answer.source == "broker"
    assert [each.symbol for each in answer.securities] == traded
    assert any(each.exchange == "KOSDAQ" for each in market.instruments)


def test_the_broker_answers_abroad_about_symbols_with_known_sectors(tmp_path):
    answer, _, _ = answered(tmp_path, "NASD", lambda _: [sector("NASD", each) for each in ("SIMQ", "GONE", "SIMA")])
    assert list(answer.securities) == [
        Tradable("NASD", "SIMA", "SIM ALPHA INC", "SIM ALPHA INC", "USD", "stock"),
        Tradable("NASD", "SIMQ", "SIM 100 ETF", "SIM 100 ETF", "USD", "fund"),
    ]


def test_an_exchange_without_a_known_symbol_causes_no_broker_call(tmp_path):
    answer, _, opened = answered(tmp_path, "NASD", lambda _: [sector("NYSE", "SIMB")])
    assert (answer.source, answer.securities, opened) == ("", (), [])
    assert answer.reason == "database: knows nothing of it; broker: knows nothing of it"


def test_a_broker_that_cannot_be_asked_is_an_answer_without_a_source(tmp_path):
    async def body(played, reader):
        played.publication.publish_together([sector("NASD", "SIMA")])
        answer = await first_answer("NASD", [TradableInDatabase(reader), TradableAtBroker(reader, unreachable)])
        assert (answer.source, answer.securities) == ("", ())
        assert answer.reason.endswith("broker: no account has a valid token")

    play(tmp_path, body)


def test_one_failed_call_fails_the_exchange(tmp_path):
    class Failing:
        async def security(self, exchange, symbol):
            if symbol == "SIMB":
                raise ProviderError("too many calls")
            return Tradable(exchange, symbol, "", "", "USD", "stock")

    @contextlib.asynccontextmanager
    async def connected():
        yield Failing()

    async def body(played, reader):
        played.publication.publish_together([sector("NASD", each) for each in ("SIMA", "SIMB")])
        with pytest.raises(ProviderError, match="too many"):
            await TradableAtBroker(reader, connected).tradable("NASD")

    play(tmp_path, body)


@pytest.mark.parametrize(
    "changes",
    [{"listed": False}, {"delisted": True}, {"trading_stop": "02"}, {"kind": "02"}],
    ids=["not listed", "delisted", "stopped", "a warrant"],
)
def test_an_overseas_security_that_is_not_traded_is_left_out(changes):
    assert tradable_abroad(instrument()) is not None
    assert tradable_abroad(instrument(**changes)) is None


@pytest.mark.parametrize(
    "changes",
    [{"market": "KSQ"}, {"market": ""}, {"delisted_on": date(2026, 1, 2)}, {"suspended": True}, {"group": "SR"}],
    ids=["another exchange", "no exchange", "delisted", "suspended", "a right to subscribe"],
)
def test_a_korean_security_that_is_not_traded_is_left_out(changes):
    assert tradable_in_korea("KOSPI", stock()) is not None
    assert tradable_in_korea("KOSPI", stock(**changes)) is None
