"""A copy of a database, of both kinds: whole and readable by the database's own tools, or an error."""

import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing

import pytest
from sqlalchemy import make_url

from observer.base.errors import StoppedError
from observer.store.backup import check_copy, content_of, copy_database, copy_name, selected_schema
from observer.store.schema import SCHEMA_REVISION
from tests.builders import trades
from tests.privileges import at_work
from tests.store.committing import commit_for_ever
from tests.store.raw import execute, query
from tests.store.stored import stored

STREAM = "4" * 32


@pytest.fixture(scope="module")
def stored_url(whole_database_url):
    """A database with trades in it, a hundred at first."""
    if make_url(whole_database_url).get_backend_name() == "postgresql" and shutil.which("pg_dump") is None:
        pytest.skip("PostgreSQL's client programs are not installed")
    stored(whole_database_url, *trades(100))
    return whole_database_url


def copied(url, folder):
    path = folder / copy_name(url)
    copy_database(url, path, threading.Event())
    return path


def trades_in(path):
    """How many trades a copy holds, as the database's own tools say."""
    if path.suffix == ".sqlite3":
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM trades").fetchone()[0])
    command = ["pg_restore", "--data-only", "--table=trade_rows", "--file=-", str(path)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum("\t" in line for line in listed.splitlines())  # only rows have tabs


def test_a_copy_holds_every_row_and_states_the_marks_of_the_streams(stored_url, tmp_path):
    copy = copied(stored_url, tmp_path)
    check_copy(copy, threading.Event())
    assert [(trades_in(copy),)] == query(stored_url, "SELECT count(*) FROM trades")
    content = content_of(copy, threading.Event())
    assert content.schema_revision == SCHEMA_REVISION
    assert content.marks == dict(query(stored_url, "SELECT uid, high_water_mark FROM streams"))
    assert content.marks[STREAM] == 100


@pytest.mark.parametrize("whole_database_url", ["postgresql"], indirect=True)
def test_a_copy_holds_no_other_instance_of_the_database(stored_url, tmp_path):
    execute(stored_url, "CREATE SCHEMA coins")
    execute(stored_url, "CREATE TABLE coins.others (number integer)")
    copy = copied(stored_url, tmp_path)
    listed = subprocess.run(["pg_restore", "--list", str(copy)], capture_output=True, text=True, check=True).stdout
    assert "trades" in listed
    assert "coins" not in listed


def test_a_copy_is_one_file_that_only_its_owner_can_read(stored_url, tmp_path):
    copy = copied(stored_url, tmp_path)
    content_of(copy, threading.Event())
    assert list(tmp_path.iterdir()) == [copy]
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_copy_during_commits_is_of_one_moment(stored_url, tmp_path):
    with at_work(lambda: commit_for_ever(stored_url), tmp_path) as process:
        assert process.output.readline()
        copy = copied(stored_url, tmp_path)
        assert process.output.readline()
    content = content_of(copy, threading.Event())
    assert sum(content.marks.values()) == trades_in(copy)
    assert trades_in(copy) % 100 == 0  # both streams of each commit


def test_a_copy_ends_when_it_is_asked_to_stop(stored_url, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError, match="interrupted"):
        copy_database(stored_url, tmp_path / copy_name(stored_url), stop)


@pytest.mark.parametrize("whole_database_url", ["postgresql"], indirect=True)
def test_a_schema_that_was_dropped_is_still_the_selected_one(whole_database_url):
    execute(whole_database_url, "ALTER SCHEMA public RENAME TO away")
    assert selected_schema(whole_database_url) == "public"
    execute(whole_database_url, "ALTER SCHEMA away RENAME TO public")
