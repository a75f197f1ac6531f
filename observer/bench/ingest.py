"""How many trades a second become durable, beside the rate of SQLite alone.

Each round measures the bare limit and then the whole path with each number of producers, on the same disk, one after
the other, so that a slow spell of the machine affects all of them. The figures are medians of the rounds.
"""

import asyncio
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bus.ingest import GROUP_EVENTS_MAX
from observer.bench.bare import BareRound, measure_bare
from observer.bench.machine import Machine, this_machine
from observer.bench.path import MemoryStep, PathRound, ReportProgress, measure_path


class PathResult(msgspec.Struct, frozen=True):
    """The whole path with so many producers: medians of the rounds, and the rate of each round."""

    producers: int
    events_per_s: float
    ratio_to_bare: float
    rounds_events_per_s: Sequence[float]
    producers_cpu_us_per_event: float
    writer_cpu_us_per_event: float
    producer_rss_bytes_max: int
    writer_rss: Sequence[MemoryStep]


class IngestResult(msgspec.Struct, frozen=True):
    """Trades a second durable: the bare limit, and the whole path beside it."""

    machine: Machine
    events: int
    commit_events_max: int
    bare_events_per_s: float
    bare_rounds_events_per_s: Sequence[float]
    bare_cpu_us_per_event: float
    paths: Sequence[PathResult]


async def measure_ingest(
    folder: Path, events: int, producers: Sequence[int], rounds: int, report: ReportProgress
) -> IngestResult:
    """Measure with so many trades a round in folders inside `folder`, which are removed again.

    Raises:
        BenchError: not everything that was published became durable.
    """
    bare: list[BareRound] = []
    paths: dict[int, list[PathRound]] = {count: [] for count in producers}
    for number in range(1, rounds + 1):
        report(f"round {number}/{rounds}, sqlite3 alone")
        bare.append(await asyncio.to_thread(_bare_round, folder / "bare", events))
        for count, results in paths.items():
            results.append(await _path_round(folder / "path", events, count, f"round {number}/{rounds}", report))
    limit = statistics.median(each.events_per_s for each in bare)
    return IngestResult(
        machine=this_machine(folder),
        events=events,
        commit_events_max=GROUP_EVENTS_MAX,
        bare_events_per_s=limit,
        bare_rounds_events_per_s=[each.events_per_s for each in bare],
        bare_cpu_us_per_event=statistics.median(each.cpu_us_per_event for each in bare),
        paths=[_summary(count, results, limit) for count, results in paths.items()],
    )


def _bare_round(folder: Path, events: int) -> BareRound:
    folder.mkdir(mode=0o700)
    try:
        return measure_bare(folder, events, GROUP_EVENTS_MAX)
    finally:
        shutil.rmtree(folder)


async def _path_round(folder: Path, events: int, producers: int, round_name: str, report: ReportProgress) -> PathRound:
    try:
        return await measure_path(
            folder, events, producers, lambda progress: report(f"{round_name}, producers: {producers}, {progress}")
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _summary(producers: int, rounds: Sequence[PathRound], bare_events_per_s: float) -> PathResult:
    events_per_s = statistics.median(each.events_per_s for each in rounds)
    return PathResult(
        producers=producers,
        events_per_s=events_per_s,
        ratio_to_bare=events_per_s / bare_events_per_s,
        rounds_events_per_s=[each.events_per_s for each in rounds],
        producers_cpu_us_per_event=statistics.median(each.producers_cpu_us_per_event for each in rounds),
        writer_cpu_us_per_event=statistics.median(each.writer_cpu_us_per_event for each in rounds),
        producer_rss_bytes_max=max(each.producer_rss_bytes_max for each in rounds),
        writer_rss=rounds[-1].writer_rss,
    )
