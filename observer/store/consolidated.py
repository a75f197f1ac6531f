"""Queries of a stock at all its venues together: trades in time order, bars, best quotes, volumes, quality.

Everything is derived from the rows of the lines when it is asked for; nothing is stored twice. A stock is named by its
symbol, without a venue. Its lines are looked up first, so that rows are searched by symbol and day: the SQL views of
the same content (`observer.store.views`) go through all lines of a table to find those of a stock.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, Table, column, func, select, table, union_all

from bus.events import DailyBar, OrderBook, QualityJudged, Snapshot, Trade, TradesConflated
from observer.base.lines import stock_of
from observer.base.local_time import local_datetime
from observer.gaps.intervals import UnheldRow
from observer.gaps.reconciliation import StockQuality, stock_qualities
from observer.store.lines import lines_of_stock
from observer.store.quality import judged
from observer.store.session import DatabaseReader
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES
from observer.store.views import columns_of

MAX_QUOTE_AGE_NS: Final = 10 * 60 * 1_000_000_000
"""A quote that no newer one replaced for longer is not taken to stand: Track A asks each symbol at least as often."""


class ConsolidatedBar(msgspec.Struct, frozen=True):
    """The stored trades of a stock in [start_ns, end_ns), at all venues.

    `open` and `close` are the first and the last price by exchange time, then venue, then cumulative volume. `vwap` is
    None where some of the trades are known as conflated rows only, which have no value. `trades` counts executions,
    `volumes` are shares by the line's id, and `volume` is their sum.
    """

    stock: str
    session_date: str
    start_ns: int
    end_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int
    volumes: Mapping[str, float]


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


class DailyVolume(msgspec.Struct, frozen=True):
    """A stock's volume of one day in shares: by the line's id, and the sum. `is_final`: all are of daily bars; else
    some are the last snapshot's.
    """

    stock: str
    session_date: str
    volumes: Mapping[str, float]
    volume: float
    is_final: bool


class _Piece(msgspec.Struct, frozen=True):
    """A trade, or the trades of a conflated row that no other row stores. Its `value` is unknown in that case."""

    at_ns: int
    until_ns: int
    venue: str
    after_volume: float
    cumulative_volume: float
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float | None
    trades: int


_TRADES: Final = EVENT_TABLES[Trade]
_BARS: Final = EVENT_TABLES[DailyBar]
_SNAPSHOTS: Final = EVENT_TABLES[Snapshot]
_BOOKS: Final = EVENT_TABLES[OrderBook]
_CONFLATED: Final = table(
    "consolidated_conflated_trades",
    *(column(name) for name in ("stock", *columns_of(TradesConflated), "after_volume")),
)


def unheld_rows(connection: Connection, symbol: str, session_date: str) -> list[UnheldRow]:
    """A line's conflated rows of a day with the shares that none of its stored trades has, by time."""
    rows = _CONFLATED.c
    total = rows.cumulative_volume.label("upto_volume")
    columns = (total if name == "upto_volume" else rows[name] for name in UnheldRow.__struct_fields__)
    of_line = (rows.stock == stock_of(symbol), rows.symbol == symbol, rows.session_date == session_date)
    return [UnheldRow(*row) for row in connection.execute(select(*columns).where(*of_line).order_by(rows.from_ns))]


class ConsolidatedReader(DatabaseReader):
    """Reads stocks at all their venues together."""

    def consolidated_trades(self, stock: str, session_date: str) -> Sequence[Trade]:
        """A stock's stored trades of one day by exchange time, then venue, then cumulative volume."""
        with self._asking() as connection:
            return [Trade(*row) for row in _trades_of(connection, stock, session_date, columns_of(Trade))]

    def consolidated_bars(self, stock: str, session_date: str, interval_ns: int) -> Sequence[ConsolidatedBar]:
        """Bars of a stock's stored trades, in intervals counted from the local midnight; none without a trade. What
        recovery knows as minute bars only (`recovered_minute_bars`) is not in them: its first and last minute repeat
        streamed trades.
        """
        assert interval_ns > 0
        with self._asking() as connection:
            pieces = _pieces(connection, stock, session_date)
        return _bars_of(stock, session_date, pieces, interval_ns)

    def daily_volumes(self, session_date: str, stock: str | None = None) -> dict[str, DailyVolume]:
        """The day's volumes by stock, of all stocks or of one: of the newest daily bar of each line, and of lines
        without one from the day's snapshots.
        """
        with self._asking() as connection:
            return daily_volumes(connection, session_date, stock)

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

    def stock_qualities(self, session_date: str, stock: str | None = None) -> Sequence[StockQuality]:
        """The day's stored quality by stock, of all stocks or of one stock; empty before the reconciliation."""
        with self._asking() as connection:
            reports = judged(connection, session_date)
        return self.by_stock(session_date, [each for each in reports if stock in (None, stock_of(each.symbol))])

    def by_stock(self, session_date: str, reports: Sequence[QualityJudged]) -> Sequence[StockQuality]:
        """The quality by stock from these reports on lines, and from the day's volumes of the lines without one."""
        volumes = self.daily_volumes(session_date) if reports else {}
        return stock_qualities(reports, {stock: each.volumes for stock, each in volumes.items()})


def daily_volumes(connection: Connection, session_date: str, stock: str | None) -> dict[str, DailyVolume]:
    bars = _BARS.c
    wanted = select(bars.symbol, bars.volume).where(bars.session_date == session_date)
    if stock is not None:
        wanted = wanted.where(bars.symbol.in_(lines_of_stock(connection, stock, _BARS)))
    in_order = wanted.order_by(bars.stream, bars.sequence)
    of_bars = {row.symbol: float(row.volume) for row in connection.execute(in_order)}  # the newest one of each line
    snapshots = _last_snapshots(connection, session_date, stock)
    by_stock: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for symbol, volume in sorted((snapshots | of_bars).items()):
        by_stock[stock_of(symbol)][symbol] = volume
    return {
        name: DailyVolume(name, session_date, volumes, sum(volumes.values()), volumes.keys() <= of_bars.keys())
        for name, volumes in by_stock.items()
    }


def _last_snapshots(connection: Connection, session_date: str, stock: str | None) -> dict[str, float]:
    """By line the volume of the day's last snapshot: volumes never fall, so it is the highest."""
    seen = _SNAPSHOTS.c
    volume = func.max(seen.cumulative_volume).label("volume")
    wanted = select(seen.symbol, volume).where(seen.session_date == session_date).group_by(seen.symbol)
    if stock is not None:
        wanted = wanted.where(seen.symbol.in_(lines_of_stock(connection, stock, _SNAPSHOTS)))
    return {row.symbol: row.volume for row in connection.execute(wanted)}


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


def _trades_of(
    connection: Connection, stock: str, session_date: str, names: Sequence[str]
) -> Iterable[Row[*tuple[Any, ...]]]:
    """These columns of a stock's stored trades by exchange time, then venue, then cumulative volume."""
    found = _TRADES.c
    wanted = select(*(found[name] for name in names)).where(
        found.symbol.in_(lines_of_stock(connection, stock, _TRADES)), found.session_date == session_date
    )
    return connection.execute(wanted.order_by(found.exchange_time_ns, found.venue, found.cumulative_volume))


def _pieces(connection: Connection, stock: str, session_date: str) -> list[_Piece]:
    rows = _CONFLATED.c
    names = ("exchange_time_ns", "venue", "cumulative_volume", "symbol", "price", "volume")
    of_rows = select(
        rows.from_ns, rows.to_ns, rows.venue, rows.after_volume, rows.cumulative_volume, rows.symbol, rows.open,
        rows.high, rows.low, rows.close, rows.volume, rows.trades,
    ).where(rows.stock == stock, rows.session_date == session_date)  # fmt: skip
    pieces = [
        _Piece(at_ns, at_ns, venue, total - volume, total, symbol, *(price,) * 4, volume, price * volume, 1)
        for at_ns, venue, total, symbol, price, volume in _trades_of(connection, stock, session_date, names)
    ]
    for row in connection.execute(of_rows):
        own = (row.symbol, row.open, row.high, row.low, row.close, row.volume, None, row.trades)
        pieces.append(_Piece(row.from_ns, row.to_ns, row.venue, row.after_volume, row.cumulative_volume, *own))
    return sorted(pieces, key=attrgetter("at_ns", "venue", "after_volume", "cumulative_volume"))


def _bars_of(stock: str, session_date: str, pieces: Iterable[_Piece], interval_ns: int) -> list[ConsolidatedBar]:
    midnight_ns, _ = day_bounds(session_date)
    bars = []
    for number, group in groupby(pieces, lambda piece: (piece.at_ns - midnight_ns) // interval_ns):
        of_bar = list(group)
        volumes: defaultdict[str, float] = defaultdict(float)
        for piece in of_bar:
            volumes[piece.symbol] += piece.volume
        values = [piece.value for piece in of_bar if piece.value is not None]
        volume = sum(volumes.values())
        start_ns = midnight_ns + number * interval_ns
        last = max(of_bar, key=attrgetter("until_ns", "venue", "cumulative_volume"))
        bars.append(
            ConsolidatedBar(
                stock, session_date, start_ns, start_ns + interval_ns,
                of_bar[0].open, max(piece.high for piece in of_bar), min(piece.low for piece in of_bar),
                last.close, volume, sum(values) / volume if volume and len(values) == len(of_bar) else None,
                sum(piece.trades for piece in of_bar), dict(volumes),
            )
        )  # fmt: skip
    return bars
