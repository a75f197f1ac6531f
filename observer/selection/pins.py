"""An operator's pins for slots: the result of a request, and the pins in force. Pure.

A pin is independent of its slot: it lasts until it is removed, over days (docs/requirement.md), or as long as
`triggers.manual.ttl_seconds`. While its symbol may hold no slot the pin waits; the first evaluation that allows a slot
assigns one.
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
    SelectionStep,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Unpinned,
)
from observer.selection.allocation import PINNED

PinReason = PinWait | ReleaseReason | OverflowReason
"""Why a pinned symbol has no slot, in the words of the decision."""

WAITING: Final[Mapping[str, str]] = {
    "halted": "halted: gets a slot when trading resumes",
    "upper_limit": "at its upper limit: gets a slot when it leaves that",
    "venue_closed": "its venue is closed: gets a slot when that opens",
    "delisted": "delisted: gets no slot today",
    "all_slots_pinned": "all slots are pinned: gets one when another is unpinned",
    "not_in_universe": "not in the day's universe: gets a slot on a day on which it is",
}
"""The outlook of a pin without a slot, by the reason."""


class PinRequest(msgspec.Struct, frozen=True):
    """The result of pinning or unpinning: the slot concerned, and the resulting events.

    A pin without a slot names the condition that it `waits_for` to end. `is_news` is false for a symbol that was pinned
    already. `until_ns` is the end of the pin (UTC ns; None: until it is removed).
    """

    slot: str | None
    events: Sequence[Event]
    is_news: bool = True
    waits_for: PinWait | None = None
    until_ns: int | None = None


class PinRefusal(msgspec.Struct, frozen=True):
    """A pin request that failed without a change; `events` report that a slot was refused."""

    code: Literal["unknown_symbol", "no_slot", "not_pinned"]
    reason: str
    events: Sequence[Event] = ()


def kept_pins(ends: Mapping[str, int | None], waiting: Mapping[str, PinWait]) -> PinsKept:
    """The step that keeps the pins of earlier days until their ends, with the waiting ones and their reasons."""
    return PinsKept(tuple(KeptPin(symbol, waiting.get(symbol), until_ns) for symbol, until_ns in ends.items()))


class PinState:
    """A fold over a day's events in order: the pins in force, in the order of their requests, and why one has no slot
    (None: it has one); `ends` are their ends (UTC ns; None: until removed). A pin whose time is over is in force until
    the next step.
    """

    def __init__(self) -> None:
        self.standing: dict[str, PinReason | None] = {}
        self.ends: dict[str, int | None] = {}

    def apply(self, event: Event) -> None:
        """Apply the next event of the day."""
        match event:
            case SelectionAdvanced(step=step):
                self._advance(step, event.advanced_ns)
            case SlotAssigned() if event.symbol in self.standing:
                self.standing[event.symbol] = None
            case SlotReleased() if event.symbol in self.standing:
                self.standing[event.symbol] = event.reason
            case SlotOverflowed(trigger=trigger) if trigger == PINNED and event.symbol in self.standing:
                self.standing[event.symbol] = event.reason

    def _advance(self, step: SelectionStep, now_ns: int) -> None:
        for symbol in [symbol for symbol, until_ns in self.ends.items() if until_ns is not None and until_ns <= now_ns]:
            self._remove(symbol)
        match step:
            case Pinned(symbol=symbol, waits_for=waits_for, until_ns=until_ns):
                self.standing[symbol], self.ends[symbol] = waits_for, until_ns
            case Unpinned(symbol=symbol):
                self._remove(symbol)
            case PinsKept(pins=pins):
                self.standing |= {pin.symbol: pin.waits_for for pin in pins}
                self.ends |= {pin.symbol: pin.until_ns for pin in pins}

    def _remove(self, symbol: str) -> None:
        self.standing.pop(symbol, None)
        self.ends.pop(symbol, None)


def pins_after(events: Iterable[Event]) -> PinState:
    """The pins in force after these events of a day."""
    reported = PinState()
    for event in events:
        reported.apply(event)
    return reported
