"""One process's knowledge of the sealed days: of a lake of years, each day only changes are read and checked.

A manifest is replaced as a whole, so a manifest whose file is the same did not change. The presence of every file is
checked when the process begins, once a week, and after a sealing that failed or was killed. On other days only the
files of days with changed manifests are checked. `observer lake seal` begins a process, so it checks all files.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.day import DAYS, SealedDay, manifest_at
from observer.archive.repair import Repaired, publish, remove_staged, repair
from observer.base.errors import DataFileError
from observer.base.units import NS_PER_DAY

LOOK_NS: Final = 7 * NS_PER_DAY
"""From one look at all files of the lake to the next, in the time of the sealings."""


class _Manifest(msgspec.Struct, frozen=True):
    """A manifest with the inode, time and size of its file."""

    file: tuple[int, int, int]
    day: SealedDay


class KnownDays:
    """The sealed days of a lake. Not for two threads at once."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._manifests: dict[str, _Manifest] = {}
        self._changed: set[str] = set()  # of the manifests: their files were not looked at since
        self._begun_ns = 0  # of the last look at all files
        self._is_whole = False  # whether each repair since then was followed by a sealing without a failure

    def days(self) -> Sequence[SealedDay]:
        """The sealed days as they are now, by market and date: a day that did not change is the same object again.

        Raises:
            DataFileError: as `layout.sealed_days`.
        """
        found: dict[str, _Manifest] = {}
        for path, file in sorted(_manifest_files(self._lake)):
            known = self._manifests.get(path)
            if known is None or known.file != file:
                known = _Manifest(file, manifest_at(Path(path)))
                self._changed.add(path)
            found[path] = known
        if self._manifests.keys() - found.keys():  # a lost manifest is made again from the files
            self._is_whole = False
        self._manifests = found
        return [each.day for each in found.values()]

    def is_look_due(self, now_ns: int) -> bool:
        """Whether the next repair looks at all files."""
        return not self._is_whole or not 0 <= now_ns - self._begun_ns < LOOK_NS

    def repair(self, now_ns: int) -> Repaired:
        """As `publishing.repair`, of all files where that is due, else of those of the days that changed. The caller
        holds the lock, and calls `finish` when the sealing has ended well.

        Raises:
            DataFileError, OSError: as `publishing.repair`.
        """
        days = self.days()
        is_due = self.is_look_due(now_ns)
        self._is_whole = False
        if not is_due:
            try:
                removed = remove_staged(self._lake)
                changed = [found.day for path, found in self._manifests.items() if path in self._changed]
                published = sum(publish(self._lake, day) for day in changed)
            except (DataFileError, OSError):
                pass  # the look at all says what is wrong
            else:
                self._changed.clear()
                return Repaired(removed, published, 0, days)
        repaired = repair(self._lake)
        self._begun_ns = now_ns
        self._changed.clear()
        return msgspec.structs.replace(repaired, days=self.days())

    def finish(self) -> None:
        """State that the sealing after the last repair has ended well: it left no file that no manifest names."""
        self._is_whole = True


def _manifest_files(lake: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """The paths of the manifests with inode, time and size. Paths of pathlib would take ten times as long."""
    for folder in _entries(str(lake / DAYS)):
        if folder.name.startswith("market=") and folder.is_dir():
            for each in _entries(folder.path):
                if each.name.endswith(".json"):
                    status = each.stat()
                    yield each.path, (status.st_ino, status.st_mtime_ns, status.st_size)


def _entries(folder: str) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return ()
