"""Copies of the whole database, made while the writer continues, and the content of a copy.

SQLite is copied by its own backup call; PostgreSQL is dumped by `pg_dump`. The content of a copy is read from the copy,
so its marks and its rows are of one moment.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from sqlalchemy import URL, text

from observer.base.errors import StoppedError, StoreError, StoreFailedError
from observer.base.files import PRIVATE_FILE, make_private_folder, sync_path
from observer.store import postgresql_programs
from observer.store.engine import failure_of, parse_url, reading, schema_of, sqlite_path

SQLITE_COPY: Final = "database.sqlite3"
POSTGRESQL_COPY: Final = "database.dump"

_USUAL_SCHEMA: Final = "public"  # where the server selects it, and it was dropped
_PAGES_AT_ONCE: Final = 4_096  # 16 MB: `stop` is looked at between two portions, and each is brought to the disk
_STEPS_AT_ONCE: Final = 1_000_000  # instructions of SQLite's virtual machine, some 50 ms


class CopyContent(msgspec.Struct, frozen=True):
    """What a copy holds: its schema's revision, and each event stream's last committed number by the stream's id."""

    schema_revision: str
    marks: Mapping[str, int]


def copy_name(url: str) -> str:
    """The name of a copy's file: it states the kind of database."""
    return SQLITE_COPY if parse_url(url).get_backend_name() == "sqlite" else POSTGRESQL_COPY


def copy_database(url: str, destination: Path, stop: threading.Event) -> None:
    """Write a copy of the database to a new private file, and bring it to the disk.

    Raises:
        StoreError: there is no such database, or it cannot be copied; the new file may be there in part.
        StoppedError: `stop` was set, likewise.
    """
    parsed = parse_url(url)
    destination.touch(PRIVATE_FILE)
    if parsed.get_backend_name() == "sqlite":
        _copy_sqlite(parsed, destination, stop)
    else:
        postgresql_programs.dump(parsed, selected_schema(url), destination, stop)
    sync_path(destination)


def keep_before_migration(url: str, revision: str, folder: Path | None) -> Path:
    """Copy a database before its schema is changed: SQLite beside itself, PostgreSQL as a dump into the folder.

    Raises:
        StoreError: the copy cannot be made, or there is no folder for a dump. Then the schema must stay as it is.
    """
    parsed, kept = parse_url(url), kept_before_migration(url, revision, folder)
    unfinished = kept.with_name(f".{kept.name}.unfinished")
    try:
        make_private_folder(kept.parent)
        unfinished.unlink(missing_ok=True)
        copy_database(url, unfinished, threading.Event())
        unfinished.replace(kept)
        sync_path(kept.parent)
    except (OSError, StoreError) as error:
        may_pass = isinstance(error, OSError | StoreFailedError)
        raise (StoreFailedError if may_pass else StoreError)(
            f"{parsed}: no copy before the change of its schema, which was left as it is: {error}"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return kept


def kept_before_migration(url: str, revision: str, folder: Path | None) -> Path:
    """Where `keep_before_migration` puts its copy.

    Raises:
        StoreError: as there.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = sqlite_path(parsed).absolute()
        return path.with_name(f"{path.name}.before-{revision}")
    if folder is None:
        raise StoreError(f"{parsed}: its schema is {revision}: `observer run` brings it up to date, after a copy")
    return folder / f"{selected_schema(url)}.before-{revision}.dump"


def check_copy(path: Path, stop: threading.Event) -> None:
    """Return if the database's own tools find nothing wrong with a copy: SQLite reads all of it, PostgreSQL its list.

    Raises:
        StoreError: it is damaged.
        StoppedError: `stop` was set.
    """
    if path.name == POSTGRESQL_COPY:
        postgresql_programs.require_readable(path, stop)
        return
    with _opened(path, stop) as copy:
        [result] = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise StoreError(f"{path} is damaged: {result}")


def content_of(path: Path, stop: threading.Event) -> CopyContent:
    """What a copy holds.

    Raises:
        StoreError: it cannot be read, or is no database of Observer.
        StoppedError: `stop` was set.
    """
    found = _content_of_dump(path, stop) if path.name == POSTGRESQL_COPY else _content_of_sqlite(path, stop)
    if found is None:
        raise StoreError(f"{path} is no database of Observer")
    return found


def selected_schema(url: str) -> str:
    """The PostgreSQL schema of a URL, which the server chooses where the URL selects none.

    Raises:
        StoreError: the server does not answer.
    """
    if (named := schema_of(parse_url(url))) is not None:
        return named
    with reading(url) as connection:
        return str(connection.scalar(text("SELECT current_schema()")) or _USUAL_SCHEMA)


# --- SQLite --------------------------------------------------------------------------------------------------


def _copy_sqlite(url: URL, destination: Path, stop: threading.Event) -> None:
    source_path = sqlite_path(url).absolute()
    if not source_path.is_file():
        raise StoreError(f"there is no database {source_path}")

    try:
        address = f"file:{quote(str(source_path))}?mode=ro"  # a writing one may fold a log when it is closed
        with (
            destination.open("rb") as written,  # is closed last: a process that closes a file gives up its locks
            closing(sqlite3.connect(address, uri=True)) as source,
            closing(sqlite3.connect(destination)) as copy,
        ):

            def look(_status: int, _remaining: int, _total: int) -> None:
                if stop.is_set():
                    raise StoppedError(f"the copy of {source_path} was interrupted")
                os.fdatasync(written.fileno())  # else a commit waits until all of the copy is on the disk

            # One read transaction around all portions: the copy is of one moment, and a commit meanwhile restarts
            # nothing.
            source.isolation_level = None
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            source.backup(copy, pages=_PAGES_AT_ONCE, progress=look)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file that is complete without a log beside it
    except sqlite3.Error as error:
        raise failure_of(f"the copy of {source_path} failed: {error}") from error


def _content_of_sqlite(path: Path, stop: threading.Event) -> CopyContent | None:
    with _opened(path, stop) as copy:
        tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"alembic_version", "streams"} <= tables:
            return None
        [(revision,)] = copy.execute("SELECT version_num FROM alembic_version")
        return CopyContent(revision, dict(copy.execute("SELECT uid, high_water_mark FROM streams ORDER BY id")))


@contextmanager
def _opened(path: Path, stop: threading.Event) -> Iterator[sqlite3.Connection]:
    address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as copy:
            copy.set_progress_handler(lambda: int(stop.is_set()), _STEPS_AT_ONCE)
            yield copy
    except sqlite3.Error as error:
        if stop.is_set():
            raise StoppedError(f"the check of {path} was interrupted") from error
        raise StoreError(f"{path} is damaged: {error}") from error


# --- PostgreSQL ----------------------------------------------------------------------------------------------


def _content_of_dump(path: Path, stop: threading.Event) -> CopyContent | None:
    tables = postgresql_programs.rows_in(path, ("alembic_version", "streams"), stop)
    if not tables.get("alembic_version") or "streams" not in tables:
        return None
    marks = {row["uid"]: int(row["high_water_mark"]) for row in tables["streams"]}
    return CopyContent(tables["alembic_version"][0]["version_num"], marks)
