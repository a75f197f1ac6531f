"""Queries of snapshots, sweeps and daily bars, and of earlier sessions as a baseline for today.

The baseline is the volume by time of day (`observer.store.profiles`) and the size of a trade, in today's shares.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, literal, select

from bus.events import DailyBar, SharesAdjusted, SlotAssigned, Snapshot, SweepCompleted, VolumeRise
from observer.selection.indicators import factor_since
from observer.selection.profile import MeanVolume
from observer.store.lines import distinct_values
from observer.store.profiles import swept_sessions, volumes_by_time
from observer.store.session import DatabaseReader, events_in
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES
from observer.store.trade_groups import groups_of, last_groups, totals_of_groups

Adjustments = Mapping[str, Sequence[SharesAdjusted]]
"""By symbol, in the order of their sessions."""
TradesSoFar = tuple[float, int]
"""A day's volume and number of trades."""


class PriceSnapshot(NamedTuple):
    """The part of a snapshot about prices."""

    symbol: str
    receive_time_ns: int
    price: float
    previous_close: float | None
    cumulative_value: float


class HistoryReader(DatabaseReader):
    """Reads snapshots, sweeps and bars."""

    def snapshots(self, session_date: str, from_ns: int, to_ns: int) -> Sequence[Snapshot]:
        """The day's snapshots received in [from, to), oldest first."""
        received = EVENT_TABLES[Snapshot].c.receive_time_ns
        within, order = (received >= from_ns, received < to_ns), "receive_time_ns stream sequence"
        return self._stored(Snapshot, *within, session_date=session_date, order=order)

    def completed_sweeps(self, session_date: str) -> frozenset[int]:
        """The numbers of the day's completed sweeps."""
        return frozenset(each.sweep for each in self._stored(SweepCompleted, session_date=session_date))

    def last_sweep(self, session_date: str) -> SweepCompleted | None:
        """The day's last completed sweep; None without one."""
        return next(iter(self.sweeps(session_date)[-1:]), None)

    def sweeps(self, session_date: str) -> Sequence[SweepCompleted]:
        """The day's completed sweeps, in their order."""
        return self._stored(SweepCompleted, session_date=session_date, order="completed_ns")

    def price_snapshots(self, session_date: str) -> Sequence[PriceSnapshot]:
        """What the day's snapshots with a price say of prices, oldest first."""
        columns = EVENT_TABLES[Snapshot].c
        fields = (columns[name] for name in PriceSnapshot._fields)
        wanted = select(*fields).where(columns.session_date == session_date, columns.price.is_not(None))
        return [PriceSnapshot(*row) for row in self._rows(wanted.order_by(columns.receive_time_ns))]

    def volume_rises(self, session_date: str, since_ns: int, until_ns: int = 2**63 - 1) -> Sequence[VolumeRise]:
        """The day's volume rises that were received after `since` and before `until`, oldest first."""
        received = EVENT_TABLES[VolumeRise].c.receive_time_ns
        within = (received > since_ns, received < until_ns)
        return self._stored(VolumeRise, *within, session_date=session_date, order="receive_time_ns symbol")

    def daily_bars(self, last: int, symbol: str | None = None) -> dict[str, list[DailyBar]]:
        """The last so many daily bars of one symbol, or of all, oldest first. Of a day that was fetched twice the later
        row counts.
        """
        table = EVENT_TABLES[DailyBar]
        if symbol is None:
            symbols = distinct_values(table.c.symbol)
            lines = select(symbols.c.value.label("symbol")).subquery()
        else:
            lines = select(literal(symbol).label("symbol")).subquery()
        earlier = table.alias("earlier").c
        days = select(earlier.session_date).where(earlier.symbol == lines.c.symbol).correlate(lines).distinct()
        oldest = days.order_by(earlier.session_date.desc()).offset(last - 1).limit(1).scalar_subquery()
        since = select(lines.c.symbol, func.coalesce(oldest, "").label("oldest")).subquery()
        wanted = select(table).join(
            since, and_(table.c.symbol == since.c.symbol, table.c.session_date >= since.c.oldest)
        )
        by_day = (table.c.symbol, table.c.session_date, table.c.stream, table.c.sequence)
        bars: dict[str, dict[str, DailyBar]] = {}
        for bar in self._events(DailyBar, wanted.order_by(*by_day)):
            bars.setdefault(bar.symbol, {})[bar.session_date] = bar
        return {name: list(days.values()) for name, days in bars.items()}

    def closes(self, session_date: str) -> dict[str, float]:
        """The closes of a session by symbol, as its daily bars have them."""
        table = EVENT_TABLES[DailyBar]
        wanted = select(table.c.symbol, table.c.close).where(table.c.session_date == session_date)
        rows = self._rows(wanted.order_by(table.c.stream, table.c.sequence))
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


def share_adjustments(connection: Connection, since: str, known_until: str) -> Adjustments:
    """The share adjustments on that session or later that the universe of `known_until` knew."""
    columns = EVENT_TABLES[SharesAdjusted].c
    is_known = (columns.session_date >= since, columns.known_from <= known_until)
    found: defaultdict[str, dict[str, SharesAdjusted]] = defaultdict(dict)
    for each in events_in(connection, SharesAdjusted, *is_known, order="session_date stream sequence"):
        found[each.symbol][each.session_date] = each  # one that was found twice is one
    return {symbol: list(by_session.values()) for symbol, by_session in found.items()}


def trade_volumes(connection: Connection, sessions: Sequence[str], adjustments: Adjustments) -> Mapping[str, float]:
    """The mean volume of a trade of each symbol that was streamed in one of these sessions (newest first), in the last
    of them, by the trades of the last part of an event stream that has any.
    """
    if not sessions:
        return {}
    (from_ns, _), (_, to_ns) = day_bounds(sessions[-1]), day_bounds(sessions[0])
    assigned = EVENT_TABLES[SlotAssigned].c
    held = select(assigned.symbol).where(assigned.assigned_ns >= from_ns, assigned.assigned_ns < to_ns).distinct()
    symbols = connection.scalars(held).all()
    found: dict[str, float] = {}
    for session_date in sessions:
        missing = [symbol for symbol in symbols if symbol not in found]
        last = last_groups(groups_of(connection, missing, session_date))
        so_far: dict[str, TradesSoFar] = {}
        for group_id, volume, trades in totals_of_groups(connection, last):
            symbol = last[group_id]
            so_far[symbol] = max(so_far.get(symbol, (0.0, 0)), (volume, trades))
        for symbol, (volume, trades) in so_far.items():
            found[symbol] = volume / trades / factor_since(session_date, adjustments.get(symbol, ()))
    return found
