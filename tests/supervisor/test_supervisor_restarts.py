"""Back-off and intensity, as decisions over machine seconds that the tests choose."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.supervisor.restarts import GiveUp, RestartAfter, RestartHistory, RestartLimits, after_end

LIMITS = RestartLimits(
    delay_first_s=1.0,
    delay_max_s=8.0,
    delay_factor=2.0,
    jitter=0.0,
    stable_s=10.0,
    restarts_max=100,
    window_s=1000.0,
    loop_restarts_max=100,
    loop_window_s=1000.0,
    slow_delay_max_s=60.0,
    recovered_s=20.0,
)


def decisions(limits, lives_s, seed=1, *, is_essential=False):
    """The decision after each of these consecutive lives."""
    rng, history, now_s, found = Random(seed), RestartHistory(), 0.0, []
    for lived_s in lives_s:
        now_s += lived_s
        history, decision = after_end(history, limits, now_s, lived_s, rng, is_essential=is_essential)
        found.append(decision)
    return found


def delays_s(limits, lives_s, seed=1):
    """The restart delay after each of these consecutive lives; None for giving up."""
    found = decisions(limits, lives_s, seed)
    return [decision.delay_s if isinstance(decision, RestartAfter) else None for decision in found]


def given_up_after_s(limits, ready_s, ran_s):
    """A loop's ends and machine time until it is given up, by the length of its starts and of its runs."""
    rng, history, now_s = Random(1), RestartHistory(), 0.0
    for ends in range(1, 1000):
        now_s += ready_s + ran_s
        history, decision = after_end(history, limits, now_s, ran_s, rng)
        if isinstance(decision, GiveUp):
            return ends, now_s
        now_s += decision.delay_s
    raise AssertionError("it is never given up")


def changed(**changes):
    fields = {name: getattr(LIMITS, name) for name in LIMITS.__struct_fields__}
    return RestartLimits(**(fields | changes))


def test_the_delay_doubles_with_each_short_life_up_to_its_limit():
    assert delays_s(LIMITS, [0.1] * 6) == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_stable_life_sets_the_delay_back():
    assert delays_s(LIMITS, [0.1, 0.1, 0.1, 10.0, 0.1]) == [1.0, 2.0, 4.0, 1.0, 1.0]


def test_one_exit_more_than_allowed_within_the_window_gives_up():
    limits = changed(restarts_max=3)
    assert delays_s(limits, [0.1] * 4) == [1.0, 2.0, 4.0, None]


def test_runs_that_just_look_stable_still_count_in_the_window():
    limits = changed(restarts_max=3, stable_s=1.0, window_s=60.0)
    assert delays_s(limits, [1.3] * 4) == [1.0, 1.0, 1.0, None]


def test_ends_outside_the_window_are_forgotten():
    limits = changed(restarts_max=1, window_s=60.0)
    assert None not in delays_s(limits, [60.0] * 10)


def test_the_reason_for_giving_up_names_the_count_and_the_window():
    history = RestartHistory(ends_s=(0.0, 1.0), short_lives=2)
    _, decision = after_end(history, changed(restarts_max=2, window_s=60.0), 2.0, 1.0, Random(1))
    assert decision == GiveUp("ended 3 times within 60 s")


@given(st.lists(st.floats(0.0, 20.0), max_size=40), st.floats(0.0, 1.0), st.integers())
def test_a_delay_is_never_above_its_limit_nor_more_below_than_the_jitter_allows(lives_s, jitter, seed):
    exact = delays_s(LIMITS, lives_s)
    jittered = delays_s(changed(jitter=jitter), lives_s, seed)
    for exact_s, jittered_s in zip(exact, jittered, strict=True):
        assert exact_s is not None
        assert jittered_s is not None
        assert exact_s * (1 - jitter) <= jittered_s <= exact_s <= LIMITS.delay_max_s


@given(st.lists(st.floats(0.0, 100.0), max_size=60), st.integers(1, 10), st.integers(1, 10))
def test_the_policy_gives_up_exactly_when_a_window_holds_too_many_exits(lives_s, restarts_max, loop_restarts_max):
    limits = changed(restarts_max=restarts_max, window_s=50.0, loop_restarts_max=loop_restarts_max, loop_window_s=400.0)
    ends_s = list(itertools.accumulate(lives_s))
    for index, delay_s in enumerate(delays_s(limits, lives_s)):
        short, long = (
            sum(ends_s[index] - end_s < window_s for end_s in ends_s[: index + 1]) for window_s in (50.0, 400.0)
        )
        assert (delay_s is None) == (short > restarts_max or long > loop_restarts_max)


@pytest.mark.parametrize(
    ("ready_s", "ran_s", "ends", "within_s"),
    [(0.0, 0.0, 9, 30), (0.0, 12.0, 11, 240), (30.5, 0.0, 11, 450), (5.0, 45.0, 11, 600), (1.0, 170.0, 11, 1900)],
)
def test_every_loop_with_less_than_three_minutes_a_round_is_given_up(ready_s, ran_s, ends, within_s):
    """With the defaults: a storm, one end in 12 s, a start that is never ready, slow loops after stable runs."""
    count, after_s = given_up_after_s(RestartLimits(), ready_s, ran_s)
    assert count == ends
    assert after_s <= within_s


@given(st.lists(st.floats(0.0, 100.0), max_size=60), st.integers(1, 5))
def test_an_essential_process_is_never_given_up_and_tried_ever_more_slowly(lives_s, restarts_max):
    limits = changed(restarts_max=restarts_max, window_s=50.0)
    in_loop_s: list[float] = []
    for lived_s, decision in zip(lives_s, decisions(limits, lives_s, is_essential=True), strict=True):
        assert isinstance(decision, RestartAfter)
        if lived_s >= limits.recovered_s:
            in_loop_s = []
        if decision.crash_loop:
            in_loop_s.append(decision.delay_s)
            assert decision.delay_s == min(limits.delay_max_s * 2 ** (len(in_loop_s) - 1), limits.slow_delay_max_s)
        else:
            assert not in_loop_s, "only a long run ends the loop"
            assert decision.delay_s <= limits.delay_max_s


@given(st.lists(st.floats(0.0, 100.0), max_size=60), st.integers(1, 5))
def test_an_essential_process_loops_where_another_one_is_given_up(lives_s, restarts_max):
    limits = changed(restarts_max=restarts_max, window_s=50.0)
    pairs = zip(decisions(limits, lives_s), decisions(limits, lives_s, is_essential=True), strict=True)
    for other, essential in pairs:
        assert isinstance(essential, RestartAfter)
        if isinstance(other, GiveUp):
            assert essential.crash_loop == other.reason


def test_an_essential_process_starts_with_the_first_delay_after_its_recovery():
    limits = changed(restarts_max=2, window_s=50.0, loop_restarts_max=2, loop_window_s=50.0)
    found = decisions(limits, [0.0, 0.0, 0.0, 0.0, 60.0], is_essential=True)
    assert found == [
        RestartAfter(1.0),
        RestartAfter(2.0),
        RestartAfter(8.0, "ended 3 times within 50 s"),
        RestartAfter(16.0, "ended 3 times within 50 s"),
        RestartAfter(1.0),
    ]


def test_the_history_does_not_grow_with_a_loop_that_is_never_given_up():
    history, limits = RestartHistory(), changed(restarts_max=10, window_s=10.0, loop_restarts_max=20)
    for second in range(5000):
        history, _ = after_end(history, limits, float(second), 1.0, Random(1), is_essential=True)
    assert len(history.ends_s) == 21


def test_very_many_short_lives_do_not_overflow():
    _, decision = after_end(RestartHistory(short_lives=10**9), LIMITS, 0.0, 0.0, Random(1))
    assert decision == RestartAfter(8.0)


def test_the_same_seed_gives_the_same_delays():
    limits = changed(jitter=0.5)
    assert delays_s(limits, [0.1] * 5, seed=7) == delays_s(limits, [0.1] * 5, seed=7)
