"""Spans of a day's cumulative volume, in shares: what a trade, a gap or an interval stands for. Pure."""

from collections.abc import Iterable
from typing import Final

Span = tuple[float, float]
"""Of the day's cumulative volume: above the first, up to the second."""

VOLUME_NOISE: Final = 1e-6
"""Whole shares are exact in doubles; the sums of fractional volumes (crypto) are not, to about this much."""


def united(spans: Iterable[Span]) -> list[Span]:
    """The same volume in disjoint spans, in order."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def clipped(span: Span, bounds: Span) -> Span | None:
    """What of the span lies within the bounds; None for nothing."""
    start, end = max(span[0], bounds[0]), min(span[1], bounds[1])
    return (start, end) if start < end else None


def total(spans: Iterable[Span]) -> float:
    """The shares in disjoint spans."""
    return sum(end - start for start, end in spans)


def without_noise(volume: float) -> float:
    """Zero for what is only the noise of sums."""
    return 0.0 if abs(volume) <= VOLUME_NOISE else volume


def outside(span: Span, spans: Iterable[Span]) -> list[Span]:
    """What of the span is in none of the disjoint `spans`, which are in order."""
    found: list[Span] = []
    start, end = span
    for other_start, other_end in spans:
        if start < min(other_start, end):
            found.append((start, min(other_start, end)))
        start = max(start, other_end)
    return [*found, (start, end)] if start < end else found
