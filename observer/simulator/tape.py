"""One symbol's day of trades, in columns, and how it is made from a plan. Pure; chance is passed in.

A column per quantity instead of an object per trade: half a million trades stay under 60 bytes each, and every running
figure (volume, value, high, low, counts) is there at any trade without adding up again.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from observer.simulator.plan import CONTINUOUS_S, DayPlan
from observer.simulator.ticks import price_limits_krw, rounded_down_krw, tick_krw

if TYPE_CHECKING:
    from random import Random

NS_PER_S: Final = 1_000_000_000
OPEN_S: Final = 9 * 3_600
CLOSE_S: Final = 15 * 3_600 + 30 * 60
# CCLD_DVSN of the stream: 1 buy, 3 auction, 5 sell.
BUY: Final = 1
AUCTION: Final = 3
SELL: Final = 5

_KST: Final = timezone(timedelta(hours=9))
_MINUTES: Final = CONTINUOUS_S // 60


def _weight_of_minute(minute: int) -> float:
    """The U of a day: a busy opening, a quiet noon, a busier end."""
    return 0.5 + 2.5 * math.exp(-minute / 25) + 1.2 * math.exp((minute - _MINUTES) / 20)


_VOLUME_BY_MINUTE: Final = tuple(accumulate(_weight_of_minute(minute) for minute in range(_MINUTES)))
# Sizes of trades relative to their mean: quantiles of an exponential distribution, scaled to a mean of one.
_QUANTILES: Final = tuple(-math.log(1 - (place + 0.5) / 64) for place in range(64))
_SIZES: Final = tuple(quantile * 64 / sum(_QUANTILES) for quantile in _QUANTILES)
_SURGE_DECAY_S: Final = 1_200


def midnight_ns(session_date: str) -> int:
    """UTC nanoseconds of 00:00 KST of an ISO date."""
    day = date.fromisoformat(session_date)
    return int(datetime(day.year, day.month, day.day, tzinfo=_KST).timestamp()) * NS_PER_S


def share_of_day(seconds_since_open: float) -> float:
    """The part of an ordinary day's volume that is done by then, 0..1."""
    minute = int(seconds_since_open // 60)
    if minute < 0:
        return 0.0
    return _VOLUME_BY_MINUTE[min(minute, _MINUTES - 1)] / _VOLUME_BY_MINUTE[-1]


class Tape:
    """All trades of one symbol on one day, oldest first. Trade 0 is the opening cross, the last one the closing cross.

    `buys` and `sells` count trades by aggressor; a cross counts as a buy, so that their sum grows by one with every
    trade. `buy_volume` and `sell_volume` leave the crosses out, as the real totals do.
    """

    __slots__ = (
        "buy_volume",
        "buys",
        "high_krw",
        "low_krw",
        "price_krw",
        "sell_volume",
        "side",
        "time_ns",
        "value_krw",
        "volume",
        "volume_after",
    )

    def __init__(self, time_ns: Iterable[int], price_krw: Iterable[int], volume: Iterable[int], side: bytes) -> None:
        self.time_ns = array("q", time_ns)
        self.price_krw = array("i", price_krw)
        self.volume = array("q", volume)
        self.side = side
        self.volume_after = array("q", accumulate(self.volume))
        self.value_krw = array("q", accumulate(map(int.__mul__, self.price_krw, self.volume)))
        self.high_krw = array("i", accumulate(self.price_krw, max))
        self.low_krw = array("i", accumulate(self.price_krw, min))
        self.buys = array("i", accumulate(code != SELL for code in side))
        self.buy_volume = array("q", accumulate(map(int.__mul__, self.volume, map(BUY.__eq__, side))))
        self.sell_volume = array("q", accumulate(map(int.__mul__, self.volume, map(SELL.__eq__, side))))

    def __len__(self) -> int:
        return len(self.time_ns)

    def count_until(self, moment_ns: int) -> int:
        """How many trades have happened at or before a moment."""
        return bisect_right(self.time_ns, moment_ns)


EMPTY_TAPE: Final = Tape((), (), (), b"")


def make_tape(plan: DayPlan, base_price_krw: int, open_ns: int, generator: Random) -> Tape:
    """The day that a plan describes. `open_ns` is 09:00:00 KST of the day."""
    offsets_ns = sorted(_offsets_ns(plan, generator))
    count = len(offsets_ns)
    times = [open_ns + offset for offset in offsets_ns]
    times.append(open_ns + (CLOSE_S - OPEN_S) * NS_PER_S)
    sides = bytearray(generator.choices((BUY, SELL), k=count + 1))
    sides[0] = sides[count] = AUCTION
    volumes = _volumes(plan, count + 1, generator)
    return Tape(times, _prices(plan, base_price_krw, count + 1, generator), volumes, bytes(sides))


def _offsets_ns(plan: DayPlan, generator: Random) -> list[int]:
    """Nanoseconds after the opening of every trade but the closing cross, unsorted."""
    chance = generator.random
    usual = max(1, round(plan.usual_trades * plan.activity))
    minutes = generator.choices(range(_MINUTES), cum_weights=_VOLUME_BY_MINUTE, k=usual)
    offsets = [int((minute + chance()) * 60 * NS_PER_S) for minute in minutes]
    if plan.surge is not None:
        extra = round(plan.usual_trades * (plan.surge.times - plan.activity))
        left_s = CONTINUOUS_S - plan.surge.start_s
        start_s = plan.surge.start_s
        delays_s = (-_SURGE_DECAY_S * math.log(1 - chance()) for _ in range(extra))
        offsets.extend(int((start_s + delay_s % left_s) * NS_PER_S) for delay_s in delays_s)
    for burst in plan.bursts:
        seconds = range(burst.start_s, burst.start_s + burst.duration_s)
        offsets.extend(int((s + chance()) * NS_PER_S) for s in seconds for _ in range(burst.trades_per_s))
    return offsets


def _volumes(plan: DayPlan, count: int, generator: Random) -> list[int]:
    """Sizes whose mean is the usual day's; the crosses are larger, as many orders meet in them."""
    mean = plan.usual_volume / plan.usual_trades
    volumes = [int(size * mean) or 1 for size in generator.choices(_SIZES, k=count)]
    cross = max(1, plan.usual_trades // 50)
    volumes[0] *= cross
    volumes[-1] *= cross
    return volumes


def _prices(plan: DayPlan, base_price_krw: int, count: int, generator: Random) -> list[int]:
    """A random walk from near the base price, stretched to the planned range, on the grid and inside the limits."""
    lowest_krw, highest_krw = price_limits_krw(base_price_krw)
    start = base_price_krw + plan.true_range_krw * generator.uniform(-0.2, 0.2)
    walk = list(accumulate(generator.choices((-1, 0, 1), k=count - 1), initial=0))
    stretch = plan.true_range_krw * plan.range_times / max(1, max(walk) - min(walk))
    on_grid = _grid_of(min(walk) * stretch + start, max(walk) * stretch + start)
    return [min(highest_krw, max(lowest_krw, on_grid(int(start + place * stretch)))) for place in walk]


def _grid_of(lowest: float, highest: float) -> Callable[[int], int]:
    """Rounding for prices between two others: one fixed step where the same holds for both, which is most days."""
    step_krw = tick_krw(int(lowest))
    if step_krw == tick_krw(int(highest)):
        return lambda price_krw: price_krw - price_krw % step_krw
    return rounded_down_krw
