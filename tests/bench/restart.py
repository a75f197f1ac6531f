"""The time from SIGKILL of a worker to its next event in the database.

The worker is Track B while it streams: killed from outside, started again by the supervisor after its back-off, it
imports, opens its outbox, resumes its slots, connects to the broker and publishes. A span ends when the database, read
from outside, has the first event of the new process's stream. Between two kills the worker is stopped and started by
order, which resets the supervisor's back-off: each kill meets the first back-off, as a single crash does.
"""

import asyncio
import contextlib
import os
import signal
import sqlite3
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.commands import Start, Stop
from tests.bench.child import BenchError
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.system import ANSWER_S, RunningSystem, all_run, running_system

WORKER: Final = "track-b"
_STREAMS_AT: Final = (9, 31)
_SPEED: Final = 60.0
_POLL_S: Final = 0.003  # the precision of a span
_DEADLINE_S: Final = 30.0
_STREAMS_QUERY: Final = "SELECT uid FROM streams WHERE producer = ? AND high_water_mark > 0"


class RestartResult(msgspec.Struct, frozen=True):
    """From SIGKILL to the next committed event, in seconds; the supervisor's own part lasts until the end of its
    back-off.
    """

    machine: Machine
    worker: str
    median_s: float
    spans_s: Sequence[float]


async def measure_restart(folder: Path, kills: int, pause_s: float, report: ReportProgress) -> RestartResult:
    """Kill the worker the given number of times, each a pause after its return.

    Raises:
        BenchError: the system did not come up, or the worker did not come back.
    """
    report("starting the system")
    async with running_system(folder / "run", *_STREAMS_AT, speed=_SPEED) as system:
        await _first_event(system.database, set())
        spans_s: list[float] = []
        for number in range(1, kills + 1):
            report(f"kill {number}/{kills}")
            await asyncio.sleep(pause_s)
            spans_s.append(await _kill(system))
            await _renew(system)
    return RestartResult(this_machine(folder), WORKER, statistics.median(spans_s), spans_s)


async def _kill(system: RunningSystem) -> float:
    processes = await system.until(all_run, f"{WORKER} runs again")
    before = _streams(system.database)
    pid = processes[WORKER].pid
    assert pid is not None, "it runs"
    began_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await _first_event(system.database, before)
    return time.monotonic() - began_s


async def _renew(system: RunningSystem) -> None:
    await system.control.request(Stop(WORKER), ANSWER_S)
    await system.until(lambda processes: processes[WORKER].state == "STOPPED", f"{WORKER} is stopped")
    await system.control.request(Start(WORKER), ANSWER_S)
    await system.until(all_run, f"{WORKER} runs again")


async def _first_event(database: Path, before: set[str]) -> None:
    """Poll until the worker has a new stream with an event."""
    end_s = time.monotonic() + _DEADLINE_S
    while not _streams(database) - before:
        if time.monotonic() > end_s:
            raise BenchError(f"{WORKER} stored nothing within {_DEADLINE_S:g} s")
        await asyncio.sleep(_POLL_S)


def _streams(database: Path) -> set[str]:
    """The worker's streams that have events; empty while the database is being created."""
    address = f"file:{database}?mode=ro"
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(address, uri=True)) as connection,
    ):
        return {uid for (uid,) in connection.execute(_STREAMS_QUERY, (WORKER,))}
    return set()
