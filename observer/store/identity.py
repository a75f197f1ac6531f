"""Which database stands at an address: the identity of an SQLite file, and of a PostgreSQL database.

A process that has a file open does not notice that the file was removed or another one was put in its place: it goes on
writing into a file without a name. A server may be put back to an earlier base backup, or a standby may be promoted.
The writer compares identities and acknowledges nothing that is stored elsewhere.
"""

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from observer.base.errors import DatabaseRemovedError, DatabaseReplacedError, StoreError, StoreFailedError
from observer.base.remedies import REMEDIES

if TYPE_CHECKING:  # the process that hosts the supervisor does not load SQLAlchemy
    from sqlalchemy.engine.interfaces import DBAPIConnection

STANDBY: Final = "the server takes no changes, as a standby does: promote it, or give the primary in [store] url"

_HEADER_BYTES: Final = 100  # of an SQLite file


class FileIdentity(msgspec.Struct, frozen=True):
    """The file that a path led to: its device and inode."""

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The identity of the file at this path; links are followed.

        Raises:
            DatabaseRemovedError: there is no file.
            StoreFailedError: the file cannot be looked at.
        """
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise DatabaseRemovedError(
                f"{path}: the database file was removed: {REMEDIES['database missing']}"
            ) from None
        except OSError as error:
            raise StoreFailedError(f"{path}: {error.strerror}") from error
        return cls(path, found.st_dev, found.st_ino)

    @property
    def place(self) -> str:
        """Where the database lies, for the owner row; a copy lies elsewhere. The device is left out: each host has its
        own for one network share.
        """
        return f"file {self.inode}"

    def require_same(self) -> None:
        """Return if the path still leads to this file. Costs one system call.

        Raises:
            DatabaseReplacedError: it leads to another file.
            DatabaseRemovedError, StoreFailedError: as `of`.
        """
        if FileIdentity.of(self.path) != self:
            raise DatabaseReplacedError(f"{self.path}: the database file was replaced")


def held(path: Path) -> int:
    """A descriptor that keeps the file's inode in use.

    Raises:
        StoreFailedError: the file cannot be looked at.
    """
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise StoreFailedError(f"{path}: {error.strerror}") from error


def refuse_hard_links(path: Path) -> None:
    """Return if the database file has one name.

    Raises:
        StoreError: it has several.
    """
    names = path.stat().st_nlink if path.exists() else 1
    if names > 1:
        raise StoreError(
            f"{path} has {names} names (hard links), and SQLite would keep a log for each of them: "
            f"remove the others, find them by `find / -xdev -samefile {path}`"
        )


class ServerIdentity(msgspec.Struct, frozen=True):
    """A database of a PostgreSQL server.

    `system` and `timeline` are None where the server does not state them (some hosted ones). `database_id` is that of
    the owner row.
    """

    system: int | None
    timeline: int | None
    database_oid: int
    database_id: str | None

    def place_in(self, schema: str) -> str:
        """Where the schema lies, for the owner row; a copy lies elsewhere."""
        return f"server {self.system} {self.database_oid} {schema}"

    def change_since(self, earlier: "ServerIdentity") -> str | None:
        """Evidence that this server is not the database of `earlier`; None without evidence."""
        if (self.system, self.database_oid) != (earlier.system, earlier.database_oid):
            return "the database was replaced: another server, or a database made anew, is at its address"
        if self.database_id != earlier.database_id and earlier.database_id is not None:
            return "the database was replaced: its owner row is another one"
        if self.timeline != earlier.timeline:
            return f"the server was failed over or put back: its timeline was {earlier.timeline}, it is {self.timeline}"
        return None


_SYSTEM: Final = """
    SELECT (SELECT system_identifier FROM pg_control_system()), pg_walfile_name(pg_current_wal_flush_lsn())
"""  # no special right is needed
_DATABASE: Final = """
    SELECT pg_is_in_recovery(), (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
           to_regclass('owner') IS NOT NULL
"""


def server_identity(connection: "DBAPIConnection") -> ServerIdentity:
    """The identity of the database of this connection, read in its transaction.

    Raises:
        StoreFailedError: it is a read-only standby.
        psycopg.Error: no answer.
    """
    from psycopg.errors import FeatureNotSupported, InsufficientPrivilege, UndefinedFunction

    with closing(connection.cursor()) as cursor:
        cursor.execute(_DATABASE)
        [is_standby, oid, has_owner] = cursor.fetchone() or (False, 0, False)
        if is_standby:
            raise StoreFailedError(STANDBY)
        database_id = None
        if has_owner:
            cursor.execute("SELECT database_id FROM owner")
            [database_id] = cursor.fetchone() or (None,)
        cursor.execute("SAVEPOINT identity")
        try:
            cursor.execute(_SYSTEM)
            [system, log_file] = cursor.fetchone() or (None, None)
        except (FeatureNotSupported, InsufficientPrivilege, UndefinedFunction):
            cursor.execute("ROLLBACK TO SAVEPOINT identity")
            system, log_file = None, None
    timeline = int(log_file[:8], 16) if log_file else None  # a log file's name begins with its timeline
    return ServerIdentity(system, timeline, oid, database_id)


def require_encoding(database: str, encoding: str | None) -> None:
    """Return if the PostgreSQL database stores Unicode.

    Raises:
        StoreError: it does not.
    """
    if encoding != "UTF8":
        raise StoreError(
            f"{database}: its encoding is {encoding}, and names are stored in UTF8: "
            "make another database with `createdb --encoding=UTF8 --template=template0 NAME`"
        )


def was_sqlite(path: Path) -> bool:
    """Whether a file that SQLite calls no database was one: it has one of two marks of the first page, or only zeros
    there.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    is_blank = len(header) == _HEADER_BYTES and not any(header)
    return header[:13] == b"SQLite format" or header[21:24] == b"@  " or is_blank
