"""The universe in force on a day: the same one for every process."""

import asyncio
from datetime import date, timedelta
from typing import Final

from observer.calendar.phases import DayPlan
from observer.clock import Clock
from observer.store.reader import StoreReader
from observer.store.universes import StoredUniverse
from observer.units import NS_PER_S
from observer.universe.eligibility import KOREAN_STOCKS

_POLL_S: Final = 0.1  # machine seconds between checks for a universe
_FIXED_BEFORE_S: Final = 60  # market seconds before the first sweep: by then it is stored, and every process reads it
_SATURDAY: Final = 5


async def universe_of(
    plan: DayPlan, reader: StoreReader, clock: Clock, until_ns: int, oldest: date
) -> StoredUniverse | None:
    """Return the universe in force, the same for every process and at any time of the day: the last one built a minute
    before the first sweep, of this day or an earlier one since `oldest`, or else the first one built at all
    (requirement 004, Universe Update Policy and edge case 1). Waits for that; None when there is none at `until_ns`
    either.

    Raises:
        StoreError: the database does not answer.
    """
    wanted = (plan.day.isoformat(), KOREAN_STOCKS, _fixed_ns(plan), oldest.isoformat())
    while (found := await asyncio.to_thread(reader.universe_in_force, *wanted)) is None:
        if clock.now_ns() >= until_ns:
            return None
        await asyncio.sleep(_POLL_S)
    return found


async def refused_universe(plan: DayPlan, reader: StoreReader) -> str | None:
    """The day of the universe that would be in force on this day at any age; None without any.

    Raises:
        StoreError: the database does not answer.
    """
    found = await asyncio.to_thread(reader.universe_in_force, plan.day.isoformat(), KOREAN_STOCKS, _fixed_ns(plan))
    return found.built.session_date if found is not None else None


def oldest_fallback(day: date, weekdays_max: int) -> date:
    """The first day whose universe may stand in for that of `day`: this number of weekdays before it. Weekends do not
    count, so that a long closure of the exchange refuses no universe of the last session.
    """
    oldest = day
    while weekdays_max > 0:
        oldest -= timedelta(days=1)
        weekdays_max -= oldest.weekday() < _SATURDAY
    return oldest


def _fixed_ns(plan: DayPlan) -> int:
    return plan.track_a_start_ns - _FIXED_BEFORE_S * NS_PER_S
