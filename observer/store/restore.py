"""Putting a copy in the place of a database, which is kept aside; and what is in a database, for a comparison.

SQLite: the copy becomes a file beside the database, then takes its name. PostgreSQL: the schema is renamed and the dump
restored in one transaction. In both the database is at any moment the old one or the new one.
"""

import logging
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import URL, Engine, inspect, select
from sqlalchemy.schema import CreateSchema

from observer.base.errors import StoppedError, StoreError
from observer.base.files import PRIVATE_FILE, sync_path, to_disk
from observer.store import postgresql_programs
from observer.store.backup import selected_schema
from observer.store.engine import migrate, parse_url, reading, sqlite_path, store_errors
from observer.store.interrupted_restore import copy_path, kept_path
from observer.store.owner import only_writer
from observer.store.systems import System
from observer.store.tables import DELIVERY_LOSSES, STREAMS
from observer.store.write_ahead_log import fold_log

logger = logging.getLogger(__name__)

_FOLD_S: Final = 5.0
_SCHEMA_LETTERS: Final = 36  # with what is added to a name it has at most the 63 letters that PostgreSQL keeps
_PORTION_BYTES: Final = 16 * 1024 * 1024


class Loss(msgspec.Struct, frozen=True):
    """Events of a stream that are in no database, outbox or archive."""

    stream: str
    first_sequence: int
    last_sequence: int
    reason: str

    @property
    def events(self) -> int:
        return self.last_sequence - self.first_sequence + 1


class StoredState(msgspec.Struct, frozen=True):
    """Each event stream's last committed number by the stream's id, and the losses that are noted."""

    marks: Mapping[str, int]
    losses: Sequence[Loss]


def stored_state(url: str) -> StoredState:
    """What the database holds, of whichever schema.

    Raises:
        StoreError: it is not there, damaged, or no database of Observer.
    """
    with reading(url) as connection:
        tables = set(inspect(connection).get_table_names())
        if STREAMS.name not in tables:
            raise StoreError(f"{connection.engine.url}: there is no schema of Observer in it")
        marks = connection.execute(select(STREAMS.c.uid, STREAMS.c.high_water_mark).order_by(STREAMS.c.id))
        marks_by_uid = {row.uid: row.high_water_mark for row in marks}
        losses = connection.execute(_ALL_LOSSES).all() if DELIVERY_LOSSES.name in tables else []
    return StoredState(
        marks_by_uid, [Loss(row.uid, row.first_sequence, row.last_sequence, row.reason) for row in losses]
    )


_ALL_LOSSES: Final = select(
    STREAMS.c.uid, DELIVERY_LOSSES.c.first_sequence, DELIVERY_LOSSES.c.last_sequence, DELIVERY_LOSSES.c.reason
).join(STREAMS, STREAMS.c.id == DELIVERY_LOSSES.c.stream)


def replace_database(url: str, copy: Path | None, stamp: str, system: System, stop: threading.Event) -> str | None:
    """Put the copy in the place of the database; return where that is kept now, None if there was none.

    Args:
        url: the database; no process writes it.
        copy: of the same kind of database (`observer.store.backup.copy_name`); None for an empty database.
        stamp: letters and digits, for the name of the database that is kept.
        system: the one that may own the database.
        stop: ends the work before anything is replaced.

    Raises:
        DatabaseInUseError: another process writes it, or another living system owns it; nothing was changed.
        StoreError: likewise, or the copy cannot be put there.
        StoppedError: `stop` was set; nothing was changed.
    """
    with only_writer(url, system, is_replaced=True) as engine:
        if engine.dialect.name == "sqlite":
            return _replace_file(url, copy, stamp, stop)
        return _replace_schema(engine, url, copy, stamp, stop)


# --- SQLite --------------------------------------------------------------------------------------------------


def _replace_file(url: str, copy: Path | None, stamp: str, stop: threading.Event) -> str | None:
    path = sqlite_path(parse_url(url)).resolve()
    new = copy_path(path)
    try:
        _write_copy(copy, new, stop) if copy is not None else _write_empty(new)
        with suppress(StoreError):  # a damaged database is kept with its log beside it
            fold_log(url, _FOLD_S)
        aside = _keep_aside(path, stamp) if path.exists() else None
        if aside is not None:
            shutil.copymode(aside, new)  # those who could read the database can go on
        _move_log(path, aside)
        new.replace(path)
        sync_path(path.parent)
    except OSError as error:
        raise StoreError(f"cannot put the copy in the place of {path}: {error}") from error
    finally:
        new.unlink(missing_ok=True)
    return None if aside is None else str(aside)


def _write_copy(copy: Path, new: Path, stop: threading.Event) -> None:
    new.unlink(missing_ok=True)
    new.touch(PRIVATE_FILE)
    with copy.open("rb") as source, new.open("wb") as target:
        while portion := source.read(_PORTION_BYTES):
            if stop.is_set():
                raise StoppedError("the restore was interrupted: nothing was changed")
            target.write(portion)
        to_disk(target)


def _write_empty(new: Path) -> None:
    new.unlink(missing_ok=True)
    new.touch(PRIVATE_FILE)
    migrate(URL.create("sqlite", database=str(new)).render_as_string())
    sync_path(new)


def _keep_aside(path: Path, stamp: str) -> Path:
    """Give the database a second name, so that the first one is never without a file."""
    aside = _unused(path, stamp)
    try:
        aside.hardlink_to(path)
    except OSError:  # a file system without hard links
        shutil.copy2(path, aside)
        sync_path(aside)
    return aside


def _unused(path: Path, stamp: str) -> Path:
    number = 1
    while (found := kept_path(path, stamp, number)).exists():
        number += 1
    return found


def _move_log(path: Path, aside: Path | None) -> None:
    """Move the log away from the name of the database: SQLite would read it as the log of the copy."""
    for suffix in ("-wal", "-shm", "-journal"):
        log = path.with_name(f"{path.name}{suffix}")
        if log.exists() and log.stat().st_size and aside is not None and suffix != "-shm":
            log.replace(aside.with_name(f"{aside.name}{suffix}"))
        else:
            log.unlink(missing_ok=True)


# --- PostgreSQL ----------------------------------------------------------------------------------------------


def _replace_schema(engine: Engine, url: str, copy: Path | None, stamp: str, stop: threading.Event) -> str | None:
    schema = selected_schema(url)
    schemas = _schemas(url)
    aside = _unused_schema(schema, stamp, schemas) if schema in schemas else None
    if copy is not None:
        postgresql_programs.put_back(parse_url(url), copy, schema, aside, stop)
    else:
        with store_errors(engine), engine.begin() as connection:
            if aside is not None:
                connection.exec_driver_sql(f'ALTER SCHEMA "{schema}" RENAME TO "{aside}"')
            connection.execute(CreateSchema(schema, if_not_exists=True))
        migrate(url)
    return None if aside is None else f"schema {aside}"


def _schemas(url: str) -> Collection[str]:
    with reading(url) as connection:
        return inspect(connection).get_schema_names()


def _unused_schema(schema: str, stamp: str, taken: Collection[str]) -> str:
    number, name = 1, schema[:_SCHEMA_LETTERS]
    while (found := f"{name}_replaced_{stamp.lower()}{f'_{number}' if number > 1 else ''}") in taken:
        number += 1
    return found
