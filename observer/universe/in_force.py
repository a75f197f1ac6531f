"""The universe in force on a day: the same one for every process."""

import asyncio
from typing import Final

from observer.calendar.phases import DayPlan
from observer.clock import Clock
from observer.store.reader import StoreReader
from observer.store.universes import StoredUniverse
from observer.units import NS_PER_S
from observer.universe.eligibility import KOREAN_STOCKS

_POLL_S: Final = 0.1  # machine seconds between checks for a universe
_FIXED_BEFORE_S: Final = 60  # market seconds before the first sweep: by then it is stored, and every process reads it


async def universe_of(plan: DayPlan, reader: StoreReader, clock: Clock, until_ns: int) -> StoredUniverse | None:
    """Return the universe in force, the same for every process and at any time of the day: the last one built a minute
    before the first sweep, of this day or an earlier one, or else the first one built at all (requirement 004, Universe
    Update Policy and edge case 1). Waits for that; None when there is none at `until_ns` either.

    Raises:
        StoreError: the database does not answer.
    """
    fixed_ns = plan.track_a_start_ns - _FIXED_BEFORE_S * NS_PER_S
    wanted = (plan.day.isoformat(), KOREAN_STOCKS, fixed_ns)
    while (found := await asyncio.to_thread(reader.universe_in_force, *wanted)) is None:
        if clock.now_ns() >= until_ns:
            return None
        await asyncio.sleep(_POLL_S)
    return found
