"""Backups: a consistent copy of the whole database, made while the writer continues; and their schedule.

SQLite is copied with its own backup call and the copy is checked; PostgreSQL is dumped by `pg_dump`, in the custom
format that `pg_restore` reads. The copy gets its name only when it is complete and on the disk. `BackupJobs` makes one
each day, and one on request of a person.
"""

import asyncio
import hashlib
import logging
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import URL, text

from bus.commands import Refused
from bus.events import BackupCompleted
from observer.alerts.process import Alerts
from observer.calendar.service import TradingDayService
from observer.clock import Clock
from observer.errors import ObserverError, StoreError
from observer.files import PRIVATE_FILE, make_private_folder, sync_path
from observer.local_time import local_datetime
from observer.store.engine import open_reader, parse_url, schema_of, sqlite_path, store_errors

if TYPE_CHECKING:
    from bus.producer import Producer

logger = logging.getLogger(__name__)

BACKUPS_KEPT: Final = 7  # one a day: a week
_DUMP_S_MAX: Final = 3_600.0  # machine seconds


class Backup(msgspec.Struct, frozen=True):
    """A finished copy; `sha256` is its content's digest in hexadecimal digits."""

    path: Path
    size_bytes: int
    sha256: str


def backup(url: str, destination_directory: Path, stamp: str) -> Backup:
    """Copy the database to `observer-<stamp>` with its kind's suffix, and delete all but the newest seven copies.

    Args:
        url: the database.
        destination_directory: made if it is not there; only its owner may look into it.
        stamp: sorts as text in the order of time, "20261118T210000" say. A copy with the same stamp is replaced.

    Raises:
        StoreError: there is no such database, the copy is not whole, or the directory cannot be written; what was
            there before is untouched.
    """
    parsed = parse_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    suffix = ".sqlite3" if is_sqlite else ".dump"
    path = destination_directory / f"observer-{stamp}{suffix}"
    try:
        make_private_folder(destination_directory)
        with _removed_afterwards(path.with_name(f".{path.name}.unfinished")) as unfinished:
            (_copy_sqlite if is_sqlite else _dump_postgresql)(parsed, unfinished)
            made = _publish(unfinished, path)
        _delete_old(destination_directory, suffix)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"backup of {parsed} to {path} failed: {error}") from error
    return made


@contextmanager
def _removed_afterwards(path: Path) -> Iterator[Path]:
    """A file that is not there before, not even from a process that was killed, and not afterwards."""
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _copy_sqlite(url: URL, destination: Path) -> None:
    source_path = sqlite_path(url).absolute()
    if not source_path.is_file():
        raise StoreError(f"there is no database {source_path}")
    with closing(sqlite3.connect(source_path)) as source, closing(sqlite3.connect(destination)) as copy:
        # In one step: from a database that is being written, a copy in steps would begin again with each commit.
        source.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file that is complete without a log beside it
        (result,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise StoreError(f"the copy of {source_path} is damaged: {result}")


def _dump_postgresql(url: URL, destination: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise StoreError("a backup of PostgreSQL needs pg_dump: install PostgreSQL's client programs")
    # The password goes by the environment: other users can see arguments, and one in the address beats PGPASSWORD.
    address = url._replace(drivername="postgresql", password=None).render_as_string()
    # Other instances in the database have backups of their own.
    own = f'--schema="{schema_of(url) or _schema_of_server(url)}"'
    command = [program, "--format=custom", "--no-password", own, f"--file={destination}", f"--dbname={address}"]
    password = {"PGPASSWORD": str(url.password)} if url.password else {}
    try:
        subprocess.run(  # noqa: S603 - the arguments are a list, and the address is the operator's own
            command, env={**os.environ, **password}, check=True, capture_output=True, text=True, timeout=_DUMP_S_MAX
        )
    except subprocess.CalledProcessError as error:
        raise StoreError(f"pg_dump of {url} failed: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"pg_dump of {url} took more than {_DUMP_S_MAX:.0f} s") from error


def _schema_of_server(url: URL) -> str:
    """The schema of a URL that selects none."""
    engine = open_reader(url.render_as_string(hide_password=False))
    try:
        with store_errors(engine), engine.connect() as connection:
            return str(connection.scalar(text("SELECT current_schema()")))
    finally:
        engine.dispose()


def _publish(unfinished: Path, path: Path) -> Backup:
    """Bring the copy to the disk, then give it its name, then bring the name to the disk."""
    unfinished.chmod(PRIVATE_FILE)
    with unfinished.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
    sync_path(unfinished)
    unfinished.replace(path)
    sync_path(path.parent)
    return Backup(path, size_bytes, sha256)


def _delete_old(directory: Path, suffix: str) -> None:
    copies = sorted(directory.glob(f"observer-*{suffix}"), key=lambda path: path.name)
    for path in copies[:-BACKUPS_KEPT]:
        path.unlink()


class BackupJobs:
    """The backups of one database in one folder.

    `turn` is held while the day's backup is made, so that no two jobs of the process run at once.
    """

    def __init__(
        self, *, url: str, folder: Path, turn: asyncio.Lock, today: TradingDayService, clock: Clock, alerts: Alerts
    ) -> None:
        self._url = url
        self._folder = folder
        self._turn = turn
        self._today = today
        self._clock = clock
        self._alerts = alerts

    async def run(self, producer: "Producer") -> None:
        """One backup a day at its time; a process that starts later makes it only if there is none yet."""
        while True:
            plan = await self._today.plan()
            await self._clock.sleep_until(plan.backup_ns)
            stamp = local_datetime(plan.backup_ns).strftime("%Y%m%d")
            async with self._turn:
                if not any(self._folder.glob(f"observer-{stamp}.*")):
                    self._report(producer, await asyncio.to_thread(self._make, stamp))
            await self._today.end_of(plan)

    async def make_now(self, producer: "Producer") -> str | Refused:
        """Make a backup beside the day's, on request of a person."""
        stamp = local_datetime(self._clock.now_ns()).strftime("%Y%m%dT%H%M%S")
        made = await asyncio.to_thread(self._make, stamp)
        self._report(producer, made)
        if isinstance(made, str):
            return Refused("failed", made)
        return f"{made.path}, {made.size_bytes:,} bytes"

    def _report(self, producer: "Producer", made: BackupCompleted | str) -> None:
        if isinstance(made, str):
            self._alerts.report("backup", "critical", made)
        else:
            producer.publish(made)
            self._alerts.resolve("backup", f"{made.path} is made")

    def _make(self, stamp: str) -> BackupCompleted | str:
        """The finished copy, or why there is none."""
        try:
            made = backup(self._url, self._folder, stamp)
        except (ObserverError, OSError) as error:
            return f"backup failed: {error}"
        return BackupCompleted(self._clock.now_ns(), str(made.path), made.size_bytes, made.sha256)
