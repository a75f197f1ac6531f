"""Made-up market days in which trading surges: what `python -m tests.bench slots` puts before the selection. Pure.

The shapes are those of real days, the numbers are chosen: activity falls with the rank as a power, the day is U-shaped,
a symbol's whole day and its half hours vary, and volumes are sums of trades of exponential size. Surges begin and end,
alone or many at once; some symbols open far above their usual rate and stay there all day, and quiet symbols wake.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import msgspec

from bus.events import UniverseMember

STEP_S: Final = 15
OPENS_S: Final = 9 * 3600  # after midnight
STREAM_FIRST: Final = 1800 // STEP_S  # Track B's first step, 09:30
STEPS: Final = 6 * 3600 // STEP_S + 1800 // STEP_S  # until 15:30

_MINUTE: Final = 60 // STEP_S
TRADE_VOLUME: Final = 100.0
_PRICE: Final = 10_000.0
MOST_TRADES: Final = 40_000.0  # a day of the busiest symbol
_RANK_OFFSET: Final = 20
_DAY_SIGMA: Final = 0.5  # of the logarithm of a symbol's whole day
_HALF_HOUR_SIGMA: Final = 0.3
_MOVES_PER_RANGE: Final = 1.6  # the mean range of a random walk, in its standard deviations

_SURGES_SHARE: Final = 0.12  # of the symbols, on a day
_OPENED_SHARE: Final = 0.012
_WOKEN_SHARE: Final = 0.02
_THEMES: Final = 2  # a day, each with the same start for many symbols
_THEME_SHARE: Final = 0.02
_SURGE_MINUTES: Final = (5.0, 90.0)


class Surge(msgspec.Struct, frozen=True):
    """A time, in steps, in which a symbol trades at least twice as fast as it would otherwise."""

    first: int
    end: int


class SymbolDay(msgspec.Struct, frozen=True):
    """One symbol's day: its volume until the end of each step (shares), its price range until then, its price, its
    number of usual trades, and its surges.
    """

    member: UniverseMember
    volumes: array[float]
    highs: array[float]
    lows: array[float]
    prices: array[float]
    usual_trades: float
    surges: tuple[Surge, ...]

    def volume(self, step: int) -> float:
        """The volume of one step."""
        return self.volumes[step] - self.volumes[step - 1] if step else self.volumes[0]


def usual_shares() -> Sequence[float]:
    """The share of an ordinary day's volume in each step: busy at the opening, quiet at noon, busier at the close."""
    weights = [
        1 + 2.5 * math.exp(-step / (35 * _MINUTE)) + 1.2 * math.exp(-(STEPS - step) / (25 * _MINUTE))
        for step in range(STEPS)
    ]
    return [weight / sum(weights) for weight in weights]


def market_days(symbols: int, days: int, seed: int, most_trades: float = MOST_TRADES) -> Iterator[Sequence[SymbolDay]]:
    """So many days of so many symbols, by rank; the busiest has so many trades. The same numbers give the same days."""
    shares = usual_shares()
    for day in range(days):
        rng = Random(f"{seed}/{day}")
        themes = [(rng.randrange(30 * _MINUTE, STEPS - 60 * _MINUTE), rng.uniform(10, 60)) for _ in range(_THEMES)]
        busy = [most_trades * _RANK_OFFSET / (rank + _RANK_OFFSET) for rank in range(symbols)]
        yield [_symbol_day(rank, symbols, day, themes, shares, rng, busy[rank]) for rank in range(symbols)]


def _symbol_day(
    rank: int, symbols: int, day: int, themes: Sequence[tuple[int, float]], shares: Sequence[float], rng: Random,
    usual_trades: float,
) -> SymbolDay:  # fmt: skip
    times = [1.0] * STEPS
    surges = [_added(times, *surge) for surge in _planned(rank, symbols, themes, rng)]
    whole_day = rng.lognormvariate(-(_DAY_SIGMA**2) / 2, _DAY_SIGMA)
    move = 300.0 / _MOVES_PER_RANGE / math.sqrt(STEPS)
    volumes, highs, lows, prices = array("d"), array("d"), array("d"), array("d")
    volume, price, half_hour = 0.0, _PRICE, 1.0
    high = low = price
    for step, (share, faster) in enumerate(zip(shares, times, strict=True)):
        if step % (30 * _MINUTE) == 0:
            half_hour = rng.lognormvariate(-(_HALF_HOUR_SIGMA**2) / 2, _HALF_HOUR_SIGMA)
        trades = usual_trades * share * whole_day * half_hour * faster
        volume += round(rng.gammavariate(trades / 2, 2.0)) * TRADE_VOLUME
        price += rng.gauss(0.0, move * math.sqrt(faster))
        high, low = max(high, price), min(low, price)
        volumes.append(volume)
        highs.append(high)
        lows.append(low)
        prices.append(price)
    member = UniverseMember(
        "bench", "kr_stocks", f"day {day}", rank + 1, f"{rank:06d}", f"Company {rank}", "KOSPI",
        3e14 / (rank + 1), _PRICE, usual_trades * TRADE_VOLUME, 300.0,
    )  # fmt: skip
    return SymbolDay(
        member, volumes, highs, lows, prices, usual_trades, tuple(sorted(surges, key=lambda each: each.first))
    )


def _planned(
    rank: int, symbols: int, themes: Sequence[tuple[int, float]], rng: Random
) -> Iterator[tuple[int, float, float]]:
    """The symbol's surges: the first step, the length in minutes, and how many times faster it trades at first."""
    if rng.random() < _SURGES_SHARE:
        yield rng.randrange(STEPS - 10 * _MINUTE), _minutes(rng), min(4 * rng.paretovariate(1.5), 40.0)
    if rng.random() < _OPENED_SHARE:
        yield 0, 2.0 * STEPS / _MINUTE, rng.uniform(6, 12)
    if rank > symbols / 2 and rng.random() < _WOKEN_SHARE * 2:
        yield rng.randrange(STEPS - 10 * _MINUTE), _minutes(rng), rng.uniform(15, 60)
    for first, minutes in themes:
        if rng.random() < _THEME_SHARE:
            yield first + rng.randrange(3 * _MINUTE), minutes * rng.uniform(0.5, 1.5), rng.uniform(4, 20)


def _minutes(rng: Random) -> float:
    shortest, longest = _SURGE_MINUTES
    return shortest * math.exp(rng.random() * math.log(longest / shortest))


def _added(times: list[float], first: int, minutes: float, most: float) -> Surge:
    """Add a surge that keeps its rate for a third of its length and then falls evenly to the usual one."""
    length = max(1, round(minutes * _MINUTE))
    end = first
    for step in range(first, min(STEPS, first + length)):
        part = min(1.0, 1.5 * (1 - (step - first) / length))
        times[step] += (most - 1) * part
        if times[step] >= 2:
            end = step + 1
    return Surge(first, max(end, first + 1))
