"""Puts back what the lake lacks: files that are missing or damaged, and days, from the copy beside the packages."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from observer.archive.copying import day_at, notes_in, other_rows, wrong_file
from observer.archive.day import (
    SealedDay,
    Version,
    lost_text,
    manifest_at,
    manifests,
    sealed_dates,
    sealed_day,
    version_files,
    write_manifest,
)
from observer.archive.lock import locked
from observer.archive.target import FolderTarget, bring, go_on
from observer.base.errors import DataFileError, UntidyCatalogueError


class LakePlan(msgspec.Struct, frozen=True):
    """What is put back: by their names in the lake, files with the whole ones that take their places, and days whose
    copied manifest takes the place of the lake's. `problems` cannot be mended so.
    """

    files: Mapping[str, Path] = {}
    days: Sequence[SealedDay] = ()
    problems: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is put back."""
        return not self.files and not self.days


def lacking(lake: Path, copy: FolderTarget, needed: Sequence[str], stop: threading.Event) -> LakePlan:
    """Compare each file that a manifest names, of the lake or its copy, with the manifest's rows. `needed` are the days
    whose rows the restored database does not have.

    Raises:
        StoppedError: `stop` was set.
        OSError: a folder cannot be read.
    """
    plan = _Lacking(lake, copy, stop)
    for name in notes_in(copy):
        try:
            if (copied := day_at(copy, name)) is not None:
                plan.add_copied(copied)
        except DataFileError as error:
            plan.problems.append(str(error))
    for path in manifests(lake):
        try:
            plan.add_own(manifest_at(path))
        except DataFileError as error:  # it hides no other day
            plan.problems.append(str(error))
    back = {day.session_date for day in plan.days}
    absent = sorted(set(needed) - back - sealed_dates(lake))
    text = "its rows are in the lake alone, and neither the lake nor its copy has it"
    plan.problems += [f"{day}: {text}" for day in absent]
    return LakePlan(plan.files, tuple(plan.days), tuple(dict.fromkeys(plan.problems)))


class _Lacking:
    """A plan that is being made."""

    def __init__(self, lake: Path, copy: FolderTarget, stop: threading.Event) -> None:
        self._lake = lake
        self._copy = copy
        self._stop = stop
        self._known: set[str] = set()  # the names of the files that were compared
        self.files: dict[str, Path] = {}
        self.days: list[SealedDay] = []
        self.problems: list[str] = []

    def add_copied(self, copied: SealedDay) -> None:
        """Compare a day of the copy with the lake.

        Raises:
            DataFileError: the day is left as it is: the lake's manifest is damaged, or it has other or further rows.
        """
        own = sealed_day(self._lake, copied.market, copied.session_date)
        lacks = other_rows(copied, own) if own is not None else ""
        if own is not None and lacks and other_rows(own, copied):
            raise DataFileError(
                f"{own.session_date}: the lake has other rows of {lacks} than its copy {self._copy.url}: compare them; "
                "the manifest and the versions of the wrong one have to be moved away"
            )
        if own is None:
            self._require_none_newer(copied)
        is_behind = own is None or lacks != ""  # neither: sealed again, from the same rows
        wanted = [each for each in copied.versions if own is None or is_behind or each in own.versions]
        files, damaged = {}, []
        for kind, version in wanted:
            if self._is_whole(name := copied.name_of(kind, version), version):
                continue
            if wrong := wrong_file(self._copy.folder / name, version):
                damaged.append(f"the lake lacks {name}, and its copy is damaged: {wrong[0]}")
            else:
                files[name] = self._copy.folder / name
        self.problems += damaged
        if not is_behind or not damaged:  # a manifest without one of its files would keep the day from being sealed
            self.files |= files
            self.days += [copied] if is_behind else []

    def _require_none_newer(self, copied: SealedDay) -> None:
        newest = {kind: found[-1].version for kind, found in copied.kinds.items()}
        for each in version_files(self._lake):
            is_of_day = (each.market, each.session_date) == (copied.market, copied.session_date)
            if is_of_day and each.version > newest.get(each.kind, 0):
                text = "is newer than the copy and has no manifest: `observer lake seal` makes one"
                raise DataFileError(f"{self._lake / each.name} {text}")

    def add_own(self, day: SealedDay) -> None:
        """Compare the versions of a day of the lake that have no whole copy."""
        for kind, version in day.versions:
            name = day.name_of(kind, version)
            if name in self._known or self._is_whole(name, version):
                continue
            glob = self._lake / day.glob_name_of(kind)
            if version is day.newest(kind) and not wrong_file(glob, version):
                self.files[name] = glob
            else:
                what = "is damaged" if (self._lake / name).exists() else "is gone"
                self.problems.append(lost_text(str(self._lake / name), kind, day.session_date, what))

    def _is_whole(self, name: str, version: Version) -> bool:
        go_on(self._stop)
        self._known.add(name)
        return not wrong_file(self._lake / name, version)


def put_back(lake: Path, plan: LakePlan, stop: threading.Event) -> Sequence[str]:
    """Put the plan's files and manifests back, then make the glob's files and the catalogue again; return what is wrong
    in the lake then. A file that comes from the copy is one of its own. A manifest is put back without its marks: rows
    can have left the database since the copy, and the next sealing of the day states it.

    Raises:
        LakeInUseError: another process seals days; nothing was changed.
        DataFileError, OSError: a file cannot be put back; those before it are, and a repetition goes on.
        StoppedError: `stop` was set, likewise.
    """
    from observer.archive.catalogue import update_catalogue  # these load pyarrow
    from observer.archive.repair import repair

    with locked(lake):
        for name, source in plan.files.items():
            bring(source, lake / name, stop, is_apart=not source.is_relative_to(lake))
        for day in plan.days:
            write_manifest(lake, msgspec.structs.replace(day, marks={}))
        repaired = repair(lake)
        try:
            update_catalogue(lake, repaired.days)
        except UntidyCatalogueError as error:
            return [*repaired.problems, str(error)]
    return repaired.problems
