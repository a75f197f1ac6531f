"""What follows from the manifests: the files that a glob finds, and the removal of what no manifest names.

It is repeated at each start of a sealing, so it repairs what a kill left undone.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from observer.errors import LakeInUseError
from observer.files import sync_path
from observer.lake.layout import STAGING, SealedDay, path_of, sealed_days, version_files, version_path

_LOCK: Final = "_lock"
# A file system without hard links says one of these.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS})


class Repaired(msgspec.Struct, frozen=True):
    """What a start found undone: removed files, and days whose files were published."""

    removed: int = 0
    published: int = 0


@contextmanager
def locked(lake: Path) -> Iterator[None]:
    """Exclude every other process that changes this lake.

    Raises:
        LakeInUseError: another process has the lock.
        OSError: the folder cannot be written.
    """
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakeInUseError(f"{lake}: another process seals days in it: wait until it has ended") from None
        yield


def staging_path(lake: Path, name: str) -> Path:
    """A path for a file that is being written, on the lake's own file system."""
    folder = lake / STAGING
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def repair(lake: Path) -> Repaired:
    """Remove what no manifest names, and publish what the manifests say. The caller holds the lock.

    Raises:
        DataFileError: a manifest cannot be read; nothing is removed then.
        OSError: the folder cannot be written.
    """
    days = sealed_days(lake)
    removed = _remove_orphans(lake, days)
    return Repaired(removed, sum(publish(lake, day) for day in days))


def _remove_orphans(lake: Path, days: Iterable[SealedDay]) -> int:
    named = {
        version_path(lake, kind, day.market, day.session_date, version.version)
        for day in days
        for kind, found in day.kinds.items()
        for version in found
    }
    orphans = [path for path in version_files(lake) if path not in named]
    orphans += (lake / STAGING).glob("*")
    for path in orphans:
        path.unlink()
    return len(orphans)


def publish(lake: Path, day: SealedDay) -> bool:
    """Put the newest versions where a glob finds them, each in one step; return whether one was not there yet.

    Raises:
        OSError: the folder cannot be written, or a version's file is gone.
    """
    changed = False
    for kind, found in day.kinds.items():
        source = version_path(lake, kind, day.market, day.session_date, found[-1].version)
        target = path_of(lake, kind, day.market, day.session_date)
        if not _is_same(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace_by_link(source, target, staging_path(lake, f"{kind}.{day.session_date}.link"))
            changed = True
    return changed


def _is_same(source: Path, target: Path) -> bool:
    """Whether the target is this version: the same file, or a copy of it, which has its size and its time."""
    try:
        there = target.stat()
    except FileNotFoundError:
        return False
    own = source.stat()
    return os.path.samestat(own, there) or (own.st_size, own.st_mtime_ns) == (there.st_size, there.st_mtime_ns)


def _replace_by_link(source: Path, target: Path, staged: Path) -> None:
    staged.unlink(missing_ok=True)
    try:
        os.link(source, staged)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, staged)
        sync_path(staged)
    staged.replace(target)
    sync_path(target.parent)
