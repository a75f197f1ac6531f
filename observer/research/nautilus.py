"""A day as a catalogue of Nautilus Trader (`ParquetDataCatalog`, 1.221): instruments, trades and bars of a minute.

The form is what `ParquetDataCatalog.write_data` writes: `data/CLASS/INSTRUMENT/FIRST_LAST.parquet` with the two moments
in the name; prices and volumes are integers of 16 bytes in units of 1e-16, as its builds for Linux and macOS have them.
A file's name has the bounds of the day instead of its first and last row, so that a later export of the day replaces
the file. Nautilus Trader is not needed to write it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from observer.base.files import replacing
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_MINUTE, NS_PER_S
from observer.research.by_line import LineDay, scaled, utc_ns

_FIXED_DECIMALS: Final = 16  # of its prices and volumes
_FIXED: Final = pa.binary(16)
_SIDES: Final = {"buy": 1, "sell": 2}
_NO_SIDE: Final = 0
_EQUITY: Final = pa.schema(
    {
        "id": pa.dictionary(pa.int64(), pa.string()),
        "raw_symbol": pa.string(),
        "currency": pa.dictionary(pa.int16(), pa.string()),
        "price_precision": pa.uint8(),
        "price_increment": pa.dictionary(pa.int16(), pa.string()),
        "lot_size": pa.dictionary(pa.int16(), pa.string()),
        "isin": pa.string(),
        **dict.fromkeys(("margin_init", "margin_maint", "maker_fee", "taker_fee"), pa.string()),
        "info": pa.binary(),
        "ts_event": pa.uint64(),
        "ts_init": pa.uint64(),
    },
    metadata={"class": "Equity"},
)


def write_catalogue(
    lines: Iterator[LineDay], day: date, folder: Path, currency: str, isins: Mapping[str, str]
) -> Sequence[Path]:
    """Add the lines' day to the catalogue in a folder, and return the files. `isins`: by symbol, where known.

    A streamed trade comes when it was received, a recovered one at its own time, so that a backtest has the market's
    order. A bar comes at its end. The side of a trade is unknown where no side was stated.
    """
    begin_ns, end_ns = local_ns(day), local_ns(day + timedelta(days=1))
    files = []
    for line in lines:
        instrument = f"{line.symbol}.{line.venue}"
        bar_type = f"{instrument}-1-MINUTE-LAST-EXTERNAL"
        common = {
            "instrument_id": instrument,
            "price_precision": str(line.price_decimals),
            "size_precision": str(line.volume_decimals),
        }
        equity = _equity(line, instrument, currency, isins.get(line.symbol))
        tables = [("equity", instrument, equity, (0, 0))]
        if line.trades.height:
            trades = _trades(line, day).replace_schema_metadata(common)
            tables.append(("trade_tick", instrument, trades, (begin_ns, end_ns - 1)))
        if line.bars.height:
            bars = _bars(line).replace_schema_metadata({"bar_type": bar_type, **common})
            tables.append(("bar", bar_type, bars, (begin_ns + NS_PER_MINUTE, end_ns + NS_PER_MINUTE - 1)))
        for kind, name, table, (first_ns, last_ns) in tables:
            path = folder / "data" / kind / name / f"{_moment(first_ns)}_{_moment(last_ns)}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                pq.write_table(table, file, compression="zstd")
            files.append(path)
    return files


def _equity(line: LineDay, instrument: str, currency: str, isin: str | None) -> pa.Table:
    decimals = line.price_decimals
    row: dict[str, Any] = {
        "id": instrument,
        "raw_symbol": line.symbol,
        "currency": currency,
        "price_precision": decimals,
        "price_increment": f"{10**-decimals:.{decimals}f}",
        "lot_size": "1",
        "isin": isin,
        **dict.fromkeys(("margin_init", "margin_maint", "maker_fee", "taker_fee"), "0"),
        "info": b"null",
        "ts_event": 0,
        "ts_init": 0,
    }
    return pa.Table.from_pylist([row], _EQUITY)


def _trades(line: LineDay, day: date) -> pa.Table:
    event_ns, received_ns = utc_ns(line.trades["time"]), utc_ns(line.trades["received"])
    is_streamed = line.trades["source"] == "stream"
    frame = line.trades.with_columns(
        event_ns=event_ns,
        init_ns=pl.select(
            pl.when(is_streamed).then(pl.max_horizontal(received_ns, event_ns)).otherwise(event_ns)
        ).to_series(),
        number=scaled(line.trades["cumulative_volume"], line.volume_decimals),
    ).sort("init_ns", "number")
    columns = {
        "price": _fixed(frame["price"], line.price_decimals),
        "size": _fixed(frame["volume"], line.volume_decimals),
        "aggressor_side": frame["side"].replace_strict(_SIDES, default=_NO_SIDE, return_dtype=pl.UInt8).to_arrow(),
        "trade_id": pa.array([f"{day:%Y%m%d}-{number}" for number in frame["number"]]),
        "ts_event": frame["event_ns"].cast(pl.UInt64).to_arrow(),
        "ts_init": frame["init_ns"].cast(pl.UInt64).to_arrow(),
    }
    return _required(columns)


def _bars(line: LineDay) -> pa.Table:
    prices = {name: _fixed(line.bars[name], line.price_decimals) for name in ("open", "high", "low", "close")}
    ends = (utc_ns(line.bars["time"]) + NS_PER_MINUTE).cast(pl.UInt64).to_arrow()
    volume = _fixed(line.bars["volume"], line.volume_decimals)
    return _required({**prices, "volume": volume, "ts_event": ends, "ts_init": ends})


def _required(columns: Mapping[str, Any]) -> pa.Table:
    """A table whose columns are all not null."""
    cast = {name: each.cast(pa.string()) if name == "trade_id" else each for name, each in columns.items()}
    schema = pa.schema([pa.field(name, each.type, nullable=False) for name, each in cast.items()])
    return pa.Table.from_arrays(list(cast.values()), schema=schema)


def _fixed(values: pl.Series, decimals: int) -> Any:
    """The values as integers of 16 bytes in units of 1e-16: the storage of Arrow's decimals with that scale."""
    whole = scaled(values, decimals).to_arrow().cast(pa.decimal128(19, 0))
    stored = whole.cast(pa.decimal128(38, _FIXED_DECIMALS - decimals))
    return pa.Array.from_buffers(_FIXED, len(stored), [None, stored.buffers()[1]], offset=stored.offset)


def _moment(at_ns: int) -> str:
    """A moment as the catalogue's file names have it."""
    whole, rest_ns = divmod(at_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H-%M-%S}-{rest_ns:09}Z"
