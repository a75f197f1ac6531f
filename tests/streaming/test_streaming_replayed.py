"""A day's decisions made again: the same ones in the same order, and the first that is another one is named."""

import asyncio
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bus.codec import decode_events, unpack
from bus.events import (
    Event,
    GapDetected,
    GapReason,
    MarketStateChanged,
    SamplingChanged,
    SelectionAdvanced,
    SelectionStep,
    SlotAssigned,
    SlotReleased,
    Snapshot,
    Trade,
    WatchChanged,
)
from bus.outbox import Outbox
from bus.producer import Producer
from observer.clock import ManualClock
from observer.providers.interfaces import Lane, Quote
from observer.selection.sampling import SamplingSettings
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings, SlotSettings
from observer.selection.wishes import Wished
from observer.streaming import steps
from observer.streaming.keeping import TradeKeeping
from observer.streaming.replayed import DecisionReplay, Verdict, verified
from tests.builders import trade
from tests.selection.builders import member

DAY = "2026-11-18"
SECOND_NS = 1_000_000_000
SYMBOLS = "ABCDEF"
SETTINGS = SelectionSettings(slots=SlotSettings(max_slots=2))
MEMBERS = [member(symbol, rank=rank, market_cap_krw=1e13 / rank) for rank, symbol in enumerate(SYMBOLS, 1)]
SEEN = Snapshot("kis", "A", DAY, 1, 0, 10_000.0, None, None, None, None, 13_000.0, None, None, None, 0.0, 0.0)


def new_selector(_begun: SelectionAdvanced | None = None) -> Selector:
    return Selector(MEMBERS, {"main": 2, "second": 1}, SETTINGS)


def replayed(events: Iterable[Event], snapshots: Sequence[Snapshot] = ()) -> Verdict:
    return verified(events, DecisionReplay(new_selector, SETTINGS, snapshots))


class Published:
    """The selection of a day as Track B carries it, with what it publishes."""

    def __init__(self) -> None:
        self.now_ns = 9 * 3600 * SECOND_NS
        self.sweeps = 0
        self.snapshots: list[Snapshot] = []
        self.events: list[Event] = []
        self.volumes = dict.fromkeys(SYMBOLS, 0.0)
        self.begin()
        opening = steps.opening_of([])
        self.tell("opened", steps.open_places(self.selector, *opening, self.now_ns, SETTINGS))

    def begin(self) -> None:
        self.selector = new_selector()
        steps.see_latest(self.selector, self.snapshots)
        self.tell("began", snapshots=len(self.snapshots), detail=DAY)

    def tell(self, step: SelectionStep, events: Sequence[Event] = (), **changes: object) -> None:
        taken = SelectionAdvanced(DAY, self.now_ns, step, "", 0, 0, "")
        self.events += [*events, msgspec.structs.replace(taken, **changes)]

    def trade(self, symbol: str, price: float, volume: float) -> None:
        self.volumes[symbol] += volume
        made = trade(symbol=symbol, price=price, volume=volume, cumulative_volume=self.volumes[symbol])
        made = msgspec.structs.replace(made, exchange_time_ns=self.now_ns, receive_time_ns=self.now_ns)
        self.events.append(made)
        self.selector.see_trade(made)

    def sweep(self, prices: Sequence[float], volume: float) -> None:
        self.sweeps += 1
        for symbol, price in zip(SYMBOLS, prices, strict=True):
            self.volumes[symbol] += volume
            changes = {"high": max(prices), "low": min(prices), "cumulative_volume": self.volumes[symbol]}
            seen = {"symbol": symbol, "sweep": self.sweeps, "receive_time_ns": self.now_ns, "price": price}
            self.snapshots.append(msgspec.structs.replace(SEEN, **seen, **changes))
            self.selector.see_snapshot(self.snapshots[-1])
        decided = self.selector.evaluate_all(self.now_ns)
        self.tell("swept", decided, sweep=self.sweeps, snapshots=len(prices))

    def wish(self, step: SelectionStep, symbol: str) -> None:
        wished = (self.selector.pin if step == "pinned" else self.selector.unpin)(symbol, self.now_ns)
        if isinstance(wished, Wished) or wished.events:
            self.tell(step, wished.events, symbol=symbol, detail=wished.detail)

    def halt(self, symbol: str, *, halted: bool) -> None:
        self.events.append(MarketStateChanged("kis", symbol, self.now_ns, halted, "", "", "", "", "", "", "", "", ""))
        self.selector.see_state(self.events[-1])

    def restart(self) -> None:
        told = list(self.events)
        self.begin()
        self.tell("taken_over", steps.take_over(self.selector, told, self.now_ns))

    def act(self, what: str, symbol: str, size: int) -> None:
        self.now_ns += size * SECOND_NS
        match what:
            case "trade":
                self.trade(symbol, 10_000.0 + 50 * size, 100.0 * size)
            case "sweep":
                self.sweep([10_000.0 + 40 * size * ord(each) % 3_000 for each in SYMBOLS], 300.0 * size)
            case "held":
                self.tell("held", self.selector.evaluate_held(self.now_ns))
            case "pinned" | "unpinned":
                self.wish(what, symbol)
            case "listing":
                detail = ("", "delisted", "suspended", "delisted, suspended")[size % 4]
                steps.see_listing(self.selector, symbol, detail)
                self.tell("listing", symbol=symbol, detail=detail)
            case "halt":
                self.halt(symbol, halted=size % 2 == 0)
            case "closed":
                detail = ("", "main", "second")[size % 3]
                closed = self.selector.close_accounts(frozenset(detail.split(",")) - {""}, self.now_ns)
                self.tell("accounts_closed", closed, detail=detail)
            case "restart":
                self.restart()


WHAT = ("trade", "trade", "sweep", "held", "held", "pinned", "unpinned", "listing", "halt", "closed", "restart")
ACTIONS = st.lists(st.tuples(st.sampled_from(WHAT), st.sampled_from(SYMBOLS), st.integers(1, 40)), max_size=40)


@settings(max_examples=50, deadline=None)
@given(ACTIONS)
@example([("sweep", "A", 1), ("unpinned", "D", 1), ("sweep", "A", 1)])  # a wish that is refused changes nothing
def test_whatever_happened_on_a_day_its_places_are_decided_again(actions: list[tuple[str, str, int]]) -> None:
    day = Published()
    for action in actions:
        day.act(*action)
    day.tell("closed", day.selector.close(day.now_ns))
    # The trades are of symbols that nobody watches in this scene: gaps have theirs below.
    verdict = replayed(day.events, day.snapshots)
    assert verdict.is_same, verdict
    decided = [event for event in day.events if not isinstance(event, Trade | SelectionAdvanced | MarketStateChanged)]
    assert sum(verdict.same.values()) == len(decided) > 0


class Quotes:
    """The broker knows the day's volume of each symbol."""

    quotes_per_call = 30

    def __init__(self) -> None:
        self.volumes = dict.fromkeys(SYMBOLS, 0)

    async def quotes(self, symbols: Sequence[str], lane: Lane = "bulk") -> Sequence[Quote]:
        return [_quote(symbol, self.volumes[symbol]) for symbol in symbols]


def _quote(symbol: str, volume: float) -> Quote:
    return Quote(symbol, 0.0, None, None, None, None, None, None, None, None, volume, 0.0)


WATCHED = ("trade", "trade", "trade", "missed", "again", "watch", "watch", "interrupt", "leave")
REASONS: tuple[GapReason, ...] = ("reconnect", "token_renewal", "moved")
WATCH_ACTIONS = st.lists(st.tuples(st.sampled_from(WATCHED), st.sampled_from("ABC"), st.integers(0, 2)), max_size=60)


def watched(folder: Path, actions: list[tuple[str, str, int]]) -> list[Event]:
    """What Track B's own keeping of trades published, by its outbox."""

    async def play() -> list[Event]:
        outbox = Outbox(folder / "outbox", "test", "1" * 32)
        producer, quotes = Producer(outbox, f"ipc://{folder}/nobody"), Quotes()
        keeping = TradeKeeping(producer, quotes, ManualClock(), SamplingSettings(), DAY)
        settling: list[asyncio.Task[None]] = []

        def settle(symbols: Collection[str]) -> None:
            settling.append(asyncio.get_running_loop().create_task(keeping.settle(symbols)))

        for what, symbol, size in actions:
            if what in {"trade", "missed"}:
                quotes.volumes[symbol] += 1
            if what in {"trade", "again"} and quotes.volumes[symbol]:
                keeping.take(trade(quotes.volumes[symbol], symbol=symbol))
            elif what == "watch":
                keeping.watch(symbol)
            elif what == "interrupt":
                keeping.interrupt(symbol, REASONS[size])
            elif what == "leave":
                keeping.leave(symbol, settle)
                await asyncio.sleep(0)
        await asyncio.gather(*settling)
        await keeping.leave_all()
        producer.flush()
        events = list(_kept(outbox, producer.published))
        producer.close()
        return events

    return asyncio.run(play())


def _kept(outbox: Outbox, last_sequence: int) -> Iterable[Event]:
    sequence = 0
    while sequence < last_sequence:
        packed, sequence = outbox.batch_at(outbox.stream, sequence + 1)
        yield from decode_events(unpack(packed))  # type: ignore[misc]


@settings(max_examples=60, deadline=None)
@given(WATCH_ACTIONS)
def test_whatever_was_missed_its_gaps_are_found_again(actions: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        events = [SelectionAdvanced(DAY, 0, "began", "", 0, 0, DAY), *watched(Path(folder), actions)]
    verdict = replayed(events)
    assert verdict.is_same, verdict
    assert verdict.same.get("GapDetected", 0) == sum(isinstance(event, GapDetected) for event in events)


def test_a_gap_that_only_the_exchange_told_of_is_found_again(tmp_path: Path) -> None:
    actions = [("watch", "A", 0), ("trade", "A", 0), ("interrupt", "A", 2), ("missed", "A", 0), ("leave", "A", 0)]
    events = watched(tmp_path, actions)
    [gap] = [event for event in events if isinstance(event, GapDetected)]
    assert (gap.reason, gap.missing_trades) == ("moved", None)
    assert replayed(events).same == {"GapDetected": 1}


@pytest.fixture
def day() -> Published:
    """A day with a sweep that fires triggers."""
    day = Published()
    day.act("sweep", "A", 40)
    day.act("held", "A", 10)
    return day


def test_the_first_decision_that_comes_out_otherwise_is_named(day: Published) -> None:
    place = next(number for number, event in enumerate(day.events) if isinstance(event, SlotAssigned))
    other = msgspec.structs.replace(day.events[place], score=-1.0)
    difference = replayed([*day.events[:place], other, *day.events[place + 1 :]], day.snapshots).difference
    assert difference is not None
    assert (difference.number, difference.recorded, difference.replayed) == (1, other, day.events[place])


def test_a_decision_that_is_not_recorded_is_a_difference(day: Published) -> None:
    day.tell("closed", day.selector.close(day.now_ns))
    released = [event for event in day.events if isinstance(event, SlotReleased)]
    difference = replayed([event for event in day.events if event != released[-1]], day.snapshots).difference
    assert difference is not None
    assert (difference.recorded, difference.replayed) == (None, released[-1])


def test_a_decision_that_nothing_led_to_is_a_difference(day: Published) -> None:
    invented = SlotReleased("main-1", "A", day.now_ns, 1.0, "expired")
    difference = replayed([*day.events, invented], day.snapshots).difference
    assert difference is not None
    assert (difference.recorded, difference.replayed) == (invented, None)


def test_without_a_snapshot_that_was_taken_in_nothing_is_said(day: Published) -> None:
    verdict = replayed(day.events, day.snapshots[1:])
    assert (verdict.is_same, verdict.difference) == (False, None)
    assert verdict.unclear == "of sweep 1 5 snapshots are there, 6 were taken in"


def test_from_conflated_trades_on_nothing_is_said(day: Published) -> None:
    before = replayed(day.events, day.snapshots)
    verdict = replayed([*day.events, SamplingChanged("kis", 1, 2.0, "100,000 events wait")], day.snapshots)
    assert verdict.same == before.same
    assert verdict.unclear == "trades were conflated from 1 on: 100,000 events wait"


def test_a_day_without_its_beginning_is_not_judged(day: Published) -> None:
    assert "its first step is 'opened'" in replayed(day.events[1:], day.snapshots).unclear


def test_a_day_of_which_nothing_is_recorded_is_not_judged() -> None:
    assert replayed([]) == Verdict({}, unclear="no steps are recorded")


def test_recovered_trades_are_not_of_the_stream() -> None:
    started = WatchChanged("kis", "005930", DAY, 0, "started", "", None, None, None)
    recovered = trade(5, gap_id="005930-2026-11-18-1-5")
    assert replayed([started, trade(1), recovered, trade(2)]) == Verdict({})
    assert replayed([started, trade(1), trade(5)]).difference is not None, "streamed, it would show a gap"
