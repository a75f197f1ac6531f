"""The owner of a database: one instance, whose one system writes it, in one process at a time.

`claim` brings a database to the schema of this code and enters instance and system into its owner row. `Hold` is the
writing process's: it locks the database, refuses any other one that comes to its address, goes on with that one after
`adopt`, renews the system's heartbeat, and gives the ownership up in `leave`.
"""

import contextlib
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, Row, Update, event, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from observer.base.clock import RealClock
from observer.base.errors import (
    ConfigError,
    DatabaseInUseError,
    DatabaseRemovedError,
    DatabaseReplacedError,
    StoreError,
    StoreFailedError,
)
from observer.base.file_lock import FileLock
from observer.base.instance import Instance, instance_url
from observer.store.admission import Stated, require_own, require_unowned, stated_in
from observer.store.engine import (
    LOST_CONNECTION_S,
    migrate,
    open_writer,
    reading,
    require_current_schema,
    sqlite_path,
    store_errors,
)
from observer.store.identity import FileIdentity, ServerIdentity, held, refuse_hard_links, server_identity
from observer.store.interrupted_restore import undo_interrupted_restore
from observer.store.schema import other_owner
from observer.store.systems import (
    HEARTBEAT_EVERY_S,
    System,
    described,
    is_same,
    this_system,
)
from observer.store.tables import OWNER
from observer.store.transaction import Transactions

logger = logging.getLogger(__name__)

_ONLY_ROW: Final = 1
_SYSTEM_COLUMNS: Final = (*System.__struct_fields__, "place", "started_ns", "heartbeat_ns")
_MARK: Final = {
    "sqlite": "SELECT high_water_mark FROM streams WHERE uid = ?",
    "postgresql": "SELECT high_water_mark FROM streams WHERE uid = %s",
}
_LOCK_WAIT_MS: Final = 2_000  # PostgreSQL releases a lock some time after its holder closed the connection


class Owner(msgspec.Struct, frozen=True):
    """The instance that a database belongs to, and the names of its brokers."""

    instance: Instance
    providers: Sequence[str]


def claim(
    url: str,
    instance: Instance,
    providers: Iterable[str],
    now_ns: int,
    system: System | None = None,
    copies: Path | None = None,
) -> None:
    """Bring the database to the schema of this code, and enter the instance with its brokers as the owner.

    Args:
        url: the database.
        instance: becomes or is the owner.
        providers: the names of its brokers.
        now_ns: market time.
        system: is entered, too, and owns the database until its `Hold` is left. A command enters none.
        copies: the folder for a dump of an older PostgreSQL database.

    Raises:
        ConfigError: it belongs to another instance; nothing was changed.
        DatabaseInUseError: another process writes it, or another living system owns it; nothing was changed.
        StoreError: as `migrate`.
    """
    with _migrated(url, instance, copies, system) as engine, store_errors(engine), engine.begin() as connection:
        _enter(connection, instance, ",".join(sorted(providers)), now_ns, system)


def migrate_own(url: str, instance: Instance, copies: Path | None = None) -> None:
    """As `claim`, for a command: a database without an owner stays without one."""
    with _migrated(url, instance, copies):
        pass


@contextlib.contextmanager
def _migrated(url: str, instance: Instance, copies: Path | None, system: System | None = None) -> Iterator[Engine]:
    url = instance_url(url, instance)
    with only_writer(url, system) as engine:
        with store_errors(engine), engine.connect() as connection:
            require_own(str(engine.url), _stated(connection), instance)
        migrate(url, copies)
        yield engine


def owner_of(url: str) -> Owner | None:
    """The owner of a database with the current schema; None if no instance has claimed it.

    Raises:
        StoreError: it is not there, or does not answer.
    """
    with reading(url) as connection:
        row = connection.execute(select(OWNER)).first()
    return None if row is None else Owner(Instance(name=row.name, market=row.market), row.providers.split(","))


@contextlib.contextmanager
def only_writer(url: str, system: System | None = None, *, is_replaced: bool = False) -> Iterator[Engine]:
    """Yield an engine that writes the database. No other process writes the database while the block runs.

    Args:
        url: the database.
        system: the system that may own it; None for a command.
        is_replaced: by the block. Then the database may be damaged or gone, and there is no owner to ask.

    Raises:
        DatabaseInUseError: another process writes the database, or another living system owns it.
        StoreError: the database cannot be reached.
    """
    engine = open_writer(url)
    hold = Hold(engine)
    try:
        hold.lock()
        if engine.dialect.name != "sqlite" or sqlite_path(engine.url).exists():  # a look must not make the file
            try:
                _refuse_living_owner(engine, system or this_system())
            except DatabaseInUseError:
                raise
            except StoreError as error:
                if not is_replaced:
                    raise
                logger.warning("the owner of the replaced database is unknown: %s", error)
        yield engine
    finally:
        hold.leave()


def require_unused(url: str) -> None:
    """Return if no process writes the database.

    Raises:
        DatabaseInUseError, StoreError: as `only_writer`.
    """
    with only_writer(url):
        pass


class _Held(msgspec.Struct):
    """The database that a process writes. `descriptor` keeps the inode of SQLite's file from being reused."""

    identity: FileIdentity | ServerIdentity | None = None
    descriptor: int | None = None
    owner: Row[Any] | None = None
    last_commit: tuple[str, int] | None = None
    is_replaced: bool = False

    def let_go(self) -> None:
        """Close the descriptor. SQLite's locks stay: they end with any descriptor except one opened with O_PATH."""
        if self.descriptor is not None:
            os.close(self.descriptor)


class Hold:
    """A process's hold on the database that it writes.

    SQLite: a lock on `<file>.lock`, not on the database file: closing a second descriptor of the database file would
    drop SQLite's own locks. PostgreSQL: an advisory lock of each connection of the engine, named by the schema, so a
    process that lost its connection has lost the lock too.

    Args:
        engine: of the database; of SQLite one that makes no file (`open_existing`), where `remember` is used. Its
            `transactions` give their connection back before any other use.
        system: the system whose heartbeat `renew` writes into the owner row, which `claim` entered; None: no heartbeat.
    """

    def __init__(self, engine: Engine, system: System | None = None) -> None:
        self._engine = engine
        self.transactions = Transactions(engine)
        self._system = system
        self._lock: tuple[Path, FileLock] | None = None  # of SQLite
        self._held: _Held | None = None
        self._log_files: list[FileIdentity] = []
        self._renewed_s = time.monotonic()
        if engine.dialect.name == "postgresql":
            self._lock_each_connection()
        else:
            self._check_each_connection()

    def lock(self) -> None:
        """Lock the database; a later connection to PostgreSQL, after a loss of this one, locks by itself.

        Raises:
            DatabaseInUseError: another process writes it.
            StoreError: it cannot be reached, or its file has several names.
        """
        if self._engine.dialect.name == "postgresql":
            with store_errors(self._engine), self._engine.connect():
                return
        path = sqlite_path(self._engine.url).resolve()  # one file has one lock, whichever links lead to it
        while self._lock is None:
            self._lock = _locked(path.with_name(f"{path.name}.lock"))
        try:
            undo_interrupted_restore(path)
            refuse_hard_links(path)
        except StoreError:
            self._unlock()
            raise

    def leave(self) -> None:
        """Give the ownership up, close the engine's connections and release the lock."""
        if self._system is not None and self._held is not None:
            self.transactions.give_back()
            with contextlib.suppress(StoreError):  # the next system sees that this process is gone
                self.require_same()
                with store_errors(self._engine), self._engine.begin() as connection:
                    connection.execute(_of_system(self._system).values(dict.fromkeys(_SYSTEM_COLUMNS)))
        self._engine.dispose()
        self._forget()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            path, lock = self._lock
            if _is_at(lock, path):
                path.unlink(missing_ok=True)
            lock.close()
            self._lock = None

    # --- one database ---

    def remember(self) -> None:
        """Refuse another database from now on: another file, another server, an older state of the server.

        Raises:
            StoreError: it has not the schema of this code, or does not answer.
        """
        held_now = self._held = _Held()
        try:
            if self._engine.dialect.name == "sqlite":
                path = sqlite_path(self._engine.url).absolute()
                held_now.identity = FileIdentity.of(path)  # before the first connection, which it is compared with
                held_now.descriptor = held(path)
            require_current_schema(self._engine)
            with store_errors(self._engine), self._engine.connect() as connection:
                held_now.owner = connection.execute(select(OWNER)).first()
                if self._engine.dialect.name == "postgresql":
                    held_now.identity = _identity_of_server(connection)
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        if self._held is not None:
            self._held.let_go()
            self._held = None

    def committed(self, stream: str, sequence: int) -> None:
        """Note the stream and the sequence number that the last commit ended with. Commits follow one another, so a
        database without the last one was put back to an earlier state.
        """
        if self._held is not None:
            self._held.last_commit = (stream, sequence)

    @property
    def last_stream(self) -> Sequence[str]:
        """The stream of the last commit to the remembered database, if there is one."""
        return [] if self._held is None or self._held.last_commit is None else [self._held.last_commit[0]]

    def require_last_commit(self, marks: Mapping[str, int]) -> None:
        """Return if the last commit is in these marks of streams, read by the transaction that commits next: a server
        may be put back, by psql say, without the loss of a connection.

        Raises:
            DatabaseReplacedError: the database was put back to an earlier state.
        """
        if self._held is None or self._held.last_commit is None:
            return
        stream, sequence = self._held.last_commit
        if (mark := marks.get(stream, 0)) < sequence:
            self._held.is_replaced = True
            raise DatabaseReplacedError(
                f"{self._engine.url}: the database was put back to an earlier state: stream {stream} ends with {mark}, "
                f"{sequence} was committed"
            )

    def require_same(self) -> None:
        """Return if a commit would go to the remembered database. SQLite: one system call. PostgreSQL: the check is
        made at each new connection.

        Raises:
            DatabaseRemovedError, DatabaseReplacedError: it is gone, or another one is at its address; `adopt` goes on
                as soon as there is one.
            StoreFailedError: the file cannot be looked at.
        """
        try:
            self._require_same_file()
        except (DatabaseRemovedError, DatabaseReplacedError) as error:
            self._leave_file(error)
            raise

    def _require_same_file(self) -> None:
        if self._held is not None and isinstance(self._held.identity, FileIdentity):
            self._held.identity.require_same()

    def adopt(self) -> bool:
        """Accept the database that is at the address now. Returns whether it is another database than before.

        The database must have this instance and the schema of this code, and no other living system may own it. Its
        streams may have older marks, so the producers send the later events again.

        Raises:
            DatabaseRemovedError: there is no file.
            StoreError: the database is not usable, as said above; the earlier database stays the remembered one.
        """
        before = self._held
        try:
            self.require_same()
            if before is None or not before.is_replaced:
                return False
        except DatabaseReplacedError:
            pass
        assert before is not None
        self._held = None
        try:
            self._engine.dispose()
            self._unlock()
            self.lock()
            require_current_schema(self._engine)
            _refuse_living_owner(self._engine, self._system or this_system())
            if before.owner is not None:
                self._enter_again(before.owner)
            self.remember()
        except BaseException:
            self._held = before
            self._engine.dispose()
            self._log_files = []  # of that other database: its last connection is closed
            raise
        before.let_go()
        logger.warning("%s was replaced: the writer goes on with the database that is there now", self._engine.url)
        return True

    def _enter_again(self, owner: Row[Any]) -> None:
        """Enter the instance and the system into the owner row of a database that replaced the one before."""
        instance = Instance(name=owner.name, market=owner.market)
        with store_errors(self._engine), self._engine.begin() as connection:
            if (other := _stated(connection).instance) not in (None, instance):
                raise StoreError(other_owner(str(connection.engine.url), other, instance))
            _enter(connection, instance, owner.providers, owner.created_ns, self._system)

    def _leave_file(self, error: StoreError) -> None:
        """Close the connections to a file that lost its name, and remove its log: SQLite would apply the log to the
        next file of that name. First fold the log into the file, so that a moved file is whole.
        """
        self.transactions.give_back()
        if not self._log_files:
            return
        logger.error("%s", error)
        is_folded = self._fold_log()
        self._engine.dispose()
        for file in self._log_files:
            with contextlib.suppress(StoreError, OSError):
                file.require_same()
                if is_folded or file.path.name.endswith("-shm"):
                    file.path.unlink()
                else:
                    file.path.rename(aside := file.path.with_name(f"{file.path.name}.removed"))
                    logger.error("%s has commits of the removed file", aside)
        self._log_files = []

    def _fold_log(self) -> bool:
        """Write SQLite's log into the open file. Returns whether all of it could be written."""
        try:
            with closing(self._engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                is_busy, _, _ = cursor.fetchone() or (1, 0, 0)
                return not is_busy
        except (StoreError, sqlite3.Error):
            return False

    # --- each connection ---

    def _check_each_connection(self) -> None:
        """SQLite: connect to the remembered file only, and learn which files its log is in."""

        @event.listens_for(self._engine, "do_connect")
        def require_same(_: Dialect, _entry: ConnectionPoolEntry, _arguments: object, _named: object) -> None:
            self._require_same_file()

        @event.listens_for(self._engine, "connect")
        def note_log(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens the log
            path = sqlite_path(self._engine.url).resolve()
            names = (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm"))
            self._log_files = [FileIdentity.of(name) for name in names if name.exists()]
            self._require_last_commit(connection)

    def _lock_each_connection(self) -> None:
        from psycopg.errors import LockNotAvailable

        @event.listens_for(self._engine, "connect")
        def lock(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
            try:
                with closing(connection.cursor()) as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = {_LOCK_WAIT_MS}")
                    cursor.execute("SELECT pg_advisory_lock(hashtext('observer'), hashtext(current_schema()))")
                connection.commit()
            except LockNotAvailable:
                connection.close()
                lost = f"; the server ends the connection of a machine that is gone after {LOST_CONNECTION_S} s"
                raise DatabaseInUseError(_in_use(str(self._engine.url)) + lost) from None
            self._require_same_server(connection)

    def _require_same_server(self, connection: DBAPIConnection) -> None:
        if self._held is None or not isinstance(self._held.identity, ServerIdentity):
            return
        change = server_identity(connection).change_since(self._held.identity)
        if change is not None:
            connection.close()
            self._held.is_replaced = True
            raise DatabaseReplacedError(f"{self._engine.url}: {change}")
        self._require_last_commit(connection)
        connection.rollback()

    def _require_last_commit(self, connection: DBAPIConnection) -> None:
        for stream in self.last_stream:
            with closing(connection.cursor()) as cursor:
                cursor.execute(_MARK[self._engine.dialect.name], (stream,))
                [mark] = cursor.fetchone() or (0,)
            try:
                self.require_last_commit({stream: mark})
            except DatabaseReplacedError:
                connection.close()
                raise

    # --- the heartbeat of the system ---

    def renew(self) -> str | None:
        """Write the system's heartbeat in a transaction of its own if the last heartbeat is older than
        HEARTBEAT_EVERY_S.

        Returns None if no heartbeat is due, the reason if the database refuses it, otherwise an empty text.

        Raises:
            ConfigError: another system took the database over; this one must not write it any more.
        """
        with contextlib.suppress(StoreError):  # a database that is gone is left at once, also while nothing is written
            self.require_same()
        if self._system is None or self._held is None or time.monotonic() < self._renewed_s + HEARTBEAT_EVERY_S:
            return None
        self._renewed_s = time.monotonic()
        self.transactions.give_back()
        try:
            self.require_same()
            self._write_heartbeat(self._system)
        except StoreError as error:
            return str(error)
        return ""

    def _write_heartbeat(self, system: System) -> None:
        with store_errors(self._engine), self._engine.begin() as connection:
            now_ns = _machine_ns(connection)
            written = connection.execute(_of_system(system).values(heartbeat_ns=now_ns))
            found = None if written.rowcount else _stated(connection).ownership
        if found is not None and not is_same(found.system, system):
            raise ConfigError(f"{self._engine.url}: another system took it over: {described(found, now_ns)}")


def _locked(path: Path) -> tuple[Path, FileLock] | None:
    """The file with its lock; None if the last holder has removed the file meanwhile."""
    try:
        lock = FileLock(path)
    except OSError as error:
        raise StoreFailedError(f"cannot make the lock of the database: {error}") from error
    is_taken = lock.take()
    if is_taken and _is_at(lock, path):
        return path, lock
    lock.close()
    if not is_taken:
        raise DatabaseInUseError(_in_use(str(path.with_suffix(""))))
    return None


def _is_at(lock: FileLock, path: Path) -> bool:
    """Whether the path leads to the file of the lock."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock.descriptor), path.stat())
    return False


def _in_use(database: str) -> str:
    return f"another process writes {database}: stop its system (observer ctl shutdown), or wait for its command to end"


# --- the owner row -------------------------------------------------------------------------------------------


def _enter(connection: Connection, instance: Instance, providers: str, now_ns: int, system: System | None) -> None:
    """Enter the instance as the owner with these brokers, names separated by commas, and the system that writes the
    database from now on.
    """
    insert = sqlite.insert(OWNER) if connection.dialect.name == "sqlite" else postgresql.insert(OWNER)
    entered = insert.values(
        id=_ONLY_ROW,
        name=instance.name,
        market=instance.market,
        providers=providers,
        created_ns=now_ns,
        database_id=uuid.uuid4().hex,
    )
    connection.execute(entered.on_conflict_do_update(index_elements=[OWNER.c.id], set_={"providers": providers}))
    if system is not None:
        machine_ns = _machine_ns(connection)
        values = msgspec.structs.asdict(system) | {"place": _place(connection)}
        connection.execute(update(OWNER).values(**values, started_ns=machine_ns, heartbeat_ns=machine_ns))


def _refuse_living_owner(engine: Engine, system: System) -> None:
    """Return if no other living system owns the database; logs which dead one is replaced.

    Raises:
        DatabaseInUseError: another living system owns it.
        StoreError: no answer.
    """
    with store_errors(engine), engine.connect() as connection:
        found = _stated(connection).ownership
        if found is None or is_same(found.system, system):
            return
        place, now_ns = _place(connection), _machine_ns(connection)
    require_unowned(str(engine.url), found, system, place, now_ns)
    if found.place == place:
        logger.warning("the system that owned %s is dead and is replaced: %s", engine.url, described(found, now_ns))


def _stated(connection: Connection) -> Stated:
    return stated_in(connection.connection.dbapi_connection, connection.dialect.name)


def _of_system(system: System) -> Update:
    """An update of the owner row as long as this system is in it."""
    ours = (OWNER.c[name] == value for name, value in msgspec.structs.asdict(system).items())
    return update(OWNER).where(*ours)


def _machine_ns(connection: Connection) -> int:
    """UTC nanoseconds: by the server's clock, which all hosts share, or for SQLite by this machine's clock."""
    if connection.dialect.name == "sqlite":
        return RealClock().now_ns()
    now_ns = connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"))
    return int(now_ns or 0)


def _place(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return FileIdentity.of(sqlite_path(connection.engine.url)).place
    return _identity_of_server(connection).place_in(str(connection.scalar(text("SELECT current_schema()"))))


def _identity_of_server(connection: Connection) -> ServerIdentity:
    driver_connection: DBAPIConnection = connection.connection.dbapi_connection  # type: ignore[assignment]
    return server_identity(driver_connection)
