"""The slots of the accounts, their holders, their churn, and the decisions about them. Pure.

Slots are fixed ("main:01"): a symbol keeps its slot until it is replaced or released, so an id never means two symbols
at a time.

Churn (docs/requirement.md): each replacement costs two requests to a broker that blocks
keys which re-subscribe in loops, and seconds in which neither symbol is streamed. The times of the latest replacements
are its whole state.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from bus.events import AllocationStrategy, AssignReason, OverflowReason, ReleaseReason
from observer.base.units import NS_PER_S
from observer.selection.ranking import PINNED, order
from observer.selection.settings import SlotSettings
from observer.selection.triggers import Candidate


class Churn(msgspec.Struct, frozen=True):
    """Times (UTC ns) of the replacements in the last window, oldest first."""

    replaced_ns: tuple[int, ...] = ()

    def after(self, replacements: int, now_ns: int, settings: SlotSettings) -> "Churn":
        """Add this number of replacements now; drops those before the window."""
        return Churn((*self._recent(now_ns, settings), *(now_ns for _ in range(replacements))))

    def count(self, now_ns: int, settings: SlotSettings) -> int:
        """Replacements in the window that ends now."""
        return len(self._recent(now_ns, settings))

    def _recent(self, now_ns: int, settings: SlotSettings) -> tuple[int, ...]:
        horizon_ns = now_ns - round(settings.churn_window_seconds * NS_PER_S)
        return tuple(moment_ns for moment_ns in self.replaced_ns if moment_ns > horizon_ns)


def lengthened(candidate: Candidate, now_ns: int, settings: SlotSettings) -> Candidate:
    """The candidate with a longer life; a pin ends when it was requested to end."""
    if candidate.expires_ns is None or candidate.kind == PINNED:
        return candidate
    life_ns = candidate.expires_ns - now_ns
    return msgspec.structs.replace(candidate, expires_ns=now_ns + round(life_ns * settings.churn_ttl_factor))


NO_SYMBOLS: Final[AbstractSet[str]] = frozenset()


class Slot(msgspec.Struct, frozen=True, gc=False):
    """One subscription of one account: its current holder, the slot from which the holder moved (None: it did not), and
    until when it was assigned or extended (UTC ns; None: without end).
    """

    slot: str
    account: str
    candidate: Candidate | None = None
    home: str | None = None
    until_ns: int | None = None


class SlotState(msgspec.Struct, frozen=True):
    """All slots in order; the waiting candidates by symbol, and the symbols whose overflow was reported; the account in
    turn (round robin: its index among the accounts), the latest replacements, and how many slots fillers leave free.
    """

    slots: tuple[Slot, ...]
    strategy: AllocationStrategy = "round_robin"
    waiting: Mapping[str, Candidate] = {}
    overflowed: AbstractSet[str] = NO_SYMBOLS
    turn: int = 0
    churn: Churn = Churn()
    left_free: int = 0

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that hold a slot."""
        return frozenset(slot.candidate.symbol for slot in self.slots if slot.candidate is not None)

    def slot_of(self, symbol: str) -> Slot | None:
        """The slot that the symbol holds."""
        held = (slot for slot in self.slots if slot.candidate is not None and slot.candidate.symbol == symbol)
        return next(held, None)


def is_rapid(state: SlotState, now_ns: int, settings: SlotSettings) -> bool:
    """Whether the window that ends now has more replacements than allowed: so many for each account, as a broker counts
    the requests of each key.
    """
    accounts = len({slot.account for slot in state.slots})
    return state.churn.count(now_ns, settings) > settings.churn_max_replacements * accounts


class Assign(msgspec.Struct, frozen=True, gc=False):
    """Assigns `slot` to `candidate`; `replaced` is the symbol that loses it."""

    slot: str
    candidate: Candidate
    replaced: str | None
    reason: AssignReason


class Extend(msgspec.Struct, frozen=True, gc=False):
    """Extends the time of the holder of `slot`, by the same trigger or by another one."""

    slot: str
    candidate: Candidate


class Release(msgspec.Struct, frozen=True, gc=False):
    """Releases the slot of `symbol`, which had the score `score`; `replaced_by` is the symbol that gets it."""

    slot: str
    symbol: str
    score: float
    reason: ReleaseReason
    replaced_by: str | None = None


class Overflow(msgspec.Struct, frozen=True, gc=False):
    """A triggered symbol gets no slot, as all holders are pinned, or have higher scores, or lower ones that it does not
    outscore by the threshold. `lowest_score` is that of the replaceable holders, 0 without any. Reported once while
    its triggers last; for a pin at each refusal.
    """

    candidate: Candidate
    lowest_score: float
    reason: OverflowReason


Decision = Assign | Extend | Release | Overflow


def slot_ids(account: str, count: int) -> Sequence[str]:
    """The ids of an account's slots, numbered from 01."""
    return [f"{account}:{number:02}" for number in range(1, count + 1)]


def held_by_account(capacities: Mapping[str, int], held: Iterable[str]) -> Mapping[str, int]:
    """How many of the slots with these ids each account (name to number of slots) has; 0 for an unknown one."""
    owners = {slot: account for account, count in capacities.items() for slot in slot_ids(account, count)}
    return Counter(owners[slot] for slot in held if slot in owners)


def empty_slots(
    capacities: Mapping[str, int], strategy: AllocationStrategy = "round_robin", left_free: int = 0
) -> SlotState:
    """The slots of the accounts (name to number of slots), numbered from 01, all free."""
    slots = (Slot(slot, account) for account, count in capacities.items() for slot in slot_ids(account, count))
    return SlotState(tuple(slots), strategy, left_free=left_free)


def restore(state: SlotState) -> tuple[str, ...]:
    """The symbols that hold slots, most important first: the order of renewed subscriptions."""
    held = [slot.candidate for slot in state.slots if slot.candidate is not None]
    return tuple(candidate.symbol for candidate in sorted(held, key=order))


def restore_by_account(state: SlotState) -> dict[str, tuple[str, ...]]:
    """By account, the symbols that hold its slots, most important first."""
    accounts = dict.fromkeys(slot.account for slot in state.slots)
    return {
        account: restore(SlotState(tuple(slot for slot in state.slots if slot.account == account)))
        for account in accounts
    }
