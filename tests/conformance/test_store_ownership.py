"""One instance and one writing process for each database, on both kinds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from observer.errors import ConfigError, StoreError
from observer.store import engine
from observer.store.instance import Instance, instance_url
from observer.store.ownership import claim, owner_of
from observer.store.writer import StoreWriter
from tests.conformance.conftest import postgresql_database
from tests.store.raw import query

CREATED_NS = 1_763_424_000_000_000_000
KOREA = Instance()
COINS = Instance(name="coins", market="crypto")


@pytest.fixture
def short_lock_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [setting.replace(str(engine._LOCK_WAIT_MS), "100") for setting in engine._POSTGRESQL_WRITER_SETTINGS]
    monkeypatch.setattr(engine, "_POSTGRESQL_WRITER_SETTINGS", settings)


@pytest.fixture
def shared_database_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database that several instances may use."""
    with postgresql_database() as url:
        yield url


def test_the_first_instance_becomes_the_owner(database_url: str) -> None:
    assert owner_of(database_url) is None
    claim(database_url, KOREA, ["kis"], CREATED_NS)
    assert owner_of(database_url) == KOREA
    rows = query(database_url, "SELECT name, market, providers, created_ns FROM owner")
    assert rows == [("main", "kr_stocks", "kis", CREATED_NS)]


def test_the_owner_may_claim_again_and_add_a_broker(database_url: str) -> None:
    claim(database_url, KOREA, ["kis"], CREATED_NS)
    claim(database_url, KOREA, ["kiwoom", "kis"], CREATED_NS + 1)
    assert query(database_url, "SELECT providers, created_ns FROM owner") == [("kis,kiwoom", CREATED_NS)]


@pytest.mark.parametrize("other", [Instance(name="second"), Instance(market="crypto")], ids=["name", "market"])
def test_a_database_of_another_instance_is_refused_with_the_remedy(tmp_path: Path, other: Instance) -> None:
    url = f"sqlite:///{tmp_path}/observer.sqlite3"
    claim(url, KOREA, ["kis"], CREATED_NS)
    remedy = r"belongs to instance 'main' \(market kr_stocks\).*use another \[store\] url or \[instance\] name"
    with pytest.raises(ConfigError, match=remedy):
        claim(url, other, ["kis"], CREATED_NS)
    assert owner_of(url) == KOREA


def test_instances_share_a_postgresql_database_each_in_its_schema(shared_database_url: str) -> None:
    claim(shared_database_url, KOREA, ["kis"], CREATED_NS)
    claim(shared_database_url, COINS, ["upbit"], CREATED_NS)
    assert owner_of(shared_database_url) == KOREA
    assert owner_of(instance_url(shared_database_url, COINS)) == COINS
    writers = [StoreWriter(shared_database_url), StoreWriter(instance_url(shared_database_url, COINS))]
    for writer in writers:
        writer.open()
    for writer in writers:
        writer.close()


@pytest.mark.usefixtures("short_lock_wait")
def test_a_second_writing_process_is_refused_until_the_first_one_ends(database_url: str) -> None:
    first, second = StoreWriter(database_url), StoreWriter(database_url)
    first.open()
    with pytest.raises(StoreError, match="another core writer writes"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_the_schema_is_part_of_the_url() -> None:
    url = "postgresql+psycopg://user:p%40ss@host:5432/name?application_name=x"
    found = make_url(instance_url(url, COINS))
    assert (found.password, found.query["options"]) == ("p@ss", "-csearch_path=coins")
    assert instance_url(instance_url(url, COINS), COINS) == instance_url(url, COINS)
    assert instance_url(url, KOREA) == url
    assert instance_url("sqlite:///data/observer.db", COINS) == "sqlite:///data/observer.db"
