"""Coverage of a stream: received and missing sequence ranges, exact to the event."""

from hypothesis import given
from hypothesis import strategies as st

from bus.coverage import Coverage

A, B = "aa" * 16, "bb" * 16


def test_a_stream_that_was_seen_from_its_mark_to_its_end_misses_nothing():
    coverage = Coverage({A: 10})
    assert coverage.add(A, 11, 5) == 0
    assert coverage.reaches({A: 15})
    assert coverage.missing({A: 15}) == {}


def test_a_stream_that_was_not_known_is_expected_from_its_first_event():
    coverage = Coverage({})
    coverage.add(A, 4, 2)
    assert coverage.missing({A: 5}) == {A: 3}


def test_committed_events_that_were_not_observed_are_missing():
    coverage = Coverage({A: 10})
    assert not coverage.reaches({A: 12, B: 7})
    assert coverage.missing({A: 12, B: 7}) == {A: 2, B: 7}


def test_events_before_the_first_mark_are_not_missing():
    assert Coverage({A: 10}).missing({A: 10}) == {}


def test_events_that_come_again_are_known():
    coverage = Coverage({A: 10})
    assert coverage.add(A, 9, 4) == 2
    assert coverage.add(A, 11, 2) == 2
    assert coverage.missing({A: 12}) == {}


def test_a_gap_stays_missing_though_the_end_is_reached():
    coverage = Coverage({})
    coverage.add(A, 1, 2)
    coverage.add(A, 6, 1)
    assert coverage.reaches({A: 6})
    assert coverage.missing({A: 6}) == {A: 3}


@given(
    mark=st.integers(0, 20),
    batches=st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=20),
)
def test_every_event_lost_between_mark_and_end_is_counted(mark, batches):
    coverage, sequence, lost = Coverage({A: mark}), mark, 0
    for count, arrives in batches:
        if arrives:
            assert coverage.add(A, sequence + 1, count) == 0
        lost += 0 if arrives else count
        sequence += count
    assert sum(coverage.missing({A: sequence}).values()) == lost
