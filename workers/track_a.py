"""Track A: sweeps the whole universe over REST, every ten minutes by default (requirement 004), and after the close.

A sweep's portions lie in one queue, and every usable account takes from it as fast as its own permits allow. What an
account cannot get goes back once, for another account.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from math import ceil
from typing import Final

import msgspec

from bus.events import AlertRaised, Snapshot, SweepCompleted, UniverseMember
from bus.producer import Producer
from observer.brokers import PROBE_SYMBOL, PROVIDER, RestOfAll
from observer.clock import NS_PER_S
from observer.errors import ProviderError
from observer.providers.interfaces import Quote, QuoteSource, chunks
from observer.schedule.phases import DayPlan
from observer.store.reader import StoreReader
from observer.today import universe_of
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

LATENCY_S: Final = 1.0  # up to such answers an account uses its whole limit; the limiter sets the pace
CLOSING_SWEEP_S: Final = 90.0  # market seconds after the stop: the auction is over, and after-hours has not begun


async def track_a(worker: Worker) -> None:
    """Sweep on every trading day, from Track A's start to its stop, until the process is stopped."""
    async with worker.producer() as producer, worker.brokers().rest() as rest, worker.reader() as reader:
        await worker.ready()
        await worker.settled(producer)
        day = TrackA(worker, producer, rest, reader)
        while True:
            plan = await worker.today.plan()
            if plan.trades:
                await day.run(plan)
            await worker.today.end_of(plan)


class TrackA:
    """The sweeps of one day after another."""

    def __init__(self, worker: Worker, producer: Producer, rest: RestOfAll, reader: StoreReader) -> None:
        self._name = worker.name
        self._clock = worker.clock
        self._settings = worker.settings.track_a
        self._producer = producer
        self._rest = rest
        self._calls_at_once = calls_at_once(worker.settings.kis.permits.calls_per_second)
        self._reader = reader

    async def run(self, plan: DayPlan) -> None:
        """All sweeps of the day that are not over yet; the one whose interval is running is made up for."""
        session_date = plan.day.isoformat()
        if self._clock.now_ns() < plan.track_a_start_ns:
            await self._clock.sleep_until(plan.warm_up_ns)
            await self._warm_up()
        completed = self._reader.completed_sweeps(session_date)
        members = await self._universe(plan, is_news=not completed)
        for number, moment_ns in _sweep_moments(plan, round(self._settings.interval_s * NS_PER_S)):
            is_over = self._clock.now_ns() >= moment_ns + self._settings.interval_s * NS_PER_S
            if is_over or number in completed or not members:
                continue
            await self._clock.sleep_until(moment_ns)
            await self._sweep(session_date, number, members)

    async def _warm_up(self) -> None:
        """Open the connections that the first sweep will use, so that it does not wait for them; a failure can wait."""
        for name, quotes in self._rest.usable().items():
            try:
                await quotes.quotes([PROBE_SYMBOL], lane="normal")
            except ProviderError as error:
                logger.warning("warm-up of %s: %s", name, error)

    async def _universe(self, plan: DayPlan, *, is_news: bool) -> Sequence[UniverseMember]:
        """Whom to sweep today. When that is an earlier day's universe, or there is none yet, somebody is told once
        (requirement 004, edge case 1). Empty when the day is over before there was one.
        """
        await self._clock.sleep_until(plan.track_a_start_ns)
        found = await universe_of(plan, self._reader, self._clock, plan.track_a_start_ns)
        if is_news and (found is None or found.built.session_date != plan.day.isoformat()):
            instead = f"that of {found.built.session_date} is" if found else "the first one that is built will be"
            text = f"no universe for {plan.day} when it was due: {instead} today's"
            self._producer.publish(AlertRaised(self._clock.now_ns(), "critical", self._name, text))
        found = found or await universe_of(plan, self._reader, self._clock, plan.track_a_stop_ns)
        return found.members if found is not None else []

    async def _sweep(self, session_date: str, number: int, members: Sequence[UniverseMember]) -> None:
        started_ns = self._clock.now_ns()
        accounts = self._rest.usable()
        portions = Portions(chunks([member.symbol for member in members], self._rest.quotes_per_call), set(accounts))
        requests = portions.count
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(self._ask(session_date, number, portions, name, quotes))
                for name, quotes in accounts.items()
                for _ in range(min(self._calls_at_once, requests))
            ]
        received = sum(task.result() for task in asking)
        completed_ns = self._clock.now_ns()
        self._producer.publish(
            SweepCompleted(PROVIDER, session_date, number, started_ns, completed_ns, len(members), received, requests)
        )
        logger.info("sweep %d: %d of %d symbols", number, received, len(members))

    async def _ask(self, session_date: str, sweep: int, portions: "Portions", account: str, quotes: QuoteSource) -> int:
        """One call of an account after the other; snapshots are published. Returns how many symbols answered.

        What fails for good with two accounts costs its symbols, not the sweep.
        """
        received = 0
        while (portion := await portions.take(account)) is not None:
            try:
                answers = await quotes.quotes(portion.symbols)
            except ProviderError as error:
                logger.warning(
                    "sweep %d: %s has no quotes of %d symbols: %s", sweep, account, len(portion.symbols), error
                )
                await portions.give_back(portion, account)
                continue
            now_ns = self._clock.now_ns()
            for quote in answers:
                self._producer.publish(_snapshot(quote, session_date, sweep, now_ns))
            received += len(answers)
            await portions.done()
        return received


class Portion(msgspec.Struct, frozen=True):
    """Symbols of one call, and the account that failed to get them, if one did."""

    symbols: Sequence[str]
    failed_with: str | None = None


class Portions:
    """What of a sweep is still to be asked for: accounts take portions, and give back what they could not get.

    A portion is given back once at most: `count` calls, and as many again if everything fails.
    """

    def __init__(self, symbols: Iterable[Sequence[str]], accounts: AbstractSet[str]) -> None:
        self._waiting = [Portion(each) for each in symbols]
        self._waiting.reverse()  # taken from the end
        self._accounts = accounts
        self._under_way = 0
        self._changed = asyncio.Condition()
        self.count = len(self._waiting)

    async def take(self, account: str) -> Portion | None:
        """The next portion that the account has not failed with; waits while others may still give some back.

        None: nothing is left for it.
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
        """A portion was got."""
        async with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    async def give_back(self, portion: Portion, account: str) -> None:
        """A portion could not be got: it is another account's turn, if there is one and it was nobody's before."""
        async with self._changed:
            self._under_way -= 1
            if portion.failed_with is None and self._accounts - {account}:
                self._waiting.append(Portion(portion.symbols, account))
            self._changed.notify_all()


def calls_at_once(calls_per_second: float) -> int:
    """How many calls of an account are on their way together, so that slow answers leave no permit unused."""
    return max(1, ceil(calls_per_second * LATENCY_S))


def _sweep_moments(plan: DayPlan, interval_ns: int) -> Iterator[tuple[int, int]]:
    """Number and moment of each sweep: from Track A's start to its stop, and one more that sees the finished day, from
    which the next morning takes its daily bars.
    """
    moments = range(plan.track_a_start_ns, plan.track_a_stop_ns + 1, interval_ns)
    return enumerate((*moments, plan.track_a_stop_ns + round(CLOSING_SWEEP_S * NS_PER_S)), start=1)


def _snapshot(quote: Quote, session_date: str, sweep: int, receive_time_ns: int) -> Snapshot:
    return Snapshot(
        PROVIDER,
        quote.symbol,
        session_date,
        sweep,
        receive_time_ns,
        quote.price,
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


if __name__ == "__main__":
    run("track-a", track_a)
