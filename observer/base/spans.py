"""Spans of a line, from the first value to the second: of a day's cumulative volume, or of time."""

from collections.abc import Iterable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def united(spans: Iterable[tuple[Number, Number]]) -> list[tuple[Number, Number]]:
    """The union of the spans, as disjoint spans in order; those that touch are one."""
    found: list[tuple[Number, Number]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
