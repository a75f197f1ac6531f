"""A restore of an SQLite file that was killed before the copy took the file's name: its steps are taken back.

The file then has a second name (`<file>.replaced-<stamp>`), and its log may stand beside that name. The caller holds
the writer's lock, so that no restore is at work.
"""

import glob
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from observer.base.errors import StoreError

logger = logging.getLogger(__name__)

LOGS: Final = ("-wal", "-journal")  # what SQLite needs beside the file to have every commit
INDEX: Final = "-shm"  # made again from the log


def kept_path(path: Path, stamp: str, number: int) -> Path:
    """The name under which a restore keeps the replaced file: the first of this stamp, the second, ..."""
    return path.with_name(f"{path.name}.replaced-{stamp}{f'-{number}' if number > 1 else ''}")


def copy_path(path: Path) -> Path:
    """The name of the copy until it takes the file's."""
    return path.with_name(f".{path.name}.restoring")


def undo_interrupted_restore(path: Path) -> None:
    """Take the second names away that killed restores gave this file, and bring its log back to the first name.

    A kill in between leaves a second name, so that the next call goes on.

    Raises:
        StoreError: the disk refused, or the file has a log beside both names; no name was taken away.
    """
    try:
        for second in _second_names(path):
            _bring_logs_back(path, second)
            second.unlink()
            copy_path(path).unlink(missing_ok=True)
            logger.warning("a restore of %s was killed before it replaced the file: %s is removed", path, second.name)
    except OSError as error:
        raise StoreError(f"cannot take back the killed restore of {path}: {error}") from error


def _second_names(path: Path) -> Sequence[Path]:
    if not path.exists() or path.stat().st_nlink == 1:
        return []
    found = path.parent.glob(f"{glob.escape(path.name)}.replaced-*")
    return sorted(each for each in found if each.samefile(path))


def _bring_logs_back(path: Path, second: Path) -> None:
    moved = [suffix for suffix in LOGS if _beside(second, suffix).exists()]
    for suffix in moved:
        own = _beside(path, suffix)
        if own.exists() and own.stat().st_size:
            raise StoreError(
                f"a restore of {path} was killed, and both {own.name} and {_beside(second, suffix).name} have commits: "
                f"keep copies of them, then run `observer backup restore` with {path.name} moved to another folder"
            )
    for suffix in moved:
        _beside(path, INDEX).unlink(missing_ok=True)  # it would describe another log
        _beside(second, suffix).replace(_beside(path, suffix))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")
