"""From a gap's detection to its recovered rows in the database: in the running system, at the market's own pace.

Unreadable frames, in scripted bursts of the simulated broker, cause the gaps: the next trade of a symbol shows the
missing range. A span begins with the detection (`detected_ns`) and ends when this process receives the recovery from
the feed, after the commit of the rows: an upper bound. The clock is not scaled, as the broker's rate limit is part of
the result.

Beside a tape, that process is on, may use the whole limit and has missing trades to ask for: the bursts begin when it
has asked for a while.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec
import psutil

from bus.events import GapDetected, GapRecovered, GapUnrecoverable, TapePage, Trade
from bus.feed import FeedSubscriber
from observer.bench.child import BenchError
from observer.bench.machine import Machine, cpu_s, this_machine
from observer.bench.path import ReportProgress
from observer.bench.system import RunningSystem, running_system
from observer.config import load_settings

_BEGINS_AT: Final = (9, 31)  # Track B streams
_TRADES_TIMES: Final = 10.0  # a busy market: every symbol trades within seconds after a burst
_STREAMING_S: Final = 60.0
_SHARE: Final = 0.3  # of the frames in a burst
_LATER_TRADES_S: Final = 5.0
_SETTLED_S: Final = 30.0
_TAPE_PAGES: Final = 100
_TAPE_S: Final = 900.0  # with the next sweep and its evaluation
_POLL_S: Final = 0.05


class TapeBeside(msgspec.Struct, frozen=True):
    """The tape's process during the bursts: its calls a second, and milliseconds of processor time each."""

    calls_per_second: float
    cpu_ms_per_call: float


class RecoveryResult(msgspec.Struct, frozen=True):
    """The result of `observer bench recovery`: spans in machine milliseconds from detection to the received commit."""

    machine: Machine
    bursts: int
    gaps: int
    recovered: int
    complete: int
    p50_ms: float
    p95_ms: float
    slowest_ms: float
    tape: TapeBeside | None = None


class _Received:
    """The events received from the feed."""

    def __init__(self) -> None:
        self.trades = 0
        self.detected_ns: dict[str, int] = {}
        self.spans_ms: dict[str, float] = {}
        self.complete = 0
        self.lost = 0
        self.tape_pages = 0

    @property
    def open(self) -> int:
        return len(self.detected_ns) - len(self.spans_ms) - self.lost


class _TapeMeter:
    """Counts the tape's calls and processor time from now on."""

    def __init__(self, process: psutil.Process, received: _Received) -> None:
        self._process, self._received = process, received
        self._calls, self._used_s, self._began_s = received.tape_pages, cpu_s(process), time.monotonic()

    @classmethod
    async def of(cls, system: RunningSystem, received: _Received) -> "_TapeMeter":
        """That of the system's tape."""
        return cls(psutil.Process((await system.processes())["tape"].pid), received)

    def measured(self) -> TapeBeside:
        """What it used until now."""
        calls = self._received.tape_pages - self._calls
        used_s = cpu_s(self._process) - self._used_s
        return TapeBeside(calls / (time.monotonic() - self._began_s), 1_000 * used_s / max(1, calls))


async def measure_recovery(
    folder: Path, bursts: int, burst_s: float, report: ReportProgress, *, beside_tape: bool = False
) -> RecoveryResult:
    """Run the system in `folder`, break frames of its stream in the given number and length of bursts, and listen.
    `beside_tape`: with a tape at work.

    Raises:
        BenchError: it did not come up, the bursts caused no gap, or gaps stayed open.
    """
    report("starting the system; the broker makes its day first")
    market = {"trades_times": _TRADES_TIMES, "drops": []}
    sections = {"tape": {"share_of_limit": 1.0}} if beside_tape else {}
    async with running_system(folder / "run", *_BEGINS_AT, speed=1.0, market=market, sections=sections) as system:
        feed = FeedSubscriber(system.feed, [Trade, GapDetected, GapRecovered, GapUnrecoverable, TapePage])
        received = _Received()
        listening = asyncio.create_task(_listen(feed, system, received))
        try:
            await _until(lambda: received.trades > 0, _STREAMING_S, "a trade is streamed")
            if beside_tape:
                report("waiting for the tape")
                await _until(lambda: received.tape_pages > _TAPE_PAGES, _TAPE_S, "the tape asks")
            tape = await _TapeMeter.of(system, received) if beside_tape else None
            for number in range(1, bursts + 1):
                report(f"burst {number}/{bursts}")
                await _spoil_and_settle(folder, burst_s, received)
            return _result(folder, bursts, received, None if tape is None else tape.measured())
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            feed.close()


async def _listen(feed: FeedSubscriber, system: RunningSystem, received: _Received) -> None:
    async for event in feed:
        match event:
            case Trade():
                received.trades += 1
            case GapDetected():
                received.detected_ns[event.gap_id] = event.detected_ns
            case GapRecovered() if event.gap_id in received.detected_ns:
                received.spans_ms[event.gap_id] = (system.clock.now_ns() - received.detected_ns[event.gap_id]) / 1e6
                received.complete += event.complete
            case GapUnrecoverable():
                received.lost += 1
            case TapePage():
                received.tape_pages += 1
            case _:
                pass


async def _spoil_and_settle(folder: Path, for_s: float, received: _Received) -> None:
    """One burst, its gaps, and their ends."""
    before = len(received.detected_ns)
    await _spoil(folder, for_s)
    await _until(lambda: len(received.detected_ns) > before, _STREAMING_S, "gaps come of the burst")
    await asyncio.sleep(_LATER_TRADES_S)  # including symbols that trade later
    await _until(lambda: received.open == 0, _SETTLED_S, "every gap is closed")


async def _spoil(folder: Path, for_s: float) -> None:
    settings = load_settings(folder / "run" / "observer.toml")
    async with httpx.AsyncClient(timeout=10.0) as client:
        fault = {"kind": "malformed", "for_s": for_s, "share": _SHARE}
        answer = await client.post(f"{settings.broker.rest_url}/simulator/faults", json=fault)
    if answer.is_error:
        raise BenchError(f"the broker refuses: {answer.text}")


async def _until(condition: Callable[[], bool], deadline_s: float, what: str) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end_s:
            raise BenchError(f"not within {deadline_s:g} s: {what}")
        await asyncio.sleep(_POLL_S)


def _result(folder: Path, bursts: int, received: _Received, tape: TapeBeside | None) -> RecoveryResult:
    spans_ms = sorted(received.spans_ms.values())
    if not spans_ms:
        raise BenchError("no gap came of the bursts")
    return RecoveryResult(
        machine=this_machine(folder),
        bursts=bursts,
        gaps=len(received.detected_ns),
        recovered=len(spans_ms),
        complete=received.complete,
        p50_ms=_quantile(spans_ms, 0.5),
        p95_ms=_quantile(spans_ms, 0.95),
        slowest_ms=spans_ms[-1],
        tape=tape,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
