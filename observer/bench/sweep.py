"""How near a sweep of the whole market comes to what the broker's limit allows, and whether the broker ever objects.

Real parts at the real clock's speed: the simulated broker in a process of its own, our REST pipeline, our permits. The
floor is the time between the first and the last of the calls when they go evenly at the limit: 2,500 symbols are 84
calls of 30, and 83 steps of 50 ms are 4.15 s. (A burst into an empty second would be over in 4.0 s; 84 calls divided by
20 a second are 4.2 s.) The sweep's time goes on to the last answer.
"""

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Final

import msgspec

from observer.bench.broker import RunningBroker, running_broker
from observer.bench.child import BenchError
from observer.bench.machine import Machine, this_machine
from observer.bench.path import Tell
from observer.brokers import PROBE_SYMBOL
from observer.providers.interfaces import QuoteSource, chunks
from observer.providers.kis.calls import QUOTES_PER_CALL

_CALLS_AT_ONCE: Final = 8  # as many as Track A has on the way for each account
_REST_S: Final = 1.5  # between rounds: the second that belongs to the one before is over


class SweepResult(msgspec.Struct, frozen=True):
    """All sweeps; rate errors and the calls of the busiest sliding second of any account are the broker's
    own count.
    """

    machine: Machine
    symbols: int
    accounts: int
    calls: int
    rate: int
    floor_s: float
    rounds_s: Sequence[float]
    median_s: float
    ratio_to_floor: float
    rate_errors: int
    busiest_second_calls: int


async def measure_sweep(folder: Path, symbols: int, rate: int, accounts: int, rounds: int, tell: Tell) -> SweepResult:
    """Sweep so many made-up symbols, `rounds` times, with so many accounts of `rate` calls a second each.

    Raises:
        BenchError: the broker did not come up, or a sweep did not bring every symbol.
    """
    tell("starting the broker")
    async with running_broker(folder / "broker", symbols, accounts, rate) as broker:
        spans_s = await _sweeps(broker, rounds, tell)
    counters = broker.counters()
    calls = ceil(symbols / QUOTES_PER_CALL)
    floor_s = (ceil(calls / accounts) - 1) / rate
    median_s = statistics.median(spans_s)
    return SweepResult(
        machine=this_machine(folder),
        symbols=symbols,
        accounts=accounts,
        calls=calls,
        rate=rate,
        floor_s=floor_s,
        rounds_s=spans_s,
        median_s=median_s,
        ratio_to_floor=median_s / floor_s,
        rate_errors=counters.rate_errors,
        busiest_second_calls=max(counters.busiest_seconds),
    )


async def _sweeps(broker: RunningBroker, rounds: int, tell: Tell) -> Sequence[float]:
    """The seconds that each sweep took, over connections that are open already, as Track A's are."""
    async with broker.brokers().rest() as rest:
        doors = [door for door in rest.usable().values() for _ in range(_CALLS_AT_ONCE)]
        symbols = broker.listed()
        spans_s: list[float] = []
        await asyncio.gather(*(door.quotes([PROBE_SYMBOL]) for door in doors))
        for number in range(1, rounds + 1):
            tell(f"sweep {number}/{rounds}")
            await asyncio.sleep(_REST_S)
            spans_s.append(await _sweep(doors, symbols))
    return spans_s


async def _sweep(doors: Sequence[QuoteSource], symbols: Sequence[str]) -> float:
    """The seconds until every symbol was answered; all doors take the next portion of one queue."""
    portions = deque(chunks(symbols, QUOTES_PER_CALL))
    received: list[int] = []

    async def take_turns(door: QuoteSource) -> None:
        while portions:
            received.append(len(await door.quotes(portions.popleft())))

    began_s = time.perf_counter()
    await asyncio.gather(*(take_turns(door) for door in doors))
    span_s = time.perf_counter() - began_s
    if sum(received) != len(symbols):
        raise BenchError(f"{sum(received)} of {len(symbols)} symbols were answered")
    return span_s
