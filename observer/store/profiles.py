"""Volumes by time of day of finished sessions: stored once for each session, computed where they are not stored yet.

Track B compares a day with some twenty sessions before it. Their snapshots are many millions of rows; each
session's rows, one for each symbol, state the means of those sessions. Both give the same values.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec
from msgspec.structs import astuple
from sqlalchemy import Connection, func, select

from bus.events import SharesAdjusted, Snapshot, SweepCompleted, VolumeMeans, VolumePoints, VolumeProfiled
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_DAY, NS_PER_S, NS_PER_US
from observer.selection.profile import BUCKET_S, MeanVolume, mean_volumes
from observer.store.session import DatabaseReader
from observer.store.tables import EVENT_TABLES

_PROFILES: Final = EVENT_TABLES[VolumeProfiled].c
_SNAPSHOTS: Final = EVENT_TABLES[Snapshot].c
_SWEEPS: Final = EVENT_TABLES[SweepCompleted].c
_NOT_SWEPT: Final = VolumePoints((), (), ())
_MEANS: Final = msgspec.json.Decoder(VolumeMeans)
_POINTS: Final = msgspec.json.Decoder(VolumePoints)


class ProfileReader(DatabaseReader):
    """Reads volumes by time of day."""

    def sessions_without_profile(self, before: str, last: int) -> Sequence[str]:
        """Of the last swept sessions before this one, so many of them, those without stored volumes, oldest first."""
        with self._asking() as connection:
            swept = swept_sessions(connection, before, last)
            return [session_date for session_date in reversed(swept) if not _is_profiled(connection, session_date)]

    def volume_profiles(self, session_date: str, last: int, now_ns: int) -> Sequence[VolumeProfiled]:
        """The session's volumes by time of day, computed from its snapshots, with the means of the last so many swept
        sessions, by symbol; `now_ns` is stated in them.
        """
        with self._asking() as connection:
            sessions = [session_date, *swept_sessions(connection, session_date, last - 1)]
            own = _computed(connection, session_date)
            earlier = volume_points(connection, sessions[1:])
            points = [*((symbol, session_date, each) for symbol, each in own.items()), *earlier]
        means = _by_symbol(mean_volumes(points, {}))
        window = (len(means), len(sessions), sessions[-1])
        return [
            VolumeProfiled(session_date, symbol, now_ns, *window, own.get(symbol, _NOT_SWEPT), each)
            for symbol, each in means.items()
        ]


def swept_sessions(connection: Connection, before: str, last: int) -> Sequence[str]:
    """The last sessions before this one that Track A swept, newest first."""
    day = _SWEEPS.session_date
    return connection.scalars(select(day).where(day < before).distinct().order_by(day.desc()).limit(last)).all()


def volumes_by_time(
    connection: Connection, sessions: Sequence[str], adjustments: Mapping[str, Sequence[SharesAdjusted]]
) -> Sequence[MeanVolume]:
    """The means over these sessions (the last swept ones, newest first) by symbol and ten minutes, in the shares after
    the adjustments. The newest session's rows state them, but for the few symbols whose shares have changed since.
    """
    stated = _stated_means(connection, sessions, adjustments)
    if stated is None:
        return mean_volumes(volume_points(connection, sessions), adjustments)
    adjusted = mean_volumes(volume_points(connection, sessions, list(adjustments)), adjustments)
    return sorted([*stated, *adjusted], key=lambda mean: mean.symbol) if adjusted else stated


def _stated_means(connection: Connection, sessions: Sequence[str], but: Collection[str]) -> Sequence[MeanVolume] | None:
    """Return the means in the newest session's rows, without the symbols in `but`. None unless they are means of
    `sessions`.
    """
    if not sessions or not _is_profiled(connection, sessions[0]):
        return None
    columns = (_PROFILES.symbol, _PROFILES.sessions, _PROFILES.first_session, _PROFILES.means)
    of_session = select(*columns).where(_PROFILES.session_date == sessions[0])
    found = connection.execute(of_session.order_by(_PROFILES.symbol, _PROFILES.stream, _PROFILES.sequence)).all()
    if any((row.sessions, row.first_session) != (len(sessions), sessions[-1]) for row in found):
        return None
    return [
        MeanVolume(symbol, *of_bucket)
        for symbol, text in {row.symbol: row.means for row in found if row.symbol not in but}.items()
        for of_bucket in zip(*astuple(_MEANS.decode(text)), strict=True)
    ]


def volume_points(
    connection: Connection, sessions: Sequence[str], symbols: Collection[str] | None = None
) -> Iterator[tuple[str, str, VolumePoints]]:
    """Symbol, session and volumes by time of day, of each symbol, or of these, that was swept in these sessions."""
    for session_date in sessions:
        is_stored = _is_profiled(connection, session_date)
        of_session = (_stored if is_stored else _computed)(connection, session_date, symbols)
        for symbol, points in of_session.items():
            if points.buckets:
                yield symbol, session_date, points


def _by_symbol(means: Iterable[MeanVolume]) -> Mapping[str, VolumeMeans]:
    return {
        symbol: VolumeMeans(*zip(*((mean.bucket, mean.at_s, mean.volume, mean.days) for mean in found), strict=True))
        for symbol, found in groupby(means, attrgetter("symbol"))
    }


def _is_profiled(connection: Connection, session_date: str) -> bool:
    of_session = _PROFILES.session_date == session_date
    wanted = select(func.count(_PROFILES.symbol.distinct()), func.max(_PROFILES.symbols)).where(of_session)
    found, symbols = connection.execute(wanted).one()
    return symbols is not None and found >= symbols


def _stored(
    connection: Connection, session_date: str, symbols: Collection[str] | None = None
) -> Mapping[str, VolumePoints]:
    """The session's stored volumes by symbol."""
    wanted = select(_PROFILES.symbol, _PROFILES.points).where(_PROFILES.session_date == session_date)
    if symbols is not None:
        wanted = wanted.where(_PROFILES.symbol.in_(symbols))
    rows = connection.execute(wanted.order_by(_PROFILES.symbol, _PROFILES.stream, _PROFILES.sequence))
    return {symbol: _POINTS.decode(text) for symbol, text in rows}


def _computed(
    connection: Connection, session_date: str, symbols: Collection[str] | None = None
) -> Mapping[str, VolumePoints]:
    """The session's volumes by symbol, from its snapshots. Volumes never fall, so a bucket's last volume is its
    highest.
    """
    midnight_ns, bucket_ns = local_ns(date(1970, 1, 1)), BUCKET_S * NS_PER_S
    of_symbols = [] if symbols is None else [_SNAPSHOTS.symbol.in_(symbols)]
    bucket = ((_SNAPSHOTS.receive_time_ns - midnight_ns) % NS_PER_DAY // bucket_ns).label("bucket")
    wanted = (
        select(_SNAPSHOTS.symbol, bucket, func.max(_SNAPSHOTS.receive_time_ns), func.max(_SNAPSHOTS.cumulative_volume))
        .where(_SNAPSHOTS.session_date == session_date, *of_symbols)
        .group_by(_SNAPSHOTS.symbol, bucket)
        .order_by(_SNAPSHOTS.symbol, bucket)
    )
    found: defaultdict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for symbol, number, received_ns, volume in connection.execute(wanted):
        at_ms = (received_ns - midnight_ns) % NS_PER_DAY // (1_000 * NS_PER_US)
        found[symbol].append((number, at_ms / 1_000, volume))
    return {symbol: VolumePoints(*zip(*points, strict=True)) for symbol, points in found.items()}
