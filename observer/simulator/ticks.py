"""KRX's price steps and daily limits, in whole won: arithmetic only.

Source of the steps: KRX business regulations in force since January 2023; of the limits: 30 % of the base price on
either side, rounded towards the base price.
"""

from typing import Final

_STEPS_KRW: Final = ((2_000, 1), (5_000, 5), (20_000, 10), (50_000, 50), (200_000, 100), (500_000, 500))
_STEP_ABOVE_KRW: Final = 1_000
_LIMIT_PERCENT: Final = 30


def tick_krw(price_krw: int) -> int:
    """The price step that holds at a price."""
    for below_krw, step_krw in _STEPS_KRW:
        if price_krw < below_krw:
            return step_krw
    return _STEP_ABOVE_KRW


def rounded_down_krw(price_krw: int) -> int:
    """The highest price on the grid that is not above this one."""
    return price_krw - price_krw % tick_krw(price_krw)


def rounded_up_krw(price_krw: int) -> int:
    """The lowest price on the grid that is not below this one."""
    step_krw = tick_krw(price_krw)
    return -(-price_krw // step_krw) * step_krw


def price_limits_krw(base_price_krw: int) -> tuple[int, int]:
    """The lowest and the highest price of the day for a base price."""
    width_krw = base_price_krw * _LIMIT_PERCENT // 100
    return rounded_up_krw(base_price_krw - width_krw), rounded_down_krw(base_price_krw + width_krw)
