"""The local time of the market that this process works for: dates and times of day of a moment, and back.

An instance collects one market, so a process has one zone: that of its venue, set once when the settings are read.
"""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final

from observer.base.units import NS_PER_S

KOREA: Final = timezone(timedelta(hours=9), "KST")  # no daylight saving time since 1988


class _Zone:
    current: tzinfo = KOREA  # until settings are read


def use_zone(zone: tzinfo) -> None:
    """From now on local time in this process is this zone's."""
    _Zone.current = zone


def local_datetime(moment_ns: int) -> datetime:
    """A moment as local time; exact to the microsecond."""
    seconds, ns = divmod(moment_ns, NS_PER_S)
    return (datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=ns // 1000)).astimezone(_Zone.current)


def local_ns(day: date, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """UTC nanoseconds of a local time of `day`."""
    local = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=_Zone.current)
    return int(local.timestamp()) * NS_PER_S
