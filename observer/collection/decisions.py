"""The steps of the selection, identical on a live day and in a replay of the stored events. Pure.

A replay must reproduce the decisions of the same events: the same triggers, slots and gaps, event for event, in the
same order. For conflated trades the selection uses the stored rows, live as in the replay. Events that the disk refused
cannot be reproduced.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Final, assert_never

import msgspec

from bus.events import (
    AccountsClosed,
    ChurnGuardChanged,
    DayBegan,
    Event,
    GapDetected,
    GapEmpty,
    GapOpened,
    HistoryApplied,
    ListingApplied,
    MarketStateChanged,
    Pinned,
    PinRefused,
    PinsKept,
    RiseApplied,
    SelectionAdvanced,
    SelectionStep,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    SlotsClosed,
    SlotsEvaluated,
    SlotsOpened,
    SlotsResumed,
    Snapshot,
    Trade,
    TradesConflated,
    TriggerEnded,
    TriggerFired,
    UniverseEvaluated,
    UniverseMember,
    Unpinned,
    WatchChanged,
)
from observer.base.errors import NotReplayableError
from observer.gaps.detector import REPEATED, GapDetector
from observer.gaps.outages import GapTracker, Resolution
from observer.selection import context
from observer.selection.context import Baseline, Opening, OpeningPoint
from observer.selection.market_stops import BEGIN
from observer.selection.selector import Selector
from observer.selection.slot_projection import SlotProjection

SlotDecision = (
    TriggerFired | TriggerEnded | SlotAssigned | SlotExtended | SlotReleased | SlotOverflowed | ChurnGuardChanged
)

Decision = SlotDecision | GapOpened | GapEmpty | GapDetected

SlotEvent = SlotDecision | MarketStateChanged | SelectionAdvanced

NewSelector = Callable[[DayBegan], Selector]
"""Builds the selector of the process that published this step."""

MembersOf = Callable[[int], Sequence[UniverseMember]]

_NOTHING: Final[Sequence[Event]] = ()


class Difference(msgspec.Struct, frozen=True):
    """The first differing decision, `number` counted from 1. A side without this decision is None."""

    number: int
    recorded: Event | None
    replayed: Event | None


class DecisionComparison(msgspec.Struct, frozen=True):
    """Equal decisions by kind, the first difference, or why the comparison ends."""

    same: Mapping[str, int]
    difference: Difference | None = None
    unclear: str = ""

    @property
    def is_same(self) -> bool:
        """Whether the replay reproduced all of the day's decisions."""
        return self.difference is None and not self.unclear


class DecisionReplay:
    """Takes a day's events in the order of Track B's event streams, and returns the decisions made at each.

    Args:
        new_selector: builds the selector of a process.
        snapshots: all of the day, oldest first.
        members_of: the members of the day's build of this time.
    """

    def __init__(self, new_selector: NewSelector, snapshots: Sequence[Snapshot], members_of: MembersOf) -> None:
        self._new_selector = new_selector
        self._snapshots = snapshots
        self._members_of = members_of
        self._seen: Sequence[Snapshot] = ()
        self._selector: Selector | None = None
        self._gaps = GapTracker()
        self._reported: list[Event] = []  # the earlier events that a resuming process reads

    def take(self, event: Event) -> Sequence[Event]:
        """The decisions that follow from this event.

        Raises:
            NotReplayableError: later decisions cannot be reproduced; with the reason.
        """
        if isinstance(event, SlotEvent):
            self._reported.append(event)
        match event:
            case Trade(gap_id=None):
                return self._trade(event)
            case TradesConflated():
                return self._conflated(event)
            case WatchChanged() if (found := self._gaps.apply(event)) is not None:
                return [found]
            case SelectionAdvanced():
                return self._advance(event.step, event.advanced_ns)
            case MarketStateChanged() if self._selector is not None:
                self._selector.market.update_state(event)
        return _NOTHING

    def _trade(self, trade: Trade) -> Sequence[Event]:
        outcome = self._gaps.observe(trade)
        if outcome == "unwatched":
            self._gaps.detector.note(trade)  # Track B kept it
        if outcome not in REPEATED and self._selector is not None:
            self._selector.market.update_trade(trade)
        return [outcome] if isinstance(outcome, Resolution) else _NOTHING

    def _conflated(self, row: TradesConflated) -> Sequence[Event]:
        outcome = self._gaps.observe(_as_one(row))
        if outcome not in REPEATED and self._selector is not None:
            self._selector.market.update_conflated(row)
        return [outcome] if isinstance(outcome, Resolution) else _NOTHING

    def _advance(self, step: SelectionStep, now_ns: int) -> Sequence[Event]:
        if isinstance(step, DayBegan):
            self._begin(step)
            return _NOTHING
        if self._selector is None:
            raise NotReplayableError(f"the first step of Track B is not there: it is followed by {step}")
        return self._decide(self._selector, step, now_ns)

    def _begin(self, began: DayBegan) -> None:
        if len(self._snapshots) < began.snapshots:
            raise NotReplayableError(f"only {len(self._snapshots)} of {began.snapshots} snapshots are there")
        self._selector = self._new_selector(began)
        if began.history_ns is not None:
            self._apply_history(self._selector, began.history_ns)
        self._gaps = GapTracker(self._selector.main_venue)
        self._seen = self._snapshots[: began.snapshots]
        update_seen(self._selector, self._seen)

    def _decide(self, selector: Selector, step: SelectionStep, now_ns: int) -> Sequence[Event]:
        match step:
            case SlotsOpened():
                return open_slots(selector, *opening_of(self._seen), now_ns)
            case PinsKept(pins):
                return selector.keep_pins({pin.symbol: pin.until_ns for pin in pins}, now_ns)
            case SlotsResumed():
                return resume(selector, self._reported, self._seen, now_ns)
            case UniverseEvaluated():
                self._sweep(selector, step)
                return selector.evaluate_universe(now_ns)
            case SlotsEvaluated():
                return evaluate_slots(selector, self._gaps.detector, now_ns)
            case RiseApplied():
                return selector.evaluate_rise(step, now_ns)
            case ListingApplied():
                update_listing(selector, step, now_ns)
            case HistoryApplied(built_ns):
                self._apply_history(selector, built_ns)
            case AccountsClosed(accounts):
                return selector.close_accounts(frozenset(accounts), now_ns)
            case Pinned(symbol) | PinRefused(symbol):
                return selector.pin(symbol, now_ns).events
            case Unpinned(symbol):
                return selector.unpin(symbol, now_ns).events
            case SlotsClosed(reason):
                return selector.close(now_ns, reason)
            case DayBegan():
                raise AssertionError("a day's beginning decides nothing")
            case _:
                assert_never(step)
        return _NOTHING

    def _apply_history(self, selector: Selector, built_ns: int) -> None:
        if not (members := self._members_of(built_ns)):
            raise NotReplayableError(f"the universe with the history, built at {built_ns}, is not there")
        selector.update_history(members)

    def _sweep(self, selector: Selector, step: UniverseEvaluated) -> None:
        swept = swept_in(step, self._snapshots)
        if len(swept) != step.snapshots:
            seen = f"{len(swept)} snapshots are there, {step.snapshots} were taken in"
            raise NotReplayableError(f"of sweep {step.sweep} {seen}")
        for snapshot in swept:
            selector.market.update_snapshot(snapshot)


def verified(events: Iterable[Event], replay: DecisionReplay) -> DecisionComparison:
    """Recompute the decisions and compare them with the recorded ones."""
    recorded: deque[Event] = deque()
    replayed: deque[Event] = deque()
    same: dict[str, int] = {}
    is_empty = True
    try:
        for event in events:
            is_empty = False
            replayed += replay.take(event)
            if isinstance(event, Decision):
                recorded.append(event)
            while recorded and replayed:
                one, other = recorded.popleft(), replayed.popleft()
                if one != other:
                    return DecisionComparison(same, Difference(sum(same.values()) + 1, one, other))
                kind = type(one).__name__
                same[kind] = same.get(kind, 0) + 1
    except NotReplayableError as error:
        return DecisionComparison(same, unclear=str(error))
    if recorded or replayed:
        sides = (recorded[0] if recorded else None, replayed[0] if replayed else None)
        return DecisionComparison(same, Difference(sum(same.values()) + 1, *sides))
    return DecisionComparison(same, unclear="no steps are recorded" if is_empty else "")


def _as_one(row: TradesConflated) -> Trade:
    """The row as the detector's input: one trade with the row's volume. The detector ignores price and side."""
    return Trade(
        provider=row.provider,
        symbol=row.symbol,
        session_date=row.session_date,
        exchange_time_ns=row.to_ns,
        receive_time_ns=row.receive_time_ns,
        price=row.close,
        volume=row.volume,
        cumulative_volume=row.cumulative_volume,
        cumulative_trades=row.cumulative_trades,
        side="auction",
        bid=None,
        ask=None,
        venue=row.venue,
    )


# --- the steps ---


def swept_in(step: UniverseEvaluated, snapshots: Iterable[Snapshot]) -> Sequence[Snapshot]:
    """The snapshots that the step took in. A sweep that was cut short by the end of its process is repeated under the
    same number; the second one excludes snapshots of the first.
    """
    return [
        each
        for each in snapshots
        if each.sweep == step.sweep and step.started_ns <= each.receive_time_ns <= step.completed_ns
    ]


def sweeps_in(snapshots: Iterable[Snapshot]) -> Iterator[Sequence[Snapshot]]:
    """The snapshots by sweep; they come oldest first."""
    return (list(swept) for _, swept in groupby(snapshots, key=attrgetter("sweep")))


def update_listing(selector: Selector, step: ListingApplied, reported_ns: int) -> None:
    selector.market.update_listing(step.symbol, reported_ns, delisted=step.delisted, suspended=step.suspended)


def update_seen(selector: Selector, snapshots: Iterable[Snapshot]) -> None:
    """Apply the snapshots from before the feed subscription, oldest first: their volumes and the universe's pace, not
    the trade rates between them.
    """
    for swept in sweeps_in(snapshots):
        for snapshot in swept:
            selector.market.update_snapshot(snapshot)
        selector.market.update_pace()
    selector.market.forget_rates()


def resume(selector: Selector, reported: Sequence[Event], seen: Sequence[Snapshot], now_ns: int) -> Sequence[Event]:
    """Resume an earlier process of this day from its events: halts, listings, triggers, slots and pins. `seen` are
    Track A's snapshots of the day until now.
    """
    slots = SlotProjection()
    for event in reported:
        slots.apply(event)
    selector.compare_with(opening_of(_seen_at_opening(reported, seen))[1])
    _update_halts(selector, reported, seen)
    return selector.resume(slots, now_ns)


def is_unfinished(reported: Sequence[Event]) -> bool:
    """Whether slots were assigned on a day that was not closed."""
    steps = (event.step for event in reported if isinstance(event, SelectionAdvanced))
    is_closed = any(isinstance(step, SlotsClosed) for step in steps)
    return not is_closed and any(isinstance(event, SlotAssigned) for event in reported)


def _seen_at_opening(reported: Iterable[Event], seen: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """The snapshots with which the process began that assigned the day's first slots."""
    snapshots = 0
    for event in reported:
        match event:
            case SelectionAdvanced(step=DayBegan() as began):
                snapshots = began.snapshots
            case SelectionAdvanced(step=SlotsOpened()):
                return seen[:snapshots]
    return ()


def _update_halts(selector: Selector, reported: Iterable[Event], seen: Iterable[Snapshot]) -> None:
    """Apply halts, stops, listings and the later sweeps that show trading, in the order of time."""
    past: list[tuple[int, MarketStateChanged | ListingApplied | Snapshot]] = []
    for event in reported:
        match event:
            case MarketStateChanged():
                past.append((event.receive_time_ns, event))
            case SelectionAdvanced(step=ListingApplied() as listing):
                past.append((event.advanced_ns, listing))
    concerned = {each.symbol for _, each in past}
    if any(isinstance(each, MarketStateChanged) and each.market_notice in BEGIN for _, each in past):
        concerned.update(selector.market.members)
    past += [(snapshot.receive_time_ns, snapshot) for snapshot in seen if snapshot.symbol in concerned]
    for moment_ns, each in sorted(past, key=itemgetter(0)):
        match each:
            case MarketStateChanged():
                selector.market.update_state(each)
            case ListingApplied():
                update_listing(selector, each, moment_ns)
            case Snapshot():
                selector.market.update_traded(each)


def opening_of(snapshots: Iterable[Snapshot]) -> tuple[Opening, Baseline]:
    """The opening's points by symbol, oldest first, and their baseline."""
    opening: defaultdict[str, list[OpeningPoint]] = defaultdict(list)
    for snapshot in snapshots:
        point = OpeningPoint(snapshot.price, snapshot.cumulative_volume, snapshot.receive_time_ns)
        opening[snapshot.symbol].append(point)
    return opening, context.baseline(opening)


def evaluate_slots(selector: Selector, detector: GapDetector, now_ns: int) -> Sequence[Event]:
    """Evaluate the symbols that hold slots; an account's symbols share its connection."""
    accounts = selector.wanted_by_account.values()
    delivered = {symbol: at_ns for each in accounts for symbol, at_ns in detector.delivered_ns(each).items()}
    return selector.evaluate_slots(now_ns, delivered)


def open_slots(selector: Selector, opening: Opening, base: Baseline, now_ns: int) -> Sequence[Event]:
    """Assign the day's first slots to the opening's movers, and give the triggers its baseline."""
    settings = selector.settings
    selector.compare_with(base)
    movers = context.movers(opening, base, settings)
    chosen = context.opening_candidates(movers, selector.market.members, base, selector.slots, now_ns, settings)
    return selector.open(chosen, now_ns)
