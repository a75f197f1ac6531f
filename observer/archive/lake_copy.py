"""The copy of the lake beside the packages: each version of a sealed day is copied once, and never again.

    BACKUP/lake/INSTANCE/_versions/...              the versions' files, at the lake's own paths
    BACKUP/lake/INSTANCE/_copied/market=M/D.json    the day's manifest, and the digest of each of its files

A day's note in `_copied` is replaced in one step, after its files are on the disk: a kill leaves the day to the next
backup. No lock of the lake is needed, because a version's file never changes once a manifest names it.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.day import SealedDay, Version, sealed_days, version_path
from observer.archive.manifest import PackagedFile
from observer.archive.package import PORTION_BYTES, digest_of, go_on, loss_of, problem_of
from observer.archive.settings import missing_libraries
from observer.base.errors import DataFileError
from observer.base.files import PRIVATE_FILE, make_private_folder, read_file, replace_file, sync_path, to_disk
from observer.base.instance import Instance

_FOLDER: Final = "lake"  # beside the packages
_NOTES: Final = "_copied"
_NAMED_MAX: Final = 3


class CopiedDay(msgspec.Struct, frozen=True):
    """A day's manifest, and the files of all its versions in the copy, by their paths in the lake."""

    day: SealedDay
    files: Sequence[PackagedFile]


class LakeCopied(msgspec.Struct, frozen=True):
    """What a backup added to the copy, and the days that it could not copy, each with the reason."""

    days: int
    files: int
    size_bytes: int
    problems: Sequence[str]


class _Note(msgspec.Struct, frozen=True):
    """The content of a file in `_copied`; `sha256` is the digest of `copied` as it stands there."""

    sha256: str
    copied: msgspec.Raw


def copy_of_lake(folder: Path, instance: Instance) -> Path:
    """The folder of the lake's copy beside the packages in `folder`."""
    return folder / _FOLDER / instance.name


def removed_days(lake: Path | None) -> Sequence[str]:
    """The days whose rows the database need not have; none where the manifests cannot be read, as `copy_lake` says."""
    try:
        return [day.session_date for day in sealed_days(lake) if day.removed] if lake is not None else []
    except (DataFileError, OSError):
        return []


def copy_lake(lake: Path, copy: Path, stop: threading.Event) -> LakeCopied:
    """Copy the versions that the copy does not have; a hard link where the file systems allow it. Each file's rows are
    compared with its manifest before. A day that lacks a copied version, or has it with other rows, is not copied: the
    lake was lost and sealed again, and the copied rows may be the only ones.

    Raises:
        DataFileError: a manifest cannot be read.
        OSError: a folder cannot be written.
        StoppedError: `stop` was set. What is copied by then is whole.
    """
    days = sealed_days(lake)
    added: list[PackagedFile] = []
    changed, problems = 0, []
    for day in days:
        go_on(stop)
        try:
            found = _copy_day(lake, copy, day, stop)
        except DataFileError as error:
            problems.append(str(error))
            continue
        changed += bool(found)
        added += found
    problems += _lost_days(copy, days)
    return LakeCopied(changed, len(added), sum(file.size_bytes for file in added), problems)


def _lost_days(copy: Path, days: Sequence[SealedDay]) -> list[str]:
    known = {(day.market, day.session_date) for day in days}
    lost = [path.stem for path in notes_in(copy) if (path.parent.name.partition("=")[2], path.stem) not in known]
    if not lost:
        return []
    named = ", ".join(lost[:_NAMED_MAX]) + (f" and {len(lost) - _NAMED_MAX} more" if len(lost) > _NAMED_MAX else "")
    return [f"the lake has no more {named}: `observer backup restore --lake` puts copied days back"]


def _copy_day(lake: Path, copy: Path, day: SealedDay, stop: threading.Event) -> Sequence[PackagedFile]:
    """Bring the day's copy up to date; return the files that were added."""
    before = _known(copy, day)
    if before is not None and before.day == day and _are_there(copy, before.files):
        return ()
    if before is not None and (kind := other_rows(_left(copy, before, day, stop), day)):
        raise DataFileError(
            f"{day.session_date}: the lake has fewer or other rows of {kind} than the copy in {copy}, which stays as "
            "it is: `observer backup restore --lake` says more"
        )
    known = _whole_files(copy, before, day) if before is not None else {}
    added: list[PackagedFile] = []
    for kind, version in versions_of(day):
        name = file_name(day, kind, version)
        if name not in known:
            known[name] = _copy_version(lake, copy, name, version, stop)
            added.append(known[name])
    for folder in {(copy / file.path).parent for file in added}:
        sync_path(folder)
    _write_note(copy, CopiedDay(day, list(known.values())))
    return added


def _left(copy: Path, before: CopiedDay, day: SealedDay, stop: threading.Event) -> SealedDay:
    """The copied day without the versions that are lost in the copy, too, and that the lake states as lacking."""
    lacking = {file_name(day, *each) for each in versions_of(before.day) if each[1] in day.lacking.get(each[0], ())}
    lost = {file.path for file in before.files if file.path in lacking and _is_lost(copy, file, stop)}
    kinds = {
        kind: tuple(version for version in found if file_name(day, kind, version) not in lost)
        for kind, found in before.day.kinds.items()
    }
    return msgspec.structs.replace(before.day, kinds=kinds)


def _is_lost(copy: Path, file: PackagedFile, stop: threading.Event) -> bool:
    with contextlib.suppress(OSError):  # one that cannot be read may be whole
        return loss_of(copy, file, stop) != ""
    return False


def _known(copy: Path, day: SealedDay) -> CopiedDay | None:
    """The day's note; None for a damaged one too, because the lake has what it said."""
    with contextlib.suppress(DataFileError, FileNotFoundError):
        return read_note(_note_path(copy, day))
    return None


def _whole_files(copy: Path, before: CopiedDay, day: SealedDay) -> dict[str, PackagedFile]:
    """The files that need not be copied: copied from exactly this version, and there by their size."""
    copied = {file.path: file for file in before.files}
    same = {file_name(day, kind, version) for kind, version in set(versions_of(before.day)) & set(versions_of(day))}
    return {
        name: copied[name] for name in same & copied.keys() if _size_bytes(f"{copy}/{name}") == copied[name].size_bytes
    }


def _are_there(copy: Path, files: Sequence[PackagedFile]) -> bool:
    """Whether the copy has these files, by their sizes."""
    folder = str(copy)
    return all(_size_bytes(f"{folder}/{file.path}") == file.size_bytes for file in files)


def _size_bytes(path: str) -> int:
    """Of each file of each day, in each backup: paths of pathlib would take ten times as long."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - see above
    except FileNotFoundError:
        return -1


def _copy_version(lake: Path, copy: Path, name: str, version: Version, stop: threading.Event) -> PackagedFile:
    if missing := missing_libraries():
        raise DataFileError(f"the lake is not copied: {missing}")
    from observer.archive.verification import require_rows  # it loads pyarrow

    source = lake / name
    require_rows(source, version.rows, version.digest, "those of its manifest")
    sha256 = digest_of(source, stop)
    make_private_folder((copy / name).parent)
    bring(source, copy / name, sha256, stop)
    return PackagedFile(name, source.stat().st_size, sha256)


def bring(source: Path, target: Path, sha256: str, stop: threading.Event) -> None:
    """Make the target a link to the source in one step, or a copy that was read back where there are no links.

    Raises:
        DataFileError: the copy does not have this digest.
        OSError: the folder cannot be written.
        StoppedError: `stop` was set.
    """
    staged = target.with_name(f".{target.name}.part")
    staged.unlink(missing_ok=True)  # of a process that was killed
    if target.exists() and target.samefile(source):  # a name that replaces another one of its own file stays
        return
    try:
        os.link(source, staged)
    except OSError:  # another file system, one without links, or one that forbids them
        _copy(source, staged, stop)
        if digest_of(staged, stop) != sha256:
            staged.unlink()
            raise DataFileError(f"the copy of {source} in {target.parent} differs") from None
    staged.replace(target)


def _copy(source: Path, target: Path, stop: threading.Event) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with source.open("rb") as reading, os.fdopen(os.open(target, flags, PRIVATE_FILE), "wb") as writing:
        while portion := reading.read(PORTION_BYTES):
            go_on(stop)
            writing.write(portion)
            to_disk(writing)  # each portion: a commit would wait until all of a large file is there
        to_disk(writing)  # of an empty file, too


# --- days and their notes ------------------------------------------------------------------------------------


def versions_of(day: SealedDay) -> list[tuple[str, Version]]:
    """All versions of a day, each with its kind."""
    return [(kind, version) for kind, found in day.kinds.items() for version in found]


def file_name(day: SealedDay, kind: str, version: Version) -> str:
    """The path of a version's file below the lake's folder, and below its copy's."""
    return version_path(Path(), kind, day.market, day.session_date, version.version).as_posix()


def other_rows(copied: SealedDay, day: SealedDay) -> str:
    """A kind with a copied version that the day does not have, or has with other rows; empty if there is none."""
    return min((kind for kind, *_ in _rows_of(copied) - _rows_of(day)), default="")


def _rows_of(day: SealedDay) -> set[tuple[str, int, int, str]]:
    return {(kind, version.version, version.rows, version.digest) for kind, version in versions_of(day)}


def notes_in(copy: Path) -> Sequence[Path]:
    """The files that say what is copied, by market and day."""
    return sorted((copy / _NOTES).glob("market=*/*.json"))


def _note_path(copy: Path, day: SealedDay) -> Path:
    return copy / _NOTES / f"market={day.market}" / f"{day.session_date}.json"


def _write_note(copy: Path, copied: CopiedDay) -> None:
    content = msgspec.json.encode(copied)
    path = _note_path(copy, copied.day)
    make_private_folder(path.parent)
    replace_file(path, msgspec.json.encode(_Note(hashlib.sha256(content).hexdigest(), msgspec.Raw(content))))
    sync_path(path.parent)


def read_note(path: Path) -> CopiedDay:
    """The day that this file says is copied.

    Raises:
        DataFileError: it is damaged.
        FileNotFoundError: it is not there.
    """
    try:
        note = msgspec.json.decode(read_file(path), type=_Note)
        if hashlib.sha256(note.copied).hexdigest() == note.sha256:
            return msgspec.json.decode(note.copied, type=CopiedDay)
    except (ValueError, RecursionError):
        pass
    raise DataFileError(f"{path} is damaged: the next backup makes it again from the lake")


def copied_files(copy: Path, market: str, day: str) -> Sequence[PackagedFile]:
    """The files that the copy has of a day, as its note says; none without a readable note."""
    with contextlib.suppress(DataFileError, FileNotFoundError):
        return read_note(copy / _NOTES / f"market={market}" / f"{day}.json").files
    return ()


def problems_in_copy(copy: Path, needed: Mapping[str, Sequence[str]], stop: threading.Event) -> Sequence[str]:
    """Read every file of the copy again; return what is wrong. `needed` are the days that packages state as being in
    the lake alone, by the package's name.

    Raises:
        StoppedError: `stop` was set.
    """
    problems: list[str] = []
    for path in (paths := notes_in(copy)):
        try:
            copied = read_note(path)
        except DataFileError as error:
            problems.append(str(error))
            continue
        problems += [problem for file in copied.files if (problem := problem_of(copy, file, stop))]
    known = {path.stem for path in paths}
    for package, days in needed.items():
        if absent := sorted(set(days) - known):
            problems.append(f"{package} needs {len(absent)} days of the lake that are not copied: {', '.join(absent)}")
    return problems
