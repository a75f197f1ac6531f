"""A backup that cannot be made leaves everything as it was."""

import os
from pathlib import Path

import pytest

from observer.errors import StoreError
from observer.store.backup import backup

NOW = "20261118T210000"
PG_DUMP = """#!/bin/sh
for argument; do case "$argument" in --file=*) file="${argument#--file=}";; esac; done
echo "$PGPASSWORD $*" > "$file"
"""


def test_a_backup_of_nothing_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        backup(f"sqlite:///{tmp_path}/observer.sqlite3", tmp_path / "backups", NOW)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_damaged_database_gives_no_backup_and_keeps_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "observer.sqlite3"
    path.write_bytes(b"my diary, " * 1000)
    earlier = tmp_path / "backups" / "observer-20261117T210000.sqlite3"
    earlier.parent.mkdir()
    earlier.write_text("yesterday's")
    with pytest.raises(StoreError, match="not a database"):
        backup(f"sqlite:///{path}", tmp_path / "backups", NOW)
    assert list(earlier.parent.iterdir()) == [earlier]


def test_a_backup_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "observer.sqlite3").touch()
    with pytest.raises(StoreError, match="failed"):
        backup(f"sqlite:///{tmp_path}/observer.sqlite3", tmp_path / "file" / "backups", NOW)


def test_pg_dump_gets_the_password_by_its_environment_and_no_argument_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(PG_DUMP)
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    url = "postgresql+psycopg://observer:p%40ss@db.invalid:5433/market?options=-csearch_path%3Dcoins"
    made = backup(url, tmp_path / "backups", NOW)
    password, arguments = made.path.read_text().split(maxsplit=1)
    assert password == "p@ss"
    assert "postgresql://observer@db.invalid:5433/market" in arguments
    assert '--schema="coins"' in arguments
