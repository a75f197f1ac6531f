"""KIS's dates and times of day as UTC nanoseconds. Pure arithmetic.

KIS writes Korean local time without an offset: a date as YYYYMMDD, a time of day as HHMMSS. Korea is nine hours ahead
of UTC and has had no daylight saving time since 1988, so a moment needs no time zone table.
"""

from datetime import date
from functools import lru_cache
from typing import Final

from observer.base.units import NS_PER_S, S_PER_DAY

_KST_OFFSET_S: Final = 9 * 3600
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_YEAR_MIN, _YEAR_MAX = 1900, 2200  # 64 bits hold the nanoseconds from 1678 to 2261; KIS's 99991231 is no moment


def parse_date(text: str) -> date:
    """A date of exactly eight digits.

    Raises:
        ValueError: the text is anything else or no day of the calendar.
    """
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a date YYYYMMDD")
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


@lru_cache(maxsize=64)
def midnight_ns(day_text: str) -> int:
    """The moment the Korean day YYYYMMDD begins. Remembered: a stream names the same day in every record.

    Raises:
        ValueError: the text is no day (see `parse_date`), or its nanoseconds exceed the storable range.
    """
    day = parse_date(day_text)
    if not _YEAR_MIN <= day.year <= _YEAR_MAX:
        raise ValueError(f"{day_text!r} is too far away to be a moment")
    days = day.toordinal() - _EPOCH_ORDINAL
    return (days * S_PER_DAY - _KST_OFFSET_S) * NS_PER_S


@lru_cache(maxsize=S_PER_DAY)
def since_midnight_ns(hour_text: str) -> int:
    """Nanoseconds from midnight to a time of day HHMMSS. Remembered: bounded by the seconds of a day.

    Raises:
        ValueError: the text is not six digits or no time of day.
    """
    if len(hour_text) != 6 or not (hour_text.isascii() and hour_text.isdigit()):
        raise ValueError(f"{hour_text!r} is not a time HHMMSS")
    hours, minutes, seconds = int(hour_text[:2]), int(hour_text[2:4]), int(hour_text[4:])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"{hour_text!r} is not a time of day")
    return (hours * 3600 + minutes * 60 + seconds) * NS_PER_S


def moment_ns(day_text: str, hour_text: str) -> int:
    """The moment of a Korean date YYYYMMDD and time HHMMSS.

    Raises:
        ValueError: see `midnight_ns` and `since_midnight_ns`.
    """
    return midnight_ns(day_text) + since_midnight_ns(hour_text)


def date_text(day: date) -> str:
    """A day as KIS's parameters want it: YYYYMMDD."""
    return day.strftime("%Y%m%d")


def date_text_of(moment: int) -> str:
    """The Korean date YYYYMMDD of a moment in UTC nanoseconds."""
    days = (moment // NS_PER_S + _KST_OFFSET_S) // S_PER_DAY
    return date_text(date.fromordinal(days + _EPOCH_ORDINAL))


def hour_text_of(moment: int) -> str:
    """The Korean time of day HHMMSS of a moment in UTC nanoseconds, its fraction of a second cut off."""
    second = (moment // NS_PER_S + _KST_OFFSET_S) % S_PER_DAY
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
