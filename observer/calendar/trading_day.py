"""One calendar day of one market: whether it trades."""

import datetime as dt

import msgspec


class TradingDay(msgspec.Struct, frozen=True):
    """A day without its hours, which `calendar.sessions` knows.

    `source` names the deciding source (overlay, exchange_calendars, ...), `disagreement` the contradiction of another
    source; empty when all sources agree. `is_first_of_year`: no earlier day of its year trades.
    """

    day: dt.date
    trades: bool
    source: str
    disagreement: str = ""
    is_first_of_year: bool = False
