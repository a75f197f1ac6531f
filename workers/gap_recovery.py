"""Fills the gaps that Track B found: recovered trades are stored beside the streamed ones, flagged and linked.

The database is the list of what is open; the feed only says that there is something new. What is recovered for a gap
and the word that it is closed are published as one batch, so a kill leaves a gap either open or wholly closed.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from bus.commands import Done, Refused
from bus.events import AlertRaised, GapDetected, GapRecovered, GapUnrecoverable, MinuteBarRecovered, Trade
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.errors import ProviderError, StoreError
from observer.gaps import recovery
from observer.gaps.queue import Attempt, RecoveryQueue
from observer.gaps.recovery import RecoveryPlan
from observer.providers.domestic import PastBarSource
from observer.providers.interfaces import HistorySource
from observer.store.reader import StoreReader
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 0.5  # machine seconds between looks at the database, should the feed have missed something
GAPS_AT_ONCE: Final = 4  # the limiter sets the pace; this only hides the answers' latency behind each other
SETTLE_S: Final = 1.0

Row = Trade | MinuteBarRecovered


class PastSource(HistorySource, PastBarSource, Protocol):
    """Today's trades and minutes, and the minutes of earlier days."""


async def gap_recovery(worker: Worker) -> None:
    """Recover gaps by priority until stopped."""
    async with worker.producer() as producer, worker.brokers().rest() as rest:
        await worker.ready()
        await worker.settled(producer)
        async with worker.reader() as reader:
            worklist = Worklist(worker, reader, producer)
            worker.orders.gaps = worklist
            filler = Filler(worker, producer, rest, worklist)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(worklist.follow_feed())
                tasks.create_task(worklist.look_now_and_then())
                for _ in range(GAPS_AT_ONCE):
                    tasks.create_task(filler.work())


class Worklist:
    """The open gaps, handed out by priority. Satisfies `workers.orders.GapOrders`."""

    def __init__(self, worker: Worker, reader: StoreReader, producer: Producer) -> None:
        self.queue = RecoveryQueue(worker.settings.recovery)
        self._worker = worker
        self.reader = reader
        self._producer = producer
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
        """Take up what the database has open: what was left by an earlier process, or missed on the feed. At first all
        of it, also what is too old to be filled: it is given up.
        """
        since = ""
        while True:
            try:
                closed = self.queue.closed
                found = await asyncio.to_thread(self.reader.open_gaps, since)
                self.queue.forget(closed.difference(gap.gap_id for gap in found))
                await self._take_up(found)
                since = recovery.oldest_filled(self._worker.clock.now_ns())
            except StoreError as error:  # the feed goes on telling, and the next look will see
                logger.warning("cannot look for open gaps: %s", error)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def retry(self, gap_ids: Sequence[str]) -> Done | Refused:
        """Try these gaps at once, whether they are open, were filled in part or given up; none: all that are open."""
        found: dict[str, tuple[GapDetected, bool]] = {}
        try:
            for gap_id in gap_ids:
                story = await asyncio.to_thread(self.reader.gap, gap_id)
                if story is None:
                    return Refused("unknown_gap", f"no gap has the id {gap_id!r}")
                if story.recovered is not None and story.recovered.complete:
                    return Refused("not_needed", f"gap {gap_id} is recovered, to the share")
                found[gap_id] = (story.gap, story.is_open)
            if not gap_ids:
                found = {gap.gap_id: (gap, True) for gap in await asyncio.to_thread(self._open_gaps)}
        except StoreError as error:
            return Refused("failed", f"the database does not answer: {error}")
        async with self._news:
            taken = [self.queue.take_up_again(gap, is_open=is_open) for gap, is_open in found.values()]
            self._news.notify_all()
        under_way = f", {taken.count(False)} are under way" if False in taken else ""
        return Done(self._worker.name, f"gaps to be tried now: {taken.count(True)}{under_way}")

    async def next(self) -> Attempt:
        """The most urgent gap that may be tried now; waits for one."""
        async with self._news:
            while (attempt := self.queue.take(self._worker.clock.now_ns())) is None:
                await self._news.wait()  # `look_now_and_then` wakes who waits for a time to come
            self._tell_crowding()
            return attempt

    def _open_gaps(self) -> Sequence[GapDetected]:
        return self.reader.open_gaps(recovery.oldest_filled(self._worker.clock.now_ns()))

    async def _take_up(self, gaps: Iterable[GapDetected]) -> None:
        async with self._news:
            self.queue.take_up(gaps)
            self._tell_crowding()
            self._news.notify_all()

    def _tell_crowding(self) -> None:
        now_ns, name = self._worker.clock.now_ns(), self._worker.name
        match self.queue.crowding():
            case "begins":
                text = f"{len(self.queue)} gaps wait to be filled"
                self._producer.publish(AlertRaised(now_ns, "warning", name, text))
            case "ends":
                text = f"gaps are filled again as they come: {len(self.queue)} wait"
                self._producer.publish(AlertRaised(now_ns, "info", name, text))


class Filler:
    """Fetches what a gap misses and publishes it."""

    def __init__(self, worker: Worker, producer: Producer, history: PastSource, worklist: Worklist) -> None:
        self._clock = worker.clock
        self._settings = worker.settings.recovery
        self._reader = worklist.reader
        self._producer = producer
        self._history = history
        self._worklist = worklist

    async def work(self) -> None:
        """Fill one gap after the other."""
        while True:
            await self._fill(await self._worklist.next())

    async def _fill(self, attempt: Attempt) -> None:
        gap, queue, now_ns = attempt.gap, self._worklist.queue, self._clock.now_ns()
        too_old = None if attempt.again else recovery.too_old(gap, now_ns)  # a person may want it all the same
        if reason := too_old or recovery.give_up(gap, attempt.failures, attempt.why, self._settings):
            self._producer.publish(GapUnrecoverable(gap.gap_id, gap.symbol, now_ns, reason))
            queue.close(attempt)
            return
        planned = recovery.plan_now(gap, attempt.failures, now_ns, self._settings)
        is_last = recovery.is_last_attempt(planned, attempt.failures, self._settings)
        try:
            rows, closed = await self._recover(planned)
            if not rows or not (closed.complete or is_last):  # a source lags behind the stream: it may have more soon
                queue.put_back(attempt, f"{planned.source} told {len(rows)} rows of it", self._clock.now_ns())
                return
            new = await self._not_stored(gap, rows) if attempt.again else rows
        except (ProviderError, StoreError) as error:
            logger.warning("gap %s: %s", gap.gap_id, error)
            queue.put_back(attempt, str(error), self._clock.now_ns())
            return
        self._producer.publish_together([*new, closed])
        queue.close(attempt)
        logger.info("gap %s: recovered with %d rows", gap.gap_id, closed.rows)

    async def _not_stored(self, gap: GapDetected, rows: Sequence[Row]) -> Sequence[Row]:
        """Those of the rows that an earlier recovery did not bring."""
        while not await self._producer.drain(SETTLE_S):
            logger.info("gap %s: waiting for what was recovered earlier to be stored", gap.gap_id)
        stored = {recovery.name_of(row) for row in await asyncio.to_thread(self._reader.recovered_rows, gap)}
        return [row for row in rows if recovery.name_of(row) not in stored]

    async def _recover(self, plan: RecoveryPlan) -> tuple[Sequence[Row], GapRecovered]:
        """What came back for the gap, and the word that it is closed with that."""
        gap = plan.gap
        if plan.source == "time_and_sales":
            told = await self._history.trades_between(gap.symbol, plan.from_ns, plan.to_ns)
            found = recovery.select(told, gap, self._clock.now_ns())
            return found.trades, self._closed(plan, len(found.trades), found.volume, complete=found.complete)
        past = recovery.is_past(gap, self._clock.now_ns())
        fetch = self._history.past_minute_bars if past else self._history.minute_bars
        bars = recovery.select_minutes(await fetch(gap.symbol, plan.from_ns, plan.to_ns), gap)
        return bars, self._closed(plan, len(bars), sum(bar.volume for bar in bars), complete=False)

    def _closed(self, plan: RecoveryPlan, rows: int, volume: float, *, complete: bool) -> GapRecovered:
        gap = plan.gap
        return GapRecovered(gap.gap_id, gap.symbol, self._clock.now_ns(), plan.source, rows, volume, complete)


if __name__ == "__main__":
    run("gap-recovery", gap_recovery)
