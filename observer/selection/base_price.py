"""What a split, a merger of shares or a rights issue does to comparisons with earlier days. Pure.

On such a day the exchange sets another base price than the previous close. The day's price limits are around that base:
30 % up and down, rounded to ticks; so the limits that Track A's first snapshot shows tell of it, without any notice,
and averages of earlier days, which are as traded, are brought to the new shares for that day's decisions. For the days
after it the next morning's universe keeps it as a fact (`SharesAdjusted`), from the day's bar or its last snapshot.
"""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from bus.events import DailyBar, SharesAdjusted, Snapshot, UniverseMember

DIFFERENCE_MIN: Final = 0.05  # of the previous close: more than the rounding of limits to ticks can make
STALE_DIFFERENCE_MIN: Final = 0.32  # of a close that is a session older: more than that session's own limits allow
# Limits are as far above the base as below it: 30 % for shares, 60 % for funds of a double index. The first day of a
# new issue has 60 % to 400 % of its price: their middle is no base.
_WIDTH_MIN: Final = 0.25
_WIDTH_MAX: Final = 0.62


def base_price(upper_limit: float | None, lower_limit: float | None) -> float | None:
    """The base price in won that these limits are around, to a tick; None where they do not tell it."""
    if upper_limit is None or lower_limit is None or not 0 < lower_limit < upper_limit:
        return None
    middle = (upper_limit + lower_limit) / 2
    width = (upper_limit - middle) / middle
    return middle if _WIDTH_MIN <= width <= _WIDTH_MAX else None


def price_factor(member: UniverseMember, snapshot: Snapshot) -> float:
    """How many times the previous close today's base price is: 0.2 after a split of one share into five, 1.0 when it is
    the previous close, or nearly; or, where the member's close may be a session older, what an ordinary day can make.
    """
    base = base_price(snapshot.upper_limit, snapshot.lower_limit)
    if base is None or member.previous_close <= 0:
        return 1.0
    is_previous = member.session_date == snapshot.session_date and not member.close_is_base
    factor = base / member.previous_close
    return factor if abs(factor - 1) > (DIFFERENCE_MIN if is_previous else STALE_DIFFERENCE_MIN) else 1.0


def adjustment(before: DailyBar, session_date: str, base: float | None, known_from: str) -> SharesAdjusted | None:
    """That a session with this base price has other shares than the one before it, whose bar is `before`; None when it
    has the same, or nothing is known of its base price.
    """
    if base is None or before.close <= 0 or abs(base / before.close - 1) <= DIFFERENCE_MIN:
        return None
    return SharesAdjusted(before.provider, before.symbol, session_date, known_from, base, before.close)


def factor_since(session_date: str, adjustments: Iterable[SharesAdjusted]) -> float:
    """How many times the prices of that session those of the same worth are in the latest shares: the volumes are as
    many times less. `adjustments` are of one symbol.
    """
    return math.prod(each.base_price / each.previous_close for each in adjustments if each.session_date > session_date)


def in_latest_shares(bar: DailyBar, adjustments: Iterable[SharesAdjusted]) -> DailyBar:
    """The bar as if its session had had the latest shares already."""
    factor = factor_since(bar.session_date, adjustments)
    return msgspec.structs.replace(
        bar,
        open=bar.open * factor,
        high=bar.high * factor,
        low=bar.low * factor,
        close=bar.close * factor,
        volume=bar.volume / factor,
    )


def scaled(member: UniverseMember, factor: float) -> UniverseMember:
    """The member with prices `factor` times as high and volumes as many times less."""
    if factor == 1.0:
        return member
    volume, true_range = member.average_volume_20d, member.average_true_range_14d
    return msgspec.structs.replace(
        member,
        previous_close=member.previous_close * factor,
        average_volume_20d=None if volume is None else volume / factor,
        average_true_range_14d=None if true_range is None else true_range * factor,
    )
