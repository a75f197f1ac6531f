"""The plan of the current trading day, from the day file."""

import asyncio
from datetime import date
from pathlib import Path
from typing import Final

from observer.calendar.day_file import read_trading_days
from observer.calendar.phases import REGULAR_CLOSE_S, REGULAR_OPEN_S, DayPlan, ScheduleSettings, midnight_of, plan
from observer.calendar.trading_day import TradingDay
from observer.clock import Clock
from observer.local_time import local_datetime
from observer.units import NS_PER_S

_POLL_S: Final = 0.1  # machine seconds between checks for a missing day


class TradingDayService:
    """Returns the plan of the clock's current day; reads the file once a day."""

    def __init__(self, runtime: Path, schedule: ScheduleSettings, clock: Clock) -> None:
        self._runtime = runtime
        self._schedule = schedule
        self._clock = clock
        self._plan: DayPlan | None = None

    def known(self) -> DayPlan | None:
        """The plan of this day; None while the day file lacks it."""
        today = local_datetime(self._clock.now_ns()).date()
        if self._plan is None or self._plan.day != today:
            days = [day for day in read_trading_days(self._runtime) if day.day == today]
            self._plan = plan(days[0], self._schedule) if days else None
        return self._plan

    def plan_of(self, day: date) -> DayPlan:
        """The plan of a past session's day; with the usual hours if the day file lacks it."""
        known = [each for each in read_trading_days(self._runtime) if each.day == day]
        usual = midnight_of(day) + REGULAR_OPEN_S * NS_PER_S, midnight_of(day) + REGULAR_CLOSE_S * NS_PER_S
        return plan(known[0] if known else TradingDay(day, *usual, "assumed"), self._schedule)

    async def plan(self) -> DayPlan:
        """The plan of this day; waits until the day file has it."""
        while (known := self.known()) is None:
            await asyncio.sleep(_POLL_S)
        return known

    async def end_of(self, plan: DayPlan) -> None:
        """Wait for the midnight that ends the plan's day; work that runs past it skips no day."""
        await self._clock.sleep_until(plan.ends_ns)
