"""The SQL views over both lines of a stock: a row of a view is derived when it is read, and stored nowhere.

All columns of the views are stated here, and the same text serves both databases. The stock of a line is one
expression, `_STOCK`. A view over a table of many rows begins with the table's distinct symbols, each found by one
search in the index, so that `WHERE stock = ...` reads only the rows of that stock's lines.
"""

# ruff: noqa: S608 - the names in these queries are those of our own tables and columns

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection

from bus.events import DailyBar, Fact, OrderBook, Snapshot, Trade, TradesConflated
from observer.store.tables import EVENT_TABLES
from observer.units import NS_PER_MINUTE

_POSITION: Final = ("stream", "sequence")

# A line's id is the stock's symbol, or the symbol, one letter and the name of the venue (`observer.lines`).
_STOCK: Final = (
    "CASE WHEN venue <> '' AND length(symbol) > length(venue) + 1 "
    "AND substr(symbol, length(symbol) - length(venue) + 1) = venue "
    "THEN substr(symbol, 1, length(symbol) - length(venue) - 1) ELSE symbol END"
)


def columns_of(event_type: type[Fact]) -> list[str]:
    """The columns of an event's fields, in their order."""
    return [column.name for column in EVENT_TABLES[event_type].columns if column.name not in _POSITION]


def _with_stock(event_type: type[Fact], columns: str, condition: str = "true") -> str:
    """A query of a table's rows with the stock of their line in front. CROSS JOIN: in SQLite it keeps this order of
    loops, the stock's lines first.
    """
    table = EVENT_TABLES[event_type].name
    return f"""
WITH RECURSIVE ids (symbol) AS (
    SELECT min(symbol) FROM {table}
    UNION ALL SELECT (SELECT min({table}.symbol) FROM {table} WHERE {table}.symbol > ids.symbol) FROM ids
    WHERE ids.symbol IS NOT NULL
), lines (symbol, venue) AS (
    SELECT symbol, (SELECT venue FROM {table} WHERE {table}.symbol = ids.symbol LIMIT 1) FROM ids
    WHERE symbol IS NOT NULL
), stocks (stock, line) AS (SELECT {_STOCK}, symbol FROM lines)
SELECT stock, {columns} FROM stocks CROSS JOIN {table} WHERE {table}.symbol = stocks.line AND {condition}"""


_PIECES: Final = f"""
SELECT stock, session_date, exchange_time_ns / {NS_PER_MINUTE} * {NS_PER_MINUTE} AS minute_start_ns,
    exchange_time_ns AS at_ns, venue, cumulative_volume,
    price AS open, price AS high, price AS low, price AS close, volume, price * volume AS value, 1 AS trades
FROM consolidated_trades
UNION ALL
SELECT stock, session_date, from_ns / {NS_PER_MINUTE} * {NS_PER_MINUTE}, from_ns, venue, cumulative_volume,
    open, high, low, close, volume, NULL, trades
FROM consolidated_conflated_trades"""

_IN_TIME: Final = "PARTITION BY stock, session_date, minute_start_ns ORDER BY at_ns{0}, venue{0}, cumulative_volume{0}"

_MINUTE_BARS: Final = f"""
SELECT stock, session_date, minute_start_ns, max(CASE WHEN from_first = 1 THEN open END) AS open, max(high) AS high,
    min(low) AS low, max(CASE WHEN from_last = 1 THEN close END) AS close, sum(volume) AS volume,
    CASE WHEN count(value) = count(*) AND sum(volume) > 0 THEN sum(value) / sum(volume) END AS vwap,
    CAST(sum(trades) AS BIGINT) AS trades, count(DISTINCT venue) AS venues
FROM (
    SELECT pieces.*, row_number() OVER ({_IN_TIME.format("")}) AS from_first,
        row_number() OVER ({_IN_TIME.format(" DESC")}) AS from_last
    FROM ({_PIECES}) AS pieces
) AS ordered
GROUP BY stock, session_date, minute_start_ns"""

_VENUE_DAILY_BARS: Final = f"""
SELECT stock, {", ".join(columns_of(DailyBar))} FROM (
    SELECT *, row_number() OVER (PARTITION BY stock, symbol, session_date ORDER BY stream DESC, sequence DESC) AS newest
    FROM ({_with_stock(DailyBar, "daily_bars.*")}) AS all_bars
) AS ranked
WHERE newest = 1"""

_DAILY_BARS: Final = """
SELECT stock, session_date, max(CASE WHEN symbol = stock THEN open END) AS open, max(high) AS high, min(low) AS low,
    max(CASE WHEN symbol = stock THEN close END) AS close, sum(volume) AS volume, sum(value) AS value,
    CASE WHEN sum(volume) > 0 THEN sum(value) / sum(volume) END AS vwap, count(*) AS venues
FROM venue_daily_bars
GROUP BY stock, session_date"""

_QUOTE: Final = "symbol, venue, session_date, receive_time_ns AS quoted_ns"
_STREAMED: Final = "gap_id IS NULL AND coalesce(bid, ask) IS NOT NULL"
_QUOTES: Final = f"""
SELECT * FROM ({_with_stock(Trade, f"{_QUOTE}, bid, ask", _STREAMED)}) AS traded
UNION ALL SELECT * FROM ({_with_stock(OrderBook, f"{_QUOTE}, bid_1 AS bid, ask_1 AS ask")}) AS streamed
UNION ALL SELECT * FROM ({_with_stock(Snapshot, f"{_QUOTE}, bid, ask")}) AS swept"""

_BEST_QUOTES: Final = """
SELECT stock, session_date, max(bid) AS bid,
    max(CASE WHEN nth_bid = 1 AND bid IS NOT NULL THEN symbol END) AS bid_symbol,
    max(CASE WHEN nth_bid = 1 AND bid IS NOT NULL THEN quoted_ns END) AS bid_ns,
    min(ask) AS ask, max(CASE WHEN nth_ask = 1 AND ask IS NOT NULL THEN symbol END) AS ask_symbol,
    max(CASE WHEN nth_ask = 1 AND ask IS NOT NULL THEN quoted_ns END) AS ask_ns, count(*) AS venues
FROM (
    SELECT *, row_number() OVER (PARTITION BY stock, session_date ORDER BY bid DESC NULLS LAST, quoted_ns DESC, symbol)
        AS nth_bid,
        row_number() OVER (PARTITION BY stock, session_date ORDER BY ask NULLS LAST, quoted_ns DESC, symbol) AS nth_ask
    FROM (
        SELECT *, row_number() OVER (PARTITION BY stock, symbol, session_date ORDER BY quoted_ns DESC) AS newest
        FROM consolidated_quotes
    ) AS of_lines
    WHERE newest = 1
) AS ranked
GROUP BY stock, session_date"""

VIEWS: Final[Mapping[str, str]] = {
    "consolidated_trades": _with_stock(Trade, ", ".join(columns_of(Trade))),
    "consolidated_conflated_trades": _with_stock(TradesConflated, ", ".join(columns_of(TradesConflated))),
    "consolidated_minute_bars": _MINUTE_BARS,
    "venue_daily_bars": _VENUE_DAILY_BARS,
    "consolidated_daily_bars": _DAILY_BARS,
    "consolidated_quotes": _QUOTES,
    "best_quotes": _BEST_QUOTES,
}
"""The views by name, each after those that it reads. None has a column `stream` or `sequence`: no row is an event."""


def make_views(connection: Connection) -> None:
    """Make all views anew. A migration that changes one of their tables calls `drop_views` before and this after it."""
    drop_views(connection)
    for name, query in VIEWS.items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {query}")


def drop_views(connection: Connection) -> None:
    """Remove the views that are there."""
    for name in reversed(VIEWS):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
