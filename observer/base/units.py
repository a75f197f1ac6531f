"""Conversions between units. Pure."""

from typing import Final

NS_PER_S: Final = 1_000_000_000
NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
S_PER_DAY: Final = 86_400
NS_PER_MINUTE: Final = 60 * NS_PER_S
NS_PER_DAY: Final = S_PER_DAY * NS_PER_S


def plain(amount: float) -> int | float:
    """The same number, as an integer where it is whole: 71000 and not 71000.0, and 0.0123 as it is."""
    return int(amount) if amount.is_integer() else amount
