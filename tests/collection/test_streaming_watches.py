"""What remains of a watch that outlives its slot: a trade after it, and a process that is killed within it."""

import asyncio

from bus.events import (
    GapDetected,
    GapOpened,
    ListingChanged,
    Reached,
    SelectionAdvanced,
    SlotReleased,
    SlotsClosed,
    Trade,
    WatchChanged,
    WatchInterrupted,
    WatchStarted,
    WatchStopped,
)
from observer.base.units import NS_PER_S
from observer.cli.decisions import verified_day
from observer.collection.decisions import DecisionReplay
from observer.collection.pins import Pins
from observer.store.reader import StoreReader
from tests.builders import trades
from tests.collection.day_scene import PLAN, SESSION, SLOTS, SYMBOLS, idle_process, market, process
from tests.scenes import on

LINE = SYMBOLS[-1]


def pins(running):
    return Pins(running.selector, running.day.moment, running.day.carry_out)


def watches(running):
    """The changes of the line's watch."""
    changes = [each.change for each in running.of(WatchChanged) if each.symbol == LINE]
    return [str(change.__struct_config__.tag) for change in changes]


@on(market)
async def test_a_trade_that_is_dropped_after_its_watch_leaves_no_trace_in_the_next_one_and_the_day_replays_the_same(
    made,
):
    async with process(made) as running:
        [line], receiver = running.lines, running.day.receiver
        pins(running).pin(LINE)
        await running.until(lambda: LINE in line.subscribed)
        receiver.on_trades([made.trade(LINE, 5.0, 10_000.0)])
        pins(running).unpin(LINE)
        await running.until(lambda: "stopped" in watches(running))
        made.trade(LINE, 2.0, 10_000.0)
        straggler = made.trade(LINE, 2.0, 10_000.0)
        receiver.on_trades([straggler])
        evaluated = running.steps.count("universe_evaluated")
        swept = made.sweep(0.0, {LINE: 7.0})  # before the straggler
        await running.until(lambda: running.steps.count("universe_evaluated") > evaluated, swept=swept)
        pins(running).pin(LINE)
        await running.until(lambda: LINE in line.subscribed)
        receiver.on_unsubscribed(LINE, "connection lost")
        await made.clock.advance(1.0)
        receiver.on_subscribed(LINE)
        made.trade(LINE, 4.0, 10_000.0)
        receiver.on_trades([made.trade(LINE, 1.0, 10_000.0)])
        assert straggler not in running.of(Trade)
        [gap] = running.of(GapDetected)
        assert (gap.symbol, gap.after_volume, gap.before_volume) == (LINE, 7.0, 13.0)
        await running.day.end(running.selector)
    with StoreReader(made.url) as reader:
        compared = verified_day(reader, SESSION)
    assert compared.is_same, compared


def test_a_replay_s_next_watch_begins_behind_a_trade_that_was_kept_before_it():
    def watched(change):
        return WatchChanged("kis", "005930", "2026-11-18", 9, change)

    def no_selector(_began):
        raise AssertionError

    def no_members(_built_ns):
        raise AssertionError

    every = trades(9, symbol="005930", session_date="2026-11-18")
    replay = DecisionReplay(no_selector, (), no_members)
    known = Reached(every[2].cumulative_volume, None, 1)
    for event in (watched(WatchStarted()), every[0], watched(WatchStopped()), every[4], watched(WatchStarted(known))):
        assert not replay.take(event)
    [opened] = replay.take(watched(WatchInterrupted("reconnect", 10)))
    assert isinstance(opened, GapOpened)
    assert opened.after_volume == every[4].cumulative_volume


@on(market)
async def test_a_released_line_whose_end_was_not_read_when_the_process_stops_keeps_an_open_gap(made):
    async with process(made) as running:
        [line] = running.lines
        pins(running).pin(LINE)
        await running.until(lambda: LINE in line.subscribed)
        running.day.receiver.on_trades([made.trade(LINE, 5.0, 10_000.0)])
        line.is_silent, line.lost_at_end = True, [LINE]
        pins(running).unpin(LINE)
        raise asyncio.CancelledError  # as the process's end does
    with StoreReader(made.url) as reader:
        [story] = [each for each in reader.openings(SESSION) if each.opened.symbol == LINE]
    assert story.is_open
    assert story.opened.after_volume == 5.0


def delisted(symbol):
    nothing = (None,) * 4
    return ListingChanged("kis", "KOSPI", symbol, "removed", 1, "", "", "", *nothing, False, False, False, False)


@on(market)
async def test_a_process_that_was_killed_with_watches_but_no_slot_has_its_day_closed_once_by_the_next_one(made):
    async with process(made) as running:
        [line] = running.lines
        await running.until(lambda: len(line.subscribed) == SLOTS)
        line.is_silent = True  # it acknowledges no end of a subscription
        for symbol in SYMBOLS:
            running.day._update_listing(running.selector, delisted(symbol))
        await running.until(lambda: len(running.of(SlotReleased)) == SLOTS)
        assert not running.selector.wanted
        assert running.day.trades.detector.watched
    await made.clock.advance((PLAN.track_b_stop_ns - made.clock.now_ns()) / NS_PER_S + 60.0)
    for is_first in (True, False):
        with idle_process(made) as late:
            await late.day.end_for_earlier_process()
            closed = [each for each in late.of(SelectionAdvanced) if isinstance(each.step, SlotsClosed)]
            assert [each.advanced_ns for each in closed] == ([PLAN.track_b_stop_ns] if is_first else [])
    with StoreReader(made.url) as reader:
        compared = verified_day(reader, SESSION)
        assert compared.is_same, compared
        assert reader.decided(SESSION).closed_ns == PLAN.track_b_stop_ns
