"""Queries of fetched bars: what a backfill has, the daily bars that prove it, and the rows that a comparison takes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from bus.events import BarsChecked, BarsFetched, DailyBar, MinuteBarFetched, Trade, TradesConflated
from observer.gaps.intervals import VOLUME_NOISE, UnheldRow
from observer.store.session import DatabaseReader, FactT
from observer.store.shares import unheld
from observer.store.tables import EVENT_TABLES
from observer.store.trades import trades_of


class BackfillReader(DatabaseReader):
    """Reads fetched bars."""

    def bar_fetches(self, symbol: str, first: str) -> Sequence[BarsFetched]:
        """The fetched spans of a symbol's bars that end on that day or later, in the order of their storing."""
        table = EVENT_TABLES[BarsFetched]
        wanted = select(table).where(table.c.symbol == symbol, table.c.session_date >= first)
        return self._events(BarsFetched, wanted.order_by(table.c.stream, table.c.sequence))

    def bars_of_days(self, symbol: str, first: str, last: str) -> dict[str, DailyBar]:
        """A symbol's daily bars of these days, both included; of a day that was fetched twice the later row."""
        table = EVENT_TABLES[DailyBar]
        wanted = select(table).where(table.c.symbol == symbol, table.c.session_date.between(first, last))
        bars = self._events(DailyBar, wanted.order_by(table.c.session_date, table.c.stream, table.c.sequence))
        return {bar.session_date: bar for bar in bars}

    def minute_fetches(self, session_date: str) -> Sequence[BarsFetched]:
        """The fetches of a day's minute bars, by symbol; of a symbol that was fetched twice the later one."""
        table = EVENT_TABLES[BarsFetched]
        wanted = select(table).where(table.c.session_date == session_date, table.c.kind == "minutes")
        fetches = self._events(BarsFetched, wanted.order_by(table.c.symbol, table.c.stream, table.c.sequence))
        return list({fetch.symbol: fetch for fetch in fetches}.values())

    def fetched_minute_bars(self, symbol: str, session_date: str) -> Sequence[MinuteBarFetched]:
        """The fetched minute bars of a symbol's day, as often as they were fetched."""
        return self._of_day(MinuteBarFetched, symbol, session_date)

    def stored_trades(self, symbol: str, session_date: str) -> tuple[Sequence[Trade], Sequence[UnheldRow]]:
        """The trades of a symbol's day, streamed and recovered, and what only conflated rows have of it."""
        with self._asking() as connection:
            trades = trades_of(connection, symbol, session_date)
        return trades, _unheld_rows(self._of_day(TradesConflated, symbol, session_date), trades)

    def bar_checks(self, session_date: str) -> Sequence[BarsChecked]:
        table = EVENT_TABLES[BarsChecked]
        wanted = select(table).where(table.c.session_date == session_date)
        checks = self._events(BarsChecked, wanted.order_by(table.c.symbol, table.c.checked_ns))
        return list({check.symbol: check for check in checks}.values())

    def _of_day(self, event_type: type[FactT], symbol: str, session_date: str) -> Sequence[FactT]:
        columns: Any = EVENT_TABLES[event_type].c
        wanted = select(EVENT_TABLES[event_type]).where(columns.symbol == symbol, columns.session_date == session_date)
        return self._events(event_type, wanted.order_by(columns.stream, columns.sequence))


def _unheld_rows(rows: Sequence[TradesConflated], trades: Sequence[Trade]) -> list[UnheldRow]:
    """A line's conflated rows with the shares that none of its stored trades has, by time."""
    in_time = sorted(rows, key=lambda row: row.from_ns)
    stated = [(row.cumulative_volume, row.volume, row.trades) for row in in_time]
    left = unheld(stated, [(trade.cumulative_volume, trade.volume) for trade in trades])
    return [
        UnheldRow(
            from_ns=row.from_ns,
            to_ns=row.to_ns,
            after_volume=row.cumulative_volume - row.volume,
            upto_volume=row.cumulative_volume,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=found[0],
            trades=found[1],
        )
        for row, found in zip(in_time, left, strict=True)
        if found is not None and found[0] > VOLUME_NOISE
    ]
