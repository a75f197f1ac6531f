"""Fills the gaps that Track B found: stores recovered trades beside the streamed ones, flagged and linked.

The database holds the list of open gaps; the feed only signals new ones. The recovered rows of a gap and its outcome
are published as one batch, so a kill leaves a gap either open or wholly closed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from bus.commands import Done, Refused
from bus.endpoints import Address
from bus.events import (
    Fact,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapRecovered,
    GapUnrecoverable,
    InputQuarantined,
    MinuteBarRecovered,
    Trade,
)
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.base.clock import Clock, machine_seconds
from observer.base.errors import ProviderError, StoreError
from observer.base.local_time import local_datetime
from observer.brokers.broker import HistorySource
from observer.brokers.domestic import PastBarSource
from observer.brokers.quarantine import ROWS_PER_MINUTE_MAX
from observer.calendar.phases import DayPlan
from observer.collection.sweep_times import session_of
from observer.gaps import recovery
from observer.gaps.recovery import (
    Attempt,
    RecoveryPlan,
    RecoveryQueue,
    RecoverySettings,
    RecoveryTargets,
    TargetChange,
    TimeAndSalesRow,
    text_of,
)
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

CHECK_AGAIN_S: Final = 0.5  # machine seconds between checks of the database, in case the feed lost a message
SETTLE_S: Final = 1.0
FIGURES_S: Final = 10.0  # machine seconds between the figures of detection and recovery
_RECOVERY_TARGET: Final = "recovery_target:"
_FIGURES: Final = "gap_figures"
_UNREAD: Final = "open_gaps_unread"

Row = Trade | MinuteBarRecovered
Filled = tuple[Sequence[Row], GapRecovered]


class PastSource(HistorySource, PastBarSource, Protocol):
    """Today's trades and minute bars, and minute bars of earlier days."""


class GapWorklist:
    """The open gaps by priority. Satisfies `observer.system.process_orders.GapOrders`."""

    def __init__(
        self,
        settings: RecoverySettings,
        *,
        reader: StoreReader,
        feed_address: Address,
        clock: Clock,
        alerts: Alerts,
    ) -> None:
        self.queue = RecoveryQueue(settings)
        self.reader = reader
        self._feed_address = feed_address
        self._clock = clock
        self._alerts = alerts
        self._news = asyncio.Condition()
        self._targets = RecoveryTargets(settings)
        self._settings = settings
        self._started_ns = clock.now_ns()
        self._opened: dict[str, str] = {}  # gaps of cuts, by id with the day: the detection of these is measured
        self._unproved: set[str] = set()  # cuts without a proof of the missed volume

    async def resume(self) -> None:
        """Continue the day's figures of an earlier process; without an answer of the database they begin anew, with an
        alert.
        """
        day = self._today()
        try:
            figures = await asyncio.to_thread(self.reader.gap_times, day)
            stories = await asyncio.to_thread(self.reader.gaps, day)
            cuts = await asyncio.to_thread(self.reader.openings, day)
            opened = await asyncio.to_thread(self.reader.cut_ids, day)
        except StoreError as error:
            self._alerts.report(_FIGURES, "warning", f"the day's figures of gaps begin anew: {error}")
            return
        self._alerts.resolve(_FIGURES, "the day's figures of gaps are read")
        self._opened = dict.fromkeys(opened, day)
        self._unproved = {cut.opened.gap_id for cut in cuts if cut.is_open}
        filled = sum(story.recovered is not None for story in stories)
        ended = sum(not story.is_open for story in stories) + sum(cut.unrecoverable is not None for cut in cuts)
        for state in self._targets.resume(day, figures.values(), filled=filled, ended=ended):
            self._report_target(state)

    def _today(self) -> str:
        return local_datetime(self._clock.now_ns()).date().isoformat()

    async def follow_feed(self) -> None:
        """Enqueue gaps as they are committed, and measure the gaps of cuts."""
        kinds: list[type[Fact]] = [GapOpened, GapEmpty, GapDetected, GapUnrecoverable]
        feed = FeedSubscriber(self._feed_address, kinds, self._alerts.feed_lost)
        try:
            async for event in feed:
                match event:
                    case GapOpened():
                        self._measure_detection(event.session_date, event.from_ns)
                        self._opened[event.gap_id] = event.session_date
                        self._unproved.add(event.gap_id)
                    case GapEmpty():
                        self._unproved.discard(event.gap_id)
                        self._measure_empty(event)
                    case GapDetected():
                        await self._take_up([event])
                    case GapUnrecoverable():
                        self._measure_given_up(event)
        finally:
            feed.close()

    async def publish_figures(self, producer: Producer) -> None:
        """Publish the figures of the day's detection and recovery when they have changed, and at the end."""
        try:
            while True:
                await asyncio.sleep(FIGURES_S)
                producer.publish(*self._targets.figures(self._clock.now_ns()))
        finally:
            producer.publish(*self._targets.figures(self._clock.now_ns()))

    async def check_now_and_then(self) -> None:
        """Enqueue the database's open gaps: those of an earlier process and those missed on the feed. The first check
        includes gaps that are too old to be filled: they are given up.
        """
        since = ""
        self._alerts.resolve("queue", "the open gaps are counted anew")  # an earlier process's
        while True:
            self._begin_day(self._today())
            try:
                found = await asyncio.to_thread(self.reader.open_gaps, since)
                await self._take_up(found)
                since = recovery.oldest_filled(self._clock.now_ns())
                self.queue.forget_before(since)
                self._opened = {gap_id: day for gap_id, day in self._opened.items() if day >= since}
                self._unproved &= self._opened.keys()
                self._alerts.resolve(_UNREAD, "the open gaps are read")
            except StoreError as error:  # the feed continues, and the next check retries
                self._alerts.report(_UNREAD, "warning", f"cannot look for open gaps: {error}")
            await asyncio.sleep(CHECK_AGAIN_S)

    async def retry(self, gap_ids: Sequence[str]) -> Done | Refused:
        """Retry these gaps at once, whether open, partly filled or given up; without ids, all open gaps."""
        found: dict[str, tuple[GapDetected, bool]] = {}
        try:
            for gap_id in gap_ids:
                story = await asyncio.to_thread(self.reader.gap, gap_id)
                if story is None:
                    return await asyncio.to_thread(self._refusal_of_cut, gap_id)
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
        return Done(self._alerts.source, f"gaps to be tried now: {taken.count(True)}{under_way}")

    def _refusal_of_cut(self, gap_id: str) -> Refused:
        """The reason why a cut without a proved loss is not retried, or that no gap has this id."""
        cut = self.reader.opening(gap_id)
        if cut is None:
            return Refused("unknown_gap", f"no gap has the id {gap_id!r}")
        if cut.empty is not None:
            return Refused("not_needed", f"nothing was traded in the cut {gap_id}")
        if cut.unrecoverable is not None:
            text = f"what the cut {gap_id} missed is not known, so no call can fetch it: {cut.unrecoverable.reason}"
            return Refused("not_needed", f"{text}; the quality report of the day says at most how much")
        return Refused("not_needed", f"the cut {gap_id} is still open: the stream's next trade or a quote resolves it")

    async def next(self) -> Attempt:
        """The most urgent due gap; waits for one."""
        async with self._news:
            while (attempt := self.queue.take(self._clock.now_ns())) is None:
                await self._news.wait()  # `check_now_and_then` also wakes this for attempts that became due
            self._report_crowding()
            return attempt

    def _open_gaps(self) -> Sequence[GapDetected]:
        return self.reader.open_gaps(recovery.oldest_filled(self._clock.now_ns()))

    async def _take_up(self, gaps: Iterable[GapDetected]) -> None:
        async with self._news:
            for gap in self.queue.take_up(gaps):
                self._unproved.discard(gap.gap_id)
                if gap.gap_id not in self._opened:
                    self._measure_detection(gap.session_date, gap.detected_ns)
            self._report_crowding()
            self._news.notify_all()

    def closed(self, attempt: Attempt, *, is_recovered: bool, began_s: float) -> None:
        """Close a gap whose outcome is published, and measure it against the day's targets. `began_s` is the time of
        the first call for it, on the clock of the event loop.
        """
        self.queue.close(attempt)
        day = attempt.gap.session_date
        if attempt.again or recovery.is_past(attempt.gap.session_date, self._clock.now_ns()):
            return
        self._begin_day(day)
        gap = attempt.gap
        back_ns = gap.to_ns if gap.gap_id in self._opened else gap.detected_ns
        self._targets.timed(day, "closing", machine_seconds(self._clock, self._clock.now_ns() - back_ns))
        if is_recovered:
            self._report_target(self._targets.timed(day, "recovery", asyncio.get_running_loop().time() - began_s))
        self._report_target(self._targets.ended(day, is_recovered=is_recovered))

    def quarantine(self, gap: GapDetected, rows: Sequence[TimeAndSalesRow], producer: Producer) -> None:
        """Store the first rows of time-and-sales that cannot be of the gap's day, and the number of the others, and
        report them.
        """
        if not rows:
            return
        now_ns, source = self._clock.now_ns(), f"{gap.provider}.time_and_sales"
        reason = f"asked for {gap.session_date}, and its time is of another day or ahead of this machine's clock"
        for row in rows[:ROWS_PER_MINUTE_MAX]:
            producer.publish(InputQuarantined(source, now_ns, reason, msgspec.json.encode(row)))
        if others := rows[ROWS_PER_MINUTE_MAX:]:
            counted = f"{len(others):,} more of {gap.symbol}, only counted"
            producer.publish(InputQuarantined(source, now_ns, counted, b""))
        text = f"{len(rows)} recovered trades of {gap.symbol} are in quarantine: {reason}"
        self._alerts.happened("misdated_recovery", "warning", text)

    def _measure_detection(self, session_date: str, since_ns: int) -> None:
        """Measure the detection of a new gap of the running day. A gap from before this process had to wait for its
        start.
        """
        now_ns = self._clock.now_ns()
        if since_ns >= self._started_ns and not recovery.is_past(session_date, now_ns):
            self._begin_day(session_date)
            after_s = machine_seconds(self._clock, now_ns - since_ns)
            self._report_target(self._targets.timed(session_date, "detection", after_s))

    def _measure_empty(self, gap: GapEmpty) -> None:
        """Measure a gap of the running day in which nothing was traded: the gap counts as closed, not as filled."""
        now_ns = self._clock.now_ns()
        if gap.to_ns >= self._started_ns and not recovery.is_past(gap.session_date, now_ns):
            self._begin_day(gap.session_date)
            self._targets.timed(gap.session_date, "closing", machine_seconds(self._clock, now_ns - gap.to_ns))

    def _measure_given_up(self, lost: GapUnrecoverable) -> None:
        """Count a cut that Track B gave up as not filled. Recovery counts the proved gaps that it gives up itself."""
        day = self._opened.get(lost.gap_id)
        if lost.gap_id in self._unproved and day is not None and not recovery.is_past(day, self._clock.now_ns()):
            self._begin_day(day)
            self._report_target(self._targets.ended(day, is_recovered=False))
        self._unproved.discard(lost.gap_id)

    def _begin_day(self, session_date: str) -> None:
        """End the alerts about the targets of an earlier day or an earlier process, when a new count begins."""
        if self._targets.begin(session_date):
            self._alerts.resolve_all(_RECOVERY_TARGET, f"the gaps of {session_date} are counted anew")

    def _report_target(self, change: TargetChange | None) -> None:
        if change is None:
            return
        identity, text = f"{_RECOVERY_TARGET}{change.measure}", text_of(change, self._settings)
        if change.is_missed:
            self._alerts.report(identity, "warning", text)
        else:
            self._alerts.resolve(identity, text)

    def _report_crowding(self) -> None:
        COUNTERS.set("observer_gap_queue", to=len(self.queue))
        match self.queue.crowding():
            case "begins":
                self._alerts.report("queue", "warning", f"{len(self.queue)} gaps wait to be filled")
            case "ends":
                self._alerts.resolve("queue", f"gaps are filled again as they come: {len(self.queue)} wait")


class GapFiller:
    """Fetches the missing data of a gap and publishes it."""

    def __init__(
        self,
        settings: RecoverySettings,
        worklist: GapWorklist,
        *,
        history: PastSource,
        producer: Producer,
        clock: Clock,
        plan_of: Callable[[date], DayPlan],
    ) -> None:
        self._clock = clock
        self._plan_of = plan_of  # a day's sessions by venue
        self._settings = settings
        self._reader = worklist.reader
        self._producer = producer
        self._history = history
        self._worklist = worklist
        self._began_s: dict[str, float] = {}  # by gap: its first call, on the clock of the event loop

    async def work(self) -> None:
        while True:
            await self._fill(await self._worklist.next())

    async def _fill(self, attempt: Attempt) -> None:
        gap, queue, now_ns = attempt.gap, self._worklist.queue, self._clock.now_ns()
        self._began_s.setdefault(gap.gap_id, asyncio.get_running_loop().time())
        too_old = None if attempt.again else recovery.too_old(gap, now_ns)  # an operator may retry it regardless of age
        if reason := too_old or recovery.give_up(gap, attempt.failures, attempt.why, self._settings):
            self._producer.publish(GapUnrecoverable(gap.gap_id, gap.symbol, now_ns, reason, gap.venue))
            self._close(attempt, is_recovered=False)
            return
        planned = recovery.plan_now(gap, attempt.failures, now_ns, self._settings)
        is_last = recovery.is_last_attempt(planned, attempt.failures, self._settings)
        try:
            rows, closed = await self._recover(planned)
            is_last = is_last or closed.source == "minute_bars"
            if not rows or not (closed.complete or is_last):  # the source lags behind streaming: it may have more soon
                queue.put_back(attempt, f"{planned.source} returned {len(rows)} rows of it", self._clock.now_ns())
                return
            new, closed = await self._not_stored(attempt, rows, closed)
        except (ProviderError, StoreError) as error:
            logger.warning("gap %s: %s", gap.gap_id, error)
            queue.put_back(attempt, str(error), self._clock.now_ns())
            return
        self._producer.publish_together([*new, closed])
        self._close(attempt, is_recovered=True)
        logger.info("gap %s: recovered with %d rows", gap.gap_id, closed.rows)

    def _close(self, attempt: Attempt, *, is_recovered: bool) -> None:
        began_s = self._began_s.pop(attempt.gap.gap_id)
        self._worklist.closed(attempt, is_recovered=is_recovered, began_s=began_s)

    async def _not_stored(self, attempt: Attempt, rows: Sequence[Row], closed: GapRecovered) -> Filled:
        """Return the recovered rows that are not stored yet, and the outcome without the tape's trades. The tape may
        have stored trades of a gap that was given up before, or of a gap before a slot's first trade, never of a gap
        behind a counted trade. All rows if the database does not answer; for a repeated gap, StoreError instead.
        """
        gap = attempt.gap
        if not attempt.again and gap.missing_trades is not None:
            return rows, closed
        while attempt.again and not await self._producer.drain(SETTLE_S):
            logger.info("gap %s: waiting for what was recovered earlier to be stored", gap.gap_id)
        try:
            stored = await asyncio.to_thread(self._reader.stored_names, gap)
        except StoreError:
            if attempt.again:
                raise
            return rows, closed
        own = sum(stored.get(recovery.name_of(row), gap.gap_id) == gap.gap_id for row in rows)
        return [row for row in rows if recovery.name_of(row) not in stored], replace(closed, rows=own)

    async def _recover(self, plan: RecoveryPlan) -> Filled:
        """The recovered rows of the gap, and its outcome."""
        gap = plan.gap
        if plan.source == "time_and_sales":
            reported = await self._history.trades_between(
                gap.symbol, plan.from_ns, plan.to_ns, after_volume=gap.after_volume, rows_max=plan.rows_max
            )
            found = recovery.select(reported, gap, self._clock.now_ns())
            self._worklist.quarantine(gap, found.misdated, self._producer)
            if plan.rows_max is not None and len(reported) >= plan.rows_max and not found.complete:
                return await self._recover(recovery.by_minutes(gap, self._settings))  # too many to fetch one by one
            closed = self._closed(plan, len(found.trades), found.volume, complete=found.complete)
            return self._with_sessions(gap, found.trades), closed
        past = recovery.is_past(gap.session_date, self._clock.now_ns())
        fetch = self._history.past_minute_bars if past else self._history.minute_bars
        reported_bars = await fetch(gap.symbol, plan.from_ns, plan.to_ns)
        bars = recovery.select_minutes(reported_bars, gap, self._clock.now_ns())
        closed = self._closed(plan, len(bars), sum(bar.volume for bar in bars), complete=False)
        return self._with_sessions(gap, bars), closed

    def _with_sessions(self, gap: GapDetected, rows: Sequence[Row]) -> Sequence[Row]:
        """Add the session of the venue at the time of each row: the broker's answers state none."""
        sessions = self._plan_of(date.fromisoformat(gap.session_date)).sessions
        return [replace(row, session=session_of(sessions, row.venue, _time_of(row))) for row in rows]

    def _closed(self, plan: RecoveryPlan, rows: int, volume: float, *, complete: bool) -> GapRecovered:
        gap = plan.gap
        now_ns = self._clock.now_ns()
        return GapRecovered(gap.gap_id, gap.symbol, now_ns, plan.source, rows, volume, complete, gap.venue)


def _time_of(row: Row) -> int:
    return row.exchange_time_ns if isinstance(row, Trade) else row.minute_start_ns
