"""One instance and one writing process for each database, on both kinds."""

import asyncio
import os

import msgspec
import psycopg
import pytest
from sqlalchemy import make_url

from bus.delivery import Delivered
from observer.base.clock import ManualClock
from observer.base.errors import ConfigError, DatabaseInUseError, StoreError
from observer.base.instance import Instance, instance_url
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts
from observer.store import engine, owner, readiness
from observer.store.owner import Owner, claim, migrate_own, owner_of, require_unused
from observer.store.systems import started_ticks, this_system
from observer.store.writer import StoreWriter
from observer.system.writer_process import writer_of
from tests.builders import trades
from tests.conformance.conftest import postgresql_database
from tests.store.raw import execute, query
from tests.waiting import until_async

CREATED_NS = 1_763_424_000_000_000_000
KOREA = Instance()
COINS = Instance(name="coins", market="crypto")
IN_USE = r"another process writes .*: stop its system \(observer ctl shutdown\), or wait for its command to end"
STREAM = "5" * 32
ALERTS = Alerts(ManualClock(0), "core-writer")


@pytest.fixture
def short_lock_wait(monkeypatch):
    monkeypatch.setattr(owner, "_LOCK_WAIT_MS", 50)


@pytest.fixture
def first(database_url):
    """The writer of a database, at work."""
    writer = StoreWriter(database_url)
    writer.open()
    yield writer
    writer.close()


@pytest.fixture
def second(database_url):
    """Another process's writer, not open yet."""
    writer = StoreWriter(database_url)
    yield writer
    writer.close()


def only_on_postgresql(url):
    if make_url(url).get_backend_name() == "sqlite":
        pytest.skip("SQLite has no connection over a network")


@pytest.fixture
def shared_database_url():
    """The URL of an empty PostgreSQL database that several instances may use."""
    with postgresql_database() as url:
        yield url


def test_the_first_instance_becomes_the_owner(database_url):
    assert owner_of(database_url) is None
    claim(database_url, KOREA, ["kis"], CREATED_NS)
    assert owner_of(database_url) == Owner(KOREA, ["kis"])
    rows = query(database_url, "SELECT name, market, providers, created_ns FROM owner")
    assert rows == [("main", "kr_stocks", "kis", CREATED_NS)]


def test_the_owner_may_claim_the_database_again_and_add_a_broker(database_url):
    claim(database_url, KOREA, ["kis"], CREATED_NS)
    claim(database_url, KOREA, ["kiwoom", "kis"], CREATED_NS + 1)
    assert query(database_url, "SELECT providers, created_ns FROM owner") == [("kis,kiwoom", CREATED_NS)]


@pytest.mark.parametrize("other", [Instance(name="second"), Instance(market="crypto")], ids=["name", "market"])
def test_a_database_of_another_instance_is_refused_with_the_remedy(tmp_path, other):
    url = f"sqlite:///{tmp_path}/observer.sqlite3"
    claim(url, KOREA, ["kis"], CREATED_NS)
    remedy = r"belongs to instance 'main' \(market kr_stocks\).*use another \[store\] url or \[instance\] name"
    with pytest.raises(ConfigError, match=remedy):
        claim(url, other, ["kis"], CREATED_NS)
    assert owner_of(url) == Owner(KOREA, ["kis"])


def test_a_database_of_another_instance_is_refused_before_its_schema_is_changed(empty_database_url):
    execute(
        empty_database_url,
        "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT, market TEXT, providers TEXT, created_ns BIGINT)",
    )
    execute(empty_database_url, "INSERT INTO owner VALUES (1, 'second', 'kr_stocks', 'kis', 0)")
    with pytest.raises(ConfigError, match="belongs to instance 'second'"):
        claim(empty_database_url, KOREA, ["kis"], CREATED_NS)
    assert engine.schema_revision(engine.open_reader(empty_database_url)) is None


def test_instances_share_a_postgresql_database_each_in_its_schema(shared_database_url):
    claim(shared_database_url, KOREA, ["kis"], CREATED_NS)
    claim(shared_database_url, COINS, ["upbit"], CREATED_NS)
    assert owner_of(shared_database_url) == Owner(KOREA, ["kis"])
    assert owner_of(instance_url(shared_database_url, COINS)) == Owner(COINS, ["upbit"])
    writers = [StoreWriter(shared_database_url), StoreWriter(instance_url(shared_database_url, COINS))]
    for writer in writers:
        writer.open()
    for writer in writers:
        writer.close()


@pytest.mark.usefixtures("short_lock_wait")
def test_a_second_writing_process_is_refused_until_the_first_one_ends(first, second):
    with pytest.raises(DatabaseInUseError, match=IN_USE):
        second.open()
    first.close()
    second.open()


@pytest.mark.usefixtures("short_lock_wait", "first")
def test_a_database_that_is_being_written_cannot_be_claimed(database_url):
    with pytest.raises(DatabaseInUseError, match=IN_USE):
        claim(database_url, KOREA, ["kis"], CREATED_NS)
    assert owner_of(database_url) is None


@pytest.mark.usefixtures("short_lock_wait", "first")
async def test_a_command_with_its_own_writer_ends_at_once_while_another_process_writes(database_url):
    with pytest.raises(DatabaseInUseError, match=IN_USE):
        async with writer_of(database_url, KOREA):
            pytest.fail("the command went on")


def test_a_link_to_a_file_is_the_same_database(tmp_path):
    (tmp_path / "link.db").symlink_to(tmp_path / "observer.db")
    claim(f"sqlite:///{tmp_path}/observer.db", KOREA, ["kis"], CREATED_NS)
    writers = [StoreWriter(f"sqlite:///{tmp_path}/{name}.db") for name in ("observer", "link")]
    writers[0].open()
    with pytest.raises(DatabaseInUseError):
        writers[1].open()
    writers[0].close()


@pytest.mark.usefixtures("short_lock_wait", "first")
def test_a_core_writer_that_waited_for_another_one_in_vain_is_wrongly_configured(second, monkeypatch):
    monkeypatch.setattr(readiness, "TAKEOVER_S", 0.0)
    with pytest.raises(ConfigError, match=IN_USE):
        asyncio.run(readiness.database_ready(second.open, ALERTS))


def test_a_core_writer_does_not_wait_for_a_schema_that_cannot_be_migrated(
    empty_database_url,
):
    execute(empty_database_url, "CREATE TABLE streams (id INTEGER)")
    remedy = r"already exists: the database holds tables of something else, give another \[store\] url"
    with pytest.raises(ConfigError, match=remedy):
        asyncio.run(readiness.database_ready(lambda: claim(empty_database_url, KOREA, ["kis"], CREATED_NS), ALERTS))


@pytest.mark.usefixtures("short_lock_wait")
def test_a_core_writer_takes_over_from_one_that_is_dying(first, second, monkeypatch):
    monkeypatch.setattr(readiness, "DATABASE_RETRY_S", 0.01)
    attempts = []

    def attempt():
        attempts.append("refused, or the last")
        second.open()

    async def scenario():
        ready = asyncio.create_task(readiness.database_ready(attempt, ALERTS))
        await until_async(lambda: len(attempts) > 1, "the second attempt")
        first.close()
        await ready

    asyncio.run(scenario())
    assert second.commit([Delivered("track-b", STREAM, 1, trades(2))]).stored == 2


# --- a connection that is lost ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_lock_wait")
def test_a_writer_that_lost_its_lock_with_its_connection_stores_nothing_until_the_next_writer_ends(
    database_url, first, second
):
    only_on_postgresql(database_url)
    first.commit([Delivered("track-b", STREAM, 1, trades(2))])
    with first._engine.connect() as only_connection:
        pid = only_connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    execute(database_url, f"SELECT pg_terminate_backend({pid}, 5000)")
    second.open()
    late = [Delivered("track-b", STREAM, 3, trades(2, 3))]
    with pytest.raises(StoreError):
        first.commit(late)
    with pytest.raises(DatabaseInUseError, match="ends the connection of a machine that is gone after 35 s"):
        first.commit(late)
    with pytest.raises(DatabaseInUseError):
        first.high_water_marks([STREAM])
    assert second.high_water_marks([STREAM]) == {STREAM: 2}
    second.commit([Delivered("track-b", STREAM, 3, trades(1, 3))])
    second.close()
    assert first.high_water_marks([STREAM]) == {STREAM: 3}
    assert query(database_url, "SELECT count(*) FROM trades") == [(3,)]


def test_both_ends_of_a_writer_s_connection_give_it_up_soon_after_the_other_is_gone(database_url):
    only_on_postgresql(database_url)
    if "/" in (make_url(database_url).host or "/"):
        pytest.skip("a connection on one machine has no keepalive")
    probing = {"keepalives_idle": "5", "keepalives_interval": "5", "keepalives_count": "6"}
    writing = engine.open_writer(database_url)
    with writing.connect() as connection:
        found = connection.exec_driver_sql("SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp%%'").all()
        driver_connection = connection.connection.driver_connection
        assert isinstance(driver_connection, psycopg.Connection)
        client = driver_connection.info.get_parameters()
    writing.dispose()
    assert dict(found) == {f"tcp_{name}": value for name, value in probing.items()} | {"tcp_user_timeout": "35000"}
    assert client.items() >= (probing | {"tcp_user_timeout": "35000"}).items()


def test_the_schema_is_part_of_the_url():
    url = "postgresql+psycopg://user:p%40ss@host:5432/name?application_name=x"
    found = make_url(instance_url(url, COINS))
    assert (found.password, found.query["options"]) == ("p@ss", "-csearch_path=coins")
    assert instance_url(instance_url(url, COINS), COINS) == instance_url(url, COINS)
    assert instance_url(url, KOREA) == url
    assert instance_url("sqlite:///data/observer.db", COINS) == "sqlite:///data/observer.db"


# --- one system ------------------------------------------------------------------------------------------------

SYSTEM_ROW = "SELECT host, machine, pid, pid_started, runtime FROM owner"
OWNED = r"another system owns this database: pid .*stop it \(observer ctl shutdown\), or give another \[store\] url"


@pytest.fixture
def system(tmp_path):
    """A system that lives as long as the tests do; this process is its supervisor."""
    return this_system(tmp_path / "run")


@pytest.fixture
def other(tmp_path, system):
    """Another system on this machine, with another runtime folder."""
    return msgspec.structs.replace(system, pid=os.getppid(), runtime=str(tmp_path / "other"))


def enter(url, **values):
    changes = ", ".join(f"{name} = {value!r}" for name, value in values.items())
    execute(url, f"UPDATE owner SET {changes}")


def test_a_living_system_s_database_is_refused_to_another_one_while_its_writer_is_away(database_url, system, other):
    claim(database_url, KOREA, ["kis"], CREATED_NS, system)
    before = query(database_url, SYSTEM_ROW)
    assert before == [msgspec.structs.astuple(system)]
    with pytest.raises(DatabaseInUseError, match=OWNED):
        claim(database_url, KOREA, ["kis"], CREATED_NS, other)
    assert query(database_url, SYSTEM_ROW) == before
    claim(database_url, KOREA, ["kis"], CREATED_NS, system)


def test_a_command_respects_a_living_system_whose_writer_is_away(database_url, other):
    other = msgspec.structs.replace(other, pid_started=started_ticks(other.pid) or 0)
    claim(database_url, KOREA, ["kis"], CREATED_NS, other)
    for writes in (lambda: migrate_own(database_url, KOREA), lambda: require_unused(database_url)):
        with pytest.raises(DatabaseInUseError, match=OWNED):
            writes()


def test_a_supervisor_that_starts_again_in_its_folder_takes_its_database_back(database_url, system):
    claim(database_url, KOREA, ["kis"], CREATED_NS, system)
    again = msgspec.structs.replace(system, pid=os.getppid())
    claim(database_url, KOREA, ["kis"], CREATED_NS, again)
    assert query(database_url, SYSTEM_ROW) == [msgspec.structs.astuple(again)]


def test_a_database_of_a_dead_process_is_taken_over_with_a_line(database_url, system, other, caplog):
    claim(database_url, KOREA, ["kis"], CREATED_NS, msgspec.structs.replace(system, pid_started=1))
    claim(database_url, KOREA, ["kis"], CREATED_NS, other)
    assert query(database_url, SYSTEM_ROW) == [msgspec.structs.astuple(other)]
    [line] = [record.getMessage() for record in caplog.records if "dead" in record.getMessage()]
    assert f"is dead and is replaced: pid {system.pid} on {system.host}, runtime folder {system.runtime}" in line


def test_a_database_of_another_machine_is_taken_over_when_its_heartbeat_is_old(database_url, system, other):
    claim(database_url, KOREA, ["kis"], CREATED_NS, system)
    enter(database_url, host="elsewhere", machine="elsewhere")
    with pytest.raises(DatabaseInUseError, match=r"on elsewhere, .* its heartbeat is \d+ s old"):
        claim(database_url, KOREA, ["kis"], CREATED_NS, other)
    execute(database_url, f"UPDATE owner SET heartbeat_ns = heartbeat_ns - {61 * NS_PER_S}")
    claim(database_url, KOREA, ["kis"], CREATED_NS, other)
    assert query(database_url, SYSTEM_ROW) == [msgspec.structs.astuple(other)]


def test_a_writer_renews_its_system_s_heartbeat_when_it_is_due(database_url, system, monkeypatch):
    claim(database_url, KOREA, ["kis"], CREATED_NS, system)
    enter(database_url, heartbeat_ns=1)
    writer = StoreWriter(database_url, system)
    writer.open()
    writer.renew_ownership()
    assert query(database_url, "SELECT heartbeat_ns FROM owner") == [(1,)]
    monkeypatch.setattr(owner, "HEARTBEAT_EVERY_S", 0.0)
    writer.renew_ownership()
    [(heartbeat_ns,)] = query(database_url, "SELECT heartbeat_ns FROM owner")
    assert heartbeat_ns != 1
    writer.close()
    assert query(database_url, "SELECT host, heartbeat_ns FROM owner") == [(None, None)]


def test_a_writer_whose_database_was_taken_over_ends(database_url, system, other, monkeypatch):
    claim(database_url, KOREA, ["kis"], CREATED_NS, system)
    writer = StoreWriter(database_url, system)
    writer.open()
    enter(database_url, **msgspec.structs.asdict(other))
    monkeypatch.setattr(owner, "HEARTBEAT_EVERY_S", 0.0)
    with pytest.raises(ConfigError, match="another system took it over: pid"):
        writer.renew_ownership()
    writer.close()
    assert query(database_url, SYSTEM_ROW) == [msgspec.structs.astuple(other)]


def test_the_system_of_a_command_s_writer_is_the_command(database_url):
    async def scenario():
        async with writer_of(database_url, KOREA):
            assert query(database_url, "SELECT pid, pid_started FROM owner") == [
                (os.getpid(), started_ticks(os.getpid()))
            ]

    asyncio.run(scenario())
    assert query(database_url, "SELECT pid, host FROM owner") == [(None, None)]
