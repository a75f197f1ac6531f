"""The figures that a process counts for the exporter. `COUNTERS` are this process's; each heartbeat carries them."""

from collections.abc import Iterable, Sequence
from typing import Final

from bus.commands import Sample
from bus.histogram import Histogram

SAMPLES_BYTES_MAX: Final = 32_768
"""In one heartbeat: half of what a request of the control socket may have. A process has some hundred samples of 60
bytes; further ones are left out, and counted.
"""

LEFT_OUT: Final = "observer_heartbeat_left_out"

_NUMBERS_BYTES: Final = 16  # of a sample beside its texts, and of each count, at most

_Key = tuple[str, tuple[str, ...]]


class Counters:
    """Values by metric and labels, since the process began. Threads may add to different ones."""

    def __init__(self) -> None:
        self._values: dict[_Key, float] = {}
        self._histograms: dict[_Key, Histogram] = {}

    def add(self, metric: str, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter."""
        key = metric, labels
        self._values[key] = self._values.get(key, 0.0) + amount

    def set(self, metric: str, *labels: str, to: float) -> None:
        """Set a gauge."""
        self._values[metric, labels] = float(to)  # a truth value is no number on the wire

    def observe(self, metric: str, *labels: str, seconds: float) -> None:
        """Count a duration in a histogram."""
        key = metric, labels
        if key not in self._histograms:
            self._histograms[key] = Histogram()
        self._histograms[key].observe(seconds)

    def forget(self, metric: str, *labels: str) -> None:
        """Remove a gauge whose value is not known any more."""
        self._values.pop((metric, labels), None)

    def forget_all(self, metric: str) -> None:
        """Remove a gauge with all its labels."""
        for key in [key for key in list(self._values) if key[0] == metric]:
            self._values.pop(key, None)

    def samples(self) -> Sequence[Sample]:
        """All values, as a heartbeat carries them."""
        values = [Sample(*key, value) for key, value in list(self._values.items())]
        return [*values, *(histogram_sample(*key, found) for key, found in list(self._histograms.items()))]


def histogram_sample(metric: str, labels: tuple[str, ...], histogram: Histogram) -> Sample:
    """A histogram as a heartbeat carries it."""
    return Sample(metric, labels, histogram.sum_s, tuple(histogram.counts))


def bounded(samples: Iterable[Sample]) -> list[Sample]:
    """The first of the samples, as many as one heartbeat may carry; where some are left out, also how many."""
    left_bytes, wanted = SAMPLES_BYTES_MAX, list(samples)
    found: list[Sample] = []
    for each in wanted:
        texts_bytes = sum(len(text.encode()) for text in (each.metric, *each.labels))
        left_bytes -= texts_bytes + _NUMBERS_BYTES * (1 + len(each.counts))
        if left_bytes < 0:
            return [*found, Sample(LEFT_OUT, (), len(wanted) - len(found))]
        found.append(each)
    return found


COUNTERS: Final = Counters()
"""Of this process."""
