"""What the selection does in its steps, alike on a live day and when the day's decisions are made again. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import Event, ListingChanged, MarketStateChanged, SelectionAdvanced, Snapshot, UniverseMember
from observer.selection import context
from observer.selection.context import Baseline, Opening, OpeningPoint
from observer.selection.places_told import PlacesTold
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings

_UNUSUAL_HOURS: Final = "unusual hours"
_NOTHING_EARLIER: Final = "nothing of earlier days"
_DELISTED: Final = "delisted"
_SUSPENDED: Final = "suspended"


class Beginning(msgspec.Struct, frozen=True):
    """What a process begins its day with: the session of its universe ("" for none), whether the day has the usual
    hours, and whether it is compared with earlier days (their data may not be had in time).
    """

    universe: str
    has_usual_hours: bool
    knows_earlier_days: bool

    @property
    def detail(self) -> str:
        """`SelectionAdvanced.detail` of the step "began"."""
        words = ((_UNUSUAL_HOURS, not self.has_usual_hours), (_NOTHING_EARLIER, not self.knows_earlier_days))
        return ", ".join([self.universe, *(word for word, holds in words if holds)])


def universe_date(members: Iterable[UniverseMember]) -> str:
    """The session of the universe; "" for none."""
    return next((member.session_date for member in members), "")


def beginning_of(begun: SelectionAdvanced) -> Beginning:
    """What a day began with, as its step "began" tells."""
    universe, *words = begun.detail.split(", ")
    return Beginning(universe, _UNUSUAL_HOURS not in words, _NOTHING_EARLIER not in words)


def listing_detail(change: ListingChanged) -> str:
    """`SelectionAdvanced.detail` of the step "listing"."""
    words = ((_DELISTED, change.change == "removed"), (_SUSPENDED, change.suspended))
    return ", ".join(word for word, holds in words if holds)


def see_listing(selector: Selector, symbol: str, detail: str) -> None:
    """Show what has become of a listing."""
    words = detail.split(", ")
    selector.see_listing(symbol, delisted=_DELISTED in words, suspended=_SUSPENDED in words)


def see_latest(selector: Selector, snapshots: Iterable[Snapshot]) -> None:
    """Show what was seen last of each symbol before somebody listened, oldest first: the price limits that tell of a
    split among it.
    """
    for snapshot in {snapshot.symbol: snapshot for snapshot in snapshots}.values():
        selector.see_snapshot(snapshot)


def take_over(selector: Selector, told: Sequence[Event], now_ns: int) -> Sequence[Event]:
    """Go on where an earlier process of this day stopped, which published these events: with what it had heard of halts
    and listings, with its places and its wishes.
    """
    places = PlacesTold()
    for event in told:
        places.see(event)
        match event:
            case MarketStateChanged():
                selector.see_state(event)
            case SelectionAdvanced(step="listing"):
                see_listing(selector, event.symbol, event.detail)
    return selector.take_over(places, now_ns)


def opening_of(snapshots: Iterable[Snapshot]) -> tuple[Opening, Baseline]:
    """What was seen of the opening, oldest first, by symbol; and the average of it."""
    opening: defaultdict[str, list[OpeningPoint]] = defaultdict(list)
    for snapshot in snapshots:
        opening[snapshot.symbol].append(OpeningPoint(snapshot.price, snapshot.cumulative_volume))
    return opening, context.baseline(opening)


def open_places(
    selector: Selector, opening: Opening, base: Baseline, now_ns: int, settings: SelectionSettings
) -> Sequence[Event]:
    """Give the day's first places to the opening's movers."""
    movers = context.movers(opening, base, settings)
    chosen = context.opening_candidates(movers, selector.members, base, selector.places, now_ns, settings)
    return selector.open(chosen, now_ns)
