"""The owner of a database (one instance) and its writer (one process)."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Engine, event, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from observer.errors import ConfigError, DatabaseInUseError, StoreError
from observer.store.engine import LOST_CONNECTION_S, migrate, open_reader, open_writer, sqlite_path, store_errors
from observer.store.instance import Instance, instance_url
from observer.store.schema import other_owner
from observer.store.tables import OWNER

_ONLY_ROW: Final = 1
_LOCK_WAIT_MS: Final = 2_000  # PostgreSQL releases a lock some time after its holder closed the connection


class Owner(msgspec.Struct, frozen=True):
    """The instance that a database belongs to, and the names of its brokers."""

    instance: Instance
    providers: Sequence[str]


def claim(url: str, instance: Instance, providers: Iterable[str], now_ns: int, copies: Path | None = None) -> None:
    """Bring the database to the schema of this code, and enter the instance with its brokers as the owner. `copies` is
    the folder for a dump of an older PostgreSQL database.

    Raises:
        ConfigError: it belongs to another instance; nothing was changed.
        DatabaseInUseError: another process writes it; nothing was changed.
        StoreError: as `migrate`.
    """
    url = instance_url(url, instance)
    with only_writer(url) as engine:
        _refuse_other_owner(engine, instance)
        migrate(url, copies)
        _enter_owner(engine, instance, ",".join(sorted(providers)), now_ns)


def migrate_own(url: str, instance: Instance) -> None:
    """As `claim`, for a command: a database without an owner stays without one."""
    url = instance_url(url, instance)
    with only_writer(url) as engine:
        _refuse_other_owner(engine, instance)
        migrate(url)


def _refuse_other_owner(engine: Engine, instance: Instance) -> None:
    with store_errors(engine), engine.connect() as connection:
        if not inspect(connection).has_table(OWNER.name):
            return
        owner = connection.execute(select(OWNER.c.name, OWNER.c.market)).first()
    if owner is not None and (owner.name, owner.market) != (instance.name, instance.market):
        raise ConfigError(other_owner(str(engine.url), Instance(name=owner.name, market=owner.market), instance))


def _enter_owner(engine: Engine, instance: Instance, providers: str, now_ns: int) -> None:
    insert = sqlite.insert(OWNER) if engine.dialect.name == "sqlite" else postgresql.insert(OWNER)
    entered = insert.values(
        id=_ONLY_ROW, name=instance.name, market=instance.market, providers=providers, created_ns=now_ns
    )
    with store_errors(engine), engine.begin() as connection:
        connection.execute(entered.on_conflict_do_update(index_elements=[OWNER.c.id], set_={"providers": providers}))


def owner_of(url: str) -> Owner | None:
    """The owner of a database with the current schema; None if no instance has claimed it.

    Raises:
        StoreError: it is not there, or does not answer.
    """
    engine = open_reader(url)
    try:
        with store_errors(engine), engine.connect() as connection:
            row = connection.execute(select(OWNER)).first()
    finally:
        engine.dispose()
    if row is None:
        return None
    return Owner(Instance(name=row.name, market=row.market), row.providers.split(","))


# --- one writing process -------------------------------------------------------------------------------------


class WriterLock:
    """Held while a process writes a database.

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
        """Lock the database; a later connection to PostgreSQL, after a loss of this one, locks by itself.

        Raises:
            DatabaseInUseError: another process writes it.
            StoreError: it cannot be reached.
        """
        if self._engine.dialect.name == "postgresql":
            with store_errors(self._engine), self._engine.connect():
                return
        while self._descriptor is None:
            self._descriptor = _locked(self._lock_path)

    def release(self) -> None:
        """Close the engine's connections and release the lock."""
        self._engine.dispose()
        if self._descriptor is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _lock_path(self) -> Path:
        path = sqlite_path(self._engine.url).resolve()  # one file has one lock, whichever links lead to it
        return path.with_name(f"{path.name}.lock")


@contextlib.contextmanager
def only_writer(url: str) -> Iterator[Engine]:
    """An engine that writes the database, and the promise that no other process writes it while the block runs.

    Raises:
        DatabaseInUseError: another process writes it.
        StoreError: it cannot be reached.
    """
    engine = open_writer(url)
    lock = WriterLock(engine)
    try:
        lock.acquire()
        yield engine
    finally:
        lock.release()


def require_unused(url: str) -> None:
    """Return if no process writes the database.

    Raises:
        DatabaseInUseError, StoreError: as `only_writer`.
    """
    with only_writer(url):
        pass


def _locked(path: Path) -> int | None:
    """The descriptor of the locked file; None if its last holder removed it meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot make the lock of the database: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        raise DatabaseInUseError(_in_use(str(path.with_suffix("")))) from None
    os.close(descriptor)
    return None


def _lock_each_connection(engine: Engine) -> None:
    from psycopg.errors import LockNotAvailable

    @event.listens_for(engine, "connect")
    def lock(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {_LOCK_WAIT_MS}")
                cursor.execute("SELECT pg_advisory_lock(hashtext('observer'), hashtext(current_schema()))")
            connection.commit()
        except LockNotAvailable:
            connection.close()
            lost = f"; the server ends the connection of a machine that is gone after {LOST_CONNECTION_S} s"
            raise DatabaseInUseError(_in_use(str(engine.url)) + lost) from None


def _in_use(database: str) -> str:
    return f"another process writes {database}: stop its system (observer ctl shutdown), or wait for its command to end"
