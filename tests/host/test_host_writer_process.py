"""A command's own writer: its configuration, and its end before it writes."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from observer.config import load_settings
from observer.errors import StoreError
from observer.host.writer_process import writer_configuration, writer_of
from observer.providers import broker
from observer.providers.broker import DEFAULT_BROKER, broker_named
from observer.store.instance import Instance
from observer.store.ownership import claim
from tests.accounts.keyless import broker as keyless
from tests.store.migrated import make_database


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database without an owner. A second broker trades another market, and the folder has a pool of the first."""
    venue = msgspec.structs.replace(keyless.BROKER.venue, market="coins")
    monkeypatch.setattr(keyless, "BROKER", msgspec.structs.replace(keyless.BROKER, venue=venue, exchanges=()))
    monkeypatch.setitem(broker._FOLDERS, "keyless", "tests.accounts.keyless")
    monkeypatch.setattr("observer.host.writer_process.BROKER_NAMES", (DEFAULT_BROKER, "keyless"))
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/provider_pool.json").write_text('{"provider_pool": {"accounts": [{"account_id": "a"}]}}')
    make_database(found := f"sqlite:///{tmp_path}/observer.db")
    return found


def test_a_database_keeps_its_brokers(url: str, tmp_path: Path) -> None:
    instance = Instance(name="second", market="coins")
    claim(url, instance, ["keyless"], 0)
    settings = load_settings(writer_configuration(tmp_path, url, instance))
    assert (settings.instance, settings.store.url, settings.providers) == (instance, url, ["keyless"])


@pytest.mark.parametrize("market", ["coins", broker_named(DEFAULT_BROKER).venue.market])
def test_a_database_without_an_owner_gets_the_brokers_of_the_market(url: str, tmp_path: Path, market: str) -> None:
    settings = load_settings(writer_configuration(tmp_path, url, Instance(market=market)))
    assert [broker_named(name).venue.market for name in settings.providers] == [market]


def test_a_writer_that_ends_before_it_writes_ends_the_command_with_its_reason(tmp_path: Path) -> None:
    make_database(url := f"sqlite:///{tmp_path}/observer.db")
    claim(url, Instance(name="second"), ["kis"], 0)

    async def scenario() -> None:
        with pytest.raises(StoreError, match=r"^sqlite:.*belongs to instance 'second'"):
            async with writer_of(url, Instance()):
                pytest.fail("the command went on")

    asyncio.run(scenario())
