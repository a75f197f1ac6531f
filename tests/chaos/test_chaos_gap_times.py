"""The figures of detection and recovery, as an outsider measures them."""

from tests.chaos.gap_times import is_sound, percentiles


def test_a_percentile_is_the_smallest_value_that_its_share_does_not_exceed():
    assert percentiles([float(each) for each in range(100, 0, -1)]) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert percentiles([3.0]) == {"p50": 3, "p95": 3, "p99": 3, "max": 3}
    assert percentiles([]) == {}


def test_the_targets_are_met_only_below_their_limits():
    figures = {"detection_s": {"p95": 0.9}, "recovery_s": {"p95": 4.9}, "closed_share": 0.96}
    assert is_sound(figures)
    assert not is_sound({**figures, "detection_s": {"p95": 1.0}})
    assert not is_sound({**figures, "recovery_s": {}})
    assert not is_sound({**figures, "closed_share": 0.95})
