"""The cost of gap detection per streamed trade. No process, no network, no disk."""

import time
from pathlib import Path
from statistics import median

import msgspec

from bus.events import Trade
from observer.gaps.detector import GapDetector
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.trades import SYMBOLS, trade

_GAP_EVERY = 1_000  # trades; each such gap is detected and reported


class GapsResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench gaps`; nanoseconds of processor time a trade, the median round."""

    machine: Machine
    trades: int
    gaps: int
    rounds: int
    check_ns: float
    loop_ns: float


async def measure_gaps(folder: Path, trades: int, rounds: int, report: ReportProgress) -> GapsResult:
    """Check the same trades for gaps `rounds` times, beside a loop without checks. Writes nothing to `folder`."""
    report("trades")
    kept = [_whole(trade(number)) for number in range(trades) if number % _GAP_EVERY]
    check_ns, loop_ns, gaps = [], [], 0
    for number in range(rounds):
        report(f"round {number + 1}")
        detector = GapDetector()
        for symbol in SYMBOLS:
            detector.start(symbol)
        observe = detector.observe
        before_ns = time.process_time_ns()
        reported = [observe(each) for each in kept]
        check_ns.append((time.process_time_ns() - before_ns) / len(kept))
        before_ns = time.process_time_ns()
        passed = [each for each in kept]  # noqa: C416 - the same loop without the check
        loop_ns.append((time.process_time_ns() - before_ns) / len(passed))
        gaps = sum(not isinstance(outcome, str) for outcome in reported)
    return GapsResult(this_machine(folder), len(kept), gaps, rounds, median(check_ns), median(loop_ns))


def _whole(streamed: Trade) -> Trade:
    """With the volume by which the symbol's day grows from trade to trade."""
    return msgspec.structs.replace(streamed, volume=10.0)
