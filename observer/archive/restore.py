"""Puts back what the lake lacks: files that are missing or damaged, and days, from the copy beside the packages."""

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from observer.archive.day import (
    DAYS,
    SealedDay,
    Version,
    lost_text,
    path_of,
    sealed_dates,
    sealed_day,
    version_files,
    write_manifest,
)
from observer.archive.lake_copy import CopiedDay, bring, file_name, notes_in, other_rows, read_note, versions_of
from observer.archive.manifest import PackagedFile
from observer.archive.package import go_on, problem_of
from observer.archive.settings import missing_libraries
from observer.base.errors import DataFileError, UntidyCatalogueError
from observer.base.files import sync_path
from observer.store.kinds import KINDS


class LackingDay(msgspec.Struct, frozen=True):
    """What the lake lacks of a day: files, and whether the copied manifest takes the place of its own."""

    day: SealedDay
    files: Sequence[PackagedFile]
    lacks_manifest: bool


class LakePlan(msgspec.Struct, frozen=True):
    """What is put back, and what cannot be: it is wrong in the lake, and the copy has nothing better. `versions` are
    those that are put back from the glob's files, by their paths in the lake.
    """

    days: Sequence[LackingDay]
    problems: Sequence[str]
    versions: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is put back."""
        return not self.days and not self.versions

    @property
    def files(self) -> Sequence[str]:
        """The paths in the lake of the files that are put back."""
        return [*(file.path for day in self.days for file in day.files), *self.versions]


def lacking(lake: Path, copy: Path, needed: Sequence[str], stop: threading.Event) -> LakePlan:
    """Compare each copied file of the lake by its digest, and the copy of each that is missing or differs; a file
    without a copy by its rows. `needed` are the days whose rows the restored database does not have.

    Raises:
        StoppedError: `stop` was set.
        OSError: a folder cannot be read.
    """
    days: list[LackingDay] = []
    problems: list[str] = []
    whole: set[str] = set()
    damaged: dict[str, str] = {}
    for path in notes_in(copy):
        try:
            copied = read_note(path)
            found = _lacking_day(lake, copy, copied, stop, damaged)
        except DataFileError as error:
            problems.append(str(error))
            continue
        whole |= {file.path for file in copied.files} - damaged.keys()
        if found.files or found.lacks_manifest:
            days.append(found)
    versions = _without_copy(lake, whole, stop, damaged, problems)
    problems += damaged.values()
    restored = {each.day.session_date for each in days}
    absent = sorted(set(needed) - restored - sealed_dates(lake))
    problems += [f"{day}: its rows are in the lake alone, and neither the lake nor its copy has it" for day in absent]
    return LakePlan(days, problems, versions)


def _without_copy(
    lake: Path, whole: set[str], stop: threading.Event, damaged: dict[str, str], problems: list[str]
) -> Sequence[str]:
    """Compare the versions that have no whole copy with the manifests; return those that the glob's files have, by
    their paths in the lake, and note which are lost. A damaged manifest hides no other day.
    """
    back: list[str] = []
    for path in sorted((lake / DAYS).glob("market=*/*.json")):
        try:
            day = sealed_day(lake, path.parent.name.partition("=")[2], path.stem)
        except DataFileError as error:
            problems += [str(error)] * (str(error) not in problems)
            continue
        for kind, version in versions_of(day) if day is not None else ():
            assert day is not None
            go_on(stop)
            if (name := file_name(day, kind, version)) in whole or kind not in KINDS or _is_there(lake / name, version):
                continue
            glob = path_of(lake, kind, day.market, day.session_date)
            if version is day.kinds[kind][-1] and _is_there(glob, version):
                back.append(name)
                damaged.pop(name, None)
            elif name not in damaged:
                what = "is damaged" if (lake / name).exists() else "is gone"
                problems.append(lost_text(str(lake / name), kind, day.session_date, what))
    return tuple(back)


def _is_there(path: Path, version: Version) -> bool:
    if missing_libraries() or not path.exists():  # without them nothing is put back either
        return path.exists()
    from observer.archive.lost_versions import is_version  # it loads pyarrow

    return is_version(path, version)


def _lacking_day(
    lake: Path, copy: Path, copied: CopiedDay, stop: threading.Event, damaged: dict[str, str]
) -> LackingDay:
    """What the lake lacks of a day; adds to `damaged` by name why a file has no whole copy.

    Raises:
        DataFileError: the day is left as it is: the lake's manifest is damaged, or it has other or further rows.
    """
    own = sealed_day(lake, copied.day.market, copied.day.session_date)
    lacks = other_rows(copied.day, own) if own is not None else ""
    if own is not None and lacks and other_rows(own, copied.day):
        raise DataFileError(
            f"{own.session_date}: the lake has other rows of {lacks} than its copy {copy}: compare them; the manifest "
            "and the versions of the wrong one have to be moved away"
        )
    if own is None and (above := _further_versions(lake, copied.day)):
        raise DataFileError(f"{above[0]} is newer than the copy and has no manifest: `observer lake seal` makes one")
    held = set(versions_of(own)) if own is not None else set()
    is_behind = own is None or lacks != ""  # neither: sealed again, from the same rows
    wanted = {file_name(copied.day, *each) for each in versions_of(copied.day) if is_behind or each in held}
    files, is_lost = [], False
    for file in copied.files:
        if file.path not in wanted or not problem_of(lake, file, stop):
            continue
        if problem := problem_of(copy, file, stop):
            damaged[file.path] = f"the lake lacks {file.path}, and its copy is damaged: {problem}"
            is_lost = True
        else:
            files.append(file)
    if is_behind and is_lost:  # a manifest without one of its files would keep all days from being published
        return LackingDay(copied.day, (), lacks_manifest=False)
    return LackingDay(copied.day, files, is_behind)


def _further_versions(lake: Path, day: SealedDay) -> Sequence[Path]:
    newest = {kind: found[-1].version for kind, found in day.kinds.items()}
    of_day = (
        each for each in version_files(lake) if (each.market, each.session_date) == (day.market, day.session_date)
    )
    return [each.path for each in of_day if each.version > newest.get(each.kind, 0)]


def put_back(lake: Path, copy: Path, plan: LakePlan, stop: threading.Event) -> Sequence[str]:
    """Put the plan's files and manifests back, then make the glob's files and the catalogue again; return what is wrong
    in the lake then. A manifest is put
    back without its marks: rows can have left the database since the copy, and the next sealing of the day states it.

    Raises:
        LakeInUseError: another process seals days; nothing was changed.
        DataFileError, OSError: a file cannot be put back; those before it are, and a repetition goes on.
        StoppedError: `stop` was set, likewise.
    """
    from observer.archive.catalogue import update_catalogue  # these load pyarrow
    from observer.archive.repair import locked, repair

    with locked(lake):
        for day in plan.days:
            for file in day.files:
                target = lake / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                bring(copy / file.path, target, file.sha256, stop)
                sync_path(target.parent)
            if day.lacks_manifest:
                write_manifest(lake, msgspec.structs.replace(day.day, marks={}))
        repaired = repair(lake)
        try:
            update_catalogue(lake, repaired.days)
        except UntidyCatalogueError as error:
            return [*repaired.problems, str(error)]
    return repaired.problems
