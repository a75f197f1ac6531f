"""After a kill of the writer or its connection: all acknowledged batches are stored, and no partial batch."""

import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from bus.delivery import Delivered
from observer.base.errors import StoreError
from observer.store import engine
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.privileges import at_work
from tests.store.committing import STREAMS, commit_for_ever
from tests.store.raw import execute, query

STREAM = STREAMS[0]


def commit_and_kill(url, after_commits):
    """Start the process, kill it in the middle of its work, and return the mark that it last said was stored."""
    with at_work(lambda: commit_for_ever(url), Path.cwd()) as process:
        said = [int(process.output.readline()) for _ in range(after_commits)]
        process.send(signal.SIGKILL)
        said += [int(line) for line in process.output.read().splitlines()]
    return said[-1]


def test_after_kills_the_rows_are_the_marks_without_gap_or_double(database_url):
    acknowledged = 0
    for after_commits in (1, 7, 20):
        acknowledged = max(acknowledged, commit_and_kill(database_url, after_commits))
        per_stream = "SELECT uid, high_water_mark, count(*), count(DISTINCT sequence), min(sequence), max(sequence)"
        found = query(
            database_url,
            f"{per_stream} FROM trades JOIN streams ON id = stream GROUP BY uid, high_water_mark ORDER BY uid",
        )
        mark = int(str(found[0][1]))
        assert found == [(uid, mark, mark, mark, 1, mark) for uid in STREAMS]
        assert mark >= acknowledged  # a commit may have come through whose acknowledgement did not


def test_the_database_opens_after_a_kill_and_goes_on_behind_the_mark(database_url):
    commit_and_kill(database_url, 5)
    writer = StoreWriter(database_url)
    writer.open()
    mark = writer.high_water_marks([STREAM])[STREAM]
    writer.commit([Delivered("track-b", STREAM, mark + 1, trades(10, mark + 1))])
    writer.close()
    with StoreReader(database_url) as reader:
        assert reader.total_rows() == sum(position.high_water_mark for position in reader.streams()) == 2 * mark + 10


@contextmanager
def locked(url):
    """Another transaction that holds what the writer needs."""
    holder = engine.open_writer(url)
    with holder.connect() as connection:
        connection.exec_driver_sql("UPDATE streams SET duplicates = duplicates + 1")
        yield
        connection.rollback()
    holder.dispose()


def test_a_locked_database_is_an_error_that_changes_nothing_and_passes(database_url, monkeypatch):
    wait_ms = engine._LOCK_WAIT_MS
    for settings in ("_SQLITE_WRITER_PRAGMAS", "_POSTGRESQL_WRITER_SETTINGS"):
        shorter = [setting.replace(str(wait_ms), "100") for setting in getattr(engine, settings)]
        monkeypatch.setattr(engine, settings, shorter)
    writer = StoreWriter(database_url)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 1, trades(2))])
    with locked(database_url), pytest.raises(StoreError, match="lock"):
        writer.commit([Delivered("track-b", STREAM, 3, trades(2, 3))])
    assert writer.high_water_marks([STREAM]) == {STREAM: 2}
    writer.commit([Delivered("track-b", STREAM, 3, trades(2, 3))])
    assert writer.high_water_marks([STREAM]) == {STREAM: 4}
    writer.close()


def test_a_cut_connection_is_an_error_and_the_next_commit_makes_a_new_one(database_url):
    if make_url(database_url).get_backend_name() == "sqlite":
        pytest.skip("SQLite has no connection that could be cut")
    writer = StoreWriter(database_url)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 1, trades(2))])
    with writer._engine.connect() as only_connection:
        pid = only_connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    execute(database_url, f"SELECT pg_terminate_backend({pid}, 5000)")
    with pytest.raises(StoreError):
        writer.commit([Delivered("track-b", STREAM, 3, trades(2, 3))])
    assert writer.high_water_marks([STREAM]) == {STREAM: 2}
    writer.commit([Delivered("track-b", STREAM, 3, trades(2, 3))])
    assert writer.high_water_marks([STREAM]) == {STREAM: 4}
    writer.close()


def test_after_a_lost_commit_the_marks_wait_for_its_outcome(database_url):
    """The connection was cut while the server was still committing: a mark that is read then must not be too low."""
    parsed = make_url(database_url)
    if parsed.get_backend_name() == "sqlite":
        pytest.skip("SQLite commits in the process itself")
    writer = StoreWriter(database_url)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 1, trades(2))])
    with psycopg.connect(parsed.set(drivername="postgresql").render_as_string(hide_password=False)) as straggler:
        straggler.execute("UPDATE streams SET high_water_mark = 4")
        finish = threading.Timer(0.2, straggler.commit)
        finish.start()
        assert writer.high_water_marks([STREAM]) == {STREAM: 4}
        finish.join()
    writer.close()
