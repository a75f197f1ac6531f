"""How many independent copies a sealed day has: places with bytes of their own, so that one flipped sector takes one.

Names of one file are one copy: the file that a glob finds and the day files are links to the version. A reflink would
be one, too, though it looks like two; none is made (`observer.archive.target`).
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.day import SealedDay
from observer.archive.whole import whole_files

COPIES_MIN: Final = 2
"""So many copies apart from the database's have rows that leave it."""
LAKE: Final = "lake"
BACKUP: Final = "backup"
TARGET: Final = "object store"

FileId = tuple[int, int]
"""The device and the number of a file on it: what its names share."""


class Rows(msgspec.Struct, frozen=True):
    """What a database has, or a package's: the last number of each event stream by its random id, and the days whose
    removed kinds it does not have.
    """

    marks: Mapping[str, int]
    lacks: Collection[str] = ()


def copies_of(
    day: SealedDay,
    kind: str,
    files: Mapping[str, Mapping[str, FileId]],
    rows: Mapping[str, Sequence[Rows]],
    *,
    has_target: bool,
) -> tuple[str, ...]:
    """The places that hold the newest version of a kind, each with bytes of its own.

    Args:
        day: as the lake's manifest says.
        kind: one of the day's.
        files: the files of the newest versions by place and kind; the first place counts of those with one file.
        rows: databases by place; one that has the rows makes the place a copy.
        has_target: the lake has an object store now; the manifest says what it was given.
    """
    newest = day.kinds[kind][-1]
    last = {each.uid: each.last for each in newest.streams}
    held = [place for place, databases in rows.items() if any(_has(each, day, kind, last) for each in databases)]
    apart: dict[FileId, str] = {}
    for place, of_place in files.items():
        if kind in of_place:
            apart.setdefault(of_place[kind], place)
    published = [TARGET] if has_target and day.published.get(kind) == newest.version else []
    return (*held, *apart.values(), *published)


def _has(rows: Rows, day: SealedDay, kind: str, last: Mapping[str, int]) -> bool:
    is_removed = kind in day.removed and day.session_date in rows.lacks
    return bool(last) and not is_removed and all(rows.marks.get(uid, 0) >= number for uid, number in last.items())


def files_of(folder: Path, day: SealedDay) -> Mapping[str, FileId]:
    """The files of a day's newest versions by kind, in a lake or a copy of it; none that is gone, of another size, or
    known to be damaged.
    """
    found: dict[str, FileId] = {}
    files = {day.name_of(kind, each[-1]): (kind, each[-1]) for kind, each in day.kinds.items()}
    wrong = whole_files(folder).known_wrong({name: version for name, (_, version) in files.items()})
    for name, (kind, version) in files.items():
        try:
            status = os.stat(f"{folder}/{name}")  # noqa: PTH116 - paths take ten times as long
        except FileNotFoundError:
            continue
        if status.st_size == version.size_bytes and name not in wrong:
            found[kind] = (status.st_dev, status.st_ino)
    return found


def fewest_copies(
    day: SealedDay, folders: Mapping[str, Path], rows: Mapping[str, Sequence[Rows]], *, has_target: bool
) -> tuple[str, ...]:
    """The places that hold a whole day: those of its kind with the fewest copies."""
    files = {place: files_of(folder, day) for place, folder in folders.items()}
    of_kinds = (copies_of(day, kind, files, rows, has_target=has_target) for kind in day.kinds)
    return min(of_kinds, key=len, default=())


def kinds_apart(lake: Path, copy: Path, day: SealedDay) -> set[str]:
    """The kinds of which lake and copy have enough copies without the database."""
    files = {LAKE: files_of(lake, day), BACKUP: files_of(copy, day)}
    return {kind for kind in day.kinds if len(copies_of(day, kind, files, {}, has_target=False)) >= COPIES_MIN}
