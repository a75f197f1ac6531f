"""Queries of snapshots, sweeps and daily bars, and of earlier sessions as a baseline for today.

The baseline is the volume by time of day and the size of a trade, in today's shares. The database sums whole columns;
it returns one row for each symbol and bucket, and one for each session of the few symbols whose shares have changed
since.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Final

from sqlalchemy import Connection, Double, Subquery, cast, func, select

from bus.events import DailyBar, SharesAdjusted, SlotAssigned, Snapshot, SweepCompleted, Trade, VolumeRise
from observer.local_time import local_ns
from observer.selection.indicators import factor_since
from observer.selection.profile import BUCKET_S, MeanVolume, SeenVolume, mean_volumes
from observer.store.rows import event_of
from observer.store.session import DatabaseReader
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES
from observer.units import NS_PER_S

_DAY_NS: Final = 24 * 3600 * NS_PER_S

Adjustments = Mapping[str, Sequence[SharesAdjusted]]
"""By symbol, in the order of their sessions."""


class HistoryReader(DatabaseReader):
    """Reads snapshots, sweeps and bars."""

    def snapshots(self, session_date: str, from_ns: int, to_ns: int) -> Sequence[Snapshot]:
        """The day's snapshots received in [from, to), oldest first."""
        table = EVENT_TABLES[Snapshot]
        received = table.c.receive_time_ns
        wanted = select(table).where(table.c.session_date == session_date, received >= from_ns, received < to_ns)
        return self._events(Snapshot, wanted.order_by(received, table.c.stream, table.c.sequence))

    def completed_sweeps(self, session_date: str) -> frozenset[int]:
        """The numbers of the day's completed sweeps."""
        columns = EVENT_TABLES[SweepCompleted].c
        with self._asking() as connection:
            numbers = connection.scalars(select(columns.sweep).where(columns.session_date == session_date))
            return frozenset(numbers)

    def last_sweep(self, session_date: str) -> SweepCompleted | None:
        """The day's last completed sweep; None without one."""
        table = EVENT_TABLES[SweepCompleted]
        wanted = select(table).where(table.c.session_date == session_date)
        sweeps = self._events(SweepCompleted, wanted.order_by(table.c.completed_ns.desc()).limit(1))
        return next(iter(sweeps), None)

    def volume_rises(self, session_date: str, since_ns: int) -> Sequence[VolumeRise]:
        """The day's volume rises that were received after that time, oldest first."""
        table = EVENT_TABLES[VolumeRise]
        wanted = select(table).where(table.c.session_date == session_date, table.c.receive_time_ns > since_ns)
        return self._events(VolumeRise, wanted.order_by(table.c.receive_time_ns, table.c.symbol))

    def daily_bars(self, last: int, symbol: str | None = None) -> dict[str, list[DailyBar]]:
        """The last so many daily bars of one symbol, or of all, oldest first. Of a day that was fetched twice the later
        row counts.
        """
        table = EVENT_TABLES[DailyBar]
        newest = func.dense_rank().over(partition_by=table.c.symbol, order_by=table.c.session_date.desc())
        ranked = select(table, newest.label("newest"))
        if symbol is not None:
            ranked = ranked.where(table.c.symbol == symbol)
        found = ranked.subquery()
        wanted = select(*(found.c[column.name] for column in table.columns)).where(found.c.newest <= last)
        by_day = (found.c.symbol, found.c.session_date, found.c.stream, found.c.sequence)
        bars: dict[str, dict[str, DailyBar]] = {}
        for bar in self._events(DailyBar, wanted.order_by(*by_day)):
            bars.setdefault(bar.symbol, {})[bar.session_date] = bar
        return {name: list(days.values()) for name, days in bars.items()}

    def closes(self, session_date: str) -> dict[str, float]:
        """The closes of a session by symbol, as its daily bars have them."""
        table = EVENT_TABLES[DailyBar]
        wanted = select(table.c.symbol, table.c.close).where(table.c.session_date == session_date)
        with self._asking() as connection:
            rows = connection.execute(wanted.order_by(table.c.stream, table.c.sequence))
            return {row.symbol: row.close for row in rows}

    def earlier_days(
        self, session_date: str, days: int, universe: str
    ) -> tuple[Sequence[MeanVolume], Mapping[str, float]]:
        """Statistics of the last so many sessions before this one: each symbol's mean volume by time of day, and the
        mean volume of its trades, both in the shares known to the universe of the session `universe`.
        """
        with self._asking() as connection:
            sessions = swept_sessions(connection, session_date, days)
            since = min(sessions, default=session_date)
            adjustments = share_adjustments(connection, since, known_until=universe)
            volumes = volumes_by_time(connection, sessions, adjustments)
            return volumes, trade_volumes(connection, sessions, adjustments)

    def trade_volumes(self, session_date: str) -> Mapping[str, float]:
        """The mean volume of the session's streamed trades, by symbol."""
        with self._asking() as connection:
            return trade_volumes(connection, [session_date], {})

    def share_adjustments(self, since: str, known_until: str) -> Adjustments:
        """By symbol the share adjustments on that session or later that the universe of `known_until` knew."""
        with self._asking() as connection:
            return share_adjustments(connection, since, known_until)


def swept_sessions(connection: Connection, before: str, last: int) -> Sequence[str]:
    """The last so many sessions before this one that Track A swept, newest first."""
    day = EVENT_TABLES[SweepCompleted].c.session_date
    return connection.scalars(select(day).where(day < before).distinct().order_by(day.desc()).limit(last)).all()


def share_adjustments(connection: Connection, since: str, known_until: str) -> Adjustments:
    """The share adjustments on that session or later that the universe of `known_until` knew."""
    table = EVENT_TABLES[SharesAdjusted]
    wanted = select(table).where(table.c.session_date >= since, table.c.known_from <= known_until)
    rows = connection.execute(wanted.order_by(table.c.session_date, table.c.stream, table.c.sequence))
    found: defaultdict[str, dict[str, SharesAdjusted]] = defaultdict(dict)
    for each in (event_of(SharesAdjusted, row) for row in rows):
        found[each.symbol][each.session_date] = each  # one that was found twice is one
    return {symbol: list(by_session.values()) for symbol, by_session in found.items()}


def volumes_by_time(connection: Connection, sessions: Sequence[str], adjustments: Adjustments) -> Sequence[MeanVolume]:
    """For each symbol and bucket of the day, the mean over these sessions of the volume as it was last seen in the
    bucket, and of when that was; rows of one symbol in the order of their buckets.
    """
    seen = _last_seen(sessions)
    means = (
        select(seen.c.symbol, seen.c.bucket, func.avg(seen.c.at_s), func.avg(seen.c.volume), func.count())
        .group_by(seen.c.symbol, seen.c.bucket)
        .order_by(seen.c.symbol, seen.c.bucket)
    )
    found = [MeanVolume(*row) for row in connection.execute(means) if row.symbol not in adjustments]
    adjusted = _last_seen(sessions, adjustments)
    by_session = [SeenVolume(*row) for row in connection.execute(select(adjusted))] if adjustments else []
    return [*found, *mean_volumes(by_session, adjustments)]


def _last_seen(sessions: Sequence[str], symbols: Collection[str] | None = None) -> Subquery:
    """The columns of `SeenVolume`: volumes never fall, so a bucket's last is its highest."""
    seen = EVENT_TABLES[Snapshot].c
    of_day_ns = (seen.receive_time_ns - local_ns(date(1970, 1, 1))) % _DAY_NS
    bucket = (of_day_ns // (BUCKET_S * NS_PER_S)).label("bucket")
    at_s = (cast(func.max(of_day_ns), Double) / NS_PER_S).label("at_s")
    volume = func.max(seen.cumulative_volume).label("volume")
    wanted = select(seen.symbol, seen.session_date, bucket, at_s, volume).where(seen.session_date.in_(sessions))
    if symbols is not None:
        wanted = wanted.where(seen.symbol.in_(symbols))
    return wanted.group_by(seen.symbol, seen.session_date, bucket).subquery()


def trade_volumes(connection: Connection, sessions: Sequence[str], adjustments: Adjustments) -> Mapping[str, float]:
    """The mean volume of a trade of each symbol that was streamed in one of these sessions (newest first), in the last
    of them. One look into the index of trades for each symbol that had a slot, however many trades there are.
    """
    if not sessions:
        return {}
    (from_ns, _), (_, to_ns) = day_bounds(sessions[-1]), day_bounds(sessions[0])
    assigned = EVENT_TABLES[SlotAssigned].c
    held = select(assigned.symbol).where(assigned.assigned_ns >= from_ns, assigned.assigned_ns < to_ns)
    symbol = held.distinct().subquery().c.symbol
    trades = EVENT_TABLES[Trade].c

    of_symbol = (trades.symbol == symbol, trades.session_date.between(sessions[-1], sessions[0]))
    latest = (trades.session_date.desc(), trades.cumulative_volume.desc())
    mean = trades.cumulative_volume / trades.cumulative_trades
    session_date, volume = (
        select(column).where(*of_symbol, trades.cumulative_trades > 0).order_by(*latest).limit(1).scalar_subquery()
        for column in (trades.session_date, mean)
    )
    found = connection.execute(select(symbol, session_date, volume)).all()
    return {
        name: mean_volume / factor_since(last_session, adjustments.get(name, ()))
        for name, last_session, mean_volume in found
        if mean_volume is not None
    }
