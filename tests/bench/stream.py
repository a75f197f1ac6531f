"""Trades from the broker's socket to the disk: Track B above any real day's rate, in the running system.

The simulated broker streams to all slots of an account; every trade is stamped when its frame is read, and its latency
ends when this process receives it from the feed, after the commit: an upper bound of receive to committed. The market's
clock runs fast, since a whole day at this rate would be a hundred million trades; latencies are machine time.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bus.events import GapDetected, SweepCompleted, Trade
from bus.feed import FeedSubscriber
from tests.bench.child import BenchError
from tests.bench.machine import Machine, cpu_s, this_machine
from tests.bench.path import ReportProgress
from tests.bench.system import RunningSystem, running_system

_SPEED: Final = 60.0  # at least
_RATE_AT_SPEED: Final = 5_000  # a faster stream is a faster clock: the broker makes no larger day for it
_BEGINS_AT: Final = (9, 31)  # Track B streams
_WARM_UP_S: Final = 4.0
_SYMBOLS_TRADES_PER_S: Final = 7.5  # of an account's busiest symbols together at that hour, by the market's clock
_FIRST_TRADE_S: Final = 60.0


class StreamResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench stream`: trades a machine second, latencies in machine milliseconds."""

    machine: Machine
    seconds: float
    trades: int
    trades_per_s: float
    gaps: int
    missed_by_feed: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    cpu_us_per_trade_track_b: float
    cpu_us_per_trade_core_writer: float


class _Received:
    """The events received from the feed during the measurement."""

    def __init__(self) -> None:
        self.latencies_ns: list[int] = []
        self.gaps = 0


async def measure_stream(
    folder: Path,
    rate: int,
    seconds: float,
    report: ReportProgress,
    sections: Mapping[str, Mapping[str, object]] = {},
    beside: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext,
) -> StreamResult:
    """Run the system in `folder`, with further sections of its configuration, against a market of about `rate` trades a
    machine second, and listen within a block of `beside`.

    Raises:
        BenchError: it did not come up, or no trade came.
    """
    speed = _SPEED * max(1.0, rate / _RATE_AT_SPEED)
    market = {"trades_times": rate / speed / _SYMBOLS_TRADES_PER_S}
    report("starting the system; the broker makes its day first")
    async with (
        running_system(folder / "run", *_BEGINS_AT, speed=speed, market=market, sections=sections) as system,
        beside(),
    ):
        feed = FeedSubscriber(system.feed, [Trade, GapDetected, SweepCompleted])
        received = _Received()
        listening = asyncio.create_task(_listen(feed, system, received))
        try:
            await _first_trade(received)
            await asyncio.sleep(_WARM_UP_S)
            report(f"listening for {seconds:g} s")
            return await _measured(folder, system, feed, received, seconds)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            feed.close()


async def _listen(feed: FeedSubscriber, system: RunningSystem, received: _Received) -> None:
    async for event in feed:
        if isinstance(event, Trade) and event.gap_id is None:
            received.latencies_ns.append(round((system.clock.now_ns() - event.receive_time_ns) / system.clock.speed))
        elif isinstance(event, GapDetected):
            received.gaps += 1


async def _first_trade(received: _Received) -> None:
    end_s = time.monotonic() + _FIRST_TRADE_S
    while not received.latencies_ns:
        if time.monotonic() > end_s:
            raise BenchError(f"no trade was streamed within {_FIRST_TRADE_S:g} s")
        await asyncio.sleep(0.05)


async def _measured(
    folder: Path, system: RunningSystem, feed: FeedSubscriber, received: _Received, seconds: float
) -> StreamResult:
    pids = {name: process.pid for name, process in (await system.processes()).items()}
    track_b, core_writer = (psutil.Process(pids[name]) for name in ("track-b", "core-writer"))
    received.latencies_ns.clear()
    gaps_before, missed_before = received.gaps, feed.missed
    cpu_before_s, started_s = (cpu_s(track_b), cpu_s(core_writer)), time.monotonic()
    await asyncio.sleep(seconds)
    span_s = time.monotonic() - started_s
    latencies_ms = sorted(latency_ns / 1e6 for latency_ns in received.latencies_ns)
    count = len(latencies_ms)
    if not count:
        raise BenchError("the stream dried up")
    return StreamResult(
        machine=this_machine(folder),
        seconds=span_s,
        trades=count,
        trades_per_s=count / span_s,
        gaps=received.gaps - gaps_before,
        missed_by_feed=feed.missed - missed_before,
        p50_ms=_quantile(latencies_ms, 0.5),
        p99_ms=_quantile(latencies_ms, 0.99),
        slowest_ms=latencies_ms[-1],
        cpu_us_per_trade_track_b=(cpu_s(track_b) - cpu_before_s[0]) / count * 1e6,
        cpu_us_per_trade_core_writer=(cpu_s(core_writer) - cpu_before_s[1]) / count * 1e6,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
