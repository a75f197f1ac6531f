"""The time from publishing an event to the acknowledgement that it is durable, and the disk's part of it.

Events are published one by one at a steady rate, like a data stream; the writer is a separate process and commits with
synchronous=FULL. The floor beside it: writing a few pages to a file and waiting for the disk.
"""

import asyncio
import itertools
import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.outbox import Outbox
from bus.producer import Producer, delivering
from tests.bench.child import BenchError
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.trades import trade
from tests.bench.writer import RunningWriter, running_writer

_SYNC_BYTES: Final = 3 * 4096  # what a small transaction adds to SQLite's log: a page of each tree that it touches
_SYNCS: Final = 300
_WARM_UP_S: Final = 1.0
_DRAIN_S: Final = 30.0


class Spread(msgspec.Struct, frozen=True):
    """The number of spans, and their median, 99th percentile and maximum in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class RateResult(msgspec.Struct, frozen=True):
    """From publish to acknowledgement at one rate, in events a second."""

    asked_per_s: float
    reached_per_s: float
    published_to_acknowledged: Spread


class LatencyResult(msgspec.Struct, frozen=True):
    """The disk's floor, and the latency at each rate."""

    machine: Machine
    disk_sync: Spread
    rates: Sequence[RateResult]


class TimedOutbox(Outbox):
    """An outbox that records each event's time from publication to acknowledgement, for the current stream."""

    def __init__(self, directory: Path, producer: str, stream: str) -> None:
        super().__init__(directory, producer, stream)
        self.published_ns: list[int] = []
        self.acknowledged_ns: list[int] = []

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        """Trim, and record the time for all acknowledged events."""
        super().acknowledge(stream, high_water_mark)
        now_ns = time.monotonic_ns()
        self.acknowledged_ns += [now_ns] * (high_water_mark - len(self.acknowledged_ns))


async def measure_latency(
    folder: Path, rates: Sequence[float], seconds: float, report: ReportProgress
) -> LatencyResult:
    """Measure each rate for so many seconds, with a new database each time; `folder` is left empty.

    Raises:
        BenchError: not everything that was published was acknowledged.
    """
    report("the disk alone")
    disk_sync = await asyncio.to_thread(_measure_disk, folder / "sync")
    results: list[RateResult] = []
    for rate in rates:
        report(f"{rate:,.0f} events/s")
        try:
            async with running_writer(folder / "path") as writer:
                results.append(await _measure_rate(writer, folder / "path" / "outbox", rate, seconds))
        finally:
            shutil.rmtree(folder / "path", ignore_errors=True)
    return LatencyResult(this_machine(folder), disk_sync, results)


def spread(spans_ns: Sequence[int]) -> Spread:
    """The spread of at least one span."""
    ordered = sorted(spans_ns)

    def within(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6

    return Spread(len(ordered), within(0.50), within(0.99), ordered[-1] / 1e6)


def _measure_disk(path: Path) -> Spread:
    """Append and wait for the disk, as SQLite's log does."""
    content = os.urandom(_SYNC_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    spans_ns: list[int] = []
    try:
        for _ in range(_SYNCS):
            began_ns = time.monotonic_ns()
            os.write(descriptor, content)
            os.fdatasync(descriptor)
            spans_ns.append(time.monotonic_ns() - began_ns)
    finally:
        os.close(descriptor)
        path.unlink()
    return spread(spans_ns)


async def _measure_rate(writer: RunningWriter, outbox_folder: Path, rate: float, seconds: float) -> RateResult:
    outbox = TimedOutbox(outbox_folder, "source", uuid.uuid4().hex)
    async with delivering(outbox, writer.endpoints.ingest) as producer:
        await publish(producer, outbox, rate, _first(rate * _WARM_UP_S))
        if not await producer.drain(_DRAIN_S):
            raise BenchError("the writer did not acknowledge the first events")
        warm = len(outbox.published_ns)
        await publish(producer, outbox, rate, _first(rate * seconds))
        if not await producer.drain(_DRAIN_S):
            raise BenchError(f"{producer.unacknowledged} events were not acknowledged within {_DRAIN_S:g} s")
    published_ns, acknowledged_ns = outbox.published_ns[warm:], outbox.acknowledged_ns[warm:]
    reached_per_s = len(published_ns) / (published_ns[-1] - published_ns[0]) * 1e9
    spans_ns = [known_ns - began_ns for began_ns, known_ns in zip(published_ns, acknowledged_ns, strict=True)]
    return RateResult(rate, reached_per_s, spread(spans_ns))


def _first(events: float) -> Callable[[int], bool]:
    return lambda number: number < max(2, round(events))


async def publish(producer: Producer, outbox: TimedOutbox, rate: float, goes_on: Callable[[int], bool]) -> None:
    """Publish each event when it is due, while `goes_on` says so of its number from 0; those that became due while the
    loop slept go in the same turn.
    """
    began_s = time.monotonic()
    for number in itertools.takewhile(goes_on, itertools.count()):
        if (early_s := began_s + number / rate - time.monotonic()) > 0:
            await asyncio.sleep(early_s)
        outbox.published_ns.append(time.monotonic_ns())
        producer.publish(trade(len(outbox.published_ns)))
