"""How much memory the running system has while it idles: each process, and all together.

RSS counts a page in every process that has it, so its sum counts shared pages (the interpreter, the libraries' code)
several times; PSS counts such a page by its share, and its sum is what the machine gives to the system.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from observer.bench.machine import Machine, this_machine
from observer.bench.path import Tell
from observer.bench.system import running_system

SUPERVISOR: Final = "supervisor"
PRACTICE_ONLY: Final = "simulator"  # stands for the broker; no part of the system that the goal is about
_IDLE_AT: Final = (7, 30)  # before the day's first phase, so that nobody has anything to do
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


async def measure_footprint(folder: Path, tell: Tell) -> FootprintResult:
    """Start the system in `folder`, let it settle, and look.

    Raises:
        BenchError: it did not come up.
    """
    tell("starting the system")
    async with running_system(folder / "run", *_IDLE_AT, speed=1.0) as system:
        tell("waiting until it idles")
        await asyncio.sleep(_SETTLE_S)
        pids = {name: process.pid for name, process in (await system.processes()).items()}
        sizes = [_size(name, pid) for name, pid in {SUPERVISOR: system.pid, **pids}.items() if pid]
    counted = [size for size in sizes if size.process != PRACTICE_ONLY]
    return FootprintResult(
        machine=this_machine(folder),
        processes=sizes,
        rss_bytes=sum(size.rss_bytes for size in counted),
        pss_bytes=sum(size.pss_bytes for size in counted),
    )


def _size(name: str, pid: int) -> ProcessSize:
    memory = psutil.Process(pid).memory_full_info()
    return ProcessSize(name, memory.rss, memory.pss, memory.uss)
