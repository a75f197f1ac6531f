"""A transaction of the writer on the driver's own connection.

Statements that never change are compiled once and run by the driver: of a commit of one trade SQLAlchemy was three
quarters of the processor time. What is rare in a commit runs in the same transaction by `Transaction.connection`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import ClauseElement, Connection, Engine
from sqlalchemy.pool import PoolProxiedConnection

from observer.store.compiled_statements import driver_text
from observer.store.engine import BEGIN_WRITING


class Transaction:
    """What a block of `transaction` runs its statements with; `driver` is the driver's connection."""

    def __init__(self, engine: Engine, pooled: PoolProxiedConnection) -> None:
        self._engine = engine
        self._pooled = pooled
        self._driver_name = f"{engine.dialect.name}.{engine.dialect.driver}"
        self.driver: Any = pooled.driver_connection

    @cached_property
    def connection(self) -> Connection:
        """SQLAlchemy's connection to the same transaction."""
        return Connection(self._engine, self._pooled)

    def run(self, statement: ClauseElement, values: Mapping[str, object]) -> Any:
        """The driver's cursor after a statement that is made once, with these values by name."""
        return self.driver.execute(driver_text(statement, self._driver_name), values)

    def close(self) -> None:
        """Give the connection back to the pool, which rolls back what is not committed."""
        (self.__dict__.get("connection") or self._pooled).close()


@contextmanager
def transaction(engine: Engine) -> Iterator[Transaction]:
    """A transaction of an engine that may write; it is committed at the end of the block, and undone by an error. The
    driver's own errors come as they are.
    """
    pooled = engine.raw_connection()
    begun = Transaction(engine, pooled)
    try:
        if engine.dialect.name == "sqlite":  # psycopg begins by itself
            begun.driver.execute(BEGIN_WRITING)
        yield begun
        begun.driver.commit()
    except engine.dialect.loaded_dbapi.Error as error:
        if engine.dialect.is_disconnect(error, pooled.dbapi_connection, None):
            pooled.invalidate(error)
        raise
    finally:
        begun.close()
