"""The seconds of made-up days with more trades than a page of past trades holds, and what slots stream of them. Pure.

An order meets several others, so trades share moments: a step's trades fall on random moments of `_TRADES_A_MOMENT`
trades on average. The older trades of a second, those beyond a page, come over the stream or not at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Final

import numpy as np

from tests.bench.surges import STEP_S, TRADE_VOLUME, SymbolDay

_TRADES_A_MOMENT: Final = 2.5  # as in `python -m tests.bench tape`

Overflowing = Mapping[str, Mapping[int, int]]


def overflowing_of(market: Sequence[SymbolDay], page_trades: int, steps: range) -> Overflowing:
    """By symbol and step, the trades that share their second with `page_trades` later ones."""
    return {
        each.member.symbol: lost
        for number, each in enumerate(market)
        if (lost := dict(_of_symbol(each, page_trades, steps, np.random.default_rng(number))))
    }


def _of_symbol(each: SymbolDay, page_trades: int, steps: range, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    for step in steps:
        trades = round(each.volume(step) / TRADE_VOLUME)
        if trades <= page_trades:
            continue
        moments = ceil(trades / _TRADES_A_MOMENT)
        shares = rng.multinomial(moments, [1 / STEP_S] * STEP_S) / moments
        lost = int(np.maximum(rng.multinomial(trades, shares) - page_trades, 0).sum())
        if lost:
            yield step, lost


def held_of(overflowing: Overflowing, held: Sequence[frozenset[str]], first: int) -> tuple[int, int]:
    """The overflowing trades of symbols with a slot, and all; `held` are the symbols by step from `first` on."""
    of_slots = sum(
        lost for symbol, steps in overflowing.items() for step, lost in steps.items() if symbol in held[step - first]
    )
    return of_slots, sum(sum(steps.values()) for steps in overflowing.values())
