"""A damaged page is named as that, with its remedy, by whoever meets it."""

import threading
from contextlib import closing

import pytest

from bus.commands import Refused
from bus.delivery import Delivered
from observer.base.clock import ManualClock
from observer.base.errors import DatabaseDamagedError, StoreError
from observer.base.instance import Instance
from observer.base.remedies import SEEN
from observer.monitoring.alerts.process import DATABASE_DAMAGED, Alerts
from observer.store.admission import require_own_file
from observer.store.engine import reading
from observer.store.integrity import report_integrity, require_whole
from observer.store.reader import StoreReader
from observer.store.readiness import database_ready
from observer.store.systems import this_system
from observer.store.writer import StoreWriter
from tests.archive.scene import commit
from tests.builders import trades
from tests.store.damaged import damage_page, damage_rows
from tests.store.migrated import make_database

NAMED = r"the database is damaged: .*: `observer backup restore --yes`"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "observer.db"
    make_database(f"sqlite:///{path}")
    commit(f"sqlite:///{path}", 200)
    return path


def test_a_reader_names_the_damage_and_notes_it_for_the_process(path):
    damage_rows(path, "trade_rows")
    SEEN.take_damage()
    with pytest.raises(DatabaseDamagedError, match=NAMED), reading(f"sqlite:///{path}") as connection:
        connection.exec_driver_sql("SELECT sum(volume) FROM trade_rows").all()
    assert "malformed" in SEEN.take_damage()
    assert SEEN.take_damage() == ""


def test_the_writer_names_the_damage(path):
    damage_rows(path, "trade_rows")
    with closing(StoreWriter(f"sqlite:///{path}")) as writer:
        writer.open()
        with pytest.raises(DatabaseDamagedError, match=NAMED):
            writer.commit([Delivered("track-b", "5" * 32, 1, trades(200))])


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"SQLite format 2\0", id="a flipped bit in the mark"),
        pytest.param(bytes(4096), id="a first page of zeros"),
    ],
)
def test_a_file_whose_first_page_is_damaged_is_a_damaged_database_and_no_foreign_file(path, header):
    with path.open("r+b") as file:
        file.write(header)
    with pytest.raises(DatabaseDamagedError, match=NAMED):
        StoreReader(f"sqlite:///{path}")
    require_own_file(path, Instance(), this_system(path.parent), 0)  # the system starts, and its writer waits


def test_a_file_of_something_else_is_none(path):
    path.write_text("a list of things to buy\n" * 400)
    with pytest.raises(StoreError, match="give a database of Observer") as refused:
        StoreReader(f"sqlite:///{path}")
    assert not isinstance(refused.value, DatabaseDamagedError)


def test_the_check_reads_each_page_also_those_that_no_query_needs(path):
    assert require_whole(f"sqlite:///{path}", threading.Event()) == "every page of the file (quick_check)"
    damage_rows(path, "etf_values")
    with pytest.raises(DatabaseDamagedError, match=NAMED):
        require_whole(f"sqlite:///{path}", threading.Event())


async def test_the_check_begins_the_alert_and_ends_it_when_the_database_is_whole_again(path):
    alerts, whole = Alerts(ManualClock(0), "core-writer", lambda *_: None), path.read_bytes()
    damage_page(path, 5)
    assert isinstance(await report_integrity(f"sqlite:///{path}", alerts), Refused)
    assert [(alert.identity, alert.severity) for alert in alerts.open] == [(DATABASE_DAMAGED, "critical")]
    path.write_bytes(whole)
    assert await report_integrity(f"sqlite:///{path}", alerts) == "whole: every page of the file (quick_check)"
    assert alerts.open == []


async def test_a_database_that_does_not_answer_the_check_leaves_the_alert_as_it_is(path):
    alerts = Alerts(ManualClock(0), "core-writer", lambda *_: None)
    path.unlink()
    assert isinstance(await report_integrity(f"sqlite:///{path}", alerts), Refused)
    assert alerts.open == []


async def test_a_writer_that_starts_on_a_damaged_file_waits_with_the_alert(monkeypatch):
    monkeypatch.setattr("observer.store.readiness.DATABASE_RETRY_S", 0.001)
    alerts, tries = Alerts(ManualClock(0), "core-writer", lambda *_: None), []

    def prepare():
        tries.append([alert.identity for alert in alerts.open])
        if len(tries) < 3:
            raise DatabaseDamagedError("the database is damaged: its header is gone")

    await database_ready(prepare, alerts)
    assert tries == [[], [DATABASE_DAMAGED], [DATABASE_DAMAGED]]
