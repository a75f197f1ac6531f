"""A broker's call for past trades of today, page by page: what the tape is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from observer.brokers.broker import PastTrade, Priority
    from observer.brokers.domestic import UnreadableRow


class TimeAndSales(msgspec.Struct, frozen=True, kw_only=True):
    """How a broker's time-and-sales call answers: a page is the newest `page_trades` trades up to a second of today."""

    page_trades: int


class TradesPage(msgspec.Struct, frozen=True):
    """Trades of one answer, oldest first; the rows among them that cannot be read, and whether the newest row is one of
    these.
    """

    rows: "Sequence[PastTrade]"
    unreadable: "Sequence[UnreadableRow]" = ()
    is_newest_unreadable: bool = False

    @property
    def trades(self) -> int:
        """How many trades the answer has, readable or not."""
        return len(self.rows) + len(self.unreadable)


def page_trades_of(answers: TimeAndSales | None) -> int:
    """How many trades a page has; 0 at a broker without such a call."""
    return 0 if answers is None else answers.page_trades


class TradePageSource(Protocol):
    """Single pages of today's trades."""

    async def trades_page(self, symbol: str, until_ns: int, priority: "Priority" = "background") -> TradesPage:
        """Today's newest trades up to the end of the second of `until_ns`: one call, one page
        (`Broker.time_and_sales`). A row that cannot be read costs that row alone.
        """
        ...
