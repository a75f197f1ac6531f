"""Writes the universe's files from the database, for operators and their tools; the system never reads them.

A file is written from committed rows and appears atomically; it can be rebuilt at any time.
"""

from pathlib import Path

from observer.base.files import replace_file
from observer.reference.universe.file_format import content_of, file_name, outdated
from observer.store.reader import StoreReader


def universe_content(reader: StoreReader, session_date: str, market: str) -> bytes | None:
    """The content of the day's file; None when the database has no universe of that day."""
    built = reader.universe_built(session_date, market)
    return None if built is None else content_of(built, reader.universe(session_date, market))


def write_universe_file(reader: StoreReader, folder: Path, session_date: str, market: str) -> Path | None:
    """Write the day's file from the database, and remove the market's files except the newest ten.

    Returns None, and changes nothing, when the database has no universe of that day.

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
        replace_file(path, content)
    for name in outdated([each.name for each in folder.iterdir()], market):
        (folder / name).unlink()
    return path
