"""Judges how complete each session's data is: once after the close, and again when a gap is closed later."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from functools import partial
from typing import Final

from msgspec.structs import replace

from bus.endpoints import Address
from bus.events import (
    DailyBar,
    GapRecovered,
    GapUnrecoverable,
    QualityJudged,
    ReconciliationResult,
    SlotAssigned,
    SlotReleased,
)
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.errors import StoreError
from observer.base.lines import venue_of
from observer.base.local_time import local_datetime
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.gaps import reconciliation
from observer.gaps.intervals import Interval, seconds_of
from observer.gaps.recovery import DAYS_BACK
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

DATABASE_RETRY_S: Final = 1.0
JUDGE_AGAIN_MARKET_S: Final = 60.0  # between checks whether the day's gaps are closed
# Machine seconds between checks of recent quality reports. Also before the first one: an earlier day's undelivered
# events arrive then.
LOOKBACK_S: Final = 30.0
# Checks after which the recent days are looked through without news too: the feed may lose the events that are news.
CHECKS_WITHOUT_NEWS: Final = 20
_NEWS: Final = (SlotAssigned, SlotReleased, GapRecovered, GapUnrecoverable, DailyBar)


class QualityJudge:
    """Publishes the quality of each session's data; runs beside the filling of gaps, not in the writer's process.

    Args:
        open_reader: opens the database, and waits until it answers.
        feed_address: of the feed, which says when slots, gaps or daily bars are committed.
        settled: waits until all published events of the producer are in the database.
        alerts: of the process.
        turn: held while a session is judged, so that two jobs of the process never run at once.
    """

    def __init__(
        self,
        *,
        open_reader: Callable[[], AbstractAsyncContextManager[StoreReader]],
        feed_address: Address,
        settled: Callable[[Producer], Awaitable[None]],
        turn: asyncio.Lock,
        today: TradingDayService,
        clock: Clock,
        alerts: Alerts,
    ) -> None:
        self._open_reader = open_reader
        self._feed_address = feed_address
        self._settled = settled
        self._turn = turn
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._has_news = True  # an earlier process may have left work

    async def run(self, producer: Producer) -> None:
        """Reconcile earlier sessions that have no report, then each day when it is due, until cancelled."""
        async with self._open_reader() as reader, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_feed())
            tasks.create_task(self._judge_again(reader, producer))
            async for plan in self._today.days():
                if plan.trades:
                    await self._clock.sleep_until(self._session(plan.day).to_ns + reconciliation.SETTLED_AFTER_NS)
                    await self._judge_when_due(reader, producer, plan)

    async def judge_now(self, producer: Producer) -> str:
        """Publish the day's quality reports from the data stored now, on an operator's order. They replace earlier
        ones.
        """
        async with self._open_reader() as reader:
            session_date = self._date_now().isoformat()
            return f"{session_date}: {await self._judge(reader, producer, session_date)} symbols judged"

    async def _follow_feed(self) -> None:
        feed = FeedSubscriber(self._feed_address, _NEWS, self._alerts.feed_lost)
        try:
            async for _ in feed:
                self._has_news = True
        finally:
            feed.close()

    async def _judge_when_due(self, reader: StoreReader, producer: Producer, plan: DayPlan) -> None:
        session_date, closed_ns = plan.day.isoformat(), self._session(plan.day).to_ns + reconciliation.SETTLED_AFTER_NS
        while True:
            try:
                reports = await asyncio.to_thread(reader.quality, session_date)
                if reports and min(report.judged_ns for report in reports) >= closed_ns:
                    return  # those of an earlier process; an order during the day replaces no report of the whole day
                if await asyncio.to_thread(self._is_due, reader, plan):
                    async with self._turn:
                        await self._judge(reader, producer, session_date)
                    return
            except StoreError as error:
                await self._wait_for_database(session_date, error)
            await self._clock.sleep(JUDGE_AGAIN_MARKET_S)

    def _is_due(self, reader: StoreReader, plan: DayPlan) -> bool:
        session_date, closed_ns = plan.day.isoformat(), self._session(plan.day).to_ns
        swept = reader.last_sweep(session_date)
        is_swept = swept is not None and swept.started_ns >= closed_ns + reconciliation.AUCTION_OVER_AFTER_NS
        return reconciliation.is_due(
            plan.track_b_stop_ns,
            closed_ns,
            open_gaps=len(reader.open_gaps(session_date)),
            is_settled=is_swept and not reader.open_slots(plan.starts_ns, plan.ends_ns),
            now_ns=self._clock.now_ns(),
        )

    async def _judge_again(self, reader: StoreReader, producer: Producer) -> None:
        """Judge recent sessions again: earlier sessions without a report, and symbols whose gaps closed after their
        report.
        """
        for check in itertools.count(1):
            await asyncio.sleep(LOOKBACK_S)
            if self._has_news or check % CHECKS_WITHOUT_NEWS == 0:
                self._has_news = False
                try:
                    await self._lookback(reader, producer)
                except StoreError as error:
                    self._has_news = True
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
        unknown = [report.symbol for report in reports if report.day_volume is None]
        volumes = reader.day_volumes(session_date, self._session(date.fromisoformat(session_date)), unknown)
        seconds = {symbol: seconds_of(each) for symbol, each in times.items()}
        return reconciliation.outdated(reports, closings, seconds, volumes)

    async def _judge(
        self, reader: StoreReader, producer: Producer, session_date: str, symbols: Collection[str] | None = None
    ) -> int:
        """Publish the reconciliation of every interval and the quality report of every symbol (or of `symbols`).
        Returns the number of reports.

        The quality reports come last and as one batch: a day has all of them or none, even if this process is killed.
        """
        now_ns, main_venue = self._clock.now_ns(), self._today.plan_of(date.fromisoformat(session_date)).venue

        def reconciled() -> list[tuple[list[ReconciliationResult], QualityJudged]]:
            session = self._session(date.fromisoformat(session_date))
            days = reader.symbol_days(session_date, now_ns, session, symbols)
            return [_at_venue(reconciliation.reconcile(day, now_ns), venue_of(day.symbol, main_venue)) for day in days]

        found = await asyncio.to_thread(reconciled)
        for books, _report in found:
            for interval in books:
                producer.publish(interval)
        if found:
            reports = [comparison for _books, comparison in found]
            reported = reconciliation.gap_rate_alert(session_date, reports) if symbols is None else None
            if symbols is None and (rate := reconciliation.gap_rate(reports)) is not None:
                COUNTERS.set("observer_gap_rate_ratio", to=rate)
            if reported:
                alert = self._alerts.reported("gap_rate", "warning", reported)
            elif symbols is None:
                alert = self._alerts.resolved("gap_rate", f"{session_date}: the gap rate is below its limit")
            else:
                alert = []
            producer.publish_together([*reports, *alert])
            logger.info("%s: judged the data of %d symbols", session_date, len(found))
        return len(found)

    def _session(self, day: date) -> Interval:
        return Interval(*self._today.session_of(day))

    def _date_now(self) -> date:
        return local_datetime(self._clock.now_ns()).date()

    async def _wait_for_database(self, what: str, error: StoreError) -> None:
        logger.error("cannot judge %s yet: %s", what, error)
        await asyncio.sleep(DATABASE_RETRY_S)


def _at_venue(
    found: tuple[list[ReconciliationResult], QualityJudged], venue: str
) -> tuple[list[ReconciliationResult], QualityJudged]:
    reconciliations, report = found
    return [replace(each, venue=venue) for each in reconciliations], replace(report, venue=venue)
