"""A whole market day of both venues at high speed: what each process takes of processor and memory, and the bytes that
the day leaves.

The day's work is what it is at any speed; what a process does by the machine's clock (heartbeats, keep-alives) happens
less often in a faster day, and is measured apart on the idle system.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bus.events import TradesConflated
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.demo.configuration import DAY, DemoConfiguration
from observer.demo.day import OUTBOXES, begins_at, universe_at
from observer.store.reader import StoreReader
from observer.store.tables import EVENT_TABLES
from tests.bench.footprint import DEMO_ONLY, SUPERVISOR, ZYGOTE
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.system import RunningSystem, running_system

_ENDS_AT: Final = (20, 11)  # after the last sweep, before the day's package
_SAMPLE_S: Final = 5.0


class ProcessDay(msgspec.Struct, frozen=True):
    """One process's day: its processor time, the largest memory of its own that a sample found (PSS), and the bytes of
    its journals, which are those of its outbox and of the archive.
    """

    process: str
    cpu_s: float
    pss_bytes_max: int
    journal_bytes: int = 0


class DayResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `python -m tests.bench day`. The sums are without the simulated broker; `database_bytes` are those
    of the day's rows in SQLite with their indexes and its write-ahead log, `journal_bytes` those of the outboxes and
    their archives; `begins` is the local time at which the clock starts, early enough for the universe.
    """

    machine: Machine
    accounts: int
    slots_most: int
    universe: int
    speed: float
    begins: str
    trades: int
    conflated_rows: int
    snapshots: int
    events: int
    processes: Sequence[ProcessDay]
    cpu_s: float
    pss_bytes_max: int
    database_bytes: int
    journal_bytes: int


class _Samples:
    """The largest memory and the latest processor time of each process."""

    def __init__(self) -> None:
        self.found: dict[str, ProcessDay] = {}
        self.pss_bytes_max = 0

    def take(self, pids: dict[str, int]) -> None:
        """Sample all processes."""
        together = 0
        for name, pid in pids.items():
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    pss_bytes, times = process.memory_full_info().pss, process.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it is being restarted: its next life is sampled
            before = self.found.get(name)
            most = pss_bytes if before is None else max(before.pss_bytes_max, pss_bytes)
            self.found[name] = ProcessDay(name, round(times.user + times.system, 2), most)
            together += 0 if name == DEMO_ONLY else pss_bytes
        self.pss_bytes_max = max(self.pss_bytes_max, together)


async def measure_day(folder: Path, accounts: int, symbols: int, speed: float, report: ReportProgress) -> DayResult:
    """Run the day in `folder` with so many accounts and made-up symbols, at so many market seconds a second.

    Raises:
        BenchError: the system did not come up.
    """
    begins = begins_at(speed, symbols, nxt=True)
    demo = DemoConfiguration(symbols=symbols, seed=7, accounts=accounts, universe_at=universe_at(begins), nxt=True)
    report("starting the system")
    samples = _Samples()
    async with running_system(folder / "run", *begins, speed=speed, demo=demo) as system:
        await _sampled(system, samples, report)
        url = f"sqlite:///{system.database}"
        counts = await asyncio.to_thread(_counted, url, local_ns(DAY, *_ENDS_AT))
        database_bytes = _bytes_of(system.database.parent.glob(f"{system.database.name}*"))
        outboxes = folder / "run" / "run" / OUTBOXES
        processes = [
            msgspec.structs.replace(each, journal_bytes=_bytes_of((outboxes / each.process).rglob("*.journal*")))
            for each in samples.found.values()
        ]
    return DayResult(
        machine=this_machine(folder),
        accounts=accounts,
        **msgspec.structs.asdict(counts),
        speed=speed,
        begins="{:02}:{:02}".format(*begins),
        processes=processes,
        cpu_s=round(sum(each.cpu_s for each in processes if each.process != DEMO_ONLY), 1),
        pss_bytes_max=samples.pss_bytes_max,
        database_bytes=database_bytes,
        journal_bytes=sum(each.journal_bytes for each in processes),
    )


async def _sampled(system: RunningSystem, samples: _Samples, report: ReportProgress) -> None:
    """Sample all processes until the day's end."""
    ends_ns = local_ns(DAY, *_ENDS_AT)
    while (left_ns := ends_ns - system.clock.now_ns()) > 0:
        report(f"{left_ns / NS_PER_S / 3600:.1f} market hours left")
        pids = {name: each.pid for name, each in (await system.processes()).items() if each.pid is not None}
        if pids:  # the supervisor answered
            samples.take({SUPERVISOR: system.pid, **_zygote(system.pid, pids), **pids})
        await asyncio.sleep(min(_SAMPLE_S, left_ns / NS_PER_S / system.clock.speed))


def _zygote(supervisor: int, pids: dict[str, int]) -> dict[str, int]:
    """The supervisor's child that is none of these processes; empty while it starts another one, or has two."""
    others = [child.pid for child in psutil.Process(supervisor).children() if child.pid not in pids.values()]
    return {ZYGOTE: others[0]} if len(others) == 1 else {}


class _Counts(msgspec.Struct, frozen=True):
    slots_most: int
    universe: int
    trades: int
    conflated_rows: int
    snapshots: int
    events: int


def _counted(url: str, ends_ns: int) -> _Counts:
    """The day's counts in the database, and the most slots that were held at once."""
    day = DAY.isoformat()
    with StoreReader(url) as reader:
        summary, rows = reader.day_summary(day), reader.row_counts()
        spans = [each for times in reader.stream_times(day, ends_ns).values() for each in times]
        return _Counts(
            slots_most=most_at_once([(each.from_ns, each.to_ns) for each in spans]),
            universe=summary.universe,
            trades=summary.trades + summary.recovered_trades,
            conflated_rows=rows[EVENT_TABLES[TradesConflated].name],
            snapshots=summary.snapshots,
            events=sum(rows.values()),
        )


def most_at_once(spans: Sequence[tuple[int, int]]) -> int:
    """How many of these half-open spans hold at once at most."""
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return max(accumulate((change for _, change in changes), initial=0))


def _bytes_of(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a segment was compressed since the folder was listed
            total += path.stat().st_size
    return total


def table(result: DayResult) -> Iterator[tuple[str, ...]]:
    """The result in lines, the headers first."""
    yield (f"a day of {result.slots_most} slots at once", "", "CPU s", "PSS MB at most", "journals MB")
    for each in result.processes:
        yield (each.process, f"{each.cpu_s:.1f}", f"{each.pss_bytes_max / 1e6:.0f}", f"{each.journal_bytes / 1e6:.1f}")
    together = f"{result.pss_bytes_max / 1e6:.0f}"
    yield (f"all but the {DEMO_ONLY}", f"{result.cpu_s:.1f}", together, f"{result.journal_bytes / 1e6:.1f}")
    yield ("accounts / lines in the universe", f"{result.accounts:,}", f"{result.universe:,}", "")
    yield ("trades / conflated rows", f"{result.trades:,}", f"{result.conflated_rows:,}", "")
    yield ("snapshots / all events", f"{result.snapshots:,}", f"{result.events:,}", "")
    yield ("database / journals, MB", f"{result.database_bytes / 1e6:.1f}", f"{result.journal_bytes / 1e6:.1f}", "")
