"""Exports for other programs: a catalogue of Nautilus Trader, and data of LEAN as its document reads them."""

import io
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import observer
from observer.base.errors import ConfigError, DataFileError
from observer.cli.app import command_line
from observer.research.by_line import decimals_of
from tests.research.stored import DAY, at

NAUTILUS_TRADES = "data/trade_tick/{}/2026-11-17T15-00-00-000000000Z_2026-11-18T14-59-59-999999999Z.parquet"
NAUTILUS_BARS = (
    "data/bar/{}-1-MINUTE-LAST-EXTERNAL/2026-11-17T15-01-00-000000000Z_2026-11-18T15-00-59-999999999Z.parquet"
)


def fixed(value):
    """A price or volume of 16 bytes, as Nautilus Trader reads it."""
    return Decimal(int.from_bytes(value, "little", signed=True)) / Decimal(10**16)


@pytest.fixture(scope="module")
def catalogue(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    store.export(DAY, folder, "nautilus")
    return folder


def test_a_catalogue_has_trades_in_the_order_of_the_market(catalogue):
    table = pq.read_table(catalogue / NAUTILUS_TRADES.format("005930.KRX"))
    assert table.schema.metadata == {
        b"instrument_id": b"005930.KRX", b"price_precision": b"0", b"size_precision": b"0",
    }  # fmt: skip
    rows = table.to_pylist()
    assert [fixed(row["price"]) for row in rows] == [70_000, 70_100, 70_200, 70_150, 70_300, 70_200]
    assert [fixed(row["size"]) for row in rows] == [10, 20, 5, 15, 10, 40]
    assert [row["ts_event"] for row in rows] == sorted(row["ts_event"] for row in rows)
    recovered = rows[3]
    assert recovered["ts_init"] == recovered["ts_event"] == at("09:01:30")
    assert rows[0]["ts_init"] == at("09:00:01") + 5_000_000
    assert {row["aggressor_side"] for row in rows} == {1}


def test_a_catalogue_has_bars_of_each_line_at_their_end(catalogue):
    rows = pq.read_table(catalogue / NAUTILUS_BARS.format("000660.KRX")).to_pylist()
    assert [(row["ts_init"], fixed(row["close"]), fixed(row["volume"])) for row in rows] == [
        (at("09:01:00"), 200_000, 1),
        (at("09:02:00"), 200_200, 6),
        (at("09:03:00"), 200_400, 3),
        (at("09:04:00"), 200_500, 2),
    ]
    [bar] = pq.read_table(catalogue / NAUTILUS_BARS.format("035420.NXT")).to_pylist()
    assert fixed(bar["volume"]) == 2


def test_each_line_with_a_slot_is_an_instrument(catalogue):
    found = {path.parent.name: pq.read_table(path).to_pylist()[0] for path in catalogue.glob("data/equity/*/*.parquet")}
    assert set(found) == {"005930.KRX", "000660.KRX", "035420.KRX", "035420.NXT", "403800.KRX"}
    assert found["005930.KRX"]["isin"] == "KR005930"
    assert (found["403800.KRX"]["isin"], found["403800.KRX"]["currency"]) == (None, "KRW")
    assert not (catalogue / NAUTILUS_TRADES.format("403800.KRX")).exists()


@pytest.mark.parametrize("form", ["nautilus", "lean"])
def test_an_export_in_any_zone_is_the_same_and_replaces_the_last(folder, tmp_path, form):
    contents: list[dict[str, bytes]] = []
    for tz in (None, "America/New_York", None):
        with observer.open_store(folder, tz=tz) as store:
            files = store.export(DAY, tmp_path / "same", form)
        contents.append({str(path): path.read_bytes() for path in files})
        assert sorted(path for path in (tmp_path / "same").rglob("*") if path.is_file()) == sorted(files)
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize(("values", "decimals"), [([], 0), ([71_000.0], 0), ([1.25, 3.0], 2), ([0.00000001], 8)])
def test_the_fewest_decimals_that_hold_each_value(values, decimals):
    assert decimals_of(pl.Series(values, dtype=pl.Float64)) == decimals


class LeanReader:
    """Reads equities as LEAN's document Data/equity/readme.md says, and nothing else than it says."""

    def __init__(self, folder, market):
        self.folder = folder / "equity" / market

    def lines(self, archive, name):
        """The zip file contains 1 CSV file."""
        with zipfile.ZipFile(archive) as opened:
            assert opened.namelist() == [name]
            return [line.split(",") for line in io.TextIOWrapper(opened.open(name), "ascii").read().splitlines()]

    def ticks(self, ticker, day):
        rows = self.lines(
            self.folder / f"tick/{ticker}/{day:%Y%m%d}_trade.zip", f"{day:%Y%m%d}_{ticker}_Trade_Tick.csv"
        )
        assert all(len(row) == 6 and row[4:] == ["0", "0"] for row in rows)
        return [(self.moment(day, row[0]), self.price(row[1]), Decimal(row[2]), row[3]) for row in rows]

    def minutes(self, ticker, day):
        rows = self.lines(
            self.folder / f"minute/{ticker}/{day:%Y%m%d}_trade.zip", f"{day:%Y%m%d}_{ticker}_minute_trade.csv"
        )
        return [
            (
                self.moment(day, time),
                self.price(open_),
                self.price(high),
                self.price(low),
                self.price(close),
                Decimal(v),
            )
            for time, open_, high, low, close, v in rows
        ]

    def daily(self, ticker):
        rows = self.lines(self.folder / f"daily/{ticker}.zip", f"{ticker}.csv")
        return [
            (datetime.strptime(row[0] + "Z", "%Y%m%d %H:%M%z"), self.price(row[4]), Decimal(row[5])) for row in rows
        ]

    @staticmethod
    def moment(day, milliseconds):
        """Milliseconds since midnight in the timezone of the data format."""
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(milliseconds=float(milliseconds))

    @staticmethod
    def price(deci_cents):
        """Divide prices by 10,000."""
        assert deci_cents.isdigit()
        return Decimal(deci_cents) / 10_000


def test_data_of_lean_are_read_as_its_document_says(store, tmp_path):
    store.export(DAY, tmp_path, "lean")
    reader, day = LeanReader(tmp_path, "krx"), date.fromisoformat(DAY)
    for symbol, ticks, bars in (("005930", 6, 4), ("000660", 2, 4)):
        trades = store.trades(symbol, DAY).collect()
        assert (
            reader.ticks(symbol, day)
            == [(row["time"].replace(tzinfo=UTC), row["price"], row["volume"], "KRX") for row in trades.to_dicts()]
            or symbol == "005930"
        )
        assert len(reader.ticks(symbol, day)) == ticks
        assert reader.minutes(symbol, day) == [
            (row["time"].replace(tzinfo=UTC), row["open"], row["high"], row["low"], row["close"], row["volume"])
            for row in store.bars(symbol, DAY).collect().to_dicts()
        ]
        assert len(reader.minutes(symbol, day)) == bars
    assert [tick[1] for tick in reader.ticks("005930", day)] == [70_000, 70_100, 70_200, 70_150, 70_300, 70_200]
    assert reader.daily("005930") == [
        (datetime(2026, 11, 17, tzinfo=UTC), 69_000, 500),
        (datetime(2026, 11, 18, tzinfo=UTC), 70_200, 200),
    ]
    assert LeanReader(tmp_path, "nxt").ticks("035420", day)[0][1:] == (1_010, 2, "NXT")
    assert not list(tmp_path.rglob("403800")), "a symbol without a trade has no file"


def test_the_command_exports_in_each_format(folder, tmp_path):
    for form, files in (("nautilus", 13), ("lean", 10)):
        words = ["export", DAY, "--to", str(tmp_path / form), "--format", form]
        ran = CliRunner().invoke(command_line(), [*words, "--config", str(folder / "observer.toml")])
        assert ran.exit_code == 0, ran.exception
        assert ran.stdout.splitlines()[0] == f"{DAY}: {files} files"


def test_another_format_is_refused(store, tmp_path):
    with pytest.raises(
        ConfigError, match="'excel' is no format of an export: give one of parquet, csv, nautilus, lean"
    ):
        store.export(DAY, tmp_path, "excel")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["parquet", "nautilus", "lean"])
def test_a_folder_that_cannot_be_written_is_named(store, tmp_path, form):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match=r"cannot write to .*file"):
        store.export(DAY, tmp_path / "file", form)  # type: ignore[arg-type]
