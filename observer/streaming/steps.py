"""What the selection does in its steps, alike on a live day and when the day's decisions are made again. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from bus.events import Event, ListingChanged, MarketStateChanged, SelectionAdvanced, Snapshot
from observer.selection import context
from observer.selection.context import Baseline, Opening, OpeningPoint
from observer.selection.places_told import PlacesTold
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings

_UNUSUAL_HOURS: Final = ", unusual hours"
_DELISTED: Final = "delisted"
_SUSPENDED: Final = "suspended"


def begin_detail(selector: Selector, *, has_usual_hours: bool) -> str:
    """`SelectionAdvanced.detail` of the step "began"."""
    universe = next((member.session_date for member in selector.members.values()), "")
    return universe if has_usual_hours else universe + _UNUSUAL_HOURS


def universe_of(begun: SelectionAdvanced) -> tuple[str, bool]:
    """The session of the universe that a day began with ("" for none), and whether the day has the usual hours."""
    return begun.detail.removesuffix(_UNUSUAL_HOURS), not begun.detail.endswith(_UNUSUAL_HOURS)


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
