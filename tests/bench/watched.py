"""What the page, the exporter and their clients cost the trades: the same stream with and without them, in turn."""

import asyncio
import contextlib
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from tests.bench.child import BenchError
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.stream import StreamResult, measure_stream
from tests.bench.watchers import Watched


class WatchedResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench watched`: a stream's figures of each round without and with what watches it.

    `p99_ratio` is the median of the 99th percentiles with, divided by that without.
    """

    machine: Machine
    clients: int
    alone: tuple[StreamResult, ...]
    beside: tuple[StreamResult, ...]
    watched: tuple[Watched, ...]
    p99_ratio: float


async def measure_watched(
    folder: Path, rate: int, seconds: float, clients: int, rounds: int, report: ReportProgress
) -> WatchedResult:
    """Run the system `rounds` times without page and exporter, and as often with both and `clients` of the page.

    Raises:
        BenchError: it did not come up, no trade came, or a client received nothing.
    """
    alone: list[StreamResult] = []
    beside: list[StreamResult] = []
    found: list[Watched] = []
    for number in range(1, rounds + 1):
        alone.append(
            await measure_stream(_new(folder / f"alone-{number}"), rate, seconds, _numbered(report, number, "alone"))
        )
        page_port, metrics_port = _free_ports()
        sections = {"web": {"port": page_port}, "metrics": {"port": metrics_port}}
        watching = _watching(page_port, metrics_port, clients, found)
        named = _numbered(report, number, f"with {clients} clients")
        beside.append(await measure_stream(_new(folder / f"beside-{number}"), rate, seconds, named, sections, watching))
    p99_ratio = statistics.median(each.p99_ms for each in beside) / statistics.median(each.p99_ms for each in alone)
    return WatchedResult(this_machine(folder), clients, tuple(alone), tuple(beside), tuple(found), p99_ratio)


def _numbered(report: ReportProgress, number: int, what: str) -> ReportProgress:
    return lambda text: report(f"round {number}, {what}: {text}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _watching(
    page_port: int, metrics_port: int, clients: int, found: list[Watched]
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """A block during which the clients watch; afterwards `found` has one more."""

    @contextlib.asynccontextmanager
    async def block() -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.watchers", str(page_port), str(metrics_port), str(clients)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield
        finally:
            out, _ = await process.communicate(b"")  # closes its stdin, and it ends
        watched = msgspec.json.decode(out, type=Watched)
        if watched.states < clients or not watched.scrapes:
            raise BenchError(f"the clients received {watched.states} states and {watched.scrapes} answers")
        found.append(watched)

    return block


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
