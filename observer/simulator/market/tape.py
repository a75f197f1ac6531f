"""One symbol's day of trades, in columns, and the halts in it. Pure; chance is passed in.

A column per quantity instead of an object per trade: half a million trades stay under 60 bytes each, and every running
figure (volume, value, high, low, counts) is there at any trade without adding up again.

There are two kinds of halts. A volatility interruption (정적 VI): a price 10 % or more from that of the last auction is
not dealt at; for two minutes and up to 30 seconds more orders are collected, and one auction trade ends it, whose price
is the new reference. A disclosure halt (거래정지, TRHT_YN): 30 minutes without trades, then one auction trade. What
would be traded meanwhile becomes that one trade: so the day's volume is the same and its chain has no gap.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from observer.base.units import NS_PER_S

if TYPE_CHECKING:
    from random import Random


OPEN_S: Final = 9 * 3_600
CLOSE_S: Final = 15 * 3_600 + 30 * 60
CONTINUOUS_S: Final = 380 * 60  # 09:00 to 15:20; then the closing auction collects orders until 15:30
# CCLD_DVSN of the stream: 1 buy, 3 auction, 5 sell. What the KRX's after-market has in it is not documented: 0 here.
UNKNOWN: Final = 0
BUY: Final = 1
AUCTION: Final = 3
SELL: Final = 5
_ZONE: Final = timezone(timedelta(hours=9))
MINUTES: Final = CONTINUOUS_S // 60


def _weight_of_minute(minute: int) -> float:
    """The U of a day: a busy opening, a quiet noon, a busier end."""
    return 0.5 + 2.5 * math.exp(-minute / 25) + 1.2 * math.exp((minute - MINUTES) / 20)


VOLUME_BY_MINUTE: Final = tuple(accumulate(_weight_of_minute(minute) for minute in range(MINUTES)))


def midnight_ns(session_date: str) -> int:
    """UTC nanoseconds of 00:00 local time of an ISO date."""
    day = date.fromisoformat(session_date)
    return int(datetime(day.year, day.month, day.day, tzinfo=_ZONE).timestamp()) * NS_PER_S


def share_of_day(seconds_since_open: float) -> float:
    """The part of an ordinary day's volume that is done by then, 0..1."""
    minute = int(seconds_since_open // 60)
    if minute < 0:
        return 0.0
    return VOLUME_BY_MINUTE[min(minute, MINUTES - 1)] / VOLUME_BY_MINUTE[-1]


class DayTape(Protocol):
    """What a market shows of a symbol's day: columns of trades, oldest first, as `Tape` describes them."""

    @property
    def time_ns(self) -> Sequence[int]:
        """UTC nanoseconds."""
        ...

    @property
    def price(self) -> Sequence[int]:
        """Whole units of the currency."""
        ...

    @property
    def volume(self) -> Sequence[int]:
        """Shares."""
        ...

    @property
    def side(self) -> Sequence[int]:
        """CCLD_DVSN's codes."""
        ...

    @property
    def volume_after(self) -> Sequence[int]:
        """The day's shares after each trade."""
        ...

    @property
    def value(self) -> Sequence[int]:
        """The day's value after each trade."""
        ...

    @property
    def high(self) -> Sequence[int]:
        """The day's highest price so far."""
        ...

    @property
    def low(self) -> Sequence[int]:
        """The day's lowest price so far."""
        ...

    @property
    def buys(self) -> Sequence[int]:
        """Trades so far that are no sells."""
        ...

    @property
    def buy_volume(self) -> Sequence[int]:
        """Shares bought so far, without the crosses."""
        ...

    @property
    def sell_volume(self) -> Sequence[int]:
        """Shares sold so far, without the crosses."""
        ...

    @property
    def halts(self) -> tuple[Halt, ...]:
        """The times without trades, in their order."""
        ...

    def __len__(self) -> int: ...

    def count_until(self, moment_ns: int) -> int:
        """How many trades have happened at or before a moment."""
        ...


class Tape:
    """All trades of one symbol on one day at one venue, or at both together, oldest first. `halts` are the times
    without trades, in their order.

    In the KRX's regular session the first trade is the opening cross and the last one the closing cross.

    `buys` and `sells` count trades by aggressor; a cross or an unknown side counts as a buy, so that their sum grows by
    one with every trade. `buy_volume` and `sell_volume` leave the crosses out, as the real totals do.
    """

    __slots__ = (
        "buy_volume",
        "buys",
        "halts",
        "high",
        "low",
        "price",
        "sell_volume",
        "side",
        "time_ns",
        "value",
        "volume",
        "volume_after",
    )

    def __init__(
        self,
        time_ns: Iterable[int],
        price: Iterable[int],
        volume: Iterable[int],
        side: bytes,
        halts: tuple[Halt, ...] = (),
    ) -> None:
        self.halts = halts
        self.time_ns = array("q", time_ns)
        self.price = array("i", price)
        self.volume = array("q", volume)
        self.side = side
        self.volume_after = array("q", accumulate(self.volume))
        self.value = array("q", accumulate(map(int.__mul__, self.price, self.volume)))
        self.high = array("i", accumulate(self.price, max))
        self.low = array("i", accumulate(self.price, min))
        self.buys = array("i", accumulate(code != SELL for code in side))
        self.buy_volume = array("q", accumulate(map(int.__mul__, self.volume, map(BUY.__eq__, side))))
        self.sell_volume = array("q", accumulate(map(int.__mul__, self.volume, map(SELL.__eq__, side))))

    def __len__(self) -> int:
        return len(self.time_ns)

    def count_until(self, moment_ns: int) -> int:
        """How many trades have happened at or before a moment."""
        return bisect_right(self.time_ns, moment_ns)


EMPTY_TAPE: Final = Tape((), (), (), b"")


HaltReason = Literal["volatility", "disclosure"]

DISCLOSURE_HALT_S: Final = 1_800
LONGEST_INTERRUPTION_S: Final = 150
_SHORTEST_INTERRUPTION_S: Final = 120
_VOLATILITY_PERCENT: Final = 10


class Halt(msgspec.Struct, frozen=True):
    """From `start_ns` (inclusive) to `end_ns` (exclusive) nothing is dealt; at `end_ns` one auction trade may be.

    `reference` is the price of the auction before it, which an interruption is measured against (VI_STND_PRC).
    """

    start_ns: int
    end_ns: int
    reason: HaltReason
    reference: int


class MarketStop(msgspec.Struct, frozen=True):
    """A stop of both venues (circuit breaker): from `start_ns` (inclusive) to `end_ns` (exclusive) no symbol of the
    `exchanges` is dealt in; orders for an auction are taken from `auction_ns` on, and at `end_ns` one auction trade of
    each symbol may be. One that `closes` the market is its end: nothing is dealt in any more.
    """

    start_ns: int
    auction_ns: int
    end_ns: int
    closes: bool = False
    exchanges: tuple[str, ...] = ("KOSPI", "KOSDAQ")

    def runs_at(self, now_ns: int) -> bool:
        """Whether nothing is dealt in at a moment."""
        return self.start_ns <= now_ns < self.end_ns


class DealtTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade without its running figures."""

    time_ns: int
    price: int
    volume: int
    side: int


def can_be_interrupted(prices: Sequence[int]) -> bool:
    """Whether a day with these prices, the opening's first, has an interruption at all."""
    return _is_volatile(max(prices), prices[0]) or _is_volatile(min(prices), prices[0])


def interrupted(
    trades: Sequence[DealtTrade], disclosure_ns: int | None, continuous_end_ns: int, generator: Random
) -> tuple[list[DealtTrade], tuple[Halt, ...]]:
    """The day of these trades with its halts in it. The first and the last of them are the crosses and stay.

    A disclosure halt begins at `disclosure_ns` (None: there is none), or after the interruption that runs then. No
    interruption begins so late that it would reach into the closing auction at `continuous_end_ns`.
    """
    kept, halts = [trades[0]], list[Halt]()
    reference, index, closing = trades[0].price, 1, len(trades) - 1
    latest_ns = continuous_end_ns - LONGEST_INTERRUPTION_S * NS_PER_S
    while index < closing:
        trade = trades[index]
        if disclosure_ns is not None and trade.time_ns >= disclosure_ns:
            halts.append(_disclosure_halt(disclosure_ns, halts, reference))
            disclosure_ns = None
        elif trade.time_ns <= latest_ns and _is_volatile(trade.price, reference):
            halts.append(_interruption(max(trade.time_ns, kept[-1].time_ns + 1), reference, generator))
        else:
            kept.append(trade)
            index += 1
            continue
        end = bisect_left(trades, halts[-1].end_ns, index, closing, key=lambda trade: trade.time_ns)
        if end > index:
            kept.append(_auction(trades[index:end], halts[-1].end_ns))
            reference = kept[-1].price
        index = end
    if disclosure_ns is not None:
        halts.append(_disclosure_halt(disclosure_ns, halts, reference))
    return [*kept, trades[-1]], tuple(halts)


def _is_volatile(price: int, reference: int) -> bool:
    return 100 * abs(price - reference) >= _VOLATILITY_PERCENT * reference


def _disclosure_halt(start_ns: int, halts: Sequence[Halt], reference: int) -> Halt:
    if halts:
        start_ns = max(start_ns, halts[-1].end_ns + 1)
    return Halt(start_ns, start_ns + DISCLOSURE_HALT_S * NS_PER_S, "disclosure", reference)


def _interruption(start_ns: int, reference: int, generator: Random) -> Halt:
    length_s = generator.uniform(_SHORTEST_INTERRUPTION_S, LONGEST_INTERRUPTION_S)
    return Halt(start_ns, start_ns + int(length_s * NS_PER_S), "volatility", reference)


def _auction(collected: Sequence[DealtTrade], time_ns: int) -> DealtTrade:
    """The one trade in which all collected orders meet, at the price that was reached last."""
    return DealtTrade(time_ns, collected[-1].price, sum(trade.volume for trade in collected), AUCTION)
