"""A symbol's plan of the day: its number of trades, its surges, bursts and locks. Pure.

The rng is passed in; a plan is a function of the seed, the day, the listing and its rank. The daily bars before the
session are made from the plan, backwards from the base price.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from observer.simulator.market.instruments import rounded_down
from observer.simulator.market.tape import CONTINUOUS_S, DISCLOSURE_HALT_S, LONGEST_INTERRUPTION_S

if TYPE_CHECKING:
    from random import Random

    from observer.simulator.market.instruments import Instrument


# Zipf-like activity: the largest trades a few thousand times a day, rank 500 under a hundred times.
_MOST_TRADES: Final = 5_000
_FEWEST_TRADES: Final = 12
_RANK_OFFSET: Final = 30
_RANK_POWER: Final = 1.5

# The very largest do not trade several times their usual day: it would also be most of the market's trades.
_CALM_RANKS: Final = 30
_SURGE_SHARE_ELIGIBLE: Final = 0.24
_SURGE_SHARE_OTHERS: Final = 0.05
_MOST_SURGES: Final = 130
_BURST_SHARE: Final = 0.08
_BURST_TRADES_MIN: Final = 100  # a burst of about 70 trades must not be a day's volume of its own
_SWING_SHARE: Final = 0.05
_UNIVERSE_PRICE: Final = 4_000
LOCK_RAMP_S: Final = 900
_LOCK_SHARE: Final = 0.02
_DISCLOSURE_SHARE: Final = 0.01
_SPLIT_RATIOS: Final = (2, 5, 10)


class Surge(msgspec.Struct, frozen=True):
    """From `start_s` after the opening, trades come until the day has `times` its usual volume."""

    start_s: float
    times: float


class Burst(msgspec.Struct, frozen=True):
    """`trades_per_s` trades in each of `duration_s` whole seconds from `start_s` after the opening."""

    start_s: int
    duration_s: int
    trades_per_s: int


class Lock(msgspec.Struct, frozen=True):
    """From `start_s` after the opening every trade is at a limit of the day, the upper or the lower one.

    The price goes there in the LOCK_RAMP_S before.
    """

    start_s: int
    at_upper: bool


class MarketPlan(msgspec.Struct, frozen=True):
    """A symbol's day in a few numbers. `usual_volume` is the basis of the 20-day average.

    `disclosure_s` is the begin of a 30-minute halt, in seconds after the opening (None: no halt); `split_ratio` is the
    number of new shares for one of the day before.
    """

    usual_trades: int
    usual_volume: int
    true_range: float
    range_times: float
    activity: float
    surge: Surge | None
    bursts: tuple[Burst, ...]
    lock: Lock | None = None
    disclosure_s: int | None = None
    split_ratio: int = 1


def plan_of(instrument: Instrument, rank: int, listed: int, generator: Random) -> MarketPlan:
    """The day of the listing that has the `rank`-th largest turnover among `listed`, from 0."""
    surge = _surge(instrument, rank, listed, generator)
    usual_trades = _usual_trades(instrument, rank)
    bursts = _bursts(usual_trades, generator)
    swings = generator.random() < _SWING_SHARE
    return MarketPlan(
        usual_trades=usual_trades,
        usual_volume=max(instrument.previous_volume, usual_trades),
        true_range=instrument.base_price * generator.uniform(0.02, 0.05),
        range_times=generator.uniform(2.8, 4.0) if swings else generator.uniform(0.5, 1.4),
        activity=generator.uniform(0.75, 1.25),
        surge=surge,
        bursts=bursts,
        lock=_lock(instrument, rank, generator),
        disclosure_s=_disclosure_s(instrument, rank, generator),
        split_ratio=generator.choice(_SPLIT_RATIOS) if instrument.split else 1,
    )


def busier(plan: MarketPlan, times: float) -> MarketPlan:
    """The same day with so many times the trades, which are as many times smaller as shares allow."""
    trades = max(1, round(plan.usual_trades * times))
    return msgspec.structs.replace(plan, usual_trades=trades, usual_volume=max(plan.usual_volume, trades))


def expected_volume(plan: MarketPlan) -> float:
    """The mean volume of the days that a plan describes, from the opening cross to the closing cross, in shares."""
    trades = plan.usual_trades * (plan.activity if plan.surge is None else plan.surge.times)
    trades += sum(burst.trades_per_s * burst.duration_s for burst in plan.bursts)
    return (trades + 2 * cross_size(plan)) * plan.usual_volume / plan.usual_trades


def cross_size(plan: MarketPlan) -> int:
    """How many times as large as another trade the opening and the closing cross are: many orders meet in them."""
    return max(1, plan.usual_trades // 50)


def _usual_trades(instrument: Instrument, rank: int) -> int:
    """Trades of an ordinary day: by rank, and no more than there are shares to trade."""
    by_rank: float = _MOST_TRADES * (_RANK_OFFSET / (rank + _RANK_OFFSET)) ** _RANK_POWER
    shares = instrument.previous_volume or _FEWEST_TRADES * 100
    return max(_FEWEST_TRADES, min(round(by_rank), shares // 2))


def _surge(instrument: Instrument, rank: int, listed: int, generator: Random) -> Surge | None:
    draw, start, times = generator.random(), generator.random(), generator.random()
    eligible = instrument.ordinary and instrument.base_price >= _UNIVERSE_PRICE
    share = _SURGE_SHARE_ELIGIBLE if eligible else _SURGE_SHARE_OTHERS
    if rank < _CALM_RANKS or draw >= min(share, _MOST_SURGES / listed):
        return None
    return Surge(start_s=300 + start * 19_500, times=3.8 + times * 4.2)


def _lock(instrument: Instrument, rank: int, generator: Random) -> Lock | None:
    draw, at_upper = generator.random(), generator.random() < 0.5
    start_s = generator.randrange(LOCK_RAMP_S, CONTINUOUS_S - LOCK_RAMP_S)
    if rank < _CALM_RANKS or not instrument.ordinary or draw >= _LOCK_SHARE:
        return None
    return Lock(start_s, at_upper)


def _disclosure_s(instrument: Instrument, rank: int, generator: Random) -> int | None:
    draw = generator.random()
    latest_s = CONTINUOUS_S - DISCLOSURE_HALT_S - LONGEST_INTERRUPTION_S - 1
    start_s = generator.randrange(600, latest_s)
    return start_s if rank >= _CALM_RANKS and instrument.ordinary and draw < _DISCLOSURE_SHARE else None


def _bursts(usual_trades: int, generator: Random) -> tuple[Burst, ...]:
    if generator.random() >= _BURST_SHARE or usual_trades < _BURST_TRADES_MIN:
        return ()
    # 20 and the background stay below the 30 rows of time-and-sales, which cannot look past a fuller second.
    return tuple(
        Burst(
            start_s=generator.randrange(600, CONTINUOUS_S - 60),
            duration_s=generator.randint(3, 6),
            trades_per_s=generator.randint(12, 20),
        )
        for _ in range(min(generator.randint(1, 3), usual_trades // _BURST_TRADES_MIN))
    )


HISTORY_DAYS: Final = 60
_SATURDAY: Final = 5


class DayBar(msgspec.Struct, frozen=True, gc=False):
    """One day of one symbol; `day` is YYYYMMDD, prices whole units of the currency."""

    day: str
    open: int
    high: int
    low: int
    close: int
    volume: int
    value: int


_HOLIDAYS: Final = frozenset(
    f"2026{day}"
    for day in (
        *("0101", "0216", "0217", "0218", "0302", "0501", "0505", "0525", "0603"),
        *("0717", "0817", "0924", "0925", "1005", "1009", "1225", "1231"),
    )
)
"""The weekdays of 2026 on which the KRX is closed; other years have no holiday here."""


def weekdays_before(session_date: str, count: int) -> list[str]:
    """The last so many Mondays to Fridays before a day, newest first, as YYYYMMDD."""
    days: list[str] = []
    day = date.fromisoformat(session_date)
    while len(days) < count:
        day -= timedelta(days=1)
        if day.weekday() < _SATURDAY:
            days.append(day.strftime("%Y%m%d"))
    return days


def session_days_before(session_date: str, count: int) -> list[str]:
    """The last so many session days of the KRX before a day, newest first, as YYYYMMDD."""
    days = weekdays_before(session_date, count + len(_HOLIDAYS))
    return [day for day in days if day not in _HOLIDAYS][:count]


def past_bars(
    instrument: Instrument, plan: MarketPlan, session_date: str, days: int, generator: Random
) -> tuple[DayBar, ...]:
    """Bars of so many session days, none before the listing, newest first: the last close is the base
    price, the last volume the master file's.

    Each day's true range is its own high less its own low, because the close before it always lies between them.
    """
    bars: list[DayBar] = []
    close = instrument.base_price
    for day in session_days_before(session_date, days):
        if day < instrument.listed_on or close <= 0:
            break
        volume = max(1, round(plan.usual_volume * generator.uniform(0.7, 1.3)))
        if not bars and instrument.previous_volume:
            volume = instrument.previous_volume
        bar, close = _bar_that_closes_at(close, day, plan.true_range, volume, generator)
        bars.append(bar)
    return tuple(bars)


def _bar_that_closes_at(close: int, day: str, true_range: float, volume: int, generator: Random) -> tuple[DayBar, int]:
    """A bar and the close of the day before it."""
    spread = min(true_range * generator.uniform(0.8, 1.2), close * 0.25)
    lowest = close - spread * generator.random()
    points = [rounded_down(max(1, round(lowest + spread * part))) for part in (0, 1, generator.random())]
    low, high = min(*points, close), max(*points, close)
    before = points[2]
    opening = rounded_down((before * 3 + close) // 4)
    opening = min(high, max(low, opening))
    typical = (high + low + close) // 3
    return DayBar(day, opening, high, low, close, volume, volume * typical), before
