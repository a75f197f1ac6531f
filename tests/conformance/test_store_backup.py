"""A backup, of both databases: whole and readable by the database's own tools, or not there."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from bus.delivery import Delivered
from observer.store.backup import BACKUPS_KEPT, backup
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.store.raw import execute, query

ROOT = Path(__file__).parents[2]
NOW = "20261118T210000"


@pytest.fixture(scope="module")
def stored_url(whole_database_url: str) -> str:
    """A database with trades in it, a hundred at first."""
    if make_url(whole_database_url).get_backend_name() == "postgresql" and shutil.which("pg_dump") is None:
        pytest.skip("PostgreSQL's client programs are not installed")
    writer = StoreWriter(whole_database_url)
    writer.open()
    writer.commit([Delivered("track-b", "4" * 32, 1, trades(100))])
    writer.close()
    return whole_database_url


def trades_in(path: Path) -> int:
    """How many trades a copy holds, as the database's own tools say."""
    if path.suffix == ".sqlite3":
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM trades").fetchone()[0])
    command = ["pg_restore", "--data-only", "--table=trades", "--file=-", str(path)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum("\t2026-11-18\t" in line for line in listed.splitlines())


def test_a_backup_holds_every_row(stored_url: str, tmp_path: Path) -> None:
    made = backup(stored_url, tmp_path / "backups", NOW)
    assert [(trades_in(made.path),)] == query(stored_url, "SELECT count(*) FROM trades")


@pytest.mark.parametrize("whole_database_url", ["postgresql"], indirect=True)
def test_a_backup_holds_no_other_instance_of_the_database(stored_url: str, tmp_path: Path) -> None:
    execute(stored_url, "CREATE SCHEMA coins")
    execute(stored_url, "CREATE TABLE coins.others (number integer)")
    made = backup(stored_url, tmp_path / "backups", NOW)
    listed = subprocess.run(["pg_restore", "--list", str(made.path)], capture_output=True, text=True, check=True).stdout
    assert "trades" in listed
    assert "coins" not in listed


def test_a_backup_says_its_size_and_digest(stored_url: str, tmp_path: Path) -> None:
    made = backup(stored_url, tmp_path / "backups", NOW)
    content = made.path.read_bytes()
    assert (made.size_bytes, made.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_backup_is_one_file_that_only_its_owner_can_read(stored_url: str, tmp_path: Path) -> None:
    made = backup(stored_url, tmp_path / "backups", NOW)
    assert list((tmp_path / "backups").iterdir()) == [made.path]
    assert made.path.name.startswith(f"observer-{NOW}.")
    assert made.path.stat().st_mode & 0o777 == 0o600


def test_a_second_backup_with_the_same_stamp_has_the_path_of_the_first(stored_url: str, tmp_path: Path) -> None:
    first = backup(stored_url, tmp_path / "backups", NOW)
    assert backup(stored_url, tmp_path / "backups", NOW).path == first.path


def test_the_newest_backups_are_kept(stored_url: str, tmp_path: Path) -> None:
    stamps = [f"202611{day:02d}T210000" for day in range(1, BACKUPS_KEPT + 3)]
    newest = backup(stored_url, tmp_path / "backups", stamps[-1]).path
    for stamp in stamps[1:-1]:
        shutil.copy(newest, newest.with_name(newest.name.replace(stamps[-1], stamp)))
    last_made = backup(stored_url, tmp_path / "backups", stamps[0])
    kept = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert len(kept) == BACKUPS_KEPT
    assert kept[-1].startswith(f"observer-{stamps[-1]}")
    assert not last_made.path.exists()  # it carried the oldest stamp


def test_a_backup_during_commits_is_a_whole_state(stored_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.store.committing", stored_url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        made = backup(stored_url, tmp_path / "backups", NOW)
        assert process.stdout.readline()
        process.kill()
    if made.path.suffix == ".sqlite3":
        marks = query(f"sqlite:///{made.path}", "SELECT sum(high_water_mark) FROM streams")
        assert marks == [(trades_in(made.path),)]
    assert trades_in(made.path) % 100 == 0  # both streams of each commit
