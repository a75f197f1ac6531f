"""A day's decisions made again, from what Track B published: its trades, and the steps of selection and watch. Pure.

What was decided on the day stands in the same stream, and must come out again: the same triggers, places and gaps,
event for event, in the same order. Where trades were conflated it was their rows that were seen on the day, as they are
here. Not so where the disk refused events.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, assert_never

import msgspec

from bus.events import (
    ChurnGuardChanged,
    Event,
    GapDetected,
    GapReason,
    MarketStateChanged,
    SelectionAdvanced,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    Trade,
    TradesConflated,
    TriggerFired,
    WatchChanged,
)
from observer.errors import NotReplayableError
from observer.gaps.detector import GapDetector, Mark
from observer.selection.selector import CloseReason, Selector
from observer.selection.settings import SelectionSettings
from observer.selection.wishes import kept_of
from observer.streaming import steps

Decision = TriggerFired | SlotAssigned | SlotReleased | SlotOverflowed | ChurnGuardChanged | GapDetected

PlaceEvent = MarketStateChanged | SelectionAdvanced | SlotAssigned | SlotReleased | SlotOverflowed | ChurnGuardChanged

NewSelector = Callable[[SelectionAdvanced], Selector]
"""The selector that a process began with, which published this."""

_NOTHING: Final[Sequence[Event]] = ()


class Difference(msgspec.Struct, frozen=True):
    """The first decision that came out otherwise, `number` counted from 1; None is one that is on one side only."""

    number: int
    recorded: Event | None
    replayed: Event | None


class Verdict(msgspec.Struct, frozen=True):
    """How many decisions, by kind, came out the same; the first that did not; or why nothing can be said from there."""

    same: Mapping[str, int]
    difference: Difference | None = None
    unclear: str = ""

    @property
    def is_same(self) -> bool:
        """Whether all of the day's decisions came out again."""
        return self.difference is None and not self.unclear


class DecisionReplay:
    """Takes a day's events in the order of Track B's streams, and answers each with the decisions made at it.

    Args:
        new_selector: builds what a process began with.
        settings: of the whole selection.
        snapshots: all of the day, oldest first.
    """

    def __init__(self, new_selector: NewSelector, settings: SelectionSettings, snapshots: Sequence[Snapshot]) -> None:
        self._new_selector = new_selector
        self._settings = settings
        self._snapshots = snapshots
        self._seen: Sequence[Snapshot] = ()
        self._selector: Selector | None = None
        self._detector = GapDetector()
        self._told: list[Event] = []  # what a process that takes over reads of those before it

    def take(self, event: Event) -> Sequence[Event]:
        """The decisions that this event led to.

        Raises:
            NotReplayableError: from here on what was decided cannot be decided again; says why.
        """
        if isinstance(event, PlaceEvent):
            self._told.append(event)
        match event:
            case Trade(gap_id=None):
                return self._trade(event)
            case TradesConflated():
                return self._conflated(event)
            case WatchChanged():
                return self._watch(event)
            case SelectionAdvanced(step="began"):
                self._begin(event)
            case SelectionAdvanced():
                return self._advance(event)
            case MarketStateChanged() if self._selector is not None:
                self._selector.see_state(event)
        return _NOTHING

    def _trade(self, trade: Trade) -> Sequence[Event]:
        observation = self._detector.observe(trade)
        if observation != "duplicate" and self._selector is not None:
            self._selector.see_trade(trade)
        return [observation] if isinstance(observation, GapDetected) else _NOTHING

    def _conflated(self, row: TradesConflated) -> Sequence[Event]:
        observation = self._detector.observe(_as_one(row))
        if observation != "duplicate" and self._selector is not None:
            self._selector.see_conflated(row)
        return [observation] if isinstance(observation, GapDetected) else _NOTHING

    def _watch(self, change: WatchChanged) -> Sequence[Event]:
        detector, symbol = self._detector, change.symbol
        match change.step:
            case "resumed":
                return detector.resume([_mark(change)])
            case "started":
                detector.start(symbol, None if change.cumulative_volume is None else _mark(change))
            case "interrupted":
                detector.interrupted(symbol, msgspec.convert(change.reason, GapReason))
            case "settled":
                mark = _mark(change)
                gap = detector.settle(symbol, mark.cumulative_volume, mark.exchange_time_ns, change.provider)
                return [gap] if gap is not None else _NOTHING
            case "stopped":
                detector.stop(symbol)
            case _:
                assert_never(change.step)
        return _NOTHING

    def _begin(self, begun: SelectionAdvanced) -> None:
        """A process begins: it knows nothing but what is stored."""
        if len(self._snapshots) < begun.snapshots:
            raise NotReplayableError(f"only {len(self._snapshots)} of {begun.snapshots} snapshots are there")
        self._selector, self._detector = self._new_selector(begun), GapDetector()
        self._seen = self._snapshots[: begun.snapshots]
        steps.see_latest(self._selector, self._seen)

    def _advance(self, advanced: SelectionAdvanced) -> Sequence[Event]:
        selector, now_ns = self._selector, advanced.advanced_ns
        if selector is None:
            raise NotReplayableError(f"what Track B began with is not there: its first step is {advanced.step!r}")
        match advanced.step:
            case "opened":
                return steps.open_places(selector, *steps.opening_of(self._seen), now_ns, self._settings)
            case "wishes_kept":
                return selector.keep_wishes(kept_of(advanced.detail), now_ns)
            case "taken_over":
                return steps.take_over(selector, self._told, self._seen, now_ns)
            case "swept":
                self._sweep(selector, advanced)
                return selector.evaluate_all(now_ns)
            case "held":
                return selector.evaluate_held(now_ns)
            case "listing":
                steps.see_listing(selector, advanced.symbol, advanced.detail, now_ns)
            case "accounts_closed":
                return selector.close_accounts(frozenset(filter(None, advanced.detail.split(","))), now_ns)
            case "pinned":
                return selector.pin(advanced.symbol, now_ns).events
            case "unpinned":
                return selector.unpin(advanced.symbol, now_ns).events
            case "closed":
                return selector.close(now_ns, msgspec.convert(advanced.detail or "closed", CloseReason))
        return _NOTHING

    def _sweep(self, selector: Selector, advanced: SelectionAdvanced) -> None:
        swept = steps.swept_in(advanced, self._snapshots)
        if len(swept) != advanced.snapshots:
            seen = f"{len(swept)} snapshots are there, {advanced.snapshots} were taken in"
            raise NotReplayableError(f"of sweep {advanced.sweep} {seen}")
        for snapshot in swept:
            selector.see_snapshot(snapshot)


def verified(events: Iterable[Event], replay: DecisionReplay) -> Verdict:
    """Make the decisions again, and compare them with those that are recorded."""
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
                    return Verdict(same, Difference(sum(same.values()) + 1, one, other))
                kind = type(one).__name__
                same[kind] = same.get(kind, 0) + 1
    except NotReplayableError as error:
        return Verdict(same, unclear=str(error))
    if recorded or replayed:
        sides = (recorded[0] if recorded else None, replayed[0] if replayed else None)
        return Verdict(same, Difference(sum(same.values()) + 1, *sides))
    return Verdict(same, unclear="no steps are recorded" if is_empty else "")


def _as_one(row: TradesConflated) -> Trade:
    """The row as the detector sees it: one trade of its volume. Price and side are of no account to it."""
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
    )


def _mark(change: WatchChanged) -> Mark:
    if change.cumulative_volume is None or change.exchange_time_ns is None:
        raise NotReplayableError(f"{change.symbol} was {change.step} without a volume")
    trades = change.cumulative_trades
    return Mark(change.symbol, change.session_date, change.cumulative_volume, trades, change.exchange_time_ns)
