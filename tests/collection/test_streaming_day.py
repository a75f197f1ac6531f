"""A day of Track B in its worker: the wiring, and the state that a resumed process continues with."""

import asyncio
import contextlib
import logging
import sqlite3
from random import Random

import msgspec

from bus.delivery import Delivered
from bus.events import (
    AlertRaised,
    AlertResolved,
    DayBegan,
    GapDetected,
    GapOpened,
    InputQuarantined,
    KeptPin,
    Pinned,
    PinsKept,
    RiseApplied,
    SamplingChanged,
    SelectionAdvanced,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Trade,
    TradesConflated,
    TriggerEnded,
    TriggerFired,
    UniverseBuilt,
    VolumeRise,
)
from observer.base.units import NS_PER_S
from observer.calendar.sessions import Window
from observer.cli.decisions import changed_settings, changes_within, first_steps, verified_day
from observer.collection.pins import Pins
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.selection.sampling import SamplingSettings
from observer.selection.triggers import PinSettings
from observer.store.reader import StoreReader
from tests.collection.day_scene import PLAN, SESSION, SLOTS, SYMBOLS, market, process
from tests.scenes import on
from tests.selection.builders import member, state

SURGE = 9_000.0
DECIDED = (GapOpened, GapDetected, SlotAssigned, SlotReleased)
BUSY = SamplingSettings(degrade_above_events=1, recover_below_events=0)


def alerts(running):
    return [alert.text for alert in running.of(AlertRaised)]


def pins(running):
    return Pins(running.selector, running.day.moment, running.day.carry_out)


@on(market)
async def test_when_many_symbols_find_no_slot_it_is_reported_once_also_after_a_restart(made):
    async with process(made) as first:
        swept = made.sweep(SURGE)
        await first.until(lambda: any("slots" in text for text in alerts(first)), swept=swept)
        assert len(first.of(SlotOverflowed)) == len(SYMBOLS) - SLOTS
        assert [text for text in alerts(first) if "urgent (66.7% of the symbols" in text]
    async with process(made) as second:
        checks = len(second.steps) + 2
        await second.until(lambda: len(second.steps) >= checks)
        assert second.steps[:2] == ["began", "resumed"]
        assert not [text for text in alerts(second) if "slots" in text]
        await made.clock.advance(3_600)
        await second.until(lambda: [each for each in second.of(AlertResolved) if "hour: level normal" in each.text])


def renamed(made, table, name):
    with contextlib.closing(sqlite3.connect(made.folder / "observer.db")) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}")


@on(market)
async def test_a_day_begins_without_earlier_days_if_they_cannot_be_read_and_replays_without_them(made):
    await made.clock.advance(-90.0)  # a minute and a half before the context
    renamed(made, "sweeps", "away")
    async with process(made) as running:
        renamed(made, "away", "sweeps")
        assert [text for text in alerts(running) if text.startswith("triggers compare with no earlier days: ")]
        [began] = [each.step for each in running.of(SelectionAdvanced) if isinstance(each.step, DayBegan)]
        assert (began.universe, began.built_ns, began.knows_earlier_days) == (SESSION, 0, False)
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(SURGE))
    with StoreReader(made.url) as reader:
        comparison = verified_day(reader, SESSION)
    assert comparison.is_same, comparison
    assert comparison.same["TriggerFired"] == len(SYMBOLS)


def later_build(made):
    """A second build of the day, by whose averages a day's usual volume is 100."""
    members = [
        member(each, rank=rank, market_cap=1e13 / rank, venue="KRX", average_volume_20d=100.0)
        for rank, each in enumerate(SYMBOLS, 1)
    ]
    now_ns = made.clock.now_ns()
    built = UniverseBuilt("kis", KOREAN_STOCKS, SESSION, SESSION, now_ns, len(members), len(members), 0.0)
    made.store("b" * 32, *members, built)
    return built


@on(market)
async def test_the_history_of_a_later_build_counts_at_once_after_a_restart_and_in_the_replay(made):
    async with process(made) as first:
        await first.until(lambda: "universe_evaluated" in first.steps, swept=made.sweep(900.0))
        assert not first.of(TriggerFired)
        built = later_build(made)

        def is_taken_in():
            made.feed.publish([Delivered("master-file", "b" * 32, 31, [built])])
            return "history" in first.steps

        await first.until(is_taken_in)
        await first.until(lambda: first.of(TriggerFired), swept=made.sweep(901.0))
        assert first.steps.count("history") == 1
    async with process(made) as second:
        assert second.steps[:2] == ["began", "resumed"]
        [began] = [each.step for each in second.of(SelectionAdvanced) if isinstance(each.step, DayBegan)]
        assert began.history_ns == built.built_ns
        evaluated = second.steps.count("universe_evaluated")
        await second.until(lambda: second.steps.count("universe_evaluated") > evaluated, swept=made.sweep(2e3))
    with StoreReader(made.url) as reader:
        comparison = verified_day(reader, SESSION)
    assert comparison.is_same, comparison
    assert comparison.same["TriggerFired"] >= len(SYMBOLS)


@on(market)
async def test_a_sweep_shows_a_later_build_whose_signal_was_lost(made):
    async with process(made) as running:
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(900.0))
        later_build(made)
        await running.until(lambda: running.of(TriggerFired), swept=made.sweep(901.0))


@on(market)
async def test_a_stale_symbol_is_subscribed_again(made):
    async with process(made) as running:
        [line] = running.lines
        await running.until(lambda: len(line.subscribed) == SLOTS)
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(10.0))
        await running.until(lambda: line.anew, swept=made.sweep(30.0))
        assert set(line.anew) == line.subscribed == set(running.selector.wanted)
        assert [text for text in alerts(running) if "(20 shares behind)" in text]


@on(market)
async def test_a_day_states_subscriptions_that_wait_for_the_bound(made):
    async with process(made) as running:
        [line] = running.lines
        line.held_back_since_ns = made.clock.now_ns() - 901 * NS_PER_S
        await running.until(lambda: "subscriptions_held_back:main" in running.alerts.identities)
        line.held_back_since_ns = None
        await running.until(lambda: "subscriptions_held_back:main" not in running.alerts.identities)


@on(market)
async def test_a_pin_outlives_a_restart_also_while_it_waits(made):
    last, halted = SYMBOLS[-1], SYMBOLS[-2]
    async with process(made) as first:
        first.day.receiver.on_facts([state(halted, halted=True)])
        assert "slot main:10" in pins(first).pin(last).detail
        reported = pins(first).pin(halted).detail
        assert reported == f"{halted} is pinned; halted: gets a slot when trading resumes"
    async with process(made) as second:
        assert second.selector.wanted[0] == last
        await second.until(lambda: "slots_evaluated" in second.steps)
        assert halted not in second.selector.wanted
        second.day.receiver.on_facts([state(halted, halted=False)])
        await second.until(lambda: halted in second.selector.wanted)
        assert pins(second).unpin(halted).detail == f"{halted} is unpinned; its slot main:09 is free"


@on(market)
async def test_a_pin_stands_on_the_next_day_until_it_is_taken_back(made):
    last = SYMBOLS[-1]
    pinned = (SelectionAdvanced("2026-11-17", 1, Pinned(symbol)) for symbol in (last, "000ZZZ"))
    made.store("b" * 32, *pinned)
    async with process(made) as running:
        assert running.selector.wanted[0] == last
        [kept] = [each.step for each in running.of(SelectionAdvanced) if isinstance(each.step, PinsKept)]
        assert kept == PinsKept((KeptPin(last, None), KeptPin("000ZZZ", "not_in_universe")))
        assert pins(running).unpin(last).detail == f"{last} is unpinned; its slot main:01 is free"


@on(market, accounts=2, slots=20)
async def test_a_moved_symbol_stays_away_over_a_restart_until_its_home_stream_is_up_again(made):
    async with process(made) as first:
        first.lines[1].report("lost")
        await first.until(lambda: moves(first), step_s=20.0)
        away = moves(first)
        assert {reason for reason, _ in away} == {"moved"}
    made.down = {first.lines[1].account}
    async with process(made) as second:
        checks = len(second.steps) + 2
        await second.until(lambda: len(second.steps) >= checks)
        assert moves(second) == []
        second.lines[1].report("connected")
        await second.until(lambda: moves(second))
        assert moves(second) == [("moved_home", symbol) for _, symbol in away]


def moves(running):
    return [(each.reason, each.symbol) for each in running.of(SlotAssigned) if each.reason.startswith("moved")]


@on(market)
async def test_a_volume_rise_between_two_sweeps_gives_its_symbol_a_slot_and_the_day_replays_the_same(made):
    risen, since_ns = SYMBOLS[-1], made.clock.now_ns()
    async with process(made) as running:
        await running.until(lambda: len(running.selector.wanted) == SLOTS)
        now_ns = made.clock.now_ns()
        rise = VolumeRise(
            *("kis", risen, SESSION, since_ns, now_ns, 0.0, 100_000.0, 10.0, 10_000.0, None, None, None, 0.0)
        )
        strangers = [
            msgspec.structs.replace(rise, symbol="unknown"),
            msgspec.structs.replace(rise, session_date="2026-11-17"),
        ]

        def is_streamed():
            made.feed.publish([Delivered("track-a", "a" * 32, 1, [*strangers, rise])])
            return risen in running.selector.wanted

        await running.until(is_streamed)
        [applied] = [each.step for each in running.of(SelectionAdvanced) if isinstance(each.step, RiseApplied)]
        assert (applied.symbol, applied.since_ns, applied.received_ns) == (risen, since_ns, now_ns)
        [fired] = [each for each in running.of(TriggerFired) if each.symbol == risen]
        assert fired.kind == "volume_surge"
    with StoreReader(made.url) as reader:
        assert verified_day(reader, SESSION).is_same


@on(market)
async def test_a_volume_rise_during_a_restart_is_evaluated_after_it_and_one_that_was_evaluated_is_not_again(made):
    since_ns = made.clock.now_ns()
    known, missed = SYMBOLS[-1], SYMBOLS[-2]

    def rise(symbol):
        rest = (0.0, 100_000.0, 10.0, 10_000.0, None, None, None, 0.0)
        return VolumeRise("kis", symbol, SESSION, since_ns, made.clock.now_ns(), *rest)

    async with process(made) as first:
        await first.until(lambda: len(first.selector.wanted) == SLOTS)
        seen = rise(known)
        made.store("b" * 32, seen)

        def is_streamed():
            made.feed.publish([Delivered("track-a", "b" * 32, 1, [seen])])
            return known in first.selector.wanted

        await first.until(is_streamed)
    await made.clock.advance(5.0)
    made.store("b" * 32, rise(missed))  # while no process receives the feed
    async with process(made) as second:
        await second.until(lambda: missed in second.selector.wanted)
        steps = [each.step for each in second.of(SelectionAdvanced)]
        assert [step.symbol for step in steps if isinstance(step, RiseApplied)] == [missed]
    with StoreReader(made.url) as reader:
        assert verified_day(reader, SESSION).is_same


@on(market)
async def test_a_repeated_sweep_after_a_kill_of_track_a_replays_to_the_same_decisions(made):
    async with process(made) as running:
        made.kill_in_sweep(SURGE)
        await made.clock.advance(1.0)
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(2_000.0))
        assert not running.of(TriggerFired)
        await running.until(lambda: running.of(TriggerFired), swept=made.sweep(SURGE))
        await running.day.end(running.selector)
    with StoreReader(made.url) as reader:
        comparison = verified_day(reader, SESSION)
    assert comparison.is_same, comparison
    assert comparison.same["TriggerFired"] == len(SYMBOLS)


@on(market)
async def test_a_slot_without_trades_over_two_sweeps_is_checked_for_a_halt_and_released_when_halted(made):
    made.desk.halted = {SYMBOLS[1], SYMBOLS[-1]}  # the last one has no slot
    async with process(made) as running:
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(10.0))
        assert made.desk.asked == []
        slots = running.selector.wanted
        await made.clock.advance(600.0)
        trading = {SYMBOLS[-2]: 11.0}  # without a slot: the market goes on
        assert SYMBOLS[-2] not in slots
        swept = made.sweep(10.0, trading)
        await running.until(lambda: SYMBOLS[1] not in running.selector.wanted, swept=swept)
        assert set(made.desk.asked) == {*slots, SYMBOLS[-2]}, "with a symbol that shows that the market goes on"
        assert [each.reason for each in running.of(SlotReleased)] == ["halted"]
        await running.day.end(running.selector)
    with StoreReader(made.url) as reader:
        assert verified_day(reader, SESSION).is_same


@on(market)
async def test_a_stop_of_the_whole_market_takes_no_slot_away(made):
    made.desk.halted = set(SYMBOLS)  # as quotes have it in a stop
    async with process(made) as running:
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(10.0))
        slots = set(running.selector.wanted)
        await made.clock.advance(600.0)
        done = len(running.steps)
        await running.until(lambda: "universe_evaluated" in running.steps[done:], swept=made.sweep(10.0))
        assert made.desk.asked == []
        assert set(running.selector.wanted) == slots
        await running.day.end(running.selector)


@on(market)
async def test_conditions_that_hold_do_not_fire_again_after_a_restart_and_a_sweep_during_it_is_evaluated(made):
    async with process(made) as first:
        await first.until(lambda: "universe_evaluated" in first.steps, swept=made.sweep(SURGE))
        fired = {(each.symbol, each.kind): each.fired_ns for each in first.of(TriggerFired)}
    await made.clock.advance(5.0)
    made.sweep(SURGE + 1, high=12_000.0)  # while no process receives the feed
    async with process(made) as second:
        await second.until(lambda: "universe_evaluated" in second.steps)
        again = [(each.symbol, each.kind) for each in second.of(TriggerFired)]
        assert sorted(again) == [(symbol, "volatility_spike") for symbol in sorted(SYMBOLS)]
        await second.day.end(second.selector)
        ended = {(each.symbol, each.kind): each.fired_ns for each in second.of(TriggerEnded)}
    assert fired.items() <= ended.items()
    assert len(ended) == len(fired) + len(SYMBOLS)
    with StoreReader(made.url) as reader:
        comparison = verified_day(reader, SESSION)
    assert comparison.is_same, comparison


@on(market)
async def test_a_day_on_which_a_venue_closes_replays_over_a_restart_with_the_hours_that_it_was_decided_by(
    made, monkeypatch
):
    line = f"{SYMBOLS[0]}.NXT"
    begins_ns, ends_ns = PLAN.track_b_start_ns, PLAN.track_b_stop_ns
    windows = (Window("KRX", begins_ns, ends_ns), Window("NXT", begins_ns, begins_ns + 60 * NS_PER_S))
    monkeypatch.setattr("tests.collection.day_scene.PLAN", msgspec.structs.replace(PLAN, windows=windows))
    members = [member(each, rank=rank, venue="KRX") for rank, each in enumerate(SYMBOLS, 1)]
    members.append(member(line, rank=len(members) + 1, venue="NXT"))
    built = UniverseBuilt("kis", KOREAN_STOCKS, SESSION, SESSION, 1, len(members), len(members), 0.0)
    made.store("a" * 32, *members, built)
    async with process(made) as first:
        await first.until(lambda: "slots_evaluated" in first.steps)
        pins(first).pin(line)
        assert line in first.selector.wanted
        await made.clock.advance(60)
        await first.until(lambda: line not in first.selector.wanted)
    async with process(made) as second:
        await second.until(lambda: "slots_evaluated" in second.steps)
        assert line not in second.selector.wanted
        await second.day.end(second.selector)
    released = [(each.reason, each.venue) for each in first.of(SlotReleased) if each.symbol == line]
    assert released == [("venue_closed", "NXT")]
    with StoreReader(made.url) as reader:
        comparison, began = verified_day(reader, SESSION), first_steps(reader, SESSION)
        assert comparison.is_same, comparison
    assert changed_settings(began, made.settings) == []


async def busy_while(made, running, rng):
    """Trades arrive faster than the writer stores them, some are missing; pins, sweeps and halts fall in between."""
    [line] = running.lines
    for _ in range(60):
        symbol = rng.choice(sorted(line.subscribed)[:3])
        made_now = made.trade(symbol, 10.0 * rng.randint(1, 9), 10_000.0 + rng.randint(-90, 90))
        if rng.random() < 0.9:
            running.day.receiver.on_trades([made_now])
        await made.clock.advance(0.02)
    pins(running).pin(rng.choice(SYMBOLS))
    running.day.receiver.on_facts([state(rng.choice(SYMBOLS), halted=True)])
    checks, seen = running.steps.count("slots_evaluated"), made.sweep(rng.choice([2_000.0, SURGE]))
    await running.until(lambda: "universe_evaluated" in running.steps, swept=seen)
    await running.until(lambda: running.steps.count("slots_evaluated") > checks)


@on(market)
async def test_a_day_whose_settings_changed_replays_with_the_new_ones_from_the_step_of_the_reload_on(made):
    async with process(made) as first:
        await first.until(lambda: "universe_evaluated" in first.steps, swept=made.sweep(SURGE))
    before = made.settings
    selection = before.selection
    weak = msgspec.structs.replace(selection.triggers.of("volume_surge"), weight=1.0)
    triggers = msgspec.structs.replace(selection.triggers, volume_surge=weak, manual=PinSettings(enabled=False))
    made.settings = msgspec.structs.replace(before, selection=msgspec.structs.replace(selection, triggers=triggers))
    async with process(made) as second:
        await second.until(lambda: "resumed" in second.steps)
        await made.clock.advance(301)  # the triggers that held before the restart end
        await second.until(lambda: len(second.of(TriggerEnded)) == len(SYMBOLS))
        await second.until(lambda: second.of(TriggerFired), swept=made.sweep(2 * SURGE))
        assert {each.score for each in first.of(TriggerFired)} != {each.score for each in second.of(TriggerFired)}
        await second.day.end(second.selector)
    with StoreReader(made.url) as reader:
        comparison, began = verified_day(reader, SESSION), first_steps(reader, SESSION)
    assert comparison.is_same, comparison
    [changed] = changes_within(began)
    assert "selection.triggers.volume_surge.weight: 10.0 before, 1.0 from then on" in changed
    assert "selection.triggers.manual.enabled: True before, False from then on" in changed
    assert changed_settings(began, made.settings) == []
    assert changed_settings(began, before) == [
        "selection.triggers.manual.enabled: False stored, True now",
        "selection.triggers.volume_surge.weight: 1.0 stored, 10.0 now",
    ]


@on(market, BUSY)
async def test_a_day_with_conflation_and_a_restart_replays_to_the_same_decisions(made):
    rng = Random(1)
    async with process(made) as first:
        await first.until(lambda: "slots_evaluated" in first.steps)
        await busy_while(made, first, rng)
        assert min(row.trades for row in first.of(TradesConflated)) > 1
        assert first.of(SamplingChanged)[-1].rate_hz is not None
        assert first.of(GapDetected)
    async with process(made) as second:
        assert second.of(SamplingChanged)[0].rate_hz is None, "the load of the earlier process is over, and stated"
        await second.until(lambda: "slots_evaluated" in second.steps)
        await busy_while(made, second, rng)
        await second.day.end(second.selector)
        published = {type(event).__name__ for event in second.events}
        of_venues = [*first.events, *second.events]
    with StoreReader(made.url) as reader:
        comparison = verified_day(reader, SESSION)
    assert comparison.is_same, comparison
    assert comparison.same.keys() >= {"GapDetected", "TriggerFired", "SlotAssigned", "SlotReleased"}
    assert "TradesConflated" in published
    venues = {kind: {each.venue for each in of_venues if isinstance(each, kind)} for kind in DECIDED}
    assert venues == {kind: {"KRX"} for kind in DECIDED}, "each states the venue of its line"


@on(market)
async def test_false_trades_over_a_restart_go_to_quarantine_and_the_day_replays_to_the_same_decisions(made):
    real = []
    for restart in range(2):
        async with process(made) as running:
            [line] = running.lines
            await running.until(lambda: len(line.subscribed) == SLOTS)  # noqa: B023 - awaited here
            symbol = min(line.subscribed)
            first = made.trade(symbol, 10.0, 10_000.0)
            real += [first, made.trade(symbol, 20.0, 10_000.0)]
            made.desk.volumes[symbol] = real[-1].cumulative_volume
            if restart:  # what the first process put into quarantine counts in the day's bound
                await running.until(lambda: running.day.receiver.unreadable._quarantine._day_bytes)
            jump = msgspec.structs.replace(first, cumulative_volume=1e9)
            tomorrow = msgspec.structs.replace(first, session_date="2099-01-01")
            running.day.receiver.on_trades([first, jump, tomorrow])
            running.day.receiver.on_trades(real[-1:])
            await running.until(lambda: len(running.of(InputQuarantined)) == 2)
            assert running.of(Trade) == real[-2:]
            [text] = [each for each in alerts(running) if "quarantine" in each] or [""]
            assert (text.startswith(f"a trade of {symbol} (account ")) == (restart == 0), "the alert stays open"
            if restart:
                await running.day.end(running.selector)
    with StoreReader(made.url) as reader:
        comparison = verified_day(reader, SESSION)
        assert list(reader.trades(SESSION)) == real
    assert comparison.is_same, comparison
    assert "GapDetected" not in comparison.same


@on(market)
async def test_the_end_of_a_day_logs_repeated_unsubscribed_and_overlapping_trades(made, caplog):
    caplog.set_level(logging.INFO, "observer.collection.day")
    async with process(made) as running:
        [line] = running.lines
        await running.until(lambda: len(line.subscribed) == SLOTS)
        symbol = min(line.subscribed)
        other = min(set(SYMBOLS) - line.subscribed)
        first = made.trade(symbol, 10.0, 10_000.0)
        overlapping = msgspec.structs.replace(made.trade(symbol, 4.0, 10_000.0), volume=9.0)
        running.day.receiver.on_trades([first, first, overlapping, made.trade(other, 1.0, 10_000.0)])
        ending = asyncio.create_task(running.day.end(running.selector))
        await running.until(ending.done)
        await ending
    expected = (
        "1 duplicate trades dropped, 1 trades of unsubscribed symbols, 1 that overlap the trade before, "
        "0 that contradict it"
    )
    assert f"closed: {expected}" in [record.getMessage() for record in caplog.records]
