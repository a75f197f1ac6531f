"""Folders for one test."""

import atexit
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
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


def as_made(make: Callable[[Path], object]) -> Path:
    """The folder as this makes it, whatever an earlier test did to it: it is made once a process, and copied back to
    its own place, which catalogues and configurations state.
    """
    now, kept = _made(make)
    shutil.rmtree(now, ignore_errors=True)
    subprocess.run(["cp", "-a", kept, now], check=True)  # hard links of one file stay those of one file
    return now


@cache
def _made(make: Callable[[Path], object]) -> tuple[Path, Path]:
    place = Path(tempfile.mkdtemp(prefix="obs"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    now, kept = place / "now", place / "kept"
    now.mkdir()
    make(now)
    now.rename(kept)
    return now, kept
