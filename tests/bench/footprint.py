"""The memory of the idle system: each process, and all together.

RSS counts a shared page in every process, so its sum counts shared pages (the interpreter, the libraries' code) several
times; PSS divides such a page among its processes, and its sum is the memory that the machine gives to the system.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.system import running_system

SUPERVISOR: Final = "supervisor"
ZYGOTE: Final = "zygote"
DEMO_ONLY: Final = "simulator"  # stands for the broker; not part of the measured system
_IDLE_AT: Final = (7, 30)  # before the day's first phase, so that every process idles
_SETTLE_S: Final = 5.0


class ProcessSize(msgspec.Struct, frozen=True):
    """One process's memory."""

    process: str
    rss_bytes: int
    pss_bytes: int
    own_bytes: int


class FootprintResult(msgspec.Struct, frozen=True):
    """All processes, and the sums without the simulated broker."""

    machine: Machine
    processes: Sequence[ProcessSize]
    rss_bytes: int
    pss_bytes: int


async def measure_footprint(folder: Path, report: ReportProgress) -> FootprintResult:
    """Start the system in `folder`, let it settle, and measure.

    Raises:
        BenchError: it did not come up.
    """
    report("starting the system")
    async with running_system(folder / "run", *_IDLE_AT, speed=1.0) as system:
        report("waiting until it idles")
        await asyncio.sleep(_SETTLE_S)
        pids = {name: process.pid for name, process in (await system.processes()).items()}
        children = psutil.Process(system.pid).children()
        [pids[ZYGOTE]] = [child.pid for child in children if child.pid not in pids.values()]  # it starts no other
        sizes = [_size(name, pid) for name, pid in {SUPERVISOR: system.pid, **pids}.items() if pid]
    counted = [size for size in sizes if size.process != DEMO_ONLY]
    return FootprintResult(
        machine=this_machine(folder),
        processes=sizes,
        rss_bytes=sum(size.rss_bytes for size in counted),
        pss_bytes=sum(size.pss_bytes for size in counted),
    )


def _size(name: str, pid: int) -> ProcessSize:
    memory = psutil.Process(pid).memory_full_info()
    return ProcessSize(name, memory.rss, memory.pss, memory.uss)
