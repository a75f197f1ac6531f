"""A stale subscription, distinguished from a symbol that does not trade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.gaps.detector import StaleDetector


@pytest.mark.parametrize(
    ("volumes", "reached", "stale"),
    [
        ((100, 150, 150), 100, [{}, {}, {"A": 50.0}]),  # a trade has until the next sweep to arrive
        ((100, 100, 100), 100, [{}, {}, {}]),
        ((100, 100, 120, 120), None, [{}, {}, {}, {"A": 20.0}]),  # what was before the first sweep is not expected
    ],
)
def test_a_symbol_is_stale_when_volume_of_a_sweep_has_not_arrived_by_the_next_sweep(volumes, reached, stale):
    stale_detector = StaleDetector()
    assert [stale_detector.after_sweep({"A": volume}, lambda _symbol: reached) for volume in volumes] == stale


def test_a_new_subscription_begins_anew():
    stale_detector = StaleDetector()
    for volume in (100.0, 150.0):
        stale_detector.after_sweep({"A": volume}, lambda _symbol: 100.0)
    stale_detector.subscribed_anew("A")
    assert stale_detector.after_sweep({"A": 200.0}, lambda _symbol: 100.0) == {}


def test_a_symbol_that_left_is_forgotten():
    stale_detector = StaleDetector()
    stale_detector.after_sweep({"A": 100.0}, lambda _symbol: 0.0)
    stale_detector.after_sweep({}, lambda _symbol: 0.0)
    assert stale_detector.after_sweep({"A": 200.0}, lambda _symbol: 0.0) == {}


@pytest.mark.parametrize(
    ("known", "reached", "is_behind"),
    [
        (None, None, False),  # the volume before the subscription is unknown
        (100.0, None, True),
        (150.0, None, False),
        (150.0, 100.0, True),  # after the first trade the stream owes every later one
        (None, 150.0, False),
        (None, 149.0, True),
    ],
)
def test_a_symbol_is_stale_when_sweeps_show_more_volume_than_the_stream_since_it_receives(known, reached, is_behind):
    stale_detector = StaleDetector()
    stale_detector.subscribed_anew("A", known)
    assert stale_detector.is_behind("A", 150.0, reached) == is_behind


def test_a_volume_that_is_known_at_the_subscription_counts_as_a_sweep():
    stale_detector = StaleDetector()
    stale_detector.subscribed_anew("A", 100.0)
    assert stale_detector.after_sweep({"A": 120.0}, lambda _symbol: None) == {}
    assert stale_detector.after_sweep({"A": 120.0}, lambda _symbol: None) == {"A": 20.0}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_a_stream_that_brings_everything_in_time_is_never_called_stale(volumes):
    stale_detector, total = StaleDetector(), 0
    for volume in volumes:
        before, total = total, total + volume
        assert stale_detector.after_sweep({"A": float(total)}, lambda _symbol, seen=before: float(seen)) == {}
