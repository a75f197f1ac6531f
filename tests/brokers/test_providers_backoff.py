"""When a stream is tried again: the pauses grow until data flow, and no hour has more attempts than allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.backoff import ReconnectBackoff

DELAYS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
HOUR_NS = 3600 * 10**9
S = 10**9


def backoff(attempts_per_hour=60, slow_beat_s=600.0):
    return ReconnectBackoff(DELAYS_S, attempts_per_hour, slow_beat_s)


def attempts(subject, ends, start_ns=0):
    """The times of a connection's attempts, given its ends: (kind of end, lifetime in ns, rng)."""
    now_ns = start_ns
    moments, pauses = [], []
    for end, lived_ns, rng in ends:
        subject.attempted(now_ns)
        moments.append(now_ns)
        if end != "idle":
            subject.data_flowed()
        now_ns += lived_ns
        pause = subject.pause(now_ns, rng, at_once=end == "new key")
        pauses.append(pause)
        now_ns += pause.duration_ns
    return moments, pauses


def test_the_pauses_grow_to_the_last_one_which_repeats():
    _, pauses = attempts(backoff(), [("idle", 0, 0.0)] * 8)
    assert [pause.duration_ns / S for pause in pauses] == [1, 2, 5, 10, 30, 60, 60, 60]


def test_a_connection_without_data_does_not_shorten_the_pauses():
    _, pauses = attempts(backoff(), [("idle", 1800 * S, 0.0)] * 7)
    assert pauses[-1].duration_ns == 60 * S


def test_data_shorten_the_pause_to_the_first_one_again():
    subject = backoff()
    attempts(subject, [("idle", 0, 0.0)] * 7)
    subject.data_flowed()
    assert subject.pause(HOUR_NS, 0.0).duration_ns == S


def test_rng_makes_a_pause_up_to_a_tenth_longer():
    assert backoff().pause(0, 0.0).duration_ns == S
    assert backoff().pause(0, 1.0).duration_ns == 1.1 * S


def test_a_connection_with_a_new_key_starts_without_a_pause():
    assert backoff().pause(0, 0.5, at_once=True).duration_ns == 0


def test_quick_reconnections_leave_the_attempts_of_the_slow_schedule_unused():
    _, pauses = attempts(backoff(), [("data", 0, 0.0)] * 60)
    suspended = [number for number, pause in enumerate(pauses, 1) if pause.newly_suspended]
    assert suspended[0] == 54  # of 60, and 6 an hour are the slow beat's


def test_a_suspended_connection_retries_slowly_and_is_reported_once_until_data_flow():
    subject = backoff()
    attempts(subject, [("data", 0, 0.0)] * 54)
    _, pauses = attempts(subject, [("idle", 0, 0.0)] * 20, start_ns=54 * S)
    assert {pause.duration_ns for pause in pauses} == {600 * S}
    assert not any(pause.newly_suspended for pause in pauses)
    subject.data_flowed()
    assert subject.pause(10 * HOUR_NS, 0.0).duration_ns == S


def test_a_stream_that_flows_again_and_is_lost_again_is_suspended_again():
    subject = backoff()
    attempts(subject, [("data", 0, 0.0)] * 54)
    subject.data_flowed()
    assert subject.pause(100 * S, 0.0).newly_suspended


def test_a_slow_beat_that_needs_all_attempts_is_refused():
    with pytest.raises(ValueError, match="60 s"):
        backoff(60, 60.0)


ends = st.lists(
    st.tuples(st.sampled_from(["idle", "data", "new key"]), st.integers(0, 400 * S), st.floats(0, 1)), max_size=400
)


@given(ends, st.integers(8, 60), st.sampled_from([600.0, 900.0, 1000.0]))
def test_no_hour_has_more_attempts_than_allowed(ends, per_hour, slow_beat_s):
    moments, _ = attempts(backoff(per_hour, slow_beat_s), ends)
    for first, moment in enumerate(moments):
        within = sum(1 for other in moments[first:] if other < moment + HOUR_NS)
        assert within <= per_hour


@given(st.integers(8, 60))
def test_the_quickest_schedule_stays_within_the_hourly_attempts_and_never_stops_trying(per_hour):
    moments, pauses = attempts(backoff(per_hour), [("new key", 0, 0.0)] * 200)
    for first, moment in enumerate(moments):
        assert sum(1 for other in moments[first:] if other < moment + HOUR_NS) <= per_hour
    assert max(pause.duration_ns for pause in pauses) == 600 * S
