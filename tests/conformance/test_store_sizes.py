"""Sizes of the database and of its tables, on both kinds, without a look at a table that grows."""

import pytest
from sqlalchemy import make_url

from observer.store.sizes import SizeReader
from observer.store.statistics import refresh_statistics
from tests.builders import trades
from tests.store.filled import SESSIONS, events
from tests.store.stored import stored

DAY, NEXT_DAY = SESSIONS


@pytest.fixture
def filled(database_url):
    stored(database_url, *events(), *trades(500))
    return database_url


def test_after_the_statistics_the_rows_of_every_table_are_known(filled):
    refresh_statistics(filled)
    with SizeReader(filled) as reader:
        size = reader.sizes()
    tables = {table.name: table for table in size.tables}
    assert tables["trade_rows"].rows == pytest.approx(532, abs=20)
    assert not tables["trade_rows"].is_exact
    assert (tables["streams"].rows, tables["streams"].is_exact) == (1, True)
    assert all(table.rows is not None for table in size.tables)


def test_tables_have_their_bytes_with_their_indexes_and_the_largest_is_first(filled):
    with SizeReader(filled) as reader:
        size = reader.sizes()
    found = [table.size_bytes or 0 for table in size.tables]
    assert found == sorted(found, reverse=True)
    assert 0 < sum(found) <= size.size_bytes
    assert all(table.size_bytes for table in size.tables)


def test_an_empty_table_is_known_to_be_empty_without_statistics(database_url):
    with SizeReader(database_url) as reader:
        tables = {table.name: table for table in reader.sizes().tables}
    assert (tables["trade_rows"].rows, tables["trade_rows"].is_exact) == (0, True)


def test_a_large_sqlite_file_is_not_read_for_the_bytes_of_its_tables(filled):
    with SizeReader(filled) as reader:
        size = reader.sizes(pages_read_bytes_max=1)
    is_sqlite = make_url(filled).get_backend_name() == "sqlite"
    assert {table.size_bytes is None for table in size.tables} == {is_sqlite}
    assert size.size_bytes > 0


def test_the_last_days_are_listed_with_the_rows_that_an_index_finds(filled):
    with SizeReader(filled) as reader:
        days = reader.last_days(5)
        rows = reader.day_rows(days[0])
        assert reader.last_days(1) == days[:1]
        assert reader.day_rows("2030-01-01") == {}
    assert days == sorted({DAY, NEXT_DAY}, reverse=True) or days == [DAY]
    assert rows["sweeps"] >= 1
    assert "trade_rows" not in rows
