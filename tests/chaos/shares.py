"""Arithmetic on the shares of a symbol's day: a trade is the half-open interval of the day's volume that it filled.

The exchange's cumulative volume names every share that was traded, so "which shares are stored" and "which shares are
missing" are sets, and exactness is an empty difference.
"""

from collections.abc import Iterable, Sequence

Shares = Sequence[tuple[int, int]]
"""Disjoint intervals (after, up to and with), ascending, none touching the next."""


def united(parts: Iterable[tuple[int, int]]) -> Shares:
    """The union; empty intervals vanish."""
    union: list[tuple[int, int]] = []
    for start, end in sorted(part for part in parts if part[0] < part[1]):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(end, union[-1][1])
        else:
            union.append((start, end))
    return union


def without(shares: Shares, taken: Shares) -> Shares:
    """The part of the first set outside the second."""
    left: list[tuple[int, int]] = []
    for start, end in shares:
        at = start
        for taken_start, taken_end in taken:
            if taken_end <= at or taken_start >= end:
                continue
            if taken_start > at:
                left.append((at, taken_start))
            at = max(at, taken_end)
        if at < end:
            left.append((at, end))
    return left


def common(one: Shares, other: Shares) -> Shares:
    """The intersection."""
    return without(one, without(one, other))


def volume(shares: Iterable[tuple[int, int]]) -> int:
    """How many shares; of intervals that overlap each counts."""
    return sum(end - start for start, end in shares)
