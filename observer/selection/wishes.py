"""A person's wishes for places: what comes of one, and which stand. Pure.

A wish is apart from the place that it gets: it lasts until it is taken back, over days (requirement 004: a manual
trigger does not expire). While its symbol may hold no place it waits, and has one again at the first evaluation that
may give it one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.events import Event, SelectionAdvanced, SlotAssigned, SlotOverflowed, SlotReleased
from observer.selection.places import DropReason
from observer.selection.ranking import PINNED

WaitReason = DropReason | Literal["all_places_pinned", "not_in_universe"]

WAITING: Final[Mapping[str, str]] = {
    "halted": "halted: gets a place when trading resumes",
    "upper_limit": "at its upper limit: gets a place when it leaves that",
    "delisted": "delisted: gets no place today",
    "all_places_pinned": "all places are pinned: gets one when another is unpinned",
    "not_in_universe": "not in the day's universe: gets a place on a day on which it is",
}
"""What becomes of a wish that has no place, by why it has none."""

_REFUSED: Final = "refused"  # `SelectionAdvanced.detail` of a pin that is no wish


class Wished(msgspec.Struct, frozen=True):
    """A person's wish is taken, or taken back: the place that it is about, and what came of it.

    A wish without a place says what it `waits_for` to be over. `is_news` is false for what was wished already.
    """

    slot: str | None
    events: Sequence[Event]
    is_news: bool = True
    waits_for: WaitReason | None = None

    @property
    def detail(self) -> str:
        """`SelectionAdvanced.detail` of the steps "pinned" and "unpinned"."""
        return self.waits_for or ""


class NotWished(msgspec.Struct, frozen=True):
    """A person's wish cannot be fulfilled, and nothing changed; `events` tell that a place was refused."""

    code: Literal["unknown_symbol", "no_place", "not_pinned"]
    reason: str
    events: Sequence[Event] = ()

    @property
    def detail(self) -> str:
        """`SelectionAdvanced.detail` of the step "pinned"."""
        return _REFUSED


def kept_detail(symbols: Iterable[str], waiting: Mapping[str, WaitReason]) -> str:
    """`SelectionAdvanced.detail` of the step "wishes_kept": the wishes of earlier days, and why one has no place."""
    return ",".join(f"{symbol}={waiting.get(symbol, '')}" for symbol in symbols)


def kept_of(detail: str) -> Mapping[str, str]:
    """What `kept_detail` wrote: by symbol why it has no place, "" where it has one."""
    return {symbol: reason for symbol, _, reason in (each.partition("=") for each in detail.split(","))}


class WishesTold:
    """Takes in a day's events in their order: which wishes stand after them, in the order of asking, and why one has no
    place, in the words of the decision that left it without ("" for one that has a place).
    """

    def __init__(self) -> None:
        self.standing: dict[str, str] = {}

    def see(self, event: Event) -> None:
        """The next event of the day; most are none of its business."""
        match event:
            case SelectionAdvanced(step="pinned") if event.detail != _REFUSED:
                self.standing[event.symbol] = event.detail
            case SelectionAdvanced(step="unpinned"):
                self.standing.pop(event.symbol, None)
            case SelectionAdvanced(step="wishes_kept"):
                self.standing |= kept_of(event.detail)
            case SlotAssigned() if event.symbol in self.standing:
                self.standing[event.symbol] = ""
            case SlotReleased() if event.symbol in self.standing:
                self.standing[event.symbol] = event.reason
            case SlotOverflowed(trigger=trigger) if trigger == PINNED and event.symbol in self.standing:
                self.standing[event.symbol] = event.reason


def standing_wishes(events: Iterable[Event]) -> Mapping[str, str]:
    """The wishes that stand after these events of a day."""
    told = WishesTold()
    for event in events:
        told.see(event)
    return told.standing
