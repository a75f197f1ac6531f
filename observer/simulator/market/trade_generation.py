"""A symbol's day of trades, made from a plan. Pure; chance is passed in."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.market.instruments import price_limits, rounded_down, tick_size
from observer.simulator.market.plan import LOCK_RAMP_S, Lock, MarketPlan, cross_size
from observer.simulator.market.tape import (
    AUCTION,
    BUY,
    CLOSE_S,
    CONTINUOUS_S,
    MINUTES,
    OPEN_S,
    SELL,
    VOLUME_BY_MINUTE,
    DealtTrade,
    Halt,
    MarketStop,
    can_be_interrupted,
    interrupted,
)

if TYPE_CHECKING:
    from random import Random

# Sizes of trades relative to their mean: quantiles of an exponential distribution, scaled to a mean of one.
_QUANTILES: Final = tuple(-math.log(1 - (index + 0.5) / 64) for index in range(64))
_SIZES: Final = tuple(quantile * 64 / sum(_QUANTILES) for quantile in _QUANTILES)
_SURGE_DECAY_S: Final = 1_200


class Columns(NamedTuple):
    """A day of trades by quantity, in the order of time, and its halts: what a tape is made of."""

    time_ns: list[int]
    price: list[int]
    volume: list[int]
    side: bytes
    halts: tuple[Halt, ...] = ()


def regular_day(plan: MarketPlan, base_price: int, open_ns: int, generator: Random) -> Columns:
    """The day that a plan describes, from the opening cross at `open_ns` to the closing cross."""
    offsets_ns = sorted(_offsets_ns(plan, generator))
    count = len(offsets_ns)
    times = [open_ns + offset for offset in offsets_ns]
    times.append(open_ns + (CLOSE_S - OPEN_S) * NS_PER_S)
    sides = bytearray(generator.choices((BUY, SELL), k=count + 1))
    sides[0] = sides[count] = AUCTION
    volumes = _volumes(plan, count + 1, generator)
    prices = _prices(plan, base_price, count + 1, generator)
    if plan.lock is not None:
        prices = _locked(prices, offsets_ns, plan.lock, price_limits(base_price))
    disclosure_ns = None if plan.disclosure_s is None else open_ns + plan.disclosure_s * NS_PER_S
    if disclosure_ns is None and not can_be_interrupted(prices):
        return Columns(times, prices, volumes, bytes(sides))
    trades = list(map(DealtTrade, times, prices, volumes, sides))
    trades, halts = interrupted(trades, disclosure_ns, open_ns + CONTINUOUS_S * NS_PER_S, generator)
    columns = zip(*map(msgspec.structs.astuple, trades), strict=True)
    times, prices, volumes, sides_after = map(list, columns)
    return Columns(times, prices, volumes, bytes(sides_after), halts)


def with_stops(day: Columns, stops: Sequence[MarketStop]) -> Columns:
    """The same day, but what would be traded in a stop becomes one auction trade at its end, at the price reached, and
    nothing where the stop closes the market.
    """
    for stop in stops:
        first, end = (bisect_left(day.time_ns, moment_ns) for moment_ns in (stop.start_ns, stop.end_ns))
        if stop.closes:
            halts = tuple(halt for halt in day.halts if halt.start_ns < stop.start_ns)
            return Columns(day.time_ns[:first], day.price[:first], day.volume[:first], day.side[:first], halts)
        if end > first:
            day = collected(day, first, end, stop.end_ns, day.price[end - 1])
    return day


def collected(day: Columns, first: int, end: int, time_ns: int, price: int) -> Columns:
    """The day with the trades from index `first` until before `end` as one auction trade of this time and price."""
    return Columns(
        [*day.time_ns[:first], time_ns, *day.time_ns[end:]],
        [*day.price[:first], price, *day.price[end:]],
        [*day.volume[:first], sum(day.volume[first:end]), *day.volume[end:]],
        day.side[:first] + bytes((AUCTION,)) + day.side[end:],
        day.halts,
    )


def sizes_around(mean: float, count: int, generator: Random) -> list[int]:
    """So many sizes of trades with this mean, each at least 1."""
    return [int(size * mean) or 1 for size in generator.choices(_SIZES, k=count)]


def _offsets_ns(plan: MarketPlan, generator: Random) -> list[int]:
    """Nanoseconds after the opening of every trade but the closing cross, unsorted."""
    rng = generator.random
    usual = max(1, round(plan.usual_trades * plan.activity))
    minutes = generator.choices(range(MINUTES), cum_weights=VOLUME_BY_MINUTE, k=usual)
    offsets = [int((minute + rng()) * 60 * NS_PER_S) for minute in minutes]
    if plan.surge is not None:
        extra = round(plan.usual_trades * (plan.surge.times - plan.activity))
        left_s = CONTINUOUS_S - plan.surge.start_s
        start_s = plan.surge.start_s
        delays_s = (-_SURGE_DECAY_S * math.log(1 - rng()) for _ in range(extra))
        offsets.extend(int((start_s + delay_s % left_s) * NS_PER_S) for delay_s in delays_s)
    for burst in plan.bursts:
        seconds = range(burst.start_s, burst.start_s + burst.duration_s)
        offsets.extend(int((s + rng()) * NS_PER_S) for s in seconds for _ in range(burst.trades_per_s))
    return offsets


def _volumes(plan: MarketPlan, count: int, generator: Random) -> list[int]:
    """Sizes whose mean is the usual day's; the crosses are larger."""
    mean = plan.usual_volume / plan.usual_trades
    volumes = sizes_around(mean, count, generator)
    volumes[0] *= cross_size(plan)
    volumes[-1] *= cross_size(plan)
    return volumes


def _prices(plan: MarketPlan, base_price: int, count: int, generator: Random) -> list[int]:
    """A random walk from near the base price, stretched to the planned range, on the grid and inside the limits."""
    lowest, highest = price_limits(base_price)
    start = base_price + plan.true_range * generator.uniform(-0.2, 0.2)
    walk = list(accumulate(generator.choices((-1, 0, 1), k=count - 1), initial=0))
    stretch = plan.true_range * plan.range_times / max(1, max(walk) - min(walk))
    on_grid = _grid_of(min(walk) * stretch + start, max(walk) * stretch + start)
    return [min(highest, max(lowest, on_grid(int(start + index * stretch)))) for index in walk]


def _locked(prices: list[int], offsets_ns: list[int], lock: Lock, limits: tuple[int, int]) -> list[int]:
    """The same day, but in the ramp before the lock each price goes its part of the way to the limit, and stays."""
    limit = limits[lock.at_upper]
    ramp_ns, start_ns = LOCK_RAMP_S * NS_PER_S, (lock.start_s - LOCK_RAMP_S) * NS_PER_S
    parts = [min(1.0, max(0.0, (offset_ns - start_ns) / ramp_ns)) for offset_ns in offsets_ns]
    return [
        limit if part >= 1 else rounded_down(round(price + (limit - price) * part))
        for price, part in zip(prices, [*parts, 1.0], strict=True)
    ]


def _grid_of(lowest: float, highest: float) -> Callable[[int], int]:
    """Rounding for prices between two others: one fixed step where the same holds for both, which is most days."""
    step = tick_size(int(lowest))
    if step == tick_size(int(highest)):
        return lambda price: price - price % step
    return rounded_down
