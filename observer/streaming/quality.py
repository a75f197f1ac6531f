"""Judges how complete each session's data is: once after streaming has ended, and again when a gap is closed later."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from functools import partial
from typing import Final

from bus.events import (
    GapRecovered,
    GapUnrecoverable,
    QualityJudged,
    ReconciliationResult,
    SlotAssigned,
    SlotReleased,
    kind_of,
)
from bus.producer import Producer
from observer.alerts.process import Alerts
from observer.calendar.service import TradingDayService
from observer.clock import Clock
from observer.errors import StoreError
from observer.gaps import reconciliation
from observer.gaps.intervals import seconds_of
from observer.gaps.reconciliation import reconcile
from observer.gaps.recovery import DAYS_BACK
from observer.local_time import local_datetime
from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

DATABASE_RETRY_S: Final = 1.0
JUDGE_AGAIN_MARKET_S: Final = 60.0  # between checks whether the day's gaps are closed
# Machine seconds between checks of recent quality reports. Also before the first one: an earlier day's undelivered
# events arrive then.
LOOKBACK_S: Final = 30.0
_NEWS: Final = frozenset({kind_of(each) for each in (SlotAssigned, SlotReleased, GapRecovered, GapUnrecoverable)})


class QualityJudge:
    """Publishes the quality of each session's data; runs in the writer's process.

    Args:
        open_reader: opens the database, and waits until it answers.
        settled: waits until all published events of the producer are in the database.
        alerts: of the process.
        turn: held while a session is judged, so that two jobs of the process never run at once.
    """

    def __init__(
        self,
        *,
        open_reader: Callable[[], AbstractAsyncContextManager[StoreReader]],
        settled: Callable[[Producer], Awaitable[None]],
        turn: asyncio.Lock,
        today: TradingDayService,
        clock: Clock,
        alerts: Alerts,
    ) -> None:
        self._open_reader = open_reader
        self._settled = settled
        self._turn = turn
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._news = threading.Event()
        self._news.set()  # an earlier process may have left work

    def count_from_thread(self, rows_by_kind: Mapping[str, int]) -> None:
        """Record the committed rows by kind; called from the writer's thread."""
        if not _NEWS.isdisjoint(rows_by_kind):
            self._news.set()

    async def run(self, producer: Producer) -> None:
        """Reconcile earlier sessions that have no report, then each day when it is due, until cancelled."""
        async with self._open_reader() as reader, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._judge_again(reader, producer))
            while True:
                plan = await self._today.plan()
                if plan.trades:
                    await self._clock.sleep_until(plan.track_b_stop_ns + reconciliation.SETTLED_AFTER_NS)
                    await self._judge_when_due(reader, producer, plan.day.isoformat(), plan.track_b_stop_ns)
                await self._today.end_of(plan)

    async def judge_now(self, producer: Producer) -> str:
        """Publish the day's quality reports from the data stored now, on an operator's order. They replace earlier
        ones.
        """
        async with self._open_reader() as reader:
            session_date = self._date_now().isoformat()
            return f"{session_date}: {await self._judge(reader, producer, session_date)} symbols judged"

    async def _judge_when_due(
        self, reader: StoreReader, producer: Producer, session_date: str, stream_ended_ns: int
    ) -> None:
        while True:
            try:
                if await asyncio.to_thread(reader.quality, session_date):
                    return
                gaps = await asyncio.to_thread(reader.open_gaps, session_date)
                if reconciliation.is_due(stream_ended_ns, len(gaps), self._clock.now_ns()):
                    async with self._turn:
                        await self._judge(reader, producer, session_date)
                    return
            except StoreError as error:
                await self._wait_for_database(session_date, error)
            await self._clock.sleep(JUDGE_AGAIN_MARKET_S)

    async def _judge_again(self, reader: StoreReader, producer: Producer) -> None:
        """Judge recent sessions: those before today without a report, and symbols with gaps closed since their
        report.
        """
        while True:
            await asyncio.sleep(LOOKBACK_S)
            if self._news.is_set():
                self._news.clear()
                try:
                    await self._lookback(reader, producer)
                except StoreError as error:
                    self._news.set()
                    logger.error("cannot judge the days of late yet: %s", error)

    async def _lookback(self, reader: StoreReader, producer: Producer) -> None:
        today = self._date_now()
        for back in range(DAYS_BACK + 1):
            session_date = (today - timedelta(days=back)).isoformat()
            await self._judge_behind(reader, producer, session_date, is_past=back > 0)

    async def _judge_behind(self, reader: StoreReader, producer: Producer, session_date: str, *, is_past: bool) -> None:
        reports = await asyncio.to_thread(reader.quality, session_date)
        ask = partial(self._outdated, reader, session_date, reports, is_past=is_past)
        symbols = await asyncio.to_thread(ask) if reports else None
        if symbols or (is_past and not reports):
            async with self._turn:
                await self._judge(reader, producer, session_date, symbols)
                await self._settled(producer)  # so that the next check sees it

    def _outdated(
        self, reader: StoreReader, session_date: str, reports: Sequence[QualityJudged], *, is_past: bool
    ) -> frozenset[str]:
        closings = [
            reconciliation.Closing(story.gap.symbol, story.closed_ns)
            for story in reader.gaps(session_date)
            if story.closed_ns is not None
        ]
        times = reader.stream_times(session_date, self._clock.now_ns()) if is_past else {}
        return reconciliation.outdated(reports, closings, {symbol: seconds_of(each) for symbol, each in times.items()})

    async def _judge(
        self, reader: StoreReader, producer: Producer, session_date: str, symbols: Collection[str] | None = None
    ) -> int:
        """Publish the reconciliation of every interval and the quality report of every symbol, or of these. Returns
        their number.

        The quality reports come last and as one batch: a day has all of them or none, even if this process is killed.
        """
        now_ns = self._clock.now_ns()

        def reconciled() -> list[tuple[list[ReconciliationResult], QualityJudged]]:
            days = reader.symbol_days(session_date, now_ns)
            return [reconcile(day, now_ns) for day in days if symbols is None or day.symbol in symbols]

        found = await asyncio.to_thread(reconciled)
        for books, _report in found:
            for interval in books:
                producer.publish(interval)
        if found:
            reports = [comparison for _books, comparison in found]
            reported = reconciliation.gap_rate_alert(session_date, reports) if symbols is None else None
            if reported:
                alert = self._alerts.reported("gap_rate", "warning", reported)
            elif symbols is None:
                alert = self._alerts.resolved("gap_rate", f"{session_date}: the gap rate is below its limit")
            else:
                alert = []
            producer.publish_together([*reports, *alert])
            logger.info("%s: judged the data of %d symbols", session_date, len(found))
        return len(found)

    def _date_now(self) -> date:
        return local_datetime(self._clock.now_ns()).date()

    async def _wait_for_database(self, what: str, error: StoreError) -> None:
        logger.error("cannot judge %s yet: %s", what, error)
        await asyncio.sleep(DATABASE_RETRY_S)
