"""What the selection does in its steps, alike on a live day and when the day's decisions are made again. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, TypeGuard

import msgspec

from bus.events import (
    Event,
    ListingChanged,
    MarketStateChanged,
    SelectionAdvanced,
    Snapshot,
    SweepCompleted,
)
from observer.selection import context
from observer.selection.context import Baseline, Opening, OpeningPoint
from observer.selection.places_told import PlacesTold
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings

_UNUSUAL_HOURS: Final = "unusual hours"
_NOTHING_EARLIER: Final = "nothing of earlier days"
_BUILT: Final = "built "
_TO: Final = " to "
_DELISTED: Final = "delisted"
_SUSPENDED: Final = "suspended"


class Beginning(msgspec.Struct, frozen=True):
    """What a process begins its day with: the session of its universe ("" for none) and, where it is told, when that
    was built; whether the day has the usual hours; whether it is compared with earlier days, whose data may not be had
    in time.
    """

    universe: str
    built_ns: int | None
    has_usual_hours: bool
    knows_earlier_days: bool

    @property
    def detail(self) -> str:
        """`SelectionAdvanced.detail` of the step "began"."""
        words = (
            (f"{_BUILT}{self.built_ns}", self.built_ns is not None),
            (_UNUSUAL_HOURS, not self.has_usual_hours),
            (_NOTHING_EARLIER, not self.knows_earlier_days),
        )
        return ", ".join([self.universe, *(word for word, holds in words if holds)])


def beginning_of(began: SelectionAdvanced) -> Beginning:
    """What a day began with, as its step "began" tells."""
    universe, *words = began.detail.split(", ")
    built = [int(word.removeprefix(_BUILT)) for word in words if word.startswith(_BUILT)]
    return Beginning(universe, built[0] if built else None, _UNUSUAL_HOURS not in words, _NOTHING_EARLIER not in words)


def sweep_detail(sweep: SweepCompleted) -> str:
    """`SelectionAdvanced.detail` of the step "swept"."""
    return f"{sweep.started_ns}{_TO}{sweep.completed_ns}"


def swept_in(advanced: SelectionAdvanced, snapshots: Iterable[Snapshot]) -> Sequence[Snapshot]:
    """Those that the step "swept" took in. Where a sweep was cut short by the end of its process it is made again under
    the same number: what the first one saw is not of the second. A step that does not tell when has all of its number.
    """
    of_the_sweep = [snapshot for snapshot in snapshots if snapshot.sweep == advanced.sweep]
    if not advanced.detail:
        return of_the_sweep
    started_ns, _, completed_ns = advanced.detail.partition(_TO)
    return [each for each in of_the_sweep if int(started_ns) <= each.receive_time_ns <= int(completed_ns)]


def listing_detail(change: ListingChanged) -> str:
    """`SelectionAdvanced.detail` of the step "listing"."""
    words = ((_DELISTED, change.change == "removed"), (_SUSPENDED, change.suspended))
    return ", ".join(word for word, holds in words if holds)


def see_listing(selector: Selector, symbol: str, detail: str, told_ns: int) -> None:
    """Show what has become of a listing."""
    words = detail.split(", ")
    selector.see_listing(symbol, told_ns, delisted=_DELISTED in words, suspended=_SUSPENDED in words)


def see_latest(selector: Selector, snapshots: Iterable[Snapshot]) -> None:
    """Show what was seen last of each symbol before somebody listened, oldest first: the price limits that tell of a
    split among it.
    """
    for snapshot in {snapshot.symbol: snapshot for snapshot in snapshots}.values():
        selector.see_snapshot(snapshot)


def take_over(selector: Selector, told: Sequence[Event], seen: Iterable[Snapshot], now_ns: int) -> Sequence[Event]:
    """Go on where an earlier process of this day stopped, which published these events: with what it had heard of halts
    and listings, with its places and its wishes. `seen` is what Track A saw of the day until now.
    """
    places = PlacesTold()
    for event in told:
        places.see(event)
    _see_halts(selector, told, seen)
    return selector.take_over(places, now_ns)


def _see_halts(selector: Selector, told: Iterable[Event], seen: Iterable[Snapshot]) -> None:
    """Who was halted, and since when traded again, in the order of time."""
    words = [each for each in told if isinstance(each, MarketStateChanged) or _is_listing(each)]
    concerned = {word.symbol for word in words}
    swept = [snapshot for snapshot in seen if snapshot.symbol in concerned]
    for past in sorted([*words, *swept], key=_told_ns):
        match past:
            case MarketStateChanged():
                selector.see_state(past)
            case SelectionAdvanced():
                see_listing(selector, past.symbol, past.detail, past.advanced_ns)
            case Snapshot():
                selector.see_traded(past)


def _is_listing(event: Event) -> TypeGuard[SelectionAdvanced]:
    return isinstance(event, SelectionAdvanced) and event.step == "listing"


def _told_ns(past: MarketStateChanged | SelectionAdvanced | Snapshot) -> int:
    return past.advanced_ns if isinstance(past, SelectionAdvanced) else past.receive_time_ns


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
