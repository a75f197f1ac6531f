"""The view of trades, and the SQL views over both lines of a stock: a row of those is derived when it is read.

All columns of the views are stated here, and the same text serves both databases. The stock of a line is one
expression, `_STOCK`. A conflated row counts with the shares and executions that no stored trade has, so that trades
and conflated rows together have each share once. A view over a table of many rows begins with the table's distinct
symbols, each found by one search in the index, so that `WHERE stock = ...` reads only the rows of that stock's lines.
"""

# ruff: noqa: S608 - the names in these queries are those of our own tables and columns

import hashlib
import string
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from bus.events import DailyBar, Fact, OrderBook, Snapshot, Trade, TradesConflated
from observer.base.lines import SEPARATOR
from observer.base.units import NS_PER_MINUTE
from observer.gaps.intervals import VOLUME_NOISE
from observer.store.tables import EVENT_TABLES, GROUP_COLUMNS, TRADE_GROUPS, TRADE_ROWS, table_of_lines

_POSITION: Final = ("stream", "sequence")

# A line's id is the stock's symbol, or the symbol, the separator and the name of the venue, letters and digits
# (`observer.base.lines`). Of the id alone: a search for the venue of each line took as long as the rest of a query.
_LEFT_OF_VENUE: Final = f"rtrim(symbol, '{string.digits}{string.ascii_letters}')"
_STOCK: Final = (
    f"CASE WHEN substr({_LEFT_OF_VENUE}, length({_LEFT_OF_VENUE}), 1) = '{SEPARATOR}' "
    f"THEN substr(symbol, 1, length({_LEFT_OF_VENUE}) - 1) ELSE symbol END"
)


def columns_of(event_type: type[Fact]) -> list[str]:
    return [column.name for column in EVENT_TABLES[event_type].columns if column.name not in _POSITION]


def _stored_column(name: str) -> str:
    return f"{(TRADE_GROUPS if name in GROUP_COLUMNS else TRADE_ROWS).name}.{name}"


def _with_stock(event_type: type[Fact], columns: str, condition: str = "true") -> str:
    """A query of a table's rows with the stock of their line as first column. CROSS JOIN makes SQLite read the stock's
    lines in the outer loop. MATERIALIZED makes PostgreSQL derive the stock once a line instead of once a row.
    """
    table = EVENT_TABLES[event_type].name
    of_lines = table_of_lines(EVENT_TABLES[event_type]).name
    return f"""
WITH RECURSIVE ids (symbol) AS (
    SELECT min(symbol) FROM {of_lines}
    UNION ALL SELECT (SELECT min({of_lines}.symbol) FROM {of_lines} WHERE {of_lines}.symbol > ids.symbol) FROM ids
    WHERE ids.symbol IS NOT NULL
), stocks (stock, line) AS MATERIALIZED (SELECT {_STOCK}, symbol FROM ids WHERE symbol IS NOT NULL)
SELECT stock, {columns} FROM stocks CROSS JOIN {table} WHERE {table}.symbol = stocks.line AND {condition}"""


# The trades of the conflated rows' lines and days, once each, and both edges of each conflated row, by the total
# volume: what a row's trades have is the difference of the running sums at its edges. So each trade is read once.
# CROSS JOIN: in SQLite it keeps this order of loops.
_CONFLATED_COLUMNS: Final = columns_of(TradesConflated)
_EDGE_COLUMNS: Final = ("stock", *_POSITION, *_CONFLATED_COLUMNS)
_OF_LINE: Final = ("stock", "symbol", "session_date")
_HELD: Final = f"""
SELECT DISTINCT {", ".join(f"days.{name}" for name in _OF_LINE)}, trade.cumulative_volume, trade.volume FROM (
    SELECT DISTINCT {", ".join(_OF_LINE)} FROM ({_with_stock(TradesConflated, "symbol, session_date")}) AS lines
) AS days CROSS JOIN {TRADE_GROUPS.name} AS trade_group CROSS JOIN {TRADE_ROWS.name} AS trade
WHERE trade_group.symbol = days.symbol AND trade_group.session_date = days.session_date
    AND trade.group_id = trade_group.id"""
_EDGES: Final = f"""
SELECT {", ".join(_EDGE_COLUMNS)}, is_end, cumulative_volume - (1 - is_end) * volume + {VOLUME_NOISE} AS total,
    0.0 AS held_volume, 0 AS held_trades
FROM ({_with_stock(TradesConflated, f"{EVENT_TABLES[TradesConflated].name}.*")}) AS conflated
CROSS JOIN (SELECT 0 AS is_end UNION ALL SELECT 1) AS edges
UNION ALL
SELECT {", ".join(name if name in _OF_LINE else "NULL" for name in _EDGE_COLUMNS)}, NULL, cumulative_volume, volume, 1
FROM ({_HELD}) AS held"""
_UNHELD_COLUMNS: Final = {"volume": "volume - held_volume AS volume", "trades": "trades - held_trades AS trades"}
_CONFLATED: Final = f"""
SELECT stock, {", ".join(_UNHELD_COLUMNS.get(name, name) for name in _CONFLATED_COLUMNS)}, after_volume FROM (
    SELECT stock, {", ".join(_CONFLATED_COLUMNS)}, is_end, cumulative_volume - volume AS after_volume,
        held_volume - lag(held_volume) OVER edges AS held_volume,
        held_trades - lag(held_trades) OVER edges AS held_trades
    FROM (
        SELECT {", ".join(_EDGE_COLUMNS)}, is_end,
            sum(held_volume) OVER by_total AS held_volume, sum(held_trades) OVER by_total AS held_trades
        FROM ({_EDGES}) AS all_edges
        WINDOW by_total AS (PARTITION BY stock, symbol, session_date ORDER BY total)
    ) AS summed
    WHERE is_end IS NOT NULL
    WINDOW edges AS (PARTITION BY stock, session_date, stream, sequence ORDER BY is_end)
) AS counted
WHERE is_end = 1 AND volume - held_volume > {VOLUME_NOISE}"""

# A piece that is not a trade lies between two times and two volumes: the first pair says what opens a bar, the last
# pair what closes it.
_PIECES: Final = f"""
SELECT stock, session_date, exchange_time_ns / {NS_PER_MINUTE} * {NS_PER_MINUTE} AS minute_start_ns,
    exchange_time_ns AS at_ns, exchange_time_ns AS until_ns, venue, cumulative_volume - volume AS after_volume,
    cumulative_volume, price AS open, price AS high, price AS low, price AS close, volume, price * volume AS value,
    1 AS trades
FROM consolidated_trades
UNION ALL
SELECT stock, session_date, from_ns / {NS_PER_MINUTE} * {NS_PER_MINUTE}, from_ns, to_ns, venue, after_volume,
    cumulative_volume, open, high, low, close, volume, NULL, trades
FROM consolidated_conflated_trades"""

# Windows instead of GROUP BY: SQLite takes a condition on the stock into a window's rows, and not into a group's.
_MINUTE_BARS: Final = f"""
SELECT stock, session_date, minute_start_ns, open, high, low, close, volume, vwap, trades, venues FROM (
    SELECT stock, session_date, minute_start_ns, row_number() OVER in_time AS nth,
        first_value(open) OVER in_time AS open, max(high) OVER bar AS high, min(low) OVER bar AS low,
        first_value(close) OVER backwards AS close, sum(volume) OVER bar AS volume,
        CASE WHEN count(value) OVER bar = count(*) OVER bar AND sum(volume) OVER bar > 0
            THEN sum(value) OVER bar / sum(volume) OVER bar END AS vwap,
        CAST(sum(trades) OVER bar AS BIGINT) AS trades,
        dense_rank() OVER (bar ORDER BY venue) + dense_rank() OVER (bar ORDER BY venue DESC) - 1 AS venues
    FROM ({_PIECES}) AS pieces
    WINDOW bar AS (PARTITION BY stock, session_date, minute_start_ns),
        in_time AS (bar ORDER BY at_ns, venue, after_volume, cumulative_volume),
        backwards AS (bar ORDER BY until_ns DESC, venue DESC, cumulative_volume DESC)
) AS bars
WHERE nth = 1"""

_VENUE_DAILY_BARS: Final = f"""
SELECT stock, {", ".join(columns_of(DailyBar))} FROM (
    SELECT *, row_number() OVER (PARTITION BY stock, symbol, session_date ORDER BY stream DESC, sequence DESC) AS newest
    FROM ({_with_stock(DailyBar, "daily_bars.*")}) AS all_bars
) AS ranked
WHERE newest = 1"""

_DAILY_BARS: Final = """
SELECT stock, session_date, open, high, low, close, volume, value, vwap, venues FROM (
    SELECT stock, session_date, row_number() OVER (bar ORDER BY symbol) AS nth,
        max(CASE WHEN symbol = stock THEN open END) OVER bar AS open, max(high) OVER bar AS high,
        min(low) OVER bar AS low, max(CASE WHEN symbol = stock THEN close END) OVER bar AS close,
        sum(volume) OVER bar AS volume, sum(value) OVER bar AS value,
        CASE WHEN sum(volume) OVER bar > 0 THEN sum(value) OVER bar / sum(volume) OVER bar END AS vwap,
        count(*) OVER bar AS venues
    FROM venue_daily_bars
    WINDOW bar AS (PARTITION BY stock, session_date)
) AS bars
WHERE nth = 1"""

_QUOTE: Final = "symbol, venue, session_date, receive_time_ns AS quoted_ns"
_STREAMED: Final = "gap_id IS NULL AND coalesce(bid, ask) IS NOT NULL"
_QUOTES: Final = f"""
SELECT * FROM ({_with_stock(Trade, f"{_QUOTE}, bid, ask", _STREAMED)}) AS traded
UNION ALL SELECT * FROM ({_with_stock(OrderBook, f"{_QUOTE}, bid_1 AS bid, ask_1 AS ask")}) AS streamed
UNION ALL SELECT * FROM ({_with_stock(Snapshot, f"{_QUOTE}, bid, ask")}) AS swept"""

_BEST_QUOTES: Final = """
SELECT stock, session_date, bid, bid_symbol, bid_ns, ask, ask_symbol, ask_ns, venues FROM (
    SELECT stock, session_date, row_number() OVER by_bid AS nth, count(*) OVER stock_day AS venues,
        max(bid) OVER stock_day AS bid,
        first_value(CASE WHEN bid IS NOT NULL THEN symbol END) OVER by_bid AS bid_symbol,
        first_value(CASE WHEN bid IS NOT NULL THEN quoted_ns END) OVER by_bid AS bid_ns,
        min(ask) OVER stock_day AS ask,
        first_value(CASE WHEN ask IS NOT NULL THEN symbol END) OVER by_ask AS ask_symbol,
        first_value(CASE WHEN ask IS NOT NULL THEN quoted_ns END) OVER by_ask AS ask_ns
    FROM (
        SELECT *, row_number() OVER (PARTITION BY stock, symbol, session_date ORDER BY quoted_ns DESC) AS newest
        FROM consolidated_quotes
    ) AS of_lines
    WHERE newest = 1
    WINDOW stock_day AS (PARTITION BY stock, session_date),
        by_bid AS (stock_day ORDER BY bid DESC NULLS LAST, quoted_ns DESC, symbol),
        by_ask AS (stock_day ORDER BY ask NULLS LAST, quoted_ns DESC, symbol)
) AS ranked
WHERE nth = 1"""

# An inner join: either database begins with the groups of a symbol and day, or with the rows of a stream.
_TRADES: Final = f"""
SELECT {", ".join(_stored_column(column.name) for column in EVENT_TABLES[Trade].columns)}
FROM {TRADE_GROUPS.name} JOIN {TRADE_ROWS.name} ON {TRADE_ROWS.name}.group_id = {TRADE_GROUPS.name}.id"""

VIEWS: Final[Mapping[str, str]] = {
    "consolidated_trades": _with_stock(Trade, ", ".join(columns_of(Trade))),
    "consolidated_conflated_trades": _CONFLATED,
    "consolidated_minute_bars": _MINUTE_BARS,
    "venue_daily_bars": _VENUE_DAILY_BARS,
    "consolidated_daily_bars": _DAILY_BARS,
    "consolidated_quotes": _QUOTES,
    "best_quotes": _BEST_QUOTES,
}
"""The views by name, each after those that it reads. None has a column `stream` or `sequence`: no row is an event."""

_STATEMENTS: Final = {
    name: f"CREATE VIEW {name} AS {query}" for name, query in {EVENT_TABLES[Trade].name: _TRADES, **VIEWS}.items()
}
_OTHER_COLUMNS: Final = "42P16"  # PostgreSQL only replaces a view by a view with the same columns, and more after them
# The grants on our views: dropping a view drops its grants.
_GRANTS: Final = """
SELECT format('GRANT %s ON %I TO %s%s', privilege_type, relname,
    CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class CROSS JOIN aclexplode(relacl)
WHERE relkind = 'v' AND grantee <> relowner
    AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
ORDER BY 1"""


def make_views(connection: Connection) -> None:
    """Make all views anew. A migration that changes a table behind a view calls `drop_views` first and this function
    afterwards. A migration that only changes a view's definition needs neither: `stale_views` finds that view.
    """
    drop_views(connection)
    for name, statement in _STATEMENTS.items():
        _make(connection, name, statement)


def renew_views(connection: Connection) -> None:
    """Bring the views to the definitions of this code. PostgreSQL replaces a view where the columns allow it: grants on
    the view and other views that read it stay. Otherwise the view is dropped and made, and its grants are repeated.
    """
    if connection.dialect.name != "postgresql":
        make_views(connection)
        return
    try:
        with connection.begin_nested():
            for name in stale_views(connection):
                _make(connection, name, _STATEMENTS[name].replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _OTHER_COLUMNS:
            raise
        granted = connection.execute(text(_GRANTS)).scalars().all()
        make_views(connection)
        for grant in granted:
            connection.exec_driver_sql(grant)


def _make(connection: Connection, name: str, statement: str) -> None:
    connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":  # it keeps no text of a view's definition
        connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS '{_digest(_STATEMENTS[name])}'")


def stale_views(connection: Connection) -> list[str]:
    """The views that the database lacks or defines in another way than this code. A view follows the views that it
    reads.
    """
    if connection.dialect.name == "postgresql":
        found = connection.exec_driver_sql(
            "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class "
            "WHERE relkind = 'v' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
        )
        wanted = {name: _digest(statement) for name, statement in _STATEMENTS.items()}
    else:
        found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE type = 'view'")
        wanted = dict(_STATEMENTS)
    stated = {name: definition for name, definition in found}  # noqa: C416 - rows
    return [name for name, definition in wanted.items() if stated.get(name) != definition]


def _digest(statement: str) -> str:
    return hashlib.sha256(statement.encode()).hexdigest()


def drop_views(connection: Connection) -> None:
    for name in reversed(list(_STATEMENTS)):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
