"""Which of two candidates matters more. Requirement 004, Slot Management, and Business Rules (ties). Pure.

Symbols rank by tier, then score, then market capitalisation, then code: pinned ones first, then triggered ones, then
those that merely fill what is free (market capitalisation).
"""

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Final

from bus.events import TriggerKind
from observer.selection.triggers import Candidate

FILLER: Final = "market_cap"
PINNED: Final = "manual"

Order = tuple[int, float, float, str]

_TRIGGERED: Final = 1
_TIERS: Final[Mapping[str, int]] = {PINNED: 0, FILLER: 2}
_ENDLESS: Final = float("inf")


def order(candidate: Candidate) -> Order:
    """The smaller, the more important; total, so that no order of arrival shows through."""
    return tier(candidate), -candidate.score, -candidate.market_cap_krw, candidate.symbol


def tier(candidate: Candidate) -> int:
    """0 for the pinned, 1 for the triggered, 2 for those who fill."""
    return _TIERS.get(candidate.kind, _TRIGGERED)


def one_each(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """The most important candidate of each symbol, the most important symbol first: in the order of `order`.

    A sort for each part of the order, the last part first: of thousands of candidates that is faster than one by
    tuples, and sorts keep the order of equals.
    """
    best: dict[str, Candidate] = {}
    for item in candidates:
        rival = best.setdefault(item.symbol, item)
        if rival is not item and _claim(item) < _claim(rival):
            best[item.symbol] = item
    ranked = sorted(best.values(), key=attrgetter("symbol"))
    ranked.sort(key=attrgetter("market_cap_krw"), reverse=True)
    ranked.sort(key=attrgetter("score"), reverse=True)
    ranked.sort(key=tier)
    return {item.symbol: item for item in ranked}


def _claim(candidate: Candidate) -> tuple[Order, float, TriggerKind, float]:
    """The smaller, the better a candidate of the same symbol: among equals the one that lives longer."""
    life = _ENDLESS if candidate.expires_ns is None else candidate.expires_ns
    return order(candidate), -life, candidate.kind, candidate.measure


def outranks(newcomer: Candidate, held: Candidate, threshold: float) -> bool:
    """Whether a newcomer may take the place of one that is not pinned."""
    if newcomer.kind == PINNED:
        return True
    if held.kind == FILLER and newcomer.kind != FILLER:
        return True
    if newcomer.kind == FILLER and held.kind != FILLER:
        return False
    return newcomer.score > held.score * threshold
