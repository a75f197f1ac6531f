"""The time of a whole market sweep, beside the minimum under the broker's rate limit, and the broker's rate errors.

Real parts at the real clock's speed: the simulated broker in a separate process, our REST pipeline, our rate-limit
tokens. The floor is the time between the first and the last of the calls when they go evenly at the limit: 2,500
symbols are 84 calls of 30, and 83 steps at 18 a second are 4.61 s. (A burst into an empty second would be over in
4.0 s; 84 calls divided by 18 a second are 4.67 s.) The sweep's time goes on to the last answer. With the lines of all
venues a call still takes 30, whatever their venues.

Beside a tape, each sweep is followed by one during which background calls for pages of trades use the whole limit, as
`observer.collection.tape` makes them: evenly spaced, through rate-limit tokens and connections of their own.
"""

import asyncio
import itertools
import statistics
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Final

import msgspec

from observer.base.lines import venue_of
from observer.base.units import NS_PER_S
from observer.brokers.accounts.limiter import background_pace
from observer.brokers.broker import DEFAULT_BROKER, QuoteSource, broker_named, chunks
from observer.brokers.time_and_sales import TradePageSource
from observer.collection.sweeps import sweep_floor_s
from tests.bench.broker import RunningBroker, running_broker
from tests.bench.child import BenchError
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress

_CALLS_AT_ONCE: Final = 8  # as many as Track A has in flight for each account
_REST_S: Final = 1.5  # between rounds: the second that belongs to the one before is over
_TAPE_CALLS_AT_ONCE: Final = 8  # as many as the tape has in flight for each account
_TAPE_BEGINS_S: Final = 60.0  # before a sweep beside it, so that the minute's calls are those of a lasting tape


class SweepResult(msgspec.Struct, frozen=True):
    """All sweeps; rate errors and the calls of the busiest sliding second of any account are the broker's
    own count. `symbols` are the lines of all venues, `lines` their number by venue. `beside_tape_s` are the sweeps
    beside a tape, `ratio_beside_tape` is their median to that of the others; empty and None without a tape.
    """

    machine: Machine
    symbols: int
    lines: Mapping[str, int]
    accounts: int
    calls: int
    rate: float
    floor_s: float
    rounds_s: Sequence[float]
    median_s: float
    ratio_to_floor: float
    rate_errors: int
    busiest_second_calls: int
    beside_tape_s: Sequence[float] = ()
    ratio_beside_tape: float | None = None
    tape_calls_per_second: float | None = None


async def measure_sweep(
    folder: Path,
    symbols: int,
    rate: int | None,
    accounts: int,
    rounds: int,
    report: ReportProgress,
    *,
    all_venues: bool = False,
    beside_tape: bool = False,
) -> SweepResult:
    """Sweep so many made-up symbols, `rounds` times, with so many accounts of `rate` calls a second each
    (None: the broker's limit). `all_venues`: also their lines at the broker's further venues. `beside_tape`: as many
    times beside a tape.

    Raises:
        BenchError: the broker did not come up, or a sweep did not bring every symbol.
    """
    report("starting the broker")
    market = {"venues": list(broker_named(DEFAULT_BROKER).venues)} if all_venues else {}
    async with running_broker(folder / "broker", symbols, accounts, rate, market=market) as broker:
        lines = broker.lines()
        spans_s, quotes_per_call = await _sweeps(broker, lines, rounds, report)
        beside_s, tape_calls = await _sweeps_beside_tape(broker, lines, rounds, report) if beside_tape else ([], None)
    counters = broker.counters()
    calls = ceil(len(lines) / quotes_per_call)
    floor_s = sweep_floor_s(calls, accounts, broker.rate)
    median_s = statistics.median(spans_s)
    return SweepResult(
        machine=this_machine(folder),
        symbols=len(lines),
        lines=Counter(venue_of(line, broker.settings.venue.name) for line in lines),
        accounts=accounts,
        calls=calls,
        rate=broker.rate,
        floor_s=floor_s,
        rounds_s=spans_s,
        median_s=median_s,
        ratio_to_floor=median_s / floor_s,
        rate_errors=counters.rate_errors,
        busiest_second_calls=max(counters.busiest_seconds),
        beside_tape_s=beside_s,
        ratio_beside_tape=statistics.median(beside_s) / median_s if beside_s else None,
        tape_calls_per_second=tape_calls,
    )


async def _sweeps(
    broker: RunningBroker, symbols: Sequence[str], rounds: int, report: ReportProgress
) -> tuple[Sequence[float], int]:
    """The seconds of each sweep, and the symbols of a call; the connections are open already."""
    async with broker.brokers().rest() as rest:
        clients = [client for client in rest.usable("quotes").values() for _ in range(_CALLS_AT_ONCE)]
        spans_s: list[float] = []
        await asyncio.gather(*(client.quotes(symbols[:1]) for client in clients))
        for number in range(1, rounds + 1):
            report(f"sweep {number}/{rounds}")
            await asyncio.sleep(_REST_S)
            spans_s.append(await _sweep(clients, symbols))
    return spans_s, rest.quotes_per_call


async def _sweeps_beside_tape(
    broker: RunningBroker, symbols: Sequence[str], rounds: int, report: ReportProgress
) -> tuple[Sequence[float], float]:
    """The seconds of each sweep while a tape uses the rest of the limit, and the tape's calls a second between them."""
    async with broker.brokers().rest() as rest, broker.brokers().rest() as tape_rest:
        clients = [client for client in rest.usable("quotes").values() for _ in range(_CALLS_AT_ONCE)]
        tape = _Tape(list(tape_rest.usable("trades").values()), broker, symbols)
        working = [asyncio.create_task(tape.ask(number)) for number in range(_TAPE_CALLS_AT_ONCE)]
        spans_s: list[float] = []
        alone_s, calls = 0.0, 0
        try:
            for number in range(1, rounds + 1):
                report(f"sweep {number}/{rounds} beside a tape")
                before, began_s = tape.calls, time.perf_counter()
                await asyncio.sleep(_TAPE_BEGINS_S)
                alone_s, calls = alone_s + time.perf_counter() - began_s, calls + tape.calls - before
                spans_s.append(await _sweep(clients, symbols))
        finally:
            for each in working:
                each.cancel()
            failed = [each for each in await asyncio.gather(*working, return_exceptions=True) if each]
    if wrong := [each for each in failed if not isinstance(each, asyncio.CancelledError)]:
        raise BenchError(f"the tape failed: {wrong[0]}")
    return spans_s, calls / alone_s


class _Tape:
    """Calls for the newest trades of one symbol after the other, at the whole limit, in the lowest priority."""

    def __init__(self, clients: Sequence[TradePageSource], broker: RunningBroker, symbols: Sequence[str]) -> None:
        self.calls = 0
        self._clients = clients
        self._clock = broker.clock
        self._symbols = itertools.cycle(symbols)
        pace = background_pace(broker.settings.broker.rate_limit, share=1.0)
        self._spacing_ns = round(NS_PER_S / (pace * len(clients)))
        self._next_ns = 0

    async def ask(self, number: int) -> None:
        """Ask page after page until it is cancelled."""
        client = self._clients[number % len(self._clients)]
        while True:
            at_ns = max(self._clock.now_ns(), self._next_ns)
            self._next_ns = at_ns + self._spacing_ns
            await self._clock.sleep_until(at_ns)
            await client.trades_page(next(self._symbols), self._clock.now_ns())
            self.calls += 1


async def _sweep(clients: Sequence[QuoteSource], symbols: Sequence[str]) -> float:
    """The seconds until every symbol was answered; all clients take portions from one queue."""
    portions = deque(chunks(symbols, clients[0].quotes_per_call))
    received: list[int] = []

    async def take_turns(client: QuoteSource) -> None:
        while portions:
            received.append(len(await client.quotes(portions.popleft())))

    began_s = time.perf_counter()
    await asyncio.gather(*(take_turns(client) for client in clients))
    span_s = time.perf_counter() - began_s
    if sum(received) != len(symbols):
        raise BenchError(f"{sum(received)} of {len(symbols)} symbols were answered")
    return span_s
