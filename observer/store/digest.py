"""The content of a database as digests, one for each table, independent of the order of rows.

A table's digest is the sum, modulo 2**256, of the SHA-256 of its rows: unlike an exclusive or, a sum does not cancel a
doubled row. A row's hash covers the fields of its event, not its position (stream, sequence). So a database and the
replay of its capture agree, SQLite with PostgreSQL too. For the quarantine the hash covers the bytes and not the
reason, which each database words differently.

0.0 and -0.0 have one digest, as only one of the databases distinguishes them. NaN has no common digest: PostgreSQL
stores a value that SQLite refuses or makes NULL.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Select, Table, select

from observer.store.engine import reading, require_current_schema
from observer.store.rows import Value
from observer.store.tables import ETFS, EVENT_TABLES, LISTINGS, QUARANTINE

_ROWS_AT_ONCE: Final = 2_000
_MODULUS: Final = 2**256
_POSITION: Final = frozenset({"stream", "sequence"})
_IN_EACH_DATABASES_WORDS: Final = frozenset({"reason"})

_encoder: Final = msgspec.msgpack.Encoder()


class TableDigest(msgspec.Struct, frozen=True):
    """The number of rows of a table, and the digest of their content as 64 hexadecimal digits."""

    rows: int
    digest: str


class DatabaseDigest(msgspec.Struct, frozen=True):
    """The digest of each table with content, by name, and one digest of all tables."""

    tables: Mapping[str, TableDigest]
    digest: str


def digest_of_rows(rows: Iterable[Sequence[Value]]) -> TableDigest:
    """The digest of the rows, independent of their order."""
    total, count = 0, 0
    for row in rows:
        canonical = _encoder.encode([value + 0.0 if isinstance(value, float) else value for value in row])
        total += int.from_bytes(hashlib.sha256(canonical).digest())
        count += 1
    return TableDigest(count, f"{total % _MODULUS:064x}")


def digest(url: str) -> DatabaseDigest:
    """Read the whole database in one consistent state.

    Raises:
        StoreError: the database is missing, does not answer, or has another schema than this code.
    """
    with reading(url) as connection:
        require_current_schema(connection.engine)
        in_portions = connection.execution_options(yield_per=_ROWS_AT_ONCE)
        tables = {
            table.name: digest_of_rows(tuple(row) for row in in_portions.execute(_content(table)))
            for table in (*EVENT_TABLES.values(), LISTINGS, ETFS, QUARANTINE)
        }
    return DatabaseDigest(tables, _digest_of_all(tables))


def _content(table: Table) -> Select[*tuple[Any, ...]]:
    left_out = _POSITION | _IN_EACH_DATABASES_WORDS if table is QUARANTINE else _POSITION
    return select(*(column for column in table.columns if column.name not in left_out))


def _digest_of_all(tables: Mapping[str, TableDigest]) -> str:
    lines = (f"{name} {table.rows} {table.digest}\n" for name, table in sorted(tables.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
