"""Averages, ranges and rates that triggers compare with, and their adjustment on a day of a split. Pure.

On the day of a split, a merger of shares or a rights issue the exchange sets another base price than the previous
close. The day's price limits are 30 % above and below that base, rounded to ticks; so the limits in Track A's first
snapshot show it, without any notice. Averages of earlier days, which are as traded, are converted to the new shares for
that day's decisions. For later days the next morning's universe stores it as an event (`SharesAdjusted`).
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Protocol

import msgspec

from bus.events import DailyBar, SharesAdjusted, Snapshot, UniverseMember
from observer.base.lines import line_of
from observer.base.units import NS_PER_S

AVERAGE_VOLUME_DAYS: Final = 20
TRUE_RANGE_DAYS: Final = 14


class DayRow(Protocol):
    """One symbol's day; `Bar` of the providers and `DailyBar` of the bus fit."""

    @property
    def high(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def close(self) -> float: ...
    @property
    def volume(self) -> float: ...


def average_volume(bars: Sequence[DayRow]) -> float | None:
    """Mean daily volume of the last 20 bars (oldest first), of as many as there are; None without bars."""
    return _mean(bar.volume for bar in bars[-AVERAGE_VOLUME_DAYS:])


def average_true_range(bars: Sequence[DayRow]) -> float | None:
    """Simple mean of the `true_ranges`; None without any."""
    return _mean(true_ranges(bars))


def true_ranges(bars: Sequence[DayRow]) -> Sequence[float]:
    """The true ranges of the last 14 bars (oldest first), of as many as there are; a day without a trade has none.

    A true range needs the previous close, so 14 of them need one bar more.
    """
    recent = pairwise(bars[-(TRUE_RANGE_DAYS + 1) :])
    return [
        true_range(bar.high, bar.low, previous.close)
        for previous, bar in recent
        if bar.high is not None and bar.low is not None
    ]


def true_range(high: float, low: float, previous_close: float) -> float:
    """The day's price range, including an opening gap."""
    # Not max and min: called for every symbol of a sweep, these two calls take a quarter of its evaluation.
    top = high if high > previous_close else previous_close  # noqa: FURB136
    bottom = low if low < previous_close else previous_close  # noqa: FURB136
    return top - bottom


def ratio(value: float, reference: float | None) -> float | None:
    """`value` in units of `reference`; None if the reference is unknown or not positive."""
    if reference is None or reference <= 0:
        return None
    return value / reference


class TradeRate:
    """Trades per second of one symbol over a sliding window. Times are UTC ns and do not run backwards."""

    __slots__ = ("_times_ns", "_window_ns")

    def __init__(self, window_seconds: float) -> None:
        self._window_ns = round(window_seconds * NS_PER_S)
        self._times_ns: deque[int] = deque()

    def add(self, time_ns: int) -> None:
        """Add a trade."""
        self._times_ns.append(time_ns)
        self._forget(time_ns)

    def add_evenly(self, count: int, from_ns: int, to_ns: int) -> None:
        """Add this number of trades, the first and the last at these times; the unknown times between are spaced
        evenly.
        """
        steps = max(count - 1, 1)
        first = 1 if count == 1 else 0  # a single trade takes the last time
        self._times_ns.extend(from_ns + (to_ns - from_ns) * step // steps for step in range(first, first + count))
        self._forget(to_ns)

    def per_second(self, now_ns: int) -> float:
        """The trades of the window that ends now (its beginning excluded), per second."""
        self._forget(now_ns)
        return len(self._times_ns) * NS_PER_S / self._window_ns

    def _forget(self, now_ns: int) -> None:
        horizon_ns = now_ns - self._window_ns
        while self._times_ns and self._times_ns[0] <= horizon_ns:
            self._times_ns.popleft()


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


# --- splits and similar events ---

DIFFERENCE_MIN: Final = 0.05  # of the previous close: more than the rounding of limits to ticks can cause
STALE_DIFFERENCE_MIN: Final = 0.32  # of a close that is a session older: more than that session's own limits allow
# Limits are as far above the base as below it: 30 % for shares, 60 % for funds of a double index. The first day of a
# new issue has 60 % to 400 % of its price: their middle is no base.
_WIDTH_MIN: Final = 0.25
_WIDTH_MAX: Final = 0.62


def base_price(upper_limit: float | None, lower_limit: float | None) -> float | None:
    """The base price in the middle of these limits, to a tick; None if they do not determine it."""
    if upper_limit is None or lower_limit is None or not 0 < lower_limit < upper_limit:
        return None
    middle = (upper_limit + lower_limit) / 2
    width = (upper_limit - middle) / middle
    return middle if _WIDTH_MIN <= width <= _WIDTH_MAX else None


def price_factor(member: UniverseMember, snapshot: Snapshot) -> float:
    """Today's base price as a multiple of the previous close: 0.2 after a split of one share into five. 1.0 if it is
    about the previous close, or within an ordinary day's range if the member's close may be a session older, or is a
    further venue's: the base price there is the main venue's close.
    """
    base = base_price(snapshot.upper_limit, snapshot.lower_limit)
    if base is None or member.previous_close <= 0:
        return 1.0
    is_base_of_own_close = not member.close_is_base and not line_of(member.symbol).venue
    is_previous = member.session_date == snapshot.session_date and is_base_of_own_close
    factor = base / member.previous_close
    return factor if abs(factor - 1) > (DIFFERENCE_MIN if is_previous else STALE_DIFFERENCE_MIN) else 1.0


def adjustment(before: DailyBar, session_date: str, base: float | None, known_from: str) -> SharesAdjusted | None:
    """The change of shares between the session of the bar `before` and the next one with this base price; None if the
    shares are the same, or the base price is unknown.
    """
    if base is None or before.close <= 0 or abs(base / before.close - 1) <= DIFFERENCE_MIN:
        return None
    return SharesAdjusted(before.provider, before.symbol, session_date, known_from, base, before.close)


def factor_since(session_date: str, adjustments: Iterable[SharesAdjusted]) -> float:
    """The factor from that session's prices to prices in the latest shares; volumes are divided by it. `adjustments`
    are of one symbol.
    """
    return math.prod(each.base_price / each.previous_close for each in adjustments if each.session_date > session_date)


def in_latest_shares(bar: DailyBar, adjustments: Iterable[SharesAdjusted]) -> DailyBar:
    """The bar converted to the latest shares."""
    factor = factor_since(bar.session_date, adjustments)
    return msgspec.structs.replace(
        bar,
        open=_times(bar.open, factor),
        high=_times(bar.high, factor),
        low=_times(bar.low, factor),
        close=bar.close * factor,
        volume=bar.volume / factor,
    )


def _times(price: float | None, factor: float) -> float | None:
    return None if price is None else price * factor


def scaled(member: UniverseMember, factor: float) -> UniverseMember:
    """The member with its prices multiplied and its volumes divided by `factor`."""
    if factor == 1.0:
        return member
    volume, true_range = member.average_volume_20d, member.average_true_range_14d
    return msgspec.structs.replace(
        member,
        previous_close=member.previous_close * factor,
        average_volume_20d=None if volume is None else volume / factor,
        average_true_range_14d=None if true_range is None else true_range * factor,
    )
