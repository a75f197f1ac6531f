"""Puts many rows into a table at once, in the way of each database, and names the errors that blame a row."""

import sqlite3
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Double, Engine, Integer, LargeBinary, Table, Text, insert
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

from bus.events import Trade
from observer.store.rows import Row
from observer.store.tables import EVENT_TABLES, QUARANTINE, ROW_TABLES, TRADE_ROWS
from observer.store.trade_groups import TradeGroups
from observer.store.transaction import Transaction

_InsertRows = Callable[[Any, Table, Iterable[Row]], None]
"""Inserts rows by the driver's connection into a table that the writer appends to, trades as rows of TRADE_ROWS."""

_TABLES: Final = (*ROW_TABLES.values(), QUARANTINE)

_VALUES_A_LOT: Final = 450  # of one statement of SQLite, that is 25 trades: a longer one saves nothing more

# The drivers raise the last two for text that is no Unicode and for numbers beyond 64 bits.
_REFUSALS: Final = (
    sqlalchemy_errors.IntegrityError,
    sqlalchemy_errors.DataError,
    UnicodeEncodeError,
    OverflowError,
)


class Insertion(msgspec.Struct, frozen=True):
    """Inserts rows in the way of one database; `refusals` are the errors that blame a row and not the database. Rows of
    trades are packed with `groups`, which the transaction around it begins and keeps.
    """

    insert: Callable[[Transaction, Table, Sequence[Row]], None]
    refusals: tuple[type[Exception], ...]
    groups: TradeGroups


def insertion_of(engine: Engine) -> Insertion:
    """How rows are inserted into the engine's database."""
    insert_rows, refusals = _sqlite() if engine.dialect.name == "sqlite" else _postgresql()
    groups = TradeGroups()

    def insert_packed(begun: Transaction, table: Table, rows: Sequence[Row]) -> None:
        if table is EVENT_TABLES[Trade]:
            for packed in groups.packing(begun, rows):
                insert_rows(begun.driver, TRADE_ROWS, packed)
        else:
            insert_rows(begun.driver, table, rows)

    return Insertion(insert_packed, refusals, groups)


def _sqlite() -> tuple[_InsertRows, tuple[type[Exception], ...]]:
    """Insert lots of rows by one statement each, and the rest row by row: a statement costs more than a row in it.

    With OR FAIL a refusal leaves the lot's rows before the refused one; the caller undoes them with the transaction or
    savepoint around it. Without OR FAIL, SQLite keeps a copy of each changed page in a file of its own.
    """
    # For each None and bool the driver searches in vain for a conversion, which costs as much as ten other values. A
    # registered conversion is found at once; these two return the value that the driver binds without a conversion.
    sqlite3.register_adapter(types.NoneType, {None: None}.get)
    sqlite3.register_adapter(bool, int)

    def insert_rows(driver: sqlite3.Connection, table: Table, found: Iterable[Row]) -> None:
        statement, lot, size = _sqlite_statements(table)
        rows = list(found)
        in_lots = len(rows) - len(rows) % size
        if in_lots:
            values = [tuple(chain.from_iterable(rows[first : first + size])) for first in range(0, in_lots, size)]
            driver.executemany(lot, values)
        if in_lots < len(rows):
            driver.executemany(statement, rows[in_lots:])

    return insert_rows, (*_REFUSALS, sqlite3.IntegrityError, sqlite3.DataError)


@cache  # made once, for a table that gets rows: making all of them at each opening took five sixths of its time
def _sqlite_statements(table: Table) -> tuple[str, str, int]:
    """The statement of one row, that of a lot, and the rows of a lot."""
    statement = str(insert(table).prefix_with("OR FAIL").compile(dialect=sqlite.dialect()))
    size = max(1, _VALUES_A_LOT // len(table.columns))
    row = ", ".join("?" * len(table.columns))
    return statement, statement + f", ({row})" * (size - 1), size


# The driver's names of the columns' types. Binary rows take a third of the processor time that texts take.
_TYPES: Final[Mapping[type[TypeEngine[Any]], str]] = {
    Integer: "int4",
    BigInteger: "int8",
    Double: "float8",
    Text: "text",
    Boolean: "bool",
    LargeBinary: "bytea",
}


def _postgresql() -> tuple[_InsertRows, tuple[type[Exception], ...]]:
    """Insert by COPY."""
    import psycopg  # 10 MB that a writer of SQLite does not need
    from psycopg import sql

    statements = {
        table.name: sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.columns.keys()))
        )
        for table in _TABLES
    }
    column_types = {table.name: [_TYPES[type(column.type)] for column in table.columns] for table in _TABLES}

    def insert_rows(driver: psycopg.Connection, table: Table, rows: Iterable[Row]) -> None:
        with driver.cursor() as cursor, cursor.copy(statements[table.name]) as copy:
            copy.set_types(column_types[table.name])
            for row in rows:
                copy.write_row(row)

    return insert_rows, (*_REFUSALS, psycopg.IntegrityError, psycopg.DataError)
