"""A day as data files of LEAN: trades, bars of a minute and daily bars of equities, each a CSV file in a ZIP archive.

The form is that of the document Data/equity/readme.md of LEAN. MARKET is the venue's name in small letters:

    equity/MARKET/tick/SYMBOL/20261118_trade.zip       20261118_SYMBOL_Trade_Tick.csv
    equity/MARKET/minute/SYMBOL/20261118_trade.zip     20261118_SYMBOL_minute_trade.csv
    equity/MARKET/daily/SYMBOL.zip                     SYMBOL.csv

Times are milliseconds since midnight of the venue. Prices are whole numbers of a ten-thousandth of the currency's unit:
LEAN divides the prices of an equity's files by 10,000.
"""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl

from observer.base.files import replacing
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_MS, plain
from observer.research.by_line import LineDay, scaled, utc_ns

_PRICE_DECIMALS: Final = 4
_PRICES: Final = ("open", "high", "low", "close")
_MADE: Final = (1980, 1, 1, 0, 0, 0)  # of each archive's file: the same rows are the same bytes


def write_lean(lines: Iterator[LineDay], day: date, daily: pl.DataFrame, folder: Path) -> Sequence[Path]:
    """Write the lines' trades and bars of the day and all their daily bars, and return the files."""
    files = []
    for line in lines:
        market, symbol = folder / "equity" / line.venue.lower(), line.symbol.lower()
        stem = f"{day:%Y%m%d}"
        own = daily.filter(pl.col("symbol") == line.symbol, pl.col("venue") == line.venue)
        archives = (
            (market / "tick" / symbol / f"{stem}_trade.zip", f"{stem}_{symbol}_Trade_Tick.csv", _ticks(line, day)),
            (market / "minute" / symbol / f"{stem}_trade.zip", f"{stem}_{symbol}_minute_trade.csv", _bars(line, day)),
            (market / "daily" / f"{symbol}.zip", f"{symbol}.csv", _days(own)),
        )
        for path, name, rows in archives:
            text = "".join(",".join(map(str, row)) + "\n" for row in rows)
            if text:
                _write(path, name, text)
                files.append(path)
    return files


def _ticks(line: LineDay, day: date) -> Iterable[Sequence[object]]:
    """Time, price, volume, exchange, sale condition (none) and suspicious (no)."""
    prices = scaled(line.trades["price"], _PRICE_DECIMALS)
    rows = zip(_since_midnight(line.trades["time"], day), prices, line.trades["volume"], strict=True)
    return ((time_ms, price, plain(volume), line.venue, 0, 0) for time_ms, price, volume in rows)


def _bars(line: LineDay, day: date) -> Iterable[Sequence[object]]:
    """Begin, prices and volume."""
    return zip(_since_midnight(line.bars["time"], day), *_priced(line.bars), strict=True)


def _days(daily: pl.DataFrame) -> Iterable[Sequence[object]]:
    """Day, prices and volume."""
    ordered = daily.sort("day")
    return zip(ordered["day"].dt.strftime("%Y%m%d 00:00"), *_priced(ordered), strict=True)


def _priced(bars: pl.DataFrame) -> Sequence[Iterable[object]]:
    return [*(scaled(bars[name], _PRICE_DECIMALS) for name in _PRICES), map(plain, bars["volume"])]


def _since_midnight(times: pl.Series, day: date) -> Iterable[object]:
    """Milliseconds, of the market's midnight in whatever zone the times are shown."""
    midnight_ns = local_ns(day)
    return (plain((at_ns - midnight_ns) / NS_PER_MS) for at_ns in utc_ns(times))


def _write(path: Path, name: str, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name, _MADE)
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, text)
