"""The places of the stream, who holds them, and what can be decided about them: the words of `slots`. Pure.

Places are fixed ("main:01"): a symbol keeps its place until it is replaced or released, so an id never means two
symbols at a time (design.md 6.5).
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Literal

import msgspec

from observer.selection.churn import Churn
from observer.selection.ranking import order
from observer.selection.triggers import Candidate

AssignReason = Literal["free_place", "outranks", "pinned", "kept", "moved", "moved_home"]
DropReason = Literal["delisted", "halted", "upper_limit"]
ReleaseReason = Literal["expired", "delisted", "halted", "upper_limit", "unpinned", "moved", "moved_home"]
OverflowReason = Literal["all_places_hold_higher_scores", "not_above_threshold", "all_places_pinned", "delisted"]
AllocationStrategy = Literal["round_robin", "priority"]

NOBODY: Final[AbstractSet[str]] = frozenset()


class Place(msgspec.Struct, frozen=True, gc=False):
    """One registration of one account: who holds it now, and where the holder moved from (None: it did not)."""

    slot: str
    candidate: Candidate | None = None
    home: str | None = None

    @property
    def account(self) -> str:
        """Whose registration it is."""
        return account_of(self.slot)


class SlotState(msgspec.Struct, frozen=True):
    """All places, in their order; by symbol who waits for one, and of whom it was told; which account's turn it is
    (round robin: its index among the accounts), and what is known of the latest replacements.
    """

    places: tuple[Place, ...]
    strategy: AllocationStrategy = "round_robin"
    waiting: Mapping[str, Candidate] = {}
    overflowed: AbstractSet[str] = NOBODY
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


class Assign(msgspec.Struct, frozen=True, gc=False):
    """`candidate` gets the place `slot`; `replaced` is the symbol that has to leave it. "kept" is said of one who is
    there already and from now on for another trigger.
    """

    slot: str
    candidate: Candidate
    replaced: str | None
    reason: AssignReason


class Release(msgspec.Struct, frozen=True, gc=False):
    """`symbol`, whose score was `score`, loses its place, and nobody had to take it from it."""

    slot: str
    symbol: str
    score: float
    reason: ReleaseReason


class Overflow(msgspec.Struct, frozen=True, gc=False):
    """A triggered symbol gets no place, as all are pinned, or hold higher scores, or lower ones that it does not
    outscore by the threshold. `lowest_score` is of those who can be replaced, 0 when nobody can. Told once while its
    triggers last; of a person's wish each time that it is refused.
    """

    candidate: Candidate
    lowest_score: float
    reason: OverflowReason


Decision = Assign | Release | Overflow


def account_of(slot: str) -> str:
    """Whose registration a place is."""
    return slot.rpartition(":")[0]


def empty_slots(capacities: Mapping[str, int], strategy: AllocationStrategy = "round_robin") -> SlotState:
    """The places of the accounts (name to number of places), numbered from 01, all free."""
    slots = (f"{account}:{number:02}" for account, count in capacities.items() for number in range(1, count + 1))
    return SlotState(tuple(Place(slot) for slot in slots), strategy)


def restore(state: SlotState) -> tuple[str, ...]:
    """The symbols that hold places, most important first: the order in which to register them again."""
    held = [place.candidate for place in state.places if place.candidate is not None]
    return tuple(candidate.symbol for candidate in sorted(held, key=order))


def restore_by_account(state: SlotState) -> dict[str, tuple[str, ...]]:
    """For each account the symbols that hold its places, most important first."""
    accounts = dict.fromkeys(place.account for place in state.places)
    return {
        account: restore(SlotState(tuple(place for place in state.places if place.account == account)))
        for account in accounts
    }
