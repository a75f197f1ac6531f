"""Per stream, the events of committed batches that a reader received, and the missing ones. Uses no sockets or files.

A stream's sequence numbers have no missing ranges, so its first number and its committed mark determine what the reader
has not received, whatever the cause of the loss.
"""

from collections.abc import Mapping


class Coverage:
    """Received events of each stream behind its mark.

    Args:
        marks: the last number of each stream that does not count, as it was before; streams that are not named are
            expected from 1.
    """

    def __init__(self, marks: Mapping[str, int]) -> None:
        self._last_seen = dict(marks)
        self._skipped: dict[str, int] = {}

    def add(self, stream: str, first_sequence: int, count: int) -> int:
        """Add a batch. Return how many events at its front are known already; the numbers skipped before it count as
        missing.
        """
        last_seen = self._last_seen.get(stream, 0)
        jumped_over = first_sequence - last_seen - 1
        if jumped_over > 0:
            self._skipped[stream] = self._skipped.get(stream, 0) + jumped_over
        self._last_seen[stream] = max(last_seen, first_sequence + count - 1)
        return min(count, max(0, -jumped_over))

    def reaches(self, marks: Mapping[str, int]) -> bool:
        """Whether every stream was seen up to its mark, with or without missing ranges before it."""
        return all(self._last_seen.get(stream, 0) >= mark for stream, mark in marks.items())

    def missing(self, marks: Mapping[str, int]) -> dict[str, int]:
        """How many events up to these marks were not seen, by stream; empty when all were."""
        ahead = {stream: max(0, mark - self._last_seen.get(stream, 0)) for stream, mark in marks.items()}
        streams = sorted(self._skipped.keys() | ahead.keys())
        counts = {stream: self._skipped.get(stream, 0) + ahead.get(stream, 0) for stream in streams}
        return {stream: count for stream, count in counts.items() if count}
