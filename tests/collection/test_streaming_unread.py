"""Frames that cannot be read beside the begin and the end of a slot: what they may have held is a gap, or is asked."""

from contextlib import asynccontextmanager

import pytest

from bus.events import GapDetected, GapEmpty, GapOpened, GapUnrecoverable, InputQuarantined, Trade, WatchChanged
from observer.cli.decisions import verified_day
from observer.collection import stream_monitor as monitor
from observer.gaps.intervals import Interval
from observer.selection.slot_projection import SlotStatuses
from observer.store.reader import StoreReader
from tests.collection.day_scene import (
    CLOSES_NS,
    OPENS_NS,
    SESSION,
    SLOTS,
    SYMBOLS,
    market,
    process,
)
from tests.scenes import on
from tests.waiting import until_async

SYMBOL, OTHER = SYMBOLS[0], SYMBOLS[1]
FRAME = InputQuarantined("kis.trades", 1, "record 1: no number", b"0|...")


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(monitor, "ARRIVES_WITHIN_S", 0.1)


@asynccontextmanager
async def day(swept=100.0):
    """A day on which all slots are subscribed, after a sweep with this volume; its decisions are made again."""
    with market() as made:
        if swept is not None:
            made.sweep(swept)
            made.traded = dict.fromkeys(SYMBOLS, (swept, 3))
        async with process(made) as running:
            await running.until(lambda: len(streamed(running)) == SLOTS)
            yield made, running
        with StoreReader(made.url) as reader:
            comparison = verified_day(reader, SESSION)
        assert comparison.is_same, comparison


def streamed(running):
    return frozenset().union(*(line.subscribed for line in running.lines))


def line_of(running, symbol):
    return next(line for line in running.lines if symbol in line.subscribed)


def bring(made, running, symbol, volume):
    running.day.receiver.on_trades([made.trade(symbol, volume, 10_000.0)])


def lose(made, running, symbol, volume, unread=(SYMBOL,)):
    """The symbol trades, and its frame cannot be read."""
    made.trade(symbol, volume, 10_000.0)
    line_of(running, symbol).listener.on_quarantine(FRAME, unread)


async def leave(made, running, symbol):
    made.desk.volumes.setdefault(symbol, made.traded[symbol][0])
    running.day.receiver.leave(symbol)
    await until_async(lambda: symbol not in running.day.trades.detector.watched, "it is left")


def gaps(running):
    return [(gap.symbol, gap.after_volume, gap.before_volume, gap.reason) for gap in running.of(GapDetected)]


@pytest.mark.parametrize("unread", [(SYMBOL,), None], ids=["it names the symbol", "it names none"])
@on(day)
async def test_an_unreadable_first_trade_of_a_subscription_is_a_gap_since_the_volume_before(
    made,
    running,
    unread,
):
    lose(made, running, SYMBOL, 10.0, unread)
    bring(made, running, SYMBOL, 5.0)
    bring(made, running, OTHER, 5.0)
    assert gaps(running) == [(SYMBOL, 100, 110, "volume_mismatch")], "of the other one nothing is missing"


@on(day, swept=None)
async def test_without_a_volume_before_the_subscription_the_gap_begins_with_the_day(made, running):
    lose(made, running, SYMBOL, 10.0)
    lose(made, running, SYMBOL, 20.0)
    bring(made, running, SYMBOL, 5.0)
    assert gaps(running) == [(SYMBOL, 0, 30, "volume_mismatch")]


@on(day)
async def test_a_subscription_goes_on_over_an_unreadable_frame(made, running):
    statuses = SlotStatuses()
    lose(made, running, SYMBOL, 10.0)
    for event in running.events:
        statuses.apply(event)
    [slot] = [slot for slot, each in statuses.holders.items() if each.symbol == SYMBOL]
    assert statuses.of(slot) == "active"


@on(day)
async def test_an_unreadable_frame_between_two_trades_is_shown_by_the_second_and_asks_for_nothing(made, running):
    bring(made, running, SYMBOL, 5.0)
    changes, quoted = len(running.of(WatchChanged)), len(made.desk.quoted)
    lose(made, running, SYMBOL, 10.0)
    bring(made, running, SYMBOL, 5.0)
    assert gaps(running) == [(SYMBOL, 105, 115, "volume_mismatch")]
    assert len(running.of(WatchChanged)) == changes
    await leave(made, running, SYMBOL)
    assert len(made.desk.quoted) == quoted
    assert len(gaps(running)) == 1


@pytest.mark.parametrize("unread", [(SYMBOL,), None], ids=["it names the symbol", "it names none"])
@on(day)
async def test_an_unreadable_last_trade_of_a_slot_is_a_gap_by_the_brokers_volume(made, running, unread):
    bring(made, running, SYMBOL, 5.0)
    bring(made, running, OTHER, 5.0)
    lose(made, running, SYMBOL, 10.0, unread)
    await leave(made, running, OTHER)
    await leave(made, running, SYMBOL)
    assert gaps(running) == [(SYMBOL, 105, 115, "volume_mismatch")]
    assert [*running.of(GapOpened), *running.of(GapEmpty)] == []


@on(day)
async def test_an_unreadable_last_trade_is_asked_for_again_at_the_end_of_the_day(made, running):
    for symbol in (SYMBOL, OTHER):
        bring(made, running, symbol, 5.0)
        made.desk.volumes[symbol] = 105.0  # a quote may be older than its answer
    lose(made, running, SYMBOL, 10.0)
    await running.day.end(running.selector)
    assert made.desk.quoted.count(SYMBOL) == made.desk.quoted.count(OTHER) + 1


@on(day)
async def test_a_trade_after_the_volume_of_a_sweep_is_a_gap_if_its_frame_cannot_be_read(made, running):
    bring(made, running, SYMBOL, 5.0)
    lose(made, running, SYMBOL, 10.0)
    swept = made.sweep(115.0)
    await made.clock.advance(1)
    bring(made, running, OTHER, 20.0)
    seen = [each for each in running.reader.snapshots(SESSION, 0, 2**62) if each.sweep == swept.sweep]
    await running.day._stream_monitor.check_sweep(seen, {SYMBOL}, swept.started_ns)
    lose(made, running, SYMBOL, 7.0)
    await leave(made, running, SYMBOL)
    assert gaps(running) == [(SYMBOL, 105, 115, "volume_mismatch"), (SYMBOL, 115, 122, "volume_mismatch")]


@pytest.mark.parametrize("has_traded", [True, False], ids=["after a trade", "before the first trade"])
@on(day)
async def test_a_slots_end_that_no_volume_proves_is_a_cut_with_an_unknown_loss_of_the_day(made, running, has_traded):
    if has_traded:
        bring(made, running, SYMBOL, 5.0)
    lose(made, running, SYMBOL, 10.0)
    made.desk.is_down = True
    await leave(made, running, SYMBOL)
    [opened], [lost] = running.of(GapOpened), running.of(GapUnrecoverable)
    assert (opened.symbol, opened.after_volume, opened.reason) == (
        SYMBOL,
        105 if has_traded else 100,
        "volume_mismatch",
    )
    assert (lost.gap_id, lost.symbol) == (opened.gap_id, SYMBOL)
    running.stored()
    [day] = running.reader.symbol_days(SESSION, made.clock.now_ns(), Interval(OPENS_NS, CLOSES_NS), {SYMBOL})
    assert day.unresolved_cuts == 1


@on(day)
async def test_an_unreadable_frame_after_a_slot_changes_nothing(made, running):
    bring(made, running, SYMBOL, 5.0)
    await leave(made, running, SYMBOL)
    changes = len(running.of(WatchChanged))
    running.day.receiver.on_quarantine(FRAME, (SYMBOL,))
    assert len(running.of(WatchChanged)) == changes
    assert len(running.of(Trade)) == 1
