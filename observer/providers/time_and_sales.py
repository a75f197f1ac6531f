"""A broker's call for past trades of today, page by page: what the tape is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from observer.providers.broker import PastTrade, Priority


class TimeAndSales(msgspec.Struct, frozen=True, kw_only=True):
    """How a broker's time-and-sales call answers: a page is the newest `page_trades` trades up to a second of today."""

    page_trades: int


def page_trades_of(answers: TimeAndSales | None) -> int:
    """How many trades a page has; 0 at a broker without such a call."""
    return 0 if answers is None else answers.page_trades


class TradePageSource(Protocol):
    """Single pages of today's trades."""

    async def trades_page(
        self, symbol: str, until_ns: int, priority: "Priority" = "background"
    ) -> "Sequence[PastTrade]":
        """Today's newest trades up to the end of the second of `until_ns`, oldest first: one call, one page
        (`Broker.time_and_sales`).
        """
        ...
