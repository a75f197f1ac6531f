"""Folds over a day's events: the state of its slots for a process that resumes them, and the status of each. Pure.

The events determine the holder of each slot and its home, the waiting symbols, the latest replacements, the account in
turn, the closed accounts, the churn guard and the pins. They do not record renewals of a trigger's life: after a
restart each trigger has one more life, from the restart for slot holders, from their last event for waiting symbols.
A pin keeps its end.
Nor do they record which conditions hold already: these fire anew.

The status of a slot (requirement 004, Slot Lifecycle) is its holder and the broker's acknowledgement:

    available -> allocated -> active -> releasing -> available
    active -> replacing -> allocated
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal

from bus.events import (
    AccountsClosed,
    ChurnGuardChanged,
    DayBegan,
    DropReason,
    Event,
    SelectionAdvanced,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    UniverseMember,
    WatchChanged,
    WatchInterrupted,
    WatchLearned,
    WatchStarted,
    WatchStopped,
)
from observer.selection.pins import PinState
from observer.selection.ranking import FILLER, PINNED
from observer.selection.settings import SelectionSettings
from observer.selection.slots import Churn, Slot, SlotState
from observer.selection.triggers import Candidate, TriggersSettings, expiry

_TAKES_A_TURN: Final = frozenset({"free_slot", "pinned", "moved"})  # reasons for which a free slot was assigned
_UNKNOWN: Final = 0.0  # trigger data that an assignment does not carry


class SlotProjection:
    """Folds a day's events in order; events of other kinds are ignored."""

    def __init__(self) -> None:
        self.held: dict[str, SlotAssigned] = {}
        self.pins = PinState()
        self.closed: AbstractSet[str] = frozenset()
        self.is_churning = False
        self.homes: dict[str, str] = {}  # by slot: from where its holder moved
        self._left: dict[str, str] = {}  # by moving symbol: its home
        self.waiting: dict[str, tuple[SlotAssigned | SlotOverflowed, int]] = {}  # with the start of the wait
        self.replaced_ns: list[int] = []
        self.last_given = ""  # the slot

    def apply(self, event: Event) -> None:
        """Apply the next event of the day."""
        self.pins.apply(event)
        match event:
            case SlotAssigned():
                self._assigned(event)
            case SlotReleased():
                self._released(event)
            case SlotOverflowed() if (
                event.trigger != PINNED
            ):  # a pin is tracked by itself, and a refused one does not exist
                self.waiting[event.symbol] = event, event.overflowed_ns
            case ChurnGuardChanged():
                self.is_churning = event.engaged
            case SelectionAdvanced(step=AccountsClosed(accounts=closed)):
                self.closed = frozenset(closed)

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
            self.last_given = event.slot
        self.waiting.pop(event.symbol, None)

    def _released(self, event: SlotReleased) -> None:
        self.held.pop(event.slot, None)
        home = self.homes.pop(event.slot, event.slot)
        if event.reason == "moved":
            self._left[event.symbol] = home


def resumed_slots(
    reported: SlotProjection,
    state: SlotState,
    members: Mapping[str, UniverseMember],
    dropped: Mapping[str, DropReason],
    now_ns: int,
    settings: SelectionSettings,
) -> tuple[SlotState, Sequence[SlotReleased]]:
    """The empty slots of `state`, filled as an earlier process left them. Slots of an account that no longer exists are
    released.
    """
    triggers, held = settings.triggers, reported.held
    accounts = list(dict.fromkeys(entry.account for entry in state.slots))

    def candidate(event: SlotAssigned | SlotOverflowed, since_ns: int) -> Candidate:
        member = members.get(event.symbol)
        expires_ns = _end_of(event, since_ns, triggers, reported.pins)
        return _candidate(event, expires_ns, member.market_cap if member else _UNKNOWN)

    def entry(empty: Slot) -> Slot:
        slot = empty.slot
        if slot not in held:
            return empty
        return Slot(slot, empty.account, candidate(held[slot], now_ns), reported.homes.get(slot))

    slots = tuple(entry(each) for each in state.slots)
    found = {symbol: candidate(event, since_ns) for symbol, (event, since_ns) in reported.waiting.items()}
    waiting = {symbol: each for symbol, each in found.items() if each.alive(now_ns) and symbol not in dropped}
    overflowed = frozenset(symbol for symbol in waiting if isinstance(reported.waiting[symbol][0], SlotOverflowed))
    gave_last = next((each.account for each in slots if each.slot == reported.last_given), None)
    turn = 0 if gave_last is None else (accounts.index(gave_last) + 1) % len(accounts)
    churn = Churn(tuple(reported.replaced_ns)).after(0, now_ns, settings.slots)
    gone = held.keys() - {each.slot for each in slots}
    released = [
        SlotReleased(slot, held[slot].symbol, now_ns, held[slot].score, "account_removed") for slot in sorted(gone)
    ]
    return SlotState(slots, state.strategy, waiting, overflowed, turn, churn), released


def _end_of(
    event: SlotAssigned | SlotOverflowed, since_ns: int, triggers: TriggersSettings, pins: PinState
) -> int | None:
    match event.trigger:
        case "market_cap":
            return None
        case "manual":
            return pins.ends.get(event.symbol)
        case kind:
            return expiry(since_ns, triggers.of(kind).ttl_seconds)


def _candidate(event: SlotAssigned | SlotOverflowed, expires_ns: int | None, market_cap: float) -> Candidate:
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
        expires_ns=expires_ns,
        market_cap=market_cap,
    )


# --- the status of each slot ---

SlotStatus = Literal["available", "allocated", "active", "releasing", "replacing"]
"""available: no holder. allocated: assigned, and the broker has not acknowledged the subscription (or it was lost).
active: acknowledged. releasing: released, and the subscription still exists. replacing: assigned, and the previous
holder's subscription still exists.
"""


class SlotStatuses:
    """Folds a day's events in order. `holders` are the current assignments by slot."""

    def __init__(self) -> None:
        self.holders: dict[str, SlotAssigned] = {}
        self._subscribed: dict[str, str] = {}  # by symbol: the slot by which it is subscribed

    def apply(self, event: Event) -> None:
        """Apply the next event of the day."""
        match event:
            case SelectionAdvanced(step=DayBegan()):  # a process has none of its predecessor's subscriptions
                self._subscribed.clear()
            case SlotAssigned():
                self.holders[event.slot] = event
            case SlotReleased():
                self.holders.pop(event.slot, None)
            case WatchChanged(change=WatchStarted() | WatchLearned()):
                held = {holder.symbol: slot for slot, holder in self.holders.items()}
                if event.symbol in held:
                    self._subscribed[event.symbol] = held[event.symbol]
            case WatchChanged(change=WatchInterrupted() | WatchStopped()):
                self._subscribed.pop(event.symbol, None)

    def of(self, slot: str) -> SlotStatus:
        """The status of a slot after all applied events."""
        holder = self.holders.get(slot)
        if holder is not None and self._subscribed.get(holder.symbol) == slot:
            return "active"
        if slot in self._subscribed.values():
            return "releasing" if holder is None else "replacing"
        return "available" if holder is None else "allocated"
