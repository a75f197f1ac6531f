"""What the stream can be asked for: for each TR id, a symbol's records of the day with their times. Pure.

One market is dealt at either venue, so KRX, NXT and both together show the same trades and books.
"""

from collections.abc import Callable
from typing import Final, Protocol

from observer.simulator.auctions import AuctionTimeline
from observer.simulator.books import BOOK_FIELDS, BookTimeline
from observer.simulator.frames import TRADE_FIELDS
from observer.simulator.funds import FundTimeline
from observer.simulator.halt_notices import trades_and_halts
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market
from observer.simulator.operations import OperationTimeline

TRADE_TR_IDS: Final = frozenset({"H0STCNT0", "H0NXCNT0", "H0UNCNT0"})
BOOK_TR_IDS: Final = frozenset({"H0STASP0", "H0NXASP0", "H0UNASP0"})


class Timeline(Protocol):
    """A symbol's records of one kind, oldest first; a place is a record's number from 0."""

    def count_until(self, moment_ns: int) -> int:
        """How many records there are at or before a moment."""
        ...

    def time_ns(self, place: int) -> int:
        """When a record is due."""
        ...

    def record(self, place: int) -> str:
        """The fields of a record, joined by `^`."""
        ...


class Timelines:
    """The records of a market. They are made when first asked for, and kept: all sessions share them."""

    def __init__(self, market: Market, *, trade_fields: int, book_fields: int) -> None:
        """How wide records are is the year's: at least as documented.

        Raises:
            ValueError: a record would be narrower than KIS documents it.
        """
        if trade_fields < TRADE_FIELDS or book_fields < BOOK_FIELDS:
            raise ValueError(f"records of at least {TRADE_FIELDS} and {BOOK_FIELDS} fields are documented")
        self._market = market
        self._made: dict[tuple[str, str], Timeline] = {}
        self._makers: dict[str, Callable[[Market, Instrument], Timeline]] = {
            **dict.fromkeys(TRADE_TR_IDS, lambda market, listed: trades_and_halts(market, listed, trade_fields)),
            **dict.fromkeys(BOOK_TR_IDS, lambda market, listed: BookTimeline(market, listed, book_fields)),
            "H0STANC0": AuctionTimeline,
            "H0STMKO0": OperationTimeline,
            "H0STNAV0": FundTimeline,
        }

    def offers(self, tr_id: str) -> bool:
        """Whether there is such a kind of record."""
        return tr_id in self._makers

    def of(self, tr_id: str, symbol: str) -> Timeline | None:
        """A symbol's records of one kind; None for a symbol that is not listed. Raises KeyError for another TR id."""
        timeline = self._made.get((tr_id, symbol))
        if timeline is None:
            instrument = self._market.instrument(symbol)
            if instrument is None:
                return None
            timeline = self._made[tr_id, symbol] = self._makers[tr_id](self._market, instrument)
        return timeline
