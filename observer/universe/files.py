"""The universe's files: what the database has, written down for people and their tools, never read back by us.

A file is written from committed rows only and takes its name when it is whole; it can be made again at any time.
"""

import os
from pathlib import Path

from observer.selection.universe_file import content_of, file_name, outdated
from observer.store.reader import StoreReader


def universe_content(reader: StoreReader, session_date: str, market: str) -> bytes | None:
    """What the day's file says; None when the database has no universe of that day."""
    built = reader.universe_built(session_date, market)
    return None if built is None else content_of(built, reader.universe(session_date, market))


def write_universe_file(reader: StoreReader, folder: Path, session_date: str, market: str) -> Path | None:
    """Make the day's file say what the database has, and remove the market's files but the newest ten.

    None, and nothing done, when the database has no universe of that day.

    Raises:
        OSError: the folder cannot be written.
        StoreError: the database does not answer.
    """
    content = universe_content(reader, session_date, market)
    if content is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(session_date, market)
    if not path.exists() or path.read_bytes() != content:
        _replace(path, content)
    for name in outdated([each.name for each in folder.iterdir()], market):
        (folder / name).unlink()
    return path


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
