"""Provider data on Korean sessions and past days, beside quotes and history, in our terms."""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

import msgspec

from observer.providers.broker import Bar


class SessionDay(msgspec.Struct, frozen=True):
    """The broker's record of one Korean day.

    `opens` alone states whether the exchange trades: a Saturday can be the broker's `trading_day` (observed).
    """

    day: date
    opens: bool
    business_day: bool
    trading_day: bool
    settlement_day: bool


class PastBarSource(Protocol):
    """Minute bars of earlier days."""

    async def past_minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """The minute bars of one Korean day that start in [from, to], oldest first."""
        ...


class SessionSource(Protocol):
    """The broker's calendar. The broker asks for at most one call a day."""

    async def sessions(self, first: date, last: date) -> Sequence[SessionDay]:
        """The days from `first` to `last`, both included, as far as the broker knows them."""
        ...
