"""The rank of candidates. Pure (docs/requirement.md).

Symbols rank by tier, then score, then market capitalisation, then code: pinned ones first, then triggered ones and the
opening's movers (context), then fillers of free slots (market capitalisation): main lines before those of further
venues, which leave their slots to them.

Pending candidates have no slot and are updated by sweeps only, whose interval is longer than a trigger lives
(docs/requirement.md: sweeps every ten minutes, lives of three to five). So a sweep's result holds until the next one:
the symbol remains a candidate for a slot that becomes free meanwhile, and a lasting condition fires once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from bus.events import AssignReason, TriggerKind, UniverseMember
from observer.base.lines import line_of
from observer.base.units import NS_PER_S
from observer.selection.triggers import Candidate, TriggersSettings, by_market_cap, expiry

CONTEXT: Final = "context"
FILLER: Final = "market_cap"
PINNED: Final = "manual"
WITHOUT_CLAIM: Final = frozenset({CONTEXT, FILLER})
"""Kinds that take what is free: such a symbol neither waits for a slot nor overflows."""

Order = tuple[int, float, float, str]

_TRIGGERED: Final = 1
_FILLS: Final = 2
_TIERS: Final[Mapping[str, int]] = {PINNED: 0, FILLER: _FILLS}
_ENDLESS: Final = float("inf")


def order(candidate: Candidate) -> Order:
    """The sort key: smaller is more important. A total order, so the order of arrival has no effect."""
    return tier(candidate), -candidate.score, -candidate.market_cap, candidate.symbol


def tier(candidate: Candidate) -> int:
    """0 for pinned, 1 for triggered ones and the opening's movers, 2 for fillers, 3 for those of further venues."""
    found = _TIERS.get(candidate.kind, _TRIGGERED)
    return found + 1 if found == _FILLS and line_of(candidate.symbol).venue else found


def one_each(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """The highest-ranked candidate of each symbol, by `order`.

    One sort per part of the key, the last part first: for thousands of candidates this is faster than one sort by
    tuples, and sorts are stable.
    """
    best: dict[str, Candidate] = {}
    for item in candidates:
        rival = best.setdefault(item.symbol, item)
        if rival is not item and _pending_of(item) < _pending_of(rival):
            best[item.symbol] = item
    ranked = sorted(best.values(), key=attrgetter("symbol"))
    ranked.sort(key=attrgetter("market_cap"), reverse=True)
    ranked.sort(key=attrgetter("score"), reverse=True)
    ranked.sort(key=tier)
    return {item.symbol: item for item in ranked}


def _pending_of(candidate: Candidate) -> tuple[Order, float, TriggerKind, float]:
    """The sort key among candidates of one symbol: smaller is better; among equals, the longer life."""
    life = _ENDLESS if candidate.expires_ns is None else candidate.expires_ns
    return order(candidate), -life, candidate.kind, candidate.measure


def outranks(newcomer: Candidate, held: Candidate, threshold: float) -> bool:
    """Whether a newcomer may replace this unpinned holder."""
    if newcomer.kind == PINNED:
        return True
    if held.kind == FILLER and newcomer.kind != FILLER:
        return True
    if newcomer.kind == FILLER:
        return tier(newcomer) < tier(held)
    return newcomer.score > held.score * threshold


def raised(candidate: Candidate, by: float) -> Candidate:
    """The candidate with a higher score, which its age lowers as the rest."""
    return msgspec.structs.replace(candidate, score=candidate.score + by, full_score=candidate.full_score + by)


def is_churn(reason: AssignReason, kind: TriggerKind) -> bool:
    """Whether an assignment counts as a replacement for the churn guard; a main line that fills the slot of a further
    line does not: that happens once at an opening.
    """
    return reason == "outranks" and kind != FILLER


def fillers_of(members: Iterable[UniverseMember], count: int) -> Sequence[Candidate]:
    """The largest main lines, then the largest of further venues, at most `count` of each. Members come by rank."""
    main, further = list[Candidate](), list[Candidate]()
    for each in members:
        of_venue = further if line_of(each.symbol).venue else main
        if len(of_venue) < count:
            of_venue.append(by_market_cap(each))
    return [*main, *further]


# --- candidates without a slot, between two sweeps ---

SLACK: Final = 0.5  # of the interval: the allowed delay of a sweep


class PendingCandidates:
    """Candidates without a slot, kept alive between sweeps. Explicit state, no clock.

    Args:
        triggers: the lives of each kind.
        sweep_interval_s: the interval between sweeps.
    """

    __slots__ = ("_candidates", "_life_ns", "_triggers", "_until_ns")

    def __init__(self, triggers: TriggersSettings, sweep_interval_s: float) -> None:
        self._triggers = triggers
        self._life_ns = round(sweep_interval_s * (1 + SLACK) * NS_PER_S)
        self._candidates: Sequence[Candidate] = ()
        self._until_ns = 0

    def take(self, swept: Sequence[Candidate], now_ns: int) -> None:
        """Replace the candidates by those of the last sweep without a slot."""
        self._candidates = swept
        self._until_ns = now_ns + self._life_ns

    def add(self, risen: Sequence[Candidate]) -> None:
        """Add candidates that rose since the last sweep and have no slot."""
        self._candidates = [*self._candidates, *risen]

    def drop(self, seated: Collection[str]) -> None:
        """Remove symbols that got slots: the stream updates them from now on."""
        self._candidates = [each for each in self._candidates if each.symbol not in seated]

    def standing(self, now_ns: int) -> Sequence[Candidate]:
        """The pending candidates, each with its full life; none once the next sweep is overdue."""
        if now_ns >= self._until_ns:
            return ()
        return [msgspec.structs.replace(each, expires_ns=self._expiry(each, now_ns)) for each in self._candidates]

    def _expiry(self, candidate: Candidate, now_ns: int) -> int | None:
        return expiry(now_ns, self._triggers.of(candidate.kind).ttl_seconds)
