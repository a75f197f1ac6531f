"""The day files of a system without a lake: CSV from either database, with the rows of the Parquet ones."""

import csv
import threading

import pyarrow.parquet as pq
import pytest

from bus.events import TradesConflated
from observer.archive.day_files import DayFiles
from observer.archive.sealing import seal_days
from observer.base.errors import DataFileError, StoppedError
from tests.archive.stored import DAY, MARKET, NEXT_DAY, append, day_of, of_every_kind
from tests.builders import trade

GO_ON = threading.Event()
KINDS = ("snapshots", "daily_bars", "conflated_trades", "recovered_minute_bars")
# Texts in another order, with a comma and a quote, no value, a fraction, a flag, and a trade of two lines' symbols.
EVENTS = (
    *day_of(each=5),
    *of_every_kind(DAY, "000990", 1, KINDS),
    trade(7, symbol="0a0000", price=0.1 + 0.2, bid=None, ask=None, cumulative_trades=None),
    trade(8, symbol="0Z0000.NXT", gap_id='a,"b"\n가', side_inferred=True, session="after"),
)


def conflated(first, last, trades):
    prices = (1_000.0, 1_010.0, 990.0, 1_005.0)
    return TradesConflated("kis", "000010", DAY, 5, 6, 7, trades, last - first, *prices, last, None, venue="KRX")


def fetched(total):
    return trade(1, symbol="000010", volume=4.0, cumulative_volume=total, gap_id="late")


def written(folder, url, last=NEXT_DAY, lake=()):
    """Bring the tables up to date; return the names of those that were written."""
    paths = DayFiles(folder, "kis").write_tables(url, MARKET, last, lake, GO_ON)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def table_of(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.reader(file))


def parquet_of(path):
    """The columns and rows of a Parquet file as a table has them: no value is an empty text."""
    found = pq.ParquetFile(path).read()
    rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
    return [found.schema.names, *(["" if value is None else str(value) for value in row] for row in rows)]


def test_each_table_has_the_columns_and_the_rows_of_the_parquet_file(database_url, tmp_path):
    append(database_url, *EVENTS, conflated(0, 8, 2), conflated(8, 16, 2), fetched(4.0), fetched(8.0), fetched(20.0))
    names = written(tmp_path / "tables", database_url)
    [result] = seal_days(tmp_path / "lake", database_url, MARKET, [DAY], lambda: 1, GO_ON)
    files = DayFiles(tmp_path / "files", "kis").write(tmp_path / "lake", result.day)
    folder = f"kis/{MARKET}/20261118"
    assert names == sorted(
        [
            *(f"scalp/{folder}/{kind}.csv" for kind in ("conflated_trades", "recovered_minute_bars", "trades")),
            *(f"swing/{folder}/{kind}.csv" for kind in ("daily_bars", "snapshots")),
        ]
    )
    assert len(files) == len(names)
    for path in files:
        name = path.relative_to(tmp_path / "files").with_suffix(".csv").as_posix()
        assert table_of(tmp_path / "tables", name) == parquet_of(path)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "tables").rglob("*.csv")} == {0}


def test_a_share_of_a_conflated_row_and_of_a_trade_is_in_one_table(database_url, tmp_path):
    rows = (conflated(0, 8, 2), conflated(8, 16, 2), conflated(16, 24, 2))
    append(database_url, *day_of(symbols=1, each=0), *rows, fetched(4.0), fetched(8.0), fetched(20.0))

    def left():
        header, *found = table_of(tmp_path, f"scalp/kis/{MARKET}/20261118/conflated_trades.csv")
        return [(row[header.index("volume")], row[header.index("trades")]) for row in found]

    written(tmp_path, database_url)
    assert left() == [("8.0", "2"), ("4.0", "1")]
    append(database_url, fetched(24.0))
    written(tmp_path, database_url)
    assert left() == [("8.0", "2")]


def test_a_day_is_written_anew_when_its_rows_are_others_and_only_then(database_url, tmp_path):
    append(database_url, *day_of(each=2), *of_every_kind(DAY, "000990", 1, ("snapshots",)))
    trades, snapshots = (
        f"{kind}.csv" for kind in ("scalp/kis/krx/20261118/trades", "swing/kis/krx/20261118/snapshots")
    )
    assert written(tmp_path, database_url) == [trades, snapshots]
    assert written(tmp_path, database_url) == []
    append(database_url, trade(99, symbol="000010"))
    assert written(tmp_path, database_url) == [trades]
    assert len(table_of(tmp_path, trades)) == 1 + 7
    (tmp_path / snapshots).unlink()
    assert written(tmp_path, database_url) == [snapshots]


def test_a_day_that_is_not_over_and_one_that_the_lake_has_are_left_alone(database_url, tmp_path):
    append(database_url, *day_of(each=2), *day_of(NEXT_DAY, each=2))
    assert written(tmp_path, database_url, last=DAY, lake=[DAY]) == []
    assert written(tmp_path, database_url, last=DAY) == ["scalp/kis/krx/20261118/trades.csv"]
    assert written(tmp_path, database_url, lake=[DAY]) == ["scalp/kis/krx/20261119/trades.csv"]


def test_a_day_long_past_that_has_its_tables_is_not_counted_again(database_url, tmp_path):
    days = [f"2026-11-{day:02}" for day in range(2, 10)]
    kinds = ("snapshots", "recovered_minute_bars")
    append(database_url, *(event for day in days for event in (*day_of(day, 1, 1), *of_every_kind(day, "1", 1, kinds))))
    assert len(written(tmp_path, database_url)) == 3 * len(days)
    append(database_url, *(trade(99, symbol="000010", session_date=day) for day in days))
    assert written(tmp_path, database_url) == [
        f"scalp/kis/krx/{day.replace('-', '')}/{kind}.csv" for day in days[1:] for kind in (kinds[1], "trades")
    ]


def test_what_is_interrupted_leaves_the_table_as_it_was_and_is_done_next_time(database_url, tmp_path):
    append(database_url, *day_of(each=2))
    [name] = written(tmp_path, database_url)
    before = (tmp_path / name).read_bytes()
    append(database_url, trade(99, symbol="000010"))
    (stop := threading.Event()).set()
    with pytest.raises(StoppedError, match="was interrupted"):
        DayFiles(tmp_path, "kis").write_tables(database_url, MARKET, DAY, (), stop)
    assert (tmp_path / name).read_bytes() == before
    killed = (tmp_path / name).with_name(".trades.csv.999999.part")
    killed.write_text("what a kill leaves")
    assert written(tmp_path, database_url) == [name]
    assert not killed.exists()


@pytest.mark.parametrize("damaged", ["", "no JSON", '{"trades": "x"}'])
def test_a_day_whose_numbers_of_rows_cannot_be_read_is_written_anew(database_url, tmp_path, damaged):
    append(database_url, *day_of(each=2))
    [name] = written(tmp_path, database_url)
    (tmp_path / name).with_name(".rows.json").write_text(damaged)
    assert written(tmp_path, database_url) == [name]


def test_a_table_that_cannot_be_written_is_an_error_that_names_the_day(database_url, tmp_path):
    append(database_url, *day_of(each=2))
    (tmp_path / "scalp").write_text("no folder")
    with pytest.raises(DataFileError, match=f"the day files of {DAY} are not written"):
        written(tmp_path, database_url)


def test_a_day_that_is_sealed_later_has_one_file_of_each_kind(database_url, tmp_path):
    append(database_url, *EVENTS)
    assert len(written(tmp_path / "observer", database_url)) == 5
    [result] = seal_days(tmp_path / "lake", database_url, MARKET, [DAY], lambda: 1, GO_ON)
    DayFiles(tmp_path / "observer", "kis").write(tmp_path / "lake", result.day)
    assert {path.suffix for path in (tmp_path / "observer").rglob("*.*") if path.stem in (*KINDS, "trades")} == {
        ".parquet"
    }
