"""Track A: sweeps the whole universe over REST, every ten minutes by default (requirement 004)."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final

from bus.events import AlertRaised, Snapshot, SweepCompleted, UniverseMember
from bus.producer import Producer
from observer.brokers import PROBE_SYMBOL, PROVIDER
from observer.clock import NS_PER_S
from observer.errors import ProviderError
from observer.providers.interfaces import Quote, QuoteSource, chunks
from observer.schedule.phases import DayPlan
from observer.selection.universe import KOREAN_STOCKS
from observer.store.reader import StoreReader
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

CALLS_AT_ONCE: Final = 8  # the limiter sets the pace; this only hides the answers' latency behind each other
UNIVERSE_POLL_S: Final = 0.2


async def track_a(worker: Worker) -> None:
    """Sweep on every trading day, from Track A's start to its stop, until the process is stopped."""
    async with worker.producer() as producer, worker.broker_account().rest() as rest, worker.reader() as reader:
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

    def __init__(self, worker: Worker, producer: Producer, quotes: QuoteSource, reader: StoreReader) -> None:
        self._name = worker.name
        self._clock = worker.clock
        self._settings = worker.settings.track_a
        self._producer = producer
        self._quotes = quotes
        self._reader = reader

    async def run(self, plan: DayPlan) -> None:
        """All sweeps of the day that are not over yet; the one whose interval is running is made up for."""
        session_date = plan.day.isoformat()
        if self._clock.now_ns() < plan.track_a_start_ns:
            await self._clock.sleep_until(plan.warm_up_ns)
            await self._warm_up()
        completed = self._reader.completed_sweeps(session_date)
        for number, moment_ns in _sweep_moments(plan, round(self._settings.interval_s * NS_PER_S)):
            is_over = self._clock.now_ns() >= moment_ns + self._settings.interval_s * NS_PER_S
            if is_over or number in completed:
                continue
            await self._clock.sleep_until(moment_ns)
            if members := await self._universe(plan):
                await self._sweep(session_date, number, members)

    async def _warm_up(self) -> None:
        """Open the connections that the first sweep will use, so that it does not wait for them; a failure can wait."""
        try:
            await self._quotes.quotes([PROBE_SYMBOL], lane="normal")
        except ProviderError as error:
            logger.warning("warm-up: %s", error)

    async def _universe(self, plan: DayPlan) -> Sequence[UniverseMember]:
        """Today's universe; while there is none, the last one, and somebody is told (requirement 004, edge case 1).

        Waits while there is neither; empty when the day is over before there was one.
        """
        session_date = plan.day.isoformat()
        while self._clock.now_ns() < plan.track_a_stop_ns:
            if members := self._reader.universe(session_date, KOREAN_STOCKS):
                return members
            if members := self._reader.latest_universe_before(session_date, KOREAN_STOCKS):
                text = f"no universe for {session_date}: sweeping that of {members[0].session_date}"
                self._producer.publish(AlertRaised(self._clock.now_ns(), "critical", self._name, text))
                return members
            await asyncio.sleep(UNIVERSE_POLL_S)
        return self._reader.universe(session_date, KOREAN_STOCKS)

    async def _sweep(self, session_date: str, number: int, members: Sequence[UniverseMember]) -> None:
        started_ns = self._clock.now_ns()
        portions = list(chunks([member.symbol for member in members], self._quotes.quotes_per_call))
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)

        async def ask(symbols: Sequence[str]) -> int:
            async with at_once:
                return await self._ask(session_date, number, symbols)

        received = sum(await asyncio.gather(*[ask(portion) for portion in portions]))
        completed_ns = self._clock.now_ns()
        self._producer.publish(
            SweepCompleted(
                PROVIDER, session_date, number, started_ns, completed_ns, len(members), received, len(portions)
            )
        )
        logger.info("sweep %d: %d of %d symbols", number, received, len(members))

    async def _ask(self, session_date: str, sweep: int, symbols: Sequence[str]) -> int:
        """One call; its snapshots are published. A call that fails for good costs its symbols, not the sweep."""
        try:
            quotes = await self._quotes.quotes(symbols)
        except ProviderError as error:
            logger.warning("sweep %d: no quotes for %d symbols: %s", sweep, len(symbols), error)
            return 0
        now_ns = self._clock.now_ns()
        for quote in quotes:
            self._producer.publish(_snapshot(quote, session_date, sweep, now_ns))
        return len(quotes)


def _sweep_moments(plan: DayPlan, interval_ns: int) -> Iterator[tuple[int, int]]:
    """Number and moment of each sweep, the last one at Track A's stop."""
    moments = range(plan.track_a_start_ns, plan.track_a_stop_ns + 1, interval_ns)
    return enumerate(moments, start=1)


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
