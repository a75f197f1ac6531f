"""Who gets a place, and why. Requirement 004, Slot Management.

Places are fixed ("main:01"): a symbol keeps its place until it is replaced or released, so an id never means two
symbols at a time (design.md 6.5). `allocate` is a function from a state and candidates to a new state and the decisions
that lead to it; the order in which candidates are given does not matter.

Symbols rank by tier, then score, then market capitalisation, then code: pinned ones first, then triggered ones, then
those that merely fill what is free (market capitalisation).

An account that is *closed* (its stream is down, its keys are refused) gives nobody a new place. Its symbols move, most
important first, to places elsewhere: free ones, or those of somebody whom they outrank. Who finds none keeps the closed
place, and is tried again; who moved goes home when the account opens and its old place is free (requirement 004,
Provider Pool: failover). Where every account is closed none is: places are given as ever, for when one is back.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Literal

import msgspec

from observer.selection.churn import Churn, is_rapid, lengthened
from observer.selection.settings import SlotSettings
from observer.selection.triggers import Candidate

AssignReason = Literal["free_place", "outranks", "pinned", "kept", "moved", "moved_home"]
DropReason = Literal["delisted", "halted", "upper_limit"]
ReleaseReason = Literal["expired", "delisted", "halted", "upper_limit", "unpinned", "moved", "moved_home"]
OverflowReason = Literal["all_places_hold_higher_scores", "all_places_pinned"]
AllocationStrategy = Literal["round_robin", "priority"]

_FILLER: Final = "market_cap"
_PINNED: Final = "manual"
_NOBODY: Final[AbstractSet[str]] = frozenset()
_Order = tuple[int, float, float, str]


class Place(msgspec.Struct, frozen=True):
    """One registration of one account: who holds it now, and where the holder moved from (None: it did not)."""

    slot: str
    candidate: Candidate | None = None
    home: str | None = None

    @property
    def account(self) -> str:
        """Whose registration it is."""
        return self.slot.rpartition(":")[0]


class SlotState(msgspec.Struct, frozen=True):
    """All places, in their order; until when (UTC ns; None: without end) each overflow that was told lasts; which
    account's turn it is (round robin: its index among the accounts), and what is known of the latest replacements.
    """

    places: tuple[Place, ...]
    strategy: AllocationStrategy = "round_robin"
    overflowed: Mapping[str, int | None] = {}
    turn: int = 0
    churn: Churn = Churn()

    @property
    def symbols(self) -> frozenset[str]:
        """Who holds a place."""
        return frozenset(place.candidate.symbol for place in self.places if place.candidate is not None)

    def place_of(self, symbol: str) -> Place | None:
        """The place that the symbol holds."""
        held = (place for place in self.places if place.candidate is not None and place.candidate.symbol == symbol)
        return next(held, None)


class Assign(msgspec.Struct, frozen=True):
    """`candidate` gets the place `slot`; `replaced` is the symbol that has to leave it. "kept" is said of one who is
    there already and from now on for another trigger.
    """

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


def empty_slots(capacities: Mapping[str, int], strategy: AllocationStrategy = "round_robin") -> SlotState:
    """The places of the accounts (name to number of places), numbered from 01, all free."""
    slots = (f"{account}:{number:02}" for account, count in capacities.items() for number in range(1, count + 1))
    return SlotState(tuple(Place(slot) for slot in slots), strategy)


def allocate(
    state: SlotState,
    candidates: Iterable[Candidate],
    now_ns: int,
    settings: SlotSettings,
    dropped: Mapping[str, DropReason] = {},
    closed: AbstractSet[str] = _NOBODY,
) -> tuple[SlotState, tuple[Decision, ...]]:
    """The state after the candidates had their say, and the decisions in the order in which they are to be carried out.

    Releases what expired and who is `dropped`, renews who is a candidate again in its place, moves who is in an account
    that is `closed` and brings home who was, then seats the newcomers: in free places first, then in place of the
    lowest, if it is outscored by more than the threshold. A pinned symbol needs no score to replace one that is not.
    Who fills by market capitalisation yields to every trigger, replaces none, and never overflows.

    While replacements follow each other rapidly the threshold is higher and lives are longer (requirement 004, Rapid
    Symbol Churn).
    """
    rapid = is_rapid(state.churn, now_ns, settings)
    admissible = (item for item in candidates if item.alive(now_ns) and item.symbol not in dropped)
    wanted = _one_each(lengthened(item, now_ns, settings) if rapid else item for item in admissible)
    seating = _Seating(state, now_ns, settings.churn_threshold if rapid else settings.replacement_threshold, closed)
    seating.review(wanted, dropped)
    seating.bring_home()
    seating.evacuate()
    seated = state.symbols
    newcomers = [candidate for candidate in wanted.values() if candidate.symbol not in seated]
    for candidate in sorted(newcomers, key=_order):
        seating.seat(candidate)
    return seating.state(settings), tuple(seating.decisions)


def unpin(state: SlotState, symbol: str, settings: SlotSettings, now_ns: int) -> tuple[SlotState, tuple[Decision, ...]]:
    """A person takes back the wish for a symbol: its place is free. A trigger that holds may win it again."""
    seating = _Seating(state, now_ns, threshold=1.0, closed=_NOBODY)
    seating.forget_overflow(symbol)
    for index, place in enumerate(state.places):
        if place.candidate is not None and place.candidate.symbol == symbol and place.candidate.kind == _PINNED:
            seating.release(index, place.candidate, "unpinned")
    return seating.state(settings), tuple(seating.decisions)


def restore(state: SlotState) -> tuple[str, ...]:
    """The symbols that hold places, most important first: the order in which to register them again."""
    held = [place.candidate for place in state.places if place.candidate is not None]
    return tuple(candidate.symbol for candidate in sorted(held, key=_order))


def restore_by_account(state: SlotState) -> dict[str, tuple[str, ...]]:
    """For each account the symbols that hold its places, most important first."""
    accounts = dict.fromkeys(place.account for place in state.places)
    return {
        account: restore(SlotState(tuple(place for place in state.places if place.account == account)))
        for account in accounts
    }


class _Seating:
    """One allocation under way: the places being changed, and the decisions so far."""

    def __init__(self, state: SlotState, now_ns: int, threshold: float, closed: AbstractSet[str]) -> None:
        self._before = state
        self._places = list(state.places)
        self._accounts = tuple(dict.fromkeys(place.account for place in state.places))
        self._closed = closed if not closed >= set(self._accounts) else _NOBODY
        self._turn = state.turn
        self._overflowed = {
            symbol: end_ns for symbol, end_ns in state.overflowed.items() if end_ns is None or end_ns > now_ns
        }
        self._now_ns = now_ns
        self._threshold = threshold
        self.decisions: list[Decision] = []

    def state(self, settings: SlotSettings) -> SlotState:
        """The state as it is now."""
        replaced = sum(isinstance(item, Assign) and item.reason == "outranks" for item in self.decisions)
        churn = self._before.churn.after(replaced, self._now_ns, settings)
        return SlotState(tuple(self._places), self._before.strategy, self._overflowed, self._turn, churn)

    def review(self, wanted: Mapping[str, Candidate], dropped: Mapping[str, DropReason]) -> None:
        """Let those go who must, and renew the others."""
        for symbol in dropped:
            self.forget_overflow(symbol)
        for index, place in enumerate(self._places):
            held = place.candidate
            if held is None:
                continue
            if held.symbol in dropped:
                self.release(index, held, dropped[held.symbol])
                continue
            renewed = _renewed(held, wanted.get(held.symbol), self._now_ns)
            if renewed is None:
                self.release(index, held, "expired")
                continue
            self._places[index] = msgspec.structs.replace(place, candidate=renewed)
            if renewed.kind != held.kind:
                self.decisions.append(Assign(place.slot, renewed, None, "kept"))

    def bring_home(self) -> None:
        """Back to the places that their accounts could not keep open, most important first."""
        away = [(place.candidate, place) for place in self._places if place.candidate is not None and place.home]
        for candidate, place in sorted(away, key=lambda item: _order(item[0])):
            home = next((index for index, other in enumerate(self._places) if other.slot == place.home), None)
            if home is not None and self._is_open(home) and self._places[home].candidate is None:
                self._move(candidate, self._index_of(candidate.symbol), home, "moved_home", None)

    def evacuate(self) -> None:
        """Out of the accounts that are closed, most important first, as far as there is room elsewhere."""
        stranded = [
            (place.candidate, place)
            for index, place in enumerate(self._places)
            if place.candidate is not None and not self._is_open(index)
        ]
        for candidate, place in sorted(stranded, key=lambda item: _order(item[0])):
            goal = self._free()
            if goal is None:
                weakest = self._weakest()
                if weakest is None or not _outranks(candidate, weakest[1], self._threshold):
                    continue
                goal = weakest[0]
            self._move(candidate, self._index_of(candidate.symbol), goal, "moved", place.home or place.slot)

    def release(self, index: int, held: Candidate, reason: ReleaseReason) -> None:
        """Free a place."""
        slot = self._places[index].slot
        self._places[index] = Place(slot)
        self.decisions.append(Release(slot, held.symbol, held.score, reason))

    def forget_overflow(self, symbol: str) -> None:
        """Should the symbol overflow again, that is news."""
        self._overflowed.pop(symbol, None)

    def seat(self, candidate: Candidate) -> None:
        """Give the candidate a place, or say that there is none."""
        free = self._free()
        if free is not None:
            self._assign(free, candidate, "pinned" if candidate.kind == _PINNED else "free_place")
            return
        weakest = self._weakest()
        if weakest is not None and _outranks(candidate, weakest[1], self._threshold):
            self._assign(weakest[0], candidate, "pinned" if candidate.kind == _PINNED else "outranks")
        elif candidate.kind != _FILLER:
            self._overflow(candidate, "all_places_pinned" if weakest is None else "all_places_hold_higher_scores")

    def _is_open(self, index: int) -> bool:
        return self._places[index].account not in self._closed

    def _index_of(self, symbol: str) -> int:
        return next(
            index for index, place in enumerate(self._places) if place.candidate and place.candidate.symbol == symbol
        )

    def _free(self) -> int | None:
        """The next free place: of the account whose turn it is, or, by priority, of the first that has one."""
        free = [index for index, place in enumerate(self._places) if place.candidate is None and self._is_open(index)]
        if not free or self._before.strategy == "priority":
            return free[0] if free else None
        count = len(self._accounts)
        turns = {account: (number - self._turn) % count for number, account in enumerate(self._accounts)}
        chosen = min(free, key=lambda index: (turns[self._places[index].account], index))
        self._turn = (self._accounts.index(self._places[chosen].account) + 1) % count
        return chosen

    def _weakest(self) -> tuple[int, Candidate] | None:
        """The lowest of those who can be replaced."""
        held = [
            (index, place.candidate)
            for index, place in enumerate(self._places)
            if place.candidate is not None and place.candidate.kind != _PINNED and self._is_open(index)
        ]
        return max(held, key=lambda item: _order(item[1]), default=None)

    def _assign(self, index: int, candidate: Candidate, reason: AssignReason, home: str | None = None) -> None:
        place = self._places[index]
        replaced = place.candidate.symbol if place.candidate is not None else None
        self._places[index] = Place(place.slot, candidate, home)
        self.forget_overflow(candidate.symbol)
        self.decisions.append(Assign(place.slot, candidate, replaced, reason))

    def _move(
        self, candidate: Candidate, start: int, goal: int, reason: Literal["moved", "moved_home"], home: str | None
    ) -> None:
        self.release(start, candidate, reason)
        self._assign(goal, candidate, reason, home)

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
