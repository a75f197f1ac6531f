"""The rate of decoding trade frames, beside merely splitting the same bytes.

The frames follow a real one of 2026-09-22 (47 fields): as many symbols as an account streams, moving prices, volumes
and counts that add up, so that the parser's caches hit as often as in a market.
"""

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

import msgspec

from observer.brokers.broker import DEFAULT_BROKER, broker_named
from observer.brokers.kis.frames import parse_trades
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress

_SYMBOLS: Final = broker_named(DEFAULT_BROKER).slots
_FRAMES: Final = 1_000  # different ones; read again and again
_LOT: Final = 200  # frames between two checks at the clock: parser and split take turns, so both meet the same machine
_RECORD: Final = (
    "{symbol}^{hour}^{price}^2^3750^1.37^280395.69^283000^283500^276500^{ask}^{bid}^{volume}^{total}^3352130122500^{sells}"
    "^{buys}^3579^120.39^5217059^6280658^{aggressor}^0.53^53.70^090023^5^-5250^090048^5^-5750^135824^2^1250^20260922^20^N"
    "^47588^70626^794823^496479^0.20^17123443^69.82^0^^283000^2"
)


class FramesOfSize(msgspec.Struct, frozen=True):
    """Frames of so many records each: medians of all rounds."""

    records_per_frame: int
    records_per_s: float
    ns_per_record: float
    bare_ns_per_record: float
    ratio_to_bare: float


class FramesResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench frames`."""

    machine: Machine
    records: int
    rounds: int
    sizes: Sequence[FramesOfSize]


async def measure_frames(
    folder: Path, records: int, sizes: Sequence[int], rounds: int, report: ReportProgress
) -> FramesResult:
    """Parse about so many records in each round, in frames of each size. Nothing is written to `folder`."""
    measured = []
    for size in sizes:
        report(f"frames of {size}")
        measured.append(_measure(size, records, rounds))
    return FramesResult(this_machine(folder), records, rounds, measured)


def made_frames(records_per_frame: int, frames: int) -> list[bytes]:
    """So many frames of a made-up market, the same at every call."""
    rng = Random(20260922)
    prices = [rng.randrange(2_000, 300_000, 50) for _ in range(_SYMBOLS)]
    totals, trades = [1_000_000] * _SYMBOLS, [40_000] * _SYMBOLS
    made = []
    for number in range(frames):
        hour = f"14{number // 60 % 60:02}{number % 60:02}"
        texts = []
        for _ in range(records_per_frame):
            index = rng.randrange(_SYMBOLS)
            volume = rng.choice((1, 2, 5, 10, 37, 100, 412))
            prices[index] = max(1_000, prices[index] + rng.choice((-50, 0, 0, 0, 50)))
            totals[index] += volume
            trades[index] += 1
            texts.append(
                _RECORD.format(
                    symbol=f"{5_930 + index * 10:06}",
                    hour=hour,
                    price=prices[index],
                    ask=prices[index] + 50,
                    bid=prices[index],
                    volume=volume,
                    total=totals[index],
                    sells=83_251,
                    buys=trades[index],
                    aggressor=rng.choice("15"),
                )
            )
        made.append(f"0|H0STCNT0|{records_per_frame:03}|{'^'.join(texts)}".encode())
    return made


def _measure(records_per_frame: int, records: int, rounds: int) -> FramesOfSize:
    frames = made_frames(records_per_frame, _FRAMES)
    turns = max(1, records // (_LOT * records_per_frame))
    _round(frames, 1)  # the first one fills what is remembered
    spans = [_round(frames, turns) for _ in range(rounds)]
    counted = turns * _LOT * records_per_frame
    ns, bare_ns = (median(column) / counted for column in zip(*spans, strict=True))
    return FramesOfSize(records_per_frame, 1e9 / ns, ns, bare_ns, ns / bare_ns)


def _round(frames: Sequence[bytes], turns: int) -> tuple[int, int]:
    """The nanoseconds of processor time of parsing and of splitting, over the given lots of frames."""
    ns = bare_ns = 0
    for turn in range(turns):
        first = turn * _LOT % len(frames)
        lot = frames[first : first + _LOT]
        ns += _span_ns(_parse, lot)
        bare_ns += _span_ns(_split, lot)
    return ns, bare_ns


def _span_ns(work: Callable[[Sequence[bytes]], None], lot: Sequence[bytes]) -> int:
    gc.disable()  # neither leaves cycles behind; a garbage collection would distort one of the two at random
    try:
        began_ns = time.thread_time_ns()
        work(lot)
        return time.thread_time_ns() - began_ns
    finally:
        gc.enable()


def _parse(lot: Sequence[bytes]) -> None:
    for frame in lot:
        parse_trades(frame, 1_790_000_000_000_000_000)


def _split(lot: Sequence[bytes]) -> None:
    for frame in lot:
        frame.split(b"^")
