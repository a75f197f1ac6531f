"""The fault script: times of day become timestamps, rates become scripted faults, and calls fail."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.simulator.counters import Counters
from observer.simulator.faults import (
    FAULT_KINDS,
    Fault,
    FaultInjector,
    FaultRates,
    FaultRequest,
    Faults,
    ScriptedDrop,
    ScriptedFault,
)
from observer.simulator.market.rng import seeded_rng
from tests.simulator.simulator_client import SESSION_DATE, at


def faults(*scripted, listing_appears_at=""):
    return Faults.of_script(SESSION_DATE, scripted, listing_appears_at)


def fault_injector(*script, seed=1):
    counters = Counters()
    return FaultInjector(script, seeded_rng(seed), counters), counters


def test_a_script_is_put_in_the_order_of_time():
    script = faults(
        ScriptedDrop(at="14:00", closed_for_s=5),
        ScriptedFault(kind="rest_error", at="10:00:30", for_s=60, share=0.5),
    ).script
    assert script == (
        Fault("rest_error", at(10, 0, 30), at(10, 1, 30), 0.5),
        Fault("stream_cut", at(14), at(14, 0, 5)),
    )


def test_a_fault_runs_from_its_start_until_before_its_end():
    [fault] = faults(ScriptedDrop(at="10:00", closed_for_s=60)).script
    moments = (at(10) - 1, at(10), at(10, 1) - 1, at(10, 1))
    assert [fault.runs_at(moment) for moment in moments] == [False, True, True, False]


def test_a_fault_that_is_asked_for_begins_now():
    request = FaultRequest(kind="rest_latency", for_s=1.5, by_s=0.2)
    assert Fault.from_now_on(request, at(10)) == Fault("rest_latency", at(10), at(10) + 1_500_000_000, 1.0, 0.2)


def test_the_listing_is_shown_from_its_time_or_all_day():
    script = faults(listing_appears_at="10:30")
    assert [script.listing_is_shown(moment) for moment in (at(10, 30) - 1, at(10, 30))] == [False, True]
    assert faults().listing_is_shown(at(0))


@pytest.mark.parametrize("text", ["25:00", "10:61", "noon", "-1:00", "10:00:60"])
def test_an_invalid_time_is_refused(text):
    with pytest.raises(ValueError):
        faults(ScriptedDrop(at=text))


def test_background_shares_hold_all_day_and_moments_fall_as_often_as_they_should():
    rates = FaultRates(malformed_share=0.01, stream_cuts_per_hour=4)
    script = faults().with_background(SESSION_DATE, rates, seeded_rng(7)).script
    assert Fault("malformed", at(0), at(0) + 24 * 3_600 * 10**9, 0.01) in script
    cuts = [fault for fault in script if fault.kind == "stream_cut"]
    assert 60 <= len(cuts) <= 135  # 96 are expected, four standard deviations are 39
    assert len(script) == len(cuts) + 1
    assert all(before.start_ns <= after.start_ns for before, after in pairwise(script))


def test_the_background_is_a_function_of_the_seed_and_one_rate_does_not_move_another():
    def cuts(seed, **more):
        rates = FaultRates(stream_cuts_per_hour=2, **more)
        script = faults().with_background(SESSION_DATE, rates, seeded_rng(seed)).script
        return [fault for fault in script if fault.kind == "stream_cut"]

    assert cuts(1) == cuts(1) == cuts(1, half_opens_per_hour=3)
    assert cuts(1) != cuts(2)


@given(st.sampled_from(FAULT_KINDS), st.floats(min_value=0, max_value=1))
def test_a_fault_strikes_its_share_and_each_strike_is_counted(kind, share):
    acting, counters = fault_injector(Fault(kind, at(10), at(11), share))
    struck = sum(acting.strikes(kind, at(10, 30)) is not None for _ in range(400))
    assert abs(struck - 400 * share) <= 50  # five standard deviations at most
    assert counters.read().faults.get(kind, 0) == struck
    assert acting.strikes(kind, at(11)) is None


def test_the_later_of_two_faults_of_a_kind_counts():
    acting, _ = fault_injector(Fault("rest_latency", at(10), at(11), 1.0, 0.1))
    later = Fault("rest_latency", at(10, 15), at(10, 20), 1.0, 0.9)
    acting.add(later)
    assert acting.running("rest_latency", at(10, 16)) == later
    last = acting.running("rest_latency", at(10, 30))
    assert last is not None
    assert last.by_s == 0.1
