"""The bytes of a stored row by column and index, as the database itself counts them.

SQLite: pages by dbstat, values by the record format (https://www.sqlite.org/fileformat2.html#record_format): a whole
number takes as many bytes as it needs, also in a REAL column. PostgreSQL: relations by pg_relation_size, values by
pg_column_size, without what aligns them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from observer.store.engine import open_reader, store_errors
from observer.store.tables import METADATA, TRADE_GROUPS, TRADE_ROWS

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SAMPLE_ROWS: Final = 100_000
_SQLITE_BYTES: Final = """
    CASE typeof({0})
        WHEN 'null' THEN 0
        WHEN 'text' THEN length(CAST({0} AS BLOB))
        WHEN 'blob' THEN length({0})
        ELSE CASE
            WHEN typeof({0}) = 'real' AND ({0} <> CAST({0} AS INTEGER) OR abs({0}) >= 140737488355328) THEN 8
            WHEN {0} IN (0, 1) THEN 0
            WHEN {0} BETWEEN -128 AND 127 THEN 1
            WHEN {0} BETWEEN -32768 AND 32767 THEN 2
            WHEN {0} BETWEEN -8388608 AND 8388607 THEN 3
            WHEN {0} BETWEEN -2147483648 AND 2147483647 THEN 4
            WHEN {0} BETWEEN -140737488355328 AND 140737488355327 THEN 6
            ELSE 8
        END
    END"""
_POSTGRESQL_BYTES: Final = "coalesce(pg_column_size({0}), 0)"


class PartSize(msgspec.Struct, frozen=True):
    """A column, an index, or what is left: the bytes of a row in it."""

    part: str
    bytes_per_row: float


def sizes_of_trades(url: str, trades: int) -> tuple[PartSize, ...]:
    """The parts of so many trades' rows, the largest first, with their groups, and "all" in front of them.

    Raises:
        StoreError: the database does not answer.
    """
    engine = open_reader(url)
    is_sqlite = engine.dialect.name == "sqlite"
    with store_errors(engine), engine.connect() as connection:
        relations_of = _sqlite_relations if is_sqlite else _postgresql_relations
        relations, groups = relations_of(connection, TRADE_ROWS.name), relations_of(connection, TRADE_GROUPS.name)
        columns = _columns(connection, TRADE_ROWS.name, _SQLITE_BYTES if is_sqlite else _POSTGRESQL_BYTES)
    engine.dispose()
    of_table = relations.pop(TRADE_ROWS.name) / trades
    parts = {f"column {column}": size for column, size in columns.items()}
    parts["row heads, alignment and free space"] = of_table - sum(columns.values())
    parts |= {f"index {index}": size / trades for index, size in relations.items()}
    parts["groups, with their index"] = sum(groups.values()) / trades
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return (PartSize("all", sum(parts.values())), *(PartSize(*each) for each in ordered))


def _columns(connection: "Connection", name: str, measure: str) -> Mapping[str, float]:
    names = [column.name for column in METADATA.tables[name].columns]
    wanted = ", ".join(f"avg({measure.format(column)})" for column in names)
    query = f"SELECT {wanted} FROM (SELECT * FROM {name} LIMIT {_SAMPLE_ROWS}) AS sample"
    found = connection.exec_driver_sql(query).one()
    return {column: float(size or 0.0) for column, size in zip(names, found, strict=True)}


def _sqlite_relations(connection: "Connection", name: str) -> dict[str, int]:
    wanted = (
        "SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE "
        "AND name IN (SELECT name FROM sqlite_schema WHERE tbl_name = ?)"
    )
    return {str(each): int(size) for each, size in connection.exec_driver_sql(wanted, (name,))}


def _postgresql_relations(connection: "Connection", name: str) -> dict[str, int]:
    wanted = (
        "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE oid = to_regclass(%(name)s) OR oid IN "
        "(SELECT indexrelid FROM pg_index WHERE indrelid = to_regclass(%(name)s))"
    )
    return {str(each): int(size) for each, size in connection.exec_driver_sql(wanted, {"name": name})}
