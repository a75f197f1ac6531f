"""Trading days of the KRX from two packages and a reviewed overlay.

Loads pandas (75 MB): only `observer.calendar.process`, which ends soon, may import this. Neither package is right
alone: exchange_calendars misses elections, `holidays` knows no hours. So the overlay wins, exchange_calendars decides
the other days, and a contradiction by `holidays` is recorded for review. The hours are those of the session rules; a
day for which exchange_calendars has others is recorded, too.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import exchange_calendars
import holidays
import msgspec
import pandas as pd
from pandas.tseries.holiday import AbstractHolidayCalendar

from observer.base.errors import ConfigError, DataFileError
from observer.base.files import read_file
from observer.base.local_time import local_datetime
from observer.calendar.day_file import CalendarFiles
from observer.calendar.session_file import read_session_rules
from observer.calendar.sessions import SessionRules, sessions_on
from observer.calendar.trading_day import TradingDay
from observer.calendar.venues import KRX

# A calendar without a single session cannot be made, and the longest closure so far was ten days.
_MARGIN: Final = timedelta(days=15)

# A holiday's rule may look at the days of the year before and after its own.
_HOLIDAYS_AROUND: Final = timedelta(days=366)


class OverlayDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"day": "date"}):
    """One reviewed entry: whether the day trades, and the reason."""

    day: date
    trades: bool
    reason: str
    reviewed: date


class _Overlay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    day: list[OverlayDay]


def trading_days(files: CalendarFiles, first: date, last: date) -> list[TradingDay]:
    """Every calendar day from `first` to `last`, both included, in order.

    Raises:
        DataFileError: a reviewed file cannot be read or contradicts itself.
    """
    reviewed = read_overlay(files.overlay)
    try:
        rules = read_session_rules(files.sessions)
    except ConfigError as error:
        raise DataFileError(str(error)) from error
    begin = date(first.year, 1, 1)
    hours = _hours(begin, last)
    closed = holidays.financial_holidays(KRX.calendar, years=range(first.year, last.year + 1))
    days = [begin + timedelta(days=offset) for offset in range((last - begin).days + 1)]
    found: list[TradingDay] = []
    year = 0  # the last one with a session
    for day in days:
        known = _trading_day(day, reviewed.get(day), hours.get(day), day in closed)
        is_first = known.trades and day.year > year
        year = day.year if known.trades else year
        found.append(_compared(msgspec.structs.replace(known, is_first_of_year=is_first), hours.get(day), rules))
    return [each for each in found if each.day >= first]


def read_overlay(path: Path) -> dict[date, OverlayDay]:
    """The reviewed entries by their day.

    Raises:
        DataFileError: not readable, or a day named twice.
    """
    try:
        entries = msgspec.toml.decode(read_file(path), type=_Overlay).day
    except (OSError, ValueError, RecursionError) as error:
        raise DataFileError(f"trading day overlay {path}: {error}") from error
    by_day = {entry.day: entry for entry in entries}
    if len(by_day) != len(entries):
        raise DataFileError(f"trading day overlay {path}: a day is named twice")
    return by_day


def _hours(first: date, last: date) -> Mapping[date, tuple[int, int]]:
    """Opening and closing moments (UTC ns) of the sessions that exchange_calendars knows.

    Changes the range for which pandas computes holidays, of this whole process: else it converts the lunar holidays of
    1956 to 2050 for a question about a few months, which takes three seconds of processor time.
    """
    AbstractHolidayCalendar.start_date = pd.Timestamp(first - _HOLIDAYS_AROUND)
    AbstractHolidayCalendar.end_date = pd.Timestamp(last + _HOLIDAYS_AROUND)
    calendar = exchange_calendars.get_calendar(KRX.calendar, start=str(first - _MARGIN), end=str(last + _MARGIN))
    return {
        session.date(): (int(row.open.value), int(row.close.value)) for session, row in calendar.schedule.iterrows()
    }


def _trading_day(day: date, reviewed: OverlayDay | None, hours: tuple[int, int] | None, is_holiday: bool) -> TradingDay:
    if reviewed is not None:
        return TradingDay(day, reviewed.trades, "overlay")
    cross_check = day.weekday() < 5 and not is_holiday
    trades = hours is not None
    disagreement = "" if cross_check == trades else f"holidays says {'open' if cross_check else 'closed'}"
    return TradingDay(day, trades, "exchange_calendars", disagreement)


def _compared(day: TradingDay, hours: tuple[int, int] | None, rules: SessionRules) -> TradingDay:
    """The day, with the contradiction of its hours by exchange_calendars; reviewed special days are not compared."""
    if not day.trades or any(special.day == day.day for special in rules.special_day):
        return day
    ours = sessions_on(rules, day).regular_hours(KRX.name)
    if ours is None:
        return _disagreeing(day, "the session rules have no regular session")
    if hours is None or hours == ours:
        return day
    return _disagreeing(
        day, f"exchange_calendars says {' to '.join(f'{local_datetime(each):%H:%M}' for each in hours)}"
    )


def _disagreeing(day: TradingDay, text: str) -> TradingDay:
    return msgspec.structs.replace(day, disagreement=f"{day.disagreement}, {text}" if day.disagreement else text)
