"""The made-up days of the measurements of lake and store, how a database gets them, and the bytes of their rows."""

from datetime import date

import polars as pl
import pyarrow as pa
import pytest

from observer.archive.parquet import as_in_file, write_file
from observer.store.arrow import schema_of
from observer.store.sealing import SealingReader
from observer.store.writer import StoreWriter
from tests.bench.held import HELD_UID, held_days, load
from tests.bench.market_day import sweeps_of_day, symbols_of_market, trades_of_day
from tests.bench.sizes import sizes_of_trades
from tests.store.migrated import make_database

DAY = date(2026, 11, 18)
SYMBOLS = symbols_of_market(7)


@pytest.fixture
def url(tmp_path):
    made = f"sqlite:///{tmp_path / 'observer.db'}"
    make_database(made)
    return made


def day(trades=500, seed=1):
    return trades_of_day(SYMBOLS, trades, DAY, seed, 1)


def test_the_same_seed_gives_the_same_day_and_another_one_another():
    assert day().equals(day())
    assert not day().equals(day(seed=2))


def test_the_volume_of_each_symbol_grows_by_its_trades_and_the_numbers_are_those_of_arrival():
    frame = pl.DataFrame(day().to_pydict())
    assert frame.equals(frame.sort("symbol", "exchange_time_ns", "cumulative_volume"))
    summed = frame.select(pl.col("volume").cum_sum().over("symbol"), pl.col("cumulative_volume"))
    assert summed["volume"].to_list() == summed["cumulative_volume"].to_list()
    arrived = frame.sort("sequence")
    assert arrived["sequence"].to_list() == list(range(1, 501))
    assert arrived["receive_time_ns"].is_sorted()


def test_each_symbol_is_in_each_sweep():
    seen = sweeps_of_day(day(), SYMBOLS, DAY, 1)
    assert seen.schema.equals(schema_of("snapshots"))
    assert seen.num_rows == len(SYMBOLS) * 38
    assert sorted(seen["sequence"].to_pylist()) == list(range(1, seen.num_rows + 1))


def test_loaded_rows_are_those_of_the_day_and_the_writer_goes_on_behind_them(url):
    load(url, [("trades", day().sort_by("sequence"))])
    with SealingReader(url) as reader:
        found = pa.Table.from_batches(list(reader.batches("trades", DAY.isoformat())))
    assert found.equals(day())
    writer = StoreWriter(url)
    writer.open()
    assert writer.high_water_marks([HELD_UID]) == {HELD_UID: 500}
    writer.close()


def test_held_days_are_of_one_stream_without_a_gap():
    tables = list(held_days(600_000, 41))
    assert [table.num_rows for table in tables] == [500_000, 100_000]
    assert tables[1]["sequence"].to_pylist() == list(range(500_001, 600_001))
    assert len({table["session_date"][0].as_py() for table in tables}) == 2


def test_the_parts_of_a_row_are_its_columns_its_index_and_the_rest(url):
    load(url, [("trades", day(20_000).sort_by("sequence"))])
    whole, *parts = sizes_of_trades(url, 20_000)
    found = {part.part: part.bytes_per_row for part in parts}
    assert whole.bytes_per_row == pytest.approx(sum(found.values()))
    assert found["column group_id"] <= 4
    assert found["column receive_time_ns"] == 8
    assert found["index ix_trade_rows_group_id"] > 5
    assert 0 < found["groups, with their index"] < 5
    assert 10 < found["row heads, alignment and free space"] < 60


@pytest.mark.parametrize(("doubled", "is_distinct"), [(False, True), (True, False)])
@pytest.mark.parametrize("at", [0, 122_879, 130_000])  # the second one and its double lie in two groups of rows
def test_a_file_says_whether_no_trade_in_it_is_stored_twice(tmp_path, at, doubled, is_distinct):
    rows = day(140_000)
    rows = pa.concat_tables([rows.slice(0, at + 1), rows.slice(at if doubled else at + 1)])
    written = write_file(tmp_path / "x.parquet", "trades", as_in_file(rows.to_batches(), "trades"), {}, {1: "5" * 32})
    assert written is not None
    assert written.is_distinct == is_distinct
