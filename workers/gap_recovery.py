"""Fills the gaps that Track B found: recovered trades are stored beside the streamed ones, flagged and linked.

The database is the list of what is open; the feed only says that there is something new. What is recovered for a gap
and the word that it is closed are published as one batch, so a kill leaves a gap either open or wholly closed.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from bus.events import Event, GapDetected, GapRecovered, GapUnrecoverable
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.clock import NS_PER_S, kst_datetime
from observer.errors import ProviderError, StoreError
from observer.gaps import recovery
from observer.gaps.recovery import RecoveryPlan
from observer.providers.interfaces import HistorySource
from observer.store.reader import StoreReader
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 0.5  # machine seconds between looks at the database, should the feed have missed something
DAYS_BACK: Final = 7  # older gaps than that were closed by whoever ran then
GAPS_AT_ONCE: Final = 4  # the limiter sets the pace; this only hides the answers' latency behind each other


async def gap_recovery(worker: Worker) -> None:
    """Recover gaps by priority until stopped."""
    async with worker.producer() as producer, worker.brokers().rest() as rest:
        await worker.ready()
        await worker.settled(producer)
        async with worker.reader() as reader:
            worklist = Worklist(worker, reader)
            filler = Filler(worker, producer, rest, worklist)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(worklist.follow_feed())
                tasks.create_task(worklist.look_now_and_then())
                for _ in range(GAPS_AT_ONCE):
                    tasks.create_task(filler.work())


class Attempt(msgspec.Struct, frozen=True):
    """A gap that is waiting: what to ask for, how often that failed, and not before when to try."""

    plan: RecoveryPlan
    failures: int = 0
    not_before_ns: int = 0


class Worklist:
    """The open gaps; each is taken up once in the life of the process, and handed out by priority."""

    def __init__(self, worker: Worker, reader: StoreReader) -> None:
        self._worker = worker
        self._reader = reader
        self._known: set[str] = set()
        self._waiting: dict[str, Attempt] = {}
        self._news = asyncio.Condition()

    async def follow_feed(self) -> None:
        """Take up gaps as they are committed."""
        feed = FeedSubscriber(self._worker.endpoints.feed, [GapDetected])
        try:
            async for event in feed:
                if isinstance(event, GapDetected):
                    await self._take_up([event])
        finally:
            feed.close()

    async def look_now_and_then(self) -> None:
        """Take up what the database has open: what was left by an earlier process, or missed on the feed.

        Gaps of earlier days are among them: nothing can fill those any more, and that is said of each.
        """
        while True:
            since = kst_datetime(self._worker.clock.now_ns()).date() - timedelta(days=DAYS_BACK)
            try:
                await self._take_up(await asyncio.to_thread(self._reader.open_gaps, since.isoformat()))
            except StoreError as error:  # the feed goes on telling, and the next look will see
                logger.warning("cannot look for open gaps: %s", error)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _take_up(self, gaps: Iterable[GapDetected]) -> None:
        async with self._news:
            for gap in gaps:
                if gap.gap_id not in self._known:
                    self._known.add(gap.gap_id)
                    self._waiting[gap.gap_id] = Attempt(recovery.plan(gap, self._worker.settings.recovery))
            self._news.notify_all()

    async def next(self) -> Attempt:
        """The most urgent gap that may be tried now; waits for one."""
        async with self._news:
            while True:
                now_ns = self._worker.clock.now_ns()
                ready = [attempt.plan for attempt in self._waiting.values() if attempt.not_before_ns <= now_ns]
                if ready:
                    return self._waiting.pop(recovery.in_order(ready)[0].gap.gap_id)
                await self._news.wait()

    def put_back(self, attempt: Attempt) -> None:
        """Hand it out again once its time has come; `look_now_and_then` wakes who waits for it."""
        self._waiting[attempt.plan.gap.gap_id] = attempt


class Filler:
    """Fetches what a gap misses and publishes it."""

    def __init__(self, worker: Worker, producer: Producer, history: HistorySource, worklist: Worklist) -> None:
        self._clock = worker.clock
        self._settings = worker.settings.recovery
        self._producer = producer
        self._history = history
        self._worklist = worklist

    async def work(self) -> None:
        """Fill one gap after the other."""
        while True:
            await self._fill(await self._worklist.next())

    async def _fill(self, attempt: Attempt) -> None:
        gap = attempt.plan.gap
        now_ns = self._clock.now_ns()
        if reason := recovery.give_up(gap, attempt.failures, now_ns, self._settings):
            self._producer.publish(GapUnrecoverable(gap.gap_id, gap.symbol, now_ns, reason))
            return
        is_last = attempt.failures + 1 >= self._settings.max_attempts
        try:
            rows, closed = await self._recover(attempt.plan)
        except ProviderError as error:
            logger.warning("gap %s: %s", gap.gap_id, error)
            self._try_again(attempt)
            return
        if attempt.plan.source == "time_and_sales" and not closed.complete and not is_last:
            self._try_again(attempt)  # the source lags behind the stream: what it lacks now it may have soon
            return
        self._producer.publish_together([*rows, closed])
        logger.info("gap %s: recovered with %d rows", gap.gap_id, closed.rows)

    async def _recover(self, plan: RecoveryPlan) -> tuple[Sequence[Event], GapRecovered]:
        """What came back for the gap, and the word that it is closed with that."""
        gap = plan.gap
        if plan.source == "time_and_sales":
            told = await self._history.trades_between(gap.symbol, plan.from_ns, plan.to_ns)
            found = recovery.select(told, gap, self._clock.now_ns())
            return found.trades, self._closed(plan, len(found.trades), found.volume, complete=found.complete)
        minutes = await self._history.minute_bars(gap.symbol, plan.from_ns, plan.to_ns)
        bars = recovery.select_minutes(minutes, gap)
        return bars, self._closed(plan, len(bars), sum(bar.volume for bar in bars), complete=False)

    def _closed(self, plan: RecoveryPlan, rows: int, volume: float, *, complete: bool) -> GapRecovered:
        gap = plan.gap
        return GapRecovered(gap.gap_id, gap.symbol, self._clock.now_ns(), plan.source, rows, volume, complete)

    def _try_again(self, attempt: Attempt) -> None:
        """Later, each time a little more so."""
        failures = attempt.failures + 1
        pause_ns = round(recovery.retry_after_s(failures, self._settings) * NS_PER_S)
        self._worklist.put_back(Attempt(attempt.plan, failures, self._clock.now_ns() + pause_ns))


if __name__ == "__main__":
    run("gap-recovery", gap_recovery)
