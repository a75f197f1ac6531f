"""Trading days of the KRX from two packages and a reviewed overlay.

Loads pandas (75 MB): only `observer.calendar.process`, which ends soon, may import this. Neither package is right alone
(upbit-kiwoom.md, section 5): exchange_calendars knows hours but misses every exam day since 2021 and elections;
`holidays` knows the days off but no hours. So the overlay wins, exchange_calendars decides the other days, and a
contradiction by `holidays` is recorded for review.
"""

from collections.abc import Mapping
from datetime import date, time, timedelta
from pathlib import Path
from typing import Final

import exchange_calendars
import holidays
import msgspec

from observer.calendar.trading_day import TradingDay
from observer.errors import DataFileError
from observer.files import read_file
from observer.local_time import local_ns

_EXCHANGE: Final = "XKRX"
# A calendar without a single session cannot be made, and the longest closure so far was ten days.
_MARGIN: Final = timedelta(days=15)


class OverlayDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"day": "date"}):
    """One reviewed entry: a day's hours (Korean time), or neither hour for a closed day; and the reason."""

    day: date
    opens: time | None = None
    closes: time | None = None
    reason: str
    reviewed: date


class _Overlay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    day: list[OverlayDay]


def trading_days(overlay: Path, first: date, last: date) -> list[TradingDay]:
    """Every calendar day from `first` to `last`, both included, in order.

    Raises:
        DataFileError: the overlay cannot be read or contradicts itself.
    """
    reviewed = read_overlay(overlay)
    sessions = _sessions(first, last)
    closed = holidays.financial_holidays(_EXCHANGE, years=range(first.year, last.year + 1))
    days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    return [_trading_day(day, reviewed.get(day), sessions.get(day), day in closed) for day in days]


def read_overlay(path: Path) -> dict[date, OverlayDay]:
    """The reviewed entries by their day.

    Raises:
        DataFileError: not readable, a day named twice, or one hour without the other.
    """
    try:
        entries = msgspec.toml.decode(read_file(path), type=_Overlay).day
    except (OSError, ValueError, RecursionError) as error:
        raise DataFileError(f"trading day overlay {path}: {error}") from error
    by_day = {entry.day: entry for entry in entries}
    if len(by_day) != len(entries):
        raise DataFileError(f"trading day overlay {path}: a day is named twice")
    for entry in entries:
        if (entry.opens is None) != (entry.closes is None):
            raise DataFileError(f"trading day overlay {path}: {entry.day} has one hour without the other")
    return by_day


def _sessions(first: date, last: date) -> Mapping[date, tuple[int, int]]:
    """Opening and closing moments (UTC ns) of the sessions that exchange_calendars knows."""
    calendar = exchange_calendars.get_calendar(_EXCHANGE, start=str(first - _MARGIN), end=str(last + _MARGIN))
    return {
        session.date(): (int(row.open.value), int(row.close.value)) for session, row in calendar.schedule.iterrows()
    }


def _trading_day(
    day: date, reviewed: OverlayDay | None, session: tuple[int, int] | None, is_holiday: bool
) -> TradingDay:
    if reviewed is not None:
        return _reviewed_day(reviewed)
    opens_ns, closes_ns = session or (None, None)
    cross_check = day.weekday() < 5 and not is_holiday
    disagreement = ""
    if cross_check != (session is not None):
        disagreement = f"holidays says {'open' if cross_check else 'closed'}"
    return TradingDay(day, opens_ns, closes_ns, "exchange_calendars", disagreement)


def _reviewed_day(entry: OverlayDay) -> TradingDay:
    if entry.opens is None or entry.closes is None:
        return TradingDay(entry.day, None, None, "overlay")
    opens_ns = local_ns(entry.day, entry.opens.hour, entry.opens.minute)
    return TradingDay(entry.day, opens_ns, local_ns(entry.day, entry.closes.hour, entry.closes.minute), "overlay")
