"""What a backup costs the acknowledgements: the same stream of trades beside one and alone, in turn.

The backup is the system's own, in a process of its own, of a database that holds trades. Each round alone takes as long
as the backup before it.
"""

import asyncio
import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bus.producer import delivering
from observer.archive.backup import Plan, back_up_apart, plan_of
from observer.archive.settings import BackupSettings
from observer.base.clock import RealClock
from observer.system.config import load_settings
from tests.bench.child import BenchError
from tests.bench.latency import Spread, TimedOutbox, publish, spread
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.scratch import scratch_database
from tests.bench.trades import SYMBOLS
from tests.bench.writer import RunningWriter, running_writer

_WARM_UP_S: Final = 2.0
_DRAIN_S: Final = 30.0


class BackupRound(msgspec.Struct, frozen=True):
    """How long a backup took, and the spans from publication to acknowledgement beside it and then alone."""

    backup_s: float
    beside: Spread
    alone: Spread


class BackupResult(msgspec.Struct, frozen=True):
    """What `backup` measured; `p99_ratio` is that of the medians of the rounds' 99th percentiles."""

    machine: Machine
    held: int
    database_bytes: int
    events_per_s: float
    rounds: Sequence[BackupRound]
    p99_alone_ms: float
    p99_beside_ms: float
    p99_ratio: float


async def measure_backup(folder: Path, held: int, rate: float, rounds: int, report: ReportProgress) -> BackupResult:
    """Measure with one SQLite database of so many trades and so many events a second; `folder` is left empty.

    Raises:
        BenchError: a backup failed, or not everything that was published was acknowledged.
    """
    place = folder / "system"
    try:
        with scratch_database(folder / "held", None) as url:
            report(f"putting {held:,} trades there")
            await asyncio.to_thread(_hold, url, held)
            size = (folder / "held" / "observer.db").stat().st_size
            async with running_writer(place, url) as writer:
                plan = _plan(place, url)
                await _measure(writer, place, rate, _for_seconds(_WARM_UP_S))
                found = [
                    await _round(writer, place, plan, rate, partial(_numbered, report, number))
                    for number in range(1, rounds + 1)
                ]
    finally:
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(folder / "held", ignore_errors=True)
    alone_ms = statistics.median(each.alone.p99_ms for each in found)
    beside_ms = statistics.median(each.beside.p99_ms for each in found)
    return BackupResult(this_machine(folder), held, size, rate, found, alone_ms, beside_ms, beside_ms / alone_ms)


def _numbered(report: ReportProgress, number: int, text: str) -> None:
    report(f"round {number}, {text}")


def _hold(url: str, held: int) -> None:
    from tests.bench.held import held_days, load  # the columns' library, which other benchmarks need not have

    load(url, (("trades", rows) for rows in held_days(held, len(SYMBOLS))))


def _plan(place: Path, url: str) -> Plan:
    settings = load_settings(place / "observer.toml")
    return plan_of(BackupSettings(manual_kept=1), settings.run, settings.instance, url, None)


async def _round(writer: RunningWriter, place: Path, plan: Plan, rate: float, report: ReportProgress) -> BackupRound:
    report("beside a backup")
    began_s = time.monotonic()
    backup = asyncio.create_task(back_up_apart(plan, "manual", RealClock().now_ns()))
    try:
        beside = await _measure(writer, place, rate, lambda: not backup.done())
        made = await backup
    finally:
        backup.cancel()
    if made.failures:
        raise BenchError(f"the backup failed: {'; '.join(made.failures)}")
    backup_s = time.monotonic() - began_s
    report("alone")
    return BackupRound(backup_s, beside, await _measure(writer, place, rate, _for_seconds(backup_s)))


def _for_seconds(seconds: float) -> Callable[[], bool]:
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() < end_s


async def _measure(writer: RunningWriter, place: Path, rate: float, goes_on: Callable[[], bool]) -> Spread:
    outbox = TimedOutbox(place / "outbox", "source", uuid.uuid4().hex)
    async with delivering(outbox, writer.endpoints.ingest) as producer:
        await publish(producer, outbox, rate, lambda _number: goes_on())
        if not await producer.drain(_DRAIN_S):
            raise BenchError(f"{producer.unacknowledged} events were not acknowledged within {_DRAIN_S:g} s")
    pairs = zip(outbox.published_ns, outbox.acknowledged_ns, strict=True)
    return spread([known_ns - began_ns for began_ns, known_ns in pairs])
