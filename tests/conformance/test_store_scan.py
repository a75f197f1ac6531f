"""A day's rows read as they are stored and sorted by columns, on both databases: those of the sorted statement."""

import contextlib
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

from bus.events import Trade
from observer.base.errors import StoppedError, StoreError
from observer.store.arrow import fetched, read_batches, schema_of
from observer.store.columns import can_read_columns, read_columns
from observer.store.engine import open_reader
from observer.store.research import ResearchReader
from observer.store.scan import ROWS_MIN, read_spans, spans_of
from observer.store.sealing import SealingReader
from observer.store.tables import EVENT_TABLES
from tests.archive.stored import make_stored, of_every_kind
from tests.builders import trade

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
STREAMS = ("5" * 32, "6" * 32)

Store = Callable[..., None]
needs_adbc = pytest.mark.skipif(not can_read_columns(), reason="adbc-driver-sqlite is not installed")


@pytest.fixture
def engine(database_url):
    engine = open_reader(database_url)
    yield engine
    engine.dispose()


def trades_of_two_days():
    """Of four symbols out of order, days in turn, equal times; columns that are NULL in the first rows only."""
    return [
        trade(
            1 + number * 7 % 5,
            symbol=("005930", "0A0660", "000660", "005930.NXT")[number * number % 4],
            session_date=(DAY, DAY, NEXT_DAY)[number % 3],
            cumulative_volume=float(number % 4),
            price=0.1 + number,
            bid=None if number < 20 else 0.3,
            gap_id=None if number < 20 else f'gap, "{number}"\n',
            side_inferred=number % 2 == 0,
        )
        for number in range(40)
    ]


def sorted_rows(engine, kind="trades"):
    return pa.Table.from_batches(list(read_batches(engine, kind, DAY)), schema_of(kind))


def scanned_rows(engine, lot_rows, kind="trades", columns_min=ROWS_MIN):
    with engine.connect() as connection, tempfile.TemporaryDirectory() as folder:
        spans = spans_of(connection, kind, DAY)
        found = list(read_spans(connection, kind, DAY, spans, Path(folder), None, lot_rows, columns_min))
        assert list(Path(folder).iterdir()) == [], "its files are gone"
    return pa.Table.from_batches(found, schema_of(kind))


@pytest.mark.parametrize(("lot_rows", "columns_min"), [(1, ROWS_MIN), (7, 1), (7, ROWS_MIN), (1_000, 1)])
def test_rows_and_their_order_are_those_of_the_sorted_statement(store, engine, lot_rows, columns_min):
    for stream in STREAMS:
        store(*trades_of_two_days(), stream=stream)
    expected = sorted_rows(engine)
    assert expected.num_rows == 2 * 27
    found = scanned_rows(engine, lot_rows, columns_min=columns_min)
    assert found.equals(expected)
    assert found.schema.equals(expected.schema, check_metadata=True)


@pytest.mark.parametrize("columns", [["volume"], ["venue", "volume", "symbol"], ["sequence", "stream", "gap_id"]])
def test_the_asked_columns_are_read_in_the_same_order_of_rows(store, engine, database_url, monkeypatch, columns):
    for stream in STREAMS:
        store(*trades_of_two_days(), stream=stream)
    expected = pa.Table.from_batches(list(read_batches(engine, "trades", DAY, columns=columns)))
    monkeypatch.setattr("observer.store.research.ROWS_MIN", expected.num_rows)
    monkeypatch.setattr("observer.store.research.read_days", None)
    with contextlib.closing(ResearchReader(database_url)) as reader:
        assert pa.Table.from_batches(list(reader.batches("trades", [DAY], None, columns))).equals(expected)


@pytest.mark.parametrize("kind", ["snapshots", "order_books", "fetched_minute_bars"])
def test_other_kinds_of_many_rows_are_read_likewise(store, engine, kind):
    for number in range(6):
        store(*of_every_kind((DAY, NEXT_DAY)[number % 2], f"00{number * 7 % 4}000", number, [kind]))
    assert scanned_rows(engine, 2, kind).equals(sorted_rows(engine, kind))


def test_a_day_whose_late_rows_lie_far_from_the_others_is_not_scanned(store, engine):
    store(trade(1), *(trade(number, session_date=NEXT_DAY) for number in range(100)), trade(2))
    with engine.connect() as connection:
        assert not spans_of(connection, "trades", DAY)
        [span] = spans_of(connection, "trades", NEXT_DAY)
    assert (span.last - span.first + 1, span.rows) == (100, 100)


def test_the_files_of_a_reading_have_no_name_once_it_gives_rows(store, engine, tmp_path):
    store(*trades_of_two_days())
    with engine.connect() as connection:
        spans = spans_of(connection, "trades", DAY)
        (tmp_path / "lots").mkdir()
        reading = read_spans(connection, "trades", DAY, spans, tmp_path / "lots", lot_rows=7)
        assert next(reading).num_rows
        assert list((tmp_path / "lots").iterdir()) == []
        reading.close()


def test_a_stop_interrupts_the_reading(store, engine):
    store(*trades_of_two_days())
    stop = threading.Event()
    stop.set()
    with engine.connect() as connection, pytest.raises(StoppedError):
        list(read_spans(connection, "trades", DAY, spans_of(connection, "trades", DAY), stop=stop))


@pytest.mark.parametrize("kind", ["sweeps", "daily_bars"])
def test_a_kind_of_few_rows_is_scanned_only_where_symbols_order_it(store, engine, kind):
    store(*of_every_kind(DAY, "000010", 1, [kind]))
    with engine.connect() as connection:
        assert bool(spans_of(connection, kind, DAY)) == (kind == "daily_bars")


def test_a_reader_takes_the_scan_for_a_day_of_many_rows_until_it_is_stopped(
    store, engine, database_url, tmp_path, monkeypatch
):
    store(*trades_of_two_days())
    expected = sorted_rows(engine)
    monkeypatch.setattr("observer.store.sealing.ROWS_MIN", expected.num_rows)
    monkeypatch.setattr("observer.store.sealing.read_batches", None)
    stop = threading.Event()
    reader = SealingReader(database_url, tmp_path, stop)
    with reader, contextlib.closing(reader.batches("trades", DAY)) as found:
        assert pa.Table.from_batches(list(found)).equals(expected)
    stop.set()
    reader = SealingReader(database_url, tmp_path, stop)
    with reader, contextlib.closing(reader.batches("trades", DAY)) as found, pytest.raises(StoppedError):
        list(found)


@needs_adbc
class TestColumnsOfSqlite:
    """The two ways to read SQLite give the same values."""

    @given(
        prices=st.lists(st.floats(allow_nan=False), min_size=1, max_size=20),
        words=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        count=st.none() | st.integers(-(2**63), 2**63 - 1),
    )
    @pytest.mark.slow
    def test_any_values_are_the_same(self, prices, words, count):
        with tempfile.TemporaryDirectory() as folder:
            rows = [trade(1, price=price, gap_id=words, cumulative_trades=count) for price in prices]
            both = self.read_both(make_stored(Path(folder), *rows))
        assert both[0].equals(both[1])

    def test_null_in_the_first_rows_and_values_later_are_the_same(self, tmp_path):
        nulls = [trade(number, bid=None, cumulative_trades=None) for number in range(40)]
        url = make_stored(tmp_path, *nulls, trade(41, gap_id="g", bid=0.1))
        by_adbc, by_python = self.read_both(url)
        assert by_adbc.equals(by_python)
        assert by_adbc["gap_id"].to_pylist()[-1] == "g"

    def test_an_error_of_the_other_process_is_ours(self, tmp_path):
        engine = open_reader(make_stored(tmp_path, trade(1)))
        table = EVENT_TABLES[Trade]
        missing = select(table.c.symbol.label("x")).where(text("absent = 1"))
        with engine.connect() as connection, pytest.raises(StoreError, match="no such column: absent"):
            list(read_columns(connection, missing, pa.schema([("x", pa.string())])))

    def test_an_iterator_that_is_left_early_ends_the_other_process(self, tmp_path):
        engine = open_reader(make_stored(tmp_path, *(trade(number) for number in range(40))))
        with engine.connect() as connection:
            rows = read_columns(connection, select(EVENT_TABLES[Trade]), schema_of("trades"))
            assert next(rows).num_rows == 40
            rows.close()  # type: ignore[attr-defined]

    @staticmethod
    def read_both(url):
        engine, schema = open_reader(url), schema_of("trades")
        statement = select(EVENT_TABLES[Trade])
        with engine.connect() as connection:
            by_adbc = list(read_columns(connection, statement, schema))
            by_python = list(fetched(connection, statement, schema, {}, 7))
        return pa.Table.from_batches(by_adbc, schema), pa.Table.from_batches(by_python, schema)
