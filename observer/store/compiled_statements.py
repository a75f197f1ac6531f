"""Engines that share compiled statements: each statement is compiled once a process, not once an engine.

SQLAlchemy finds a compiled statement by the engine's own dialect object. A sealing opens an engine a day and each
reader one of its own, so most of their statements would be compiled anew.
"""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import URL, ClauseElement, Engine, create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.util import LRUCache

_STATEMENTS: Final = 1_000
"""Statements of both databases that are kept; SQLAlchemy keeps 500 for each engine. When they are half as many more,
those unused for longest go.
"""


class _CompiledStatements(LRUCache[tuple[Any, ...], Any]):
    """Compiled statements, keyed by what decides on their text instead of by the dialect object."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(_without_engine(key), default)

    def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
        super().__setitem__(_without_engine(key), value)


def _without_engine(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the key with database, driver and server version in place of the dialect: these decide on the text and the
    conversion of values. A statement is compiled after its engine has connected, so the version is known.
    """
    dialect, *statement = key
    return (dialect.name, dialect.driver, dialect.server_version_info, *statement)


_COMPILED: Final = _CompiledStatements(_STATEMENTS)


def make_engine(url: URL, **options: Any) -> Engine:
    """Make an engine with these options. All engines of the process share its compiled statements.

    Threads may use them, as the threads of a single engine do.
    """
    return create_engine(url, execution_options={"compiled_cache": _COMPILED}, **options)


@lru_cache(_STATEMENTS)
def driver_text(statement: Hashable, driver: str) -> str:
    """The text of a statement for a driver (`_STYLES`), which takes the values by name; of one statement object it
    is made once a process.
    """
    assert isinstance(statement, ClauseElement)
    return str(statement.compile(dialect=registry.load(driver)(paramstyle=_STYLES[driver])))


_STYLES: Final = {"sqlite.pysqlite": "named", "postgresql.psycopg": "pyformat"}
