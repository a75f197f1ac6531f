"""Rows of a day as columns, on both databases: the same rows in the same order, from one transaction."""

import sqlite3
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest

from bus.events import GapDetected, GapRecovered, NavObserved, QualityJudged, StreamedTime, SweepCompleted, Trade
from observer.base.errors import StoreError
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.store.arrow import read_batches, read_marks, schema_of
from observer.store.day_rows import count_days, count_rows
from observer.store.engine import open_reader
from observer.store.kinds import KINDS
from observer.store.tables import EVENT_TABLES
from tests.builders import trade

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
MIDNIGHT_NS = local_ns(date(2026, 11, 18))
STREAM, LATER_STREAM = "5" * 32, "6" * 32


@pytest.fixture
def engine(database_url):
    engine = open_reader(database_url)
    yield engine
    engine.dispose()


def rows_of(batches):
    return [row for batch in batches for row in batch.to_pylist()]


def gap(gap_id, session_date):
    return GapDetected(gap_id, "kis", "005930", session_date, 3, 1, 2, 10.0, 20.0, 9.0, 9, "reconnect")


def test_rows_are_sorted_by_symbol_time_volume_stream_and_sequence(store, engine):
    store(
        trade(3, symbol="005930"),
        trade(2, symbol="005930.NXT", exchange_time_ns=7, cumulative_volume=9.0),
        trade(1, symbol="005930"),
        trade(2, symbol="000660", exchange_time_ns=7, cumulative_volume=2.0),
        trade(5, symbol="000660", exchange_time_ns=7, cumulative_volume=1.0),
        trade(6, symbol="000660", exchange_time_ns=6, cumulative_volume=3.0),
        trade(6, symbol="0A0660", exchange_time_ns=6, cumulative_volume=3.0),
    )
    store(trade(2, symbol="000660", exchange_time_ns=7, cumulative_volume=2.0), stream=LATER_STREAM)
    rows = rows_of(read_batches(engine, "trades", DAY, columns=["symbol", "cumulative_volume", "stream"], rows=3))
    assert [(row["symbol"], row["cumulative_volume"]) for row in rows] == [
        ("000660", 3.0), ("000660", 1.0), ("000660", 2.0), ("000660", 2.0),
        ("005930", 1.0), ("005930", 3.0), ("005930.NXT", 9.0), ("0A0660", 3.0),
    ]  # fmt: skip
    assert rows[2]["stream"] < rows[3]["stream"]  # type: ignore[operator]


def test_a_row_has_the_values_of_its_event(store, engine):
    first = trade(1, price=0.1, cumulative_trades=None, bid=None, gap_id="g", side_inferred=True, session="after")
    store(first)
    [row] = rows_of(read_batches(engine, "trades", DAY))
    expected = {name: getattr(first, name) for name in first.__struct_fields__}
    assert row == {"stream": row["stream"], "sequence": 1, **expected}


def test_a_batch_has_at_most_the_wanted_rows_and_the_schema_of_its_kind(store, engine):
    store(*(trade(number) for number in range(1, 6)))
    batches = list(read_batches(engine, "trades", DAY, rows=2))
    assert [batch.num_rows for batch in batches] == [2, 2, 1]
    assert {batch.schema.equals(schema_of("trades"), check_metadata=True) for batch in batches} == {True}


def test_rows_of_other_days_and_symbols_are_left_out(store, engine):
    store(trade(1), trade(2, session_date=NEXT_DAY), trade(3, symbol="000660"), trade(4, symbol="035720"))
    found = rows_of(read_batches(engine, "trades", DAY, symbols=["005930", "035720"], columns=["cumulative_volume"]))
    assert found == [{"cumulative_volume": 1.0}, {"cumulative_volume": 4.0}]


def test_a_kind_without_symbols_ignores_them(store, engine):
    store(SweepCompleted("kis", DAY, 1, 2, 3, 4, 4, 1))
    assert [row["sweep"] for row in rows_of(read_batches(engine, "sweeps", DAY, symbols=["005930"]))] == [1]


def test_a_kind_without_a_date_belongs_to_the_local_day_of_its_time(store, engine):
    times = [MIDNIGHT_NS - 1, MIDNIGHT_NS, MIDNIGHT_NS + 86_400 * NS_PER_S - 1, MIDNIGHT_NS + 86_400 * NS_PER_S]
    store(*(NavObserved("kis", "069500", each, 1.0, 0.0, None, None, None) for each in times))
    assert [row["receive_time_ns"] for row in rows_of(read_batches(engine, "navs", DAY))] == times[1:3]


def test_many_days_of_more_lines_than_one_statement_can_name_are_counted(store, engine):
    lines, days = 800, [(date(2026, 11, 18) - timedelta(days=ago)).isoformat() for ago in range(90)]
    store(*(NavObserved("kis", f"{line:06}", MIDNIGHT_NS, 1.0, 0.0, None, None, None) for line in range(lines)))
    store(NavObserved("kis", "000001", local_ns(date(2026, 11, 1)), 1.0, 0.0, None, None, None))
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":  # as the library is built by default
            driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
        counted = count_days(connection, "navs", days)
        assert counted == {**dict.fromkeys(days, 0), "2026-11-18": lines, "2026-11-01": 1}
        assert count_days(connection, "navs", []) == {}


def test_a_recovery_belongs_to_the_day_of_its_gap(store, engine):
    store(gap("mine", DAY), gap("other", NEXT_DAY))
    late_ns = MIDNIGHT_NS + 90_000 * NS_PER_S
    store(*(GapRecovered(each, "005930", late_ns, "time_and_sales", 9, 9.0, True) for each in ("mine", "other")))
    assert [row["gap_id"] for row in rows_of(read_batches(engine, "gap_recoveries", DAY))] == ["mine"]


def test_a_document_is_its_json_text(store, engine):
    judged = QualityJudged("kis", "005930", DAY, 1, "complete", "", 1.0, 1, 1.0, 0.0, 0.0, 0.0, 0, 0)
    store(QualityJudged(**{**{name: getattr(judged, name) for name in judged.__struct_fields__},
                           "intervals": (StreamedTime(1, 2),)}))  # fmt: skip
    [row] = rows_of(read_batches(engine, "quality", DAY))
    assert row["intervals"] == '[{"from_ns":1,"to_ns":2}]'


def test_marks_and_rows_of_one_transaction_leave_out_what_is_committed_later(store, engine):
    store(trade(1), trade(2))
    with engine.connect() as connection:
        before = read_marks(connection)
        store(trade(3))
        rows = rows_of(read_batches(connection, "trades", DAY))
        assert count_rows(connection, "trades", DAY) == 2
    assert list(before.values()) == [2]
    assert max(row["sequence"] for row in rows) == 2  # type: ignore[type-var]


def test_an_unknown_kind_or_column_is_named(engine):
    with pytest.raises(StoreError, match="no kind of data 'trade'"):
        list(read_batches(engine, "trade", DAY))
    with pytest.raises(StoreError, match="trades has no column prise"):
        list(read_batches(engine, "trades", DAY, columns=["prise"]))


def test_every_kind_reads_a_day_without_rows(engine):
    assert {kind: rows_of(read_batches(engine, kind, DAY)) for kind in KINDS} == {kind: [] for kind in KINDS}


def test_the_schema_has_the_tables_columns_and_their_units():
    schema = schema_of("trades")
    assert schema.names == [column.name for column in EVENT_TABLES[Trade].columns]
    assert schema.field("exchange_time_ns").type == pa.int64()
    assert schema.field("cumulative_trades").nullable
    assert not schema.field("price").nullable
    units = {name: (schema.field(name).metadata or {}).get(b"unit") for name in ("exchange_time_ns", "volume", "side")}
    assert units == {"exchange_time_ns": b"ns since 1970-01-01T00:00:00Z", "volume": b"shares", "side": None}
