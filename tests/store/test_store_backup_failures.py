"""A copy that cannot be made is an error that names its reason, and no argument of a program has a secret."""

import os
import sqlite3
import threading
from contextlib import closing
from itertools import pairwise

import pytest

from observer.base.errors import StoreError
from observer.store.backup import POSTGRESQL_COPY, SQLITE_COPY, check_copy, content_of, copy_database

PG_DUMP = """#!/bin/sh
for argument; do case "$argument" in --file=*) file="${argument#--file=}";; esac; done
echo "$PGPASSWORD $*" > "$file"
"""
WAITING_PG_DUMP = """#!/bin/sh
for turn in $(seq 100); do [ -e "$SYNCED" ] && exit 0; sleep 0.1; done
exit 1
"""
GO_ON = threading.Event()
PORTION_BYTES = 20_000_000  # 16 MB of pages, and what the copy's page cache held back


def test_a_copy_of_nothing_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="there is no database"):
        copy_database(f"sqlite:///{tmp_path}/observer.sqlite3", tmp_path / SQLITE_COPY, GO_ON)


def test_a_copy_of_something_else_is_an_error(tmp_path):
    path = tmp_path / "observer.sqlite3"
    path.write_bytes(b"my diary, " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        copy_database(f"sqlite:///{path}", tmp_path / SQLITE_COPY, GO_ON)


def test_an_empty_database_is_none_of_observer(tmp_path):
    (tmp_path / SQLITE_COPY).touch()
    with pytest.raises(StoreError, match="no database of Observer"):
        content_of(tmp_path / SQLITE_COPY, GO_ON)


def test_a_large_copy_is_brought_to_the_disk_portion_by_portion(tmp_path, monkeypatch):
    with closing(sqlite3.connect(tmp_path / "observer.sqlite3")) as database:
        database.execute("CREATE TABLE large AS SELECT zeroblob(50000000) AS content")
        database.commit()
    copied = tmp_path / SQLITE_COPY
    sizes: list[int] = []

    def sync(descriptor):
        sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fdatasync", sync)
    copy_database(f"sqlite:///{tmp_path}/observer.sqlite3", copied, GO_ON)
    steps = [after - before for before, after in pairwise([0, *sizes, copied.stat().st_size])]
    assert max(steps) <= PORTION_BYTES, sizes


def test_a_dump_is_brought_to_the_disk_while_it_is_written(tmp_path, monkeypatch):
    program = tmp_path / "pg_dump"
    program.write_text(WAITING_PG_DUMP)
    program.chmod(0o700)
    synced = tmp_path / "synced"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SYNCED", str(synced))
    monkeypatch.setattr(os, "fsync", lambda _descriptor: synced.touch())
    copy_database("postgresql://a@db.invalid/market?options=-csearch_path%3Dcoins", tmp_path / POSTGRESQL_COPY, GO_ON)


def test_a_missing_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="needs pg_dump: install PostgreSQL's client programs"):
        copy_database(
            "postgresql://a@db.invalid/market?options=-csearch_path%3Dcoins", tmp_path / "database.dump", GO_ON
        )


def test_a_dump_that_is_none_is_damaged(tmp_path):
    (tmp_path / POSTGRESQL_COPY).write_bytes(b"my diary, " * 1000)
    with pytest.raises(StoreError, match=r"pg_restore.* failed|needs pg_restore"):
        check_copy(tmp_path / POSTGRESQL_COPY, GO_ON)


def test_a_secret_that_only_an_argument_could_carry_is_not_passed_on(tmp_path):
    url = "postgresql+psycopg://observer@db.invalid/market?sslpassword=hush&options=-csearch_path%3Dcoins"
    with pytest.raises(StoreError, match="a backup cannot pass on sslpassword") as caught:
        copy_database(url, tmp_path / POSTGRESQL_COPY, GO_ON)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["observer:p%40ss@db.invalid:5433/market?", "observer@db.invalid:5433/market?password=p%40ss&"],
    ids=["before the host", "among the options"],
)
def test_pg_dump_gets_the_password_by_its_environment_and_no_argument_has_it(address, tmp_path, monkeypatch):
    program = tmp_path / "pg_dump"
    program.write_text(PG_DUMP)
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    url = f"postgresql+psycopg://{address}options=-csearch_path%3Dcoins"
    copy_database(url, tmp_path / POSTGRESQL_COPY, GO_ON)
    password, arguments = (tmp_path / POSTGRESQL_COPY).read_text().split(maxsplit=1)
    assert password == "p@ss"
    assert "postgresql://observer@db.invalid:5433/market" in arguments
    assert "p@ss" not in arguments
    assert "p%40ss" not in arguments
    assert '--schema="coins"' in arguments
