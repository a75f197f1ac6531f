"""What a day's stored events tell of its places, for a process that takes them over, and for a replay of that. Pure.

Who holds which place and where its home is, who waits for one, the latest replacements, which account's turn it is,
which are closed, whether the guard against churn is engaged, whom a person wants: all of it follows from the events.
Not told is how often a trigger that goes on holding was given its full life again: after a restart each has one more,
in its place from the restart on, of those who wait from the last word about them on. Nor is told which conditions
hold already: they fire anew.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from bus.events import (
    ChurnGuardChanged,
    Event,
    SelectionAdvanced,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    UniverseMember,
)
from observer.selection.churn import Churn
from observer.selection.places import DropReason, Place, SlotState, account_of
from observer.selection.ranking import FILLER, PINNED
from observer.selection.settings import SelectionSettings, TriggersSettings
from observer.selection.triggers import Candidate, expiry
from observer.selection.wishes import WishesTold

_TAKES_A_TURN: Final = frozenset({"free_place", "pinned", "moved"})  # reasons of whoever was given a free place
_UNKNOWN: Final = 0.0  # what an assignment does not tell of its trigger


class PlacesTold:
    """Takes in a day's events in their order, of which others are none of its business."""

    def __init__(self) -> None:
        self.held: dict[str, SlotAssigned] = {}
        self.wishes = WishesTold()
        self.closed: AbstractSet[str] = frozenset()
        self.is_churning = False
        self.homes: dict[str, str] = {}  # by place: from where its holder moved
        self._left: dict[str, str] = {}  # by symbol that is moving: its home
        self.waiting: dict[str, tuple[SlotAssigned | SlotOverflowed, int]] = {}  # and since when
        self.replaced_ns: list[int] = []
        self.gave_last = ""

    def see(self, event: Event) -> None:
        """The next event of the day."""
        self.wishes.see(event)
        match event:
            case SlotAssigned():
                self._assigned(event)
            case SlotReleased():
                self._released(event)
            case SlotOverflowed() if event.trigger != PINNED:  # a wish speaks for itself, and a refused one is none
                self.waiting[event.symbol] = event, event.overflowed_ns
            case ChurnGuardChanged():
                self.is_churning = event.engaged
            case SelectionAdvanced(step="accounts_closed"):
                self.closed = frozenset(filter(None, event.detail.split(",")))

    def _assigned(self, event: SlotAssigned) -> None:
        before = self.held.get(event.slot)
        self.held[event.slot] = event
        if event.reason == "kept":
            return
        self.homes.pop(event.slot, None)
        if event.reason == "moved":
            self.homes[event.slot] = self._left.pop(event.symbol, event.slot)
        if event.replaced is not None and before is not None and before.trigger != FILLER:
            self.waiting[event.replaced] = before, event.assigned_ns
        if event.reason == "outranks":
            self.replaced_ns.append(event.assigned_ns)
        if event.replaced is None and event.reason in _TAKES_A_TURN:
            self.gave_last = account_of(event.slot)
        self.waiting.pop(event.symbol, None)

    def _released(self, event: SlotReleased) -> None:
        self.held.pop(event.slot, None)
        home = self.homes.pop(event.slot, event.slot)
        if event.reason == "moved":
            self._left[event.symbol] = home


def taken_over(
    told: PlacesTold,
    state: SlotState,
    members: Mapping[str, UniverseMember],
    dropped: Mapping[str, DropReason],
    now_ns: int,
    settings: SelectionSettings,
) -> tuple[SlotState, Sequence[SlotReleased]]:
    """The empty places of `state` as an earlier process left them. Those of an account that is there no more are
    released.
    """
    triggers, held = settings.triggers, told.held
    accounts = list(dict.fromkeys(place.account for place in state.places))

    def candidate(event: SlotAssigned | SlotOverflowed, since_ns: int) -> Candidate:
        member = members.get(event.symbol)
        return _candidate(event, since_ns, triggers, member.market_cap_krw if member else _UNKNOWN)

    def place(slot: str) -> Place:
        return Place(slot, candidate(held[slot], now_ns), told.homes.get(slot)) if slot in held else Place(slot)

    places = tuple(place(each.slot) for each in state.places)
    found = {symbol: candidate(event, since_ns) for symbol, (event, since_ns) in told.waiting.items()}
    waiting = {symbol: each for symbol, each in found.items() if each.alive(now_ns) and symbol not in dropped}
    overflowed = frozenset(symbol for symbol in waiting if isinstance(told.waiting[symbol][0], SlotOverflowed))
    turn = (accounts.index(told.gave_last) + 1) % len(accounts) if told.gave_last in accounts else 0
    churn = Churn(tuple(told.replaced_ns)).after(0, now_ns, settings.slots)
    gone = held.keys() - {each.slot for each in places}
    released = [
        SlotReleased(slot, held[slot].symbol, now_ns, held[slot].score, "account_removed") for slot in sorted(gone)
    ]
    return SlotState(places, state.strategy, waiting, overflowed, turn, churn), released


def _candidate(
    event: SlotAssigned | SlotOverflowed, since_ns: int, triggers: TriggersSettings, market_cap_krw: float
) -> Candidate:
    strength, measure = _UNKNOWN, _UNKNOWN
    if isinstance(event, SlotOverflowed):
        strength, measure = event.strength, event.measure
    return Candidate(
        symbol=event.symbol,
        kind=event.trigger,
        score=event.score,
        strength=strength,
        measure=measure,
        threshold=_UNKNOWN,
        reference=_UNKNOWN,
        expires_ns=None if event.trigger == FILLER else expiry(since_ns, triggers.of(event.trigger).ttl_seconds),
        market_cap_krw=market_cap_krw,
    )
