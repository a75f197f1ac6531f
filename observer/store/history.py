"""What earlier sessions tell of today: how much is traded by which time of day, and how large a trade is, in the shares
of today.

Whole columns are summed up by the database; what leaves it is one row for each symbol and bucket, and one for each
session of the few symbols whose shares have changed meanwhile.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Double, Subquery, cast, func, select

from bus.events import SharesAdjusted, SlotAssigned, Snapshot, SweepCompleted, Trade
from observer.selection.base_price import factor_since
from observer.selection.profile import BUCKET_S, MeanVolume, SeenVolume, mean_volumes
from observer.store.continuity import day_bounds
from observer.store.rows import event_of
from observer.store.tables import EVENT_TABLES

_NS_PER_S: Final = 1_000_000_000
_KST_NS: Final = 9 * 3600 * _NS_PER_S
_DAY_NS: Final = 24 * 3600 * _NS_PER_S

Adjustments = Mapping[str, Sequence[SharesAdjusted]]
"""By symbol, in the order of their sessions."""


def swept_sessions(connection: Connection, before: str, last: int) -> Sequence[str]:
    """The last so many sessions before this one that Track A swept, newest first."""
    day = EVENT_TABLES[SweepCompleted].c.session_date
    return connection.scalars(select(day).where(day < before).distinct().order_by(day.desc()).limit(last)).all()


def share_adjustments(connection: Connection, since: str, known_until: str) -> Adjustments:
    """The changes of shares on that session or later of which the universe of `known_until` knew."""
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
    of_day_ns = (seen.receive_time_ns + _KST_NS) % _DAY_NS
    bucket = (of_day_ns // (BUCKET_S * _NS_PER_S)).label("bucket")
    at_s = (cast(func.max(of_day_ns), Double) / _NS_PER_S).label("at_s")
    volume = func.max(seen.cumulative_volume).label("volume")
    wanted = select(seen.symbol, seen.session_date, bucket, at_s, volume).where(seen.session_date.in_(sessions))
    if symbols is not None:
        wanted = wanted.where(seen.symbol.in_(symbols))
    return wanted.group_by(seen.symbol, seen.session_date, bucket).subquery()


def trade_volumes(connection: Connection, sessions: Sequence[str], adjustments: Adjustments) -> Mapping[str, float]:
    """The mean volume of a trade of each symbol that was streamed in one of these sessions (newest first), in the last
    of them. One look into the index of trades for each symbol that had a place, however many trades there are.
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
