"""Folds over a day's events: the state of its slots for a process that resumes them, and the status of each. Pure.

The events determine the holder of each slot and its home, the waiting symbols, the latest replacements, the account in
turn, the closed accounts, the churn guard, the pins and the conditions that hold. They record a renewal of a trigger's
life only where it extends a slot: after a restart each trigger has one more life, from the restart for slot holders and
conditions that hold, from their last event for waiting symbols. A pin keeps its end.

The status of a slot is its holder and the broker's acknowledgement:

    available -> allocated -> active -> releasing -> available
    active -> replacing -> allocated
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal

import msgspec

from bus.events import (
    AccountsClosed,
    AssignReason,
    ChurnGuardChanged,
    DayBegan,
    DropReason,
    Event,
    ReleaseReason,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    StreamedTime,
    TriggerEnded,
    TriggerFired,
    TriggerKind,
    UniverseMember,
    WatchChanged,
    WatchInterrupted,
    WatchLearned,
    WatchResumed,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.base.spans import united
from observer.selection.allocation import FILLER, PINNED, WITHOUT_CLAIM, Churn, Slot, SlotState, is_churn
from observer.selection.pins import PinState
from observer.selection.settings import SelectionSettings
from observer.selection.triggers import ActiveTrigger, Candidate, TriggerKey, TriggersSettings, expiry

_TAKES_A_TURN: Final = frozenset({"free_slot", "pinned", "moved"})  # reasons for which a free slot was assigned


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
        self.active: dict[TriggerKey, ActiveTrigger] = {}

    def apply(self, event: Event) -> None:
        """Apply the next event of the day."""
        self.pins.apply(event)
        match event:
            case SlotAssigned():
                self._assigned(event)
            case SlotExtended():
                self._extended(event)
            case SlotReleased():
                self._released(event)
            case TriggerFired() if event.kind != PINNED:
                self.active[event.symbol, event.kind] = ActiveTrigger(event.fired_ns, event.fired_ns, event.expires_ns)
            case TriggerEnded():
                self.active.pop((event.symbol, event.kind), None)
            case SlotOverflowed() if (
                event.trigger != PINNED
            ):  # a pin is tracked by itself, and a refused one does not exist
                self.waiting[event.symbol] = event, event.overflowed_ns
            case ChurnGuardChanged():
                self.is_churning = event.engaged
            case SelectionAdvanced(step=AccountsClosed(accounts=closed)):
                self.closed = frozenset(closed)

    def _assigned(self, event: SlotAssigned) -> None:
        self.held[event.slot] = event
        self.homes.pop(event.slot, None)
        if event.reason == "moved":
            self.homes[event.slot] = self._left.pop(event.symbol, event.slot)
        if is_churn(event.reason, event.trigger):
            self.replaced_ns.append(event.assigned_ns)
        if event.replaced is None and event.reason in _TAKES_A_TURN:
            self.last_given = event.slot
        self.waiting.pop(event.symbol, None)

    def _extended(self, event: SlotExtended) -> None:
        held = self.held.get(event.slot)
        if held is not None:
            self.held[event.slot] = extended(held, event)
        if (active := self.active.get((event.symbol, event.trigger))) is not None:
            held_until_ns = max(active.held_until_ns, event.extended_ns)
            active = msgspec.structs.replace(active, held_until_ns=held_until_ns, expires_ns=event.expires_ns)
            self.active[event.symbol, event.trigger] = active

    def _released(self, event: SlotReleased) -> None:
        before = self.held.pop(event.slot, None)
        if event.replaced_by is not None and before is not None and before.trigger not in WITHOUT_CLAIM:
            self.waiting[event.symbol] = before, event.released_ns
        home = self.homes.pop(event.slot, event.slot)
        if event.reason == "moved":
            self._left[event.symbol] = home


def extended(held: SlotAssigned, event: SlotExtended) -> SlotAssigned:
    """The assignment after its extension; it keeps its time and reason."""
    return msgspec.structs.replace(held, trigger=event.trigger, score=event.score, expires_ns=event.expires_ns)


def resumed_triggers(
    reported: SlotProjection, now_ns: int, triggers: TriggersSettings
) -> Mapping[TriggerKey, ActiveTrigger]:
    """The conditions that hold, each with one more life."""
    return {
        (symbol, kind): msgspec.structs.replace(active, expires_ns=expiry(now_ns, triggers.of(kind).ttl_seconds))
        for (symbol, kind), active in reported.active.items()
    }


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
    held = reported.held
    accounts = list(dict.fromkeys(entry.account for entry in state.slots))

    def candidate(event: SlotAssigned | SlotOverflowed, since_ns: int) -> Candidate:
        member = members.get(event.symbol)
        has_age = settings.triggers.recent_volume.enabled and event.trigger not in (PINNED, FILLER)
        return Candidate(
            symbol=event.symbol,
            kind=event.trigger,
            score=event.score,
            expires_ns=_end_of(event, since_ns, settings, reported.pins),
            market_cap=member.market_cap if member else 0.0,
            strength=event.strength if isinstance(event, SlotOverflowed) else 0.0,  # an assignment carries none
            measure=event.measure if isinstance(event, SlotOverflowed) else 0.0,
            evidence_ns=since_ns if has_age else None,
            full_score=event.score,
        )

    def entry(empty: Slot) -> Slot:
        slot = empty.slot
        if slot not in held:
            return empty
        return Slot(slot, empty.account, candidate(held[slot], now_ns), reported.homes.get(slot), held[slot].expires_ns)

    slots = tuple(entry(each) for each in state.slots)
    found = {symbol: candidate(event, since_ns) for symbol, (event, since_ns) in reported.waiting.items()}
    waiting = {symbol: each for symbol, each in found.items() if each.alive(now_ns) and symbol not in dropped}
    overflowed = frozenset(symbol for symbol in waiting if isinstance(reported.waiting[symbol][0], SlotOverflowed))
    gave_last = next((each.account for each in slots if each.slot == reported.last_given), None)
    turn = 0 if gave_last is None else (accounts.index(gave_last) + 1) % len(accounts)
    churn = Churn(tuple(reported.replaced_ns)).after(0, now_ns, settings.slots)
    gone = held.keys() - {each.slot for each in slots}
    released = [
        SlotReleased(slot, each.symbol, now_ns, each.score, "account_removed", venue=each.venue)
        for slot, each in sorted(held.items())
        if slot in gone
    ]
    resumed = {"slots": slots, "waiting": waiting, "overflowed": overflowed, "turn": turn, "churn": churn}
    return msgspec.structs.replace(state, **resumed), released


def _end_of(
    event: SlotAssigned | SlotOverflowed, since_ns: int, settings: SelectionSettings, pins: PinState
) -> int | None:
    match event.trigger:
        case "market_cap":
            return None
        case "manual":
            return pins.ends.get(event.symbol)
        case "context":
            return expiry(since_ns, settings.context.ttl_seconds)
        case kind:
            return expiry(since_ns, settings.triggers.of(kind).ttl_seconds)


# --- the day's slots as intervals ---


class SlotInterval(msgspec.Struct, frozen=True):
    """A symbol's time in one slot, in UTC ns: from its assignment to its release, None while it lasts.

    `triggers` are those that held the slot, in order. `streamed` are the times between the broker's acknowledgements
    and the ends of the subscription, [from, to]; the last `to` is None while it lasts. A subscription outlives the slot
    until the broker has removed it, and may be acknowledged only after the release. That of a process which was killed
    ends with the last step that it published.
    """

    slot: str
    symbol: str
    assigned_ns: int
    reason: AssignReason
    triggers: tuple[TriggerKind, ...]
    score: float
    released_ns: int | None = None
    release_reason: ReleaseReason | None = None
    replaced_by: str | None = None
    streamed: tuple[tuple[int, int | None], ...] = ()


def slot_intervals(events: Iterable[Event]) -> Sequence[SlotInterval]:
    """The intervals of a day's events, in the order of their assignments."""
    found: list[SlotInterval] = []
    open_by_slot: dict[str, int] = {}
    of_symbol: dict[str, int] = {}  # the latest interval
    streamed_since: dict[str, tuple[int, int]] = {}  # by symbol: the interval, and the acknowledgement
    resumed: set[str] = set()  # of an earlier process; one without a slot is watched to be settled, not subscribed
    lived_ns = 0  # the latest time at which the process of the subscriptions was alive

    def change(number: int, **changes: object) -> None:
        found[number] = msgspec.structs.replace(found[number], **changes)

    def end_stream(symbol: str, at_ns: int) -> None:
        if (since := streamed_since.pop(symbol, None)) is not None:
            number, from_ns = since
            change(number, streamed=(*found[number].streamed[:-1], (from_ns, max(from_ns, at_ns))))

    def begin_stream(symbol: str, at_ns: int) -> None:
        number = of_symbol.get(symbol)
        is_settling = symbol in resumed and number is not None and found[number].released_ns is not None
        resumed.discard(symbol)
        if number is not None and not is_settling and symbol not in streamed_since:
            streamed_since[symbol] = number, at_ns
            change(number, streamed=(*found[number].streamed, (at_ns, None)))

    for event in events:
        match event:
            # A process has none of its predecessor's subscriptions.
            case SelectionAdvanced(step=DayBegan()) | WatchChanged(change=WatchResumed()):
                for symbol in list(streamed_since):
                    end_stream(symbol, lived_ns)
                if isinstance(event, WatchChanged):
                    resumed.add(event.symbol)
            case SelectionAdvanced():
                lived_ns = max(lived_ns, event.advanced_ns)
            case SlotAssigned():
                is_subscribed = event.symbol in streamed_since  # by its slot before
                end_stream(event.symbol, event.assigned_ns)
                open_by_slot[event.slot] = of_symbol[event.symbol] = len(found)
                of_trigger = (event.trigger,)
                found.append(
                    SlotInterval(event.slot, event.symbol, event.assigned_ns, event.reason, of_trigger, event.score)
                )
                if is_subscribed:
                    begin_stream(event.symbol, event.assigned_ns)
            case SlotExtended() if (number := open_by_slot.get(event.slot)) is not None:
                if found[number].triggers[-1] != event.trigger:
                    change(number, triggers=(*found[number].triggers, event.trigger))
            case SlotReleased() if (number := open_by_slot.pop(event.slot, None)) is not None:
                change(
                    number,
                    released_ns=event.released_ns,
                    release_reason=event.reason,
                    replaced_by=event.replaced_by,
                )
                if event.reason == "unfinished" and found[number].streamed:  # released by a later process
                    streamed_since.pop(event.symbol, None)
                    *earlier, (from_ns, to_ns) = found[number].streamed
                    ended_ns = max(from_ns, lived_ns if to_ns is None else min(to_ns, lived_ns))
                    change(number, streamed=(*earlier, (from_ns, ended_ns)))
            case WatchChanged(change=WatchStarted() | WatchLearned()):
                lived_ns = max(lived_ns, event.changed_ns)
                begin_stream(event.symbol, event.changed_ns)
            case WatchChanged(change=WatchInterrupted() | WatchStopped() | WatchSettled()):
                end_stream(event.symbol, event.changed_ns)
    return found


def streamed_times(slots: Iterable[SlotInterval], until_ns: int) -> Mapping[str, Sequence[StreamedTime]]:
    """By symbol, the times in which the broker streamed it, in order, disjoint. One that lasts ends at `until_ns`."""
    times: dict[str, list[tuple[int, int]]] = {}
    for slot in slots:
        for since_ns, ended_ns in slot.streamed:
            time = since_ns, max(since_ns, until_ns) if ended_ns is None else ended_ns
            times.setdefault(slot.symbol, []).append(time)
    return {symbol: [StreamedTime(*span) for span in united(each)] for symbol, each in times.items()}


# --- the status of each slot ---

SlotStatus = Literal["available", "allocated", "active", "releasing", "replacing"]
"""available: no holder. allocated: assigned, and the broker has not acknowledged the subscription (or it was lost).
active: acknowledged. releasing: released, and the subscription still exists. replacing: assigned, and the previous
holder's subscription still exists.
"""


class SlotStatuses:
    """Folds a day's events in order. `holders` are the current assignments by slot."""

    def __init__(self) -> None:
        self._slots = SlotProjection()
        self.holders = self._slots.held
        self._subscribed: dict[str, str] = {}  # by symbol: the slot by which it is subscribed

    def apply(self, event: Event) -> None:
        """Apply the next event of the day."""
        self._slots.apply(event)
        match event:
            case SelectionAdvanced(step=DayBegan()):  # a process has none of its predecessor's subscriptions
                self._subscribed.clear()
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
