"""Versions whose files are gone or damaged: what to say of them, and how one comes back from the glob's file.

The glob's file is a link to the newest version, or a copy of it. So a version that was deleted alone, or that a partial
copy of the folder lacks, is still there under the other name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from observer.archive.day import SealedDay, Version, lost_text, path_of, version_path, write_manifest
from observer.archive.parquet import digest_of_file, metadata_of
from observer.base.errors import DataFileError, UnreadableFileError
from observer.store.kinds import REMOVABLE


def is_version(path: Path, version: Version) -> bool:
    """Whether the file is there and is exactly this version, by its rows and its metadata; it is read whole."""
    try:
        return _is_whole(path, version)
    except UnreadableFileError:
        return False


def _is_whole(path: Path, version: Version) -> bool:
    """As `is_version`. Raises UnreadableFileError: the file cannot be read; it may be this version."""
    try:
        is_rows = digest_of_file(path) == (version.rows, version.digest)
        return states_version(path, version) and is_rows
    except UnreadableFileError:
        raise
    except DataFileError:
        return False


def states_version(path: Path, version: Version) -> bool:
    """Whether the file is there and says in its metadata that it is this version; its rows are not read."""
    try:
        stated = metadata_of(path)
    except DataFileError:
        return False
    return (stated.get("version"), stated.get("digest")) == (str(version.version), version.digest)


def source_of(lake: Path, day: SealedDay, kind: str) -> Path:
    """A whole file of a kind's newest version: that of the version, or the glob's where the version's is gone or
    damaged. It is read where both are there and the glob's file says that it is this version, too.

    Raises:
        DataFileError: there is none; names the file, the day, the kind and the remedies.
    """
    newest = day.kinds[kind][-1]
    path = version_path(lake, kind, day.market, day.session_date, newest.version)
    glob = path_of(lake, kind, day.market, day.session_date)
    is_there = path.exists()
    if is_there and (not states_version(glob, newest) or is_version(path, newest)):
        return path
    if is_version(glob, newest):
        return glob
    raise DataFileError(lost_text(str(path), kind, day.session_date, "is damaged" if is_there else "is gone"))


def lost_versions(lake: Path, day: SealedDay) -> Mapping[str, tuple[Version, ...]]:
    """By kind the versions of a day without a whole file; each file is read whole.

    Raises:
        UnreadableFileError: a file cannot be read, so that it is not known to be lost.
    """
    found: dict[str, tuple[Version, ...]] = {}
    for kind, own in day.kinds.items():
        glob = path_of(lake, kind, day.market, day.session_date)
        for version in own:
            path = version_path(lake, kind, day.market, day.session_date, version.version)
            if not _is_whole(path, version) and not (version is own[-1] and _is_whole(glob, version)):
                found[kind] = (*found.get(kind, ()), version)
    return found


def without(day: SealedDay, lost: Mapping[str, Sequence[Version]]) -> SealedDay:
    """The day whose manifest states these versions as lacking. The database keeps what it has of a kind whose newest
    version is one of them.
    """
    kinds = {
        kind: left
        for kind, found in day.kinds.items()
        if (left := tuple(each for each in found if each not in lost.get(kind, ())))
    }
    lacking = {**day.lacking, **{kind: _in_order(*day.lacking.get(kind, ()), *gone) for kind, gone in lost.items()}}
    left_day = msgspec.structs.replace(day, kinds=kinds, lacking=lacking)
    removed = tuple(kind for kind in day.removed if kind not in left_day.lost_kinds)
    return msgspec.structs.replace(left_day, removed=removed)


def revived(lake: Path, day: SealedDay) -> SealedDay:
    """The day with the lacking versions whose files are back. Then its manifest is replaced, without marks: the next
    sealing states which rows the database need not have. Those of a kind that was lost it need not have at once: it was
    forgotten because the database did not have them, and what that has now are other rows.

    Raises:
        OSError: the folder cannot be written.
    """
    back = {
        kind: tuple(
            each
            for each in found
            if is_version(version_path(lake, kind, day.market, day.session_date, each.version), each)
        )
        for kind, found in day.lacking.items()
    }
    if not any(back.values()):
        return day
    kinds = {
        **day.kinds,
        **{kind: _in_order(*day.kinds.get(kind, ()), *found) for kind, found in back.items() if found},
    }
    left = {kind: tuple(each for each in found if each not in back[kind]) for kind, found in day.lacking.items()}
    lacking = {kind: found for kind, found in left.items() if found}
    whole = msgspec.structs.replace(day, kinds=kinds, lacking=lacking, marks={})
    was_lost = REMOVABLE.intersection(day.lost_kinds).difference(whole.lost_kinds)
    whole = msgspec.structs.replace(whole, removed=tuple(sorted(was_lost.union(day.removed))))
    write_manifest(lake, whole)
    return whole


def _in_order(*versions: Version) -> tuple[Version, ...]:
    return tuple(sorted(versions, key=lambda each: each.version))
