"""What the rows of a day add up to, by statements of the database: a kind's rows, and each line's trades and sweeps.

Only rows up to some marks count: those that were there when the marks were read (`observer.store.arrow.read_marks`).
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, not_, select

from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE
from observer.store.arrow import read_marks, table_named
from observer.store.day_rows import conditions_of_days
from observer.store.kinds import kind_named

_NO_MARK: Final = -1
# A stored row of these changes what the trades of its stock are worth: its bars are not those of its trades alone.
_BESIDE_TRADES: Final = ("conflated_trades", "recovered_minute_bars")

Counted = tuple[str, str]
"""A kind whose rows are counted, and the column whose distinct values are; empty for the rows themselves."""


class LineTotals(NamedTuple):
    """A line's stored trades: their number and volume, how many different volumes of the day they lead to, and the
    minutes with a trade.
    """

    symbol: str
    trades: int
    volume: float
    distinct: int
    minutes: int


class DayTotals(msgspec.Struct, frozen=True):
    """The totals of a day: what was to be counted in its order, the lines with trades, and by line the largest volume
    that a sweep saw. `minutes`: those with a trade by stock, of stocks with trades of several lines. `beside`: the
    lines with conflated rows or recovered minute bars.
    """

    counts: Sequence[int]
    lines: Sequence[LineTotals]
    swept: Mapping[str, float]
    minutes: Mapping[str, int]
    beside: frozenset[str]


def totals_of(
    connection: Connection, session_date: str, marks: Mapping[int, int], counted: Sequence[Counted]
) -> DayTotals:
    """The totals of a day's rows up to the marks, read in the connection's transaction."""
    moved = {stream: mark for stream, mark in read_marks(connection).items() if mark != marks.get(stream)}

    def of_day(kind: str, lines: Sequence[str] | None = None) -> Sequence[ColumnElement[bool]]:
        rows = table_named(kind).c
        later = [and_(rows.stream == each, rows.sequence > marks.get(each, _NO_MARK)) for each in moved]
        return *conditions_of_days(connection, kind_named(kind), [session_date], lines), *map(not_, later)

    counts = [
        select(func.count(table_named(kind).c[column].distinct()) if column else func.count())
        .select_from(table_named(kind))
        .where(*of_day(kind))
        .scalar_subquery()
        for kind, column in counted
    ]
    trades, sweeps = table_named("trades").c, table_named("snapshots").c
    symbol, minute = trades.symbol, trades.exchange_time_ns // NS_PER_MINUTE
    totals = (func.sum(trades.volume), func.count(trades.cumulative_volume.distinct()), func.count(minute.distinct()))
    by_line = select(symbol, func.count(), *totals).where(*of_day("trades")).group_by(symbol)
    lines = [LineTotals(*row) for row in connection.execute(by_line)]
    of_stocks: dict[str, list[str]] = {}
    for line in lines:
        of_stocks.setdefault(stock_of(line.symbol), []).append(line.symbol)
    shared = [line for some in of_stocks.values() if len(some) > 1 for line in some]
    minutes: dict[str, set[int]] = {}
    if shared:
        of_shared = select(symbol, minute).where(*of_day("trades", shared)).distinct()
        for line, number in connection.execute(of_shared):
            minutes.setdefault(stock_of(line), set()).add(number)
    largest = func.max(sweeps.cumulative_volume)
    swept = select(sweeps.symbol, largest).where(*of_day("snapshots")).group_by(sweeps.symbol)
    return DayTotals(
        connection.execute(select(*counts)).one(),
        lines,
        dict(connection.execute(swept).all()),
        {stock: len(numbers) for stock, numbers in minutes.items()},
        frozenset(
            line
            for kind in _BESIDE_TRADES
            for line in connection.scalars(select(table_named(kind).c.symbol).where(*of_day(kind)).distinct())
        ),
    )
