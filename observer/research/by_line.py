"""The day of each line that had a slot, as exports for other programs need it: trades in order, and bars of a minute.

Unlike `Store.bars`, which joins the lines of a stock, each line has bars of its own: an instrument of these programs is
traded at one venue.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
import polars as pl

from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE
from observer.research.catalogue import RELATIONS
from observer.research.days import DayRelations

_DECIMALS_MAX: Final = 9
_EXACT: Final = 1e-12  # of a value: what a float may lack


class LineDay(msgspec.Struct, frozen=True):
    """A line's trades in the order of the day's volume, and its bars of a minute by time."""

    symbol: str
    venue: str
    trades: pl.DataFrame
    bars: pl.DataFrame

    @property
    def price_decimals(self) -> int:
        """The fewest decimals that hold each price of the day."""
        prices = (self.bars[name] for name in ("open", "high", "low", "close"))
        return max(map(decimals_of, (self.trades["price"], *prices)))

    @property
    def volume_decimals(self) -> int:
        """The fewest decimals that hold each volume of the day."""
        return max(map(decimals_of, (self.trades["volume"], self.trades["cumulative_volume"], self.bars["volume"])))


def lines_of_day(days: DayRelations, day: str) -> Iterator[LineDay]:
    """Each line that had a slot on the day, by venue and symbol; one that did not trade has empty frames."""
    venues = days.venues(day)
    of_venues: dict[str, list[str]] = {}
    for line in days.rows.streamed_on(day):
        of_venues.setdefault(venues[line], []).append(line)
    for venue, lines in sorted(of_venues.items()):
        trades = days.relation(RELATIONS["trades"], day, lines).collect()
        bars = days.bars([(day, lines)], NS_PER_MINUTE)
        for symbol in sorted(map(stock_of, lines)):
            own = pl.col("symbol") == symbol
            yield LineDay(symbol, venue, trades.filter(own).sort("cumulative_volume"), bars.filter(own))


def decimals_of(values: pl.Series) -> int:
    """The fewest decimals that hold each of the values; none for an empty series."""
    for decimals in range(_DECIMALS_MAX):
        rounded = scaled(values, decimals) / 10**decimals
        if ((rounded - values).abs() <= values.abs() * _EXACT).all():
            return decimals
    return _DECIMALS_MAX


def scaled(values: pl.Series, decimals: int) -> pl.Series:
    """The values in units of the last of these decimals."""
    found: pl.Series = (values * 10**decimals).round()
    return found.cast(pl.Int64)


def utc_ns(times: pl.Series) -> pl.Series:
    """The UTC nanoseconds of times with a zone."""
    return times.to_physical().alias("utc_ns")
