"""Folding the log: afterwards the database's file alone has every row."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from observer.base.errors import StoreError
from observer.store.write_ahead_log import fold_log
from tests.archive.scene import commit
from tests.store.migrated import make_database
from tests.store.raw import query


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "observer.db"
    make_database(f"sqlite:///{path}")
    commit(f"sqlite:///{path}", 10)
    return path


def rows_in_a_copy(database):
    """The trades in the file without its log."""
    copy = database.with_name("copy.db")
    shutil.copy(database, copy)
    return query(f"sqlite:///{copy}", "SELECT count(*) FROM trades")


def test_a_folded_file_alone_has_every_row_while_a_reader_is_connected(database):
    with closing(sqlite3.connect(database)) as reader:
        reader.execute("SELECT count(*) FROM trades").fetchone()
        commit(f"sqlite:///{database}", 10, after=10)
        assert rows_in_a_copy(database) == [(10,)]
        assert fold_log(f"sqlite:///{database}", 60)
        assert rows_in_a_copy(database) == [(20,)]


def test_a_reader_inside_a_query_keeps_the_log(database):
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM trades").fetchone()
        commit(f"sqlite:///{database}", 10, after=10)
        assert not fold_log(f"sqlite:///{database}", 0)
        reader.execute("COMMIT")
        assert fold_log(f"sqlite:///{database}", 60)
    assert rows_in_a_copy(database) == [(20,)]


def test_folding_makes_no_database(tmp_path):
    assert fold_log(f"sqlite:///{tmp_path}/observer.db", 0)
    assert list(tmp_path.iterdir()) == []


def test_folding_something_else_is_an_error(tmp_path):
    (tmp_path / "diary").write_bytes(b"my diary, " * 1000)
    with pytest.raises(StoreError, match="cannot be folded"):
        fold_log(f"sqlite:///{tmp_path}/diary", 0)
