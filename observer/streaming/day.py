"""Track B on one trading day: connects, takes over the context, gives the places, streams, gives the places back.

Decisions are `observer.selection`'s, holes `observer.gaps`'; here they meet the stream, the feed and the clock.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from bus.endpoints import Address
from bus.events import (
    AlertRaised,
    ConnectionChanged,
    Event,
    GapReason,
    InputQuarantined,
    ListingChanged,
    MarketStateChanged,
    SelectionAdvanced,
    SelectionStep,
    SlotAssigned,
    Snapshot,
    SweepCompleted,
    Trade,
)
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.accounts.failover import StreamOutages
from observer.brokers import Brokers
from observer.clock import Clock
from observer.config import Settings
from observer.errors import StoreError
from observer.gaps.detector import Mark, in_order
from observer.providers.interfaces import HaltSource, QuoteSource, StreamFact
from observer.providers.joint_stream import JointStream
from observer.schedule.phases import DayPlan
from observer.selection import context
from observer.selection.overflow import OverflowWatch, rates_of
from observer.selection.selector import CloseReason, Selector
from observer.selection.wishes import kept_detail
from observer.store.reader import StoreReader
from observer.streaming import steps
from observer.streaming.earlier import earlier_in_time
from observer.streaming.hearing import Hearing
from observer.streaming.keeping import SOURCE, Kept, TradeKeeping
from observer.streaming.resuming import marks_of
from observer.streaming.standstill import Standstill
from observer.streaming.steps import Beginning
from observer.today import universe_of

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.1  # machine seconds between evaluations at least, however fast the market's clock runs
EARLIER_DAYS_LEAD_NS: Final = 60 * 1_000_000_000  # market time before the context: weeks of sweeps are summed up
CONTEXT_LIMIT_S: Final = 30.0  # machine seconds (requirement 004, Context Synchronization)

# Why a symbol that has a place is not registered for now, in the words of the stream; anything else is a reconnection.
_GAP_REASONS: Final[Mapping[str, GapReason]] = {"new approval key": "token_renewal", "removed": "moved"}


class StreamingDay:
    """One trading day. Hears the stream (`StreamListener`).

    Args:
        plan: when what happens.
        settings: of the whole configuration; sections `selection` and `track_b` are read.
        brokers: whose streams they are.
        quotes: for what a stream does not tell.
        halts: for whom it tells nothing at all.
        producer: takes the facts.
        reader: what earlier days, Track A and an earlier process of this day stored.
        feed_address: where committed snapshots are heard.
        clock: market time.
    """

    def __init__(
        self,
        *,
        plan: DayPlan,
        settings: Settings,
        brokers: Brokers,
        quotes: QuoteSource,
        halts: HaltSource,
        producer: Producer,
        reader: StoreReader,
        feed_address: Address,
        clock: Clock,
    ) -> None:
        self._plan = plan
        self._session_date = plan.day.isoformat()
        self._settings = settings
        self._brokers = brokers
        self._producer = producer
        self._reader = reader
        self._feed_address = feed_address
        self._clock = clock
        sampling = settings.track_b.sampling
        self.trades = TradeKeeping(producer, quotes, clock, sampling, self._session_date, self._see_kept)
        self._overflow = OverflowWatch(rates_of(settings.selection.slots), SOURCE)
        self._selector: Selector | None = None
        self._beginning: Beginning
        self._tasks: asyncio.TaskGroup
        self._stream = JointStream({account.name: account.stream for account in brokers.accounts}, self)
        self._outages: StreamOutages
        self._hearing = Hearing(self.trades, quotes, producer, clock, self._session_date)
        self._standstill = Standstill(halts, clock, self.on_facts)

    async def connect(self) -> bool:
        """Wait until it is time to connect; False when the day's stream is over already."""
        await self._clock.sleep_until(self._plan.stream_connect_ns)
        return not self._is_over()

    async def begin(self, tasks: asyncio.TaskGroup) -> tuple[Selector, Sequence[asyncio.Task[None]]]:
        """Connect, give the first places, and follow: who decides from now on, and what runs until `end`."""
        self._tasks = tasks
        names = [account.name for account in self._brokers.accounts]
        self._outages = StreamOutages(names, self._clock.now_ns(), self._settings.track_b.failover_after_s)
        running = [tasks.create_task(self._stream.run())]
        await self._clock.sleep_until(self._plan.context_sync_ns - EARLIER_DAYS_LEAD_NS)
        selector = await self._new_selector()
        await self._clock.sleep_until(self._plan.context_sync_ns)
        await self._give_places(selector)
        following = (self._follow_feed(selector), self._look_at_held(selector), self._standstill.run())
        return selector, [*running, *(tasks.create_task(each) for each in following)]

    async def end(self, selector: Selector) -> None:
        """Release every place, and find out what is missing of symbols that were not heard to the end. When the machine
        slept until another day this one is ended like any that ended without a word.
        """
        if self._clock.now_ns() >= self._plan.ends_ns:
            return
        await self._hearing.hear_out()
        await self.trades.leave_all()
        self._close(selector, self.moment(), "closed")

    async def end_for_earlier_process(self) -> None:
        """An earlier process was stopped while it streamed, and it is too late to go on: account for what it left.
        Nobody saw the end of its places.
        """
        assigned = await asyncio.to_thread(self._reader.open_slots, self._plan.starts_ns, self._plan.ends_ns)
        if assigned:
            told = await asyncio.to_thread(self._reader.place_events, self._session_date)
            selector = await self._new_selector()
            self._resume(selector, told, assigned)
            for slot in assigned:
                self.trades.watch(slot.symbol)
            await self.trades.leave_all()
            self._close(selector, self._plan.track_b_stop_ns, "unfinished")

    def _close(self, selector: Selector, at_ns: int, reason: CloseReason) -> None:
        self.carry_out(selector, "closed", at_ns, selector.close(at_ns, reason), detail=reason)
        logger.info("%s: %d duplicate trades dropped", reason, self.trades.detector.duplicates)

    def moment(self) -> int:
        """The moment of a decision: now, and the selection has seen all that came until now, as it is published."""
        self.trades.tell_rows()
        return self._clock.now_ns()

    def carry_out(
        self,
        selector: Selector,
        step: SelectionStep,
        now_ns: int,
        events: Sequence[Event],
        *,
        symbol: str = "",
        sweep: int = 0,
        snapshots: int = 0,
        detail: str = "",
    ) -> None:
        """Publish what was decided and in which step, and tell the stream what it is to carry."""
        taken = SelectionAdvanced(self._session_date, now_ns, step, symbol, sweep, snapshots, detail)
        self._producer.publish(*events, taken)
        self._overflow.see(events)
        self._stream.want(selector.wanted_by_account)
        for symbol in sorted(self.trades.detector.watched - set(selector.wanted) - self._stream.registered):
            self._leave(symbol)

    def _is_over(self) -> bool:
        return self._clock.now_ns() >= self._plan.track_b_stop_ns

    # --- what the decisions start from ---

    async def _new_selector(self) -> Selector:
        """Waits for the universe while there is none at all; none is then known when the day is over."""
        universe = await universe_of(self._plan, self._reader, self._clock, self._plan.track_b_stop_ns)
        capacities = {account.name: account.capacity for account in self._brokers.accounts}
        strategy, interval_s = self._brokers.strategy, self._settings.track_a.interval_s
        settings = self._settings.selection
        begun = await earlier_in_time(self._reader, self._plan, settings, universe, CONTEXT_LIMIT_S)
        self._beginning = begun.beginning
        if begun.failure:
            self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", SOURCE, begun.failure))
        members = universe.members if universe is not None else []
        return Selector(members, capacities, settings, strategy, begun.earlier, interval_s)

    async def _give_places(self, selector: Selector) -> None:
        """Go on where an earlier process of this day stopped, or begin with the opening's movers."""
        told = await asyncio.to_thread(self._reader.place_events, self._session_date)
        if any(isinstance(event, SlotAssigned) for event in told):
            self._overflow.resume(told, self._clock.now_ns())
            self._resume(selector, told, await asyncio.to_thread(self._reader.open_slots, self._plan.starts_ns))
            self._outages.stay_down(selector.closed_accounts)
            return
        settings = self._settings.selection
        seen = await self._opening_in_time()
        self._begin(selector, seen)
        opening, base = steps.opening_of(seen)
        self._producer.publish(context.synced_event(base, self._session_date, self._clock.now_ns()))
        wishes = await asyncio.to_thread(self._reader.wishes_before, self._session_date)
        await self._clock.sleep_until(self._plan.track_b_start_ns)
        now_ns = self.moment()
        if wishes:
            kept = selector.keep_wishes(wishes, now_ns)
            detail = kept_detail(wishes, selector.waiting_wishes)
            self.carry_out(selector, "wishes_kept", now_ns, kept, detail=detail)
        self.carry_out(selector, "opened", now_ns, steps.open_places(selector, opening, base, now_ns, settings))

    def _begin(self, selector: Selector, seen: Sequence[Snapshot]) -> None:
        """Show what Track A saw before somebody listened; from here on a replay can follow, and only from here on the
        selection sees what the stream tells.
        """
        self._selector = selector
        steps.see_latest(selector, seen)
        now_ns, detail = self._clock.now_ns(), self._beginning.detail
        self._producer.publish(SelectionAdvanced(self._session_date, now_ns, "began", "", 0, len(seen), detail))

    def _resume(self, selector: Selector, told: Sequence[Event], assigned: Sequence[SlotAssigned]) -> None:
        date, from_ns, now_ns = self._session_date, self._plan.track_a_start_ns, self.moment()
        seen = self._reader.snapshots(date, from_ns, now_ns)
        self._begin(selector, seen)
        self.trades.resume(marks_of(self._reader, date, assigned, seen))
        self.carry_out(selector, "taken_over", now_ns, steps.take_over(selector, told, seen, now_ns))
        logger.info("took over %d places of an earlier process", len(assigned))

    async def _opening_in_time(self) -> Sequence[Snapshot]:
        """The opening as Track A saw it; nothing when it cannot be had in time: then the largest symbols are first."""
        try:
            async with asyncio.timeout(CONTEXT_LIMIT_S):
                return await asyncio.to_thread(self._opening)
        except (StoreError, TimeoutError) as error:
            text = f"Track B starts without context: {error or f'not read within {CONTEXT_LIMIT_S:g} s'}"
            self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", SOURCE, text))
            return []

    def _opening(self) -> Sequence[Snapshot]:
        """What Track A saw before Track B's start, oldest first."""
        return self._reader.snapshots(self._session_date, self._plan.track_a_start_ns, self._plan.track_b_start_ns)

    # --- what moves the places ---

    async def _follow_feed(self, selector: Selector) -> None:
        """Look at the whole universe after each sweep of Track A. The feed, which may lose something, says that there
        was one; the database, which does not, what it saw.
        """
        feed = FeedSubscriber(self._feed_address, [SweepCompleted, ListingChanged])
        try:
            async for event in feed:
                if isinstance(event, ListingChanged):
                    self._see_listing(selector, event)
                elif isinstance(event, SweepCompleted) and self._clock.now_ns() >= self._plan.track_b_start_ns:
                    await self._see_sweep(selector, event)
        finally:
            feed.close()

    def _see_listing(self, selector: Selector, change: ListingChanged) -> None:
        """One that is not of the day's universe cannot have a place, whatever becomes of it."""
        if change.symbol in selector.members:
            detail = steps.listing_detail(change)
            now_ns = self.moment()
            steps.see_listing(selector, change.symbol, detail, now_ns)
            self.carry_out(selector, "listing", now_ns, [], symbol=change.symbol, detail=detail)

    async def _see_sweep(self, selector: Selector, sweep: SweepCompleted) -> None:
        received = (sweep.session_date, sweep.started_ns, sweep.completed_ns + 1)
        try:
            seen = await asyncio.to_thread(self._reader.snapshots, *received)
        except StoreError as error:
            text = f"sweep {sweep.sweep} is not looked at: {error}"
            self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", SOURCE, text))
            return
        swept = [snapshot for snapshot in seen if snapshot.sweep == sweep.sweep]
        now_ns = self.moment()
        self._hearing.sweep({snapshot.symbol: snapshot.cumulative_volume for snapshot in swept})
        for snapshot in swept:
            selector.see_snapshot(snapshot)
        decided = selector.evaluate_all(now_ns)
        detail = steps.sweep_detail(sweep)
        self.carry_out(selector, "swept", now_ns, decided, sweep=sweep.sweep, snapshots=len(swept), detail=detail)
        self._standstill.after_sweep(swept, selector.wanted)
        self._listen_again(selector)

    def _listen_again(self, selector: Selector) -> None:
        """Register anew what is registered and not heard; the next look at the places wants it again."""
        if deaf := self._hearing.deaf(self._stream.registered):
            wanted = selector.wanted_by_account.items()
            self._stream.want({account: [each for each in symbols if each not in deaf] for account, symbols in wanted})

    async def _look_at_held(self, selector: Selector) -> None:
        """Look at the streamed symbols between sweeps."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._clock.sleep(self._settings.track_b.evaluation_s)
            self.trades.sample()
            self._fail_over(selector)
            now_ns = self.moment()
            self.carry_out(selector, "held", now_ns, selector.evaluate_held(now_ns))
            if alert := self._overflow.look(now_ns, selector.waiting):
                logger.warning("%s", alert.text)
                self._producer.publish(alert)

    def _fail_over(self, selector: Selector) -> None:
        """Move the symbols of accounts that cannot stream, and those of accounts that can again."""
        accounts = [account.name for account in self._brokers.accounts] if self._brokers.failover else []
        unhealthy = frozenset(name for name in accounts if not self._brokers.is_healthy(name))
        now_ns = self.moment()
        closed = self._outages.closed(unhealthy, now_ns) & set(accounts)
        if closed != selector.closed_accounts:
            decided = selector.close_accounts(closed, now_ns)
            self.carry_out(selector, "accounts_closed", now_ns, decided, detail=",".join(sorted(closed)))

    def _leave(self, symbol: str) -> None:
        self._hearing.leaving(symbol)
        self.trades.leave(symbol, lambda symbols: self._tasks.create_task(self.trades.settle(symbols)))

    # --- what the stream tells ---

    def on_trades(self, trades: Sequence[Trade]) -> None:
        """Judge and keep a frame's trades; what is kept is also seen by the triggers."""
        for trade in in_order(trades):
            self.trades.take(trade)

    def _see_kept(self, kept: Kept) -> None:
        if self._selector is None:
            return
        if isinstance(kept, Trade):
            self._selector.see_trade(kept)
        else:
            self._selector.see_conflated(kept)

    def on_facts(self, facts: Sequence[StreamFact]) -> None:
        """Keep what comes beside trades."""
        self._producer.publish(*facts)
        if self._selector is not None:
            for fact in facts:
                if isinstance(fact, MarketStateChanged):
                    self._selector.see_state(fact)

    def on_registered(self, symbol: str) -> None:
        """From now on nothing of the symbol may be missing."""
        self.trades.tell_rows(symbol)
        seen = self._selector.volume_of(symbol) if self._selector is not None else None
        self.trades.watch(symbol, Mark(symbol, self._session_date, seen[0], None, seen[1]) if seen else None)
        is_known = seen is not None or self.trades.detector.reached(symbol) is not None
        if self._hearing.registered(symbol, is_known=is_known):
            self._tasks.create_task(self._hearing.learn())

    def on_unregistered(self, symbol: str, reason: str) -> None:
        """A symbol that lost its place is not watched any more; one that lost its connection is, and will be back."""
        if self._selector is None or symbol not in self._selector.wanted:
            self._leave(symbol)
        else:
            self.trades.interrupt(symbol, _GAP_REASONS.get(reason, "reconnect"))
        if reason.startswith("refused"):
            text = f"{symbol} has a place and is not streamed: {reason}"
            self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", SOURCE, text))

    def on_connection(self, change: ConnectionChanged) -> None:
        """Symbols move away from an account whose stream stays down."""
        self._producer.publish(change)
        if change.state == "connected":
            self._outages.came_up(change.account)
        else:
            self._outages.went_down(change.account, change.changed_ns)

    def on_quarantine(self, item: InputQuarantined) -> None:
        """Keep what could not be read."""
        self._producer.publish(item)
