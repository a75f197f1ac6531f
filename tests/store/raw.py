"""Access to the databases by their own drivers, without our code."""

import sqlite3
from contextlib import closing

import psycopg
from sqlalchemy import make_url


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    """The rows that the database itself gives."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(parsed.database))) as connection:
            return connection.execute(statement).fetchall()
    address = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        return connection.execute(statement.encode()).fetchall()


def execute(url: str, statement: str) -> None:
    """Run one statement and commit it."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(parsed.database))) as connection, connection:
            connection.execute(statement)
        return
    address = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute(statement.encode())
