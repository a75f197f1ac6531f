"""Stale subscriptions, until the day's end, and the resulting alerts and gaps."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bus.events import (
    AlertRaised,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapUnrecoverable,
    SlotReleased,
    Trade,
)
from observer.brokers.accounts.health import Health, HealthDecision
from observer.cli.decisions import verified_day
from observer.collection import stream_monitor as monitor
from observer.gaps.detector import Mark
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader
from tests.collection.day_scene import SESSION, SLOTS, SYMBOLS, market, process
from tests.scenes import on
from tests.selection.builders import state
from tests.waiting import DEADLINE_S, until_async

SYMBOL, OTHER = SYMBOLS[0], SYMBOLS[1]


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(monitor, "ARRIVES_WITHIN_S", 0.1)
    monkeypatch.setattr(monitor, "RETURNS_WITHIN_S", 0.05)
    monkeypatch.setattr(monitor, "_RETRY_S", (0.1, 0.1, 0.1))


@asynccontextmanager
async def day():
    """A day on which all slots are subscribed; in the end its decisions are made again."""
    with market() as made:
        async with process(made) as running:
            await running.until(lambda: len(running.lines[0].subscribed) == SLOTS)
            await running.until(lambda: len(made.desk.quoted) == SLOTS)  # each slot's volume at its begin
            yield made, running
        with StoreReader(made.url) as reader:
            comparison = verified_day(reader, SESSION)
        assert comparison.is_same, comparison


@asynccontextmanager
async def unseen_day():
    """The same where the broker, when it is asked at the subscription, says that 100 shares were traded."""
    with market() as made:
        made.desk.volumes = dict.fromkeys(SYMBOLS, 100.0)
        async with process(made) as running:
            yield made, running


def bring(made, running, symbol, volume):
    running.day.receiver.on_trades([made.trade(symbol, volume, 10_000.0)])


def gaps(running):
    return [(gap.symbol, gap.after_volume, gap.before_volume, gap.reason) for gap in running.of(GapDetected)]


@on(day)
async def test_volume_that_the_broker_reports_at_the_end_and_the_stream_does_not_deliver_is_a_gap(made, running):
    bring(made, running, SYMBOL, 10.0)
    bring(made, running, OTHER, 20.0)
    made.desk.volumes = {SYMBOL: 25.0, OTHER: 20.0}
    await running.day.end(running.selector)
    assert gaps(running) == [(SYMBOL, 10, 25, "volume_mismatch")]


@on(day)
async def test_the_end_of_the_day_waits_for_trades_in_transit(made, running):
    bring(made, running, SYMBOL, 10.0)
    made.desk.volumes = {SYMBOL: 25.0}
    asyncio.get_running_loop().call_later(0.03, bring, made, running, SYMBOL, 15.0)
    await running.day.end(running.selector)
    assert gaps(running) == []


@on(day)
async def test_the_slots_end_at_the_moment_up_to_which_the_stream_is_read_out_not_when_that_is_done(made, running):
    bring(made, running, SYMBOL, 10.0)
    made.desk.volumes, asked = {SYMBOL: 25.0}, len(made.desk.quoted)
    ended_ns = made.clock.now_ns()
    ending = asyncio.create_task(running.day.end(running.selector))
    await until_async(lambda: len(made.desk.quoted) > asked)
    await made.clock.advance(30.0)
    await ending
    released = running.of(SlotReleased)
    assert {each.released_ns for each in released} == {ended_ns}
    assert len(released) == SLOTS


@on(day)
async def test_a_decision_is_never_later_than_the_end_of_the_slots(made, running):
    bring(made, running, SYMBOL, 10.0)
    made.desk.volumes, asked = {SYMBOL: 25.0}, len(made.desk.quoted)
    ending = asyncio.create_task(running.day.end(running.selector))
    await until_async(lambda: len(made.desk.quoted) > asked)
    steps = len(running.steps)
    await running.until(ending.done)
    assert running.steps[steps:] == ["closed"]


@on(day)
async def test_where_the_broker_does_not_answer_at_the_end_what_follows_the_last_trade_is_open(made, running):
    bring(made, running, SYMBOL, 10.0)
    made.desk.is_down = True
    await running.day.end(running.selector)
    assert [(gap.symbol, gap.after_volume) for gap in running.of(GapOpened)] == [(SYMBOL, 10.0)]
    assert [lost.symbol for lost in running.of(GapUnrecoverable)] == [SYMBOL]


@on(day)
async def test_where_the_broker_does_not_answer_at_the_end_a_later_trade_shows_that_all_was_read(
    made, running, monkeypatch
):
    monkeypatch.setattr(monitor, "ARRIVES_WITHIN_S", DEADLINE_S)
    bring(made, running, SYMBOL, 10.0)
    made.desk.is_down, asked = True, len(made.desk.quoted)
    ending = asyncio.create_task(running.day.end(running.selector))
    await until_async(lambda: len(made.desk.quoted) > asked)
    await made.clock.advance(1.0)
    bring(made, running, OTHER, 5.0)
    await ending
    assert running.of(GapOpened) == []


@on(unseen_day)
async def test_a_symbol_without_trades_is_compared_with_the_volume_requested_at_its_subscription(made, running):
    async def scene(made, running):
        made.desk.volumes = {SYMBOL: 125.0}
        await running.day.end(running.selector)
        assert gaps(running) == [(SYMBOL, 100, 125, "volume_mismatch")]

    await learned(made, running)
    await scene(made, running)


async def learned(made, running):
    await running.until(lambda: set(made.desk.quoted) == running.lines[0].subscribed)
    await running.until(lambda: len(running.lines[0].subscribed) == SLOTS)


@on(unseen_day)
async def test_an_interruption_before_the_first_trade_of_an_unswept_symbol_leaves_a_gap_since_the_days_begin(
    made, running
):
    await learned(made, running)
    running.day.receiver.on_unsubscribed(SYMBOL, "line lost")
    running.day.receiver.on_subscribed(SYMBOL)
    made.traded[SYMBOL] = (140.0, 7)
    bring(made, running, SYMBOL, 10.0)
    assert gaps(running) == [(SYMBOL, 0, 140, "reconnect")], "trades may have come before the broker said 100"
    made.traded[OTHER] = (140.0, 7)
    bring(made, running, OTHER, 10.0)
    assert len(gaps(running)) == 1, "its line did not break: what is traded before the first trade is judged later"


@on(unseen_day)
async def test_a_connection_that_is_lost_before_its_symbol_without_a_slot_is_removed_leaves_a_gap(made, running):
    receiver, symbol = running.day.receiver, "999999"
    receiver.trades.watch(symbol, Mark(symbol, SESSION, 10.0, None, made.clock.now_ns()))
    made.desk.volumes[symbol] = 32.0
    receiver.on_unsubscribed(symbol, "connection lost")
    await running.until(lambda: gaps(running))
    assert gaps(running) == [(symbol, 10, 32, "reconnect")]


@on(day)
async def test_a_line_whose_acknowledgement_is_not_read_at_the_end_is_compared_with_the_brokers_volume(made, running):
    await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(10.0))
    running.day.receiver.on_requested(SYMBOLS[-1])
    made.desk.volumes = {SYMBOLS[-1]: 32.0}
    await running.day.end(running.selector)
    assert gaps(running) == [(SYMBOLS[-1], 10, 32, "reconnect")]


@on(unseen_day)
async def test_a_symbol_that_a_sweep_has_seen_is_not_asked_for(made, running):
    await learned(made, running)
    await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(100.0))
    made.desk.quoted.clear()
    running.day.receiver.on_unsubscribed(SYMBOL, "line lost")
    running.day.receiver.on_subscribed(SYMBOL)
    assert made.desk.quoted == []


@on(day)
async def test_a_symbol_released_with_less_volume_than_its_last_sweep_leaves_a_gap(made, running, monkeypatch):
    monkeypatch.setattr(monitor, "ARRIVES_AT_LAST_S", 0.3)

    bring(made, running, SYMBOL, 10.0)
    bring(made, running, OTHER, 30.0)
    await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(30.0))
    made.desk.volumes, made.desk.quoted = {SYMBOL: 32.0, OTHER: 99.0}, []
    running.day.receiver.on_facts([state(SYMBOL, halted=True), state(OTHER, halted=True)])
    await running.until(lambda: gaps(running))
    assert {released.symbol for released in running.of(SlotReleased)} == {SYMBOL, OTHER}
    assert gaps(running) == [(SYMBOL, 10, 32, "volume_mismatch")]
    assert made.desk.quoted == [SYMBOL], "the other one was heard"


@on(day)
async def test_a_sweep_with_more_volume_than_the_stream_brought_is_a_gap_at_once(made, running):
    bring(made, running, SYMBOL, 10.0)
    bring(made, running, OTHER, 30.0)
    swept = made.sweep(30.0)
    await made.clock.advance(1)
    bring(made, running, OTHER, 1.0)
    await running.until(lambda: gaps(running), swept=swept)
    assert gaps(running) == [(SYMBOL, 10, 30, "volume_mismatch")]
    made.traded[SYMBOL] = (30.0, 9)
    bring(made, running, SYMBOL, 5.0)
    assert len(gaps(running)) == 1, "the chain goes on behind it"


def checking(running, swept, *symbols):
    """The comparison of subscribed symbols with a sweep, under way."""
    snapshots = running.reader.snapshots(SESSION, swept.started_ns, swept.completed_ns + 1)
    return asyncio.create_task(running.day._stream_monitor.check_sweep(snapshots, set(symbols), swept.started_ns))


@on(day)
async def test_trades_that_arrive_soon_after_a_sweep_are_no_gap(made, running):
    bring(made, running, SYMBOL, 10.0)
    check = checking(running, made.sweep(30.0), SYMBOL)
    asyncio.get_running_loop().call_later(0.03, bring, made, running, SYMBOL, 20.0)
    await check
    assert gaps(running) == []


@on(day)
async def test_a_stream_that_stalls_longer_than_trades_take_is_no_gap_and_its_late_trades_are_stored(made, running):
    bring(made, running, SYMBOL, 10.0)
    check = checking(running, made.sweep(30.0), SYMBOL)
    asyncio.get_running_loop().call_later(5 * monitor.ARRIVES_WITHIN_S, bring, made, running, SYMBOL, 20.0)
    await check
    assert gaps(running) == []
    stored = [(trade.symbol, trade.volume, trade.gap_id) for trade in running.of(Trade)]
    assert stored == [(SYMBOL, 10, None), (SYMBOL, 20, None)]


@on(day)
async def test_a_stream_that_stays_silent_is_checked_again_at_the_next_sweep(made, running, monkeypatch):
    monkeypatch.setattr(monitor, "ARRIVES_AT_LAST_S", 0.3)

    bring(made, running, SYMBOL, 10.0)
    await checking(running, made.sweep(30.0), SYMBOL)
    assert gaps(running) == [], "no trade shows that the stream has gone on"
    bring(made, running, OTHER, 40.0)
    await checking(running, made.sweep(30.0), SYMBOL)
    assert gaps(running) == [], "nor does one from before the snapshot"
    check = checking(running, made.sweep(30.0), SYMBOL)
    await made.clock.advance(1)
    bring(made, running, OTHER, 1.0)
    await check
    assert gaps(running) == [(SYMBOL, 10, 30, "volume_mismatch")]


@pytest.mark.parametrize("volume", [10.0, 25.0], ids=["nothing was traded", "trades are missing"])
@on(day)
async def test_a_sweep_resolves_the_cut_of_a_symbol_that_no_quote_resolved(made, running, volume, monkeypatch):
    monkeypatch.setattr(monitor, "ARRIVES_AT_LAST_S", 0.3)

    bring(made, running, SYMBOL, 10.0)
    bring(made, running, OTHER, 20.0)
    made.desk.is_down = True
    cut(running, SYMBOL)
    await made.clock.advance(1)
    back(running, SYMBOL)
    during = made.sweep(volume)
    await checking(running, during, SYMBOL)
    assert running.day.trades.gaps.is_open(SYMBOL), "the broker is being asked"
    asked = running.day._stream_monitor
    await until_async(lambda: not (asked._returned or asked._resolving), "it did not answer")
    await made.clock.advance(1)
    swept = made.sweep(volume)
    await made.clock.advance(1)
    bring(made, running, OTHER, 1.0)
    await checking(running, swept, SYMBOL)
    found = [(gap.symbol, gap.gap_id) for gap in (*running.of(GapEmpty), *running.of(GapDetected))]
    assert found == [(gap.symbol, gap.gap_id) for gap in running.of(GapOpened)]
    assert (empties(running), gaps(running)) == (
        ([(SYMBOL, 10)], []) if volume == 10 else ([], [(SYMBOL, 10, 25, "reconnect")])
    )


def empties(running):
    return [(gap.symbol, gap.volume) for gap in running.of(GapEmpty)]


def cut(running, *symbols):
    for symbol in symbols:
        running.day.receiver.on_unsubscribed(symbol, "connection lost")


def back(running, *symbols):
    for symbol in symbols:
        running.day.receiver.on_subscribed(symbol)


@on(day)
async def test_a_cut_is_a_gap_of_each_of_its_symbols_at_once(made, running):
    bring(made, running, SYMBOL, 10.0)
    bring(made, running, OTHER, 20.0)
    cut(running, SYMBOL, OTHER)
    now_ns = made.clock.now_ns()
    opened = [(gap.symbol, gap.after_volume, gap.from_ns, gap.opened_ns) for gap in running.of(GapOpened)]
    assert opened == [(SYMBOL, 10, now_ns, now_ns), (OTHER, 20, now_ns, now_ns)]
    made.desk.volumes = {SYMBOL: 10.0, OTHER: 20.0}
    back(running, SYMBOL, OTHER)
    await running.until(lambda: len(empties(running)) == 2)


@on(day)
async def test_after_a_reconnection_one_call_closes_the_gaps_in_which_nothing_was_traded_and_proves_the_others(
    made, running
):
    bring(made, running, SYMBOL, 10.0)
    bring(made, running, OTHER, 20.0)
    cut(running, SYMBOL, OTHER)
    lost_ns = made.clock.now_ns()
    await made.clock.advance(7)
    back_ns = made.clock.now_ns()
    made.desk.volumes, made.desk.quoted = {SYMBOL: 10.0, OTHER: 25.0}, []
    back(running, SYMBOL, OTHER)
    await running.until(lambda: empties(running) and gaps(running))
    assert made.desk.quoted == [SYMBOL, OTHER]
    assert (empties(running), gaps(running)) == ([(SYMBOL, 10)], [(OTHER, 20, 25, "reconnect")])
    for gap in (*running.of(GapEmpty), *running.of(GapDetected)):
        assert (gap.from_ns, gap.to_ns) == (lost_ns, back_ns)
    assert {gap.gap_id for gap in running.of(GapOpened)} == {
        gap.gap_id for gap in (*running.of(GapEmpty), *running.of(GapDetected))
    }


@on(day)
async def test_volumes_that_the_broker_does_not_give_at_first_are_requested_again(made, running):
    bring(made, running, SYMBOL, 10.0)
    cut(running, SYMBOL)
    made.desk.volumes, made.desk.is_down = {SYMBOL: 10.0}, True
    back(running, SYMBOL)
    await running.until(lambda: "volumes_unknown" in open_alerts(running))
    made.desk.is_down = False
    await running.until(lambda: empties(running))


async def test_the_next_process_goes_on_with_the_gap_of_an_outage():
    async def scene(made, running):
        bring(made, running, SYMBOL, 10.0)
        cut(running, SYMBOL)
        running.stored()

    with market() as made:
        async with process(made) as running:
            await running.until(lambda: len(running.lines[0].subscribed) == SLOTS)
            await running.until(lambda: len(made.desk.quoted) == SLOTS)  # each slot's volume at its begin
            await scene(made, running)
            [opened] = running.of(GapOpened)
        made.desk.volumes = {SYMBOL: 10.0}
        async with process(made) as following:
            await following.until(lambda: empties(following))
            [closed] = [gap for gap in following.of(GapEmpty) if gap.symbol == SYMBOL]
            assert (closed.gap_id, closed.from_ns) == (opened.gap_id, opened.from_ns)
        with StoreReader(made.url) as reader:
            assert verified_day(reader, SESSION).is_same
            [story] = reader.openings(SESSION, SYMBOL)
            assert story.empty == closed


def open_alerts(running):
    return [each.identity for each in running.alerts.open]


@on(day)
async def test_a_refused_symbol_is_an_alert_while_it_has_a_slot(made, running):
    receiver = running.day.receiver
    receiver.on_unsubscribed(SYMBOL, "refused: limit")
    receiver.on_unsubscribed("999999", "refused: limit")
    assert open_alerts(running) == [f"not_streamed:{SYMBOL}"], "the other has no slot"
    receiver.keep_wanted([SYMBOL])
    assert open_alerts(running) == [f"not_streamed:{SYMBOL}"]
    receiver.keep_wanted([OTHER])
    assert open_alerts(running) == []
    receiver.on_subscribed(SYMBOL)


@on(day)
async def test_volumes_are_unknown_while_one_of_several_calls_fails(made, running):
    made.desk.quotes_per_call = 1
    made.desk.failing = {SYMBOLS[0]}
    await running.day.receiver.monitor._asked(SYMBOLS[:2])
    assert open_alerts(running) == ["volumes_unknown"]
    made.desk.failing = set()
    await running.day.receiver.monitor._asked(SYMBOLS[:2])
    assert open_alerts(running) == []


@on(day)
async def test_a_stream_that_comes_and_goes_within_one_outage_is_one_alert(made, running):
    [line] = running.lines
    made.desk.is_down = True
    states = ("lost", "refused", "connected", "lost", "connected", "lost", "refused", "connected")
    for each in states:
        line.report(each)
        await running.day.receiver.monitor._asked(SYMBOLS[:2])
        running.alerts.tick()
        assert open_alerts(running) == ["stream:main"], "and none of unknown volumes"
    alerts = [event for event in running.events if isinstance(event, AlertRaised)]
    raised = [(alert.identity, alert.severity) for alert in alerts]
    assert raised == [("stream:main", "warning"), ("stream:main", "critical")]
    await made.clock.advance(30)
    running.alerts.tick()
    assert open_alerts(running) == []


@on(day)
async def test_a_stream_that_used_up_its_connections_of_the_hour_is_a_critical_alert_until_it_is_connected(
    made, running
):
    [line] = running.lines
    line.report("suspended")
    assert [(each.identity, each.severity) for each in running.alerts.open] == [("stream:main", "critical")]
    line.report("connected")
    await made.clock.advance(30)
    running.alerts.tick()
    assert open_alerts(running) == []


@on(day)
async def test_a_lost_stream_of_an_account_whose_calls_fail_is_no_second_alert(made, running):
    [account] = running.brokers.accounts
    unfit = HealthDecision(fit=False, failures=2)
    account.health.write(Health(checked_ns=made.clock.now_ns(), calls=unfit))
    [line] = running.lines
    line.report("lost")
    assert open_alerts(running) == []
    account.health.write(Health(checked_ns=made.clock.now_ns()))
    line.report("refused")
    assert open_alerts(running) == ["stream:main"]


@on(day)
async def test_the_day_s_end_and_a_start_after_it_resolve_the_stream_s_alerts(made, running):
    identities = ("stream:main", f"not_streamed:{SYMBOL}", "load_relief", "overflow", "stale_subscriptions")
    for identity in identities:
        running.alerts.report(identity, "warning", "a text")
    await running.day.end(running.selector)
    assert open_alerts(running) == []
    for identity in identities:
        running.alerts.report(identity, "warning", "a text")
    await running.day.end_for_earlier_process()
    assert open_alerts(running) == []


async def test_an_overflow_of_an_earlier_day_ends_when_this_day_gives_its_first_slots():
    with market() as made:
        earlier = Alerts(made.clock, "track-b", lambda *_: None, runtime=made.folder)
        earlier.report("overflow", "critical", "its close was missed")
        await until_async(lambda: Alerts(made.clock, "track-b", runtime=made.folder).identities, "it is kept")
        async with process(made) as running:
            assert running.alerts.identities == []


async def test_a_symbol_that_no_process_could_subscribe_again_is_settled_at_the_day_s_end():
    with market() as made:
        async with process(made) as running:
            await running.until(lambda: len(running.lines[0].subscribed) == SLOTS)
            bring(made, running, SYMBOL, 10.0)
            bring(made, running, OTHER, 20.0)
            cut(running, SYMBOL)
        made.silent = {"main"}
        made.desk.volumes = {SYMBOL: 25.0, OTHER: 20.0}
        async with process(made) as following:
            await following.day.end(following.selector)
            assert gaps(following) == [(SYMBOL, 10, 25, "restart")]
            assert (OTHER, 20) in empties(following)
        with StoreReader(made.url) as reader:
            assert verified_day(reader, SESSION).is_same
            assert [story for story in reader.openings(SESSION) if story.is_open] == []


async def never_answered(_symbols):
    """The process is killed before the broker's answer."""


async def test_a_gap_of_a_symbol_that_was_being_left_when_its_process_was_killed_is_given_up():
    with market() as made:
        async with process(made) as running:
            await running.until(lambda: len(running.lines[0].subscribed) == SLOTS)
            bring(made, running, SYMBOL, 10.0)
            cut(running, SYMBOL)
            running.day.trades.settle = never_answered  # type: ignore[method-assign] - the broker
            running.day.receiver.on_facts([state(SYMBOL, halted=True)])
            await running.until(lambda: running.of(SlotReleased))
            [opened] = [gap for gap in running.of(GapOpened) if gap.symbol == SYMBOL]
            assert running.of(GapUnrecoverable) == []
        async with process(made) as following:
            [given_up] = following.of(GapUnrecoverable)
            assert (given_up.gap_id, given_up.symbol) == (opened.gap_id, SYMBOL)
        with StoreReader(made.url) as reader:
            [story] = reader.openings(SESSION, SYMBOL)
            assert not story.is_open
