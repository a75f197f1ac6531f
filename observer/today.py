"""The plan of the Korean day that it is now, from the day file that one process keeps for all; and the universe that it
goes by, which is one for all processes.
"""

import asyncio
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from observer.clock import NS_PER_S, Clock, kst_datetime
from observer.config import Settings
from observer.providers.day_file import read_trading_days
from observer.schedule.phases import REGULAR_CLOSE_S, REGULAR_OPEN_S, DayPlan, midnight_of, plan
from observer.schedule.trading_day import TradingDay
from observer.selection.universe import KOREAN_STOCKS

if TYPE_CHECKING:
    from observer.store.reader import StoreReader
    from observer.store.universes import Universe

_LOOK_S: Final = 0.1  # machine seconds between looks at what is not there yet
_FIXED_BEFORE_S: Final = 60  # market seconds before the first sweep: by then it is stored, and every process sees it


class Today:
    """Answers for whatever day the clock says; the file is read once a day."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._runtime = Path(settings.run.runtime)
        self._schedule = settings.schedule
        self._clock = clock
        self._plan: DayPlan | None = None

    def known(self) -> DayPlan | None:
        """The plan of this day; None while the day file does not have it."""
        today = kst_datetime(self._clock.now_ns()).date()
        if self._plan is None or self._plan.day != today:
            days = [day for day in read_trading_days(self._runtime) if day.day == today]
            self._plan = plan(days[0], self._schedule) if days else None
        return self._plan

    def plan_of(self, day: date) -> DayPlan:
        """The plan of a day that had a session; of one that the day file does not have, with the usual hours."""
        known = [each for each in read_trading_days(self._runtime) if each.day == day]
        usual = midnight_of(day) + REGULAR_OPEN_S * NS_PER_S, midnight_of(day) + REGULAR_CLOSE_S * NS_PER_S
        return plan(known[0] if known else TradingDay(day, *usual, "assumed"), self._schedule)

    async def plan(self) -> DayPlan:
        """The plan of this day; waits for the day file to have it."""
        while (known := self.known()) is None:
            await asyncio.sleep(_LOOK_S)
        return known

    async def end_of(self, plan: DayPlan) -> None:
        """Wait for the midnight that ends the plan's day; work that ran beyond it skips no day."""
        await self._clock.sleep_until(plan.ends_ns)


async def universe_of(plan: DayPlan, reader: "StoreReader", clock: Clock, until_ns: int) -> "Universe | None":
    """The universe that the day goes by, whenever and by whom it is asked: the last one that was built a minute before
    the first sweep, of this day or an earlier one, or else the first that is built at all (requirement 004, Universe
    Update Policy and edge case 1). Waits for that; None when there is none at `until_ns` either.

    Raises:
        StoreError: the database does not answer.
    """
    fixed_ns = plan.track_a_start_ns - _FIXED_BEFORE_S * NS_PER_S
    wanted = (plan.day.isoformat(), KOREAN_STOCKS, fixed_ns)
    while (found := await asyncio.to_thread(reader.universe_in_force, *wanted)) is None:
        if clock.now_ns() >= until_ns:
            return None
        await asyncio.sleep(_LOOK_S)
    return found
