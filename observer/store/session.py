"""The common part of all database readers: open for reading, check the schema once, query."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Select

from bus.events import Fact
from observer.store.engine import open_reader, require_current_schema, store_errors
from observer.store.rows import event_of

FactT = TypeVar("FactT", bound=Fact)


class DatabaseReader:
    """Reads one database. Any thread may query.

    Raises:
        StoreError: from opening and from every question: the database is not there, does not answer, or has another
            schema than this code.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_reader(url)
        require_current_schema(self._engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        with store_errors(self._engine), self._engine.connect() as connection:
            yield connection

    def _events(self, event_type: type[FactT], statement: Select[*tuple[Any, ...]]) -> list[FactT]:
        with self._asking() as connection:
            return [event_of(event_type, row) for row in connection.execute(statement)]
