"""Statements that change the view of trades, in SQLite."""

import sqlite3

from observer.store.tables import GROUP_COLUMNS, TRADE_ROWS


def with_writable_trades(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, on which statements may change the rows of the view `trades`; none of them counts as a changed
    row. A changed trade gets a group of its own.
    """
    row = "trade_rows WHERE stream = OLD.stream AND sequence = OLD.sequence"
    own = [name for name in TRADE_ROWS.columns.keys() if name != "group_id"]  # noqa: SIM118 - not a dict
    texts = ", ".join(f"NEW.{name}" for name in GROUP_COLUMNS)
    added = f"""
        INSERT INTO trade_groups (id, stream, part, {", ".join(GROUP_COLUMNS)})
        SELECT coalesce(max(id), 0) + 1, NEW.stream, 0, {texts} FROM trade_groups;
        INSERT INTO trade_rows (group_id, {", ".join(own)})
        SELECT max(id), {", ".join(f"NEW.{name}" for name in own)} FROM trade_groups;"""
    for change, body in {
        "DELETE": f"DELETE FROM {row};",
        "UPDATE": f"DELETE FROM {row}; {added}",
        "INSERT": added,
    }.items():
        connection.execute(f"CREATE TEMP TRIGGER trades_{change} INSTEAD OF {change} ON main.trades BEGIN {body} END")
    return connection
