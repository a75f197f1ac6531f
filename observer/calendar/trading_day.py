"""One calendar day of one exchange: does it trade, and from when to when."""

import datetime as dt

import msgspec


class TradingDay(msgspec.Struct, frozen=True):
    """`opens_ns` and `closes_ns` are UTC nanoseconds of the regular session; both None when the exchange is closed.

    `source` says who decided (overlay, exchange_calendars, ...), `disagreement` what a second opinion said otherwise,
    empty when all sources agree.
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
