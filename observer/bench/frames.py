"""How fast trade frames become trades, beside what merely splitting the same bytes costs.

The frames are made up after a real one of 2026-09-22 (47 fields; kis-api.md, section 5): as many symbols as an account
streams, prices that walk, volumes and counts that add up, so that what the parser remembers is worth here what it is
worth in a market.
"""

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

import msgspec

from observer.bench.machine import Machine, this_machine
from observer.bench.path import Tell
from observer.providers.kis.frames import parse_trades

_SYMBOLS: Final = 41
_FRAMES: Final = 1_000  # different ones; read again and again
_LOT: Final = 200  # frames between two looks at the clock: parser and split take turns, so both meet the same machine
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
    """What `observer bench frames` tells."""

    machine: Machine
    records: int
    rounds: int
    sizes: Sequence[FramesOfSize]


async def measure_frames(folder: Path, records: int, sizes: Sequence[int], rounds: int, tell: Tell) -> FramesResult:
    """Parse about so many records in each round, in frames of each size. Nothing is written to `folder`."""
    measured = []
    for size in sizes:
        tell(f"frames of {size}")
        measured.append(_measure(size, records, rounds))
    return FramesResult(this_machine(folder), records, rounds, measured)


def made_frames(records_per_frame: int, frames: int) -> list[bytes]:
    """So many frames of a made-up market, the same at every call."""
    chance = Random(20260922)
    prices = [chance.randrange(2_000, 300_000, 50) for _ in range(_SYMBOLS)]
    totals, trades = [1_000_000] * _SYMBOLS, [40_000] * _SYMBOLS
    made = []
    for number in range(frames):
        hour = f"14{number // 60 % 60:02}{number % 60:02}"
        texts = []
        for _ in range(records_per_frame):
            place = chance.randrange(_SYMBOLS)
            volume = chance.choice((1, 2, 5, 10, 37, 100, 412))
            prices[place] = max(1_000, prices[place] + chance.choice((-50, 0, 0, 0, 50)))
            totals[place] += volume
            trades[place] += 1
            texts.append(
                _RECORD.format(
                    symbol=f"{5_930 + place * 10:06}",
                    hour=hour,
                    price=prices[place],
                    ask=prices[place] + 50,
                    bid=prices[place],
                    volume=volume,
                    total=totals[place],
                    sells=83_251,
                    buys=trades[place],
                    aggressor=chance.choice("15"),
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
    """The nanoseconds of processor time that parsing took, and splitting, in so many lots of frames."""
    ns = bare_ns = 0
    for turn in range(turns):
        first = turn * _LOT % len(frames)
        lot = frames[first : first + _LOT]
        ns += _span_ns(_parse, lot)
        bare_ns += _span_ns(_split, lot)
    return ns, bare_ns


def _span_ns(work: Callable[[Sequence[bytes]], None], lot: Sequence[bytes]) -> int:
    gc.disable()  # neither leaves cycles behind; a collection in the one or the other would be chance
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
