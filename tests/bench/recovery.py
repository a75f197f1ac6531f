"""From a gap's detection to its recovered rows in the database: in the running system, at the market's own pace.

Unreadable frames, in scripted bursts of the simulated broker, cause the gaps: the next trade of a symbol shows the
missing range. A span begins with the detection (`detected_ns`) and ends when this process receives the recovery from
the feed, after the commit of the rows: an upper bound. The clock is not scaled, as the broker's rate limit is part of
the result.

Beside a tape, each round has its bursts twice in the same system: while the tape's process is stopped, and while it
asks at the whole limit. Which of both comes first alternates. It has trades to ask for from the first sweep on.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec
import psutil

from bus.commands import Start, Stop
from bus.events import GapDetected, GapRecovered, GapUnrecoverable, TapePage, Trade
from bus.feed import FeedSubscriber
from observer.system.config import load_settings
from tests.bench.child import BenchError
from tests.bench.machine import Machine, cpu_s, this_machine
from tests.bench.path import ReportProgress
from tests.bench.system import RunningSystem, running_system

_BEGINS_AT: Final = (9, 31)  # Track B streams
_BEGINS_BESIDE_TAPE: Final = (9, 39)  # a minute before a sweep: the tape asks up to evaluated volumes
_TRADES_TIMES: Final = 5.0  # a busy market: every symbol trades within seconds after a burst
_STREAMING_S: Final = 60.0
_SHARE: Final = 0.3  # of the frames in a burst
_LATER_TRADES_S: Final = 5.0
_SETTLED_S: Final = 120.0  # a gap in a crowded second is tried five times, then filled with minute bars
_TAPE_PAGES: Final = 100
_TAPE_S: Final = 180.0  # with the next sweep and its evaluation
_POLL_S: Final = 0.05
_SWITCH_S: Final = 30.0
_TAPE: Final = "tape"


class Spans(msgspec.Struct, frozen=True):
    """Machine milliseconds from detection to the received commit: p50 and p95 are medians of the rounds."""

    gaps: int
    recovered: int
    complete: int
    p50_ms: float
    p95_ms: float
    slowest_ms: float


class TapeBeside(msgspec.Struct, frozen=True):
    """The tape's process during its bursts: its calls a second, and milliseconds of processor time each."""

    calls_per_second: float
    cpu_ms_per_call: float


class RecoveryResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench recovery`; without a tape beside it the last three are None."""

    machine: Machine
    rounds: int
    bursts: int
    alone: Spans
    beside_tape: Spans | None
    p95_ratio: float | None
    tape: TapeBeside | None


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


class _Side:
    """The rounds with or without a tape."""

    def __init__(self) -> None:
        self.rounds_ms: list[Sequence[float]] = []
        self.gaps = 0
        self.complete = 0
        self.calls = 0
        self.cpu_s = 0.0
        self.lasted_s = 0.0

    def spans(self) -> Spans:
        """The figures of all rounds.

        Raises:
            BenchError: a round had no gap.
        """
        if not all(self.rounds_ms):
            raise BenchError("no gap came of the bursts")
        return Spans(
            gaps=self.gaps,
            recovered=sum(map(len, self.rounds_ms)),
            complete=self.complete,
            p50_ms=statistics.median(_quantile(each, 0.5) for each in self.rounds_ms),
            p95_ms=statistics.median(_quantile(each, 0.95) for each in self.rounds_ms),
            slowest_ms=max(each[-1] for each in self.rounds_ms),
        )


async def measure_recovery(
    folder: Path, rounds: int, bursts: int, burst_s: float, report: ReportProgress, *, beside_tape: bool = False
) -> RecoveryResult:
    """Run the system in `folder`, break frames of its stream in the given number and length of bursts a round, and
    listen. `beside_tape`: each round also with a tape at work.

    Raises:
        BenchError: it did not come up, the bursts caused no gap, or gaps stayed open.
    """
    report("starting the system; the broker makes its day first")
    market = {"trades_times": _TRADES_TIMES, "drops": []}
    sections = {"tape": {"share_of_limit": 1.0}} if beside_tape else {}
    begins_at = _BEGINS_BESIDE_TAPE if beside_tape else _BEGINS_AT
    async with running_system(folder / "run", *begins_at, speed=1.0, market=market, sections=sections) as system:
        feed = FeedSubscriber(system.feed, [Trade, GapDetected, GapRecovered, GapUnrecoverable, TapePage])
        received = _Received()
        listening = asyncio.create_task(_listen(feed, system, received))
        sides = {False: _Side(), True: _Side()}
        try:
            await _until(lambda: received.trades > 0, _STREAMING_S, "a trade is streamed")
            is_beside = beside_tape
            if beside_tape:
                report("waiting for the tape")
                await _asks(received)
            for number in range(1, rounds + 1):
                for turn in range(2 if beside_tape else 1):
                    if turn:
                        is_beside = not is_beside
                        await _switch_tape(system, received, is_on=is_beside)
                    report(f"round {number}/{rounds}{' beside the tape' * is_beside}")
                    await _round(folder, bursts, burst_s, system, received, sides[is_beside], has_tape=is_beside)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            feed.close()
    return _result(folder, rounds, bursts, sides[False].spans(), sides[True] if beside_tape else None)


async def _asks(received: _Received) -> None:
    """The tape is at work."""
    before = received.tape_pages
    await _until(lambda: received.tape_pages > before + _TAPE_PAGES, _TAPE_S, "the tape asks")


async def _switch_tape(system: RunningSystem, received: _Received, *, is_on: bool) -> None:
    """Start the tape's process, and wait until it asks; or stop it."""
    await system.control.request(Start(_TAPE) if is_on else Stop(_TAPE), _SWITCH_S)
    state = "RUNNING" if is_on else "STOPPED"
    await system.until(lambda processes: bool(processes) and processes[_TAPE].state == state, f"the tape is {state}")
    if is_on:
        await _asks(received)


async def _round(
    folder: Path,
    bursts: int,
    burst_s: float,
    system: RunningSystem,
    received: _Received,
    side: _Side,
    *,
    has_tape: bool,
) -> None:
    """So many bursts, one after the other."""
    process = psutil.Process((await system.processes())[_TAPE].pid) if has_tape else None
    gaps, spans, complete, pages = (
        len(received.detected_ns), len(received.spans_ms), received.complete, received.tape_pages
    )  # fmt: skip
    began_s, used_s = time.monotonic(), 0.0 if process is None else cpu_s(process)
    for _ in range(bursts):
        await _spoil_and_settle(folder, burst_s, received)
    side.lasted_s += time.monotonic() - began_s
    side.cpu_s += 0.0 if process is None else cpu_s(process) - used_s
    side.calls += received.tape_pages - pages
    side.gaps += len(received.detected_ns) - gaps
    side.complete += received.complete - complete
    side.rounds_ms.append(sorted(list(received.spans_ms.values())[spans:]))


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


def _result(folder: Path, rounds: int, bursts: int, alone: Spans, tape: _Side | None) -> RecoveryResult:
    beside = None if tape is None else tape.spans()
    return RecoveryResult(
        machine=this_machine(folder),
        rounds=rounds,
        bursts=bursts,
        alone=alone,
        beside_tape=beside,
        p95_ratio=None if beside is None else beside.p95_ms / alone.p95_ms,
        tape=None if tape is None else TapeBeside(tape.calls / tape.lasted_s, 1_000 * tape.cpu_s / max(1, tape.calls)),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
