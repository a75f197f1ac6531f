"""Query plans: every statement that the store issues, with its plan in the database, and whether it scans a table."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, event

import observer.store

FOLDER: Final = Path(observer.store.__file__).parent
_FOLDER: Final = str(FOLDER)
_CALLS: Final = frozenset(
    {"execute", "scalar", "scalars", "exec_driver_sql", "_events", "_stored", "_rows", "_scalars", "_scalar"}
)
_FUNCTIONS: Final = frozenset({"events_in"})

Site = tuple[str, int]
"""A line of a file of the store."""


class Statement(msgspec.Struct, frozen=True):
    """One statement as the driver got it, and its callers in the store, the innermost first."""

    text: str
    parameters: Any
    sites: tuple[Site, ...]

    @property
    def is_query(self) -> bool:
        """Whether it reads rows, or searches those that it changes."""
        return self.text.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE"))


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """The statements of all engines within the block."""
    found: list[Statement] = []

    def take(
        _connection: Connection, _cursor: object, text: str, parameters: Any, _context: object, is_many: bool
    ) -> None:
        found.append(Statement(text, parameters[0] if is_many else parameters, tuple(_callers())))

    event.listen(Engine, "before_cursor_execute", take)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", take)


def _callers() -> Iterator[Site]:
    frame = sys._getframe(1)
    while frame is not None:
        folder, _, name = frame.f_code.co_filename.rpartition("/")
        if folder == _FOLDER:
            yield name, frame.f_lineno
        frame = frame.f_back


def call_sites(but: Sequence[str]) -> dict[Site, range]:
    """Every call in the store that runs a statement, with its lines; without those of some files."""
    found: dict[Site, range] = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.name in but:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr=name)):
                    runs = name in _CALLS
                case ast.Call(func=ast.Name(id=name)):
                    runs = name in _FUNCTIONS
                case _:
                    continue
            if runs:
                end = node.end_lineno or node.lineno
                found[path.name, node.func.end_lineno or node.lineno] = range(node.lineno, end + 1)
    return found


def scans(
    connection: Connection, statement: Statement, growing: frozenset[str], indexes: Mapping[str, str]
) -> set[str]:
    """The tables that the statement's plan scans, out of those that grow.

    Args:
        connection: of either database; PostgreSQL's with `enable_seqscan` off, so that an index is used if one serves.
        statement: any query.
        growing: the tables' names.
        indexes: by index, its first column: a search that does not name this reads the whole index. Those of the
            database itself are not among them.
    """
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)
        return {name for row in plan if (name := _scanned(row[3])) in growing}
    [[document]] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement.text}", statement.parameters)
    return {name for name in _scanned_by(document[0]["Plan"], None, indexes) if name in growing}


def _scanned(step: str) -> str:
    """The table that a step of an SQLite plan reads whole; empty for a search."""
    words = step.split()
    is_whole = words[0] == "SCAN" or (words[0] == "SEARCH" and ("USING" not in words or "AUTOMATIC" in words))
    return words[1] if is_whole else ""


def _scanned_by(node: Mapping[str, Any], table: str | None, indexes: Mapping[str, str]) -> Iterator[str]:
    """The tables that a step of a PostgreSQL plan and those below it read whole."""
    table = node.get("Relation Name", table)
    kind, condition = node["Node Type"], node.get("Index Cond", "")
    if kind == "Seq Scan" or ("Index" in kind and indexes.get(node["Index Name"], "") not in condition):
        yield str(table)
    for below in node.get("Plans", ()):
        yield from _scanned_by(below, table, indexes)
