"""A command's own writer: its configuration, and its end before it writes."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.errors import StoreError
from observer.base.instance import Instance
from observer.brokers import broker
from observer.brokers.broker import DEFAULT_BROKER, broker_named
from observer.store.owner import claim
from observer.system.config import load_settings
from observer.system.writer_process import writer_configuration, writer_of
from tests.brokers.keyless import broker as keyless
from tests.builders import trades
from tests.store.migrated import make_database
from tests.store.raw import query
from tests.waiting import until_async


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A database without an owner. A second broker trades another market, and the folder has a pool of the first."""
    venue = msgspec.structs.replace(keyless.BROKER.venue, market="coins")
    monkeypatch.setattr(keyless, "BROKER", msgspec.structs.replace(keyless.BROKER, venue=venue, exchanges=()))
    monkeypatch.setitem(broker._FOLDERS, "keyless", "tests.brokers.keyless")
    monkeypatch.setattr("observer.system.writer_process.BROKER_NAMES", (DEFAULT_BROKER, "keyless"))
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/provider_pool.json").write_text('{"provider_pool": {"accounts": [{"account_id": "a"}]}}')
    make_database(found := f"sqlite:///{tmp_path}/observer.db")
    return found


def test_a_database_keeps_its_brokers(url, tmp_path):
    instance = Instance(name="second", market="coins")
    claim(url, instance, ["keyless"], 0)
    settings = load_settings(writer_configuration(tmp_path, url, instance))
    assert (settings.instance, settings.store.url, settings.providers) == (instance, url, ["keyless"])


@pytest.mark.parametrize("market", ["coins", broker_named(DEFAULT_BROKER).venue.market])
def test_a_database_without_an_owner_gets_the_brokers_of_the_market(url, tmp_path, market):
    settings = load_settings(writer_configuration(tmp_path, url, Instance(market=market)))
    assert [broker_named(name).venue.market for name in settings.providers] == [market]


async def test_a_writer_that_ends_before_it_writes_ends_the_command_with_its_reason(tmp_path):
    make_database(url := f"sqlite:///{tmp_path}/observer.db")
    claim(url, Instance(name="second"), ["kis"], 0)

    with pytest.raises(StoreError, match=r"^sqlite:.*belongs to instance 'second'"):
        async with writer_of(url, Instance()):
            pytest.fail("the command went on")


def test_a_writer_acknowledges_nothing_while_its_database_is_away_and_goes_on_when_it_is_back(tmp_path):
    path, aside = tmp_path / "data" / "observer.db", tmp_path / "aside.db"
    make_database(url := f"sqlite:///{path}")

    async def scenario():
        async with writer_of(url, Instance()) as writer:
            producer = Producer(Outbox(tmp_path / "outbox", "track-b", "5" * 32), writer.ingest_address)
            delivery = asyncio.create_task(producer.run())
            producer.publish_together(trades(3))
            await until_async(lambda: producer.unacknowledged == 0, "the first commit")
            path.rename(aside)
            producer.publish_together(trades(2, first=4))
            await until_async(lambda: not path.with_name("observer.db-wal").exists(), "the end of the old connection")
            assert producer.unacknowledged == 2
            assert not path.exists()
            aside.rename(path)
            await until_async(lambda: producer.unacknowledged == 0, "the second commit")
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            producer.close()

    asyncio.run(scenario())
    assert query(url, "SELECT count(*), max(sequence) FROM trades") == [(5, 5)]
