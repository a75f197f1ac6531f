"""A file of many rows: groups that a reader of one symbol skips, the same rows, and little space."""

import resource
import sqlite3
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from observer.archive.day import StreamRows, sealed_days
from observer.archive.digest import digest_of
from observer.archive.parquet import GROUP_ROWS, NAMES_IN_FILE, as_in_file, file_schema, read_file, write_file
from observer.archive.sealing import seal_days
from observer.store.arrow import schema_of
from observer.store.kinds import KINDS
from tests.archive.stored import DAY, MARKET, day_of, make_stored

ROWS = GROUP_ROWS * 2 + 1_000
VALUES = {pa.int64(): 1, pa.float64(): 1.0, pa.string(): "x", pa.bool_(): False}
PORTION = 50_000  # of a batch: not a divisor of a group


def batches():
    """Trades of ten symbols, as a database returns them."""
    numbers = list(range(ROWS))
    each = ROWS // 10 + 1
    filled = {
        "symbol": [f"{number // each:06}" for number in numbers],
        "sequence": numbers,
        "receive_time_ns": [1_795_000_000_000_000_000 + number * 7_919_000 for number in numbers],
        "cumulative_volume": [float(number % each) for number in numbers],
    }
    empty = {each: pa.scalar(value, each) for each, value in VALUES.items()}
    schema = schema_of("trades")
    columns = [
        pa.array(filled[field.name], field.type) if field.name in filled else pa.repeat(empty[field.type], ROWS)
        for field in schema
    ]
    whole = pa.RecordBatch.from_arrays(columns, schema=schema)
    return [whole.slice(first, PORTION) for first in range(0, ROWS, PORTION)]


def test_rows_beyond_one_group_are_all_there_in_their_order_and_a_symbol_is_in_few_groups(tmp_path):
    path, found = tmp_path / "trades.parquet", batches()
    columns = file_schema("trades").names
    written = write_file(path, "trades", as_in_file(found, "trades"), {}, {1: "a" * 32})
    assert written is not None
    assert written.streams == (StreamRows(1, "a" * 32, 0, ROWS - 1, ROWS),)
    assert (written.rows, written.digest) == digest_of(found, columns) == digest_of(read_file(path), columns)
    metadata = pq.read_metadata(path)
    place = columns.index("symbol")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [GROUP_ROWS, GROUP_ROWS, 1_000]
    ranges = [(group.column(place).statistics.min, group.column(place).statistics.max) for group in groups]
    assert ranges == [("000000", "000004"), ("000004", "000009"), ("000009", "000009")]
    assert written.size_bytes < ROWS * 5


@pytest.mark.parametrize("kind", KINDS)
def test_every_stored_column_is_in_the_file_or_in_the_names_of_its_folders(kind):
    stored, there = schema_of(kind).names, file_schema(kind).names
    expected = [NAMES_IN_FILE.get(name, name) for name in stored if name not in ("market", "session_date")]
    assert there == expected
    assert not {"kind", "market", "session_date"} & set(there), "a folder's name would hide the column"
    assert len(set(there)) == len(there)


def test_no_rows_make_no_file(tmp_path):
    assert write_file(tmp_path / "trades.parquet", "trades", [], {}, {}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_the_lake_as_it_was(tmp_path):
    url, lake = make_stored(tmp_path, *day_of()), tmp_path / "lake"

    def seal():
        return list(seal_days(lake, url, MARKET, [DAY], lambda: 1, threading.Event()))

    reader = sqlite3.connect(url.removeprefix("sqlite:///"))  # keeps the file that SQLite's readers share
    reader.execute("SELECT count(*) FROM trades").fetchone()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))  # smaller than any file of a kind
    try:
        with pytest.raises(OSError, match="File too large"):
            seal()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        reader.close()
    assert sealed_days(lake) == []
    assert list(lake.glob("kind=*")) == []
    [result] = seal()
    assert result.day.rows == 62
    assert list((lake / "_staging").iterdir()) == []
