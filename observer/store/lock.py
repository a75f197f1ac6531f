"""The lock of a database's only writer, and the writer's hold on that one database."""

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Row, event, select
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from observer.base.errors import (
    ConfigError,
    DatabaseInUseError,
    DatabaseRemovedError,
    DatabaseReplacedError,
    StoreError,
    StoreFailedError,
)
from observer.base.instance import Instance
from observer.store.engine import LOST_CONNECTION_S, require_current_schema, sqlite_path, store_errors
from observer.store.identity import FileIdentity, ServerIdentity, held, refuse_hard_links, server_identity
from observer.store.interrupted_restore import undo_interrupted_restore
from observer.store.owner_row import (
    enter_owner,
    enter_system,
    identity_of_server,
    leave,
    machine_ns,
    of_system,
    ownership_in,
    refuse_living_owner,
)
from observer.store.schema import other_owner
from observer.store.systems import HEARTBEAT_EVERY_S, System, described, is_same, this_system
from observer.store.tables import OWNER

logger = logging.getLogger(__name__)

_MARK: Final = {
    "sqlite": "SELECT high_water_mark FROM streams WHERE uid = ?",
    "postgresql": "SELECT high_water_mark FROM streams WHERE uid = %s",
}
_LOCK_WAIT_MS: Final = 2_000  # PostgreSQL releases a lock some time after its holder closed the connection


class WriterLock:
    """Held while a process writes a database.

    SQLite: a lock on `<file>.lock`, not on the database file: closing a second descriptor of the database file would
    drop SQLite's own locks. PostgreSQL: an advisory lock of each connection of the engine, named by the schema, so a
    process that lost its connection has lost the lock too.

    After `remember`, the lock also refuses any other database, until `adopt` has accepted it.

    Args:
        engine: of the database; of SQLite one that makes no file (`open_existing`), where `remember` is used.
        system: the system whose heartbeat `renew` writes into the owner row, which `claim` entered; None: no heartbeat.
    """

    def __init__(self, engine: Engine, system: System | None = None) -> None:
        self._engine = engine
        self._system = system
        self._descriptor: int | None = None
        self._locked_path: Path | None = None
        self._known: FileIdentity | ServerIdentity | None = None
        self._owner: Row[Any] | None = None
        self._hold: int | None = None
        self._log_files: list[FileIdentity] = []
        self._is_replaced = False
        self._last_commit: tuple[str, int] | None = None
        self._renewed_s = time.monotonic()
        if engine.dialect.name == "postgresql":
            self._lock_each_connection()
        else:
            self._check_each_connection()

    def acquire(self) -> None:
        """Lock the database; a later connection to PostgreSQL, after a loss of this one, locks by itself.

        Raises:
            DatabaseInUseError: another process writes it.
            StoreError: it cannot be reached, or its file has several names.
        """
        if self._engine.dialect.name == "postgresql":
            with store_errors(self._engine), self._engine.connect():
                return
        path = sqlite_path(self._engine.url).resolve()  # one file has one lock, whichever links lead to it
        while self._descriptor is None:
            self._locked_path = path.with_name(f"{path.name}.lock")
            self._descriptor = _locked(self._locked_path)
        try:
            undo_interrupted_restore(path)
            refuse_hard_links(path)
        except StoreError:
            self._release_file()
            raise

    def release(self) -> None:
        """Give the ownership up, close the engine's connections and release the lock."""
        if self._system is not None and self._known is not None:
            with contextlib.suppress(StoreError):  # the next system sees that this process is gone
                self._leave(self._system)
        self._engine.dispose()
        self._forget()
        self._release_file()

    def _release_file(self) -> None:
        if self._descriptor is not None and self._locked_path is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._descriptor), self._locked_path.stat()):
                    self._locked_path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    # --- one database ---

    def remember(self) -> None:
        """Refuse another database from now on: another file, another server, an older state of the server.

        Raises:
            StoreError: it has not the schema of this code, or does not answer.
        """
        if self._engine.dialect.name == "sqlite":
            path = sqlite_path(self._engine.url).absolute()
            self._known = FileIdentity.of(path)  # before the first connection, which it is compared with
            self._hold = held(path)
        try:
            require_current_schema(self._engine)
            with store_errors(self._engine), self._engine.connect() as connection:
                self._owner = connection.execute(select(OWNER)).first()
                if self._engine.dialect.name == "postgresql":
                    self._known = identity_of_server(connection)
        except BaseException:
            self._forget()
            raise
        self._is_replaced = False
        self._last_commit = None

    def committed(self, stream: str, sequence: int) -> None:
        """Note the stream and the sequence number that the last commit ended with. Commits follow one another, so a
        database without the last one was put back to an earlier state.
        """
        self._last_commit = (stream, sequence)

    def require_last_commit(self, marks: Mapping[str, int]) -> None:
        """Return if the last commit is in these marks of streams, read by the transaction that commits next: a server
        may be put back, by psql say, without the loss of a connection.

        Raises:
            DatabaseReplacedError: the database was put back to an earlier state.
        """
        if self._last_commit is None or self._known is None:
            return
        stream, sequence = self._last_commit
        if (mark := marks.get(stream, 0)) < sequence:
            self._is_replaced = True
            raise DatabaseReplacedError(
                f"{self._engine.url}: the database was put back to an earlier state: stream {stream} ends with {mark}, "
                f"{sequence} was committed"
            )

    @property
    def last_stream(self) -> Sequence[str]:
        """The stream of the last commit to the remembered database, if there is one."""
        return [] if self._last_commit is None else [self._last_commit[0]]

    def _forget(self) -> None:
        self._known = None
        self._let_go()

    def _let_go(self) -> None:
        """Close the descriptors that keep the remembered file's inode from being reused. SQLite's locks stay: they end
        with any descriptor except one opened with O_PATH.
        """
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None

    def require_same(self) -> None:
        """Return if a commit would go to the remembered database. SQLite: one system call. PostgreSQL: the check is
        made at each new connection.

        Raises:
            DatabaseRemovedError, DatabaseReplacedError: it is gone, or another one is at its address; `adopt` goes on
                as soon as there is one.
            StoreFailedError: the file cannot be looked at.
        """
        if isinstance(self._known, FileIdentity):
            try:
                self._known.require_same()
            except (DatabaseRemovedError, DatabaseReplacedError) as error:
                self._leave_file(error)
                raise

    def adopt(self) -> bool:
        """Accept the database that is at the address now. Returns whether it is another database than before.

        The database must have this instance and the schema of this code, and no other living system may own it. Its
        streams may have older marks, so the producers send the later events again.

        Raises:
            DatabaseRemovedError: there is no file.
            StoreError: the database is not usable, as said above; the earlier database stays the remembered one.
        """
        if not self._is_other():
            return False
        known, hold, last_commit = self._known, self._hold, self._last_commit
        self._known = self._hold = self._last_commit = None
        try:
            self._engine.dispose()
            self._release_file()
            self.acquire()
            require_current_schema(self._engine)
            refuse_living_owner(self._engine, self._system or this_system())
            self._enter_again()
            self.remember()
        except BaseException:
            self._known, self._hold, self._last_commit = known, hold, last_commit
            self._engine.dispose()
            self._log_files = []  # of that other database: its last connection is closed
            raise
        if hold is not None:
            os.close(hold)
        logger.warning("%s was replaced: the writer goes on with the database that is there now", self._engine.url)
        return True

    def _is_other(self) -> bool:
        try:
            self.require_same()
        except DatabaseReplacedError:
            return True
        return self._is_replaced

    def _enter_again(self) -> None:
        """Enter the instance and the system into the owner row of a database that replaced the one before."""
        owner = self._owner
        if owner is None:
            return
        with store_errors(self._engine), self._engine.begin() as connection:
            found = connection.execute(select(OWNER.c.name, OWNER.c.market)).first()
            instance = Instance(name=owner.name, market=owner.market)
            if found is not None and (found.name, found.market) != (owner.name, owner.market):
                other = Instance(name=found.name, market=found.market)
                raise StoreError(other_owner(str(self._engine.url), other, instance))
            enter_owner(connection, instance, owner.providers, owner.created_ns)
            if self._system is not None:
                enter_system(connection, self._system)

    def _leave_file(self, error: StoreError) -> None:
        """Close the connections to a file that lost its name, and remove its log: SQLite would apply the log to the
        next file of that name. First fold the log into the file, so that a moved file is whole.
        """
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

    def _check_each_connection(self) -> None:
        """SQLite: connect to the remembered file only, and learn which files its log is in."""

        @event.listens_for(self._engine, "do_connect")
        def require_same(_: Dialect, _entry: ConnectionPoolEntry, _arguments: object, _named: object) -> None:
            if isinstance(self._known, FileIdentity):
                self._known.require_same()

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
        if not isinstance(self._known, ServerIdentity):
            return
        change = server_identity(connection).change_since(self._known)
        if change is not None:
            connection.close()
            self._is_replaced = True
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
        if self._system is None or self._known is None or time.monotonic() < self._renewed_s + HEARTBEAT_EVERY_S:
            return None
        self._renewed_s = time.monotonic()
        try:
            self.require_same()
            self._write_heartbeat(self._system)
        except StoreError as error:
            return str(error)
        return ""

    def _write_heartbeat(self, system: System) -> None:
        with store_errors(self._engine), self._engine.begin() as connection:
            now_ns = machine_ns(connection)
            written = connection.execute(of_system(system).values(heartbeat_ns=now_ns))
            found = None if written.rowcount else ownership_in(connection)
        if found is not None and not is_same(found.system, system):
            raise ConfigError(f"{self._engine.url}: another system took it over: {described(found, now_ns)}")

    def _leave(self, system: System) -> None:
        self.require_same()
        with store_errors(self._engine), self._engine.begin() as connection:
            leave(connection, system)


def _locked(path: Path) -> int | None:
    """Return the descriptor of the locked file; None if the last holder has removed the file meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreFailedError(f"cannot make the lock of the database: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        raise DatabaseInUseError(_in_use(str(path.with_suffix("")))) from None
    os.close(descriptor)
    return None


def _in_use(database: str) -> str:
    return f"another process writes {database}: stop its system (observer ctl shutdown), or wait for its command to end"
