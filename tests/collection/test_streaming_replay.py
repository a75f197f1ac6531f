"""A day's decisions recomputed: the same decisions in the same order; the first difference is named."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bus.codec import decode_events, unpack
from bus.delivery import Acknowledged
from bus.events import (
    AccountsClosed,
    Event,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapReason,
    GapUnrecoverable,
    HistoryApplied,
    ListingApplied,
    MarketStateChanged,
    Pinned,
    PinRefused,
    RiseApplied,
    SamplingChanged,
    SelectionAdvanced,
    SlotAssigned,
    SlotReleased,
    SlotsClosed,
    SlotsEvaluated,
    SlotsOpened,
    SlotsResumed,
    Snapshot,
    Trade,
    TradesConflated,
    TriggerFired,
    UniverseEvaluated,
    Unpinned,
    WatchChanged,
    WatchStarted,
)
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import ManualClock
from observer.brokers.broker import Quote
from observer.collection import decisions
from observer.collection.decisions import DecisionComparison, DecisionReplay, verified
from observer.collection.parts import StreamParts
from observer.collection.recorder import TradeRecorder
from observer.gaps.detector import Mark
from observer.monitoring.alerts.process import Alerts
from observer.selection.pins import PinRefusal, kept_pins
from observer.selection.sampling import SamplingSettings
from observer.selection.settings import SelectionSettings, SlotSettings
from observer.selection.triggers import PinSettings, TriggersSettings
from tests.builders import day_began, screen, trade
from tests.folders import short_folder
from tests.reach import reaches
from tests.selection.builders import member, selector_of

DAY = "2026-11-18"
SECOND_NS = 1_000_000_000
SYMBOLS = "ABCDEF"
SETTINGS = SelectionSettings(
    slots=SlotSettings(max_slots=2, seconds_overflow_weight=0.5),
    triggers=TriggersSettings(manual=PinSettings(ttl_seconds=60.0)),
)
MEMBERS = [member(symbol, rank=rank, market_cap=1e13 / rank) for rank, symbol in enumerate(SYMBOLS, 1)]
HISTORY = [member(symbol, rank=9, average_volume_20d=200.0, average_true_range_14d=20.0) for symbol in "ACEG"]
"""Of a later build, which also has a symbol that is not in the day's universe."""
SEEN = Snapshot("kis", "A", DAY, 1, 0, 10_000.0, None, None, None, None, 13_000.0, None, None, None, 0.0, 0.0)


def new_selector(_began=None):
    return selector_of(MEMBERS, {"main": 2, "second": 1}, SETTINGS, page_trades=2)


def replayed(events, snapshots=()):
    return verified(events, DecisionReplay(new_selector, snapshots, lambda built_ns: HISTORY if built_ns else ()))


class Quotes:
    """The broker answers for the symbols of these volumes of the day."""

    quotes_per_call = 30

    def __init__(self, volumes):
        self._volumes = volumes

    async def quotes(self, symbols, priority="bulk"):
        return [_quote(symbol, self._volumes[symbol]) for symbol in symbols if symbol in self._volumes]


def _quote(symbol, volume):
    return Quote(symbol, 0.0, None, None, None, None, None, None, None, None, volume, 0.0)


AVERAGE = 240_000.0  # of a symbol's usual day: 60,000 more are plausible at once
REASONS: tuple[GapReason, ...] = ("reconnect", "token_renewal", "moved")
SAMPLING = SamplingSettings(degrade_above_events=10, recover_below_events=9, calm_s=1e-9)


class Published:
    """A day of Track B and its published events: selection, trade recorder, and restarts of both."""

    def __init__(self, folder):
        self.clock = ManualClock(9 * 3600 * SECOND_NS)
        self.outbox = Outbox(folder / "outbox", "test", "1" * 32)
        self.producer = Producer(self.outbox, f"ipc://{folder}/no-writer")
        self.sweeps = 0
        self.snapshots = []
        self.volumes = dict.fromkeys(SYMBOLS, 0.0)
        self.counts = dict.fromkeys(SYMBOLS, 0)
        self.last = {}
        self.settling = []
        self.begin()
        kept = self.selector.keep_pins({"F": None, "Z": None}, self.clock.now_ns())
        self.report(kept_pins(self.selector.pins, self.selector.waiting_pins), kept)
        opening = decisions.opening_of([])
        self.report(SlotsOpened(), decisions.open_slots(self.selector, *opening, self.moment()))

    @property
    def events(self):
        """Events published so far, from the outbox."""
        self.producer.flush()
        return list(_kept(self.outbox, self.producer.published))

    def begin(self, history_ns=None):
        quotes = Quotes(self.volumes)
        alerts = Alerts(self.clock, "track-b", self.producer.publish)
        parts = StreamParts(provider="kis", quotes=quotes, producer=self.producer, clock=self.clock, alerts=alerts)
        self.recorder = TradeRecorder(
            parts,
            screen(DAY),
            apply=self.apply,
            quarantine=self.producer.publish,
            account_of=lambda _symbol: "main",
            sampling=SAMPLING,
        )
        self.selector = new_selector()
        if history_ns is not None:
            self.selector.update_history(HISTORY)
        decisions.update_seen(self.selector, self.snapshots)
        self.report(day_began(DAY, snapshots=len(self.snapshots), history_ns=history_ns))

    def apply(self, kept):
        (self.selector.market.update_trade if isinstance(kept, Trade) else self.selector.market.update_conflated)(kept)

    def moment(self):
        self.recorder.report_rows()
        return self.clock.now_ns()

    def report(self, step, events=()):
        self.producer.publish(*events, SelectionAdvanced(DAY, self.clock.now_ns(), step))

    def trade(self, symbol, price, volume, *, missed=False):
        self.volumes[symbol] += volume
        self.counts[symbol] += 1
        now_ns = self.clock.now_ns()
        made = trade(symbol=symbol, price=price, volume=volume, cumulative_volume=self.volumes[symbol])
        times = {"exchange_time_ns": now_ns, "receive_time_ns": now_ns + 1}
        made = msgspec.structs.replace(made, cumulative_trades=self.counts[symbol], **times)
        if not missed:
            self.last[symbol] = made
            self.recorder.take(made)

    def poison(self, symbol, size):
        """A false trade after the symbol's last one: one that is held, a plausible one, or one of tomorrow."""
        if (last := self.last.get(symbol)) is not None:
            total = last.cumulative_volume
            changes = (
                {"cumulative_volume": 1_000 * (total + AVERAGE)},
                {"cumulative_volume": total + 100.0 * size},
                {"volume": 100.0 * size, "cumulative_volume": total + 100.0 * size},
                {"session_date": "2026-11-19"},
            )[size % 4]
            self.recorder.take(msgspec.structs.replace(last, **changes))

    def sweep(self, prices, volume):
        self.sweeps += 1
        now_ns = self.moment()
        for symbol, price in zip(SYMBOLS, prices, strict=True):
            self.volumes[symbol] += volume
            changes = {"high": max(prices), "low": min(prices), "cumulative_volume": self.volumes[symbol]}
            seen = {"symbol": symbol, "sweep": self.sweeps, "receive_time_ns": now_ns, "price": price}
            self.snapshots.append(msgspec.structs.replace(SEEN, **seen, **changes))
            self.selector.market.update_snapshot(self.snapshots[-1])
        decided = self.selector.evaluate_universe(now_ns)
        self.report(UniverseEvaluated(self.sweeps, now_ns, now_ns, len(prices)), decided)

    def rise(self, symbol, size):
        now_ns, since = self.moment(), self.volumes[symbol]
        self.volumes[symbol] += 100.0 * size
        step = RiseApplied(symbol, now_ns - 1_000_000_000, since, now_ns, self.volumes[symbol], None, None, size == 40)
        self.report(step, self.selector.evaluate_rise(step, now_ns))

    def pin(self, symbol):
        outcome = self.selector.pin(symbol, self.moment())
        if not isinstance(outcome, PinRefusal):
            self.report(Pinned(symbol, outcome.waits_for), outcome.events)
        elif outcome.events:
            self.report(PinRefused(symbol), outcome.events)

    def unpin(self, symbol):
        outcome = self.selector.unpin(symbol, self.moment())
        if not isinstance(outcome, PinRefusal):
            self.report(Unpinned(symbol), outcome.events)

    def halt(self, symbol, *, halted):
        state = MarketStateChanged("kis", symbol, self.clock.now_ns(), halted, "", "", "", "", "", "", "", "", "")
        self.producer.publish(state)
        self.selector.market.update_state(state)

    def listing(self, listing):
        decisions.update_listing(self.selector, listing, self.clock.now_ns())
        self.report(listing)

    def history(self):
        self.selector.update_history(HISTORY)
        self.report(HistoryApplied(1))

    def close_accounts(self, *accounts):
        closed = self.selector.close_accounts(frozenset(accounts), self.moment())
        self.report(AccountsClosed(accounts), closed)

    def watch(self, symbol):
        self.recorder.report_rows(symbol)
        seen = self.selector.market.volume_of(symbol)
        self.recorder.screen.expect(symbol, AVERAGE)
        self.recorder.watch(symbol, Mark(symbol, DAY, seen[0], None, seen[1]) if seen else None)

    def leave(self, symbol):
        def settle(symbols):
            self.settling.append(asyncio.get_running_loop().create_task(self.recorder.settle(symbols)))

        self.recorder.leave(symbol, settle)

    def stored(self):
        """The writer has committed everything: the load is over."""
        self.producer.flush()
        self.producer._sender._sender.acknowledged(Acknowledged(self.outbox.stream, self.producer.published))

    def restart(self):
        """A kill: unpublished conflated trades are lost."""
        reported, watched = self.events, self.recorder.detector.watched
        stored = [event for event in reported if isinstance(event, Trade | TradesConflated)]
        marks = {each.symbol: _mark(each) for each in stored if each.symbol in watched}
        is_known = any(isinstance(each, SelectionAdvanced) and each.step == HistoryApplied(1) for each in reported)
        self.begin(history_ns=1 if is_known else None)
        resolved = {event.gap_id for event in reported if isinstance(event, GapDetected | GapEmpty | GapUnrecoverable)}
        opened = {each.symbol: each for each in reported if isinstance(each, GapOpened) and each.gap_id not in resolved}
        self.recorder.resume(marks.values(), self.clock.now_ns(), opened)
        self.report(SlotsResumed(), decisions.resume(self.selector, reported, self.snapshots, self.moment()))
        for symbol in sorted(watched):
            self.watch(symbol)

    async def act(self, what, symbol, size):
        await self.clock.advance(size / 20 if what in {"trade", "missed"} else size)
        match what:
            case "trade" | "missed":
                self.trade(symbol, 10_000.0 + 50 * size, 100.0 * size, missed=what == "missed")
            case "again":
                if symbol in self.last:
                    self.recorder.take(self.last[symbol])
            case "poison":
                self.poison(symbol, size)
            case "decided":
                await self.recorder.held.decide()
            case "sweep":
                self.sweep([10_000.0 + 40 * size * ord(each) % 3_000 for each in SYMBOLS], 300.0 * size)
            case "evaluated_slots":
                self.recorder.sample()
                now_ns = self.moment()
                decided = decisions.evaluate_slots(self.selector, self.recorder.detector, now_ns)
                self.report(SlotsEvaluated(), decided)
            case "pinned":
                self.pin(symbol)
            case "unpinned":
                self.unpin(symbol)
            case "listing":
                self.listing(ListingApplied(symbol, delisted=size % 2 == 1, suspended=size % 4 >= 2))
            case "history":
                self.history()
            case "halt":
                self.halt(symbol, halted=size % 2 == 0)
            case "rise":
                self.rise(symbol, size)
            case "closed":
                self.close_accounts(*((), ("main",), ("second",))[size % 3])
            case "watch":
                self.watch(symbol)
            case "interrupt":
                self.recorder.interrupt(symbol, REASONS[size % 3])
            case "quote":
                volume = self.volumes[symbol] if size % 2 else self.recorder.detector.reached(symbol) or 0.0
                self.recorder.account(symbol, volume, self.clock.now_ns())
            case "leave":
                self.leave(symbol)
                await asyncio.sleep(0)
            case "stored":
                self.stored()
            case "restart":
                await asyncio.gather(*self.settling)
                self.restart()

    async def end(self):
        """The end of the day; everything that was published on it."""
        await asyncio.gather(*self.settling)
        await self.recorder.leave_all()
        self.report(SlotsClosed("closed"), self.selector.close(self.moment()))
        events = self.events
        self.producer.close()
        return events


def _mark(kept):
    last_ns = kept.exchange_time_ns if isinstance(kept, Trade) else kept.to_ns
    return Mark(kept.symbol, DAY, kept.cumulative_volume, kept.cumulative_trades, last_ns)


def _kept(outbox, last_sequence):
    sequence = 0
    while sequence < last_sequence:
        packed = outbox.batch_at(outbox.stream, sequence + 1)
        assert isinstance(packed, Packed)
        sequence = packed.last_sequence
        yield from decode_events(unpack(packed.content))


def published(folder, actions):
    """Track B's published events on a day of these actions, and Track A's snapshots."""

    async def play():
        day = Published(folder)
        for action in actions:
            await day.act(*action)
        return await day.end(), day.snapshots

    return asyncio.run(play())


TRADED = (
    *("trade", "trade", "trade", "missed", "again", "watch", "watch", "interrupt", "leave", "stored"),
    *("poison", "decided", "quote"),
)
DECIDED = (
    "sweep",
    "evaluated_slots",
    "evaluated_slots",
    "pinned",
    "unpinned",
    "listing",
    "history",
    "halt",
    "closed",
    "rise",
    "restart",
)
ACTION = st.tuples(
    st.sampled_from(TRADED) | st.sampled_from(DECIDED), st.sampled_from("AAAABB" + SYMBOLS), st.integers(1, 40)
)
DECISIONS = get_args(decisions.Decision)
BUSY = [("watch", "A", 1), *[("trade", "A", 2)] * 12, ("evaluated_slots", "A", 1)]
"""From here on trades are conflated."""
ANY_ACTIONS = st.integers(0, 30).flatmap(lambda least: st.lists(ACTION, min_size=least, max_size=60))
ACTIONS = st.builds(lambda before, then: [*before, *then], st.sampled_from([[], BUSY]), ANY_ACTIONS)


@reaches(
    TriggerFired=373,
    TriggerEnded=352,
    SlotAssigned=168,
    SlotExtended=121,
    SlotOverflowed=109,
    SlotReleased=168,
    restart=31,
    history=33,
    GapDetected=32,
    GapOpened=28,
    TradesConflated=3,
    poison=27,
    pinned=54,
)
@given(ACTIONS)
@example([("sweep", "A", 1), ("unpinned", "D", 1), ("sweep", "A", 1)])  # a pin that is refused changes nothing
@example([*BUSY, *[("trade", "A", 2)] * 20, ("sweep", "A", 1), ("missed", "A", 1), ("trade", "A", 1)])
@example([*BUSY, ("trade", "A", 2), ("missed", "A", 1), ("trade", "A", 1)])
@example([*BUSY, ("trade", "A", 2), ("interrupt", "A", 1), ("missed", "A", 1), ("trade", "A", 1)])
@example([*BUSY, ("interrupt", "A", 1), ("missed", "A", 1), ("watch", "A", 1), ("quote", "A", 1), ("trade", "A", 1)])
@example([*BUSY, ("interrupt", "A", 1), ("restart", "A", 1), ("quote", "A", 2), ("missed", "A", 1), ("trade", "A", 1)])
@example([*BUSY, *[("trade", "B", 1)] * 25, ("evaluated_slots", "A", 1)])
@example([*BUSY, ("trade", "A", 2), ("restart", "A", 1), ("trade", "A", 2)])
@example([*BUSY, ("poison", "A", 6), *[("trade", "A", 1)] * 9, ("missed", "A", 1), ("trade", "A", 1)])
@example([*BUSY[:-1], ("poison", "A", 5), *[("trade", "A", 1)] * 9, ("missed", "A", 1), ("trade", "A", 1)])
@example([*BUSY, ("poison", "A", 4), ("trade", "A", 1), ("decided", "A", 1), ("decided", "A", 1), ("trade", "A", 1)])
def test_any_day_replays_to_the_same_decisions(reach, actions):
    with short_folder() as folder:
        events, snapshots = published(Path(folder), actions)
    comparison = replayed(events, snapshots)
    assert comparison.is_same, comparison
    assert sum(comparison.same.values()) == sum(isinstance(event, DECISIONS) for event in events) > 0
    for each in events:
        reach.count(type(each).__name__)
    for what, _symbol, _size in actions:
        reach.count(what)


def test_the_day_of_the_scene_is_conflated_and_comes_back(tmp_path):
    calm = [("stored", "A", 1), ("evaluated_slots", "A", 1), ("evaluated_slots", "A", 1)] * 4
    events, _ = published(tmp_path, [*BUSY, *[("trade", "A", 2)] * 30, *calm, ("trade", "A", 2)])
    assert {event.rate_hz for event in events if isinstance(event, SamplingChanged)} >= {1.0, None}
    rows = [event for event in events if isinstance(event, TradesConflated)]
    singles = sum(isinstance(event, Trade) for event in events)
    assert singles + sum(row.trades for row in rows) == 12 + 30 + 1
    assert min(row.trades for row in rows) > 1


def test_a_replay_finds_a_gap_that_only_the_exchange_volume_revealed(tmp_path):
    actions = [("watch", "A", 1), ("trade", "A", 1), ("interrupt", "A", 2), ("missed", "A", 1), ("leave", "A", 1)]
    events, snapshots = published(tmp_path, actions)
    [gap] = [event for event in events if isinstance(event, GapDetected)]
    assert (gap.reason, gap.missing_trades) == ("moved", None)
    assert replayed(events, snapshots).same["GapDetected"] == 1


def test_a_replay_finds_the_gaps_of_symbols_left_at_once_in_the_order_of_the_day(tmp_path):
    """The broker's volume shows A's gap; of B it gives none."""

    async def play():
        day = Published(tmp_path)
        for action in [("watch", "A", 1), ("trade", "A", 1), ("watch", "B", 1), ("trade", "B", 1), ("missed", "A", 1)]:
            await day.act(*action)
        for symbol in "AB":
            day.recorder.interrupt(symbol, "volume_mismatch")
        del day.volumes["B"]
        return await day.end()

    comparison = replayed(asyncio.run(play()))
    assert comparison.is_same, comparison
    assert (comparison.same["GapOpened"], comparison.same["GapDetected"]) == (1, 1)


def test_a_replay_takes_the_history_in_where_the_day_did(tmp_path):
    """What was traded is a surge by the later build's averages alone."""
    events, snapshots = published(tmp_path, [("sweep", "A", 1), ("history", "A", 1), ("sweep", "A", 1)])
    fired = [event.symbol for event in events if isinstance(event, TriggerFired) and event.kind == "volume_surge"]
    assert {"A", "C", "E"} >= set(fired) != set()
    assert replayed(events, snapshots).is_same
    without = [each for each in events if not (isinstance(each, SelectionAdvanced) and each.step == HistoryApplied(1))]
    assert replayed(without, snapshots).difference is not None


def test_a_replay_without_the_build_of_the_history_says_so():
    events = [SelectionAdvanced(DAY, at_ns, step) for at_ns, step in enumerate([day_began(DAY), HistoryApplied(0)])]
    assert "built at 0, is not there" in replayed(events).unclear


class Day(msgspec.Struct, frozen=True):
    """Events published on a day with a sweep that fires triggers."""

    events: Sequence[Event]
    snapshots: Sequence[Snapshot]


@pytest.fixture
def day(tmp_path):
    """The day ends with the release of every slot."""
    return Day(*published(tmp_path, [("sweep", "A", 40), ("evaluated_slots", "A", 10)]))


def test_the_first_decision_that_comes_out_otherwise_is_named(day):
    slot = next(number for number, event in enumerate(day.events) if isinstance(event, SlotAssigned))
    other = msgspec.structs.replace(day.events[slot], score=-1.0)
    difference = replayed([*day.events[:slot], other, *day.events[slot + 1 :]], day.snapshots).difference
    assert (difference.number, difference.recorded, difference.replayed) == (1, other, day.events[slot])


def test_a_decision_that_is_not_recorded_is_a_difference(day):
    released = [event for event in day.events if isinstance(event, SlotReleased)]
    difference = replayed([event for event in day.events if event != released[-1]], day.snapshots).difference
    assert (difference.recorded, difference.replayed) == (None, released[-1])


def test_a_decision_that_nothing_led_to_is_a_difference(day):
    invented = SlotReleased("main-1", "A", 1, 1.0, "expired")
    difference = replayed([*day.events, invented], day.snapshots).difference
    assert (difference.recorded, difference.replayed) == (invented, None)


def test_a_replay_without_all_snapshots_is_inconclusive(day):
    comparison = replayed(day.events, day.snapshots[1:])
    assert (comparison.is_same, comparison.difference) == (False, None)
    assert comparison.unclear == "of sweep 1 5 snapshots are there, 6 were taken in"


def test_a_replay_without_the_beginning_of_the_day_is_inconclusive(day):
    assert "it is followed by PinsKept" in replayed(day.events[1:], day.snapshots).unclear


def test_a_replay_of_a_day_without_records_is_inconclusive():
    assert replayed([]) == DecisionComparison({}, unclear="no steps are recorded")


def test_recovered_trades_are_not_of_the_stream():
    started = WatchChanged("kis", "005930", DAY, 0, WatchStarted())
    recovered = trade(5, gap_id="005930-2026-11-18-1-5")
    assert replayed([started, trade(1), recovered, trade(2)]) == DecisionComparison({})
    assert replayed([started, trade(1), trade(5)]).difference is not None, "streamed, it would show a gap"
