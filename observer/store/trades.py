"""Queries of trades, streamed and recovered."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, func, select

from bus.events import (
    Trade,
    TradesConflated,
)
from observer.store.lines import lines_of
from observer.store.session import DatabaseReader, rows_of
from observer.store.tables import EVENT_TABLES
from observer.store.trade_groups import groups_of, last_groups, rows_of_groups

_ROWS_AT_ONCE: Final = 2_000  # what an iterator holds in memory
_LARGEST: Final = 20  # rows by the day's volume: enough for the latest conflated row and false rows before it


class TradeMark(msgspec.Struct, frozen=True):
    """The state of a symbol's stream at its last stored trade."""

    symbol: str
    cumulative_volume: float
    cumulative_trades: int | None
    exchange_time_ns: int


class TradeReader(DatabaseReader):
    """Reads trades."""

    def trades(self, session_date: str) -> Iterator[Trade]:
        """All trades of a day, streamed and recovered, by symbol and cumulative volume. As long as they are being read
        SQLite's log cannot be folded into the file: finish it, or close it.
        """
        with self._asking() as connection:
            in_portions = connection.execution_options(yield_per=_ROWS_AT_ONCE)
            for symbol in lines_of(connection, _TRADES):
                for row in in_portions.execute(_OF_SYMBOL, {"symbol": symbol, "session_date": session_date}):
                    yield Trade(*row)

    def duplicate_trades(self, session_date: str) -> int:
        """Trades of a day that are stored more than once (each surplus row counts): the same symbol and cumulative
        volume, streamed or recovered. Zero, unless something is wrong.
        """
        trades, of_day = _TRADES.c, _TRADES.c.session_date == session_date
        with self._asking() as connection:
            of_lines = trades.symbol.in_(lines_of(connection, _TRADES))
            rows = select((func.count() - 1).label("rows")).where(of_lines, of_day)
            surplus = rows.group_by(trades.symbol, trades.cumulative_volume).having(func.count() > 1).subquery()
            return int(connection.execute(select(func.coalesce(func.sum(surplus.c.rows), 0))).scalar_one())

    def last_marks(self, session_date: str, symbols: Sequence[str]) -> dict[str, TradeMark]:
        """The mark of each symbol with a streamed trade on that day, kept or conflated. Recovered trades do not count:
        they lie before a streamed one. The latest trade counts, not the one with the largest volume of the day, which
        later trades may have shown to be false: the latest one of the last part of an event stream that has any, and of
        the 20 conflated rows with the largest volumes. Beyond both an earlier trade may count; the next trades
        contradict a false one.
        """
        rows = EVENT_TABLES[TradesConflated].c
        with self._asking() as connection:
            last = last_groups(groups_of(connection, symbols, session_date))
            found = [_mark(last[row.group_id], row, row.exchange_time_ns) for row in rows_of_groups(connection, last)]
            for symbol in symbols:
                conflated = rows_of(TradesConflated, symbol=symbol, session_date=session_date)
                largest = conflated.order_by(rows.cumulative_volume.desc()).limit(_LARGEST)
                found += [_mark(symbol, row, row.to_ns) for row in connection.execute(largest)]
        latest = sorted(found, key=lambda mark: (mark.exchange_time_ns, mark.cumulative_volume))
        return {mark.symbol: mark for mark in latest}


_TRADES: Final = EVENT_TABLES[Trade]
_OF_SYMBOL: Final = (
    select(*(_TRADES.c[name] for name in Trade.__struct_fields__))
    .where(_TRADES.c.symbol == bindparam("symbol"), _TRADES.c.session_date == bindparam("session_date"))
    .order_by(_TRADES.c.cumulative_volume)
)


def _mark(symbol: str, row: Any, at_ns: int) -> TradeMark:
    return TradeMark(symbol, float(row.cumulative_volume), row.cumulative_trades, at_ns)


def trades_of(connection: Connection, symbol: str, session_date: str) -> list[Trade]:
    """A symbol's trades of one day, streamed and recovered, by cumulative volume."""
    found = connection.execute(_OF_SYMBOL, {"symbol": symbol, "session_date": session_date})
    return [Trade(*row) for row in found]
