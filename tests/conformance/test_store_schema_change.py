"""Changes of the schema on both databases: views follow the code; no reader or killed program stops them for ever."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from observer.errors import StoreError
from observer.store import engine
from observer.store.engine import migrate
from tests.store.migrated import make_database
from tests.store.raw import execute, query
from tests.waiting import until

STALE = "CREATE VIEW best_quotes AS SELECT 1 AS stale"
LOCK_WAIT_MS = 300
# A program that waits for a lock for ever: only its death ends its statement.
PATIENT = """
import sys
from observer.store import engine
engine._POSTGRESQL_WRITER_SETTINGS += ("lock_timeout = 0",)
engine.migrate(sys.argv[1])
"""


@pytest.fixture
def stale_url(empty_database_url: str) -> str:
    """A database with the current revision and a view of an earlier program."""
    make_database(empty_database_url)
    execute(empty_database_url, "DROP VIEW best_quotes")
    execute(empty_database_url, STALE)
    return empty_database_url


@contextmanager
def transaction(url: str) -> Iterator["psycopg.Connection[Any]"]:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        yield connection
        connection.rollback()


def test_views_of_an_earlier_program_are_made_anew_at_the_same_revision(stale_url: str) -> None:
    migrate(stale_url)
    assert query(stale_url, "SELECT bid, ask FROM best_quotes") == []


def test_views_of_this_code_are_left_alone(stale_url: str) -> None:
    def identities() -> list[tuple[object, ...]]:
        if stale_url.startswith("sqlite"):
            return query(stale_url, "PRAGMA schema_version")
        return query(stale_url, "SELECT 'best_quotes'::regclass::oid, 'trades'::regclass::oid")

    migrate(stale_url)
    made = identities()
    migrate(stale_url)
    assert identities() == made


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_reader_that_keeps_a_lock_ends_the_change_with_a_remedy_and_the_next_one_succeeds(
    stale_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = (*engine._POSTGRESQL_WRITER_SETTINGS, f"lock_timeout = {LOCK_WAIT_MS}")
    monkeypatch.setattr(engine, "_POSTGRESQL_WRITER_SETTINGS", waits)
    with transaction(stale_url) as reader:
        reader.execute("SELECT * FROM trades")
        with pytest.raises(StoreError, match="pg_stat_activity names it"):
            migrate(stale_url)
        assert query(stale_url, "SELECT stale FROM best_quotes") == [(1,)]
    migrate(stale_url)
    assert query(stale_url, "SELECT bid, ask FROM best_quotes") == []


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_killed_change_leaves_no_lock_behind_a_reader_and_is_repeated(stale_url: str) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'trades'::regclass"
    with transaction(stale_url) as reader:
        reader.execute("SELECT * FROM trades")
        with subprocess.Popen([sys.executable, "-c", PATIENT, stale_url]) as program:
            until(lambda: query(stale_url, waiting) == [(1,)] or program.poll() is not None, "the change waits")
            assert program.poll() is None
            program.kill()
        until(lambda: query(stale_url, waiting) == [(0,)], "the server ends the change", 30)
        assert query(stale_url, "SELECT stale FROM best_quotes") == [(1,)]
    migrate(stale_url)
    assert query(stale_url, "SELECT bid, ask FROM best_quotes") == []
