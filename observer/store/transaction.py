"""A transaction of the writer on the driver's own connection.

Statements that never change are compiled once and run by the driver: of a commit of one trade SQLAlchemy was three
quarters of the processor time. What is rare in a commit runs in the same transaction by `Transaction.connection`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import ClauseElement, Connection, Engine, event

from observer.store.compiled_statements import driver_text
from observer.store.engine import BEGIN_WRITING

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIModule
    from sqlalchemy.pool import PoolProxiedConnection


class Transaction:
    """What a block of `Transactions.begin` runs its statements with; `driver` is the driver's connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pooled: PoolProxiedConnection = engine.raw_connection()
        self._connection: Connection | None = None
        self._driver_name = f"{engine.dialect.name}.{engine.dialect.driver}"
        self.driver: Any = self._pooled.driver_connection

    @property
    def connection(self) -> Connection:
        """SQLAlchemy's connection to the same transaction."""
        if self._connection is None:
            self._connection = Connection(self._engine, self._pooled)
        return self._connection

    @property
    def is_the_drivers_alone(self) -> bool:
        """Whether SQLAlchemy knows nothing of the transaction."""
        return self._connection is None

    def run(self, statement: ClauseElement, values: Mapping[str, object]) -> Any:
        """The driver's cursor after a statement that is made once, with these values by name."""
        return self.driver.execute(driver_text(statement, self._driver_name), values)

    def commit(self) -> None:
        self.driver.commit()

    def lost(self, error: "DBAPIModule.Error") -> None:
        """Close a connection that the error says is lost."""
        if self._engine.dialect.is_disconnect(error, self._pooled.dbapi_connection, None):
            self._pooled.invalidate(error)

    def drop(self) -> None:
        """Close the connection: the pool that it came from is gone."""
        self._pooled.invalidate()

    def close(self) -> None:
        """Give the connection back to the pool, which rolls back what is not committed."""
        (self._connection or self._pooled).close()


class Transactions:
    """The transactions of a writer, one at a time.

    Between them a connection to SQLite stays out of the engine's pool: to take it and to give it back costs a tenth of
    a small commit. `give_back` comes before every other use of the engine, and the engine's `dispose` closes it, too.
    PostgreSQL's goes back, and is tested when it is taken.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._kept: Transaction | None = None
        event.listen(engine, "engine_disposed", self._drop)

    def _drop(self, _engine: Engine) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.drop()

    def give_back(self) -> None:
        """Give the kept connection back to the pool."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """A transaction of an engine that may write; it is committed at the end of the block, and undone by an error.
        The driver's own errors come as they are.
        """
        begun, self._kept = self._kept or Transaction(self._engine), None
        is_kept = False
        try:
            if self._is_sqlite:  # psycopg begins by itself
                begun.driver.execute(BEGIN_WRITING)
            yield begun
            begun.commit()
            is_kept = self._is_sqlite and begun.is_the_drivers_alone
        except self._engine.dialect.loaded_dbapi.Error as error:
            begun.lost(error)
            raise
        finally:
            if is_kept:
                self._kept = begun
            else:
                begun.close()
