"""The whole path, once: producer processes -> outbox -> ZeroMQ -> the real core-writer -> commit -> acknowledgement."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from observer.store.engine import open_reader
from tests.bench.child import BenchError
from tests.bench.machine import cpu_s
from tests.bench.source import WARM_UP_EVENTS, Order, Report
from tests.bench.writer import RunningWriter, running_writer

if TYPE_CHECKING:
    from sqlalchemy import Engine

_MEMORY_STEPS: Final = 20  # so often the writer's memory is noted in one round
_POLL_S: Final = 0.2

ReportProgress = Callable[[str], None]
"""Called with a line of progress, to be displayed."""


class MemoryStep(msgspec.Struct, frozen=True):
    """The writer's memory when about so many events were stored."""

    events: int
    rss_bytes: int


class PathRound(msgspec.Struct, frozen=True):
    """One measurement: from the first publish of any producer to the last acknowledgement of any."""

    events_per_s: float
    producers_cpu_us_per_event: float
    writer_cpu_us_per_event: float
    producer_rss_bytes_max: int
    writer_rss: Sequence[MemoryStep]


async def measure_path(folder: Path, url: str, events: int, producers: int, show: ReportProgress) -> PathRound:
    """Measure in `folder`, which is made, into the database of this URL, which has the current schema.

    Raises:
        BenchError: not everything that was published is in the database.
    """
    async with running_writer(folder, url) as writer, contextlib.AsyncExitStack() as stack:
        database = stack.enter_context(_Database.opened(url))
        shares = [events // producers + (number < events % producers) for number in range(producers)]
        sources = [
            await stack.enter_async_context(_source(writer, folder, f"source-{number}", share))
            for number, share in enumerate(shares)
        ]
        watcher = _Watcher(writer, database, events, show)
        watching = asyncio.create_task(watcher.run())
        cpu_before_s = cpu_s(writer.process)
        reports = await asyncio.gather(*(_run(source) for source in sources))
        writer_cpu_s = cpu_s(writer.process) - cpu_before_s
        watching.cancel()
        watcher.check()
        database.require_trades(events + producers * WARM_UP_EVENTS)
    span_s = (max(report.ended_ns for report in reports) - min(report.began_ns for report in reports)) / 1e9
    return PathRound(
        events_per_s=events / span_s,
        producers_cpu_us_per_event=sum(report.cpu_s for report in reports) / events * 1e6,
        writer_cpu_us_per_event=writer_cpu_s / events * 1e6,
        producer_rss_bytes_max=max(report.rss_bytes_max for report in reports),
        writer_rss=watcher.steps,
    )


# --- the producers -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _source(
    writer: RunningWriter, folder: Path, name: str, events: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A producer that is connected and waits for the start signal; it ends when its stdin closes."""
    order = Order(name, str(folder / "outbox" / name), writer.endpoints.ingest, events)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.source", msgspec.json.encode(order).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await _line(process)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _run(source: asyncio.subprocess.Process) -> Report:
    assert source.stdin is not None, "it was started with a pipe"
    source.stdin.write(b"go\n")
    return msgspec.json.decode(await _line(source), type=Report)


async def _line(source: asyncio.subprocess.Process) -> bytes:
    assert source.stdout is not None, "it was started with a pipe"
    if line := await source.stdout.readline():
        return line
    raise BenchError(f"a producer ended with status {await source.wait()} before all of its events were durable")


# --- the writer ----------------------------------------------------------------------------------------------


class _Watcher:
    """Samples the writer from outside: its progress and its memory."""

    def __init__(self, writer: RunningWriter, database: "_Database", events: int, report: ReportProgress) -> None:
        self._writer = writer
        self._database = database
        self._events = events
        self._report = report
        self.steps: list[MemoryStep] = []

    async def run(self) -> None:
        """Note the memory at equal steps until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(_POLL_S)

    def check(self) -> None:
        """Record it if the next step is reached."""
        stored = self._database.stored()
        if stored * _MEMORY_STEPS >= self._events * len(self.steps):
            step = MemoryStep(stored, self._writer.rss_bytes)
            self.steps.append(step)
            self._report(f"{step.events:,} events, writer has {step.rss_bytes / 1e6:.0f} MB")


class _Database:
    """What came to the database since it was opened here: only streams that are newer than those that were there."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._last_stream = self._number("SELECT coalesce(max(id), 0) FROM streams")

    @classmethod
    @contextlib.contextmanager
    def opened(cls, url: str) -> Iterator["_Database"]:
        """Ask the database of this URL until the block ends."""
        engine = open_reader(url)
        try:
            yield cls(engine)
        finally:
            engine.dispose()

    def stored(self) -> int:
        """Events by the marks of their streams."""
        return self._number("SELECT coalesce(sum(high_water_mark), 0) FROM streams WHERE id > ", self._last_stream)

    def require_trades(self, expected: int) -> None:
        """Return if so many trades came.

        Raises:
            BenchError: it is another number.
        """
        rows = self._number("SELECT count(*) FROM trades WHERE stream > ", self._last_stream)
        if rows != expected:
            raise BenchError(f"{expected} trades were published and acknowledged, {rows} are in the database")

    def _number(self, query: str, behind: int | None = None) -> int:
        with self._engine.connect() as connection:
            return int(connection.exec_driver_sql(query + ("" if behind is None else str(behind))).scalar_one())
