"""Pins: a pinned symbol has a slot before any other until unpinned; without a free slot the pin waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import (
    KeptPin,
    Pinned,
    PinRefused,
    PinsKept,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    SlotsClosed,
    SlotsEvaluated,
    TriggerFired,
    Unpinned,
)
from observer.selection.allocation import lengthened
from observer.selection.pins import PinRefusal, PinRequest, kept_pins, pins_after
from observer.selection.settings import SelectionSettings, SlotSettings
from observer.selection.triggers import PinSettings, TriggersSettings
from tests.builders import trade
from tests.reach import reaches
from tests.selection.builders import candidate, left, member, members, selector_of, state, swept

SECOND_NS = 1_000_000_000
YEAR_NS = 365 * 86_400 * SECOND_NS
TWO_SLOTS = SelectionSettings(slots=SlotSettings(max_slots=2))


def selector(settings=TWO_SLOTS):
    """Two slots, which the two largest fill."""
    pipeline = selector_of(members(*"ABCD"), {"main": 41}, settings)
    pipeline.evaluate_universe(0)
    return pipeline


def pinned(outcome):
    assert isinstance(outcome, PinRequest)
    return outcome


def refused(outcome):
    assert isinstance(outcome, PinRefusal)
    return outcome.code


def assignments(outcome):
    return [
        (event.symbol, event.trigger, event.replaced) for event in outcome.events if isinstance(event, SlotAssigned)
    ]


def test_a_pin_takes_the_slot_of_the_least_important_symbol_and_reports_it():
    outcome = pinned(selector().pin("D", 1))
    assert assignments(outcome) == [("D", "manual", "B")]
    assert [type(event) for event in outcome.events] == [TriggerFired, SlotReleased, SlotAssigned]


def test_a_pin_outlasts_everything_that_outscores_it():
    pipeline = selector()
    pipeline.pin("D", 1)
    pipeline.open([candidate(symbol, 1_000, expires_ns=YEAR_NS) for symbol in "BC"], 2)
    pipeline.evaluate_slots(YEAR_NS - 1)
    assert "D" in pipeline.wanted


def test_a_pinned_symbol_with_a_slot_keeps_it_and_the_new_reason_is_reported():
    outcome = pinned(selector().pin("A", 1))
    assert outcome.slot == "main:01"
    assert [(event.symbol, event.trigger) for event in outcome.events if isinstance(event, SlotExtended)] == [
        ("A", "manual")
    ]


def test_a_second_pin_of_the_same_symbol_reports_nothing():
    pipeline = selector()
    first = pinned(pipeline.pin("D", 1))
    assert first.is_news
    assert pinned(pipeline.pin("D", 2)) == PinRequest(first.slot, [], is_news=False)


def test_an_unpinned_symbol_loses_its_slot_to_the_largest_filler():
    pipeline = selector()
    slot = pinned(pipeline.pin("D", 1)).slot
    outcome = pinned(pipeline.unpin("D", 2))
    [released] = outcome.events
    assert (released.slot, released.symbol, released.reason) == (slot, "D", "unpinned")
    pipeline.evaluate_slots(3)
    assert pipeline.wanted == ("A", "B")


def test_a_symbol_without_a_pin_cannot_be_unpinned_and_keeps_its_slot():
    pipeline = selector()
    assert refused(pipeline.unpin("A", 1)) == "not_pinned"
    assert refused(pipeline.unpin("nobody", 1)) == "not_pinned"
    assert pipeline.wanted == ("A", "B")


def test_where_all_slots_are_pinned_the_next_one_is_refused_and_nothing_changes():
    pipeline = selector()
    pipeline.pin("C", 1)
    pipeline.pin("D", 1)
    outcome = pipeline.pin("A", 2)
    assert isinstance(outcome, PinRefusal)
    [reported] = outcome.events
    assert (reported.symbol, reported.trigger, reported.reason) == ("A", "manual", "all_slots_pinned")
    assert pipeline.wanted == ("C", "D")
    pipeline.unpin("C", 3)
    assert assignments(pinned(pipeline.pin("A", 4)))[0][:2] == ("A", "manual")


def test_a_symbol_outside_the_universe_cannot_be_pinned():
    assert refused(selector().pin("Z", 1)) == "unknown_symbol"


def test_where_the_manual_trigger_is_switched_off_there_are_no_pins():
    manual = PinSettings(enabled=False)
    settings = SelectionSettings(slots=SlotSettings(max_slots=2), triggers=TriggersSettings(manual=manual))
    outcome = selector(settings).pin("D", 1)
    assert "triggers.manual.enabled" in outcome.reason


# --- pins that wait ---


def halt(pipeline, symbol, *, halted=True):
    pipeline.market.update_state(state(symbol, halted=halted))


def at_upper_limit(pipeline, symbol, *, locked=True):
    swept(pipeline.market, symbol, price=13_000.0 if locked else 10_000.0)


def test_a_pinned_symbol_that_is_halted_loses_its_slot_and_has_one_again_when_trading_resumes():
    pipeline = selector()
    pipeline.pin("D", 1)
    halt(pipeline, "D")
    assert [event.reason for event in pipeline.evaluate_slots(2) if isinstance(event, SlotReleased)] == ["halted"]
    assert pipeline.wanted == ("A", "B")
    halt(pipeline, "D", halted=False)
    assert [event.symbol for event in pipeline.evaluate_slots(3) if isinstance(event, SlotAssigned)] == ["D"]
    assert pipeline.wanted == ("D", "A")


def test_a_pin_of_a_halted_symbol_is_accepted_and_gets_its_slot_later():
    pipeline = selector()
    halt(pipeline, "D")
    outcome = pinned(pipeline.pin("D", 1))
    assert (outcome.slot, outcome.waits_for) == (None, "halted")
    assert [type(event) for event in outcome.events] == [TriggerFired]
    halt(pipeline, "D", halted=False)
    pipeline.evaluate_slots(2)
    assert pipeline.wanted == ("D", "A")


def test_a_pin_that_waits_can_be_taken_back():
    pipeline = selector()
    halt(pipeline, "D")
    pipeline.pin("D", 1)
    assert pinned(pipeline.unpin("D", 2)) == PinRequest(None, [])
    halt(pipeline, "D", halted=False)
    pipeline.evaluate_slots(3)
    assert pipeline.wanted == ("A", "B")


def test_the_slot_of_a_pin_that_waits_is_promised_to_no_other():
    pipeline = selector()
    pipeline.pin("C", 1)
    pipeline.pin("D", 1)
    halt(pipeline, "C")
    pipeline.evaluate_slots(2)
    assert pipeline.wanted == ("D", "A")
    assert refused(pipeline.pin("B", 3)) == "no_slot"


def test_a_pin_of_a_delisted_symbol_is_refused_and_the_refusal_is_reported():
    pipeline = selector()
    pipeline.market.update_listing("D", 0, delisted=True, suspended=False)
    outcome = pipeline.pin("D", 1)
    assert isinstance(outcome, PinRefusal)
    assert [event.reason for event in outcome.events if isinstance(event, SlotOverflowed)] == ["delisted"]
    pipeline.market.update_listing("D", 0, delisted=False, suspended=False)
    pipeline.evaluate_slots(2)
    assert "D" not in pipeline.wanted


def test_a_pin_that_was_refused_is_refused_again_and_reported_again():
    pipeline = selector()
    pipeline.open([candidate("A", 1_000, expires_ns=YEAR_NS)], 0)
    for symbol in "CD":
        pipeline.pin(symbol, 1)
    outcomes = [pipeline.pin("A", now_ns) for now_ns in (2, 3)]
    assert [len(outcome.events) for outcome in outcomes] == [1, 1]
    pipeline.unpin("C", 4)
    pipeline.evaluate_slots(5)
    assert pipeline.wanted == ("D", "A")
    assert refused(pipeline.unpin("A", 6)) == "not_pinned"


def test_where_an_account_is_closed_a_pin_beyond_the_other_s_slots_is_refused_and_no_pin():
    pipeline = selector_of(members(*"ABCD"), {"main": 1, "second": 1}, TWO_SLOTS)
    pipeline.close_accounts({"main"}, 0)
    pipeline.pin("C", 1)
    assert refused(pipeline.pin("D", 2)) == "no_slot"
    pipeline.close_accounts(frozenset(), 3)
    assert "D" not in pipeline.wanted


WHAT = st.sampled_from(["pin", "pin", "pin", "unpin", "halt", "resume", "lock", "leave", "surge", "held"])


@reaches(pin_with_a_slot=280, pin_that_may_hold_none=163, pin_refused=26)
@given(st.lists(st.tuples(WHAT, st.sampled_from("ABCD")), min_size=10, max_size=30))
def test_a_pin_always_has_a_slot_or_its_symbol_may_hold_none(reach, actions):
    pipeline, pins, halted, locked = selector(), set[str](), set[str](), set[str]()
    for now_ns, (what, symbol) in enumerate(actions, start=1):
        match what:
            case "pin":
                outcome = pipeline.pin(symbol, now_ns)
                assert isinstance(outcome, PinRequest) == (symbol in pins or len(pins) < 2)
                reach.count("pin_refused", not isinstance(outcome, PinRequest))
                pins |= {symbol} if isinstance(outcome, PinRequest) else set()
            case "unpin":
                assert isinstance(pipeline.unpin(symbol, now_ns), PinRequest) == (symbol in pins)
                pins.discard(symbol)
            case "halt" | "resume":
                halt(pipeline, symbol, halted=what == "halt")
                (halted.add if what == "halt" else halted.discard)(symbol)
            case "lock" | "leave":
                at_upper_limit(pipeline, symbol, locked=what == "lock")
                (locked.add if what == "lock" else locked.discard)(symbol)
            case "surge":
                pipeline.market.update_trade(trade(symbol=symbol, price=10_000.0, cumulative_volume=9_000.0))
        pipeline.evaluate_slots(now_ns)
        reach.count("pin_with_a_slot", bool(pins - halted - locked))
        reach.count("pin_that_may_hold_none", bool(pins & (halted | locked)))
        assert pins - halted - locked <= set(pipeline.wanted)
        assert not (halted | locked) & set(pipeline.wanted)


# --- pins that stand, as they are stored ---


def advanced(step):
    return SelectionAdvanced("2026-11-18", 1, step)


def pin_step(waits_for=None):
    return advanced(Pinned("D", waits_for))


def kept(*pins):
    return advanced(PinsKept(pins))


def assigned(symbol):
    return SlotAssigned("main:01", symbol, 1, "manual", 11.0, "pinned", None)


def released(symbol, reason):
    return SlotReleased("main:01", symbol, 1, 11.0, reason)


OVERFLOWED = SlotOverflowed("D", 1, "manual", 1.0, 11.0, 11.0, "all_slots_pinned")


@pytest.mark.parametrize(
    ("events", "standing"),
    [
        ([assigned("D"), pin_step()], {"D": None}),
        ([pin_step("halted")], {"D": "halted"}),
        ([OVERFLOWED, advanced(PinRefused("D"))], {}),
        ([pin_step(), released("D", "halted")], {"D": "halted"}),
        ([pin_step(), released("D", "moved"), assigned("D")], {"D": None}),
        ([pin_step("halted"), OVERFLOWED], {"D": "all_slots_pinned"}),
        ([pin_step(), released("D", "unpinned"), advanced(Unpinned("D"))], {}),
        ([pin_step(), advanced(Pinned("C")), advanced(Unpinned("D"))], {"C": None}),
        ([pin_step(), advanced(SlotsClosed("closed"))], {"D": None}),
        (
            [assigned("D"), kept(KeptPin("D", None), KeptPin("Z", "not_in_universe"))],
            {"D": None, "Z": "not_in_universe"},
        ),
        ([kept(KeptPin("D", None), KeptPin("C", None)), advanced(Unpinned("C"))], {"D": None}),
        ([released("D", "halted"), advanced(SlotsEvaluated())], {}),
    ],
)
def test_the_stored_events_yield_the_pins_in_force_and_the_reason_why_one_waits(events, standing):
    assert pins_after(events).standing == standing


def test_pins_of_earlier_days_get_slots_and_a_pin_outside_the_universe_waits():
    pipeline = selector_of(members(*"ABCD"), {"main": 41}, TWO_SLOTS)
    pipeline.keep_pins({"D": None, "Z": None}, 1)
    pipeline.evaluate_universe(2)
    assert "D" in pipeline.wanted
    assert pipeline.waiting_pins == {"Z": "not_in_universe"}


def test_a_pin_that_waits_for_another_day_can_be_taken_back():
    pipeline = selector_of(members(*"ABCD"), {"main": 41}, TWO_SLOTS)
    pipeline.keep_pins({"Z": None}, 1)
    assert pinned(pipeline.unpin("Z", 2)).slot is None
    assert pipeline.waiting_pins == {}


def test_the_step_of_kept_pins_says_which_wait_and_for_what():
    assert kept_pins({"D": None, "Z": 9}, {"Z": "not_in_universe"}) == PinsKept(
        (KeptPin("D", None), KeptPin("Z", "not_in_universe", 9))
    )


# --- pins that end by themselves ---

HOUR_NS = 3_600 * SECOND_NS
FOR_AN_HOUR = SelectionSettings(
    slots=SlotSettings(max_slots=2), triggers=TriggersSettings(manual=PinSettings(ttl_seconds=3_600.0))
)


def test_a_pin_with_a_time_to_live_holds_its_slot_until_then_and_has_no_claim_after():
    pipeline = selector_of([*members(*"ABCD"), member("E", market_cap=1e9)], {"main": 41}, FOR_AN_HOUR)
    pipeline.evaluate_universe(0)
    outcome = pinned(pipeline.pin("E", 1))
    assert outcome.until_ns == 1 + HOUR_NS
    pipeline.evaluate_slots(HOUR_NS)
    assert "E" in pipeline.wanted
    reported = pipeline.evaluate_slots(1 + HOUR_NS)
    assert [each.trigger for each in reported if isinstance(each, SlotExtended)] == ["market_cap"]
    assert pipeline.wanted == ("A", "E")
    assert refused(pipeline.unpin("E", 2 + HOUR_NS)) == "not_pinned"


def test_a_second_pin_gives_the_first_its_full_time_again():
    pipeline = selector(FOR_AN_HOUR)
    pipeline.pin("D", 1)
    assert pinned(pipeline.pin("D", HOUR_NS)).until_ns == 2 * HOUR_NS
    pipeline.evaluate_slots(2 * HOUR_NS - 1)
    assert "D" in pipeline.wanted


def test_a_pin_that_waits_ends_too_and_makes_room_for_another():
    pipeline = selector(FOR_AN_HOUR)
    halt(pipeline, "D")
    pipeline.pin("D", 1)
    pipeline.pin("C", 2)
    assert refused(pipeline.pin("B", HOUR_NS)) == "no_slot"
    assert pinned(pipeline.pin("B", 1 + HOUR_NS)).slot is not None


def test_rapid_replacements_prolong_no_pin():
    held, settings = candidate("D", kind="manual", expires_ns=100), SlotSettings()
    assert lengthened(held, 0, settings) == held
    assert lengthened(candidate("D", expires_ns=100), 0, settings).expires_ns == 200


@pytest.mark.parametrize(("resumed_ns", "keeps"), [(HOUR_NS, True), (1 + HOUR_NS, False)])
def test_a_resuming_process_and_the_next_day_keep_the_end_of_a_pin(resumed_ns, *, keeps):
    first = selector(FOR_AN_HOUR)
    outcome = pinned(first.pin("D", 1))
    events = [*outcome.events, SelectionAdvanced("2026-11-18", 1, Pinned("D", None, outcome.until_ns))]
    second, next_day = (selector_of(members(*"ABCD"), {"main": 41}, FOR_AN_HOUR) for _ in range(2))
    second.resume(left(events), 2)
    second.evaluate_slots(resumed_ns)
    next_day.keep_pins(pins_after(events).ends, resumed_ns)
    next_day.evaluate_universe(resumed_ns)
    assert ["D" in each.pins for each in (second, next_day)] == [keeps, keeps]
    assert "D" in next_day.wanted or not keeps


def test_the_first_step_after_its_end_removes_a_pin_from_those_in_force():
    events = [SelectionAdvanced("2026-11-18", 1, Pinned("D", None, 5)), SelectionAdvanced("d", 4, SlotsEvaluated())]
    assert pins_after(events).standing == {"D": None}
    assert pins_after([*events, SelectionAdvanced("2026-11-18", 5, SlotsEvaluated())]).standing == {}
