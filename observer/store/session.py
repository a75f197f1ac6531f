"""The common part of all database readers: open for reading, check the schema once, ask."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, select

from bus.events import Fact
from observer.store.engine import open_reader, require_current_schema, store_errors
from observer.store.rows import event_of
from observer.store.tables import EVENT_TABLES

FactT = TypeVar("FactT", bound=Fact)


def rows_of(
    event_type: type[Fact], *conditions: ColumnElement[bool], order: str = "", **equal: object
) -> Select[*tuple[Any, ...]]:
    """The statement of a kind's rows under these conditions and with these values of columns (None: any value), in the
    order of these columns.
    """
    table = EVENT_TABLES[event_type]
    equals = (table.c[name] == value for name, value in equal.items() if value is not None)
    return select(table).where(*conditions, *equals).order_by(*(table.c[name] for name in order.split()))


def events_in(
    connection: Connection, event_type: type[FactT], *conditions: ColumnElement[bool], order: str = "", **equal: object
) -> list[FactT]:
    """The events that are in these rows (`rows_of`)."""
    rows = connection.execute(rows_of(event_type, *conditions, order=order, **equal))
    return [event_of(event_type, row) for row in rows]


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

    def _stored(
        self, event_type: type[FactT], *conditions: ColumnElement[bool], order: str = "", **equal: object
    ) -> list[FactT]:
        """As `events_in`."""
        with self._asking() as connection:
            return events_in(connection, event_type, *conditions, order=order, **equal)

    def _rows(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        with self._asking() as connection:
            return connection.execute(statement).all()

    def _scalars(self, statement: Select[*tuple[Any, ...]]) -> list[Any]:
        """The first column."""
        return [row[0] for row in self._rows(statement)]

    def _scalar(self, statement: Select[*tuple[Any, ...]]) -> Any:
        """The first value; None without a row."""
        return next(iter(self._scalars(statement)), None)
