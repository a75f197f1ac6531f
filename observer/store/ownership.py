"""The owner of a database (one instance) and its writer (one process)."""

import fcntl
import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, event, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from observer.errors import ConfigError, StoreError
from observer.store.engine import migrate, open_reader, open_writer, sqlite_path, store_errors
from observer.store.instance import Instance, instance_url
from observer.store.schema import other_owner
from observer.store.tables import OWNER

_ONLY_ROW: Final = 1


def claim(url: str, instance: Instance, providers: Iterable[str], now_ns: int) -> None:
    """Bring the database to the schema of this code, and enter the instance as its owner if it has none.

    Raises:
        ConfigError: it belongs to another instance.
        StoreError: as `migrate`.
    """
    url = instance_url(url, instance)
    migrate(url)
    engine = open_writer(url)
    try:
        _claim(engine, instance, ",".join(sorted(providers)), now_ns)
    finally:
        engine.dispose()


def _claim(engine: Engine, instance: Instance, providers: str, now_ns: int) -> None:
    insert = sqlite.insert(OWNER) if engine.dialect.name == "sqlite" else postgresql.insert(OWNER)
    entered = insert.values(
        id=_ONLY_ROW, name=instance.name, market=instance.market, providers=providers, created_ns=now_ns
    )
    with store_errors(engine), engine.begin() as connection:
        connection.execute(entered.on_conflict_do_nothing())
        owner = connection.execute(select(OWNER)).one()
        if (owner.name, owner.market) == (instance.name, instance.market):
            connection.execute(update(OWNER).values(providers=providers))
            return
    raise ConfigError(other_owner(str(engine.url), Instance(name=owner.name, market=owner.market), instance))


def owner_of(url: str) -> Instance | None:
    """The instance that a database with the current schema belongs to; None if no instance has claimed it.

    Raises:
        StoreError: it is not there, or does not answer.
    """
    engine = open_reader(url)
    try:
        with store_errors(engine), engine.connect() as connection:
            row = connection.execute(select(OWNER.c.name, OWNER.c.market)).first()
    finally:
        engine.dispose()
    return Instance(name=row.name, market=row.market) if row else None


# --- one writing process -------------------------------------------------------------------------------------


class WriterLock:
    """Held while a process writes a database; a second one waits at most the engine's lock time-out for it.

    SQLite: a lock on `<file>.lock`, not on the file itself, as closing a second descriptor of that would drop SQLite's
    own locks. PostgreSQL: an advisory lock of each connection of the engine, named by the schema, so that a process
    that lost its connection has lost the lock with it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._descriptor: int | None = None
        if engine.dialect.name == "postgresql":
            _lock_each_connection(engine)

    def acquire(self) -> None:
        """Lock the file of an SQLite database. Connections to PostgreSQL lock by themselves.

        Raises:
            StoreError: another process writes it.
        """
        if self._engine.dialect.name != "sqlite":
            return
        while self._descriptor is None:
            self._descriptor = _locked(self._lock_path)

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _lock_path(self) -> Path:
        path = sqlite_path(self._engine.url).absolute()
        return path.with_name(f"{path.name}.lock")


def _locked(path: Path) -> int | None:
    """The descriptor of the locked file; None if its last holder removed it meanwhile."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(f"another core writer writes {path.with_suffix('')}: stop it first") from None
    os.close(descriptor)
    return None


def _lock_each_connection(engine: Engine) -> None:
    from psycopg.errors import LockNotAvailable

    @event.listens_for(engine, "connect")
    def lock(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute("SELECT pg_advisory_lock(hashtext('observer'), hashtext(current_schema()))")
            connection.commit()
        except LockNotAvailable:
            connection.close()
            raise StoreError(f"another core writer writes {engine.url}: stop it first") from None
