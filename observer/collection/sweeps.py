"""Track A: sweeps the whole universe over REST, every ten minutes by default, and after the close.

A sweep's portions are in one queue, and every usable account takes from it as fast as its own rate-limit tokens allow.
A portion that an account cannot fetch is returned once, for another account.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from math import ceil
from typing import Final

import msgspec

from bus.events import MarketSession, Snapshot, SweepCompleted, UniverseMember
from observer.base.errors import ProviderError, StoreError
from observer.base.lines import venue_of
from observer.base.units import NS_PER_S
from observer.brokers.accounts.clients import BrokerAccount
from observer.brokers.broker import Quote, QuoteSource, chunks
from observer.calendar.phases import DayPlan
from observer.collection.attention import AttentionRequests
from observer.collection.sweep_times import Sweep, session_of
from observer.collection.track_a import TrackAParts, sweeps_on
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.reference.universe.in_force import oldest_fallback, refused_universe, universe_of
from observer.store.universes import StoredUniverse

logger = logging.getLogger(__name__)

NO_UNIVERSE: Final = "no_universe"
UNANSWERED: Final = "sweep_unanswered:"
"""How the identity of an alert begins that a sweep brought nothing of a venue, which it names."""

FIRST_BUILD_S: Final = 600.0
"""Market seconds that the first universe may take, from this process's start, until its lack is an alert: a
real one asks for the daily bars of some 2,600 symbols, at a broker's 20 calls a second and beside other calls.
"""
LATENCY_S: Final = 1.0  # up to this response time an account uses its whole limit; the limiter sets the pace


class Sweeps:
    """The consecutive sweeps of one day."""

    def __init__(self, parts: TrackAParts) -> None:
        self._parts = parts
        self._alerts = parts.alerts
        self._clock = parts.clock
        self._settings = parts.settings
        self._producer = parts.producer
        self._rest = parts.rest
        self._calls_at_once = calls_at_once(parts.calls_per_second)
        self._reader = parts.reader
        self._requests = AttentionRequests(parts)
        self._began_ns = parts.clock.now_ns()

    async def run(self, plan: DayPlan) -> None:
        """Run all remaining sweeps of the day; the sweep of the current interval is made up for. The alert about a
        missing universe ends with them: the next session needs its own, and raises its own.
        """
        await self._run(plan)
        self._alerts.resolve(NO_UNIVERSE, f"the sweeps of {plan.day} are over")

    async def _run(self, plan: DayPlan) -> None:
        session_date = plan.day.isoformat()
        self._alerts.resolve_all(UNANSWERED, "the sweeps begin anew")  # perhaps of a venue that is not asked any more
        if self._clock.now_ns() < plan.track_a_start_ns:
            await self._clock.sleep_until(plan.warm_up_ns)
            await self._warm_up()
        completed = self._reader.completed_sweeps(session_date)
        if all(map(self._is_over, self._sweeps(plan))):
            return  # a start in the evening: no universe is due any more
        universe = await self._universe(plan)
        if universe is None:
            return
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._requests.run(plan, universe))
            for sweep in self._sweeps(plan):
                if self._is_over(sweep) or sweep.number in completed:
                    continue
                await self._clock.sleep_until(sweep.begins_ns)
                await self._check_universe(session_date)
                with self._requests.paused(session_date, sweep.number):
                    self._requests.update_sweep(await self._sweep(plan, sweep, universe.members))
            asking.cancel()

    def _is_over(self, sweep: Sweep) -> bool:
        return self._clock.now_ns() >= sweep.begins_ns + self._settings.interval_s * NS_PER_S

    def _sweeps(self, plan: DayPlan) -> Sequence[Sweep]:
        return sweeps_on(plan, self._settings, self._parts.sessions, self._parts.venues)

    async def _warm_up(self) -> None:
        """Open the connections of the first sweep in advance. Failures are only logged, as the sweep reports them
        again.
        """
        for account, quotes in self._rest.usable("quotes").items():
            try:
                await quotes.quotes([account.broker.probe_symbol], priority="normal")
            except ProviderError as error:
                logger.warning("warm-up of %s: %s", account.name, error)

    async def _check_universe(self, session_date: str) -> None:
        """Resolve the alert about a missing universe after a build. The day's running sweeps keep their symbols."""
        if NO_UNIVERSE in self._alerts.identities:
            with contextlib.suppress(StoreError):
                if await asyncio.to_thread(self._reader.universe_built, session_date, KOREAN_STOCKS) is not None:
                    self._alerts.resolve(NO_UNIVERSE, f"the universe of {session_date} is built")

    async def _universe(self, plan: DayPlan) -> StoredUniverse | None:
        """The symbols to sweep today. Reports an alert if the universe is an earlier day's, too old or missing
        (docs/requirement.md). A universe that is still being built, as at a first start, has FIRST_BUILD_S. None
        if the day ends before a universe exists.
        """
        await self._clock.sleep_until(plan.track_a_start_ns)
        weekdays_max = self._settings.universe_weekdays_max
        oldest = oldest_fallback(plan.day, weekdays_max)
        found = await universe_of(plan, self._reader, self._clock, self._given_until_ns(plan), oldest)
        if found is None or found.built.session_date != plan.day.isoformat():
            instead = f"that of {found.built.session_date} is" if found else "the first one that is built will be"
            text = f"no universe for {plan.day} when it was due: {instead} today's"
            if found is None and (refused := await refused_universe(plan, self._reader)) is not None:
                limit = f"more than {weekdays_max} weekdays old (track_a.universe_weekdays_max)"
                text += f"; that of {refused} is refused, as it is {limit}; observer universe build builds one"
            self._alerts.report(NO_UNIVERSE, "critical", text)
        else:
            self._alerts.resolve(NO_UNIVERSE, f"the universe of {plan.day} is built")
        found = found or await universe_of(plan, self._reader, self._clock, plan.track_a_stop_ns, oldest)
        if found is not None:
            COUNTERS.set("observer_universe_symbols", to=len(found.members))
            age = plan.day - date.fromisoformat(found.built.session_date)
            COUNTERS.set("observer_universe_age_days", to=age.days)
        return found

    def _given_until_ns(self, plan: DayPlan) -> int:
        """The time from which a missing universe is an alert: Track A's start if that alert is open already."""
        if NO_UNIVERSE in self._alerts.identities:
            return plan.track_a_start_ns
        given_ns = self._began_ns + round(FIRST_BUILD_S * NS_PER_S)
        return min(max(plan.track_a_start_ns, given_ns), plan.track_a_stop_ns)

    async def _sweep(self, plan: DayPlan, sweep: Sweep, members: Sequence[UniverseMember]) -> Sequence[Snapshot]:
        """Sweep the members' lines at the sweep's venues. Returns the published snapshots."""
        started_ns = self._clock.now_ns()
        accounts = self._rest.usable("quotes")
        names = {account.name for account in accounts}
        lines = [line for line in (member.symbol for member in members) if self._venue(line) in sweep.venues]
        portions = Portions(chunks(lines, self._rest.quotes_per_call), names)
        requests = portions.count
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(self._ask(plan, sweep.number, portions, account, quotes))
                for account, quotes in accounts.items()
                for _ in range(min(self._calls_at_once, requests))
            ]
        swept = [snapshot for task in asking for snapshot in task.result()]
        completed = SweepCompleted(
            self._parts.provider,
            plan.day.isoformat(),
            sweep.number,
            started_ns,
            self._clock.now_ns(),
            len(lines),
            len(swept),
            requests,
        )
        self._producer.publish(completed)
        floor_s = sweep_floor_s(requests, len(accounts), self._parts.calls_per_second)
        asked = Counter(map(self._venue, lines))
        logger.info("%s", _report(completed, asked, swept, floor_s))
        _record(completed, floor_s)
        report_unanswered(self._alerts, sweep.number, asked, {snapshot.venue for snapshot in swept})
        return swept

    def _venue(self, line: str) -> str:
        return venue_of(line, self._parts.main_venue)

    async def _ask(
        self, plan: DayPlan, sweep: int, portions: "Portions", account: BrokerAccount, quotes: QuoteSource
    ) -> Sequence[Snapshot]:
        """Make the calls of one account in turn, publish the snapshots and return them.

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
            answered = [self._snapshot(plan, sweep, account.provider, quote) for quote in answers]
            self._producer.publish(*answered)
            swept += answered
            await portions.done()
        return swept

    def _snapshot(self, plan: DayPlan, sweep: int, provider: str, quote: Quote) -> Snapshot:
        now_ns, venue = self._clock.now_ns(), self._venue(quote.symbol)
        session = session_of(plan.sessions, venue, now_ns)
        return snapshot_of(provider, quote, plan.day.isoformat(), sweep, now_ns, venue, session)


def _record(sweep: SweepCompleted, floor_s: float) -> None:
    """Count a sweep for the exporter. `floor_s` are the least market seconds that the rate limit allows."""
    duration_s = (sweep.completed_ns - sweep.started_ns) / NS_PER_S
    COUNTERS.add("observer_sweeps_total")
    COUNTERS.set("observer_sweep_completed_timestamp_seconds", to=sweep.completed_ns / NS_PER_S)
    COUNTERS.set("observer_sweep_duration_seconds", to=duration_s)
    if sweep.requested and floor_s:
        COUNTERS.set("observer_sweep_coverage_ratio", to=sweep.received / sweep.requested)
        COUNTERS.set("observer_sweep_floor_ratio", to=duration_s / floor_s)


class Portion(msgspec.Struct, frozen=True):
    """The symbols of one call, and the account that failed to fetch them, if any."""

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


def sweep_floor_s(calls: int, accounts: int, calls_per_second: float) -> float:
    """The least seconds between the first and the last of so many calls, evenly at the accounts' limit."""
    return max(0, ceil(calls / accounts) - 1) / calls_per_second


def report_unanswered(alerts: Alerts, sweep: int, asked: Mapping[str, int], answered: AbstractSet[str]) -> None:
    """Report each venue whose lines a sweep asked without any answer, from so many lines on; resolve the report of
    answered venues.
    """
    for venue, lines in asked.items():
        identity = f"{UNANSWERED}{venue}"
        if venue in answered:
            alerts.resolve(identity, f"sweep {sweep} has lines of {venue}")
        else:
            alerts.report(identity, "warning", f"sweep {sweep} has no answer for the {lines} lines of {venue}")


def _report(completed: SweepCompleted, asked: Mapping[str, int], swept: Sequence[Snapshot], floor_s: float) -> str:
    """The coverage of a sweep by venue, and its cost in calls and market seconds beside the least possible ones."""
    answered = Counter(snapshot.venue for snapshot in swept)
    coverage = ", ".join(f"{answered[venue]} of {lines} lines at {venue}" for venue, lines in asked.items())
    span_s = (completed.completed_ns - completed.started_ns) / NS_PER_S
    cost = f"{completed.requests} calls in {span_s:.2f} s, at the limit {floor_s:.2f} s"
    return f"sweep {completed.sweep}: {coverage or 'no lines'}; {cost}"


def snapshot_of(
    provider: str,
    quote: Quote,
    session_date: str,
    sweep: int,
    receive_time_ns: int,
    venue: str = "",
    session: MarketSession | None = None,
) -> Snapshot:
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
        venue,
        session,
    )
