"""Judges how complete each session's data is: once when its stream has ended, and again when a gap is closed later."""

import asyncio
import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Final

from bus.events import (
    AlertRaised,
    BooksChecked,
    GapRecovered,
    GapUnrecoverable,
    QualityJudged,
    SlotAssigned,
    SlotReleased,
    kind_of,
)
from bus.producer import Producer
from observer.clock import kst_datetime
from observer.errors import StoreError
from observer.gaps import judging
from observer.gaps.intervals import seconds_of
from observer.gaps.reconciliation import reconcile
from observer.gaps.recovery import DAYS_BACK
from observer.store.reader import StoreReader
from workers.runtime import DATABASE_RETRY_S, Worker

logger = logging.getLogger(__name__)

JUDGE_AGAIN_MARKET_S: Final = 60.0  # between looks at whether the day's gaps are closed
# Machine seconds between looks at whether the verdicts of late still hold. Before the first one, too: what an earlier
# day could not deliver is on its way then.
LOOK_BACK_S: Final = 30.0
_NEWS: Final = frozenset({kind_of(each) for each in (SlotAssigned, SlotReleased, GapRecovered, GapUnrecoverable)})


class Verdicts:
    """The judge, in the process of the writer."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._news = threading.Event()
        self._news.set()  # an earlier process may have left something

    def count_from_thread(self, rows_by_kind: Mapping[str, int]) -> None:
        """So many rows were committed."""
        if not _NEWS.isdisjoint(rows_by_kind):
            self._news.set()

    async def run(self, producer: Producer) -> None:
        """Close the books of earlier sessions that nobody closed, then each day's in its time, until cancelled."""
        async with self._worker.reader() as reader, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._judge_again(reader, producer))
            while True:
                plan = await self._worker.today.plan()
                if plan.trades:
                    await self._worker.clock.sleep_until(plan.track_b_stop_ns + judging.SETTLED_AFTER_NS)
                    await self._judge_when_due(reader, producer, plan.day.isoformat(), plan.track_b_stop_ns)
                await self._worker.today.end_of(plan)

    async def judge_now(self, producer: Producer) -> str:
        """The day's verdicts from what is stored now, by order of a person; they count in place of earlier ones."""
        async with self._worker.reader() as reader:
            session_date = self._today().isoformat()
            return f"{session_date}: {await self._judge(reader, producer, session_date)} symbols judged"

    async def _judge_when_due(
        self, reader: StoreReader, producer: Producer, session_date: str, stream_ended_ns: int
    ) -> None:
        while True:
            try:
                if await asyncio.to_thread(reader.quality, session_date):
                    return
                gaps = await asyncio.to_thread(reader.open_gaps, session_date)
                if judging.is_due(stream_ended_ns, len(gaps), self._worker.clock.now_ns()):
                    async with self._worker.orders.turn:
                        await self._judge(reader, producer, session_date)
                    return
            except StoreError as error:
                await self._wait_for_database(session_date, error)
            await self._worker.clock.sleep(JUDGE_AGAIN_MARKET_S)

    async def _judge_again(self, reader: StoreReader, producer: Producer) -> None:
        """Of the sessions of late: those before today that were never judged, and symbols whose gaps were closed since
        they were.
        """
        while True:
            await asyncio.sleep(LOOK_BACK_S)
            if self._news.is_set():
                self._news.clear()
                try:
                    await self._look_back(reader, producer)
                except StoreError as error:
                    self._news.set()
                    logger.error("cannot judge the days of late yet: %s", error)

    async def _look_back(self, reader: StoreReader, producer: Producer) -> None:
        today = self._today()
        for back in range(DAYS_BACK + 1):
            session_date = (today - timedelta(days=back)).isoformat()
            await self._judge_behind(reader, producer, session_date, is_past=back > 0)

    async def _judge_behind(self, reader: StoreReader, producer: Producer, session_date: str, *, is_past: bool) -> None:
        verdicts = await asyncio.to_thread(reader.quality, session_date)
        ask = partial(self._outdated, reader, session_date, verdicts, is_past=is_past)
        symbols = await asyncio.to_thread(ask) if verdicts else None
        if symbols or (is_past and not verdicts):
            async with self._worker.orders.turn:
                await self._judge(reader, producer, session_date, symbols)
                await self._worker.settled(producer)  # or the next look would not see it

    def _outdated(
        self, reader: StoreReader, session_date: str, verdicts: Sequence[QualityJudged], *, is_past: bool
    ) -> frozenset[str]:
        closings = [
            judging.Closing(story.gap.symbol, story.closed_ns)
            for story in reader.gaps(session_date)
            if story.closed_ns is not None
        ]
        times = reader.stream_times(session_date, self._worker.clock.now_ns()) if is_past else {}
        return judging.outdated(verdicts, closings, {symbol: seconds_of(each) for symbol, each in times.items()})

    async def _judge(
        self, reader: StoreReader, producer: Producer, session_date: str, symbols: Collection[str] | None = None
    ) -> int:
        """Publish the books of every interval and the verdict on every symbol, or on these; how many there are.

        The verdicts come last and as one batch: a day that has one has all, whenever this process is killed.
        """
        now_ns = self._worker.clock.now_ns()

        def reconciled() -> list[tuple[list[BooksChecked], QualityJudged]]:
            days = reader.symbol_days(session_date, now_ns)
            return [reconcile(day, now_ns) for day in days if symbols is None or day.symbol in symbols]

        found = await asyncio.to_thread(reconciled)
        for books, _verdict in found:
            for interval in books:
                producer.publish(interval)
        if found:
            verdicts = [verdict for _books, verdict in found]
            told = judging.gap_rate_alert(session_date, verdicts) if symbols is None else None
            alert = [AlertRaised(now_ns, "warning", self._worker.name, told)] if told else []
            producer.publish_together([*verdicts, *alert])
            logger.info("%s: judged the data of %d symbols", session_date, len(found))
        return len(found)

    def _today(self) -> date:
        return kst_datetime(self._worker.clock.now_ns()).date()

    async def _wait_for_database(self, what: str, error: StoreError) -> None:
        logger.error("cannot judge %s yet: %s", what, error)
        await asyncio.sleep(DATABASE_RETRY_S)
