"""Queries of fetched bars: what a backfill has, the daily bars that prove it, and the rows that a comparison takes."""

from collections.abc import Sequence

from bus.events import BarsChecked, BarsFetched, DailyBar, MinuteBarFetched, Trade, TradesConflated
from observer.gaps.intervals import VOLUME_NOISE, UnheldRow
from observer.store.session import DatabaseReader, events_in
from observer.store.shares import unheld
from observer.store.tables import EVENT_TABLES
from observer.store.trades import trades_of


class BackfillReader(DatabaseReader):
    """Reads fetched bars."""

    def bar_fetches(self, symbol: str, first: str) -> Sequence[BarsFetched]:
        """The fetched spans of a symbol's bars that end on that day or later, in the order of their storing."""
        since = EVENT_TABLES[BarsFetched].c.session_date >= first
        return self._stored(BarsFetched, since, symbol=symbol, order="stream sequence")

    def bars_of_days(self, symbol: str, first: str, last: str) -> dict[str, DailyBar]:
        """A symbol's daily bars of these days, both included; of a day that was fetched twice the later row."""
        within = EVENT_TABLES[DailyBar].c.session_date.between(first, last)
        bars = self._stored(DailyBar, within, symbol=symbol, order="session_date stream sequence")
        return {bar.session_date: bar for bar in bars}

    def minute_fetches(self, session_date: str) -> Sequence[BarsFetched]:
        """The fetches of a day's minute bars, by symbol; of a symbol that was fetched twice the later one."""
        order = "symbol stream sequence"
        fetches = self._stored(BarsFetched, session_date=session_date, kind="minutes", order=order)
        return list({fetch.symbol: fetch for fetch in fetches}.values())

    def fetched_minute_bars(self, symbol: str, session_date: str) -> Sequence[MinuteBarFetched]:
        """The fetched minute bars of a symbol's day, as often as they were fetched."""
        return self._stored(MinuteBarFetched, symbol=symbol, session_date=session_date, order="stream sequence")

    def stored_trades(self, symbol: str, session_date: str) -> tuple[Sequence[Trade], Sequence[UnheldRow]]:
        """The trades of a symbol's day, streamed and recovered, and what only conflated rows have of it."""
        with self._asking() as connection:
            trades = trades_of(connection, symbol, session_date)
            rows = events_in(connection, TradesConflated, symbol=symbol, session_date=session_date, order="from_ns")
        return trades, _unheld_rows(rows, trades)

    def bar_checks(self, session_date: str) -> Sequence[BarsChecked]:
        checks = self._stored(BarsChecked, session_date=session_date, order="symbol checked_ns")
        return list({check.symbol: check for check in checks}.values())


def _unheld_rows(rows: Sequence[TradesConflated], trades: Sequence[Trade]) -> list[UnheldRow]:
    """A line's conflated rows with the shares that none of its stored trades has."""
    stated = [(row.cumulative_volume, row.volume, row.trades) for row in rows]
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
        for row, found in zip(rows, left, strict=True)
        if found is not None and found[0] > VOLUME_NOISE
    ]
