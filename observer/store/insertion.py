"""How rows get into a table quickest, and how a database says that a row is at fault: SQLite and PostgreSQL differ."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, Table, insert
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.dialects import sqlite

from observer.store.rows import Row
from observer.store.tables import EVENT_TABLES, QUARANTINE

InsertRows = Callable[[Connection, Table, Sequence[Row]], None]
"""Inserts rows into one of the tables that the writer appends to."""

_TABLES: Final = (*EVENT_TABLES.values(), QUARANTINE)

# The last two are what the drivers say to text that is no Unicode and to numbers beyond 64 bits.
_REFUSALS: Final = (
    sqlalchemy_errors.IntegrityError,
    sqlalchemy_errors.DataError,
    UnicodeEncodeError,
    OverflowError,
)


class Insertion(msgspec.Struct, frozen=True):
    """A database's way: `refusals` are the errors that put a row at fault, and not the database."""

    insert: InsertRows
    refusals: tuple[type[Exception], ...]


def insertion_of(engine: Engine) -> Insertion:
    """The way of the engine's database."""
    return _sqlite() if engine.dialect.name == "sqlite" else _postgresql()


def _sqlite() -> Insertion:
    statements = {table.name: str(insert(table).compile(dialect=sqlite.dialect())) for table in _TABLES}

    def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        connection.exec_driver_sql(statements[table.name], list(rows))

    return Insertion(insert_rows, _REFUSALS)


def _postgresql() -> Insertion:
    """By COPY, for which SQLAlchemy is out of the way: its errors are the driver's own."""
    import psycopg  # 10 MB that a writer of SQLite does not need
    from psycopg import sql

    statements = {
        table.name: sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.columns.keys()))
        )
        for table in _TABLES
    }

    def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        driver_connection = connection.connection.driver_connection
        assert isinstance(driver_connection, psycopg.Connection)
        with driver_connection.cursor() as cursor, cursor.copy(statements[table.name]) as copy:
            for row in rows:
                copy.write_row(row)

    return Insertion(insert_rows, (*_REFUSALS, psycopg.IntegrityError, psycopg.DataError))
