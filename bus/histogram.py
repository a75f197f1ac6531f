"""A histogram of durations with fixed bounds, cheap enough for the hot path."""

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets in seconds; one more bucket holds what is longer."""


class Histogram:
    """Counts durations by bucket, since the process began."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """Durations in each bucket alone, in the order of `BOUNDS_S`; the last: longer ones."""
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count a duration in seconds."""
        self.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.sum_s += duration_s
