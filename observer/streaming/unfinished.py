"""Earlier days that ended without a word: whoever should have released their places was not there, the machine was off.

They are ended late, as a process that comes after their stream ends them on the day itself: from what is stored, with
what the exchange says of the whole day. What is missing becomes gaps, which are filled like others.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, timedelta

from bus.events import AlertRaised
from bus.producer import Producer
from observer.clock import Clock, ManualClock, kst_datetime
from observer.errors import ProviderError
from observer.gaps.recovery import DAYS_BACK
from observer.providers.interfaces import HistorySource, Lane, Quote
from observer.schedule.phases import DayPlan
from observer.store.reader import StoreReader
from observer.streaming.day import StreamingDay
from observer.streaming.keeping import SOURCE

logger = logging.getLogger(__name__)


class WholeDay:
    """What was traded on a day that is over. Satisfies `QuoteSource`.

    The day's volume counts what was traded after Track B's stop, too: a hole is told too wide, and not overlooked.
    """

    quotes_per_call = 30

    def __init__(self, volumes: Mapping[str, float]) -> None:
        self._volumes = volumes

    async def quotes(self, symbols: Sequence[str], lane: Lane = "bulk") -> Sequence[Quote]:  # noqa: ARG002 - no call
        """Their volumes; of one without a bar that day nothing."""
        known = (symbol for symbol in symbols if symbol in self._volumes)
        prices = (None,) * 8
        return [Quote(symbol, 0.0, *prices, self._volumes[symbol], 0.0) for symbol in known]


class Unfinished:
    """Ends the days before today that nobody ended.

    Args:
        reader: what is stored.
        history: tells the volume of whole days.
        producer: takes the facts.
        clock: market time.
        plan_of: the moments of an earlier day.
        new_day: a day of Track B with this plan, with this to be asked and this clock.
    """

    def __init__(
        self,
        *,
        reader: StoreReader,
        history: HistorySource,
        producer: Producer,
        clock: Clock,
        plan_of: Callable[[date], DayPlan],
        new_day: Callable[[DayPlan, WholeDay, Clock], StreamingDay],
    ) -> None:
        self._reader = reader
        self._history = history
        self._producer = producer
        self._clock = clock
        self._plan_of = plan_of
        self._new_day = new_day

    async def end_all(self) -> None:
        """End each, the oldest first. One of which the exchange does not tell stays as it is until the next time."""
        for day in await asyncio.to_thread(self._days):
            plan = self._plan_of(day)
            places = await asyncio.to_thread(self._reader.open_slots, plan.starts_ns, plan.ends_ns)
            if places:
                await self._end(plan, [place.symbol for place in places])

    def _days(self) -> Sequence[date]:
        """The days whose gaps are still filled, and the last one before them on which there were places."""
        today = kst_datetime(self._clock.now_ns()).date()
        filled = [today - timedelta(days=back) for back in range(DAYS_BACK, 0, -1)]
        last_ns = self._reader.last_assignment_ns(self._plan_of(filled[0]).starts_ns)
        return filled if last_ns is None else [kst_datetime(last_ns).date(), *filled]

    async def _end(self, plan: DayPlan, symbols: Sequence[str]) -> None:
        told = f"{plan.day.isoformat()} ended without a word: {len(symbols)} places"
        try:
            volumes = {symbol: volume async for symbol, volume in self._volumes(plan.day, symbols)}
        except ProviderError as error:
            self._warn(f"{told} are kept, the volume of that day is not known: {error}")
            return
        closing = ManualClock(plan.track_a_stop_ns)
        await self._new_day(plan, WholeDay(volumes), closing).end_for_earlier_process()
        self._warn(f"{told} are given up now, what is missing of them is a gap")

    async def _volumes(self, day: date, symbols: Sequence[str]) -> AsyncIterator[tuple[str, float]]:
        """What was traded of them on the whole day, of those of which the broker tells.

        Raises:
            ProviderError: it does not answer now, and asking again can help.
        """
        for symbol in symbols:
            try:
                bars = await self._history.daily_bars(symbol, day, day)
            except ProviderError as error:
                if error.retry:
                    raise
                logger.warning("what was traded of %s on %s is not told: %s", symbol, day, error)
                continue
            if bars:
                yield symbol, bars[-1].volume

    def _warn(self, text: str) -> None:
        logger.warning("%s", text)
        self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", SOURCE, text))
