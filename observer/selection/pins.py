"""An operator's pins for slots: the result of a request, and the pins in force. Pure.

A pin is independent of its slot: it lasts until it is removed, over days (requirement 004: a manual trigger does not
expire). While its symbol may hold no slot the pin waits; the first evaluation that allows a slot assigns one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.events import (
    Event,
    KeptPin,
    OverflowReason,
    Pinned,
    PinsKept,
    PinWait,
    ReleaseReason,
    SelectionAdvanced,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Unpinned,
)
from observer.selection.ranking import PINNED

PinReason = PinWait | ReleaseReason | OverflowReason
"""Why a pinned symbol has no slot, in the words of the decision."""

WAITING: Final[Mapping[str, str]] = {
    "halted": "halted: gets a slot when trading resumes",
    "upper_limit": "at its upper limit: gets a slot when it leaves that",
    "delisted": "delisted: gets no slot today",
    "all_slots_pinned": "all slots are pinned: gets one when another is unpinned",
    "not_in_universe": "not in the day's universe: gets a slot on a day on which it is",
}
"""The outlook of a pin without a slot, by the reason."""


class PinRequest(msgspec.Struct, frozen=True):
    """The result of pinning or unpinning: the slot concerned, and the resulting events.

    A pin without a slot names the condition that it `waits_for` to end. `is_news` is false for a symbol that was pinned
    already.
    """

    slot: str | None
    events: Sequence[Event]
    is_news: bool = True
    waits_for: PinWait | None = None


class PinRefusal(msgspec.Struct, frozen=True):
    """A pin request that failed without a change; `events` report that a slot was refused."""

    code: Literal["unknown_symbol", "no_slot", "not_pinned"]
    reason: str
    events: Sequence[Event] = ()


def kept_pins(symbols: Iterable[str], waiting: Mapping[str, PinWait]) -> PinsKept:
    """The step that keeps the pins of earlier days, with the waiting ones and their reasons."""
    return PinsKept(tuple(KeptPin(symbol, waiting.get(symbol)) for symbol in symbols))


class PinState:
    """A fold over a day's events in order: the pins in force, in the order of their requests, and why one has no slot
    (None: it has one).
    """

    def __init__(self) -> None:
        self.standing: dict[str, PinReason | None] = {}

    def apply(self, event: Event) -> None:
        """Apply the next event of the day."""
        match event:
            case SelectionAdvanced(step=Pinned(symbol=symbol, waits_for=waits_for)):
                self.standing[symbol] = waits_for
            case SelectionAdvanced(step=Unpinned(symbol=symbol)):
                self.standing.pop(symbol, None)
            case SelectionAdvanced(step=PinsKept(pins=pins)):
                self.standing |= {pin.symbol: pin.waits_for for pin in pins}
            case SlotAssigned() if event.symbol in self.standing:
                self.standing[event.symbol] = None
            case SlotReleased() if event.symbol in self.standing:
                self.standing[event.symbol] = event.reason
            case SlotOverflowed(trigger=trigger) if trigger == PINNED and event.symbol in self.standing:
                self.standing[event.symbol] = event.reason


def standing_pins(events: Iterable[Event]) -> Mapping[str, PinReason | None]:
    """The pins in force after these events of a day."""
    reported = PinState()
    for event in events:
        reported.apply(event)
    return reported.standing
