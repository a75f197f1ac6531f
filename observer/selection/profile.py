"""A symbol's usual volume by time of day. Pure.

The written rule for a volume surge compares the day so far with a whole average day, so it can fire only late
(design.md 6.8). Compared with the average *by this time of day*, it fires during the surge. The averages come from
Track A's snapshots of earlier days; a day with a late opening or early close has no comparison.

A snapshot's volume belongs to its receipt, and Track A takes it at the beginning of its interval. So a profile consists
of the mean volumes at the mean times of the snapshots, and has no value before the first.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from bus.events import SharesAdjusted
from observer.selection.indicators import factor_since
from observer.selection.trigger_settings import ProfileSettings
from observer.units import NS_PER_S

BUCKET_S: Final = 600  # Track A's snapshots in the same ten minutes of several days form one point of a profile


class SeenVolume(msgspec.Struct, frozen=True, gc=False):
    """A symbol's cumulative volume (shares) in the last snapshot in a bucket of a session: `at_s` after midnight."""

    symbol: str
    session_date: str
    bucket: int
    at_s: float
    volume: float


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
    seen: Iterable[SeenVolume], adjustments: Mapping[str, Sequence[SharesAdjusted]]
) -> Sequence[MeanVolume]:
    """The means over the sessions by symbol and bucket, in the shares after the symbols' adjustments."""
    found: defaultdict[tuple[str, int], list[SeenVolume]] = defaultdict(list)
    for row in seen:
        factor = factor_since(row.session_date, adjustments.get(row.symbol, ()))
        found[row.symbol, row.bucket].append(msgspec.structs.replace(row, volume=row.volume / factor))
    return [
        MeanVolume(symbol, bucket, _mean([row.at_s for row in rows]), _mean([row.volume for row in rows]), len(rows))
        for (symbol, bucket), rows in sorted(found.items())
    ]


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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
