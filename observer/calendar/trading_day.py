"""One calendar day of one exchange: whether it trades, and its hours."""

import datetime as dt

import msgspec


class TradingDay(msgspec.Struct, frozen=True):
    """`opens_ns` and `closes_ns` are UTC nanoseconds of the regular session; both None when the exchange is closed.

    `source` names the deciding source (overlay, exchange_calendars, ...), `disagreement` the contradiction of another
    source; empty when all sources agree.
    """

    day: dt.date
    opens_ns: int | None
    closes_ns: int | None
    source: str
    disagreement: str = ""

    @property
    def trades(self) -> bool:
        """Whether there is a regular session on this day."""
        return self.opens_ns is not None
