"""Provider data on Korean sessions, venues and past days, beside quotes and history, in our terms."""

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


class VenueTrading(msgspec.Struct, frozen=True):
    """Whether a stock, by its own symbol, trades today at a venue beside the main one."""

    symbol: str
    venue: str
    trades: bool


class VenueSource(Protocol):
    """Where stocks trade today."""

    async def venue_eligibility(self, symbols: Sequence[str]) -> Sequence[VenueTrading]:
        """For each of these stocks and each venue beside the main one, whether it trades there today; unknown symbols
        are absent. Takes one call of low priority a symbol: ask for few at once, since an error loses them all.
        """
        ...


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
