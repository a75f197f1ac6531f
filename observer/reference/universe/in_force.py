"""The universe in force on a day: the same one for every process."""

import asyncio
from datetime import date, timedelta
from typing import Final

from bus.events import UniverseBuilt
from observer.base.clock import Clock
from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.store.reader import StoreReader
from observer.store.universes import StoredUniverse

_POLL_S: Final = 0.1  # machine seconds between checks for a universe
_FIXED_BEFORE_S: Final = 60  # market seconds before the first sweep: by then it is stored, and every process reads it
_SATURDAY: Final = 5


async def universe_of(
    plan: DayPlan, reader: StoreReader, clock: Clock, until_ns: int, oldest: date
) -> StoredUniverse | None:
    """Return the universe in force, the same for every process and at any time of the day: the last one built a minute
    before the first sweep, of this day or an earlier one since `oldest`, or else the first one built at all
    (docs/requirement.md). Waits for that; None when there is none at `until_ns`
    either.

    Raises:
        StoreError: the database does not answer.
    """
    wanted = (plan.day.isoformat(), KOREAN_STOCKS, fixed_ns(plan), oldest.isoformat())
    while (found := await asyncio.to_thread(reader.universe_in_force, *wanted)) is None:
        if clock.now_ns() >= until_ns:
            return None
        await asyncio.sleep(_POLL_S)
    return found


def later_build(reader: StoreReader, plan: DayPlan, known: UniverseBuilt) -> StoredUniverse | None:
    """The day's build after this one, which has the history that a universe built in the session lacks; None while
    there is none, or where this one is of an earlier day.

    Raises:
        StoreError: the database does not answer.
    """
    session_date = plan.day.isoformat()
    last = reader.universe_built(session_date, KOREAN_STOCKS) if known.session_date == session_date else None
    if last is None or last.built_ns <= known.built_ns:
        return None
    return StoredUniverse(last, reader.universe(session_date, KOREAN_STOCKS, last.built_ns))


async def refused_universe(plan: DayPlan, reader: StoreReader) -> str | None:
    """The day of the universe that would be in force on this day at any age; None without any.

    Raises:
        StoreError: the database does not answer.
    """
    found = await asyncio.to_thread(reader.universe_in_force, plan.day.isoformat(), KOREAN_STOCKS, fixed_ns(plan))
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


def fixed_ns(plan: DayPlan) -> int:
    """The moment that fixes the day's universe: of builds after it the first is in force, and no later one."""
    return plan.track_a_start_ns - _FIXED_BEFORE_S * NS_PER_S
