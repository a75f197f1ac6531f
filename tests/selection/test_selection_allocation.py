"""Slot allocation and its reasons."""

import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import (
    AllocationStrategy,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    TriggerKind,
)
from observer.selection.allocation import (
    allocate,
    empty_slots,
    held_by_account,
    is_rapid,
    restore,
    restore_by_account,
    unpin,
)
from observer.selection.settings import SlotSettings
from tests.reach import reaches
from tests.selection.builders import candidate, filler, pinned

CALM = SlotSettings(churn_max_replacements=1_000)


def empty(slots=2):
    return empty_slots({"main": slots})


def step(
    state,
    *candidates,
    now_ns=0,
    dropped={},
    closed=frozenset(),
    settings=CALM,
):
    state, decisions = allocate(state, candidates, now_ns, settings, dropped, closed)
    return state, timeless(decisions)


def holding(*candidates):
    return step(empty(len(candidates)), *candidates)[0]


def timeless(decisions):
    """The decisions as of moment 0, of a state with two slots: what most of these tests say nothing of."""
    names = {SlotAssigned: "assigned_ns", SlotExtended: "extended_ns", SlotReleased: "released_ns"}
    return tuple(
        msgspec.structs.replace(each, overflowed_ns=0, slots=2)
        if isinstance(each, SlotOverflowed)
        else msgspec.structs.replace(each, **{names[type(each)]: 0})
        for each in decisions
    )


def assigned(slot, to, replaced, reason):
    return SlotAssigned(slot, to.symbol, 0, to.kind, to.score, reason, replaced, to.expires_ns)


def extended(slot, to):
    return SlotExtended(slot, to.symbol, 0, to.kind, to.score, to.expires_ns)


def released(slot, symbol, score, reason, replaced_by=None):
    return SlotReleased(slot, symbol, 0, score, reason, replaced_by)


def overflow(of, lowest, reason):
    return SlotOverflowed(of.symbol, 0, of.kind, of.strength, of.score, lowest, reason, of.measure, of.market_cap, 2)


def layout(state):
    return {slot.slot: slot.candidate.symbol if slot.candidate else None for slot in state.slots}


# --- slots ---


def test_an_account_has_41_slots_with_fixed_names():
    slots = empty_slots({"main": 41, "second": 41}).slots
    assert len(slots) == 82
    assert [slots[index].slot for index in (0, 40, 41, 81)] == ["main:01", "main:41", "second:01", "second:41"]


def test_held_slots_are_counted_by_the_account_that_has_them_and_others_are_left_out():
    """Also where the name of one account is the beginning of another's."""
    capacities = {"main": 41, "main_2": 2}
    held = ["main:01", "main:41", "main_2:02", "main_2:03", "gone:01"]
    assert held_by_account(capacities, held) == {"main": 2, "main_2": 1}


def test_free_slots_are_given_in_their_order_to_the_highest_first():
    state, decisions = step(empty(), candidate("A", 12), candidate("B", 14))
    assert layout(state) == {"main:01": "B", "main:02": "A"}
    assert decisions == (
        assigned("main:01", candidate("B", 14), None, "free_slot"),
        assigned("main:02", candidate("A", 12), None, "free_slot"),
    )


def test_a_slot_that_was_released_keeps_its_name_and_the_others_stay_where_they_are():
    state = holding(candidate("A", 14, expires_ns=5), candidate("B", 12))
    state, decisions = step(state, candidate("C", 10), now_ns=5)
    assert decisions == (
        released("main:01", "A", 14, "expired"),
        assigned("main:01", candidate("C", 10), None, "free_slot"),
    )
    assert layout(state) == {"main:01": "C", "main:02": "B"}


# --- replacement ---


def test_a_newcomer_replaces_the_lowest_only_above_the_threshold():
    state = holding(candidate("A", 20), candidate("B", 10))
    unchanged, decisions = step(state, candidate("C", 12))
    assert layout(unchanged) == layout(state)
    assert decisions == (overflow(candidate("C", 12), 10, "not_above_threshold"),)
    changed, decisions = step(state, candidate("C", 12.01))
    assert layout(changed) == {"main:01": "A", "main:02": "C"}
    assert decisions == (
        released("main:02", "B", 10, "replaced", "C"),
        assigned("main:02", candidate("C", 12.01), "B", "outranks"),
    )


def test_the_larger_company_and_then_the_lower_code_goes_first_among_equal_scores():
    state, _ = step(empty(3), candidate("B"), candidate("C", market_cap=2e12), candidate("A"))
    assert restore(state) == ("C", "A", "B")


def test_a_symbol_with_several_triggers_has_one_slot_for_the_best_of_them():
    state, decisions = step(empty(), candidate("A", 12, "trade_velocity"), candidate("A", 15))
    assert decisions == (assigned("main:01", candidate("A", 15), None, "free_slot"),)
    assert layout(state) == {"main:01": "A", "main:02": None}


# --- renewal and expiry ---


def test_a_renewed_slot_is_extended_when_the_end_that_was_stated_has_come():
    state = holding(candidate("A", 15, expires_ns=10))
    state, early = step(state, candidate("A", 14, expires_ns=19), now_ns=9)
    state, decisions = step(state, candidate("A", 13, expires_ns=20), now_ns=10)
    state, again = step(state, candidate("A", 12, expires_ns=29), now_ns=19)
    assert (early, decisions, again) == ((), (extended("main:01", candidate("A", 13, expires_ns=20)),), ())


SURGE, VELOCITY = candidate("A", 15, expires_ns=10), candidate("A", 12, "trade_velocity", expires_ns=20)


@pytest.mark.parametrize(
    ("held", "offered", "now_ns", "holder"),
    [
        (SURGE, candidate("A", 12, expires_ns=20), 0, candidate("A", 12, expires_ns=20)),  # a condition that lasts
        (SURGE, VELOCITY, 9, SURGE),
        (SURGE, VELOCITY, 10, VELOCITY),  # the weaker one, once the stronger one has ended
        (VELOCITY, SURGE, 0, SURGE),
        (candidate("A", 20, "context"), SURGE, 0, SURGE),  # a trigger takes over from the opening at once
        (SURGE, filler("A"), 10, filler("A")),
        (pinned("A"), SURGE, 0, pinned("A")),
        (SURGE, pinned("A"), 0, pinned("A")),
    ],
)
def test_a_holder_keeps_its_slot_for_the_best_condition_that_holds(held, offered, now_ns, holder):
    state, decisions = step(holding(held), offered, now_ns=now_ns)
    assert state.slots[0].candidate == holder
    assert decisions == ((extended("main:01", holder),) if holder.kind != held.kind else ())
    assert step(state, now_ns=10**18)[0].symbols == (set() if holder.expires_ns else {"A"})


def test_a_mover_of_the_opening_neither_waits_nor_overflows():
    state, _ = step(holding(candidate("A", 10, "context")), candidate("B", 15))
    assert (state.symbols, state.waiting) == ({"B"}, {})
    assert step(state, candidate("C", 5, "context")) == (state, ())


HALF_LIFE = SlotSettings(score_half_life_seconds=10e-9)


def evident(symbol, full_score, evidence_ns):
    """A candidate whose capitalisation adds 1.2 to its score, and whose evidence is of this moment."""
    fresh = candidate(symbol, full_score, expires_ns=1_000)
    return msgspec.structs.replace(fresh, evidence_ns=evidence_ns, full_score=full_score)


def test_the_score_of_a_holder_halves_with_the_age_of_its_evidence_and_a_fresh_weaker_surge_replaces_it():
    state = holding(evident("A", 21.2, 0))
    refused, _ = step(state, evident("B", 13.2, 5), now_ns=5, settings=HALF_LIFE)
    assert refused.symbols == {"A"}
    replaced, [release, _] = step(state, evident("B", 13.5, 10), now_ns=10, settings=HALF_LIFE)
    assert replaced.symbols == {"B"}
    assert isinstance(release, SlotReleased)
    assert release.score == pytest.approx(1.2 + 20 / 2)
    assert replaced.waiting["A"].score == pytest.approx(11.2)


def test_without_a_half_life_a_score_does_not_age():
    ageless = SlotSettings(score_half_life_seconds=-1)
    state, _ = step(holding(evident("A", 21.2, 0)), evident("B", 25.4, 900), now_ns=900, settings=ageless)
    assert state.symbols == {"A"}


def test_evidence_of_a_later_moment_is_as_strong_as_evidence_of_this_one():
    """The exchange's clock may be ahead of this machine's: no age is negative, and no score grows by it."""
    state = holding(evident("A", 21.2, 9))
    kept, _ = step(state, evident("B", 25.0, 5), now_ns=5, settings=HALF_LIFE)
    assert (kept.symbols, kept.slots[0].candidate) == ({"A"}, evident("A", 21.2, 9))
    replaced, _ = step(state, evident("B", 25.5, 5), now_ns=5, settings=HALF_LIFE)
    assert replaced.symbols == {"B"}


def test_a_trigger_that_expires_before_the_evaluation_gets_no_slot():
    assert step(empty(), candidate("A", expires_ns=5), now_ns=5) == (empty(), ())


def test_a_dropped_symbol_loses_its_slot_and_gets_none():
    state, decisions = step(
        holding(candidate("A")), candidate("A", 30), candidate("B", 30), dropped={"A": "halted", "B": "upper_limit"}
    )
    assert decisions == (released("main:01", "A", 15, "halted"),)
    assert state.symbols == frozenset()


# --- pins ---


def test_a_pinned_symbol_replaces_the_lowest_whatever_the_scores():
    state, decisions = step(holding(candidate("A", 20), candidate("B", 19)), pinned("C", 6))
    assert decisions[1:] == (assigned("main:02", pinned("C", 6), "B", "pinned"),)
    assert state.symbols == {"A", "C"}


def test_taking_the_pin_back_frees_the_slot_and_changes_nothing_without_a_pin():
    state, decisions = unpin(holding(pinned("A"), candidate("B")), "A", SlotSettings(), 0)
    assert decisions == (released("main:01", "A", 11, "unpinned"),)
    assert state.symbols == {"B"}
    state, _ = step(holding(candidate("B", 20)), candidate("C", 15))
    for symbol in "BC":  # a holder, and one that waits
        assert unpin(state, symbol, SlotSettings(), 0) == (state, ())


# --- fillers ---


def test_a_filler_takes_a_slot_that_triggers_leave_free():
    state, _ = step(empty(), filler("F", 99), candidate("A", 1))
    assert layout(state) == {"main:01": "A", "main:02": "F"}


def test_a_filler_yields_to_every_trigger_and_replaces_no_symbol():
    state, decisions = step(holding(filler("F", 99)), candidate("A", 1))
    assert decisions[1:] == (assigned("main:01", candidate("A", 1), "F", "outranks"),)
    assert step(state, filler("G", 99)) == (state, ())


# --- overflow ---


def test_an_overflow_is_reported_once_while_the_trigger_lasts():
    state = holding(candidate("A", 20))
    state, first = step(state, candidate("B", 15, expires_ns=10))
    state, renewed = step(state, candidate("B", 15, expires_ns=15), now_ns=5)
    state, still = step(state, candidate("B", 15, expires_ns=30), now_ns=14)
    assert (len(first), renewed, still) == (1, (), ())


def test_a_renewed_trigger_of_a_refused_symbol_overflows_again():
    state, _ = step(holding(candidate("A", 20)), candidate("B", 15, expires_ns=10))
    _, decisions = step(state, candidate("B", 15, expires_ns=30), now_ns=10)
    assert isinstance(decisions[0], SlotOverflowed)


@pytest.mark.parametrize(
    ("held", "newcomer", "lowest", "reason"),
    [
        ([candidate("A", 10)], candidate("C", 10), 10, "all_slots_hold_higher_scores"),
        ([candidate("A", 10)], candidate("C", 12), 10, "not_above_threshold"),
        ([pinned("A", 11), candidate("B", 18)], candidate("C", 13), 18, "all_slots_hold_higher_scores"),
        ([pinned("A", 6)], candidate("C", 21), 0, "all_slots_pinned"),
    ],
)
def test_a_refusal_states_its_reason_and_the_lowest_score_that_can_be_replaced(held, newcomer, lowest, reason):
    state, decisions = step(holding(*held), newcomer)
    assert decisions == (overflow(newcomer, lowest, reason),)
    assert state.symbols == {each.symbol for each in held}


def test_a_symbol_that_had_a_slot_since_its_refusal_overflows_again():
    state, _ = step(holding(candidate("A", 20)), candidate("B", 15))
    state, _ = step(state, candidate("B", 25))
    _, decisions = step(state, candidate("A", 20))
    assert isinstance(decisions[0], SlotOverflowed)
    state, _ = step(state, candidate("A", 31))
    _, decisions = step(state, candidate("B", 25))
    assert isinstance(decisions[0], SlotOverflowed)


# --- waiting ---


def test_a_free_slot_goes_to_a_waiting_candidate_before_a_filler():
    state, _ = step(holding(candidate("A", 20, expires_ns=5)), candidate("B", 15, expires_ns=10))
    state, decisions = step(state, filler("F"), now_ns=5)
    assert decisions == (
        released("main:01", "A", 20, "expired"),
        assigned("main:01", candidate("B", 15, expires_ns=10), None, "free_slot"),
    )
    assert (state.waiting, state.overflowed) == ({}, frozenset())


def test_a_replaced_symbol_waits_until_its_trigger_expires():
    state, _ = step(holding(candidate("A", 10, expires_ns=9)), candidate("B", 15, expires_ns=5))
    back, _ = step(state, filler("F"), now_ns=5)
    late, _ = step(state, filler("F"), now_ns=9)
    assert (layout(back), layout(late)) == ({"main:01": "A"}, {"main:01": "F"})


def test_a_waiting_candidate_takes_the_current_score_and_expiry_of_its_condition():
    state, _ = step(holding(candidate("A", 20)), candidate("B", 19, expires_ns=10))
    state, _ = step(state, candidate("B", 15, expires_ns=20), now_ns=5)
    assert state.waiting == {"B": candidate("B", 15, expires_ns=20)}


def test_a_dropped_symbol_does_not_wait():
    state, _ = step(holding(candidate("A", 20)), candidate("B", 15))
    state, _ = step(state, dropped={"B": "halted"})
    assert (state.waiting, state.overflowed) == ({}, frozenset())


def test_the_life_of_a_waiting_candidate_is_extended_once_and_not_at_every_step():
    state, _ = step(holding(candidate("A", 10), candidate("B", 10)), candidate("C", 13), candidate("D", 13))
    busy = SlotSettings(churn_max_replacements=1)
    state = msgspec.structs.replace(state, waiting={}, overflowed=frozenset())
    for now_ns in range(3):
        state, _ = step(state, *[candidate("E", 14, expires_ns=10)] * (now_ns == 0), now_ns=now_ns, settings=busy)
    assert state.waiting == {"E": candidate("E", 14, expires_ns=20)}


# --- refusals by the broker ---


def test_restore_lists_pinned_then_triggered_then_filling_symbols_by_score():
    state = holding(candidate("A", 12), filler("F"), pinned("P", 6), candidate("B", 14))
    assert restore(state) == ("P", "B", "A", "F")


# --- several accounts ---


@pytest.mark.parametrize(
    ("strategy", "main", "second"), [("round_robin", ("A", "C"), ("B",)), ("priority", ("A", "B"), ("C",))]
)
def test_accounts_give_their_slots_in_turn_or_by_priority(strategy, main, second):
    state, _ = step(empty_slots({"main": 2, "second": 2}, strategy), *(candidate(name) for name in "CBA"))
    assert restore_by_account(state) == {"main": main, "second": second}


def two_accounts(*candidates, second=2):
    """The first two candidates in the account `main`, the others in `second`."""
    return step(empty_slots({"main": 2, "second": second}, "priority"), *candidates)[0]


def test_the_symbols_of_an_account_that_dies_move_to_free_slots_the_most_important_first():
    state = two_accounts(candidate("A", 15), candidate("B", 14), second=1)
    state, decisions = step(state, closed={"main"})
    assert decisions == (
        released("main:01", "A", 15, "moved"),
        assigned("second:01", candidate("A", 15), None, "moved"),
    )
    assert layout(state) == {"main:01": None, "main:02": "B", "second:01": "A"}


def test_a_symbol_that_must_move_takes_the_slot_of_a_symbol_that_it_outranks():
    state = two_accounts(candidate("A", 15), candidate("B", 14), filler("F"), second=1)
    _, decisions = step(state, filler("F"), closed={"main"})
    assert decisions == (
        released("main:01", "A", 15, "moved"),
        released("second:01", "F", 2, "replaced", "A"),
        assigned("second:01", candidate("A", 15), "F", "moved"),
    )


def test_a_symbol_without_a_slot_elsewhere_keeps_its_closed_slot_until_one_is_free():
    state = two_accounts(pinned("A"), pinned("B"), candidate("C", 15, expires_ns=5), second=1)
    state, decisions = step(state, candidate("C", 15, expires_ns=5), now_ns=1, closed={"main"})
    assert [type(decision) for decision in decisions] == [SlotReleased, SlotReleased, SlotAssigned]
    state, decisions = step(state, now_ns=6, closed={"main"})
    assert (layout(state)["main:02"], decisions) == ("B", ())


def test_moved_symbols_return_when_their_account_is_open_again():
    before = two_accounts(candidate("A", 15), candidate("B", 14))
    away, _ = step(before, closed={"main"})
    assert layout(away) == {"main:01": None, "main:02": None, "second:01": "A", "second:02": "B"}
    home, decisions = step(away)
    assert layout(home) == layout(before)
    assert decisions[:2] == (
        released("second:01", "A", 15, "moved_home"),
        assigned("main:01", candidate("A", 15), None, "moved_home"),
    )


def test_a_closed_account_gets_no_new_symbol_and_loses_none_without_cause():
    state = two_accounts(candidate("A", 15), candidate("B", 14), candidate("C", 13), candidate("D", 13))
    state, _ = step(state, candidate("E", 15.7), closed={"main"})
    assert layout(state) == {"main:01": "A", "main:02": "B", "second:01": "C", "second:02": "E"}


def test_where_every_account_is_closed_slots_are_given_as_ever():
    state, decisions = step(empty(), candidate("A"), closed={"main"})
    assert layout(state)["main:01"] == "A"
    assert [decision.reason for decision in decisions] == ["free_slot"]


# --- churn ---

GUARDED = SlotSettings(churn_max_replacements=1, churn_window_seconds=10e-9)


def test_after_too_many_replacements_the_threshold_is_higher_until_they_are_forgotten():
    state = holding(candidate("A", 10), candidate("B", 10))
    state, _ = step(state, candidate("C", 13), candidate("D", 13), settings=GUARDED)
    assert state.symbols == {"C", "D"}
    _, decisions = step(state, candidate("E", 18), now_ns=9, settings=GUARDED)
    assert isinstance(decisions[-1], SlotOverflowed)
    changed, _ = step(state, candidate("E", 18), now_ns=10, settings=GUARDED)
    assert "E" in changed.symbols


def test_each_account_adds_to_the_allowed_replacements():
    state = two_accounts(*(candidate(symbol, 10) for symbol in "ABCD"))
    for number, symbol in enumerate("EFG", 1):
        assert is_rapid(state, number, GUARDED) == (number > 3)
        state, _ = step(state, candidate(symbol, 20), now_ns=number, settings=GUARDED)
    assert is_rapid(state, 4, GUARDED)


def test_after_too_many_replacements_triggers_live_longer():
    state = holding(candidate("A", 10), candidate("B", 10))
    state, _ = step(state, candidate("C", 13), candidate("D", 13), settings=GUARDED)
    state, _ = step(state, candidate("C", 13, expires_ns=105), now_ns=5, settings=GUARDED)
    slot = state.slot_of("C")
    assert slot.candidate == candidate("C", 13, expires_ns=205)


# --- properties ---

KINDS: st.SearchStrategy[TriggerKind] = st.sampled_from(
    ["volume_surge", "trade_velocity", "volatility_spike", "manual", "market_cap"]
)
LONGEST_NS = 20


@st.composite
def any_candidate(draw):
    kind = draw(KINDS)
    endless = kind in ("manual", "market_cap")
    return candidate(
        draw(st.sampled_from(string.ascii_uppercase[:8])),
        draw(st.integers(1, 30)) / 2,
        kind,
        expires_ns=None if endless else draw(st.integers(1, LONGEST_NS)),
        market_cap=draw(st.sampled_from([0.0, 1e12, 1e13])),
    )


ROUND = st.tuples(
    st.lists(any_candidate(), max_size=10),
    st.sets(st.sampled_from("ABCDEFGH"), max_size=2),
    st.sets(st.sampled_from(["main", "second"])),
)
ROUNDS = st.lists(ROUND, min_size=1, max_size=6)
SLOTS = 3
STRATEGIES: st.SearchStrategy[AllocationStrategy] = st.sampled_from(["round_robin", "priority"])


def outranks(newcomer, held):
    """The rule in one line for each tier, as an independent reading of it."""
    if "manual" in (newcomer.kind, held.kind):
        return newcomer.kind == "manual" and held.kind != "manual"
    if newcomer.kind == "market_cap" or held.kind == "market_cap":
        same_tier = newcomer.kind == held.kind
        return newcomer.score > 1.2 * held.score if same_tier else held.kind == "market_cap"
    return newcomer.score > 1.2 * held.score


@reaches(SlotAssigned=105, SlotExtended=3, SlotOverflowed=23, SlotReleased=21, full=21, waiting=35)
@given(ROUNDS, STRATEGIES, st.randoms(use_true_random=False))
def test_the_allocation_rules_hold_over_any_sequence_of_steps(
    reach,
    rounds,
    strategy,
    shuffler,
):
    state = empty_slots({"main": SLOTS, "second": 2}, strategy)
    slots = [slot.slot for slot in state.slots]
    for now_ns, (offered, names, closed) in enumerate(rounds):
        before = state
        dropped = dict.fromkeys(names, "halted")
        state, decisions = allocate(state, offered, now_ns, CALM, dropped, closed)
        for decision in decisions:
            reach.count(type(decision).__name__)
        reach.count("waiting", len(state.waiting))
        reach.count("full", all(slot.candidate for slot in state.slots))
        held = [slot.candidate for slot in state.slots if slot.candidate is not None]
        symbols = [item.symbol for item in held]
        assert [slot.slot for slot in state.slots] == slots
        assert len(set(symbols)) == len(symbols)
        assert not names & set(symbols)
        assert all(item.alive(now_ns) for item in held)
        stay = {slot.candidate.symbol for slot in before.slots if slot.candidate and slot.candidate.kind == "manual"}
        assert stay - names <= set(symbols)
        shut = closed if len(closed) == 1 else set()
        open_slots = [slot.candidate for slot in state.slots if slot.account not in shut]
        renewed = {(item.symbol, item.kind) for item in offered if item.alive(now_ns)}
        waiting = [item for item in before.waiting.values() if (item.symbol, item.kind) not in renewed]
        outside = [
            item
            for item in (*offered, *waiting)
            if item.symbol not in symbols and item.symbol not in names and item.alive(now_ns)
        ]
        assert {item.symbol for item in outside if item.kind != "market_cap"} <= state.waiting.keys()
        assert not state.waiting.keys() & set(symbols)
        assert state.overflowed <= state.waiting.keys()
        stranded = [slot.candidate for slot in state.slots if slot.account in shut and slot.candidate is not None]
        assert not (outside or stranded) or None not in open_slots
        assert not any(outranks(item, other) for item in (*outside, *stranded) for other in open_slots if other)
        assert replayed(before, decisions) == {
            slot.slot: slot.candidate.symbol if slot.candidate else None for slot in state.slots
        }
        shuffled = list(offered)
        shuffler.shuffle(shuffled)
        assert allocate(before, shuffled, now_ns, CALM, dropped, closed) == (state, decisions)


def replayed(state, decisions):
    """The slots' symbols, reconstructed from the decisions alone."""
    slots = layout(state)
    for decision in decisions:
        if isinstance(decision, SlotReleased):
            assert slots[decision.slot] == decision.symbol
            slots[decision.slot] = None
        elif isinstance(decision, SlotAssigned):
            assert slots[decision.slot] is None
            slots[decision.slot] = decision.symbol
        elif isinstance(decision, SlotExtended):
            assert slots[decision.slot] == decision.symbol
    return slots


@given(st.lists(any_candidate(), max_size=10))
def test_a_second_step_with_the_same_candidates_changes_nothing(offered):
    state, _ = allocate(empty(SLOTS), offered, 0, SlotSettings())
    again, decisions = allocate(state, offered, 0, SlotSettings())
    assert again.symbols == state.symbols
    assert decisions == ()


@given(st.lists(any_candidate(), max_size=10))
def test_when_all_triggers_are_over_only_the_endless_are_left(offered):
    state, _ = allocate(empty(SLOTS), offered, 0, SlotSettings())
    late, _ = allocate(state, [], LONGEST_NS, SlotSettings())
    assert all(slot.candidate is None or slot.candidate.expires_ns is None for slot in late.slots)
    assert all(waiting.expires_ns is None for waiting in late.waiting.values())
    assert late.overflowed <= late.waiting.keys()


@pytest.mark.parametrize("wrong", [{"max_slots": 0}, {"replacement_threshold": 0.9}, {"max_slot": 41}])
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, SlotSettings)


# --- slots that fillers leave free ---


def leaving_one(*candidates):
    return step(empty_slots({"main": 3}, left_free=1), *candidates)[0]


def test_fillers_leave_the_slots_free_whose_subscriptions_are_for_watches():
    state = leaving_one(*(filler(name) for name in "ABC"))
    assert layout(state) == {"main:01": "A", "main:02": "B", "main:03": None}
    assert step(state, filler("C"))[1] == ()


def test_a_trigger_replaces_a_filler_before_it_takes_a_slot_that_is_left_free():
    state, decisions = step(leaving_one(filler("A"), filler("B")), candidate("X"))
    assert decisions == (
        released("main:02", "B", 2.0, "replaced", "X"),
        assigned("main:02", candidate("X"), "B", "outranks"),
    )
    assert layout(state)["main:03"] is None


@pytest.mark.parametrize("newcomer", [candidate("Z"), pinned("Z")])
def test_a_claim_takes_the_slot_that_is_left_free_once_no_filler_holds_one(newcomer):
    _, [given] = step(leaving_one(candidate("X"), candidate("Y")), newcomer)
    assert (given.slot, given.replaced) == ("main:03", None)


def test_a_claim_that_is_over_gives_back_the_slot_that_was_left_free():
    state = leaving_one(candidate("X"), candidate("Y"), candidate("Z", expires_ns=10))
    state, decisions = step(state, filler("Z"), filler("A"), now_ns=10)
    assert decisions == (extended("main:03", filler("Z")), released("main:03", "Z", 2.0, "expired"))
    assert step(state, filler("Z"), now_ns=11)[1] == ()


def test_a_filler_of_a_closed_account_moves_into_no_slot_that_is_left_free():
    state = step(empty_slots({"main": 1, "second": 1}, left_free=1), filler("A"))[0]
    assert step(state, filler("A"), closed=frozenset({"main"}))[1] == ()
    state = step(empty_slots({"main": 1, "second": 1}, left_free=1), candidate("X"))[0]
    assert layout(step(state, closed=frozenset({"main"}))[0]) == {"main:01": None, "second:01": "X"}
