"""A person's wishes: who is pinned has a place before any other until it is unpinned; who may have none now waits."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import (
    Event,
    SelectionAdvanced,
    SelectionStep,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    TriggerFired,
    UniverseMember,
)
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings, SlotSettings, TriggerSettings, TriggersSettings
from observer.selection.wishes import NotWished, Wished, kept_detail, kept_of, standing_wishes
from tests.builders import trade
from tests.selection.builders import candidate, member, seen, state

SECOND_NS = 1_000_000_000
YEAR_NS = 365 * 86_400 * SECOND_NS
TWO_PLACES = SelectionSettings(slots=SlotSettings(max_slots=2))


def members() -> list[UniverseMember]:
    return [member(symbol, rank=rank, market_cap_krw=1e13 / rank) for rank, symbol in enumerate("ABCD", start=1)]


def selector(settings: SelectionSettings = TWO_PLACES) -> Selector:
    """Two places, which the two largest fill."""
    pipeline = Selector(members(), {"main": 41}, settings)
    pipeline.evaluate_all(0)
    return pipeline


def wished(outcome: Wished | NotWished) -> Wished:
    assert isinstance(outcome, Wished)
    return outcome


def refused(outcome: Wished | NotWished) -> str:
    assert isinstance(outcome, NotWished)
    return outcome.code


def assignments(outcome: Wished) -> list[tuple[str, str, str | None]]:
    return [
        (event.symbol, event.trigger, event.replaced) for event in outcome.events if isinstance(event, SlotAssigned)
    ]


def test_a_pin_takes_the_place_of_the_least_important_and_says_so() -> None:
    outcome = wished(selector().pin("D", 1))
    assert assignments(outcome) == [("D", "manual", "B")]
    assert [type(event) for event in outcome.events] == [TriggerFired, SlotAssigned]


def test_a_pin_outlasts_everything_that_outscores_it() -> None:
    pipeline = selector()
    pipeline.pin("D", 1)
    pipeline.open([candidate(symbol, 1_000, expires_ns=YEAR_NS) for symbol in "BC"], 2)
    pipeline.evaluate_held(YEAR_NS - 1)
    assert "D" in pipeline.wanted


def test_who_has_a_place_already_keeps_it_and_the_new_reason_is_told() -> None:
    outcome = wished(selector().pin("A", 1))
    assert outcome.slot == "main:01"
    assert assignments(outcome) == [("A", "manual", None)]


def test_a_second_pin_of_the_same_symbol_is_no_news() -> None:
    pipeline = selector()
    first = wished(pipeline.pin("D", 1))
    assert first.is_news
    assert wished(pipeline.pin("D", 2)) == Wished(first.slot, [], is_news=False)


def test_an_unpinned_symbol_loses_its_place_and_the_largest_fill_it() -> None:
    pipeline = selector()
    slot = wished(pipeline.pin("D", 1)).slot
    outcome = wished(pipeline.unpin("D", 2))
    [released] = outcome.events
    assert isinstance(released, SlotReleased)
    assert (released.slot, released.symbol, released.reason) == (slot, "D", "unpinned")
    pipeline.evaluate_held(3)
    assert pipeline.wanted == ("A", "B")


def test_who_is_not_pinned_cannot_be_unpinned_and_keeps_its_place() -> None:
    pipeline = selector()
    assert refused(pipeline.unpin("A", 1)) == "not_pinned"
    assert refused(pipeline.unpin("nobody", 1)) == "not_pinned"
    assert pipeline.wanted == ("A", "B")


def test_where_all_places_are_pinned_the_next_one_is_refused_and_nothing_changes() -> None:
    pipeline = selector()
    pipeline.pin("C", 1)
    pipeline.pin("D", 1)
    outcome = pipeline.pin("A", 2)
    assert isinstance(outcome, NotWished)
    [told] = outcome.events
    assert isinstance(told, SlotOverflowed)
    assert (told.symbol, told.trigger, told.reason) == ("A", "manual", "all_places_pinned")
    assert pipeline.wanted == ("C", "D")
    pipeline.unpin("C", 3)
    assert assignments(wished(pipeline.pin("A", 4)))[0][:2] == ("A", "manual")


def test_a_symbol_outside_the_universe_cannot_be_pinned() -> None:
    assert refused(selector().pin("Z", 1)) == "unknown_symbol"


def test_where_the_manual_trigger_is_switched_off_there_are_no_pins() -> None:
    manual = TriggerSettings(enabled=False, threshold=1.0, full_strength=1.0, ttl_seconds=-1.0, weight=5.0)
    settings = SelectionSettings(slots=SlotSettings(max_slots=2), triggers=TriggersSettings(manual=manual))
    outcome = selector(settings).pin("D", 1)
    assert isinstance(outcome, NotWished)
    assert "triggers.manual.enabled" in outcome.reason


# --- wishes that wait ---


def halt(pipeline: Selector, symbol: str, *, halted: bool = True) -> None:
    pipeline.see_state(state(symbol, halted=halted))


def at_upper_limit(pipeline: Selector, symbol: str, *, locked: bool = True) -> None:
    pipeline.see_snapshot(seen(symbol, price=13_000.0 if locked else 10_000.0))


def test_a_pinned_symbol_that_is_halted_loses_its_place_and_has_one_again_when_trading_resumes() -> None:
    pipeline = selector()
    pipeline.pin("D", 1)
    halt(pipeline, "D")
    assert [event.reason for event in pipeline.evaluate_held(2) if isinstance(event, SlotReleased)] == ["halted"]
    assert pipeline.wanted == ("A", "B")
    halt(pipeline, "D", halted=False)
    assert [event.symbol for event in pipeline.evaluate_held(3) if isinstance(event, SlotAssigned)] == ["D"]
    assert pipeline.wanted == ("D", "A")


def test_a_pinned_symbol_at_its_upper_limit_waits_until_it_leaves_that() -> None:
    pipeline = selector()
    pipeline.pin("D", 1)
    at_upper_limit(pipeline, "D")
    pipeline.evaluate_all(2)
    assert pipeline.wanted == ("A", "B")
    at_upper_limit(pipeline, "D", locked=False)
    pipeline.evaluate_all(3)
    assert pipeline.wanted == ("D", "A")


def test_a_halted_symbol_can_be_wished_for_and_gets_its_place_later() -> None:
    pipeline = selector()
    halt(pipeline, "D")
    outcome = wished(pipeline.pin("D", 1))
    assert (outcome.slot, outcome.waits_for, outcome.detail) == (None, "halted", "halted")
    assert [type(event) for event in outcome.events] == [TriggerFired]
    halt(pipeline, "D", halted=False)
    pipeline.evaluate_held(2)
    assert pipeline.wanted == ("D", "A")


def test_a_wish_that_waits_can_be_taken_back() -> None:
    pipeline = selector()
    halt(pipeline, "D")
    pipeline.pin("D", 1)
    assert wished(pipeline.unpin("D", 2)) == Wished(None, [])
    halt(pipeline, "D", halted=False)
    pipeline.evaluate_held(3)
    assert pipeline.wanted == ("A", "B")


def test_the_place_of_a_wish_that_waits_is_promised_to_no_other() -> None:
    pipeline = selector()
    pipeline.pin("C", 1)
    pipeline.pin("D", 1)
    halt(pipeline, "C")
    pipeline.evaluate_held(2)
    assert pipeline.wanted == ("D", "A")
    assert refused(pipeline.pin("B", 3)) == "no_place"


def test_a_delisted_symbol_is_refused_which_is_told() -> None:
    pipeline = selector()
    pipeline.see_listing("D", 0, delisted=True, suspended=False)
    outcome = pipeline.pin("D", 1)
    assert isinstance(outcome, NotWished)
    assert [event.reason for event in outcome.events if isinstance(event, SlotOverflowed)] == ["delisted"]
    pipeline.see_listing("D", 0, delisted=False, suspended=False)
    pipeline.evaluate_held(2)
    assert "D" not in pipeline.wanted


def test_a_wish_that_was_refused_is_refused_again_and_told_again() -> None:
    pipeline = selector()
    pipeline.open([candidate("A", 1_000, expires_ns=YEAR_NS)], 0)
    for symbol in "CD":
        pipeline.pin(symbol, 1)
    outcomes = [pipeline.pin("A", now_ns) for now_ns in (2, 3)]
    assert [len(outcome.events) for outcome in outcomes] == [1, 1]
    pipeline.unpin("C", 4)
    pipeline.evaluate_held(5)
    assert pipeline.wanted == ("D", "A")
    assert refused(pipeline.unpin("A", 6)) == "not_pinned"


def test_where_an_account_is_closed_a_wish_beyond_the_other_s_places_is_refused_and_no_wish() -> None:
    pipeline = Selector(members(), {"main": 1, "second": 1}, TWO_PLACES)
    pipeline.close_accounts({"main"}, 0)
    pipeline.pin("C", 1)
    assert refused(pipeline.pin("D", 2)) == "no_place"
    pipeline.close_accounts(frozenset(), 3)
    assert "D" not in pipeline.wanted


WHAT = st.sampled_from(["pin", "unpin", "halt", "resume", "lock", "leave", "surge", "held"])


@given(st.lists(st.tuples(WHAT, st.sampled_from("ABCD")), max_size=30))
def test_whatever_happens_a_wish_has_a_place_or_may_have_none(actions: list[tuple[str, str]]) -> None:
    pipeline, wishes, halted, locked = selector(), set[str](), set[str](), set[str]()
    for now_ns, (what, symbol) in enumerate(actions, start=1):
        match what:
            case "pin":
                outcome = pipeline.pin(symbol, now_ns)
                assert isinstance(outcome, Wished) == (symbol in wishes or len(wishes) < 2)
                wishes |= {symbol} if isinstance(outcome, Wished) else set()
            case "unpin":
                assert isinstance(pipeline.unpin(symbol, now_ns), Wished) == (symbol in wishes)
                wishes.discard(symbol)
            case "halt" | "resume":
                halt(pipeline, symbol, halted=what == "halt")
                (halted.add if what == "halt" else halted.discard)(symbol)
            case "lock" | "leave":
                at_upper_limit(pipeline, symbol, locked=what == "lock")
                (locked.add if what == "lock" else locked.discard)(symbol)
            case "surge":
                pipeline.see_trade(trade(symbol=symbol, price=10_000.0, cumulative_volume=9_000.0))
        pipeline.evaluate_held(now_ns)
        assert wishes - halted - locked <= set(pipeline.wanted)
        assert not (halted | locked) & set(pipeline.wanted)


# --- wishes that stand, as they are stored ---


def advanced(step: SelectionStep, symbol: str = "D", detail: str = "") -> SelectionAdvanced:
    return SelectionAdvanced("2026-11-18", 1, step, symbol, 0, 0, detail)


def assigned(symbol: str) -> SlotAssigned:
    return SlotAssigned("main:01", symbol, 1, "manual", 11.0, "pinned", None)


def released(symbol: str, reason: str) -> SlotReleased:
    return SlotReleased("main:01", symbol, 1, 11.0, reason)


OVERFLOWED = SlotOverflowed("D", 1, "manual", 1.0, 11.0, 11.0, "all_places_pinned")


@pytest.mark.parametrize(
    ("events", "standing"),
    [
        ([assigned("D"), advanced("pinned")], {"D": ""}),
        ([advanced("pinned", detail="halted")], {"D": "halted"}),
        ([OVERFLOWED, advanced("pinned", detail="refused")], {}),
        ([advanced("pinned"), released("D", "halted")], {"D": "halted"}),
        ([advanced("pinned"), released("D", "moved"), assigned("D")], {"D": ""}),
        ([advanced("pinned", detail="halted"), OVERFLOWED], {"D": "all_places_pinned"}),
        ([advanced("pinned"), released("D", "unpinned"), advanced("unpinned")], {}),
        ([advanced("pinned"), advanced("pinned", "C"), advanced("unpinned")], {"C": ""}),
        ([advanced("pinned"), advanced("closed", "")], {"D": ""}),
        ([assigned("D"), advanced("wishes_kept", "", "D=,Z=not_in_universe")], {"D": "", "Z": "not_in_universe"}),
        ([advanced("wishes_kept", "", "D=,C="), advanced("unpinned", "C")], {"D": ""}),
        ([released("D", "halted"), advanced("held", "")], {}),
    ],
)
def test_what_is_stored_tells_which_wishes_stand_and_why_one_has_no_place(
    events: Iterable[Event], standing: dict[str, str]
) -> None:
    assert standing_wishes(events) == standing


def test_wishes_of_earlier_days_have_places_and_who_is_not_of_this_day_waits() -> None:
    pipeline = Selector(members(), {"main": 41}, TWO_PLACES)
    pipeline.keep_wishes(["D", "Z"], 1)
    pipeline.evaluate_all(2)
    assert "D" in pipeline.wanted
    assert pipeline.waiting_wishes == {"Z": "not_in_universe"}


def test_a_wish_that_waits_for_another_day_can_be_taken_back() -> None:
    pipeline = Selector(members(), {"main": 41}, TWO_PLACES)
    pipeline.keep_wishes(["Z"], 1)
    assert wished(pipeline.unpin("Z", 2)).slot is None
    assert pipeline.waiting_wishes == {}


def test_what_is_kept_is_read_as_it_was_written() -> None:
    assert kept_of(kept_detail(["D", "Z"], {"Z": "not_in_universe"})) == {"D": "", "Z": "not_in_universe"}
