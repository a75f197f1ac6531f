"""The plan of the current trading day, from the day file."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from observer.base.clock import Clock
from observer.base.local_time import local_datetime
from observer.calendar.day_file import read_trading_days
from observer.calendar.phases import DayPlan, DayRules, plan
from observer.calendar.trading_day import TradingDay

_POLL_S: Final = 0.1  # machine seconds between checks for a missing day


class TradingDayService:
    """Returns the plan of the clock's current day; reads the file once a day."""

    def __init__(self, runtime: Path, rules: DayRules, clock: Clock) -> None:
        self._runtime = runtime
        self._rules = rules
        self._clock = clock
        self._plan: DayPlan | None = None

    def known(self) -> DayPlan | None:
        """The plan of this day; None while the day file lacks it."""
        today = local_datetime(self._clock.now_ns()).date()
        if self._plan is None or self._plan.day != today:
            days = [day for day in read_trading_days(self._runtime) if day.day == today]
            self._plan = plan(days[0], self._rules) if days else None
        return self._plan

    def plan_of(self, day: date) -> DayPlan:
        """The plan of a past session's day; with the usual hours if the day file lacks it."""
        known = [each for each in read_trading_days(self._runtime) if each.day == day]
        return plan(known[0] if known else TradingDay(day, True, "assumed"), self._rules)

    def session_of(self, day: date) -> tuple[int, int]:
        """The opening and the close of a past day, in UTC ns, or the begin and the end of what Track A collects where
        that is longer; the usual ones if the day file lacks it.
        """
        known = self.plan_of(day)
        return min(known.opens_ns, known.track_a_start_ns), max(known.closes_ns, known.track_a_stop_ns)

    def sessions_before(self, day: date, count: int) -> Sequence[DayPlan]:
        """The plans of the last days before this one that trade, oldest first; fewer if the day file holds fewer."""
        earlier = (each for each in read_trading_days(self._runtime) if each.trades and each.day < day)
        return [plan(each, self._rules) for each in sorted(earlier, key=lambda each: each.day)[-count:]]

    async def plan(self) -> DayPlan:
        """The plan of this day; waits until the day file has it."""
        while (known := self.known()) is None:
            await asyncio.sleep(_POLL_S)
        return known

    async def days(self) -> AsyncIterator[DayPlan]:
        """The plan of each day from this one on, the next one when the day has ended. Work that runs past midnight
        skips no day.
        """
        while True:
            plan = await self.plan()
            yield plan
            await self.end_of(plan)

    async def end_of(self, plan: DayPlan) -> None:
        """Wait for the midnight that ends the plan's day."""
        await self._clock.sleep_until(plan.ends_ns)
