"""The selection pipeline with its state, from observations to published events."""

from collections import Counter

import pytest

from bus.events import (
    ChurnGuardChanged,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    TradesConflated,
    TriggerEnded,
    TriggerFired,
)
from observer.selection.profile import EarlierDays, Profile
from observer.selection.settings import SelectionSettings, SlotSettings
from tests.builders import trade
from tests.selection.builders import all_of, candidate, left, member, members, selector_of, state, swept

SECOND_NS = 1_000_000_000
TWO_SLOTS = SelectionSettings(slots=SlotSettings(max_slots=2))


def selector(*symbols, **day):
    return selector_of(members(*symbols or "ABCD"), {"main": 41}, TWO_SLOTS, **day)


def kinds(events):
    return Counter(type(event).__name__ for event in events)


def assigned(events):
    return [(event.symbol, event.trigger, event.replaced) for event in events if isinstance(event, SlotAssigned)]


def test_with_nothing_to_go_by_the_largest_fill_the_slots():
    pipeline = selector()
    assert assigned(pipeline.evaluate_universe(0)) == [("A", "market_cap", None), ("B", "market_cap", None)]
    assert pipeline.wanted == ("A", "B")


def test_the_opening_s_movers_come_first():
    pipeline = selector()
    assert assigned(pipeline.open([candidate("D", 12)], 0)) == [("D", "volume_surge", None), ("A", "market_cap", None)]


def test_a_surge_seen_by_a_sweep_fires_and_gets_a_slot_at_once():
    pipeline = selector()
    pipeline.evaluate_universe(0)
    swept(pipeline.market, "D", 3_000.0)
    events = pipeline.evaluate_universe(1)
    assert [type(event) for event in events] == [TriggerFired, SlotReleased, SlotAssigned]
    assert (events[1].symbol, events[1].reason, events[1].replaced_by) == ("B", "replaced", "D")
    assert assigned(events) == [("D", "volume_surge", "B")]
    assert pipeline.wanted == ("D", "A")


def test_a_line_whose_trigger_is_over_keeps_its_slot_until_a_trigger_needs_it():
    pipeline = selector("A", "B", "C", "D", "E")
    pipeline.open([candidate("E", 12, expires_ns=10)], 0)
    [extended] = pipeline.evaluate_universe(10)
    assert isinstance(extended, SlotExtended)
    assert (extended.symbol, extended.trigger, extended.expires_ns) == ("E", "market_cap", None)
    assert pipeline.wanted == ("A", "E")
    swept(pipeline.market, "D", 3_000.0)
    assert assigned(pipeline.evaluate_universe(11)) == [("D", "volume_surge", "E")]


def test_a_line_that_surges_again_after_its_trigger_was_over_costs_no_change():
    pipeline = selector("A", "B", "C", "D", "E")
    pipeline.open([candidate("E", 12, expires_ns=10)], 0)
    pipeline.evaluate_universe(10)
    swept(pipeline.market, "E", 3_000.0)
    assert [type(event) for event in pipeline.evaluate_universe(11)] == [TriggerFired, SlotExtended]


def test_a_line_of_a_further_venue_whose_trigger_is_over_yields_to_the_largest_of_the_main_one():
    pipeline = selector("A", "B", "E.NXT")
    pipeline.open([candidate("E.NXT", 12, expires_ns=10)], 0)
    assert assigned(pipeline.evaluate_universe(10)) == [("B", "market_cap", "E.NXT")]


def test_more_triggers_than_slots_overflow_once():
    pipeline = selector()
    for symbol in "ABCD":
        swept(pipeline.market, symbol, 9_000.0)
    assert kinds(pipeline.evaluate_universe(0))["SlotOverflowed"] == 2
    assert not all_of(SlotOverflowed, pipeline.evaluate_universe(1))


def test_a_slot_whose_trigger_is_over_between_sweeps_goes_to_a_symbol_whose_trigger_is_still_active():
    pipeline = selector("A", "B", "C", "D", "E", "F")
    pipeline.open([candidate("F", 20, expires_ns=SECOND_NS), candidate("E", 20, expires_ns=9 * SECOND_NS)], 0)
    swept(pipeline.market, "D", 3_000.0)
    assert kinds(pipeline.evaluate_universe(1)) == {"TriggerFired": 1, "SlotOverflowed": 1}
    assert assigned(pipeline.evaluate_slots(SECOND_NS)) == [("D", "volume_surge", "F")]


def test_symbols_with_slots_are_evaluated_in_the_order_of_their_slots():
    symbols = [f"{number:06d}" for number in range(30)]
    pipeline = selector_of(members(*symbols), {"main": 41})
    pipeline.evaluate_universe(0)
    for symbol in reversed(symbols):
        swept(pipeline.market, symbol, 9_000.0)
    fired = [event.symbol for event in pipeline.evaluate_slots(1) if isinstance(event, TriggerFired)]
    assert fired == symbols


def test_a_symbol_at_its_upper_limit_loses_its_slot():
    pipeline = selector()
    pipeline.evaluate_universe(0)
    swept(pipeline.market, "A", price=13_000.0, high=13_000.0)
    events = pipeline.evaluate_universe(1)
    released = [(event.symbol, event.reason) for event in events if isinstance(event, SlotReleased)]
    assert released == [("A", "upper_limit")]
    assert pipeline.wanted == ("B", "C")


def test_a_halted_symbol_loses_its_slot_and_can_come_back():
    pipeline = selector()
    pipeline.evaluate_universe(0)
    pipeline.market.update_state(state("A", halted=True))
    assert [event.reason for event in pipeline.evaluate_slots(1) if isinstance(event, SlotReleased)] == ["halted"]
    pipeline.market.update_state(state("A", halted=False))
    pipeline.close(2)
    pipeline.evaluate_universe(3)
    assert "A" in pipeline.wanted


@pytest.mark.parametrize("reported_by", ["the exchange", "a master file"])
def test_a_halt_of_a_symbol_without_a_slot_is_over_when_a_sweep_sees_it_traded_again(reported_by):
    pipeline = selector()
    pipeline.pin("A", 0)
    swept(pipeline.market, "A", 10.0, receive_time_ns=1)
    if reported_by == "the exchange":
        pipeline.market.update_state(state("A", halted=True))
    else:
        pipeline.market.update_listing("A", 1, delisted=False, suspended=True)
    volumes = (30.0, 30.0, 30.0, 31.0)  # the first one may have been traded before the halt
    wanted = []
    for now_ns, volume in enumerate(volumes, start=2):
        swept(pipeline.market, "A", volume, receive_time_ns=now_ns)
        pipeline.evaluate_universe(now_ns)
        wanted.append("A" in pipeline.wanted)
    assert wanted == [False, False, False, True]


def test_a_snapshot_from_before_the_halt_does_not_end_it():
    pipeline = selector()
    pipeline.pin("A", 0)
    pipeline.market.update_state(state("A", halted=True, reported_ns=10))
    for now_ns, volume in ((9, 30.0), (10, 31.0), (11, 32.0)):
        swept(pipeline.market, "A", volume, receive_time_ns=now_ns)
    pipeline.evaluate_universe(12)
    assert "A" not in pipeline.wanted


def test_listing_changes_do_not_end_a_halt_and_the_end_of_a_halt_does_not_undo_a_suspension():
    pipeline = selector()
    pipeline.market.update_state(state("A", halted=True))
    pipeline.market.update_listing("A", 0, delisted=False, suspended=False)
    pipeline.market.update_listing("B", 0, delisted=False, suspended=True)
    pipeline.market.update_state(state("B", halted=False))
    pipeline.evaluate_universe(1)
    assert pipeline.wanted == ("C", "D")


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"delisted": True, "suspended": False}, "delisted"), ({"delisted": False, "suspended": True}, "halted")],
)
def test_a_symbol_that_the_master_file_removes_or_suspends_loses_its_slot(change, reason):
    pipeline = selector()
    pipeline.evaluate_universe(0)
    pipeline.market.update_listing("A", 0, **change)
    assert [event.reason for event in pipeline.evaluate_slots(1) if isinstance(event, SlotReleased)] == [reason]


def test_the_symbols_of_an_account_that_cannot_stream_move_and_come_home():
    pipeline = selector_of(members(*"ABCD"), {"main": 1, "second": 1}, TWO_SLOTS)
    pipeline.open([candidate("A", 20), candidate("B", 10)], 0)
    moved = pipeline.close_accounts({"main"}, 1)
    assert kinds(moved) == {"SlotReleased": 2, "SlotAssigned": 1}
    assert pipeline.wanted_by_account == {"main": (), "second": ("A",)}
    assert list(pipeline.close_accounts({"main"}, 2)) == []
    assert ("A", "volume_surge", None) in assigned(pipeline.close_accounts(frozenset(), 3))
    assert pipeline.wanted_by_account["main"] == ("A",)


def test_a_slot_of_an_account_that_is_there_no_more_is_released():
    held = SlotAssigned("gone:01", "A", 0, "volume_surge", 12.0, "free_slot", None)
    released = selector().resume(left([held]), 5)
    assert [(event.slot, event.symbol, event.reason) for event in released if isinstance(event, SlotReleased)] == [
        ("gone:01", "A", "account_removed")
    ]


def test_the_guard_against_churn_is_reported_when_it_steps_in_and_when_it_steps_back():
    guarded = SlotSettings(max_slots=1, churn_max_replacements=1, churn_window_seconds=10.0)
    pipeline = selector_of(members(*"ABCD"), {"main": 1}, SelectionSettings(slots=guarded))
    reported = []
    for now_s, score in enumerate((2, 3, 4)):
        reported += pipeline.open([candidate("BCD"[now_s], score, expires_ns=10**12)], now_s * SECOND_NS)
    reported += pipeline.evaluate_slots(13 * SECOND_NS)
    changes = all_of(ChurnGuardChanged, reported)
    assert [(event.engaged, event.replacements, event.threshold) for event in changes] == [
        (True, 2, 1.5),
        (False, 0, 1.2),
    ]


def test_between_sweeps_the_rate_of_trades_follows_from_the_volume_and_the_size_of_a_trade():
    earlier = EarlierDays(trade_volumes={"D": 10.0})
    pipeline = selector(earlier=earlier)
    swept(pipeline.market, "D", 100.0, receive_time_ns=1 * SECOND_NS)
    swept(pipeline.market, "C", 100.0, receive_time_ns=1 * SECOND_NS)
    pipeline.evaluate_universe(SECOND_NS)
    for symbol in "CD":
        swept(pipeline.market, symbol, 1_300.0, receive_time_ns=11 * SECOND_NS)
    fired = all_of(TriggerFired, pipeline.evaluate_universe(11 * SECOND_NS))
    assert [(event.symbol, event.kind, event.measure) for event in fired] == [("D", "trade_velocity", 12.0)]


def test_a_volume_unusual_for_the_time_of_day_fires_in_the_morning():
    profile = Profile((0.0, 24_000.0), (0.0, 400.0))
    earlier = EarlierDays(profiles={"D": profile})
    pipeline = selector(earlier=earlier)
    swept(pipeline.market, "D", 40.0)
    assert not all_of(TriggerFired, pipeline.evaluate_universe(1_200 * SECOND_NS))
    swept(pipeline.market, "D", 120.0)
    [fired] = all_of(TriggerFired, pipeline.evaluate_universe(2_400 * SECOND_NS))
    assert (fired.symbol, fired.basis, fired.reference, fired.measure) == ("D", "time_of_day", 40.0, 3.0)


def test_earlier_days_are_scaled_to_the_new_shares_on_the_day_of_a_split():
    earlier = EarlierDays(profiles={"D": Profile((0.0,), (10.0,))}, trade_volumes={"D": 10.0})
    pipeline = selector(earlier=earlier)
    split = {"price": 2_000.0, "high": 2_000.0, "low": 2_000.0, "upper_limit": 2_600.0, "lower_limit": 1_400.0}
    swept(pipeline.market, "D", 40.0, receive_time_ns=6_001 * SECOND_NS, **split)
    assert not all_of(TriggerFired, pipeline.evaluate_universe(6_001 * SECOND_NS))
    swept(pipeline.market, "D", 15_040.0, receive_time_ns=6_011 * SECOND_NS, **split)
    fired = all_of(TriggerFired, pipeline.evaluate_universe(6_011 * SECOND_NS))
    assert [(event.kind, event.reference, event.measure) for event in fired] == [
        ("volume_surge", 50.0, 300.8),
        ("trade_velocity", 0.0, 30.0),
    ]
    assert pipeline.market.members["D"].average_volume_20d == 5_000.0


def test_a_later_build_gives_averages_in_the_shares_of_today_and_no_new_symbol():
    without = {"previous_close": 2_000.0, "close_is_base": True, "average_volume_20d": None, "market_cap": 1e12}
    pipeline = selector_of([member(symbol, **without) for symbol in "CD"], {"main": 41}, TWO_SLOTS)
    split = {"price": 2_000.0, "high": 2_000.0, "low": 2_000.0, "upper_limit": 2_600.0, "lower_limit": 1_400.0}
    swept(pipeline.market, "D", 15_040.0, receive_time_ns=SECOND_NS, **split)
    assert not all_of(TriggerFired, pipeline.evaluate_universe(SECOND_NS))
    pipeline.update_history([member("D"), member("Z")])
    assert pipeline.market.members["D"].average_volume_20d == 5_000.0
    assert pipeline.market.members.keys() == {"C", "D"}
    [fired] = all_of(TriggerFired, pipeline.evaluate_universe(2 * SECOND_NS))
    assert (fired.symbol, fired.kind, fired.reference) == ("D", "volume_surge", 5_000.0)


def test_no_volume_is_unusual_before_the_first_time_of_the_profile():
    earlier = EarlierDays(profiles={"D": Profile((3_600.0,), (10.0,))})
    pipeline = selector(earlier=earlier)
    swept(pipeline.market, "D", 2_000.0)
    assert not all_of(TriggerFired, pipeline.evaluate_universe(3_599 * SECOND_NS))
    assert all_of(TriggerFired, pipeline.evaluate_universe(3_600 * SECOND_NS))


def spikes(events):
    """The measures of the volatility spikes that fired."""
    return [event.measure for event in events if isinstance(event, TriggerFired) and event.kind == "volatility_spike"]


def test_a_late_sweep_does_not_undo_a_high_or_a_low():
    """A trade at 12,000 won, and a sweep from before it: the range is 2,000 won against an average of 100."""
    pipeline = selector()
    pipeline.market.update_trade(trade(1, symbol="A", price=12_000.0, receive_time_ns=5 * SECOND_NS))
    swept(pipeline.market, "A", receive_time_ns=4 * SECOND_NS, high=10_050.0, low=9_950.0)
    assert spikes(pipeline.evaluate_universe(6 * SECOND_NS)) == [20.5]
    swept(pipeline.market, "A", receive_time_ns=7 * SECOND_NS, high=None, low=None)
    assert spikes(pipeline.evaluate_universe(800 * SECOND_NS)) == []  # the range did not grow
    swept(pipeline.market, "A", receive_time_ns=999 * SECOND_NS, high=12_100.0, low=9_990.0)
    assert spikes(pipeline.evaluate_universe(1_000 * SECOND_NS)) == [21.5]


# --- a condition that lasts ---

SWEEP_S = 600


def reported(events, kind):
    return [event.symbol for event in events if isinstance(event, kind)]


def surging(*symbols, slots=1, interval_s=SWEEP_S):
    """A pipeline whose only slot is pinned, after a sweep in which these symbols surge."""
    settings = SelectionSettings(slots=SlotSettings(max_slots=slots))
    pipeline = selector_of(members(*"ABCD"), {"main": 41}, settings, sweep_interval_s=interval_s)
    pipeline.pin("A", 0)
    for symbol in symbols:
        swept(pipeline.market, symbol, 4_000.0)
    events = pipeline.evaluate_universe(0)
    assert reported(events, TriggerFired) == reported(events, SlotOverflowed) == sorted(symbols)
    return pipeline


def test_a_surge_that_lasts_all_day_is_reported_once_and_refused_once():
    pipeline, events = surging("C", "D"), []
    for now_s in range(10, 6 * SWEEP_S, 10):
        if now_s % SWEEP_S == 0:
            for symbol in "CD":
                swept(pipeline.market, symbol, 4_000.0 + now_s, receive_time_ns=now_s * SECOND_NS)
            events += pipeline.evaluate_universe(now_s * SECOND_NS)
        events += pipeline.evaluate_slots(now_s * SECOND_NS)
    assert reported(events, TriggerFired) == reported(events, SlotOverflowed) == []
    assert pipeline.waiting == {"C", "D"}


def test_a_slot_that_becomes_free_between_sweeps_goes_to_a_pending_candidate_before_a_filler():
    pipeline = surging("D")
    pipeline.evaluate_slots(500 * SECOND_NS)
    pipeline.unpin("A", 550 * SECOND_NS)
    assert assigned(pipeline.evaluate_slots(551 * SECOND_NS)) == [("D", "volume_surge", None)]


def test_a_pending_candidate_ends_with_the_sweep_that_no_longer_shows_it():
    settings = SelectionSettings(slots=SlotSettings(max_slots=1))
    earlier = EarlierDays(trade_volumes={"D": 1.0})
    pipeline = selector_of(members(*"ABCD"), {"main": 41}, settings, earlier=earlier)
    pipeline.pin("A", 0)
    swept(pipeline.market, "D", 1.0, receive_time_ns=1 * SECOND_NS)
    swept(pipeline.market, "D", 601.0, receive_time_ns=11 * SECOND_NS)
    assert reported(pipeline.evaluate_universe(11 * SECOND_NS), SlotOverflowed) == ["D"]
    assert pipeline.waiting == {"D"}
    swept(pipeline.market, "D", 602.0, receive_time_ns=611 * SECOND_NS)
    pipeline.evaluate_universe(611 * SECOND_NS)
    pipeline.evaluate_slots((611 + 180) * SECOND_NS)
    assert pipeline.waiting == set()


def test_a_pending_candidate_expires_half_an_interval_after_a_missed_sweep():
    pipeline = surging("D")
    for now_s in range(100, 901, 100):
        pipeline.evaluate_slots(now_s * SECOND_NS)
    assert pipeline.waiting == {"D"}
    pipeline.evaluate_slots(1_199 * SECOND_NS)
    assert pipeline.waiting == set()


def test_a_trigger_lives_its_life_also_where_sweeps_follow_each_other_quickly():
    pipeline = surging("D", interval_s=1.0)
    pipeline.evaluate_slots(299 * SECOND_NS)
    assert pipeline.waiting == {"D"}
    pipeline.evaluate_slots(300 * SECOND_NS)
    assert pipeline.waiting == set()


def test_a_candidate_of_a_sweep_keeps_its_slot_as_long_as_its_trigger_is_active():
    """Symbols with a slot are evaluated continuously: a sweep's candidate ends with its trigger."""
    settings = SelectionSettings(slots=SlotSettings(max_slots=1))
    earlier = EarlierDays(trade_volumes={"D": 1.0})
    pipeline = selector_of(members(*"ABCD"), {"main": 41}, settings, earlier=earlier)
    swept(pipeline.market, "D", 1.0, receive_time_ns=1 * SECOND_NS)
    swept(pipeline.market, "D", 601.0, receive_time_ns=11 * SECOND_NS)
    assert ("D", "trade_velocity", None) in assigned(pipeline.evaluate_universe(11 * SECOND_NS))
    assert not pipeline.evaluate_slots((11 + 179) * SECOND_NS)
    [ended, extended] = pipeline.evaluate_slots((11 + 180) * SECOND_NS)
    assert isinstance(ended, TriggerEnded)
    assert (ended.fired_ns, ended.held_until_ns) == (11 * SECOND_NS, 11 * SECOND_NS)
    assert isinstance(extended, SlotExtended)
    assert (extended.symbol, extended.trigger) == ("D", "market_cap")


def test_a_burst_between_two_evaluations_fires_at_the_second_one():
    pipeline = selector()
    pipeline.evaluate_universe(0)
    for number in range(12):
        pipeline.market.update_trade(trade(number + 1, symbol="A", exchange_time_ns=5 * SECOND_NS, price=10_000.0))
    fired = all_of(TriggerFired, pipeline.evaluate_slots(60 * SECOND_NS))
    assert [(event.symbol, event.kind, event.measure) for event in fired] == [("A", "trade_velocity", 12.0)]


def test_a_row_of_conflated_trades_is_seen_with_its_rate_range_and_volume():
    pipeline = selector()
    pipeline.evaluate_universe(0)
    first, last = 5 * SECOND_NS, 5 * SECOND_NS + SECOND_NS // 2
    row = TradesConflated(
        "kis", "A", "2026-11-18", first, last, last + 1, 12, 90.0, 10_000.0, 10_150.0, 9_950.0, 10_000.0, 3_000.0, 30
    )
    pipeline.market.update_conflated(row)
    fired = all_of(TriggerFired, pipeline.evaluate_slots(6 * SECOND_NS))
    assert [(event.kind, event.measure) for event in fired] == [
        ("volume_surge", 3.0),
        ("trade_velocity", 12.0),
        ("volatility_spike", 2.0),
    ]
    assert pipeline.market.volume_of("A") == (3_000.0, last)


def test_a_new_process_takes_the_slots_over_as_they_were():
    pipeline = selector()
    swept(pipeline.market, "D", 3_000.0)
    held = all_of(SlotAssigned, pipeline.evaluate_universe(0))
    successor = selector()
    successor.resume(left(held), 5)
    assert successor.wanted == pipeline.wanted
    assert list(successor.evaluate_universe(6)) == []


def test_the_end_of_the_day_releases_every_slot():
    pipeline = selector()
    pipeline.evaluate_universe(0)
    assert kinds(pipeline.close(9)) == {"SlotReleased": 2}
    assert pipeline.wanted == ()
