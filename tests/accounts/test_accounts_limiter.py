"""What the limiter promises: the limit in every second, urgent calls first, and no state can lock it for long."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.accounts.limiter import (
    HORIZON_NS,
    Granted,
    Wait,
    after_late_start,
    after_penalty,
    decide,
    spacing_ns,
)

SECOND_NS = 10**9
LANES = ("urgent", "normal", "bulk")
asks = st.lists(st.tuples(st.sampled_from(LANES), st.integers(0, 200_000_000)), max_size=200)


def grant_moments(calls, limit):
    """The moments of all permits when calls come after the given pauses and whoever must wait asks again in time."""
    next_free, now, granted = 0, 0, []
    for lane, pause_ns in calls:
        now += pause_ns
        while isinstance(decision := decide(next_free, now, lane, spacing_ns(limit)), Wait):
            assert decision.until_ns > now
            now = decision.until_ns
        granted.append(decision.at_ns)
        next_free = decision.next_free_ns
    return granted


@given(asks, st.integers(1, 50))
def test_no_second_holds_more_than_the_limit_whatever_the_lanes(calls, limit):
    granted = grant_moments(calls, limit)
    for first, later in zip(granted, granted[limit:], strict=False):
        assert later - first >= SECOND_NS


@given(asks, st.integers(1, 50))
def test_permits_are_evenly_spaced(calls, limit):
    granted = grant_moments(calls, limit)
    assert all(later - earlier >= spacing_ns(limit) for earlier, later in itertools.pairwise(granted))


@pytest.mark.parametrize("lane", LANES)
def test_an_idle_account_gives_a_permit_at_once(lane):
    assert decide(0, 5 * SECOND_NS, lane, 100) == Granted(5 * SECOND_NS, 5 * SECOND_NS + 100)


def test_an_urgent_call_reserves_the_next_slot():
    assert decide(1_000, 400, "urgent", 100) == Granted(1_000, 1_100)


def test_other_calls_reserve_nothing_and_bulk_holds_back_longer():
    assert decide(1_000, 400, "normal", 100) == Wait(1_000)
    assert decide(1_000, 400, "bulk", 100) == Wait(1_010)


def test_a_slot_that_has_just_come_free_goes_to_normal_before_bulk():
    assert isinstance(decide(1_000, 1_000, "normal", 100), Granted)
    assert isinstance(decide(1_000, 1_000, "bulk", 100), Wait)


def test_an_urgent_call_stands_behind_no_sweep():
    sweep = decide(0, 1_000, "bulk", 100)
    assert isinstance(sweep, Granted)
    waiting = decide(sweep.next_free_ns, 1_001, "bulk", 100)
    urgent = decide(sweep.next_free_ns, 1_002, "urgent", 100)
    assert isinstance(waiting, Wait)
    assert isinstance(urgent, Granted)
    assert urgent.at_ns == sweep.next_free_ns
    assert isinstance(decide(urgent.next_free_ns, waiting.until_ns, "bulk", 100), Wait)


def test_nobody_reserves_beyond_the_horizon():
    assert decide(HORIZON_NS + 50, 0, "urgent", 100) == Wait(50)


@pytest.mark.parametrize("lane", LANES)
def test_a_state_of_another_clock_is_not_believed(lane):
    assert decide(10**18, SECOND_NS, lane, 100) in (
        Granted(SECOND_NS, SECOND_NS + 100),
        Wait(SECOND_NS + 10),
    )


def test_after_too_many_nobody_gets_a_slot_until_the_pause_is_over():
    assert after_penalty(0, 1_000, 500) == 1_500
    assert after_penalty(9_000, 1_000, 500) == 9_000


def test_a_call_that_starts_late_keeps_its_distance_to_the_next():
    assert after_late_start(1_100, 1_050, 100) == 1_150
    assert after_late_start(2_000, 1_050, 100) == 2_000


def test_the_spacing_carries_a_margin():
    assert spacing_ns(20) == 52_500_000


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_limit_is_positive(rate):
    with pytest.raises(ValueError):
        spacing_ns(rate)
