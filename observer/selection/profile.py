"""How much of a symbol is usually traded by this time of day. Pure.

The written rule for a volume surge compares the day so far with a whole average day, so it can fire only late
(design.md 6.8). Against the average *by this time of day* it fires when it happens. The averages come from what Track A
stored on earlier days; a day that opens late or closes early is compared with none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from observer.selection.settings import ProfileSettings

_NS_PER_S: Final = 1_000_000_000
BUCKET_S: Final = 600  # Track A's interval: every day has a snapshot in every bucket
BUCKETS: Final = 24 * 3600 // BUCKET_S


class BucketVolume(msgspec.Struct, frozen=True, gc=False):
    """A symbol's mean cumulative volume (shares) at the end of bucket `bucket` of the day, over `days` days."""

    symbol: str
    bucket: int
    volume: float
    days: int


Profile = Sequence[float]
"""Mean cumulative volume at the end of each bucket of the day, never falling."""


def profiles_of(rows: Iterable[BucketVolume], settings: ProfileSettings) -> Mapping[str, Profile]:
    """A profile of each symbol that was seen on enough days; rows of one symbol follow each other by bucket."""
    profiles: dict[str, list[float]] = {}
    for row in rows:
        if row.days < settings.days_min:
            continue
        profile = profiles.setdefault(row.symbol, [])
        reached = profile[-1] if profile else 0.0
        profile.extend([reached] * (row.bucket - len(profile)))
        profile.append(max(reached, row.volume))
    return {symbol: tuple(profile) + (profile[-1],) * (BUCKETS - len(profile)) for symbol, profile in profiles.items()}


class EarlierDays(msgspec.Struct, frozen=True, kw_only=True):
    """What earlier days tell of a symbol beside its daily bars: its volume profile, and the mean volume of its trades.

    Both are empty where nothing is stored yet. `midnight_ns` is that of the day that is compared with them.
    """

    midnight_ns: int = 0
    profiles: Mapping[str, Profile] = {}
    trade_volumes: Mapping[str, float] = {}


class Moment(msgspec.Struct, frozen=True):
    """A time of day as a place between two buckets' ends: `share` of the way from `bucket - 1` to `bucket`."""

    bucket: int
    share: float


def moment_of(now_ns: int, midnight_ns: int) -> Moment:
    """The place of a moment of the day that began at `midnight_ns`."""
    bucket, into_ns = divmod(now_ns - midnight_ns, BUCKET_S * _NS_PER_S)
    return Moment(min(max(bucket, 0), BUCKETS - 1), into_ns / (BUCKET_S * _NS_PER_S))


def volume_by(profile: Profile, moment: Moment) -> float:
    """The mean cumulative volume by that moment, in shares."""
    end = profile[moment.bucket]
    start = profile[moment.bucket - 1] if moment.bucket else 0.0
    return start + (end - start) * moment.share
