"""Track B: streams the trades of the symbols that have a place, decides who has one, and finds what is missing.

The task that reads the socket only judges a trade and appends it to what will be published: it never waits for storage
or for the bus.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from bus.commands import Done, Refused
from bus.events import (
    AlertRaised,
    ConnectionChanged,
    Event,
    GapDetected,
    GapReason,
    InputQuarantined,
    ListingChanged,
    MarketStateChanged,
    SamplingChanged,
    SlotAssigned,
    Snapshot,
    SweepCompleted,
    Trade,
    TradesConflated,
    UniverseMember,
)
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.accounts.failover import StreamOutages
from observer.brokers import PROVIDER, Brokers
from observer.clock import NS_PER_S, Clock
from observer.errors import ProviderError, StoreError
from observer.gaps.detector import GapDetector, Mark
from observer.providers.interfaces import QuoteSource, StreamFact, chunks
from observer.providers.joint_stream import JointStream
from observer.schedule.phases import DayPlan
from observer.selection import context
from observer.selection.context import OpeningPoint
from observer.selection.profile import EarlierDays, profiles_of
from observer.selection.sampling import Conflation, Sampling
from observer.selection.selector import NotWished, Selector, Wished
from observer.selection.universe import KOREAN_STOCKS
from observer.store.reader import StoreReader
from workers.orders import Orders
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

NAME: Final = "track-b"
LOOK_S: Final = 0.1  # machine seconds between evaluations at least, however fast the market's clock runs
UNIVERSE_POLL_S: Final = 0.2
CONTEXT_LIMIT_S: Final = 30.0  # machine seconds (requirement 004, Context Synchronization)

# Why a symbol that has a place is not registered for now, in the words of the stream; anything else is a reconnection.
_GAP_REASONS: Final[Mapping[str, GapReason]] = {"new approval key": "token_renewal", "removed": "moved"}


async def track_b(worker: Worker) -> None:
    """Stream on every trading day, from Track B's start to its stop, until the process is stopped."""
    brokers = worker.brokers()
    async with worker.producer() as producer:
        await worker.ready()
        await worker.settled(producer)
        async with worker.reader() as reader, brokers.rest() as rest:
            while True:
                plan = await worker.today.plan()
                if plan.trades:
                    session = Session(worker, producer, reader, brokers, rest, plan)
                    with producer.telling(session.on_refused):
                        await session.run()
                await worker.today.end_of(plan)


class Session:
    """Track B on one trading day. Hears the stream (`StreamListener`)."""

    def __init__(
        self,
        worker: Worker,
        producer: Producer,
        reader: StoreReader,
        brokers: Brokers,
        quotes: QuoteSource,
        plan: DayPlan,
    ) -> None:
        self._clock = worker.clock
        self._settings = worker.settings
        self._feed_address = worker.endpoints.feed
        self._orders: Orders = worker.orders
        self._producer = producer
        self._reader = reader
        self._brokers = brokers
        self._quotes = quotes
        self._plan = plan
        self._session_date = plan.day.isoformat()
        self._detector = GapDetector()
        self._sampling = Sampling(worker.settings.track_b.sampling)
        self._conflation = Conflation()
        self._selector: Selector | None = None
        self._settling: set[str] = set()
        self._tasks: asyncio.TaskGroup
        self._stream = JointStream({account.name: account.stream for account in brokers.accounts}, self)
        self._outages: StreamOutages | None = None

    async def run(self) -> None:
        """Connect early, take over the context, stream, release every place at the stop.

        A process that is stopped before that releases nothing: the next one takes the places over.
        """
        await self._clock.sleep_until(self._plan.stream_connect_ns)
        if self._is_over():
            await self._close_for_earlier_process()
            return
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._outages = self._new_outages()
            running = [tasks.create_task(self._stream.run())]
            await self._clock.sleep_until(self._plan.context_sync_ns)
            self._selector = selector = await self._new_selector(await self._members())
            await self._begin(selector)
            running += [tasks.create_task(self._follow_feed(selector)), tasks.create_task(self._look_at_held(selector))]
            self._orders.slots = Pins(selector, self._clock, self._carry_out)
            await self._clock.sleep_until(self._plan.track_b_stop_ns)
            self._orders.slots = None
            await self._close(selector)
            for task in running:
                task.cancel()

    async def _new_selector(self, members: Sequence[UniverseMember]) -> Selector:
        capacities = {account.name: account.capacity for account in self._brokers.accounts}
        earlier = await asyncio.to_thread(self._earlier_days)
        return Selector(members, capacities, self._settings.selection, self._brokers.strategy, earlier)

    def _earlier_days(self) -> EarlierDays:
        """What is stored of earlier days; a day of unusual hours has no time of day to compare with."""
        settings = self._settings.selection.triggers.time_of_day
        rows, trade_volumes = self._reader.earlier_days(self._session_date, settings.days)
        profiles = profiles_of(rows, settings) if settings.enabled and self._plan.has_usual_hours else {}
        return EarlierDays(midnight_ns=self._plan.starts_ns, profiles=profiles, trade_volumes=trade_volumes)

    def _new_outages(self) -> StreamOutages:
        accounts = [account.name for account in self._brokers.accounts]
        return StreamOutages(accounts, self._clock.now_ns(), self._settings.track_b.failover_after_s)

    def _is_over(self) -> bool:
        return self._clock.now_ns() >= self._plan.track_b_stop_ns

    async def _close_for_earlier_process(self) -> None:
        """An earlier process was stopped while it streamed, and it is too late to go on: account for what it left."""
        assigned = await asyncio.to_thread(self._reader.open_slots, self._plan.starts_ns)
        if assigned:
            selector = await self._new_selector(await self._members())
            self._resume(selector, assigned)
            for slot in assigned:
                self._detector.start(slot.symbol)
            await self._close(selector)

    async def _close(self, selector: Selector) -> None:
        """Release every place, and find out what is missing of symbols that did not trade since an interruption."""
        self._producer.publish(*self._conflation.flush())
        self._producer.flush()  # what the disk refuses of it is unsettled
        await self._settle(self._detector.unsettled())
        self._carry_out(selector, selector.close(self._clock.now_ns()))
        for symbol in self._detector.watched:
            self._detector.stop(symbol)
        logger.info("closed: %d duplicate trades dropped", self._detector.duplicates)

    async def _members(self) -> Sequence[UniverseMember]:
        """Today's universe, or the last one; waits while there is none at all, and has none when the day is over."""
        while not self._is_over():
            members = self._reader.universe(self._session_date, KOREAN_STOCKS)
            if members := members or self._reader.latest_universe_before(self._session_date, KOREAN_STOCKS):
                return members
            await asyncio.sleep(UNIVERSE_POLL_S)
        return []

    async def _begin(self, selector: Selector) -> None:
        """Go on where an earlier process of this day stopped, or begin with the opening's movers."""
        assigned = await asyncio.to_thread(self._reader.open_slots, self._plan.starts_ns)
        if assigned:
            self._resume(selector, assigned)
            return
        opening = await self._opening_in_time()
        base = context.baseline(opening)
        movers = context.movers(opening, base, self._settings.selection)
        now_ns = self._clock.now_ns()
        self._producer.publish(context.synced_event(base, self._session_date, now_ns))
        await self._clock.sleep_until(self._plan.track_b_start_ns)
        now_ns = self._clock.now_ns()
        chosen = context.opening_candidates(
            movers, selector.members, base, selector.places, now_ns, self._settings.selection
        )
        self._carry_out(selector, selector.open(chosen, now_ns))

    def _resume(self, selector: Selector, assigned: Sequence[SlotAssigned]) -> None:
        marks = self._reader.last_marks(self._session_date, [slot.symbol for slot in assigned])
        since_ns = {slot.symbol: slot.assigned_ns for slot in assigned}
        self._detector.resume(
            Mark(mark.symbol, self._session_date, mark.cumulative_volume, mark.cumulative_trades, mark.exchange_time_ns)
            for mark in marks.values()
            if mark.exchange_time_ns + NS_PER_S > since_ns[mark.symbol]  # else it is of an earlier time in a place
        )
        self._carry_out(selector, selector.take_over(assigned, self._clock.now_ns()))
        logger.info("took over %d places of an earlier process", len(assigned))

    async def _opening_in_time(self) -> Mapping[str, Sequence[OpeningPoint]]:
        """The opening as Track A saw it; nothing when it cannot be had in time: then the largest symbols are first."""
        try:
            async with asyncio.timeout(CONTEXT_LIMIT_S):
                return await asyncio.to_thread(self._opening)
        except (StoreError, TimeoutError) as error:
            text = f"Track B starts without context: {error or f'not read within {CONTEXT_LIMIT_S:g} s'}"
            self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", NAME, text))
            return {}

    def _opening(self) -> Mapping[str, Sequence[OpeningPoint]]:
        """What Track A saw before Track B's start, by symbol and oldest first."""
        points: defaultdict[str, list[OpeningPoint]] = defaultdict(list)
        from_ns, to_ns = self._plan.track_a_start_ns, self._plan.track_b_start_ns
        for snapshot in self._reader.snapshots(self._session_date, from_ns, to_ns):
            points[snapshot.symbol].append(OpeningPoint(snapshot.price, snapshot.cumulative_volume))
        return points

    async def _follow_feed(self, selector: Selector) -> None:
        """Look at the whole universe after each sweep of Track A."""
        feed = FeedSubscriber(self._feed_address, [Snapshot, SweepCompleted, ListingChanged])
        try:
            async for event in feed:
                if isinstance(event, Snapshot):
                    selector.see_snapshot(event)
                elif isinstance(event, ListingChanged):
                    selector.see_listing(event)
                elif isinstance(event, SweepCompleted) and self._clock.now_ns() >= self._plan.track_b_start_ns:
                    self._carry_out(selector, selector.evaluate_all(self._clock.now_ns()))
        finally:
            feed.close()

    async def _look_at_held(self, selector: Selector) -> None:
        """Look at the streamed symbols between sweeps."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._clock.sleep(self._settings.track_b.evaluation_s)
            self._sample()
            self._fail_over(selector)
            self._carry_out(selector, selector.evaluate_held(self._clock.now_ns()))

    def _sample(self) -> None:
        """Keep less of the stream when the disk does not take it in time, and more again when it does."""
        self._producer.publish(*self._conflation.flush())
        waiting = self._producer.unacknowledged
        if not self._sampling.look(waiting, asyncio.get_running_loop().time()):
            return
        rate_hz, now_ns = self._sampling.rate_hz, self._clock.now_ns()
        reason = f"{waiting:,} events wait to be stored"
        self._producer.publish(SamplingChanged(PROVIDER, now_ns, rate_hz, reason))
        kept = "every trade is kept again" if rate_hz is None else f"trades are conflated to {rate_hz:g} rows a second"
        self._producer.publish(AlertRaised(now_ns, "info" if rate_hz is None else "warning", NAME, f"{kept}: {reason}"))

    def _fail_over(self, selector: Selector) -> None:
        """Move the symbols of accounts that cannot stream, and those of accounts that can again."""
        assert self._outages is not None, "a session that streams watches its streams"
        if not self._brokers.failover:
            return
        accounts = [account.name for account in self._brokers.accounts]
        unhealthy = frozenset(name for name in accounts if not self._brokers.is_healthy(name))
        now_ns = self._clock.now_ns()
        self._carry_out(selector, selector.close_accounts(self._outages.closed(unhealthy, now_ns), now_ns))

    def _carry_out(self, selector: Selector, events: Iterable[Event]) -> None:
        """Publish what was decided, and tell the stream what it is to carry."""
        for event in events:
            self._producer.publish(event)
        self._stream.want(selector.wanted_by_account)
        for symbol in self._detector.watched - set(selector.wanted) - self._stream.registered:
            self._leave(symbol)

    # --- what is missing of symbols that are left ---

    def _leave(self, symbol: str) -> None:
        """Watch a symbol no longer; if it did not trade since an interruption, ask what is missing."""
        self._producer.publish(*self._conflation.flush(symbol))
        self._producer.flush()  # what the disk refuses of it is unsettled
        if symbol not in self._detector.unsettled():
            self._detector.stop(symbol)
        elif symbol not in self._settling:
            self._settling.add(symbol)
            self._tasks.create_task(self._settle({symbol}))

    async def _settle(self, symbols: Collection[str]) -> None:
        """Ask for the day's volume of the symbols and publish what it shows to be missing."""
        for chunk in chunks(sorted(symbols), self._quotes.quotes_per_call):
            try:
                quotes = await self._quotes.quotes(chunk, lane="urgent")
            except ProviderError as error:
                text = f"whether trades of {', '.join(chunk)} are missing is not known: {error}"
                self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", NAME, text))
                quotes = []
            now_ns = self._clock.now_ns()
            for quote in quotes:
                if quote.symbol in self._detector.unsettled():
                    gap = self._detector.settle(quote.symbol, quote.cumulative_volume, now_ns, PROVIDER)
                    if gap is not None:
                        await self._producer.publish_when_taken(gap)  # nothing else would show this hole later
            for symbol in chunk:
                self._detector.stop(symbol)
            self._settling.difference_update(chunk)

    def on_refused(self, events: Sequence[Event], _error: OSError) -> None:
        """What the disk did not take becomes a hole before the next trade that it takes."""
        for event in events:
            if isinstance(event, Trade | TradesConflated | GapDetected):
                self._detector.refused(event)

    # --- what the stream tells ---

    def on_trades(self, trades: Sequence[Trade]) -> None:
        """Judge and publish; a trade that was seen before is dropped and counted."""
        for trade in trades:
            observation = self._detector.observe(trade)
            if observation == "duplicate":
                continue
            if isinstance(observation, GapDetected):
                self._producer.publish(*self._conflation.flush(trade.symbol))
                self._producer.publish(observation, trade)  # the one without the other would tell a wrong hole
            elif (rate_hz := self._sampling.rate_hz) is None:
                self._producer.publish(trade)
            elif row := self._conflation.add(trade, rate_hz):
                self._producer.publish(row)
            if self._selector is not None:
                self._selector.see_trade(trade)

    def on_facts(self, facts: Sequence[StreamFact]) -> None:
        """Keep what comes beside trades."""
        self._producer.publish(*facts)
        if self._selector is not None:
            for fact in facts:
                if isinstance(fact, MarketStateChanged):
                    self._selector.see_state(fact)

    def on_registered(self, symbol: str) -> None:
        """From now on nothing of the symbol may be missing."""
        self._detector.start(symbol)

    def on_unregistered(self, symbol: str, reason: str) -> None:
        """A symbol that lost its place is not watched any more; one that lost its connection is, and will be back."""
        if self._selector is None or symbol not in self._selector.wanted:
            self._leave(symbol)
        else:
            self._detector.interrupted(symbol, _GAP_REASONS.get(reason, "reconnect"))
        if reason.startswith("refused"):
            text = f"{symbol} has a place and is not streamed: {reason}"
            self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", NAME, text))

    def on_connection(self, change: ConnectionChanged) -> None:
        """Symbols move away from an account whose stream stays down."""
        self._producer.publish(change)
        assert self._outages is not None, "a stream that runs is watched"
        if change.state == "connected":
            self._outages.came_up(change.account)
        else:
            self._outages.went_down(change.account, change.changed_ns)

    def on_quarantine(self, item: InputQuarantined) -> None:
        """Keep what could not be read."""
        self._producer.publish(item)


class Pins:
    """Places that a person gives and takes while Track B streams (`SlotOrders`)."""

    def __init__(
        self, selector: Selector, clock: Clock, carry_out: Callable[[Selector, Iterable[Event]], None]
    ) -> None:
        self._selector = selector
        self._clock = clock
        self._carry_out = carry_out

    def pin(self, symbol: str) -> Done | Refused:
        """Give the symbol a place until it is unpinned or the day's stream ends."""
        return self._answer(self._selector.pin(symbol, self._clock.now_ns()), f"{symbol} is pinned")

    def unpin(self, symbol: str) -> Done | Refused:
        """Free the symbol's place."""
        return self._answer(self._selector.unpin(symbol, self._clock.now_ns()), f"{symbol} is unpinned")

    def _answer(self, outcome: Wished | NotWished, what: str) -> Done | Refused:
        match outcome:
            case NotWished(code, reason):
                return Refused(code, reason)
            case Wished(slot, events):
                self._carry_out(self._selector, events)
                return Done(NAME, f"{what}: place {slot}" if events else f"{what} already: place {slot}")


if __name__ == "__main__":
    run(NAME, track_b)
