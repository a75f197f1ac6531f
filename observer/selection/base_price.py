"""What a split, a merger of shares or a rights issue does to a day's comparisons. Pure.

On such a day the exchange sets another base price than the previous close, and the day's price limits are around that
base: 30 % up and down, rounded to ticks. So the limits that Track A's first snapshot shows tell of it, without any
notice. Averages of earlier days, which are as traded, are brought to the new shares for that day's decisions.
"""

from typing import Final

import msgspec

from bus.events import Snapshot, UniverseMember

DIFFERENCE_MIN: Final = 0.05  # of the previous close: more than the rounding of limits to ticks can make
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
    the previous close, or nearly.
    """
    base = base_price(snapshot.upper_limit, snapshot.lower_limit)
    if base is None or member.previous_close <= 0:
        return 1.0
    factor = base / member.previous_close
    return factor if abs(factor - 1) > DIFFERENCE_MIN else 1.0


def adjusted(member: UniverseMember, snapshot: Snapshot) -> UniverseMember:
    """The member as that day's decisions must see it: its close is the base, and its averages are of today's shares.

    Without a corporate action it is the member itself.
    """
    return scaled(member, price_factor(member, snapshot))


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
