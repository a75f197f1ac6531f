"""The files that follow from the manifests: the copies that a glob finds, and the removal of files that no manifest
names.

Each start of a sealing repeats this, so it repairs what a kill left undone.
"""

import errno
import fcntl
import filecmp
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec

from observer.archive.day import (
    STAGING,
    SealedDay,
    StreamRows,
    Version,
    VersionFile,
    lost_text,
    path_of,
    sealed_days,
    version_files,
    version_path,
    write_manifest,
)
from observer.archive.lost_versions import revived, source_of
from observer.archive.parquet import metadata_of
from observer.base.errors import DataFileError, LakeInUseError, StoppedError
from observer.base.files import sync_path

Found = TypeVar("Found")

_LOCK: Final = "_lock"
_POLL_S: Final = 0.2  # machine seconds, while another process has the lock
_TAKE_S: Final = 0.1  # machine seconds to take the lock, as `_is_locked` of a verification has it for a moment
_LOOKS_MAX: Final = 3  # of a verification: late rows that keep coming make each look differ
# A file system without hard links says one of these.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS})


class Repaired(msgspec.Struct, frozen=True):
    """What a start found undone: removed files, days whose files were published, and manifests that were made again.
    `days` are the sealed days, `problems` the versions that are lost.
    """

    removed: int = 0
    published: int = 0
    manifests: int = 0
    days: Sequence[SealedDay] = ()
    problems: Sequence[str] = ()


@contextmanager
def locked(lake: Path) -> Iterator[None]:
    """Exclude every other process that changes this lake.

    Raises:
        LakeInUseError: another process has the lock.
        OSError: the folder cannot be written.
    """
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / _LOCK).open("wb") as lock:
        give_up_s = time.monotonic() + _TAKE_S
        while not _is_taken(lock, fcntl.LOCK_EX):
            if time.monotonic() > give_up_s:
                raise LakeInUseError(f"{lake}: another process seals days in it: wait until it has ended")
            time.sleep(_TAKE_S / 20)  # a thread's or a command's own wait: never in an event loop
        yield


def _is_taken(lock: BinaryIO, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def confirmed(
    lake: Path,
    look: Callable[[], Found],
    problems_of: Callable[[Found], Sequence[str]],
    stop: threading.Event,
    waiting: Callable[[], object] = lambda: None,
) -> Found:
    """Return the result of `look`, confirmed: a problem counts when two looks find it. A look waits for the end of a
    process that changes the lake (and calls `waiting`), as such a process writes a manifest before the files that
    follow from it. If the first looks differ, the third counts.

    Raises:
        StoppedError: `stop` was set.
    """
    found, before = look(), None
    for _ in range(_LOOKS_MAX - 1):
        if not problems_of(found) or found == before:
            break
        while _is_locked(lake):
            waiting()
            if stop.wait(_POLL_S):
                raise StoppedError("the verification was interrupted")
        found, before = look(), found
    return found


def _is_locked(lake: Path) -> bool:
    try:
        with (lake / _LOCK).open("rb") as lock:
            return not _is_taken(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def scratch_folder(lake: Path) -> Path:
    """The folder of files that are being written, on the lake's own file system."""
    folder = lake / STAGING
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def staging_path(lake: Path, name: str) -> Path:
    """A path for a file that is being written."""
    return scratch_folder(lake) / name


def repair(lake: Path) -> Repaired:
    """Make lost manifests again, remove what an unfinished sealing left, publish what the manifests say, and put a
    version that is gone back from the glob's file, or in the manifest if it was lacking. The caller holds the lock.

    A day without a manifest was sealed if a glob finds a file of it or a kind has a second version; its manifest is
    made from the metadata of the versions' files. The versions of other days without one are the rest of a first
    sealing that a kill ended, and of a sealed day the versions above its newest ones.

    Raises:
        DataFileError: a manifest, or a file of a day without one, cannot be read; nothing is removed then.
        OSError: the folder cannot be written.
    """
    files = version_files(lake)
    days = sealed_days(lake)
    known = {(day.market, day.session_date) for day in days}
    lost = _files_of_lost_manifests(lake, files, known)
    made = [_from_files(market, session_date, found) for (market, session_date), found in lost.items()]
    for day in made:
        write_manifest(lake, day)
    if made:
        days = sealed_days(lake)
    days = [revived(lake, day) if day.lacking else day for day in days]
    removed = _remove_unfinished(lake, days, files)
    published = 0
    problems = _lost_earlier_versions(lake, days, files)
    for day in days:
        try:
            published += publish(lake, day)
        except DataFileError as error:
            problems.append(str(error))
    return Repaired(removed, published, len(made), days, problems)


def _lost_earlier_versions(lake: Path, days: Sequence[SealedDay], files: Sequence[VersionFile]) -> list[str]:
    """What to say of the versions without a file; not of the newest ones, which `publish` puts back or names."""
    there = {(each.kind, each.market, each.session_date, each.version) for each in files}
    named = [
        (kind, day.market, day.session_date, version.version)
        for day in days
        for kind, found in day.kinds.items()
        for version in found[:-1]
    ]
    return [lost_text(f"{version_path(lake, *each)}", each[0], each[2]) for each in named if each not in there]


def _files_of_lost_manifests(
    lake: Path, files: Sequence[VersionFile], known: set[tuple[str, str]]
) -> Mapping[tuple[str, str], Sequence[VersionFile]]:
    """The versions' files of each market and day that was sealed and has no manifest."""
    found: dict[tuple[str, str], list[VersionFile]] = {}
    for file in files:
        if (file.market, file.session_date) not in known:
            found.setdefault((file.market, file.session_date), []).append(file)
    return {day: each for day, each in found.items() if any(_was_sealed(lake, file) for file in each)}


def _was_sealed(lake: Path, file: VersionFile) -> bool:
    return file.version > 1 or path_of(lake, file.kind, file.market, file.session_date).exists()


def _from_files(market: str, session_date: str, files: Sequence[VersionFile]) -> SealedDay:
    """The manifest as the files' metadata give it; they have no marks, which the next sealing adds."""
    kinds: dict[str, tuple[Version, ...]] = {}
    for file in sorted(files, key=lambda each: (each.kind, each.version)):
        kinds[file.kind] = (*kinds.get(file.kind, ()), _version_of(file))
    sealed_at_ns = max(version.sealed_at_ns for found in kinds.values() for version in found)
    return SealedDay(market, session_date, sealed_at_ns, kinds)


def _version_of(file: VersionFile) -> Version:
    stated = metadata_of(file.path)
    try:
        return Version(
            version=file.version,
            rows=int(stated["rows"]),
            digest=stated["digest"],
            size_bytes=file.path.stat().st_size,
            sealed_at_ns=int(stated["sealed_at_ns"]),
            schema_version=int(stated["schema_version"]),
            streams=msgspec.json.decode(stated.get("streams", "[]"), type=tuple[StreamRows, ...]),
            is_distinct=stated.get("is_distinct") == "true",
        )
    except (KeyError, ValueError) as error:
        raise DataFileError(f"{file.path}: the day has no manifest, and the file's metadata lack {error}") from error


def _remove_unfinished(lake: Path, days: Sequence[SealedDay], files: Sequence[VersionFile]) -> int:
    newest = {
        (day.market, day.session_date, kind): day.last_number(kind)
        for day in days
        for kind in {*day.kinds, *day.lacking}
    }
    above = [each for each in files if each.version > newest.get((each.market, each.session_date, each.kind), 0)]
    for file in above:
        file.path.unlink()
    return len(above) + remove_staged(lake)


def remove_staged(lake: Path) -> int:
    """Remove what a killed sealing was writing; return how many files. The caller holds the lock."""
    staged = list((lake / STAGING).glob("*"))
    for path in staged:
        path.unlink()
    return len(staged)


def publish(lake: Path, day: SealedDay, *, by_content: bool = False) -> bool:
    """Put the newest versions where a glob finds them, each in one step; return whether one was not there yet.

    A copy (where there are no hard links) is compared by its size and its time, with `by_content` also by its bytes. A
    version that is gone or damaged, and that the glob's file is, is put back from that.

    Raises:
        DataFileError: versions are lost; those of the other kinds are where a glob finds them.
        OSError: the folder cannot be written.
    """
    changed = False
    lost: list[str] = []
    for kind, found in day.kinds.items():
        path = version_path(lake, kind, day.market, day.session_date, found[-1].version)
        target = path_of(lake, kind, day.market, day.session_date)
        try:
            if is_same(path, target, by_content=by_content):
                continue
        except FileNotFoundError:
            pass  # of the version
        try:
            source = source_of(lake, day, kind)
        except DataFileError as error:
            lost.append(str(error))
            continue
        staged = staging_path(lake, f"{kind}.{day.session_date}.link")
        _replace_by_link(source, path if source == target else target, staged)
        changed = True
    if lost:
        raise DataFileError("; ".join(lost))
    return changed


def put_in_place(source: Path, target: Path, staged: Path) -> bool:
    """Make the target a link to the source in one step, or a copy where there are no links; return whether it was
    another file. `staged` is a path on the target's file system.

    Raises:
        OSError: the folder cannot be written, or the source is gone.
    """
    if is_same(source, target):
        return False
    _replace_by_link(source, target, staged)
    return True


def is_same(source: Path, target: Path, *, by_content: bool = False) -> bool:
    """Whether the target is this version: the same file, or a copy of it."""
    try:
        there = target.stat()
    except FileNotFoundError:
        return False
    own = source.stat()
    if os.path.samestat(own, there):
        return True
    is_alike = (own.st_size, own.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
    return is_alike and (not by_content or filecmp.cmp(source, target, shallow=False))


def _replace_by_link(source: Path, target: Path, staged: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
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
