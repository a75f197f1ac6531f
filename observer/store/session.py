"""What all that read a database have in common: it is opened to read, looked at once, and asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection

from observer.store.engine import open_reader, require_current_schema, store_errors


class DatabaseReader:
    """Reads one database. Any thread may ask.

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
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        with store_errors(self._engine), self._engine.connect() as connection:
            yield connection
