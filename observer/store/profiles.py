"""Volumes by time of day of finished sessions: stored once for each session, computed where they are not stored yet.

Track B compares a day with some twenty sessions before it. Their snapshots are many millions of rows, their profiles
one row for each symbol and session. Both give the same values: the stored ones are those of `_computed`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

import msgspec
from sqlalchemy import Connection, func, select

from bus.events import Snapshot, SweepCompleted, VolumePoints, VolumeProfiled
from observer.local_time import local_ns
from observer.selection.profile import BUCKET_S
from observer.store.session import DatabaseReader
from observer.store.tables import EVENT_TABLES
from observer.units import NS_PER_DAY, NS_PER_S, NS_PER_US

_PROFILES: Final = EVENT_TABLES[VolumeProfiled].c
_SNAPSHOTS: Final = EVENT_TABLES[Snapshot].c
_SWEEPS: Final = EVENT_TABLES[SweepCompleted].c
_POINTS: Final = msgspec.json.Decoder(VolumePoints)


class ProfileReader(DatabaseReader):
    """Reads volumes by time of day."""

    def sessions_without_profile(self, before: str, last: int) -> Sequence[str]:
        """Those of the last so many swept sessions before this one whose volumes are not stored, oldest first."""
        with self._asking() as connection:
            swept = swept_sessions(connection, before, last)
            return [session_date for session_date in reversed(swept) if not _is_profiled(connection, session_date)]

    def volume_profiles(self, session_date: str, now_ns: int) -> Sequence[VolumeProfiled]:
        """The session's volumes by time of day, computed from its snapshots, by symbol; `now_ns` is stated in them."""
        with self._asking() as connection:
            points = _computed(connection, session_date)
        return [VolumeProfiled(session_date, symbol, now_ns, len(points), each) for symbol, each in points.items()]


def swept_sessions(connection: Connection, before: str, last: int) -> Sequence[str]:
    """The last so many sessions before this one that Track A swept, newest first."""
    day = _SWEEPS.session_date
    return connection.scalars(select(day).where(day < before).distinct().order_by(day.desc()).limit(last)).all()


def volume_points(connection: Connection, sessions: Sequence[str]) -> Iterator[tuple[str, str, VolumePoints]]:
    """Symbol, session and volumes by time of day, of each symbol in each of these sessions."""
    for session_date in sessions:
        stored = _stored(connection, session_date)
        for symbol, points in (stored or _computed(connection, session_date)).items():
            yield symbol, session_date, points


def _is_profiled(connection: Connection, session_date: str) -> bool:
    of_session = _PROFILES.session_date == session_date
    wanted = select(func.count(_PROFILES.symbol.distinct()), func.max(_PROFILES.symbols)).where(of_session)
    found, symbols = connection.execute(wanted).one()
    return symbols is not None and found >= symbols


def _stored(connection: Connection, session_date: str) -> Mapping[str, VolumePoints]:
    """The session's stored volumes by symbol; empty if some are missing."""
    wanted = select(_PROFILES.symbol, _PROFILES.symbols, _PROFILES.points).where(_PROFILES.session_date == session_date)
    found = connection.execute(wanted).all()
    points = {symbol: _POINTS.decode(text) for symbol, _, text in found}
    return points if found and len(points) >= max(row.symbols for row in found) else {}


def _computed(connection: Connection, session_date: str) -> Mapping[str, VolumePoints]:
    """The session's volumes by symbol, from its snapshots: volumes never fall, so a bucket's last is its highest."""
    midnight_ns, bucket_ns = local_ns(date(1970, 1, 1)), BUCKET_S * NS_PER_S
    bucket = ((_SNAPSHOTS.receive_time_ns - midnight_ns) % NS_PER_DAY // bucket_ns).label("bucket")
    wanted = (
        select(_SNAPSHOTS.symbol, bucket, func.max(_SNAPSHOTS.receive_time_ns), func.max(_SNAPSHOTS.cumulative_volume))
        .where(_SNAPSHOTS.session_date == session_date)
        .group_by(_SNAPSHOTS.symbol, bucket)
        .order_by(_SNAPSHOTS.symbol, bucket)
    )
    found: defaultdict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for symbol, number, received_ns, volume in connection.execute(wanted):
        at_ms = (received_ns - midnight_ns) % NS_PER_DAY // (1_000 * NS_PER_US)
        found[symbol].append((number, at_ms / 1_000, volume))
    return {symbol: VolumePoints(*zip(*points, strict=True)) for symbol, points in found.items()}
