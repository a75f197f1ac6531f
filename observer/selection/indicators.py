"""Averages, ranges and rates that triggers compare with. None where there is nothing to compute from."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Protocol

AVERAGE_VOLUME_DAYS: Final = 20
TRUE_RANGE_DAYS: Final = 14

_NS_PER_S: Final = 1_000_000_000


class DayRow(Protocol):
    """One symbol's day; `Bar` of the providers and `DailyBar` of the bus fit."""

    @property
    def high(self) -> float: ...  # noqa: D102 - the words are those of `DailyBar`
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def close(self) -> float: ...  # noqa: D102
    @property
    def volume(self) -> float: ...  # noqa: D102


def average_volume(bars: Sequence[DayRow], days: int = AVERAGE_VOLUME_DAYS) -> float | None:
    """Mean daily volume of the last `days` bars (oldest first), of as many as there are; None without bars."""
    return _mean(bar.volume for bar in bars[-days:])


def average_true_range(bars: Sequence[DayRow], days: int = TRUE_RANGE_DAYS) -> float | None:
    """Simple mean of the last `days` true ranges (oldest bar first), of as many as there are.

    A true range needs the previous close, so `days` of them need one bar more; None with fewer than two bars.
    """
    recent = bars[-(days + 1) :]
    return _mean(true_range(bar.high, bar.low, previous.close) for previous, bar in pairwise(recent))


def true_range(high: float, low: float, previous_close: float) -> float:
    """How far the price went in a day, an opening gap included."""
    # Not max and min: asked of every symbol of a sweep, those two calls are a quarter of its evaluation.
    top = high if high > previous_close else previous_close  # noqa: FURB136
    bottom = low if low < previous_close else previous_close  # noqa: FURB136
    return top - bottom


def ratio(value: float, reference: float | None) -> float | None:
    """`value` in units of `reference`; None where the reference is unknown or not positive."""
    if reference is None or reference <= 0:
        return None
    return value / reference


class TradeRate:
    """Trades per second of one symbol over a sliding window. Times are UTC ns and do not run backwards."""

    __slots__ = ("_times_ns", "_window_ns")

    def __init__(self, window_seconds: float) -> None:
        self._window_ns = round(window_seconds * _NS_PER_S)
        self._times_ns: deque[int] = deque()

    def add(self, time_ns: int) -> None:
        """A trade happened."""
        self._times_ns.append(time_ns)
        self._forget(time_ns)

    def add_evenly(self, count: int, from_ns: int, to_ns: int) -> None:
        """So many trades happened, the first and the last at these times; as nobody knows when the others did, they are
        taken to be evenly apart.
        """
        steps = max(count - 1, 1)
        first = 1 if count == 1 else 0  # of one trade the last time counts
        self._times_ns.extend(from_ns + (to_ns - from_ns) * step // steps for step in range(first, first + count))
        self._forget(to_ns)

    def per_second(self, now_ns: int) -> float:
        """The trades of the window that ends now (its beginning excluded), per second."""
        self._forget(now_ns)
        return len(self._times_ns) * _NS_PER_S / self._window_ns

    def _forget(self, now_ns: int) -> None:
        horizon_ns = now_ns - self._window_ns
        while self._times_ns and self._times_ns[0] <= horizon_ns:
            self._times_ns.popleft()


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
