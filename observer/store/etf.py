"""ETF queries. An `EtfReader` is a `StoreReader` with more queries; answers are events, or `Etf`s."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Select, distinct, func, select, union

from bus.events import AlertRaised, DailyBar, EtfJob, EtfJobEnded, EtfNavDay, EtfValued
from observer.reference.etf.model import Etf
from observer.store.lines import distinct_values
from observer.store.reader import StoreReader
from observer.store.rows import etf_of
from observer.store.tables import ETFS, EVENT_TABLES

YEAR: Final = timedelta(weeks=52)


class EtfRange(msgspec.Struct, frozen=True):
    """An ETF's highest and lowest close of 52 weeks, out of so many days."""

    symbol: str
    closes: int
    highest: float
    lowest: float


class EtfReader(StoreReader):
    """Reads stored ETF data.

    Raises:
        StoreError: as a `StoreReader`.
    """

    def etfs(self) -> dict[str, Etf]:
        """Every ETF that ever stood in a list, delisted ones included, by symbol."""
        return self._etfs(select(ETFS).order_by(ETFS.c.symbol))

    def etf(self, symbol: str) -> Etf | None:
        """One ETF; None for a symbol that never stood in a list."""
        return self._etfs(select(ETFS).where(ETFS.c.symbol == symbol)).get(symbol)

    def _etfs(self, statement: Select[*tuple[Any, ...]]) -> dict[str, Etf]:
        with self._asking() as connection:
            return {row.symbol: etf_of(row._asdict()) for row in connection.execute(statement)}

    def last_etf_jobs(self) -> dict[EtfJob, EtfJobEnded]:
        """The last end of each job, by job."""
        table = EVENT_TABLES[EtfJobEnded]
        jobs = distinct_values(table.c.job)
        ended_ns = select(func.max(table.c.ended_ns)).where(table.c.job == jobs.c.value).correlate(jobs)
        newest = select(jobs.c.value, ended_ns.scalar_subquery().label("ended_ns")).subquery()
        wanted = select(table).join(newest, (table.c.job == newest.c.value) & (table.c.ended_ns == newest.c.ended_ns))
        return {ended.job: ended for ended in self._events(EtfJobEnded, wanted)}

    def valued_since(self, since_ns: int) -> frozenset[str]:
        """The ETFs with a valuation since then."""
        columns = EVENT_TABLES[EtfValued].c
        with self._asking() as connection:
            return frozenset(connection.scalars(select(columns.symbol).where(columns.valued_ns >= since_ns)))

    def valued_between(self, from_ns: int, to_ns: int) -> Sequence[EtfValued]:
        """The valuations in [from, to), oldest first."""
        table = EVENT_TABLES[EtfValued]
        within = table.c.valued_ns.between(from_ns, to_ns - 1)
        return self._events(EtfValued, select(table).where(within).order_by(table.c.valued_ns, table.c.symbol))

    def failure_since(self, job: EtfJob, since_ns: int) -> str | None:
        """The text of the first alert after this time that reports a failure of the job; None without an alert."""
        columns = EVENT_TABLES[AlertRaised].c
        wanted = select(columns.text).where(
            columns.job == job, columns.raised_ns >= since_ns, columns.severity == "critical"
        )
        with self._asking() as connection:
            return connection.scalar(wanted.order_by(columns.raised_ns).limit(1))

    def nav_days(self, symbol: str, since_session_date: str) -> Sequence[EtfNavDay]:
        """The ETF's days, oldest first, each once: of several rows the last one counts, and the index's close is kept
        from whichever has it.
        """
        table = EVENT_TABLES[EtfNavDay]
        wanted = select(table).where(table.c.symbol == symbol, table.c.session_date >= since_session_date)
        days: dict[str, EtfNavDay] = {}
        for row in self._events(EtfNavDay, wanted.order_by(table.c.received_ns, table.c.stream, table.c.sequence)):
            earlier = days.get(row.session_date)
            index_close = row.index_close or (earlier.index_close if earlier else None)
            days[row.session_date] = msgspec.structs.replace(row, index_close=index_close)
        return [days[session_date] for session_date in sorted(days)]

    def indexed_sessions(self, since_session_date: str) -> frozenset[str]:
        """The days for which the index of some ETF is known: the days that KRX provided."""
        columns = EVENT_TABLES[EtfNavDay].c
        wanted = (
            select(columns.session_date)
            .distinct()
            .where(columns.session_date >= since_session_date, columns.index_close.is_not(None))
        )
        with self._asking() as connection:
            return frozenset(connection.scalars(wanted))

    def etf_ranges(self, session_date: str, group: str) -> Sequence[EtfRange]:
        """Of every active ETF of a group the highest and the lowest close of the 52 weeks up to that day: one
        statement.

        Closes are those of the daily bars and of the days with a net asset value; a day that is in both counts once.
        """
        since = (date.fromisoformat(session_date) - YEAR).isoformat()
        etfs = select(ETFS.c.symbol).where(ETFS.c.active, ETFS.c.group == group)
        closes = union(*(_closes(kind, since, session_date, etfs) for kind in (DailyBar, EtfNavDay))).subquery()
        wanted = (
            select(
                closes.c.symbol,
                func.count(distinct(closes.c.session_date)),
                func.max(closes.c.close),
                func.min(closes.c.close),
            )
            .group_by(closes.c.symbol)
            .order_by(closes.c.symbol)
        )
        with self._asking() as connection:
            return [EtfRange(*row) for row in connection.execute(wanted)]


def _closes(
    kind: type[DailyBar | EtfNavDay], since: str, until: str, symbols: Select[tuple[str]]
) -> Select[*tuple[Any, ...]]:
    columns = EVENT_TABLES[kind].c
    within = (
        columns.session_date > since,
        columns.session_date <= until,
        columns.close > 0,
        columns.symbol.in_(symbols),
    )
    return select(columns.symbol, columns.session_date, columns.close).where(*within)
