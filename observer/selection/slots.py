"""Who gets a place in the stream, and why. Requirement 004, Slot Management.

Places are fixed ("main:01"): a symbol keeps its place until it is replaced or released, so an id never means two
symbols at a time (design.md 6.5). `allocate` is a function from a state and candidates to a new state and the decisions
that lead to it; the order in which candidates are given does not matter.

Symbols rank by tier, then score, then market capitalisation, then code: pinned ones first, then triggered ones, then
those that merely fill what is free (market capitalisation).
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Literal

import msgspec

from observer.selection.settings import SlotSettings
from observer.selection.triggers import Candidate

AssignReason = Literal["free_place", "outranks", "pinned"]
ReleaseReason = Literal["expired", "dropped", "unpinned"]
OverflowReason = Literal["all_places_hold_higher_scores", "all_places_pinned"]
SlotStatus = Literal["available", "allocated", "active", "releasing"]

_FILLER: Final = "market_cap"
_PINNED: Final = "manual"
_Order = tuple[int, float, float, str]


class Place(msgspec.Struct, frozen=True):
    """One registration of one account: who holds it now, and who held it before."""

    slot: str
    candidate: Candidate | None = None
    previous_symbol: str | None = None


class SlotState(msgspec.Struct, frozen=True):
    """All places, in their order; and until when (UTC ns; None: without end) each overflow that was told lasts."""

    places: tuple[Place, ...]
    overflowed: Mapping[str, int | None] = {}

    @property
    def symbols(self) -> frozenset[str]:
        """Who holds a place."""
        return frozenset(place.candidate.symbol for place in self.places if place.candidate is not None)

    def place_of(self, symbol: str) -> Place | None:
        """The place that the symbol holds."""
        held = (place for place in self.places if place.candidate is not None and place.candidate.symbol == symbol)
        return next(held, None)


class Assign(msgspec.Struct, frozen=True):
    """`candidate` gets the place `slot`; `replaced` is the symbol that has to leave it."""

    slot: str
    candidate: Candidate
    replaced: str | None
    reason: AssignReason


class Release(msgspec.Struct, frozen=True):
    """`symbol`, whose score was `score`, loses its place, and nobody had to take it from it."""

    slot: str
    symbol: str
    score: float
    reason: ReleaseReason


class Overflow(msgspec.Struct, frozen=True):
    """A triggered symbol gets no place. Told once while its triggers last."""

    candidate: Candidate
    lowest_score: float
    reason: OverflowReason


Decision = Assign | Release | Overflow


def empty_slots(accounts: Iterable[str], settings: SlotSettings) -> SlotState:
    """The places of the accounts, numbered from 01, all free."""
    numbers = range(1, settings.max_slots + 1)
    return SlotState(tuple(Place(f"{account}:{number:02}") for account in accounts for number in numbers))


def allocate(
    state: SlotState,
    candidates: Iterable[Candidate],
    now_ns: int,
    settings: SlotSettings,
    dropped: AbstractSet[str] = frozenset(),
) -> tuple[SlotState, tuple[Decision, ...]]:
    """The state after the candidates had their say, and the decisions in the order in which they are to be carried out.

    Releases what expired and what is `dropped` (suspended, at its limit, delisted), renews who is a candidate again in
    its place, then seats the newcomers: in free places first, then in place of the lowest, if it is outscored by more
    than the threshold. A pinned symbol needs no score to replace one that is not. Who fills by market capitalisation
    yields to every trigger, replaces none, and never overflows.
    """
    admissible = (item for item in candidates if item.alive(now_ns) and item.symbol not in dropped)
    wanted = _one_each(admissible)
    seating = _Seating(state, now_ns, settings.replacement_threshold)
    seating.review(wanted, dropped)
    seated = state.symbols
    newcomers = [candidate for candidate in wanted.values() if candidate.symbol not in seated]
    for candidate in sorted(newcomers, key=_order):
        seating.seat(candidate)
    return seating.state(), tuple(seating.decisions)


def unpin(state: SlotState, symbol: str, now_ns: int) -> tuple[SlotState, tuple[Decision, ...]]:
    """A person takes back the wish for a symbol: its place is free. A trigger that holds may win it again."""
    seating = _Seating(state, now_ns, threshold=1.0)
    seating.forget_overflow(symbol)
    for index, place in enumerate(state.places):
        if place.candidate is not None and place.candidate.symbol == symbol and place.candidate.kind == _PINNED:
            seating.release(index, place.candidate, "unpinned")
    return seating.state(), tuple(seating.decisions)


def restore(state: SlotState) -> tuple[str, ...]:
    """The symbols that hold places, most important first: the order in which to register them again."""
    held = [place.candidate for place in state.places if place.candidate is not None]
    return tuple(candidate.symbol for candidate in sorted(held, key=_order))


def statuses(state: SlotState, registered: AbstractSet[str]) -> dict[str, SlotStatus]:
    """The status of each place (requirement 004, Slot Lifecycle), given what the broker has acknowledged.

    Computed from the two truths, what is wanted and what is registered, so that it cannot fall out of step with them.
    """
    wanted = state.symbols
    return {place.slot: _status(place, registered, wanted) for place in state.places}


class _Seating:
    """One allocation under way: the places being changed, and the decisions so far."""

    def __init__(self, state: SlotState, now_ns: int, threshold: float) -> None:
        self._places = list(state.places)
        self._overflowed = {
            symbol: end_ns for symbol, end_ns in state.overflowed.items() if end_ns is None or end_ns > now_ns
        }
        self._now_ns = now_ns
        self._threshold = threshold
        self.decisions: list[Decision] = []

    def state(self) -> SlotState:
        """The state as it is now."""
        return SlotState(tuple(self._places), self._overflowed)

    def review(self, wanted: Mapping[str, Candidate], dropped: AbstractSet[str]) -> None:
        """Let those go who must, and renew the others."""
        for symbol in dropped:
            self.forget_overflow(symbol)
        for index, place in enumerate(self._places):
            held = place.candidate
            if held is None:
                continue
            if held.symbol in dropped:
                self.release(index, held, "dropped")
                continue
            renewed = _renewed(held, wanted.get(held.symbol), self._now_ns)
            if renewed is None:
                self.release(index, held, "expired")
            else:
                self._places[index] = msgspec.structs.replace(place, candidate=renewed)

    def release(self, index: int, held: Candidate, reason: ReleaseReason) -> None:
        """Free a place."""
        slot = self._places[index].slot
        self._places[index] = Place(slot, None, held.symbol)
        self.decisions.append(Release(slot, held.symbol, held.score, reason))

    def forget_overflow(self, symbol: str) -> None:
        """Should the symbol overflow again, that is news."""
        self._overflowed.pop(symbol, None)

    def seat(self, candidate: Candidate) -> None:
        """Give the candidate a place, or say that there is none."""
        free = next((index for index, place in enumerate(self._places) if place.candidate is None), None)
        if free is not None:
            self._assign(free, candidate, "pinned" if candidate.kind == _PINNED else "free_place")
            return
        weakest = self._weakest()
        if weakest is not None and _outranks(candidate, weakest[1], self._threshold):
            self._assign(weakest[0], candidate, "pinned" if candidate.kind == _PINNED else "outranks")
        elif candidate.kind != _FILLER:
            self._overflow(candidate, "all_places_pinned" if weakest is None else "all_places_hold_higher_scores")

    def _weakest(self) -> tuple[int, Candidate] | None:
        """The lowest of those who can be replaced."""
        held = [
            (index, place.candidate)
            for index, place in enumerate(self._places)
            if place.candidate is not None and place.candidate.kind != _PINNED
        ]
        return max(held, key=lambda item: _order(item[1]), default=None)

    def _assign(self, index: int, candidate: Candidate, reason: AssignReason) -> None:
        place = self._places[index]
        replaced = place.candidate.symbol if place.candidate is not None else None
        self._places[index] = Place(place.slot, candidate, replaced or place.previous_symbol)
        self.forget_overflow(candidate.symbol)
        self.decisions.append(Assign(place.slot, candidate, replaced, reason))

    def _overflow(self, candidate: Candidate, reason: OverflowReason) -> None:
        if candidate.symbol not in self._overflowed:
            lowest = min(place.candidate.score for place in self._places if place.candidate is not None)
            self.decisions.append(Overflow(candidate, lowest, reason))
        self._overflowed[candidate.symbol] = candidate.expires_ns


def _order(candidate: Candidate) -> _Order:
    """The smaller, the more important; total, so that no order of arrival shows through."""
    tier = {_PINNED: 0, _FILLER: 2}.get(candidate.kind, 1)
    return tier, -candidate.score, -candidate.market_cap_krw, candidate.symbol


def _one_each(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """The most important candidate of each symbol."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        rival = first.get(candidate.symbol)
        if rival is None or _preference(candidate) < _preference(rival):
            first[candidate.symbol] = candidate
    return first


def _preference(candidate: Candidate) -> tuple[_Order, float, str, float]:
    """The order among the candidates of one symbol: of equals the one that lives longer."""
    life_ns = float("inf") if candidate.expires_ns is None else candidate.expires_ns
    return _order(candidate), -life_ns, candidate.kind, candidate.measure


def _renewed(held: Candidate, fresh: Candidate | None, now_ns: int) -> Candidate | None:
    """Why a symbol keeps its place from now on; None when nothing holds it any more.

    The same condition takes its new score and life. Another one takes over when it ranks higher or the old one is over.
    """
    if fresh is None:
        return held if held.alive(now_ns) else None
    if fresh.kind == held.kind or not held.alive(now_ns):
        return fresh
    return min(held, fresh, key=_order)


def _outranks(newcomer: Candidate, held: Candidate, threshold: float) -> bool:
    """Whether a newcomer may take the place of one that is not pinned."""
    if newcomer.kind == _PINNED:
        return True
    if held.kind == _FILLER and newcomer.kind != _FILLER:
        return True
    if newcomer.kind == _FILLER and held.kind != _FILLER:
        return False
    return newcomer.score > held.score * threshold


def _status(place: Place, registered: AbstractSet[str], wanted: AbstractSet[str]) -> SlotStatus:
    if place.candidate is not None:
        return "active" if place.candidate.symbol in registered else "allocated"
    if place.previous_symbol in registered and place.previous_symbol not in wanted:
        return "releasing"
    return "available"
