"""Ends earlier days whose slots were not released, because the machine was off, for example.

They are ended like a day whose process stopped too late to resume: from stored data and the exchange's volumes of the
whole day. Missing volume becomes gaps, which are filled like others.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Protocol

from observer.base.clock import Clock, ManualClock
from observer.base.errors import ProviderError
from observer.base.local_time import local_datetime
from observer.brokers.broker import HistorySource, Priority, Quote
from observer.brokers.domestic import PastBarSource
from observer.calendar.phases import DayPlan
from observer.collection.day import StreamingDay
from observer.gaps.recovery import DAYS_BACK, volume_before
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader


class DayHistory(HistorySource, PastBarSource, Protocol):
    """Volumes and minute bars of past days."""


class WholeDay:
    """The volumes of a past day, and those at the stop of a slot: less what the later minutes traded. Satisfies
    `QuoteSource` and `StopVolumes`.
    """

    quotes_per_call = 30

    def __init__(self, volumes: Mapping[str, float], history: PastBarSource, plan: DayPlan) -> None:
        self._volumes = volumes
        self._history = history
        self._plan = plan

    async def quotes(self, symbols: Sequence[str], priority: Priority = "bulk") -> Sequence[Quote]:  # noqa: ARG002 - no call
        """The symbols' volumes; omits symbols without a bar that day."""
        known = (symbol for symbol in symbols if symbol in self._volumes)
        prices = (None,) * 8
        return [Quote(symbol, 0.0, *prices, self._volumes[symbol], 0.0) for symbol in known]

    async def at_stop(self, symbol: str, stop_ns: int, known: float, volume_now: float) -> float | None:  # noqa: ARG002
        """The volume at the stop, by the day's minute bars; more than that where a trade is in none of them."""
        bars = await self._history.past_minute_bars(symbol, stop_ns, self._plan.ends_ns - 1)
        return volume_before((bar for bar in bars if bar.symbol == symbol), stop_ns, volume_now)


class Unfinished:
    """Ends the unfinished days before today.

    Args:
        reader: the stored data.
        history: returns the volume of whole days, and their minutes.
        alerts: of the process.
        clock: market time.
        plan_of: returns the moments of an earlier day.
        new_day: builds a day of Track B from this plan, quote source and clock.
    """

    def __init__(
        self,
        *,
        reader: StoreReader,
        history: DayHistory,
        alerts: Alerts,
        clock: Clock,
        plan_of: Callable[[date], DayPlan],
        new_day: Callable[[DayPlan, WholeDay, Clock], StreamingDay],
    ) -> None:
        self._reader = reader
        self._history = history
        self._alerts = alerts
        self._clock = clock
        self._plan_of = plan_of
        self._new_day = new_day

    async def end_all(self) -> None:
        """End each day, the oldest first. A day without the exchange's volumes stays open until the next call."""
        for day in await asyncio.to_thread(self._days):
            plan = self._plan_of(day)
            slots = await asyncio.to_thread(self._reader.open_slots, plan.starts_ns, plan.ends_ns)
            if slots:
                await self._end(plan, [slot.symbol for slot in slots])

    def _days(self) -> Sequence[date]:
        """The days whose gaps are still filled, and the last earlier day with slots."""
        today = local_datetime(self._clock.now_ns()).date()
        filled = [today - timedelta(days=back) for back in range(DAYS_BACK, 0, -1)]
        last_ns = self._reader.last_assignment_ns(self._plan_of(filled[0]).starts_ns)
        return filled if last_ns is None else [local_datetime(last_ns).date(), *filled]

    async def _end(self, plan: DayPlan, symbols: Sequence[str]) -> None:
        identity = f"unfinished_day:{plan.day.isoformat()}"
        reported = f"{plan.day.isoformat()} ended without a word: {len(symbols)} slots"
        try:
            volumes = {symbol: volume async for symbol, volume in self._volumes(plan.day, symbols)}
        except ProviderError as error:
            text = f"{reported} are kept, the volume of that day is not known: {error}"
            self._alerts.report(identity, "warning", text)
            return
        closing = ManualClock(plan.track_a_stop_ns)
        await self._new_day(plan, WholeDay(volumes, self._history, plan), closing).end_for_earlier_process()
        text = f"{reported} are given up now, what is missing of them is a gap"
        self._alerts.resolve(identity, text)
        self._alerts.happened(f"unfinished_day_ended:{plan.day.isoformat()}", "warning", text)

    async def _volumes(self, day: date, symbols: Sequence[str]) -> AsyncIterator[tuple[str, float]]:
        """The whole day's volume of each symbol, if the broker returns one.

        Raises:
            ProviderError: the broker does not answer now; a retry can help.
        """
        for symbol in symbols:
            try:
                bars = await self._history.daily_bars(symbol, day, day)
            except ProviderError as error:
                if error.retry:
                    raise
                text = f"what was traded of {symbol} on {day} is not reported, so its quality stays unknown: {error}"
                self._alerts.happened(f"volume_unreported:{symbol}", "warning", text)
                continue
            if bars:
                yield symbol, bars[-1].volume
