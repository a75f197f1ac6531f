"""Provider data on Korean sessions, venues and past days, beside quotes and history, in our terms."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Protocol

import msgspec

from observer.brokers.broker import Bar, Priority


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


class BarReach(msgspec.Struct, frozen=True):
    """How far back a broker has bars, and how many one call brings. `minute_days`: so many calendar days
    before today it has minute bars; daily bars go back without a known bound.
    """

    days_per_call: int
    minutes_per_call: int
    session_minutes_per_call: int
    minute_days: int


class UnreadableRow(msgspec.Struct, frozen=True):
    """A row of an answer that cannot be read: why, its fields as JSON, and its number in the answer, from 0."""

    reason: str
    content: bytes
    number: int = 0


class MinuteDay(msgspec.Struct, frozen=True):
    """All minute bars of a day that a broker has, oldest first, each with its own value, and the unreadable rows.

    Calls and unreadable rows of several days that were fetched together stand at the newest of them.
    """

    day: date
    bars: Sequence[Bar]
    unreadable: tuple[UnreadableRow, ...] = ()
    calls: int = 0


class DailyPage(msgspec.Struct, frozen=True):
    """Daily bars as traded, oldest first, and the rows among them that could not be read."""

    bars: Sequence[Bar]
    unreadable: tuple[UnreadableRow, ...] = ()


class BarArchive(Protocol):
    """Bars of many days. A row that cannot be read costs that row alone."""

    async def daily_page(self, symbol: str, first: date, last: date, priority: Priority) -> DailyPage:
        """One call for the daily bars from `first` to `last`, both included: the newest `BarReach.days_per_call`."""
        ...

    def past_days(self, symbol: str, days: Sequence[date], priority: Priority) -> AsyncIterator[MinuteDay]:
        """Each of these past days when its bars are whole, newest first; days before what the broker keeps may be left
        out. A day costs no call of its own where one call brings several.
        """
        ...

    async def session_minutes(self, symbol: str, until_ns: int, priority: Priority) -> MinuteDay:
        """The minute bars of the session day up to a moment that is not in the future (UTC ns)."""
        ...


class SessionSource(Protocol):
    """The broker's calendar. The broker asks for at most one call a day."""

    async def sessions(self, first: date, last: date) -> Sequence[SessionDay]:
        """The days from `first` to `last`, both included, as far as the broker knows them."""
        ...
