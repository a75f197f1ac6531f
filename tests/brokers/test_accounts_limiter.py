"""The rate limiter: it keeps the broker's limits on arrival, starts urgent calls first, and never blocks for long.

The broker is a log of arrivals: a call arrives some time after its start; its answer follows some time later.
"""

import itertools
from math import floor

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.brokers.accounts.limiter import (
    ANSWER_LIMIT_NS,
    SLOTS_MADE_UP,
    Limits,
    Wait,
    Window,
    after_answer,
    after_loss,
    background_pace,
    decide,
    fresh,
    is_believable,
    learned_at,
    limits_of,
    most_at,
    pace_at,
)
from observer.brokers.settings import RateLimitSettings
from tests.brokers.virtual_account import (
    MS,
    NOW_NS,
    PRIORITIES,
    SECOND_NS,
    SPACING_NS,
    Account,
    RefusingHost,
    bulk_beside,
    calls_that_positions_allow,
    limits,
    saturating,
)
from tests.properties import examples

MINUTE_NS = 60 * SECOND_NS
HOST = limits(6.0)  # six positions, which are few enough for full tables
CHECK_NS = round(SECOND_NS / 6 / 8)


def worst(moments, length_ns):
    """The largest number of moments within a span of this length."""
    moments, first, found = sorted(moments), 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= length_ns:
            first += 1
        found = max(found, last - first + 1)
    return found


priorities = st.sampled_from(PRIORITIES)
ways = st.integers(0, ANSWER_LIMIT_NS)
asks = st.lists(
    st.tuples(priorities, st.integers(0, 400 * MS), ways, st.none() | st.integers(0, 2 * ANSWER_LIMIT_NS)), max_size=60
)
late = st.lists(st.integers(0, 300 * MS), min_size=1, max_size=20).map(itertools.cycle)
answers = st.lists(st.sampled_from(["passed", "refused", "unknown"]), min_size=1, max_size=20)


# --- the limit -------------------------------------------------------------------------------------------------


@given(asks, late, st.floats(0.5, 12.0))
@example(  # the first answer comes when its position is the second call's already
    [("urgent", 0, 0, 4 * SECOND_NS + 1), ("urgent", 0, 2, None), ("urgent", 0, 0, None)], itertools.cycle([0]), 1.0
)
def test_no_second_sees_more_arrivals_than_the_limit(calls, late_ns, per_second):
    arrived = Account(limits(per_second), calls, late_ns).run().arrived
    assert len(arrived) == len(calls)
    assert worst(arrived, SECOND_NS) <= max(1, per_second)


@given(asks, late, st.integers(1, 40))
def test_no_minute_sees_more_arrivals_than_its_limit(calls, late_ns, per_minute):
    arrived = Account(limits(12.0, float(per_minute)), calls, late_ns).run().arrived
    assert worst(arrived, MINUTE_NS) <= per_minute
    assert worst(arrived, SECOND_NS) <= 12


def test_less_than_one_call_a_second_is_one_in_that_many_seconds():
    arrived = Account(limits(0.5), saturating(["normal"], 5)).run().arrived
    assert all(later - earlier >= 2 * SECOND_NS for earlier, later in itertools.pairwise(arrived))


@pytest.mark.parametrize("answer_ns", [2 * MS, 10 * MS, 30 * MS])
def test_a_sweep_takes_its_floor_and_one_way_to_the_broker_and_back_a_second(answer_ns):
    started = Account(limits(20.0), saturating(["bulk"], 84, answer_ns=answer_ns)).run().started["bulk"]
    assert started[-1] - started[0] <= 83 * SECOND_NS / 20 + 4 * answer_ns


def test_waking_late_does_not_slow_a_sweep_down():
    late_ns = itertools.cycle([3 * MS, 40 * MS, 0, 12 * MS])
    started = Account(limits(20.0), saturating(["bulk"], 84), late_ns, in_turn=True).run().started["bulk"]
    assert started[-1] - started[0] <= 1.02 * 83 * SECOND_NS / 20


def test_the_minutes_limit_lets_a_sweep_go_at_full_speed():
    started = Account(limits(20.0, 1000.0), saturating(["bulk"], 84)).run().started["bulk"]
    assert started[-1] - started[0] <= 1.01 * 83 * SECOND_NS / 20


def test_an_unanswered_call_keeps_its_rate_limit_token_until_it_must_have_arrived():
    asked = [("bulk", 0, 0, None), ("bulk", 0, 0, 0)]
    first, second = Account(limits(1.0), asked).run().started["bulk"]
    assert ANSWER_LIMIT_NS + SECOND_NS <= second - first <= ANSWER_LIMIT_NS + 2 * SECOND_NS


@given(asks, late)
def test_calls_keep_to_the_beat_but_for_the_few_slots_that_are_made_up_for(calls, late_ns):
    started = sorted(itertools.chain.from_iterable(Account(limits(10.0), calls, late_ns).run().started.values()))
    for count in range(1, len(started)):
        span_ns = min(later - first for first, later in zip(started, started[count:], strict=False))
        assert span_ns >= (count - SLOTS_MADE_UP) * SECOND_NS // 10


@pytest.mark.parametrize(
    ("priority", "share"), [("urgent", 1.0), ("normal", 1.0), ("bulk", 0.9), ("background", 0.875)]
)
def test_the_lasting_rate_of_a_priority_is_what_the_minute_leaves_to_it(priority, share):
    assert limits(18.0, 1000.0).lasting_per_second(priority) == pytest.approx(share * 1000 / 60)
    assert limits(18.0).lasting_per_second(priority) == 18


@pytest.mark.parametrize(("share", "of_the_minute"), [(0.5, 0.5), (1.0, 0.875)])
def test_a_background_job_has_its_share_of_the_limit_and_no_more_than_what_lasts(share, of_the_minute):
    settings = RateLimitSettings(calls_per_second=18.0, calls_per_minute=1000.0)
    assert background_pace(settings, share) == pytest.approx(of_the_minute * 1000 / 60)


@pytest.mark.parametrize(
    ("given_limits", "windows"),
    [
        ((20.0, None, 0.5), [(20, 1)]),
        ((2.5, None, 0.5), [(2, 1)]),
        ((0.4, None, 0.5), [(1, 2.5)]),
        ((1.5, 89.5, 0.5), [(1, 1), (89, 60)]),
        ((1.5, 90.0, 0.5), [(1, 1)]),
    ],
)
def test_limits_are_whole_calls_in_any_second_or_longer_and_in_any_minute_if_that_is_less(given_limits, windows):
    expected = tuple(Window(positions, round(seconds * SECOND_NS)) for positions, seconds in windows)
    assert limits_of(*given_limits) == Limits(given_limits[0], 500 * MS, expected)
    rates = [window.positions * SECOND_NS / window.length_ns for window in expected]
    assert limits_of(*given_limits).lasting_per_second("urgent") == min(rates)


@pytest.mark.parametrize("wrong", [(0.0, None, 1.0), (-1.0, None, 1.0), (float("nan"), None, 1.0), (0.01, None, 1.0)])
def test_a_limit_is_at_least_a_call_a_minute(wrong):
    with pytest.raises(ValueError, match="calls_per_second"):
        limits_of(*wrong)


@pytest.mark.parametrize("per_minute", [0.0, -5.0, float("nan")])
def test_a_minutes_limit_is_at_least_a_call(per_minute):
    with pytest.raises(ValueError, match="calls_per_minute"):
        limits_of(20.0, per_minute, 1.0)


def test_a_penalty_is_not_negative():
    with pytest.raises(ValueError, match="penalty_s"):
        limits_of(20.0, None, -1.0)


# --- priorities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", PRIORITIES)
def test_an_idle_account_gives_a_token_at_once_and_the_next_one_a_slot_later(priority):
    granted = decide(limits(), fresh(limits()), NOW_NS, NOW_NS, priority)
    assert not isinstance(granted, Wait)
    assert granted.state.next_ns == NOW_NS + SPACING_NS


def test_a_position_held_until_now_is_held_no_more():
    held_ns = tuple(NOW_NS + number * MS for number in range(-2, 4))
    granted = decide(HOST, msgspec.structs.replace(fresh(HOST), held_ns=(held_ns,)), NOW_NS, NOW_NS, "bulk")
    assert (granted.positions, granted.beside) == ((0,), 3)


@pytest.mark.parametrize(
    ("held_ns", "until_ns"),
    [(SECOND_NS, SECOND_NS), (SECOND_NS + 1, CHECK_NS), (SECOND_NS + ANSWER_LIMIT_NS, SECOND_NS)],
)
def test_a_position_is_asked_for_when_it_comes_free_and_every_eighth_of_a_slot_if_its_call_waits_too_long(
    held_ns, until_ns
):
    state = msgspec.structs.replace(fresh(HOST), held_ns=((NOW_NS + held_ns,) * 6,))
    decision = decide(HOST, state, NOW_NS, NOW_NS, "urgent")
    assert isinstance(decision, Wait)
    assert decision.until_ns == NOW_NS + until_ns


SLOTS = [  # in slots: the next slot, the last moment at which a call waits, the first request, now; the slot taken
    ((0, -1, 0, 0), 0),
    ((-3, -4, 0, 0), 0),  # no call waited for the slots before the request
    ((-3, -4, -2, 0), -1),  # of the slots since the request one is made up for
    ((-3, -4, -0.5, 0), -0.5),
    ((-0.5, -0.5, 0, 0), -0.5),  # a call waited for this slot: not lost
    ((-0.5, -0.6, 0, 0), 0),
    ((-0.5, 2, 0, 0), -0.5),
    ((-3, 2, 0, 0), -1),
]


@pytest.mark.parametrize("priority", PRIORITIES)
@pytest.mark.parametrize(("moments", "slot"), SLOTS)
def test_a_slot_that_no_call_waited_for_is_lost_and_one_of_those_that_a_call_waited_for_is_made_up_for(
    moments, slot, priority
):
    next_ns, awaited_ns, asked_ns, now_ns = (NOW_NS + round(moment * SPACING_NS) for moment in moments)
    state = msgspec.structs.replace(fresh(limits()), next_ns=next_ns, awaited_ns=awaited_ns)
    granted = decide(limits(), state, asked_ns, now_ns, priority)
    assert not isinstance(granted, Wait)
    assert granted.started_ns == now_ns
    assert granted.state.next_ns == NOW_NS + round((slot + 1) * SPACING_NS)


@pytest.mark.parametrize("priority", PRIORITIES)
@pytest.mark.parametrize("awaited", [-1, 0.5, 1, 3])
def test_a_call_that_waits_notes_when_it_asks_again_and_takes_nothing(awaited, priority):
    """Its mark keeps the slot from lower priorities for half a slot more; a mark of background calls keeps nothing."""
    awaited_ns, ready_ns = NOW_NS + round(awaited * SPACING_NS), NOW_NS + SPACING_NS
    state = msgspec.structs.replace(fresh(limits()), next_ns=ready_ns, awaited_ns=awaited_ns)
    marks = {} if priority == "background" else {f"{priority}_ns": ready_ns + SPACING_NS // 2}
    expected = msgspec.structs.replace(state, awaited_ns=max(awaited_ns, ready_ns), **marks)
    assert decide(limits(), state, NOW_NS, NOW_NS, priority) == Wait(ready_ns, expected)


@pytest.mark.parametrize("priority", PRIORITIES)
@pytest.mark.parametrize("marked", PRIORITIES[:3])
def test_a_mark_keeps_the_slot_from_lower_priorities_alone(marked, priority):
    state = msgspec.structs.replace(fresh(limits()), **{f"{marked}_ns": NOW_NS + 1})
    decision = decide(limits(), state, NOW_NS, NOW_NS, priority)
    is_lower = PRIORITIES.index(priority) > PRIORITIES.index(marked)
    assert isinstance(decision, Wait) == is_lower
    if is_lower:
        assert decision.until_ns == NOW_NS + 1


def test_a_call_holds_one_position_in_each_window_until_its_answer_must_have_come():
    both = limits(2.0, 3.0)
    held_ns = ((NOW_NS + 1, NOW_NS - 1), (NOW_NS - 1, NOW_NS - 3, NOW_NS - 2))
    granted = decide(both, msgspec.structs.replace(fresh(both), held_ns=held_ns), NOW_NS, NOW_NS, "normal")
    until_ns = [NOW_NS + length_s * SECOND_NS + ANSWER_LIMIT_NS for length_s in (1, 60)]
    taken = ((NOW_NS + 1, until_ns[0]), (NOW_NS - 1, until_ns[1], NOW_NS - 2))
    assert (granted.positions, granted.beside, granted.state.held_ns) == ((1, 1), 1, taken)


@pytest.mark.parametrize("outcome", ["passed", "refused", "unknown"])
@pytest.mark.parametrize(("later_s", "left_s"), [(2, (3, 62)), (None, (None, None))])
def test_after_the_answer_a_position_is_held_for_its_windows_length_unless_another_call_has_it(
    outcome, later_s, left_s
):
    both = limits(2.0, 3.0)
    granted = decide(both, fresh(both), NOW_NS, NOW_NS, "normal")
    state = granted.state
    if later_s is None:  # the answer comes so late that other calls hold both positions
        others_ns = tuple(tuple(until_ns + 99 * SECOND_NS for until_ns in held_ns) for held_ns in state.held_ns)
        state = msgspec.structs.replace(state, held_ns=others_ns)
    answered = after_answer(both, state, granted, NOW_NS + (later_s or 99) * SECOND_NS, outcome)
    for before_ns, after_ns, seconds in zip(state.held_ns, answered.held_ns, left_s, strict=True):
        assert after_ns == (before_ns if seconds is None else (NOW_NS + seconds * SECOND_NS, *before_ns[1:]))


@pytest.mark.parametrize(("priority", "free"), [("urgent", 20), ("normal", 20), ("bulk", 18), ("background", 18)])
def test_of_a_minutes_positions_each_priority_leaves_its_part(priority, free):
    """Of twenty positions a tenth and an eighth are two each. The one that comes free next is waited for."""
    both = limits(10.0, 20.0)
    minute_ns = tuple(NOW_NS + number * SECOND_NS for number in range(1, 21))
    for held in range(15, 21):
        held_ns = (fresh(both).held_ns[0], (*minute_ns[:held], *[-both.horizon_ns] * (20 - held)))
        decision = decide(both, msgspec.structs.replace(fresh(both), held_ns=held_ns), NOW_NS, NOW_NS, priority)
        assert isinstance(decision, Wait) == (held >= free)
        if held >= free:
            assert decision.until_ns == minute_ns[held - free]


@given(st.permutations([priority for priority in PRIORITIES for _ in range(10)]))
def test_calls_of_each_priority_start_before_those_of_the_priorities_below(order):
    first = saturating(["background"], 3)
    account = Account(limits(10.0), first + [(priority, 0, 0, MS) for priority in order]).run()
    assert max(account.started["urgent"]) < min(account.started["normal"])
    assert max(account.started["normal"]) < min(account.started["bulk"])
    assert max(account.started["bulk"]) < min(account.started["background"][3:])


def test_a_sweep_beside_background_calls_takes_as_long_as_alone():
    sweep = [("bulk", 0, 0, 5 * MS) for _ in range(84)]
    background = saturating(["background"], 60)
    for per_minute in (None, 1000.0):
        account = Account(limits(20.0, per_minute), background + sweep).run()
        started = account.started["bulk"]
        assert started[-1] - started[0] <= 1.02 * 83 * SECOND_NS / 20


def test_background_calls_leave_an_eighth_of_a_minutes_limit():
    account = Account(limits(20.0, 100.0), saturating(["background"], 300)).run()
    assert worst(account.started["background"], MINUTE_NS) == 88


@pytest.mark.parametrize("begins_s", [53, *(pytest.param(each, marks=pytest.mark.slow) for each in (60, 90, 114))])
def test_a_sweep_of_the_whole_market_beside_lasting_background_calls_takes_as_long_as_alone(begins_s):
    settings = RateLimitSettings(calls_per_second=18.0, calls_per_minute=1000.0)
    spacing_ns = round(SECOND_NS / background_pace(settings, share=1.0))
    before, after = (round(span_s * SECOND_NS / spacing_ns) for span_s in (begins_s, 10))
    tape = [("background", spacing_ns, 0, 5 * MS)]
    sweep = [("bulk", 0, 0, 5 * MS)] * 124  # 3,700 lines, 30 a call
    started = Account(limits(18.0, 1000.0), [*tape * before, *sweep, *tape * after]).run().started["bulk"]
    assert started[-1] - started[0] <= 1.02 * 123 * SECOND_NS / 18


def test_an_urgent_call_waits_for_one_slot_behind_any_sweep():
    sweep = saturating(["bulk"], 200)
    account = Account(limits(20.0), [*sweep, *[("urgent", 777 * MS, 0, 5 * MS)] * 8], in_turn=True).run()
    asked = [NOW_NS + 777 * MS * number for number in range(1, 9)]
    assert all(start - ask <= 60 * MS for ask, start in zip(asked, account.started["urgent"], strict=True))


@given(st.integers(0, 9), st.integers(0, 9), late, st.integers(0, 300 * MS))
@example(2, 9, itertools.cycle([11_111_111]), 5 * MS)  # bulk got 48 calls of 54
@example(
    2, 9, itertools.cycle([18_111_111]), 5 * MS
)  # 42 of 54: each position that a call waited for was lost to the next
def test_an_account_with_waiting_bulk_calls_starts_as_many_calls_as_its_limit_allows(
    urgent_per_s, normal_per_s, late_ns, answer_ns
):
    late_ns = [moment % SPACING_NS for moment in itertools.islice(late_ns, 20)]
    started = bulk_beside(urgent_per_s, normal_per_s, late_ns, answer_ns, span_s=6)
    assert sum(started.values()) >= floor(calls_that_positions_allow(answer_ns, max(late_ns), span_s=6)) - 2


@given(st.integers(0, 9), st.integers(0, 9), late)
def test_bulk_keeps_no_urgent_or_normal_call_waiting_beyond_the_span(urgent_per_s, normal_per_s, late_ns):
    late_ns = [moment % (20 * MS) for moment in itertools.islice(late_ns, 20)]
    started = bulk_beside(urgent_per_s, normal_per_s, late_ns, 5 * MS, span_s=6)
    assert started["urgent"] + started["normal"] >= 6 * (urgent_per_s + normal_per_s) - 2


def test_the_mark_of_a_process_that_died_waiting_delays_the_others_by_half_a_slot():
    first = decide(limits(10.0), fresh(limits(10.0)), NOW_NS, NOW_NS, "bulk")
    state = msgspec.structs.replace(first.state, next_ns=NOW_NS + 100 * MS)
    left = decide(limits(10.0), state, NOW_NS + 1, NOW_NS + 1, "urgent")
    waiting = decide(limits(10.0), left.state, NOW_NS + 2, NOW_NS + 2, "bulk")
    assert (left.until_ns, waiting.until_ns) == (NOW_NS + 100 * MS, NOW_NS + 150 * MS)
    assert not isinstance(decide(limits(10.0), waiting.state, NOW_NS + 2, waiting.until_ns, "bulk"), Wait)


# --- "too many" ------------------------------------------------------------------------------------------------


def after_call(outcome, passed=0, beside=0, **fields):
    """The state after a call that started while so many positions were held, so many calls had passed in the second
    before, and its answer.
    """
    passed_ns = (*[NOW_NS - 100 * MS] * passed, *[-HOST.horizon_ns] * (6 - passed))
    held_ns = (*[NOW_NS + 500 * MS] * beside, *[-HOST.horizon_ns] * (6 - beside))
    state = msgspec.structs.replace(fresh(HOST), passed_ns=passed_ns, held_ns=(held_ns,), learned_ns=NOW_NS)
    granted = decide(HOST, msgspec.structs.replace(state, learned_ns=0), NOW_NS, NOW_NS, "bulk")
    assert not isinstance(granted, Wait)
    kept = msgspec.structs.replace(state, held_ns=granted.state.held_ns, **fields)
    return after_answer(HOST, kept, granted, NOW_NS + 5 * MS, outcome)


@pytest.mark.parametrize(("evidence", "weighs"), [(-3, 50), (0, 50), (49, 99), (50, 100)])
def test_a_refusal_after_a_call_that_passed_weighs_fifty_calls_that_pass(evidence, weighs):
    state = after_call("refused", passed=3, evidence=evidence)
    assert (state.evidence, state.learned) == (weighs, 6)
    assert [after_call("passed", evidence=each).evidence for each in (weighs, 1, 0)] == [weighs - 1, 0, 0]


@pytest.mark.parametrize(("passed", "learned"), [(0, 1), (1, 1), (2, 2), (5, 5), (6, 5)])
def test_the_refusal_that_outweighs_a_hundred_calls_teaches_as_many_as_passed_in_the_second_before(passed, learned):
    state = after_call("refused", passed=passed, evidence=51)
    assert (state.learned, state.evidence, state.hold_ns) == (learned, 50, 5 * SECOND_NS)


def test_a_call_that_passed_a_second_ago_is_not_in_the_second_before():
    now_ns = NOW_NS + 5 * MS
    passed_ns = (now_ns - SECOND_NS, now_ns - SECOND_NS + 1, now_ns - 1, 0, 0, 0)
    assert after_call("refused", passed_ns=passed_ns, evidence=100).learned == 2


@pytest.mark.parametrize(
    ("known", "passed", "learned", "hold_s"),
    [(5, 2, 4, 14), (5, 1, 1, 5), (4, 1, 3, 14), (4, 0, 1, 5), (3, 0, 1, 5), (2, 0, 1, 14), (1, 0, 1, 14)],
)
def test_a_learned_limit_that_is_refused_too_is_a_quarter_lower_unless_far_fewer_passed(known, passed, learned, hold_s):
    """No less than a half of it is believed twice as long; a far lower one is another limit."""
    state = after_call("refused", passed=passed, learned=known, evidence=100, hold_ns=7 * SECOND_NS)
    assert (state.learned, state.hold_ns) == (learned, hold_s * SECOND_NS)


@pytest.mark.parametrize("failures", [1, 2, 7])
def test_a_refusal_before_any_call_passed_is_overload_and_teaches_nothing(failures):
    since_ns = NOW_NS - 40 * SECOND_NS
    trial = {"learned": 3, "learned_ns": since_ns}
    for fields in ({}, trial):
        state = after_call("refused", passed=3, evidence=100, failures=failures, **fields)
        assert (state.evidence, state.learned) == (100, fields.get("learned", 6))
        assert state.learned_ns == fields.get("learned_ns", NOW_NS)


def tried(learned, outcome, **fields):
    """The state after the answer of a call that started while a limit was tried."""
    return after_call(outcome, learned=learned, learned_ns=NOW_NS - 40 * SECOND_NS, **fields)


@pytest.mark.parametrize(("learned", "most"), [(1, 2), (2, 3), (3, 4), (4, 6), (5, 6)])
def test_a_trial_that_four_windows_of_calls_pass_raises_the_limit_and_the_next_one_begins(learned, most):
    assert tried(learned, "passed", beside=learned, evidence=1 - 4 * most).learned == most
    assert tried(learned, "passed", beside=learned, evidence=2 - 4 * most).learned == learned
    state = tried(learned, "passed", beside=learned, evidence=1 - 4 * most)
    assert state.evidence == 0
    assert most_at(HOST, state, NOW_NS) >= min(6, most + 1)


@pytest.mark.parametrize("learned", range(1, 6))
def test_a_call_that_the_learned_limit_would_have_admitted_says_nothing_for_a_trial(learned):
    assert tried(learned, "passed", beside=learned - 1).evidence == 0
    assert tried(learned, "passed", beside=learned).evidence == -1
    assert tried(learned, "passed", beside=learned, evidence=100).evidence == -1
    assert after_call("passed", learned=learned, beside=learned).evidence == 0


@pytest.mark.parametrize(("learned", "age_s"), list(itertools.product(range(1, 6), (19, 20, 21))))
def test_a_refusal_while_more_is_tried_confirms_what_was_learned_for_longer(learned, age_s):
    since_ns = NOW_NS + 5 * MS - age_s * SECOND_NS
    fields = {"learned": learned, "hold_ns": 20 * SECOND_NS, "learned_ns": since_ns}
    state = after_call("refused", passed=1, evidence=-1, **fields)
    is_tried = age_s >= 20
    assert (state.learned, state.hold_ns) == (learned, (30 if is_tried else 20) * SECOND_NS)
    assert (state.learned_ns, state.evidence) == ((NOW_NS + 5 * MS, 0) if is_tried else (since_ns, 50))


def test_a_limit_is_believed_for_half_a_minute_at_most():
    state, holds_s = after_call("refused", passed=3, evidence=100), []
    for _ in range(5):
        holds_s.append(state.hold_ns // SECOND_NS)
        state = after_call("refused", learned=3, hold_ns=state.hold_ns, learned_ns=NOW_NS - state.hold_ns)
    assert holds_s == [5, 10, 20, 30, 30]


def test_the_first_refusal_delays_no_call_and_those_after_it_double_the_pause_up_to_four_penalties():
    pauses_ns, state = [], fresh(HOST)
    for failures in range(6):
        state = after_call("refused", failures=failures, refused_ns=NOW_NS - SECOND_NS)
        assert (state.failures, state.refused_ns) == (failures + 1, NOW_NS + 5 * MS)
        assert (state.failed_ns == state.refused_ns) == (state.failures == 1)
        pauses_ns.append(state.paused_ns - NOW_NS - 5 * MS)
    assert pauses_ns == [pause_s * SECOND_NS for pause_s in (0, 1, 2, 4, 4, 4)]
    for priority in PRIORITIES:
        decision = decide(HOST, state, NOW_NS + 6 * MS, NOW_NS + 6 * MS, priority)
        assert isinstance(decision, Wait)
        assert decision.until_ns >= state.paused_ns


def test_a_call_that_passes_ends_the_overload_unless_it_started_before_the_first_refusal_was_known():
    assert after_call("passed", failures=3, failed_ns=NOW_NS - 1, refused_ns=NOW_NS + MS).failures == 0
    assert after_call("passed", failures=3, failed_ns=NOW_NS, refused_ns=NOW_NS + MS).failures == 3


@pytest.mark.parametrize("passed", range(6))
def test_the_refusal_of_a_call_that_was_on_its_way_at_another_refusal_counts_for_nothing(passed):
    fields = {"failures": 0, "evidence": 100, "refused_ns": NOW_NS}
    state = after_call("refused", passed=passed, **fields)
    assert {name: getattr(state, name) for name in fields} == fields
    assert (state.learned, state.paused_ns) == (6, fresh(HOST).paused_ns)


def test_an_answer_that_never_came_says_nothing():
    state = after_call("unknown", passed=3, failures=2, evidence=60)
    assert (state.failures, state.evidence, state.learned) == (2, 60, 6)
    assert after_call("unknown").evidence == 0


@given(asks, late, answers)
@example([("urgent", 0, 0, 0)] * 40, itertools.cycle([0]), ["passed", "passed", "refused", "refused"])
def test_whatever_the_answers_say_no_second_sees_more_arrivals_than_the_limit_and_every_call_is_sent(
    calls, late_ns, outcomes
):
    account = Account(limits(5.0, 100.0), calls, late_ns, outcomes=outcomes).run()
    assert len(account.arrived) == len(calls)
    assert worst(account.arrived, SECOND_NS) <= 5


@given(asks, late, answers)
def test_no_second_sees_more_starts_than_what_is_learned_allows(calls, late_ns, outcomes):
    account = Account(limits(5.0), calls, late_ns, outcomes=outcomes)
    account.state = msgspec.structs.replace(account.state, learned=2, learned_ns=NOW_NS + HOUR_NS)
    account.limits = msgspec.structs.replace(account.limits, penalty_ns=HOUR_NS)  # believable, and never given up
    while account._events:
        account.run(account._events[0][0])
        account.state = msgspec.structs.replace(account.state, learned=2, learned_ns=NOW_NS + HOUR_NS, paused_ns=NOW_NS)
    assert worst(itertools.chain.from_iterable(account.started.values()), SECOND_NS) <= 2


# --- the learned limit ---------------------------------------------------------------------------------------------

HOUR_NS = 3600 * SECOND_NS


def sweeps_at(most, answer_ns=5 * MS, sweeps=1, size=90, every_ns=10 * MINUTE_NS):
    """Sweeps of the real host's rate at a host that admits `most` calls a second."""
    starts = [
        ("bulk", every_ns * (number > 0) * (call == 0), 0, answer_ns)
        for number in range(sweeps)
        for call in range(size)
    ]
    return RefusingHost(limits(18.0), starts, most, in_turn=True).run()


@pytest.mark.parametrize("answer_ns", [2 * MS, 30 * MS, 150 * MS])
@pytest.mark.parametrize("most", [1, 3, 10, 15, 17])
def test_few_refusals_teach_the_limit_of_a_host_that_allows_less_than_configured(most, answer_ns):
    host = sweeps_at(most, answer_ns)
    assert len(host.arrived) == 90
    assert len(host.refused) <= 20
    in_turn_s = 90 / most
    assert host.arrived[-1] - host.arrived[0] <= (1.3 * in_turn_s + 6) * SECOND_NS


@pytest.mark.parametrize("most", [18, 20])
def test_a_host_that_allows_the_configured_rate_refuses_nothing_and_teaches_nothing(most):
    host = sweeps_at(most, sweeps=3)
    assert host.refused == []
    assert learned_at(host.limits, host.state, NOW_NS) == 18


def test_a_day_at_a_new_customers_limit_costs_two_refusals_a_sweep():
    host = sweeps_at(3, sweeps=144)
    assert len(host.refused) <= 2 * 144


def test_what_was_learned_is_tried_with_one_call_more_and_forgotten_after_an_hour():
    fields = {"learned": 3, "learned_ns": NOW_NS, "hold_ns": 20 * SECOND_NS}
    state = msgspec.structs.replace(fresh(limits(18.0)), **fields)
    most = [most_at(limits(18.0), state, NOW_NS + second * SECOND_NS) for second in (0, 19, 20, 3599, 3600)]
    assert most == [3, 3, 4, 4, 18]
    assert pace_at(limits(18.0), state, NOW_NS) == pytest.approx(3.0)


@given(asks, late, answers)
def test_every_state_is_believable_and_allows_a_call(calls, late_ns, outcomes):
    account = Account(limits(5.0), calls, late_ns, outcomes=outcomes).run()  # each step asserts that it is believable
    end_ns = NOW_NS + 2 * HOUR_NS
    assert most_at(account.limits, account.state, end_ns) == 5
    assert not isinstance(decide(account.limits, account.state, end_ns, end_ns, "background"), Wait)


def test_bulk_calls_leave_a_tenth_of_the_minute_to_the_others():
    account = Account(limits(20.0, 100.0), saturating(["bulk"], 120)).run(NOW_NS + 30 * SECOND_NS)
    assert len(account.started["bulk"]) == 90
    assert not isinstance(
        decide(account.limits, account.state, NOW_NS + 30 * SECOND_NS, NOW_NS + 30 * SECOND_NS, "urgent"), Wait
    )


# --- implausible state --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_limits", "longest_s", "pauses_s", "slot_s"),
    [
        ((20.0, None, 0.0), 1, 0, 1),
        ((20.0, 1000.0, 1.0), 60, 4, 1),
        ((2.5, None, 0.5), 1, 2, 0.8),
        ((0.4, None, 0.5), 2.5, 2, 2.5),
    ],
)
def test_no_time_lies_further_ahead_than_a_window_an_answer_four_penalties_and_two_slots_at_a_learned_limit_of_one(
    given_limits, longest_s, pauses_s, slot_s
):
    ahead_ns = round((longest_s + pauses_s + 2 * slot_s) * SECOND_NS)
    assert limits(*given_limits).horizon_ns == ahead_ns + ANSWER_LIMIT_NS


@pytest.mark.parametrize("given_limits", [limits(2.5), limits(20.0, 1000.0, 0.5)])
def test_of_an_unused_account_nothing_is_known_and_every_time_is_past(given_limits):
    state = fresh(given_limits)
    assert (state.failures, state.evidence) == (0, 0)
    assert (state.learned, state.hold_ns) == (given_limits.windows[0].positions, 5 * SECOND_NS)
    assert state.passed_ns == state.held_ns[0]
    assert [len(held_ns) for held_ns in state.held_ns] == [window.positions for window in given_limits.windows]
    assert {moment for held_ns in state.held_ns for moment in held_ns} == {-given_limits.horizon_ns}
    lost = after_loss(given_limits, NOW_NS)
    assert msgspec.structs.replace(lost, held_ns=state.held_ns) == state


@examples(0.5)
@given(asks, late)
def test_a_limiter_that_lost_its_state_breaks_no_limit(calls, late_ns):
    before = Account(limits(5.0), calls, late_ns).run(NOW_NS + SECOND_NS)
    after = Account(limits(5.0), [("bulk", SECOND_NS, 0, 0), *saturating(["bulk"], 10)])
    after.state = after_loss(limits(5.0), NOW_NS + SECOND_NS)
    assert worst(before.arrived + after.run().arrived, SECOND_NS) <= 5


def test_a_loss_costs_the_longest_window_and_no_more():
    for given_limits, length_s in ((limits(), 1), (limits(20.0, 1000.0), 60)):
        decision = decide(given_limits, after_loss(given_limits, NOW_NS), NOW_NS, NOW_NS, "urgent")
        assert isinstance(decision, Wait)
        assert decision.until_ns == NOW_NS + length_s * SECOND_NS


@pytest.mark.parametrize(
    "field",
    [
        "next_ns",
        "paused_ns",
        "refused_ns",
        "failed_ns",
        "learned_ns",
        "passed_ns",
        "urgent_ns",
        "normal_ns",
        "bulk_ns",
        "awaited_ns",
        "held_ns",
    ],
)
def test_a_state_with_a_time_of_another_clock_is_rejected(field):
    moment = NOW_NS + 3600 * SECOND_NS
    one = (moment, *fresh(limits()).held_ns[0][1:])
    strange = {"held_ns": (one,), "passed_ns": one}.get(field, moment)
    state = msgspec.structs.replace(fresh(limits()), **{field: strange})
    assert is_believable(limits(), fresh(limits()), NOW_NS)
    assert not is_believable(limits(), state, NOW_NS)


@pytest.mark.parametrize(
    ("field", "number"),
    [
        *[("learned", 1), ("evidence", -79), ("evidence", 100), ("hold_ns", 1), ("hold_ns", 30 * SECOND_NS)],
        *[("next_ns", NOW_NS + limits().horizon_ns), ("held_ns", ((NOW_NS + limits().horizon_ns,) * 20,))],
    ],
)
def test_a_state_with_an_extreme_number_is_believed(field, number):
    assert is_believable(limits(), msgspec.structs.replace(fresh(limits()), **{field: number}), NOW_NS)


@pytest.mark.parametrize(
    ("field", "number"),
    [("learned", 0), ("learned", 21), ("evidence", -80), ("evidence", 101), ("failures", -1), ("hold_ns", 0)],
)
def test_a_state_with_an_impossible_number_is_rejected(field, number):
    assert not is_believable(limits(), msgspec.structs.replace(fresh(limits()), **{field: number}), NOW_NS)
