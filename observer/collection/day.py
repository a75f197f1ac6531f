"""Track B on one trading day: connects, synchronises the context, assigns slots, streams, releases the slots.

`observer.selection` decides on slots, `observer.gaps` on gaps; here they are connected to stream, feed and clock.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from bus.endpoints import Address
from bus.events import (
    AccountsClosed,
    AccountSlots,
    CloseReason,
    DayBegan,
    Event,
    HistoryApplied,
    ListingApplied,
    ListingChanged,
    RiseApplied,
    SelectionAdvanced,
    SelectionStep,
    SlotAssigned,
    SlotsClosed,
    SlotsEvaluated,
    SlotsOpened,
    SlotsResumed,
    Snapshot,
    SweepCompleted,
    UniverseBuilt,
    UniverseEvaluated,
    VolumeRise,
)
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.errors import StoreError
from observer.base.lines import stock_of
from observer.base.units import NS_PER_S
from observer.brokers.accounts.clients import Brokers
from observer.brokers.accounts.failover import StreamOutages
from observer.brokers.broker import HaltSource, QuoteSource
from observer.brokers.joint_stream import JointStream
from observer.calendar.phases import DayPlan
from observer.collection import decisions
from observer.collection.earlier import count_quarantine, earlier_in_time, marks_of, opening_in_time, state_failure
from observer.collection.halt_poller import HaltPoller
from observer.collection.hours import hours_of, openings_of, slot_windows
from observer.collection.late_end import LateEnd, StopVolumes
from observer.collection.market_watch import left_free, watched
from observer.collection.missed import LastEvaluated, last_evaluated, missed_since
from observer.collection.receiver import NOT_STREAMED, StreamReceiver
from observer.collection.settings import StreamingSettings
from observer.collection.stream_alerts import OVERFLOW, report_held_back, report_market_stops, resolve_stream_alerts
from observer.gaps.detector import Mark
from observer.gaps.plausibility import state_of
from observer.monitoring.alerts.process import Alerts
from observer.reference.universe.in_force import later_build, oldest_fallback, universe_of
from observer.selection import context
from observer.selection.overflow import OverflowLevel, OverflowWatch, rates_of
from observer.selection.pins import kept_pins
from observer.selection.selector import Selector, selector_of
from observer.selection.settings import DaySettings
from observer.store.reader import StoreReader
from observer.store.universes import StoredUniverse

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1  # minimum machine seconds between evaluations, independent of the market clock's speed
EARLIER_DAYS_LEAD_NS: Final = 60 * NS_PER_S  # market time before the context: the query sums up weeks of sweeps
CONTEXT_LIMIT_S: Final = 30.0  # machine seconds (docs/requirement.md)


class StreamingDay:
    """One trading day of Track B.

    Args:
        plan: the moments of the day.
        settings: of selection, Track B and the sweeps.
        brokers: the brokers to stream from.
        quotes: REST quotes for data that the market data stream does not carry.
        halts: the broker's halt queries.
        stop_volumes: the volumes at Track B's stop, for a day that is ended after it.
        producer: publishes the events.
        alerts: of the process.
        reader: stored data of earlier days, Track A and an earlier process of this day.
        feed_address: the feed of committed snapshots.
        clock: market time.
    """

    def __init__(
        self,
        *,
        plan: DayPlan,
        settings: StreamingSettings,
        brokers: Brokers,
        quotes: QuoteSource,
        halts: HaltSource,
        stop_volumes: StopVolumes,
        producer: Producer,
        alerts: Alerts,
        reader: StoreReader,
        feed_address: Address,
        clock: Clock,
    ) -> None:
        self._plan = plan
        self._session_date = plan.day.isoformat()
        self._settings = settings
        self._brokers = brokers
        self._producer = producer
        self._alerts = alerts
        self._reader = reader
        self._feed_address = feed_address
        self._clock = clock
        sampling = settings.track_b.sampling
        self._kept_pause_ns = round(settings.track_b.keep_over_pause_s * NS_PER_S)
        self._late_end = LateEnd(stop_volumes, plan, reader, clock, alerts)
        self.receiver = StreamReceiver(
            *(brokers.provider, producer, quotes, clock, sampling, hours_of(plan)),
            sessions=plan.sessions,
            alerts=alerts,
            is_outage_of_stream_alone=brokers.is_outage_of_stream_alone,
            quarantine_bytes_max=settings.track_b.quarantine_bytes_max,
            late_end=self._late_end,
        )
        self.trades = self.receiver.trades
        self.overflow = OverflowWatch(rates_of(settings.selection.slots))
        self._first_step: DayBegan
        self._built: UniverseBuilt | None = None  # the build whose closes and averages the selection has
        self._evaluated: LastEvaluated | None = None  # the progress of an earlier process; None without one
        self.stream = JointStream({account.name: account.stream for account in brokers.accounts}, self.receiver)
        self._stream_monitor = self.receiver.monitor
        self._deciding: Sequence[asyncio.Task[None]] = ()
        self._halt_poller = HaltPoller(brokers.provider, halts, clock, self.receiver.on_facts, alerts)

    async def connect(self) -> bool:
        """Wait for the connection time. Returns False if the day's streaming is over already."""
        await self._clock.sleep_until(self._plan.stream_connect_ns)
        return self._clock.now_ns() < self._plan.track_b_stop_ns

    async def begin(self, tasks: asyncio.TaskGroup) -> tuple[Selector, Sequence[asyncio.Task[None]]]:
        """Connect, assign the first slots and start the tasks. Returns the selector, and the tasks to run
        until `end`.
        """
        self.receiver.tasks = tasks
        for prefix in (NOT_STREAMED, "load_relief"):  # an earlier process's
            self._alerts.resolve_all(prefix, "the stream begins anew")
        self.trades.begin_sampling()
        names = [account.name for account in self._brokers.accounts]
        self.receiver.outages = StreamOutages(names, self._clock.now_ns(), self._settings.track_b.failover_after_s)
        counted = (self._reader, self.receiver.unreadable, self._alerts, self._clock.now_ns())
        running = [tasks.create_task(each) for each in (self.stream.run(), count_quarantine(*counted))]
        await self._clock.sleep_until(self._plan.context_sync_ns - EARLIER_DAYS_LEAD_NS)
        selector = await self._new_selector()
        await self._clock.sleep_until(self._plan.context_sync_ns)
        await self._give_slots(selector)
        deciding = (self._follow_feed(selector), self._evaluate_slots(selector))
        self._deciding = [tasks.create_task(each) for each in deciding]
        following = (self._halt_poller.run(), self.trades.held.run())
        return selector, [*running, *self._deciding, *(tasks.create_task(each) for each in following)]

    async def end(self, selector: Selector) -> None:
        """Release every slot now, after the stream is read out up to this moment: what is missing until then is a gap.
        Does nothing if the machine slept until another day: `Unfinished` ends the day then.
        """
        if self._clock.now_ns() >= self._plan.ends_ns:
            resolve_stream_alerts(self._alerts)
            return
        for task in self._deciding:  # no decision is later than the end of the slots
            task.cancel()
        ended_ns = self._late_end.stop_ns = self.moment()
        await self._stream_monitor.drain(ended_ns)
        self.receiver.doubt_requested()
        await self.trades.leave_all()
        self._close(selector, ended_ns, "closed")
        resolve_stream_alerts(self._alerts)

    async def end_for_earlier_process(self) -> None:
        """Close the day of an earlier process that stopped while streaming, when it is too late to resume. The end of
        its slots was not observed, nor of watches alone: the closed day says that nothing is streamed any more.
        """
        resolve_stream_alerts(self._alerts)
        assigned = await asyncio.to_thread(self._reader.open_slots, self._plan.starts_ns, self._plan.ends_ns)
        reported = await asyncio.to_thread(self._reader.slot_events, self._session_date)
        if assigned or decisions.is_unfinished(reported):
            selector = await self._new_selector()
            self._resume(selector, reported, assigned)
            for slot in assigned:
                self.trades.watch(slot.symbol)
            await self.trades.leave_all()
            self._close(selector, self._plan.track_b_stop_ns, "unfinished")

    def _close(self, selector: Selector, at_ns: int, reason: CloseReason) -> None:
        self.carry_out(selector, SlotsClosed(reason), at_ns, selector.close(at_ns, reason))
        detector = self.trades.detector
        logger.info(
            "%s: %d duplicate trades dropped, %d trades of unsubscribed symbols, %d that overlap the trade before, "
            "%d that contradict it",
            *(reason, detector.duplicates, detector.unwatched, detector.inconsistent, detector.contradictions),
        )

    def moment(self) -> int:
        """The moment of a decision: now, after the selection has applied all trades until now, as published."""
        self.trades.report_rows()
        return self._clock.now_ns()

    def carry_out(self, selector: Selector, step: SelectionStep, now_ns: int, events: Sequence[Event]) -> None:
        """Publish the decisions and their step, and update the subscriptions."""
        self._producer.publish(*events, SelectionAdvanced(self._session_date, now_ns, step))
        self.overflow.apply(events)
        self.stream.want(selector.wanted_by_account, self._watched(selector))
        self.receiver.keep_wanted(selector.wanted)
        known = self.trades.detector.watched | self.trades.gaps.unwatched
        for symbol in sorted(known - set(selector.wanted) - self.stream.subscribed):
            self.receiver.leave(symbol)

    def _watched(self, selector: Selector) -> Mapping[str, Sequence[str]]:
        """The lines by account whose market state alone is streamed."""
        settings = self._settings.track_b
        subscriptions = {each.name: each.subscriptions for each in self._brokers.accounts if settings.watch_markets}
        return watched(selector, settings.records, subscriptions)

    # --- the start of the decisions ---

    async def _new_selector(self) -> Selector:
        """Wait for a universe. Returns a selector without one if the day ends first."""
        oldest = oldest_fallback(self._plan.day, self._settings.track_a.universe_weekdays_max)
        universe = await universe_of(self._plan, self._reader, self._clock, self._plan.track_b_stop_ns, oldest)
        members = universe.members if universe is not None else []
        track_b, accounts = self._settings.track_b, self._brokers.accounts
        slots = [min(each.capacity, self._settings.selection.slots.max_slots) for each in accounts]
        free = left_free(members, track_b.records, slots, [each.subscriptions for each in accounts])
        settings = DaySettings(
            selection=self._settings.selection,
            accounts=tuple(AccountSlots(account.name, account.capacity) for account in accounts),
            allocation_strategy=self._brokers.strategy,
            sweep_interval_s=self._settings.track_a.interval_s,
            windows=slot_windows(self._plan, [each.symbol for each in members], self._kept_pause_ns),
            openings_ns=openings_of(self._plan),
            page_trades=self._brokers.page_trades,
            left_free=free if track_b.watch_markets else 0,
        )
        self._late_end.windows = settings.windows
        begun = await earlier_in_time(self._reader, self._plan, settings, universe, CONTEXT_LIMIT_S)
        self._first_step = begun.step
        self._built = universe.built if universe is not None else None
        state_failure(self._alerts, "earlier_days", begun.failure, "the earlier days are read")
        selector = selector_of(members, settings, begun.earlier)
        if (later := await self._later_build()) is not None:
            self._built = later.built
            self._first_step = msgspec.structs.replace(begun.step, history_ns=later.built.built_ns)
            selector.update_history(later.members)
        return selector

    async def _give_slots(self, selector: Selector) -> None:
        """Resume the slots of an earlier process of this day, or begin with the opening's movers."""
        reported = await asyncio.to_thread(self._reader.slot_events, self._session_date)
        if any(isinstance(event, SlotAssigned) for event in reported):
            self.overflow.resume(reported, self._clock.now_ns())
            if self.overflow.level == "normal":
                self._alerts.resolve(OVERFLOW, "slots, last hour: level normal")
            self._resume(selector, reported, await asyncio.to_thread(self._reader.open_slots, self._plan.starts_ns))
            self.trades.hold(selector.wanted)
            self.receiver.outages.stay_down(selector.closed_accounts)
            return
        self._alerts.resolve(OVERFLOW, "the day's first slots are given")  # of an earlier day, whose close was missed
        seen, failure = await opening_in_time(self._reader, self._plan, CONTEXT_LIMIT_S)
        state_failure(self._alerts, "opening", failure, "the opening's snapshots are read")
        self._begin(selector, seen)
        opening, base = decisions.opening_of(seen)
        self._producer.publish(context.synced_event(base, self._session_date, self._clock.now_ns()))
        pins = await asyncio.to_thread(self._reader.pins_before, self._session_date)
        await self._clock.sleep_until(self._plan.track_b_start_ns)
        now_ns = self.moment()
        if pins:
            kept = selector.keep_pins(pins, now_ns)
            self.carry_out(selector, kept_pins(selector.pins, selector.waiting_pins), now_ns, kept)
        self.carry_out(selector, SlotsOpened(), now_ns, decisions.open_slots(selector, opening, base, now_ns))

    def _begin(self, selector: Selector, seen: Sequence[Snapshot]) -> None:
        """Apply Track A's snapshots from before the feed subscription. A replay starts here, and the selection sees
        trades only from here on.
        """
        self.receiver.selector, self.trades.gaps.main_venue = selector, selector.main_venue
        decisions.update_seen(selector, seen)
        self._observe({snapshot.symbol: snapshot for snapshot in seen}.values())
        began = msgspec.structs.replace(self._first_step, snapshots=len(seen))
        self._producer.publish(SelectionAdvanced(self._session_date, self._clock.now_ns(), began))

    def _observe(self, seen: Iterable[Snapshot]) -> None:
        """Apply price limits and volumes to the screen of trades."""
        for snapshot in seen:
            self.trades.screen.observe(snapshot.symbol, state_of(snapshot))

    def _resume(self, selector: Selector, reported: Sequence[Event], assigned: Sequence[SlotAssigned]) -> None:
        date, from_ns, now_ns = self._session_date, self._plan.track_a_start_ns, self.moment()
        seen = self._reader.snapshots(date, from_ns, now_ns)
        self._begin(selector, seen)
        self._resume_gaps(marks_of(self._reader, date, assigned, seen), reported)
        self.carry_out(selector, SlotsResumed(), now_ns, decisions.resume(selector, reported, seen, now_ns))
        self._evaluated = last_evaluated(reported, self._plan.track_b_start_ns)
        logger.info("took over %d slots of an earlier process", len(assigned))

    def _resume_gaps(self, marks: Iterable[Mark], reported: Iterable[Event]) -> None:
        """Open a gap for each symbol from the earlier process's last step on, or continue the gap that the earlier
        process opened.
        """
        steps = (event.advanced_ns for event in reported if isinstance(event, SelectionAdvanced))
        until_ns = max(steps, default=self._clock.now_ns())
        opened = {
            story.opened.symbol: story.opened for story in self._reader.openings(self._session_date) if story.is_open
        }
        self.trades.resume(marks, until_ns, opened)

    # --- slot changes ---

    async def _follow_feed(self, selector: Selector) -> None:
        """Evaluate the whole universe after each sweep of Track A. The feed, which may lose messages, only signals a
        sweep; its snapshots come from the database, which does not. After a restart, first the sweep that ended
        meanwhile, and the volume rises.
        """
        signals = (SweepCompleted, ListingChanged, VolumeRise, UniverseBuilt)
        feed = FeedSubscriber(self._feed_address, signals, self._alerts.feed_lost)
        try:
            await self._update_history(selector)
            if self._evaluated is not None:
                missed = (self._reader, self._session_date, self._evaluated)
                sweep, rises = await asyncio.to_thread(missed_since, *missed)
                if sweep is not None:
                    await self._update_sweep(selector, sweep)
                for rise in rises:
                    self._update_rise(selector, rise)
            async for event in feed:
                if isinstance(event, ListingChanged):
                    self._update_listing(selector, event)
                elif isinstance(event, UniverseBuilt):
                    await self._update_history(selector)
                elif self._clock.now_ns() >= self._plan.track_b_start_ns and isinstance(event, SweepCompleted):
                    await self._update_sweep(selector, event)
                elif self._clock.now_ns() >= self._plan.track_b_start_ns and isinstance(event, VolumeRise):
                    self._update_rise(selector, event)
        finally:
            feed.close()

    async def _later_build(self) -> StoredUniverse | None:
        """The build with the closes and averages that a universe built in the session lacks; None: not needed, or not
        there yet.
        """
        if self._built is None:
            return None
        try:
            return await asyncio.to_thread(later_build, self._reader, self._plan, self._built)
        except StoreError as error:
            logger.warning("the history of the universe is not read, the next sweep tries again: %s", error)
            return None

    async def _update_history(self, selector: Selector) -> None:
        """Compare with the closes and averages of a later build from now on, once there is one."""
        if (later := await self._later_build()) is None:
            return
        self._built, now_ns = later.built, self.moment()
        selector.update_history(later.members)
        for symbol in selector.wanted:
            self.trades.screen.expect(symbol, selector.market.members[symbol].average_volume_20d)
        step = HistoryApplied(later.built.built_ns)
        self._producer.publish(SelectionAdvanced(self._session_date, now_ns, step))

    def _update_listing(self, selector: Selector, change: ListingChanged) -> None:
        """Apply a listing change to every line of the stock in the day's universe; no other can have a slot."""
        for line in [line for line in selector.market.members if stock_of(line) == change.symbol]:
            listing = ListingApplied(line, change.change == "removed", change.suspended)
            now_ns = self.moment()
            decisions.update_listing(selector, listing, now_ns)
            self.carry_out(selector, listing, now_ns, [])

    def _update_rise(self, selector: Selector, rise: VolumeRise) -> None:
        """Evaluate a symbol that Track A saw rise between two sweeps; one outside the day's universe is ignored."""
        is_streamed = rise.symbol in selector.wanted
        if rise.session_date != self._session_date or is_streamed or rise.symbol not in selector.market.members:
            return
        limit = rise.upper_limit
        step = RiseApplied(
            *(rise.symbol, rise.since_ns, rise.since_volume, rise.receive_time_ns, rise.cumulative_volume),
            *(rise.high, rise.low, limit is not None and rise.price >= limit),
        )
        now_ns = self.moment()
        self.carry_out(selector, step, now_ns, selector.evaluate_rise(step, now_ns))

    async def _update_sweep(self, selector: Selector, sweep: SweepCompleted) -> None:
        received = (sweep.session_date, sweep.started_ns, sweep.completed_ns + 1)
        try:
            seen = await asyncio.to_thread(self._reader.snapshots, *received)
        except StoreError as error:
            self._alerts.report("sweep_unread", "warning", f"sweep {sweep.sweep} is not looked at: {error}")
            return
        self._alerts.resolve("sweep_unread", f"sweep {sweep.sweep} is read")
        await self._update_history(selector)
        swept = [snapshot for snapshot in seen if snapshot.sweep == sweep.sweep]
        now_ns = self.moment()
        self._stream_monitor.sweep({snapshot.symbol: snapshot.cumulative_volume for snapshot in swept})
        self._observe(swept)
        for snapshot in swept:
            selector.market.update_snapshot(snapshot)
        decided = selector.evaluate_universe(now_ns)
        step = UniverseEvaluated(sweep.sweep, sweep.started_ns, sweep.completed_ns, len(swept))
        self.carry_out(selector, step, now_ns, decided)
        self._halt_poller.after_sweep(swept, selector.wanted, selector.market.stops)
        self._listen_again(selector)
        checking = self._stream_monitor.check_sweep(swept, self.stream.subscribed, sweep.started_ns)
        self.receiver.tasks.create_task(checking)

    def _listen_again(self, selector: Selector) -> None:
        """Remove stale subscriptions; the next slot evaluation requests them again."""
        if stale := self._stream_monitor.stale(self.stream.subscribed):
            wanted = selector.wanted_by_account.items()
            listened = {account: [each for each in symbols if each not in stale] for account, symbols in wanted}
            self.stream.want(listened, self._watched(selector))

    async def _evaluate_slots(self, selector: Selector) -> None:
        """Evaluate the streamed symbols between sweeps."""
        while True:
            await asyncio.sleep(POLL_S)
            await self._clock.sleep(self._settings.track_b.evaluation_s)
            self.trades.sample()
            self.receiver.unreadable.state_counts()
            self.trades.count_repeated()
            self._fail_over(selector)
            report_market_stops(self._alerts, selector.market.stops.running.values())
            now_ns = self.moment()
            report_held_back(self._alerts, self.stream.held_back_since_ns, now_ns)
            decided = decisions.evaluate_slots(selector, self.trades.detector, now_ns)
            self.carry_out(selector, SlotsEvaluated(), now_ns, decided)
            if changed := self.overflow.check(now_ns, selector.waiting):
                self._report_overflow(changed)

    def _report_overflow(self, changed: OverflowLevel) -> None:
        if changed.severity is None:
            self._alerts.resolve(OVERFLOW, changed.text)
        else:
            self._alerts.report(OVERFLOW, changed.severity, changed.text)

    def _fail_over(self, selector: Selector) -> None:
        """Move symbols away from accounts that cannot stream, and back to accounts that can again."""
        now_ns = self.moment()
        closed = self._brokers.closed(self.receiver.outages, now_ns)
        if closed != selector.closed_accounts:
            decided = selector.close_accounts(closed, now_ns)
            self.carry_out(selector, AccountsClosed(tuple(sorted(closed))), now_ns, decided)
