"""Questions about funds. A `FundReader` is a `StoreReader` that knows more: answers are events, or `Fund`s."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Select, distinct, func, select, union

from bus.events import AlertRaised, DailyBar, FundJob, FundJobEnded, FundListed, FundNavDay, FundValued
from observer.reference.etf import Fund
from observer.store.reader import StoreReader
from observer.store.tables import EVENT_TABLES, FUNDS

YEAR: Final = timedelta(weeks=52)


class FundRange(msgspec.Struct, frozen=True):
    """A fund's highest and lowest close of 52 weeks, out of so many days."""

    symbol: str
    closes: int
    highest: float
    lowest: float


class FundReader(StoreReader):
    """Reads what is known of funds.

    Raises:
        StoreError: as a `StoreReader`.
    """

    def funds(self) -> dict[str, Fund]:
        """Every fund that ever was in a list, by symbol, those that left it too."""
        return self._funds(select(FUNDS).order_by(FUNDS.c.symbol))

    def fund(self, symbol: str) -> Fund | None:
        """One fund; None when no list ever had it."""
        return self._funds(select(FUNDS).where(FUNDS.c.symbol == symbol)).get(symbol)

    def _funds(self, statement: Select[*tuple[Any, ...]]) -> dict[str, Fund]:
        with self._asking() as connection:
            return {row.symbol: Fund(**row._mapping) for row in connection.execute(statement)}  # noqa: SLF001

    def fund_list(self, session_date: str) -> Sequence[FundListed]:
        """The last list that was taken on that day, by symbol; empty when none was."""
        table = EVENT_TABLES[FundListed]
        last = select(func.max(table.c.listed_ns)).where(table.c.session_date == session_date).scalar_subquery()
        wanted = select(table).where(
            table.c.session_date == session_date, table.c.listed_ns == last, table.c.change != "removed"
        )
        return self._events(FundListed, wanted.order_by(table.c.symbol))

    def fund_changes(self, symbol: str) -> Sequence[FundListed]:
        """What the lists told of a fund whenever that was something new, oldest first."""
        table = EVENT_TABLES[FundListed]
        wanted = select(table).where(table.c.symbol == symbol, table.c.change != "same")
        return self._events(FundListed, wanted.order_by(table.c.listed_ns, table.c.stream, table.c.sequence))

    def last_fund_jobs(self) -> dict[FundJob, FundJobEnded]:
        """By job: its last end."""
        table = EVENT_TABLES[FundJobEnded]
        newest = select(table.c.job, func.max(table.c.ended_ns).label("ended_ns")).group_by(table.c.job).subquery()
        wanted = select(table).join(newest, (table.c.job == newest.c.job) & (table.c.ended_ns == newest.c.ended_ns))
        return {ended.job: ended for ended in self._events(FundJobEnded, wanted)}

    def valued_since(self, since_ns: int) -> frozenset[str]:
        """The funds that were valued since then."""
        columns = EVENT_TABLES[FundValued].c
        with self._asking() as connection:
            return frozenset(connection.scalars(select(columns.symbol).distinct().where(columns.valued_ns >= since_ns)))

    def alert_since(self, source: str, beginning: str, since_ns: int) -> str | None:
        """The first alert of that source since then whose text begins so."""
        columns = EVENT_TABLES[AlertRaised].c
        wanted = select(columns.text).where(
            columns.source == source, columns.raised_ns >= since_ns, columns.text.startswith(beginning, autoescape=True)
        )
        with self._asking() as connection:
            return connection.scalar(wanted.order_by(columns.raised_ns).limit(1))

    def nav_days(self, symbol: str, since_session_date: str) -> Sequence[FundNavDay]:
        """The fund's days, oldest first, each once: of several rows the last one counts, and the index's close is kept
        from whichever has it.
        """
        table = EVENT_TABLES[FundNavDay]
        wanted = select(table).where(table.c.symbol == symbol, table.c.session_date >= since_session_date)
        days: dict[str, FundNavDay] = {}
        for row in self._events(FundNavDay, wanted.order_by(table.c.received_ns, table.c.stream, table.c.sequence)):
            earlier = days.get(row.session_date)
            index_close = row.index_close or (earlier.index_close if earlier else None)
            days[row.session_date] = msgspec.structs.replace(row, index_close=index_close)
        return [days[session_date] for session_date in sorted(days)]

    def indexed_sessions(self, since_session_date: str) -> frozenset[str]:
        """The days for which some fund's index is known: those that KRX gave."""
        columns = EVENT_TABLES[FundNavDay].c
        wanted = (
            select(columns.session_date)
            .distinct()
            .where(columns.session_date >= since_session_date, columns.index_close.is_not(None))
        )
        with self._asking() as connection:
            return frozenset(connection.scalars(wanted))

    def fund_ranges(self, session_date: str, group: str) -> Sequence[FundRange]:
        """Of every active fund of a group the highest and the lowest close of the 52 weeks up to that day: one
        statement.

        Closes are those of the daily bars and of the days with a net asset value; a day that is in both counts once.
        """
        since = (date.fromisoformat(session_date) - YEAR).isoformat()
        closes = union(*(_closes(kind, since, session_date) for kind in (DailyBar, FundNavDay))).subquery()
        wanted = (
            select(
                closes.c.symbol,
                func.count(distinct(closes.c.session_date)),
                func.max(closes.c.close),
                func.min(closes.c.close),
            )
            .join(FUNDS, FUNDS.c.symbol == closes.c.symbol)
            .where(FUNDS.c.active, FUNDS.c.group == group)
            .group_by(closes.c.symbol)
            .order_by(closes.c.symbol)
        )
        with self._asking() as connection:
            return [FundRange(*row) for row in connection.execute(wanted)]


def _closes(kind: type[DailyBar | FundNavDay], since: str, until: str) -> Select[*tuple[Any, ...]]:
    columns = EVENT_TABLES[kind].c
    within = (columns.session_date > since, columns.session_date <= until, columns.close > 0)
    return select(columns.symbol, columns.session_date, columns.close).where(*within)
