"""Folders for one test."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import until


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a name short enough for sockets in it, removed afterwards.

    A thread whose task was cancelled may still read a database, and SQLite makes files beside it: one removal can then
    fail, and the next one succeeds.
    """
    folder = Path(tempfile.mkdtemp(prefix="obs"))
    try:
        yield folder
    finally:
        until(lambda: _is_removed(folder), "the removal of the test's folder")


def _is_removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
