"""How many trades a second become durable, beside the rate of the database's own library alone.

Each round measures the bare limit and then the whole path with each number of producers, on the same disk, one after
the other, so that a slow spell of the machine affects all of them. The figures are medians of the rounds. With rows
held beforehand all rounds use one database, which grows by the measured trades; without, each has an empty one.
"""

import asyncio
import shutil
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from bus.ingest import GROUP_EVENTS_MAX
from tests.bench.bare import BareRound, measure_bare
from tests.bench.machine import Machine, this_machine
from tests.bench.path import MemoryStep, PathRound, ReportProgress, measure_path
from tests.bench.scratch import scratch_database
from tests.bench.sizes import PartSize, sizes_of_trades
from tests.bench.trades import SYMBOLS


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
    """Trades a second durable in a database that held so many before: the bare limit, and the whole path beside it.
    `sizes` are the bytes of a held trade; empty without held rows.
    """

    machine: Machine
    database: str
    held: int
    events: int
    commit_events_max: int
    bare_events_per_s: float
    bare_rounds_events_per_s: Sequence[float]
    bare_cpu_us_per_event: float
    paths: Sequence[PathResult]
    sizes: Sequence[PartSize] = ()


async def measure_ingest(
    folder: Path,
    events: int,
    producers: Sequence[int],
    rounds: int,
    report: ReportProgress,
    *,
    server: str | None = None,
    held: int = 0,
) -> IngestResult:
    """Measure with so many trades a round in folders inside `folder`, which are removed again, into SQLite, or into a
    schema of its own in the PostgreSQL database `server`.

    Raises:
        BenchError: not everything that was published became durable.
        StoreError: the server does not answer.
    """
    bare: list[BareRound] = []
    paths: dict[int, list[PathRound]] = {count: [] for count in producers}
    with ExitStack() as stack:
        databases = _Databases(folder, server)
        sizes: Sequence[PartSize] = ()
        if held:
            report(f"putting {held:,} trades there")
            url = databases.kept = stack.enter_context(scratch_database(folder / "held", server))
            sizes = await asyncio.to_thread(_hold, url, held)
        for number in range(1, rounds + 1):
            report(f"round {number}/{rounds}, the database's library alone")
            async with databases.one() as url:
                bare.append(await asyncio.to_thread(measure_bare, url, events, GROUP_EVENTS_MAX))
            for count, results in paths.items():
                async with databases.one() as url:
                    name = f"round {number}/{rounds}"
                    results.append(await _path_round(folder / "path", url, events, count, name, report))
    limit = statistics.median(each.events_per_s for each in bare)
    return IngestResult(
        machine=this_machine(folder),
        database="SQLite" if server is None else "PostgreSQL",
        held=held,
        events=events,
        commit_events_max=GROUP_EVENTS_MAX,
        bare_events_per_s=limit,
        bare_rounds_events_per_s=[each.events_per_s for each in bare],
        bare_cpu_us_per_event=statistics.median(each.cpu_us_per_event for each in bare),
        paths=[_summary(count, results, limit) for count, results in paths.items()],
        sizes=sizes,
    )


class _Databases:
    """The databases of the measurements: a new one each, or always the same that holds rows."""

    def __init__(self, folder: Path, server: str | None) -> None:
        self._folder = folder
        self._server = server
        self.kept: str | None = None

    @asynccontextmanager
    async def one(self) -> AsyncIterator[str]:
        """The URL of the next measurement's database."""
        if self.kept is not None:
            yield self.kept
            return
        folder = self._folder / "empty"
        try:
            with scratch_database(folder, self._server) as url:
                yield url
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _hold(url: str, held: int) -> Sequence[PartSize]:
    from tests.bench.held import held_days, load  # the columns' library, which a run without held rows need not have

    load(url, (("trades", rows) for rows in held_days(held, len(SYMBOLS))))
    return sizes_of_trades(url, held)


async def _path_round(
    folder: Path, url: str, events: int, producers: int, round_name: str, report: ReportProgress
) -> PathRound:
    try:
        return await measure_path(
            folder, url, events, producers, lambda progress: report(f"{round_name}, producers: {producers}, {progress}")
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
