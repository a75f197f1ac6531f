"""Folding SQLite's write-ahead log into the database file, so that the file alone holds every committed row."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Final
from urllib.parse import quote

from observer.base.errors import StoreError
from observer.store.engine import failure_of, parse_url, sqlite_path

logger = logging.getLogger(__name__)

_END_S: Final = 2.0  # machine seconds for readers of other processes to end their queries
_ATTEMPT_MS: Final = 100  # while an attempt waits for readers, no commit can begin
_PAUSE_S: Final = 0.05


def fold_log(url: str, wait_s: float) -> bool:
    """Write all of the log into the file and empty it; False if a reader or a writer kept it for `wait_s` machine
    seconds. True at once where there is no log: on PostgreSQL, or without a database.

    Raises:
        StoreError: the database or its disk failed.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not sqlite_path(parsed).is_file():
        return True
    deadline_s = time.monotonic() + wait_s
    try:
        address = f"file:{quote(str(sqlite_path(parsed).absolute()))}?mode=rw"  # never makes a file
        with closing(sqlite3.connect(address, uri=True)) as database:
            database.execute(f"PRAGMA busy_timeout={_ATTEMPT_MS}")
            while not _fold(database):
                if time.monotonic() >= deadline_s:
                    return False
                time.sleep(_PAUSE_S)
    except sqlite3.Error as error:
        raise failure_of(f"the log of {parsed} cannot be folded into its file: {error}") from error
    return True


def _fold(database: sqlite3.Connection) -> bool:
    database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()  # most of the work, beside readers and commits
    [is_busy, _pages, _folded] = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy


@asynccontextmanager
async def folded_at_end(url: str) -> AsyncIterator[None]:
    """At the end of the block, when this process reads and writes no more, the database's file alone has every row."""
    try:
        yield
    finally:
        try:
            if not await asyncio.to_thread(fold_log, url, _END_S):
                logger.warning("another process reads the database: the file is complete only with its log beside it")
        except StoreError as error:
            logger.error("%s", error)
