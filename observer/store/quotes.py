"""The best quotes of a stock at all its venues."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, Table, func, select, union_all

from bus.events import OrderBook, Snapshot, Trade
from observer.base.local_time import local_datetime
from observer.store.lines import lines_of_stock
from observer.store.session import DatabaseReader
from observer.store.tables import EVENT_TABLES

MAX_QUOTE_AGE_NS: Final = 10 * 60 * 1_000_000_000
"""A quote that no newer one replaced for longer is not taken to stand: Track A asks each symbol at least as often."""

_TRADES: Final = EVENT_TABLES[Trade]
_SNAPSHOTS: Final = EVENT_TABLES[Snapshot]
_BOOKS: Final = EVENT_TABLES[OrderBook]


class Quote(msgspec.Struct, frozen=True):
    """The best bid and offer of one line at the moment `quoted_ns` (UTC); None for an empty side."""

    symbol: str
    quoted_ns: int
    bid: float | None
    ask: float | None


class BestQuote(msgspec.Struct, frozen=True):
    """The best bid and the best offer among a stock's lines, each with its quote; None for an empty side.

    Quotes of two venues are of different moments, so a bid above the ask may have been gone already.
    """

    stock: str
    bid: Quote | None
    ask: Quote | None
    quotes: Sequence[Quote]


class QuoteReader(DatabaseReader):
    """Reads quotes."""

    def best_quote(self, stock: str, at_ns: int, max_age_ns: int = MAX_QUOTE_AGE_NS) -> BestQuote:
        """The best bid and offer of a stock as far as they were received by that time (UTC) and are not older than
        `max_age_ns`: of order books, streamed trades and snapshots, the latest of each line.
        """
        with self._asking() as connection:
            quotes = _quotes(connection, stock, at_ns - max_age_ns, at_ns)
        bids = [quote for quote in quotes if quote.bid is not None]
        asks = [quote for quote in quotes if quote.ask is not None]
        return BestQuote(
            stock,
            max(bids, key=lambda quote: (quote.bid, quote.quoted_ns), default=None),
            min(asks, key=lambda quote: (quote.ask, -quote.quoted_ns), default=None),
            quotes,
        )


def _quotes(connection: Connection, stock: str, after_ns: int, at_ns: int) -> list[Quote]:
    """By line the last quote of the day of `at_ns` that was received in (after, at]."""
    trades = _TRADES.c
    lines = lines_of_stock(connection, stock, _TRADES, _BOOKS, _SNAPSHOTS)
    day = local_datetime(at_ns).date().isoformat()

    def received(source: Table, bid: str, ask: str) -> Select[*tuple[Any, ...]]:
        found = source.c
        # An addition is searched by no index: SQLite without statistics would read all lines' snapshots of the time.
        received_ns = found.receive_time_ns + 0 if source is _SNAPSHOTS else found.receive_time_ns
        return select(found.symbol, found.receive_time_ns.label("quoted_ns"), found[bid], found[ask]).where(
            found.symbol.in_(lines),
            found.session_date == day,
            received_ns > after_ns,
            received_ns <= at_ns,
        )

    streamed = received(_TRADES, "bid", "ask").where(
        trades.gap_id.is_(None), func.coalesce(trades.bid, trades.ask).is_not(None)
    )
    wanted = union_all(streamed, received(_BOOKS, "bid_1", "ask_1"), received(_SNAPSHOTS, "bid", "ask"))
    # Sorted here: for an order by time SQLite would read all lines' snapshots of the day.
    in_order = sorted((Quote(*row) for row in connection.execute(wanted)), key=attrgetter("quoted_ns"))
    last_of_each = {quote.symbol: quote for quote in in_order}
    return [last_of_each[symbol] for symbol in sorted(last_of_each)]
