"""When dealing in a symbol stops for a while, and what that does to its trades. Pure; chance is passed in.

Two kinds. A volatility interruption (정적 VI): a price 10 % or more from that of the last auction is not dealt at; for
two minutes and up to 30 seconds more orders are collected, and one auction trade ends it, whose price is the new
reference. A disclosure halt (거래정지, TRHT_YN): 30 minutes without trades, then one auction trade. What would be
traded meanwhile becomes that one trade: so the day's volume is the same and its chain has no hole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from observer.simulator.tape import AUCTION, NS_PER_S

if TYPE_CHECKING:
    from random import Random

HaltReason = Literal["volatility", "disclosure"]

DISCLOSURE_HALT_S: Final = 1_800
LONGEST_INTERRUPTION_S: Final = 150
_SHORTEST_INTERRUPTION_S: Final = 120
_VOLATILITY_PERCENT: Final = 10


class Halt(msgspec.Struct, frozen=True):
    """From `start_ns` (inclusive) to `end_ns` (exclusive) nothing is dealt; at `end_ns` one auction trade may be.

    `reference_krw` is the price of the auction before it, which an interruption is measured against (VI_STND_PRC).
    """

    start_ns: int
    end_ns: int
    reason: HaltReason
    reference_krw: int


class DealtTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade without its running figures."""

    time_ns: int
    price_krw: int
    volume: int
    side: int


def can_be_interrupted(prices_krw: Sequence[int]) -> bool:
    """Whether a day with these prices, the opening's first, has an interruption at all."""
    return _is_volatile(max(prices_krw), prices_krw[0]) or _is_volatile(min(prices_krw), prices_krw[0])


def interrupted(
    trades: Sequence[DealtTrade], disclosure_ns: int | None, continuous_end_ns: int, generator: Random
) -> tuple[list[DealtTrade], tuple[Halt, ...]]:
    """The day of these trades with its halts in it. The first and the last of them are the crosses and stay.

    A disclosure halt begins at `disclosure_ns` (None: there is none), or after the interruption that runs then. No
    interruption begins so late that it would reach into the closing auction at `continuous_end_ns`.
    """
    kept, halts = [trades[0]], list[Halt]()
    reference_krw, place, closing = trades[0].price_krw, 1, len(trades) - 1
    latest_ns = continuous_end_ns - LONGEST_INTERRUPTION_S * NS_PER_S
    while place < closing:
        trade = trades[place]
        if disclosure_ns is not None and trade.time_ns >= disclosure_ns:
            halts.append(_disclosure_halt(disclosure_ns, halts, reference_krw))
            disclosure_ns = None
        elif trade.time_ns <= latest_ns and _is_volatile(trade.price_krw, reference_krw):
            halts.append(_interruption(max(trade.time_ns, kept[-1].time_ns + 1), reference_krw, generator))
        else:
            kept.append(trade)
            place += 1
            continue
        end = bisect_left(trades, halts[-1].end_ns, place, closing, key=lambda trade: trade.time_ns)
        if end > place:
            kept.append(_auction(trades[place:end], halts[-1].end_ns))
            reference_krw = kept[-1].price_krw
        place = end
    if disclosure_ns is not None:
        halts.append(_disclosure_halt(disclosure_ns, halts, reference_krw))
    return [*kept, trades[-1]], tuple(halts)


def _is_volatile(price_krw: int, reference_krw: int) -> bool:
    return 100 * abs(price_krw - reference_krw) >= _VOLATILITY_PERCENT * reference_krw


def _disclosure_halt(start_ns: int, halts: Sequence[Halt], reference_krw: int) -> Halt:
    if halts:
        start_ns = max(start_ns, halts[-1].end_ns + 1)
    return Halt(start_ns, start_ns + DISCLOSURE_HALT_S * NS_PER_S, "disclosure", reference_krw)


def _interruption(start_ns: int, reference_krw: int, generator: Random) -> Halt:
    length_s = generator.uniform(_SHORTEST_INTERRUPTION_S, LONGEST_INTERRUPTION_S)
    return Halt(start_ns, start_ns + int(length_s * NS_PER_S), "volatility", reference_krw)


def _auction(collected: Sequence[DealtTrade], time_ns: int) -> DealtTrade:
    """The one trade in which all collected orders meet, at the price that was reached last."""
    return DealtTrade(time_ns, collected[-1].price_krw, sum(trade.volume for trade in collected), AUCTION)
