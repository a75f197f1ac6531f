"""Daily bars of the days before the session, made backwards from the base price. Pure; chance is passed in."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from observer.simulator.ticks import rounded_down_krw

if TYPE_CHECKING:
    from random import Random

    from observer.simulator.instruments import Instrument
    from observer.simulator.plan import DayPlan

HISTORY_DAYS: Final = 60
_SATURDAY: Final = 5


class DayBar(msgspec.Struct, frozen=True, gc=False):
    """One day of one symbol; `day` is YYYYMMDD, prices whole won."""

    day: str
    open_krw: int
    high_krw: int
    low_krw: int
    close_krw: int
    volume: int
    value_krw: int


def weekdays_before(session_date: str, count: int) -> list[str]:
    """The last so many Mondays to Fridays before a day, newest first, as YYYYMMDD."""
    days: list[str] = []
    day = date.fromisoformat(session_date)
    while len(days) < count:
        day -= timedelta(days=1)
        if day.weekday() < _SATURDAY:
            days.append(day.strftime("%Y%m%d"))
    return days


def past_bars(
    instrument: Instrument, plan: DayPlan, session_date: str, days: int, generator: Random
) -> tuple[DayBar, ...]:
    """Bars of so many weekdays, none before the listing, newest first: the last close is the base
    price, the last volume the master file's.

    Each day's true range is its own high less its own low, because the close before it always lies between them.
    """
    bars: list[DayBar] = []
    close_krw = instrument.base_price_krw
    for day in weekdays_before(session_date, days):
        if day < instrument.listed_on or close_krw <= 0:
            break
        volume = max(1, round(plan.usual_volume * generator.uniform(0.7, 1.3)))
        if not bars and instrument.previous_volume:
            volume = instrument.previous_volume
        bar, close_krw = _bar_that_closes_at(close_krw, day, plan.true_range_krw, volume, generator)
        bars.append(bar)
    return tuple(bars)


def _bar_that_closes_at(
    close_krw: int, day: str, true_range_krw: float, volume: int, generator: Random
) -> tuple[DayBar, int]:
    """A bar and the close of the day before it."""
    range_krw = min(true_range_krw * generator.uniform(0.8, 1.2), close_krw * 0.25)
    lowest = close_krw - range_krw * generator.random()
    points = [rounded_down_krw(max(1, round(lowest + range_krw * part))) for part in (0, 1, generator.random())]
    low_krw, high_krw = min(*points, close_krw), max(*points, close_krw)
    before_krw = points[2]
    open_krw = rounded_down_krw((before_krw * 3 + close_krw) // 4)
    open_krw = min(high_krw, max(low_krw, open_krw))
    typical_krw = (high_krw + low_krw + close_krw) // 3
    return DayBar(day, open_krw, high_krw, low_krw, close_krw, volume, volume * typical_krw), before_krw
