"""A database file moved over the one in use beside a reader and a writer: `python -m tests.store.replacing 20`.

The reader is the first to open the new file, as a worker may be, and stays open.
"""

import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from bus.delivery import Delivered
from observer.base.errors import StoreError
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.folders import short_folder
from tests.store.migrated import make_database

STREAM = "5" * 32


def marks_after_replacement(folder: Path) -> dict[str, int]:
    """The marks that the writer goes on with: those of the new file, which lacks the last commit."""
    url = f"sqlite:///{folder}/observer.db"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    with StoreReader(url) as reader:
        writer.commit([Delivered("track-b", STREAM, 1, trades(2))])
        _copy(folder / "observer.db", folder / "other.db")
        writer.commit([Delivered("track-b", STREAM, 3, trades(1, 3))])
        (folder / "other.db").replace(folder / "observer.db")
        _read(reader)
        found = writer.high_water_marks([STREAM])
        _read(reader)
        writer.close()
    return found


def _copy(source: Path, target: Path) -> None:
    """As sqlite3's .backup: a file that is not in the mode of a log."""
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode=DELETE")


def _read(reader: StoreReader) -> None:
    try:
        reader.streams()
    except StoreError as error:  # the log of the old file does not fit the new one
        sys.stderr.write(f"{error}\n")


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        with short_folder() as name:
            began_s = time.monotonic()
            marks = marks_after_replacement(Path(name))
            took_s = time.monotonic() - began_s
            sys.stdout.write(f"{number + 1}: {marks[STREAM]} of 2 events, {took_s:.2f} s\n")
