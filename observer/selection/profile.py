"""A symbol's usual volume by time of day. Pure.

The written rule for a volume surge compares the day so far with a whole average day, so it can fire only late in the
day. Compared with the average *by this time of day*, it fires during the surge. The averages come from Track A's
snapshots of earlier days; a day with a late opening or early close has no comparison.

A snapshot's volume belongs to its receipt, and Track A takes it at the beginning of its interval. So a profile consists
of the mean volumes at the mean times of the snapshots, and has no value before the first.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from bus.events import SharesAdjusted, VolumePoints
from observer.base.units import NS_PER_S
from observer.selection.indicators import factor_since
from observer.selection.triggers import ProfileSettings

BUCKET_S: Final = 600  # Track A's snapshots in the same ten minutes of several days form one point of a profile


class MeanVolume(msgspec.Struct, frozen=True, gc=False):
    """A symbol's mean cumulative volume (shares) at the mean time `at_s` (after midnight) of the last snapshot in a
    bucket of the day, over `days` days.
    """

    symbol: str
    bucket: int
    at_s: float
    volume: float
    days: int


def mean_volumes(
    seen: Iterable[tuple[str, str, VolumePoints]], adjustments: Mapping[str, Sequence[SharesAdjusted]]
) -> Sequence[MeanVolume]:
    """The means over the sessions by symbol and bucket, in the shares after the symbols' adjustments, from each
    symbol's volumes in each session: (symbol, session, volumes).
    """
    found: defaultdict[str, list[VolumePoints]] = defaultdict(list)
    for symbol, session_date, points in seen:
        found[symbol].append(
            _in_other_shares(points, factor_since(session_date, adjustments[symbol]))
            if symbol in adjustments
            else points
        )
    return [mean for symbol in sorted(found) for mean in _means_of(symbol, found[symbol])]


def _in_other_shares(points: VolumePoints, factor: float) -> VolumePoints:
    return msgspec.structs.replace(points, volumes=tuple(volume / factor for volume in points.volumes))


def _means_of(symbol: str, sessions: Sequence[VolumePoints]) -> Iterable[MeanVolume]:
    days, buckets = len(sessions), sessions[0].buckets
    if all(each.buckets == buckets for each in sessions):  # as almost always: some ten times faster
        times_s = map(sum, zip(*(each.at_s for each in sessions), strict=True))
        volumes = map(sum, zip(*(each.volumes for each in sessions), strict=True))
        for bucket, at_s, volume in zip(buckets, times_s, volumes, strict=True):
            yield MeanVolume(symbol, bucket, at_s / days, volume / days, days)
        return
    rows: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for each in sessions:
        for number, seen_s, seen in zip(each.buckets, each.at_s, each.volumes, strict=True):
            rows[number].append((seen_s, seen))
    for bucket in sorted(rows):
        of_bucket = rows[bucket]
        mean_at_s, mean_volume = (sum(each) / len(of_bucket) for each in zip(*of_bucket, strict=True))
        yield MeanVolume(symbol, bucket, mean_at_s, mean_volume, len(of_bucket))


class Profile(msgspec.Struct, frozen=True):
    """Mean cumulative volumes, never falling, at rising times in seconds after local midnight."""

    at_s: tuple[float, ...]
    volumes: tuple[float, ...]


def profiles_of(rows: Iterable[MeanVolume], settings: ProfileSettings) -> Mapping[str, Profile]:
    """A profile of each symbol with snapshots on enough days; rows of one symbol come in the order of their buckets."""
    points: defaultdict[str, list[MeanVolume]] = defaultdict(list)
    for row in rows:
        if row.days >= settings.days_min:
            points[row.symbol].append(row)
    return {
        symbol: Profile(tuple(row.at_s for row in found), tuple(accumulate((row.volume for row in found), max)))
        for symbol, found in points.items()
    }


class EarlierDays(msgspec.Struct, frozen=True, kw_only=True):
    """Data of earlier days beside the daily bars, by symbol: the volume profile, and the mean volume of a trade.

    Both are empty if nothing is stored yet. `midnight_ns` is that of the day that is compared with them.
    """

    midnight_ns: int = 0
    profiles: Mapping[str, Profile] = {}
    trade_volumes: Mapping[str, float] = {}

    def time_of_day_s(self, now_ns: int) -> float:
        """The moment in seconds after the day's midnight."""
        return (now_ns - self.midnight_ns) / NS_PER_S


def volume_by(profile: Profile, at_s: float) -> float | None:
    """The mean cumulative volume by that time of day, in shares: linear between two points, constant after the last.
    None before the first.
    """
    times_s, volumes = profile.at_s, profile.volumes
    after = bisect_right(times_s, at_s)
    if after == 0:
        return None
    if after == len(times_s):
        return volumes[-1]
    before_s, before = times_s[after - 1], volumes[after - 1]
    return before + (volumes[after] - before) * (at_s - before_s) / (times_s[after] - before_s)
