"""How large the database is: bytes and rows by table, rows by day. No table that grows is read for it.

Rows are the statistics' estimate (`observer.store.statistics` makes them each day), exact in tables of few rows. SQLite
knows the bytes of a table only by reading every page: a large file has them in sum alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Table, func, inspect, select, text

from bus.events import SweepCompleted
from observer.store.engine import sqlite_path
from observer.store.session import DatabaseReader
from observer.store.tables import EVENT_TABLES, METADATA, ROW_TABLES, TRADE_GROUPS

PAGES_READ_BYTES_MAX: Final = 256_000_000
"""An SQLite file up to this size is read whole for the bytes of its tables: some tenths of a second."""

_GROWING: Final = frozenset(table.name for table in (*ROW_TABLES.values(), TRADE_GROUPS))
_DAY: Final = "session_date"
_SWEEPS: Final = EVENT_TABLES[SweepCompleted].c

# By the name of a table: an estimate of its rows (the first number of SQLite's text), and its bytes with its indexes.
_ESTIMATES: Final[Mapping[str, str]] = {
    "sqlite": "SELECT tbl AS name, max(CAST(stat AS INTEGER)) AS rows, NULL AS bytes FROM sqlite_stat1 GROUP BY tbl",
    "postgresql": "SELECT relname AS name, CAST(reltuples AS bigint) AS rows, pg_total_relation_size(oid) AS bytes "
    "FROM pg_class WHERE relkind = 'r' AND relnamespace = quote_ident(current_schema())::regnamespace",
}
_ALL: Final[Mapping[str, str]] = {
    "sqlite": "SELECT page_count * page_size AS bytes, freelist_count * page_size AS free "
    "FROM pragma_page_count, pragma_page_size, pragma_freelist_count",
    "postgresql": "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) AS bytes, 0 AS free FROM pg_class "
    "WHERE relkind = 'r' AND relnamespace = quote_ident(current_schema())::regnamespace",
}
# Reads the whole file; the pages of a table's indexes are its own.
_PAGES: Final = (
    "SELECT s.tbl_name AS name, sum(d.pgsize) AS bytes FROM dbstat AS d JOIN sqlite_schema AS s ON s.name = d.name "
    "WHERE d.aggregate = TRUE GROUP BY s.tbl_name"
)


class TableSize(msgspec.Struct, frozen=True):
    """A table: its rows, whether the rows were counted, and its bytes, indexes included. None: not known."""

    name: str
    rows: int | None
    is_exact: bool
    size_bytes: int | None


class DatabaseSize(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a database: in total, free for new rows, and of SQLite's log beside it. Its tables, the largest
    first.
    """

    size_bytes: int
    free_bytes: int
    log_bytes: int
    tables: Sequence[TableSize]


class SizeReader(DatabaseReader):
    """Reads sizes."""

    def sizes(self, pages_read_bytes_max: int = PAGES_READ_BYTES_MAX) -> DatabaseSize:
        """The database's size and that of each table. An SQLite file of more bytes than that has no bytes by table."""
        kind = self._engine.dialect.name
        with self._asking() as connection:
            [whole] = _rows(connection, _ALL[kind])
            has_estimates = kind != "sqlite" or inspect(connection).has_table("sqlite_stat1")
            estimates = {row.name: row for row in _rows(connection, _ESTIMATES[kind])} if has_estimates else {}
            table_bytes: Mapping[str, int | None] = {name: row.bytes for name, row in estimates.items()}
            if kind == "sqlite" and whole.bytes <= pages_read_bytes_max:
                table_bytes = {row.name: int(row.bytes) for row in _rows(connection, _PAGES)}
            rows = {name: row.rows for name, row in estimates.items()}
            tables = [_size_of(connection, table, rows, table_bytes) for table in METADATA.tables.values()]
        tables.sort(key=lambda each: (-(each.size_bytes or 0), -(each.rows or 0), each.name))
        return DatabaseSize(
            size_bytes=int(whole.bytes), free_bytes=int(whole.free), log_bytes=self._log_bytes(), tables=tables
        )

    def last_days(self, count: int) -> Sequence[str]:
        """The dates of the last sessions that were swept, the newest first."""
        found: list[str] = []
        with self._asking() as connection:
            while len(found) < count:
                before = [_SWEEPS.session_date < found[-1]] if found else []
                day: str | None = connection.scalar(select(func.max(_SWEEPS.session_date)).where(*before))
                if day is None:
                    break
                found.append(day)
        return found

    def day_rows(self, session_date: str) -> Mapping[str, int]:
        """The rows of a day in the tables whose index begins with it: not the trades, which are as many as all else."""
        found: dict[str, int] = {}
        with self._asking() as connection:
            for table in _OF_DAYS:
                count = select(func.count()).select_from(table).where(table.c[_DAY] == session_date)
                found[str(table.name)] = int(connection.execute(count).scalar_one())
        return {name: rows for name, rows in found.items() if rows}

    def _log_bytes(self) -> int:
        if self._engine.dialect.name != "sqlite":
            return 0
        path = sqlite_path(self._engine.url).absolute()
        log = path.with_name(f"{path.name}-wal")
        return log.stat().st_size if log.exists() else 0


_OF_DAYS: Final = tuple(
    table for table in EVENT_TABLES.values() if any(next(iter(index.columns)).name == _DAY for index in table.indexes)
)


def _rows(connection: Connection, statement: str) -> Sequence[Row[Any]]:
    return connection.execute(text(statement)).all()


def _size_of(
    connection: Connection, table: Table, estimates: Mapping[str, Any], table_bytes: Mapping[str, int | None]
) -> TableSize:
    size = table_bytes.get(table.name)
    if table.name not in _GROWING:
        count = int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        return TableSize(str(table.name), count, True, size)
    key = next(iter(table.primary_key.columns))
    if connection.scalar(select(1).select_from(table).where(key >= 0).limit(1)) is None:
        return TableSize(str(table.name), 0, True, size)
    estimate = estimates.get(table.name)
    return TableSize(str(table.name), None if estimate is None or estimate < 1 else int(estimate), False, size)
