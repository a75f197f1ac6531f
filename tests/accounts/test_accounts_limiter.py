"""The rate limiter: it keeps the broker's limits on arrival, starts urgent calls first, and never blocks for long.

The broker is a log of arrivals: a call arrives some time after its start; its answer follows some time later.
"""

import itertools
from math import floor

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.accounts.limiter import (
    ANSWER_LIMIT_NS,
    SLOTS_MADE_UP,
    Wait,
    after_loss,
    after_rate_error,
    background_pace,
    decide,
    fresh,
    is_believable,
    learned_at,
    limits_of,
    pace_at,
)
from observer.providers.settings import RateLimitSettings
from tests.accounts.virtual_account import (
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

MINUTE_NS = 60 * SECOND_NS


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
def test_an_idle_account_gives_a_token_at_once(priority):
    assert not isinstance(decide(limits(), fresh(limits()), NOW_NS, NOW_NS, priority), Wait)


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


@pytest.mark.parametrize("begins_s", [53, 60, 90, 114])
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


def test_no_call_starts_before_the_pause_after_a_rate_error_is_over():
    state = after_rate_error(limits(), fresh(limits()), NOW_NS)
    for priority in PRIORITIES:
        decision = decide(limits(), state, NOW_NS + 1, NOW_NS + 1, priority)
        assert isinstance(decision, Wait)
        assert decision.until_ns == NOW_NS + SECOND_NS


def test_the_pace_after_a_pause_is_seventy_percent_and_recovers_fully_within_eighteen_seconds():
    state = after_rate_error(limits(), fresh(limits()), NOW_NS)
    end_ns = NOW_NS + SECOND_NS
    assert pace_at(limits(), state, end_ns) == pytest.approx(14.0)
    assert pace_at(limits(), state, end_ns + 9 * SECOND_NS) == pytest.approx(17.0)
    assert pace_at(limits(), state, end_ns + 18 * SECOND_NS) == pytest.approx(20.0)


def test_the_echoes_of_a_refusal_count_once():
    state = after_rate_error(limits(), fresh(limits()), NOW_NS)
    for echo_ns in (0, 5 * MS, 900 * MS):
        assert after_rate_error(limits(), state, NOW_NS + echo_ns) == state


@given(st.lists(st.integers(0, 20 * SECOND_NS), max_size=60))
def test_a_refusal_never_raises_the_pace_and_only_time_does(pauses):
    state, now_ns = fresh(limits()), NOW_NS
    for pause_ns in pauses:
        grown = pace_at(limits(), state, now_ns + pause_ns)
        assert pace_at(limits(), state, now_ns) <= grown
        now_ns += pause_ns
        state = after_rate_error(limits(), state, now_ns)
        assert limits().pace_floor <= pace_at(limits(), state, now_ns) <= grown
    assert pace_at(limits(), state, now_ns + 55 * SECOND_NS) == 20.0


def test_the_calls_keep_to_the_lower_pace():
    account = Account(limits(), saturating(["bulk"], 60))
    account.state = after_rate_error(limits(), account.state, NOW_NS)
    started = account.run().started["bulk"]
    in_three_s = sum(moment < NOW_NS + 4 * SECOND_NS for moment in started)
    assert 14 * 3 <= in_three_s <= 15 * 3 + SLOTS_MADE_UP + 1


@given(asks, late, st.lists(st.integers(0, 10 * SECOND_NS), max_size=5))
def test_refusals_at_any_time_leave_the_limit_kept_and_every_call_served(calls, late_ns, refusals):
    account = Account(limits(5.0), calls, late_ns)
    for moment_ns in refusals:
        account._at(
            NOW_NS + moment_ns,
            lambda now_ns: setattr(account, "state", after_rate_error(account.limits, account.state, now_ns)),
        )
    account.run()
    assert len(account.arrived) == len(calls)
    assert worst(account.arrived, SECOND_NS) <= 5


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
@pytest.mark.parametrize("most", [1, 3, 10, 15])
def test_few_refusals_teach_the_limit_of_a_host_that_allows_less_than_configured(most, answer_ns):
    host = sweeps_at(most, answer_ns)
    assert len(host.arrived) == 90
    assert len({moment_ns // SECOND_NS for moment_ns in host.refused}) <= 3
    assert len(host.refused) <= 4
    in_turn_s = 90 / most
    assert host.arrived[-1] - host.arrived[0] <= (1.3 * in_turn_s + 6) * SECOND_NS


@pytest.mark.parametrize("most", [18, 20])
def test_a_host_that_allows_the_configured_rate_refuses_nothing_and_teaches_nothing(most):
    host = sweeps_at(most, sweeps=3)
    assert host.refused == []
    assert learned_at(host.limits, host.state, NOW_NS) == 18


def test_three_days_at_a_new_customers_limit_cost_few_refusals():
    host = sweeps_at(3, sweeps=3 * 144)
    assert len(host.refused) <= 20


def test_what_was_learned_is_given_up_slowly_and_wholly():
    before = after_rate_error(limits(18.0), fresh(limits(18.0)), NOW_NS, before=3)
    moments = [NOW_NS, NOW_NS + 599 * SECOND_NS, NOW_NS + 600 * SECOND_NS, NOW_NS + 660 * SECOND_NS, NOW_NS + HOUR_NS]
    assert [learned_at(limits(18.0), before, moment_ns) for moment_ns in moments] == [3, 3, 4, 5, 18]


def test_a_limit_that_is_taught_again_is_believed_twice_as_long_up_to_six_hours():
    state, now_ns, waits_s = fresh(limits(18.0)), NOW_NS, []
    for _ in range(9):
        state = after_rate_error(limits(18.0), state, now_ns, before=3)
        since_ns = now_ns
        while learned_at(limits(18.0), state, now_ns) == 3:
            now_ns += 10 * SECOND_NS
        waits_s.append((now_ns - since_ns) // SECOND_NS)
    assert waits_s == [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600, 21600]


def test_a_refusal_of_the_only_call_of_a_second_teaches_nothing():
    state = after_rate_error(limits(18.0), fresh(limits(18.0)), NOW_NS, before=0)
    assert learned_at(limits(18.0), state, NOW_NS) == 18


@given(st.lists(st.tuples(st.integers(0, 2 * HOUR_NS), st.integers(0, 18)), max_size=40))
def test_a_refusal_lowers_what_is_learned_and_time_alone_raises_it(refusals):
    state, now_ns = fresh(limits(18.0)), NOW_NS
    for pause_ns, before in refusals:
        reached = learned_at(limits(18.0), state, now_ns + pause_ns)
        assert learned_at(limits(18.0), state, now_ns) <= reached
        now_ns += pause_ns
        state = after_rate_error(limits(18.0), state, now_ns, before)
        assert 1 <= learned_at(limits(18.0), state, now_ns) <= reached
        assert is_believable(limits(18.0), state, now_ns)


def test_bulk_calls_leave_a_tenth_of_the_minute_to_the_others():
    account = Account(limits(20.0, 100.0), saturating(["bulk"], 120)).run(NOW_NS + 30 * SECOND_NS)
    assert len(account.started["bulk"]) == 90
    assert not isinstance(
        decide(account.limits, account.state, NOW_NS + 30 * SECOND_NS, NOW_NS + 30 * SECOND_NS, "urgent"), Wait
    )


# --- implausible state --------------------------------------------------------------------------------------


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
        assert decision.until_ns <= NOW_NS + length_s * SECOND_NS + ANSWER_LIMIT_NS


@pytest.mark.parametrize(
    "field", ["next_ns", "slowed_ns", "urgent_ns", "normal_ns", "bulk_ns", "awaited_ns", "held_ns"]
)
def test_a_state_with_a_time_of_another_clock_is_rejected(field):
    moment = NOW_NS + 3600 * SECOND_NS
    strange = ((moment, *fresh(limits()).held_ns[0][1:]),) if field == "held_ns" else moment
    state = msgspec.structs.replace(fresh(limits()), **{field: strange})
    assert is_believable(limits(), fresh(limits()), NOW_NS)
    assert not is_believable(limits(), state, NOW_NS)


@pytest.mark.parametrize("pace", [0.0, -1.0, 21.0, float("nan"), float("inf")])
def test_a_state_with_an_impossible_pace_is_rejected(pace):
    assert not is_believable(limits(), msgspec.structs.replace(fresh(limits()), pace=pace), NOW_NS)
