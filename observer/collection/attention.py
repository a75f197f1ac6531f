"""Track A between two full sweeps: asks the symbols that may soon surge, and publishes the volume rises.

`observer.selection.attention` decides what is asked and what is published; this module makes the requests, one at a
time, at most with the given share of the accounts' limits, and none while a full sweep runs.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import cache
from typing import Final

from bus.events import AttentionCompleted, Snapshot, UniverseBuilt, VolumeRise
from observer.base.errors import ProviderError, StoreError
from observer.base.lines import venue_of
from observer.base.units import NS_PER_S
from observer.brokers.accounts.clients import BrokerAccount
from observer.brokers.broker import Quote
from observer.calendar.phases import DayPlan
from observer.collection.decisions import sweeps_in
from observer.collection.earlier import earlier_in_time, state_failure
from observer.collection.hours import openings_of
from observer.collection.sweep_times import open_venues
from observer.collection.track_a import TrackAParts, elsewhere
from observer.reference.universe.in_force import later_build
from observer.selection.attention import Attention, Rise
from observer.selection.market_state import MarketState
from observer.selection.settings import DaySettings
from observer.store.universes import StoredUniverse

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.05  # least machine seconds between requests, independent of the market clock's speed
_EARLIER_DAYS_LEAD_NS: Final = 120 * NS_PER_S  # before the context, and before Track B reads the same
_EARLIER_DAYS_LIMIT_S: Final = 60.0  # machine seconds
_SLOTS_KNOWN_NS: Final = 60 * NS_PER_S  # how long the known slots and sizes of trades are used
_LOOK_NS: Final = 5 * NS_PER_S  # longest sleep: a sweep changes what is due
_LASTING_NS: Final = 300 * NS_PER_S  # a failure without a success for so long is an alert

_SLOTS: Final = "attention_slots"
_ANSWERS: Final = "attention_answers"
_SWEEPS: Final = "attention_sweeps"


class AttentionRequests:
    """The requests of one day between its full sweeps, while Track B streams."""

    def __init__(self, parts: TrackAParts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._selection = parts.selection
        self._provider = parts.provider
        self._calls_per_second = parts.calls_per_second
        self._rest = parts.rest
        self._reader = parts.reader
        self._producer = parts.producer
        self._clock = parts.clock
        self._alerts = parts.alerts
        self._no_sweep = asyncio.Event()
        self._no_sweep.set()
        self._swept: list[Sequence[Snapshot]] = []  # sweeps that `_attention` does not know yet
        self._attention: Attention | None = None
        self._built: UniverseBuilt  # the build whose closes and averages count
        self._streamed: AbstractSet[str] = frozenset()
        self._failing_since_ns: dict[str, int] = {}  # by the alert's identity, from the first failure on
        self._turns = itertools.count()
        self._since_sweep = _Counts(0)

    @property
    def is_on(self) -> bool:
        """Whether the settings allow requests, and the surges that they look for."""
        triggers = self._selection.triggers
        return (
            self._settings.attention_share_of_limit > 0
            and triggers.of("volume_surge").enabled
            and triggers.recent_volume.enabled
        )

    @contextmanager
    def paused(self, session_date: str, sweep: int) -> Iterator[None]:
        """Make no request while this sweep runs, and publish the counts since the sweep before."""
        self._no_sweep.clear()
        self._publish_counts(session_date, sweep - 1)
        try:
            yield
        finally:
            self._since_sweep = _Counts(self._clock.now_ns())
            self._no_sweep.set()

    def update_sweep(self, swept: Sequence[Snapshot]) -> None:
        if not self.is_on:
            return
        if self._attention is None:
            self._swept.append(swept)
        else:
            self._attention.update_sweep(swept)

    async def run(self, plan: DayPlan, universe: StoredUniverse) -> None:
        """Request from Track B's start to its stop."""
        if self.is_on:
            await self._run(plan, universe)
        for identity in (_SLOTS, _ANSWERS, _SWEEPS):
            self._succeeded(identity, "no requests are made between sweeps any more today")

    async def _run(self, plan: DayPlan, universe: StoredUniverse) -> None:
        await self._clock.sleep_until(plan.context_sync_ns - _EARLIER_DAYS_LEAD_NS)
        self._attention = attention = await self._begin(plan, universe)
        await self._clock.sleep_until(plan.track_b_start_ns)
        self._since_sweep = _Counts(self._clock.now_ns())
        session_date, known_until_ns, next_ns = plan.day.isoformat(), 0, 0
        windows, lines = self._parts.windows(plan), [member.symbol for member in universe.members]
        closed_without = cache(lambda venues: elsewhere(lines, venues, self._parts.main_venue))
        while (now_ns := self._clock.now_ns()) < plan.track_b_stop_ns:
            await self._no_sweep.wait()
            if now_ns >= known_until_ns:
                await self._read_history(plan, attention)
                await self._read_slots(plan, attention)
                known_until_ns = now_ns + _SLOTS_KNOWN_NS
            unasked = self._streamed | closed_without(open_venues(windows, now_ns))
            request = attention.next_request(self._rest.quotes_per_call, unasked)
            due_ns = max(next_ns, request.due_ns) if request is not None else now_ns + _LOOK_NS
            if request is None or due_ns > now_ns:
                await self._clock.sleep_until(min(due_ns, now_ns + _LOOK_NS))
                continue
            next_ns = now_ns + await self._request(session_date, attention, request.symbols)
            await asyncio.sleep(PAUSE_S)

    async def _begin(self, plan: DayPlan, universe: StoredUniverse) -> Attention:
        """What Track A knows of the day so far, and of earlier days."""
        day = DaySettings(selection=self._selection, accounts=(), sweep_interval_s=self._settings.interval_s)
        begun = await earlier_in_time(self._reader, plan, day, universe, _EARLIER_DAYS_LIMIT_S)
        state_failure(self._alerts, "earlier_days", begun.failure, "the earlier days are read")
        triggers = self._selection.triggers
        market = MarketState(universe.members, triggers, begun.earlier, openings_of(plan))
        attention = Attention(market, triggers)
        self._built = universe.built
        await self._read_history(plan, attention)
        own = {swept[0].sweep for swept in self._swept if swept}
        for swept in [*await self._earlier_sweeps(plan, own), *self._swept]:
            attention.update_sweep(swept)
        self._swept = []
        return attention

    async def _earlier_sweeps(self, plan: DayPlan, own: AbstractSet[int]) -> Sequence[Sequence[Snapshot]]:
        """The day's sweeps by an earlier process."""
        received = (plan.day.isoformat(), plan.track_a_start_ns, self._clock.now_ns())
        try:
            seen = await asyncio.to_thread(self._reader.snapshots, *received)
        except StoreError as error:
            text = f"requests between sweeps begin without the sweeps of an earlier process: {error}"
            self._alerts.report(_SWEEPS, "warning", text)
            return []
        self._alerts.resolve(_SWEEPS, "the day's earlier sweeps are read")
        return [swept for swept in sweeps_in(seen) if swept[0].sweep not in own]

    async def _read_history(self, plan: DayPlan, attention: Attention) -> None:
        """Apply the closes and averages of a later build, if there is one."""
        try:
            later = await asyncio.to_thread(later_build, self._reader, plan, self._built)
        except StoreError as error:
            self._failed(_SLOTS, f"requests between sweeps know no later history of the universe: {error}")
            return
        if later is not None:
            self._built = later.built
            attention.update_history(later.members)

    async def _read_slots(self, plan: DayPlan, attention: Attention) -> None:
        """Read the streamed symbols and the sizes of their trades. If the database refuses, the earlier values stay."""
        try:
            slots = await asyncio.to_thread(self._reader.open_slots, plan.starts_ns)
            volumes = await asyncio.to_thread(self._reader.trade_volumes, plan.day.isoformat())
        except StoreError as error:
            self._failed(_SLOTS, f"requests between sweeps know no new slots and sizes of trades: {error}")
            return
        self._succeeded(_SLOTS, "the slots and the sizes of trades are read")
        self._streamed = frozenset(slot.symbol for slot in slots)
        attention.update_trade_volumes(volumes)

    async def _request(self, session_date: str, attention: Attention, symbols: Sequence[str]) -> int:
        """Make one request with the next usable account in turn. Returns the wait before the next request (ns)."""
        usable = self._rest.usable("quotes")
        accounts = list(usable)
        account = accounts[next(self._turns) % len(accounts)]
        counts = self._since_sweep
        counts.requests += 1
        counts.requested += len(symbols)
        attention.requested(symbols, self._clock.now_ns())
        try:
            answers = await usable[account].quotes(symbols)
        except ProviderError as error:
            self._failed(_ANSWERS, f"{account.name} has no quotes of {len(symbols)} symbols between sweeps: {error}")
            answers = []
        else:
            self._succeeded(_ANSWERS, "requests between sweeps are answered")
        now_ns = self._clock.now_ns()
        for quote in answers:
            if (rise := attention.answered(quote.symbol, quote.cumulative_volume, now_ns)) is not None:
                venue = venue_of(quote.symbol, self._parts.main_venue)
                self._producer.publish(_rise(account.provider, quote, session_date, now_ns, rise, venue))
                counts.rises += 1
        counts.received += len(answers)
        return round(NS_PER_S / (self._settings.attention_share_of_limit * sum(map(self._limit_of, accounts))))

    def _limit_of(self, account: BrokerAccount) -> float:
        """The account's calls a second: the configured limit, or a lower limit that the broker's refusals taught."""
        learned = account.learned_limit()
        return self._calls_per_second if learned is None else min(self._calls_per_second, learned)

    def _failed(self, identity: str, text: str) -> None:
        """Log a failure. Report an alert when nothing has succeeded for long."""
        now_ns = self._clock.now_ns()
        if now_ns - self._failing_since_ns.setdefault(identity, now_ns) < _LASTING_NS:
            logger.warning("%s", text)
        else:
            self._alerts.report(identity, "warning", text)

    def _succeeded(self, identity: str, text: str) -> None:
        self._failing_since_ns.pop(identity, None)
        self._alerts.resolve(identity, text)

    def _publish_counts(self, session_date: str, sweep: int) -> None:
        counts = self._since_sweep
        if counts.requests:
            self._producer.publish(
                AttentionCompleted(
                    self._provider,
                    session_date,
                    sweep,
                    counts.started_ns,
                    self._clock.now_ns(),
                    counts.requested,
                    counts.received,
                    counts.requests,
                    counts.rises,
                )
            )


def _rise(provider: str, quote: Quote, session_date: str, now_ns: int, rise: Rise, venue: str) -> VolumeRise:
    return VolumeRise(
        provider,
        quote.symbol,
        session_date,
        rise.since_ns,
        now_ns,
        rise.since_volume,
        quote.cumulative_volume,
        rise.usual_volume,
        quote.price,
        quote.high,
        quote.low,
        quote.upper_limit,
        quote.cumulative_value,
        venue,
    )


class _Counts:
    def __init__(self, started_ns: int) -> None:
        self.started_ns = started_ns
        self.requested = self.received = self.requests = self.rises = 0
