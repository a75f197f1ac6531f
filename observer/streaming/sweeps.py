"""Track A: sweeps the whole universe over REST, every ten minutes by default (requirement 004), and after the close.

A sweep's portions are in one queue, and every usable account takes from it as fast as its own rate-limit tokens allow.
A portion that an account cannot fetch is returned once, for another account.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from math import ceil
from typing import Final

import msgspec

from bus.events import Snapshot, SweepCompleted, UniverseMember
from bus.producer import Producer
from observer.accounts.clients import BrokerAccount, RestOfAll
from observer.alerts.process import Alerts
from observer.calendar.phases import DayPlan
from observer.clock import Clock
from observer.errors import ProviderError, StoreError
from observer.providers.broker import Quote, QuoteSource, chunks
from observer.selection.settings import SelectionSettings
from observer.store.reader import StoreReader
from observer.store.universes import StoredUniverse
from observer.streaming.attention import AttentionRequests
from observer.streaming.settings import TrackASettings
from observer.units import NS_PER_S
from observer.universe.eligibility import KOREAN_STOCKS
from observer.universe.in_force import oldest_fallback, refused_universe, universe_of

logger = logging.getLogger(__name__)

NO_UNIVERSE: Final = "no_universe"

LATENCY_S: Final = 1.0  # up to this response time an account uses its whole limit; the limiter sets the pace
CLOSING_SWEEP_S: Final = 90.0  # market seconds after the close: the auction is over, and nothing else has begun


class Sweeps:
    """The consecutive sweeps of one day."""

    def __init__(
        self,
        settings: TrackASettings,
        selection: SelectionSettings,
        provider: str,
        calls_per_second: float,
        *,
        rest: RestOfAll,
        reader: StoreReader,
        producer: Producer,
        clock: Clock,
        alerts: Alerts,
    ) -> None:
        self._alerts = alerts
        self._clock = clock
        self._settings = settings
        self._provider = provider
        self._producer = producer
        self._rest = rest
        self._calls_at_once = calls_at_once(calls_per_second)
        self._reader = reader
        self._requests = AttentionRequests(
            *(settings, selection, provider, calls_per_second),
            rest=rest, reader=reader, producer=producer, clock=clock, alerts=alerts,
        )  # fmt: skip

    async def run(self, plan: DayPlan) -> None:
        """Run all remaining sweeps of the day; the sweep of the current interval is made up for."""
        session_date = plan.day.isoformat()
        if self._clock.now_ns() < plan.track_a_start_ns:
            await self._clock.sleep_until(plan.warm_up_ns)
            await self._warm_up()
        completed = self._reader.completed_sweeps(session_date)
        universe = await self._universe(plan)
        if universe is None:
            return
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._requests.run(plan, universe))
            for number, moment_ns in _sweep_moments(plan, round(self._settings.interval_s * NS_PER_S)):
                is_over = self._clock.now_ns() >= moment_ns + self._settings.interval_s * NS_PER_S
                if is_over or number in completed:
                    continue
                await self._clock.sleep_until(moment_ns)
                await self._check_universe(session_date)
                with self._requests.paused(session_date, number):
                    self._requests.update_sweep(await self._sweep(session_date, number, universe.members))
            asking.cancel()

    async def _warm_up(self) -> None:
        """Open the connections of the first sweep in advance; failures are only logged."""
        for account, quotes in self._rest.usable("quotes").items():
            try:
                await quotes.quotes([account.broker.probe_symbol], priority="normal")
            except ProviderError as error:
                logger.warning("warm-up of %s: %s", account.name, error)

    async def _check_universe(self, session_date: str) -> None:
        """Resolve the alert about a missing universe once one is built; the day's sweeps keep theirs."""
        if NO_UNIVERSE in self._alerts.identities:
            with contextlib.suppress(StoreError):
                if await asyncio.to_thread(self._reader.universe_built, session_date, KOREAN_STOCKS) is not None:
                    self._alerts.resolve(NO_UNIVERSE, f"the universe of {session_date} is built")

    async def _universe(self, plan: DayPlan) -> StoredUniverse | None:
        """The symbols to sweep today. Reports an alert if the universe is an earlier day's, too old or missing
        (requirement 004, edge case 1). None if the day ends before a universe exists.
        """
        await self._clock.sleep_until(plan.track_a_start_ns)
        weekdays_max = self._settings.universe_weekdays_max
        oldest = oldest_fallback(plan.day, weekdays_max)
        found = await universe_of(plan, self._reader, self._clock, plan.track_a_start_ns, oldest)
        if found is None or found.built.session_date != plan.day.isoformat():
            instead = f"that of {found.built.session_date} is" if found else "the first one that is built will be"
            text = f"no universe for {plan.day} when it was due: {instead} today's"
            if found is None and (refused := await refused_universe(plan, self._reader)) is not None:
                limit = f"more than {weekdays_max} weekdays old (track_a.universe_weekdays_max)"
                text += f"; that of {refused} is refused, as it is {limit}; observer universe build builds one"
            self._alerts.report(NO_UNIVERSE, "critical", text)
        else:
            self._alerts.resolve(NO_UNIVERSE, f"the universe of {plan.day} is built")
        return found or await universe_of(plan, self._reader, self._clock, plan.track_a_stop_ns, oldest)

    async def _sweep(self, session_date: str, number: int, members: Sequence[UniverseMember]) -> Sequence[Snapshot]:
        """Sweep these symbols. Returns the published snapshots."""
        started_ns = self._clock.now_ns()
        accounts = self._rest.usable("quotes")
        names = {account.name for account in accounts}
        portions = Portions(chunks([member.symbol for member in members], self._rest.quotes_per_call), names)
        requests = portions.count
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(self._ask(session_date, number, portions, account, quotes))
                for account, quotes in accounts.items()
                for _ in range(min(self._calls_at_once, requests))
            ]
        swept = [snapshot for task in asking for snapshot in task.result()]
        completed_ns = self._clock.now_ns()
        self._producer.publish(
            SweepCompleted(
                *(self._provider, session_date, number, started_ns, completed_ns),
                *(len(members), len(swept), requests),
            )
        )
        logger.info("sweep %d: %d of %d symbols", number, len(swept), len(members))
        return swept

    async def _ask(
        self, session_date: str, sweep: int, portions: "Portions", account: BrokerAccount, quotes: QuoteSource
    ) -> Sequence[Snapshot]:
        """Make the calls of one account in turn and publish the snapshots, which are returned.

        A portion that fails for good with two accounts costs its symbols, not the sweep.
        """
        swept: list[Snapshot] = []
        while (portion := await portions.take(account.name)) is not None:
            try:
                answers = await quotes.quotes(portion.symbols)
            except ProviderError as error:
                logger.warning(
                    "sweep %d: %s has no quotes of %d symbols: %s", sweep, account.name, len(portion.symbols), error
                )
                await portions.give_back(portion, account.name)
                continue
            now_ns = self._clock.now_ns()
            answered = [snapshot_of(account.provider, quote, session_date, sweep, now_ns) for quote in answers]
            self._producer.publish(*answered)
            swept += answered
            await portions.done()
        return swept


class Portion(msgspec.Struct, frozen=True):
    """Symbols of one call, and the account that failed to fetch them, if any."""

    symbols: Sequence[str]
    failed_with: str | None = None


class Portions:
    """The remaining portions of a sweep: accounts take portions, and return those that they could not fetch.

    A portion is returned once at most: `count` calls, and as many again if all fail.
    """

    def __init__(self, symbols: Iterable[Sequence[str]], accounts: AbstractSet[str]) -> None:
        self._waiting = [Portion(each) for each in symbols]
        self._waiting.reverse()  # taken from the end
        self._accounts = accounts
        self._under_way = 0
        self._changed = asyncio.Condition()
        self.count = len(self._waiting)

    async def take(self, account: str) -> Portion | None:
        """The next portion that the account has not failed with; waits while other accounts may still return some.

        None: no portion is left for it.
        """
        async with self._changed:
            while True:
                for index in reversed(range(len(self._waiting))):
                    if self._waiting[index].failed_with != account:
                        self._under_way += 1
                        return self._waiting.pop(index)
                if not self._under_way:
                    return None
                await self._changed.wait()

    async def done(self) -> None:
        """Mark a portion as fetched."""
        async with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    async def give_back(self, portion: Portion, account: str) -> None:
        """Return a failed portion for another account, if there is one and no account returned it before."""
        async with self._changed:
            self._under_way -= 1
            if portion.failed_with is None and self._accounts - {account}:
                self._waiting.append(Portion(portion.symbols, account))
            self._changed.notify_all()


def calls_at_once(calls_per_second: float) -> int:
    """Concurrent calls of an account, so that slow answers leave no rate-limit token unused."""
    return max(1, ceil(calls_per_second * LATENCY_S))


def _sweep_moments(plan: DayPlan, interval_ns: int) -> Iterator[tuple[int, int]]:
    """Number and moment of each sweep: from Track A's start to its stop, and one more of the finished regular hours,
    the source of the next morning's daily bars.
    """
    moments = range(plan.track_a_start_ns, plan.track_a_stop_ns + 1, interval_ns)
    return enumerate(sorted({*moments, plan.closes_ns + round(CLOSING_SWEEP_S * NS_PER_S)}), start=1)


def snapshot_of(provider: str, quote: Quote, session_date: str, sweep: int, receive_time_ns: int) -> Snapshot:
    """The snapshot of a quote. Without a trade on the day it has no price, whatever the broker states as one."""
    return Snapshot(
        provider,
        quote.symbol,
        session_date,
        sweep,
        receive_time_ns,
        quote.price if quote.cumulative_volume > 0 else None,
        quote.open,
        quote.high,
        quote.low,
        quote.previous_close,
        quote.upper_limit,
        quote.lower_limit,
        quote.bid,
        quote.ask,
        quote.cumulative_volume,
        quote.cumulative_value,
    )
