"""Copies of the campaign's database, made while its writer works, and put back later.

On SQLite a copy takes the place of the file, as a restored backup does. On PostgreSQL the tables get the rows of the
copy in one transaction while the writer runs on: so a fail-over that loses commits looks.
"""

import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql
from sqlalchemy import make_url

KEPT = 4  # the first copy, which holds nothing, and the newest


class Copies(Protocol):
    """The copies of one database."""

    def make(self) -> None:
        """Copy the database as it is now."""
        ...

    def put_back(self) -> None:
        """Make the database what it was at one of the copies."""
        ...

    def clear_away(self) -> None:
        """Delete the copies."""
        ...


def copies_of(url: str, folder: Path, rng: random.Random) -> Copies:
    """The copies of this database; the first one is made now."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return SqliteCopies(Path(str(address.database)), folder, rng)
    return PostgresqlCopies(address.set(drivername="postgresql").render_as_string(hide_password=False), rng)


class _Choice:
    """Which copies there are: numbers, the newest last."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._numbers: list[int] = []
        self._made = 0

    def add(self) -> tuple[int, int | None]:
        """The number of a new copy, and that of the one to delete for it."""
        self._made += 1
        self._numbers.append(self._made)
        return self._made, self._numbers.pop(1) if len(self._numbers) > KEPT else None

    def choose(self) -> int:
        """One of the newest; now and then the first one, behind which everything is delivered again."""
        *_, first = reversed(self._numbers)
        return first if self._rng.random() < 0.1 else self._rng.choice(self._numbers[1:] or [first])

    def all(self) -> Sequence[int]:
        return self._numbers


class SqliteCopies:
    """Copies by the online backup API."""

    def __init__(self, database: Path, folder: Path, rng: random.Random) -> None:
        self._database = database
        self._folder = folder
        self._choice = _Choice(rng)
        self.make()

    def _path(self, number: int) -> Path:
        return self._folder / f"copy-{number}.db"

    def make(self) -> None:
        number, superseded = self._choice.add()
        with closing(sqlite3.connect(self._database)) as source, closing(sqlite3.connect(self._path(number))) as copy:
            source.backup(copy)
        if superseded is not None:
            self._path(superseded).unlink()

    def put_back(self) -> None:
        unfinished = self._database.with_name("being-restored.db")
        shutil.copyfile(self._path(self._choice.choose()), unfinished)
        for suffix in ("", "-wal", "-shm"):  # the file first: a writer that opens it meanwhile makes no log beside it
            self._database.with_name(f"{self._database.name}{suffix}").unlink(missing_ok=True)
        unfinished.replace(self._database)

    def clear_away(self) -> None:
        for number in self._choice.all():
            self._path(number).unlink(missing_ok=True)


class PostgresqlCopies:
    """Copies in schemas beside the database's own."""

    def __init__(self, address: str, rng: random.Random) -> None:
        self._address = address
        self._rng = rng
        self._choice = _Choice(rng)
        with psycopg.connect(address) as connection:
            self._schema = _column(connection, "SELECT current_schema()")[0]
            self._tables = _column(
                connection,
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace "
                "AND relname <> 'alembic_version' ORDER BY relname <> 'streams', relname",  # the writer's first lock
            )
            self._sequences = _column(
                connection,
                "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace",
            )
        self.make()

    def _copy(self, number: int) -> str:
        return f"{self._schema}_copy_{number}"

    def make(self) -> None:
        number, superseded = self._choice.add()
        copy = self._copy(number)
        with psycopg.connect(self._address) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # all tables at one moment
            _run(connection, "SET LOCAL synchronous_commit = off")
            _run(connection, "CREATE SCHEMA {}", copy)
            for table in self._tables:
                if _column(connection, "SELECT 'a row' FROM {} LIMIT 1", table):
                    _run(connection, "CREATE TABLE {}.{} AS TABLE {}", copy, table, table)
            for name in self._sequences:
                _run(connection, "CREATE TABLE {}.{} AS SELECT last_value, is_called FROM {}", copy, name, name)
        if superseded is not None:
            self._delete(superseded)

    def put_back(self) -> None:
        copy = self._copy(self._choice.choose())
        with psycopg.connect(self._address) as connection:
            _run(connection, "SET LOCAL synchronous_commit = off")
            _run(connection, "LOCK TABLE streams")  # a commit of the writer comes wholly before this or wholly after it
            copied = _column(connection, f"SELECT relname FROM pg_class WHERE relnamespace = '{copy}'::regnamespace")
            for table in self._tables:
                if _column(connection, "SELECT 'a row' FROM {} LIMIT 1", table):
                    _run(connection, "DELETE FROM {}", table)
                if table in copied:
                    _run(connection, "INSERT INTO {} SELECT * FROM {}.{}", table, copy, table)
            for name in self._sequences:
                _run(connection, f"SELECT setval('{name}', last_value, is_called) FROM {{}}.{{}}", copy, name)
            if self._rng.random() < 0.5:  # a fail-over ends the connections, and the loss of it can go unnoticed too
                _run(
                    connection,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND application_name = nullif(current_setting('application_name'), '')",
                )

    def _delete(self, number: int) -> None:
        with psycopg.connect(self._address) as connection:
            _run(connection, "DROP SCHEMA {} CASCADE", self._copy(number))

    def clear_away(self) -> None:
        for number in self._choice.all():
            self._delete(number)


def _run(connection: psycopg.Connection, statement: str, *names: str) -> psycopg.Cursor:
    return connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


def _column(connection: psycopg.Connection, statement: str, *names: str) -> list[str]:
    return [row[0] for row in _run(connection, statement, *names)]
