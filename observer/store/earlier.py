"""What earlier sessions tell of today: how much is traded by which time of day, and how large a trade is.

Whole columns are summed up by the database; what leaves it is one row for each symbol and bucket.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, func, select, tuple_

from bus.events import Snapshot, SweepCompleted, Trade
from observer.selection.profile import BUCKET_S, BucketVolume
from observer.store.tables import EVENT_TABLES

_NS_PER_S: Final = 1_000_000_000
_KST_NS: Final = 9 * 3600 * _NS_PER_S
_DAY_NS: Final = 24 * 3600 * _NS_PER_S


def swept_sessions(connection: Connection, before: str, last: int) -> Sequence[str]:
    """The last so many sessions before this one that Track A swept, newest first."""
    day = EVENT_TABLES[SweepCompleted].c.session_date
    return connection.scalars(select(day).where(day < before).distinct().order_by(day.desc()).limit(last)).all()


def bucket_volumes(connection: Connection, sessions: Sequence[str]) -> Sequence[BucketVolume]:
    """For each symbol and bucket of the day, the mean over these sessions of the volume at the bucket's end, in order
    of symbol and bucket.
    """
    seen = EVENT_TABLES[Snapshot].c
    bucket = ((seen.receive_time_ns + _KST_NS) % _DAY_NS // (BUCKET_S * _NS_PER_S)).label("bucket")
    by_day = (
        select(seen.symbol, seen.session_date, bucket, func.max(seen.cumulative_volume).label("volume"))
        .where(seen.session_date.in_(sessions))
        .group_by(seen.symbol, seen.session_date, bucket)
        .subquery()
    )
    wanted = (
        select(by_day.c.symbol, by_day.c.bucket, func.avg(by_day.c.volume), func.count())
        .group_by(by_day.c.symbol, by_day.c.bucket)
        .order_by(by_day.c.symbol, by_day.c.bucket)
    )
    return [BucketVolume(*row) for row in connection.execute(wanted)]


def trade_volumes(connection: Connection, sessions: Sequence[str]) -> Mapping[str, float]:
    """The mean volume of a trade of each symbol that was streamed in one of these sessions, in the last of them."""
    seen = EVENT_TABLES[Trade].c
    counted = seen.session_date.in_(sessions) & seen.cumulative_trades.is_not(None)
    last = (
        select(seen.symbol, seen.session_date, func.max(seen.cumulative_volume).label("volume"))
        .where(counted)
        .group_by(seen.symbol, seen.session_date)
        .subquery()
    )
    wanted = (
        select(seen.symbol, seen.cumulative_volume / seen.cumulative_trades)
        .join(
            last,
            tuple_(seen.symbol, seen.session_date, seen.cumulative_volume)
            == tuple_(last.c.symbol, last.c.session_date, last.c.volume),
        )
        .where(counted, seen.cumulative_trades > 0)
        .order_by(seen.session_date)
    )
    return {symbol: volume for symbol, volume in connection.execute(wanted)}  # noqa: C416 - rows, not pairs
