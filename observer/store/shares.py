"""What conflated rows have that stored trades do not: so that both together have each share once. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from observer.gaps.intervals import VOLUME_NOISE


def unheld(
    rows: Sequence[tuple[float, float, int]], trades: Iterable[tuple[float, float]]
) -> list[tuple[float, int] | None]:
    """For each conflated row of a symbol (cumulative volume, volume, number of trades) the volume and the number that
    no trade (cumulative volume, volume) of the symbol has; None where the trades have it whole.
    """
    stored = sorted(set(trades))
    after = [total for total, _ in stored]
    shares = list(accumulate((volume for _, volume in stored), initial=0.0))
    found: list[tuple[float, int] | None] = []
    for total, volume, count in rows:
        first = bisect_right(after, total - volume + VOLUME_NOISE)
        behind = bisect_right(after, total + VOLUME_NOISE)
        left = volume - (shares[behind] - shares[first])
        found.append((left, count - (behind - first)) if left > VOLUME_NOISE or behind == first else None)
    return found
