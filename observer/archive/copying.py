"""Copies of the lake at a target: publication at an object store, and the copy beside the packages.

    TARGET/_versions/kind=K/market=M/session_date=D/N.parquet    every version
    TARGET/kind=K/market=M/session_date=D/part-0.parquet         the newest one, where engines read a glob
    TARGET/_days/market=M/D.json                                 the day's manifest, written last

The lake stays the truth; a copy follows from it. Each version is copied once: its rows are compared with its manifest
before, and the copy is read back before anything names it. So a kill or a lost target leaves a day there as it was, and
the next copying continues. A file of a copy is never the lake's own: where an earlier Observer made a link, a backup
makes a copy of it. Nothing is deleted, and no copied version gives way to other rows: a lake that lost some and
was sealed again could have the only ones there.
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.day import (
    DAYS,
    SealedDay,
    Version,
    manifest_content,
    manifest_from,
    manifest_name,
    readable_days,
    sealed_dates,
    sealed_day,
    write_manifest,
)
from observer.archive.lock import locked
from observer.archive.settings import missing_libraries
from observer.archive.target import FolderTarget, Target, go_on
from observer.archive.whole import lost_or_damaged
from observer.base.errors import DataFileError
from observer.base.instance import Instance

Progress = Callable[[str, str], None]
"""Is called with the day and the kind that begins."""
_Of = tuple[str, Version]  # a kind's

_FOLDER: Final = "lake"  # beside the packages
_AT_ONCE: Final = 8  # manifests
_NAMED_MAX: Final = 3
APART_BYTES_MAX: Final = 8 * 2**30
"""So many bytes of links to the lake become copies in one backup."""
FREE_SHARE_MIN: Final = 0.1
"""So much of the disk these copies leave free."""
_REMEDY: Final = "remove it, and `observer lake publish` or the next backup writes it again"


class LakeCopied(msgspec.Struct, frozen=True):
    """What a backup added to the copy, and the days that it could not copy, each with the reason."""

    days: int
    files: int
    problems: Sequence[str]


def copy_of_lake(folder: Path, instance: Instance) -> FolderTarget:
    """The copy of the lake beside the packages in `folder`."""
    return FolderTarget(folder / _FOLDER / instance.name)


def copies_in(folder: Path) -> Sequence[Path]:
    """The copies of lakes beside the packages in `folder`, of all instances."""
    return sorted((folder / _FOLDER).glob("*"))


def copied_days(target: Target) -> list[SealedDay]:
    """The days with a manifest at the target, by market and date.

    Raises:
        TargetError, OSError: the target does not answer.
        DataFileError: a manifest is damaged, or of a later version of Observer.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [day for day in pool.map(lambda name: day_at(target, name), notes_in(target)) if day is not None]


def notes_in(target: Target) -> Sequence[str]:
    """The names of the manifests at the target."""
    return [name for name in target.names(DAYS) if name.endswith(".json")]


def day_at(target: Target, name: str) -> SealedDay | None:
    """The day that a manifest at the target states; None where there is none. Raises as `copied_days`."""
    content = target.read(name)
    return None if content is None else manifest_from(content, f"{target.url}/{name}", _REMEDY)


def copy_day(
    lake: Path,
    target: Target,
    day: SealedDay,
    known: SealedDay | None,
    stop: threading.Event,
    progress: Progress = lambda _day, _kind: None,
) -> Sequence[str] | None:
    """Copy the versions of a sealed day that `known`, the day as the target has it, does not name; return their names,
    None where the target had the day as it is.

    Raises:
        TargetError: the target does not answer, or refuses.
        DataFileError: a file is damaged, or the target has other rows of the day than the lake.
        StoppedError: `stop` was set.
        OSError: a file cannot be read or written.
    """
    wanted = msgspec.structs.replace(day, published={})
    if known == wanted:
        return None
    has = set(known.versions) if known is not None else set()
    if known is not None and (kind := other_rows(known, day)):
        from observer.archive.verification import false_manifest  # it loads pyarrow

        if false := false_manifest(lake, day):
            raise DataFileError(false[0])
        raise DataFileError(
            f"{day.session_date}: the lake has fewer or other rows of {kind} than {target.url}, which stays as it is: "
            "`observer backup restore --lake` says more; of another lake, give this one another target"
        )
    added: list[str] = []
    for kind, found in day.kinds.items():
        if not (new := [version for version in found if (kind, version) not in has]):
            continue
        progress(day.session_date, kind)
        for version in new:
            _put_version(lake, target, day, kind, version, stop)
            added.append(day.name_of(kind, version))
        if target.has_glob:
            target.copy(day.name_of(kind, found[-1]), day.glob_name_of(kind))
    target.write(manifest_name(day.market, day.session_date), manifest_content(wanted))
    return added


def _put_version(
    lake: Path, target: Target, day: SealedDay, kind: str, version: Version, stop: threading.Event
) -> None:
    name = day.name_of(kind, version)
    go_on(stop)
    if wrong := wrong_file(lake / name, version):
        raise DataFileError(f"{kind} of {day.session_date} is not copied: {wrong[0]}")
    if target.has(lake / name, name, stop):  # an earlier copying, which did not end, has put it there
        return
    target.put(lake / name, name, stop)
    if not target.has(lake / name, name, stop):
        raise DataFileError(f"{kind} of {day.session_date} is not copied: {target.url}/{name} is not what was written")


def wrong_file(path: Path, version: Version) -> Sequence[str]:
    """The problems of a file that should be this version; it is read whole."""
    if missing := missing_libraries():
        return [missing]
    from observer.archive.verification import wrong_version  # it loads pyarrow, which a backup does without

    return wrong_version(path, version)


def other_rows(copied: SealedDay, day: SealedDay) -> str:
    """A kind with a copied version that the day does not have, or has with other rows; empty if there is none."""
    return min((kind for kind, *_ in _rows_of(copied) - _rows_of(day)), default="")


def _rows_of(day: SealedDay) -> set[tuple[str, int, int, str]]:
    return {(kind, version.version, version.rows, version.digest) for kind, version in day.versions}


# --- publication ------------------------------------------------------------------------------------------------------


def publish_days(
    lake: Path,
    target: Target,
    market: str,
    stop: threading.Event,
    progress: Progress = lambda _day, _kind: None,
    again: str | None = None,
) -> Iterator[SealedDay]:
    """Bring the target to the sealed days of a market, the oldest first, and note in the lake's manifests what it has;
    yields each day that changed there. Of the day `again` everything that is there is read and, where it is damaged,
    replaced. A day that is wrong does not keep the others from being published.

    Raises:
        LakeInUseError: another process changes the lake.
        DataFileError: days are wrong, here or there, as `copy_day` says; the other days are published.
        TargetError, StoppedError, OSError: as `copy_day`, at once.
    """
    wrong: list[str] = []
    with locked(lake):
        dates = sorted(sealed_dates(lake))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            there = [pool.submit(day_at, target, manifest_name(market, date)) for date in dates]
        for date, found in zip(dates, there, strict=True):
            try:
                if (day := sealed_day(lake, market, date)) is None:  # of another market
                    continue
                known = found.result()
                if date == again and known is not None and not other_rows(known, day):
                    known = None
                is_changed = copy_day(lake, target, day, known, stop, progress) is not None
            except DataFileError as error:
                wrong.append(str(error))
                continue
            published = {kind: versions[-1].version for kind, versions in day.kinds.items()}
            if published != day.published:
                write_manifest(lake, msgspec.structs.replace(day, published=published))
            if is_changed:
                yield day
    if wrong:
        count = f"{len(wrong)} of {len(dates)} days are not published: " if len(wrong) > 1 else ""
        raise DataFileError(f"{count}{'; '.join(wrong)}")


def wrong_at_target(lake: Path, target: Target, day: SealedDay, stop: threading.Event) -> tuple[str, ...]:
    """What is wrong with a sealed day's copy: its manifest, each version, and what a glob finds there. All are read
    whole and compared with the lake's files, which none of them may be.

    Raises:
        TargetError: the target does not answer.
        StoppedError: `stop` was set.
        OSError: a file of the lake cannot be read; one that is gone is passed over.
    """
    try:
        there = day_at(target, manifest_name(day.market, day.session_date))
    except DataFileError as error:
        return (str(error),)
    publish = f"`observer lake publish {day.session_date}`"
    if there is None or there.kinds != day.kinds:
        text = "is not published" if there is None else "has another state there"
        return (f"{day.session_date} {text}: {publish if target.has_glob else '`observer backup now`'}",)
    names = [(day.name_of(kind, version), kind, version) for kind, version in day.versions]
    if target.has_glob:
        names += [(day.glob_name_of(kind), kind, found[-1]) for kind, found in day.kinds.items()]
    remedy = f"{publish} replaces it" if target.has_glob else "remove it, and `observer backup now` copies it again"
    return tuple(
        f"{target.url}/{name} is not version {version.version}: {remedy}"
        for name, kind, version in names
        if (path := lake / day.name_of(kind, version)).exists() and not target.has(path, name, stop)
    )


def state_at_target(day: SealedDay, there: Mapping[tuple[str, str], SealedDay]) -> str:
    """What the target has of a sealed day, given its manifests by market and date."""
    found = there.get((day.market, day.session_date))
    if found is None:
        return "no"
    return "published" if found.kinds == day.kinds else "behind"


# --- beside the packages ----------------------------------------------------------------------------------------------


def removed_days(lake: Path | None) -> Sequence[str]:
    """The days whose rows the database need not have, or whose manifest cannot be read, as `copy_lake` says."""
    days, wrong = readable_days(lake) if lake is not None else ([], {})
    return sorted({*wrong, *(day.session_date for day in days if day.removed)})


def copy_lake(lake: Path, copy: FolderTarget, stop: threading.Event) -> LakeCopied:
    """Copy the versions that the copy does not have, or has damaged, and those that are links to the lake, the oldest
    days first and `APART_BYTES_MAX` at a time. No lock of the lake is needed, because a version's file never changes
    once a manifest names it.

    Raises:
        OSError: a folder cannot be written.
        StoppedError: `stop` was set. What is copied by then is whole.
    """
    days, wrong = readable_days(lake)
    added: list[Sequence[str]] = []
    problems = [*wrong.values()]
    left, linked = _bytes_for_copies(copy), list[str]()
    for day in days:
        go_on(stop)
        try:
            known = day_at(copy, manifest_name(day.market, day.session_date))
            links = _links(lake, copy, day, known) if known is not None else ()
            if links and left <= 0:
                linked.append(day.session_date)
                links = ()
            has = known and _without(known, {*_gone(copy, known), *links})
            if (found := copy_day(lake, copy, day, has, stop)) is not None:
                added.append(found)
            left -= sum(version.size_bytes for _, version in links)
        except DataFileError as error:
            problems.append(str(error))
    if linked and _bytes_for_copies(copy) <= 0:
        problems.append(
            f"{len(linked)} days of {copy.url} since {linked[0]} are the lake's own files, and its disk has less than "
            f"{FREE_SHARE_MIN:.0%} free to copy them: free space, or move the packages ([backup] folder)"
        )
    known_names = {manifest_name(day.market, day.session_date) for day in days}
    if lost := [Path(name).stem for name in notes_in(copy) if name not in known_names and Path(name).stem not in wrong]:
        more = f" and {len(lost) - _NAMED_MAX} more" if len(lost) > _NAMED_MAX else ""
        named = ", ".join(lost[:_NAMED_MAX]) + more
        problems.append(f"the lake has no more {named}: `observer backup restore --lake` puts copied days back")
    return LakeCopied(len(added), sum(map(len, added)), problems)


def _bytes_for_copies(copy: FolderTarget) -> float:
    """How many bytes of links may become copies now."""
    if not copy.folder.exists():
        return 0
    usage = shutil.disk_usage(copy.folder)
    return min(APART_BYTES_MAX, usage.free - FREE_SHARE_MIN * usage.total)


def _gone(copy: FolderTarget, known: SealedDay) -> Sequence[_Of]:
    """The versions whose files are gone from the copy, have another size, or are known to be damaged."""
    return [(kind, version) for kind, version in known.versions if lost_or_damaged(copy.folder, known, kind, version)]


def _links(lake: Path, copy: FolderTarget, day: SealedDay, known: SealedDay) -> Sequence[_Of]:
    """The copied versions of the day that are the lake's own files."""
    found: list[_Of] = []
    own = set(day.versions)
    for kind, version in known.versions:
        name = day.name_of(kind, version)
        with contextlib.suppress(FileNotFoundError):
            is_link = os.path.samefile(f"{lake}/{name}", f"{copy.url}/{name}")  # noqa: PTH121 - paths take longer
            if is_link and (kind, version) in own:
                found.append((kind, version))
    return found


def _without(known: SealedDay, again: Collection[_Of]) -> SealedDay:
    """The day without the versions that are copied again."""
    if not again:
        return known
    kinds = {kind: tuple(each for each in found if (kind, each) not in again) for kind, found in known.kinds.items()}
    return msgspec.structs.replace(known, kinds=kinds)


def problems_in_copy(copy: FolderTarget, needed: Mapping[str, Sequence[str]], stop: threading.Event) -> Sequence[str]:
    """Read every file of the copy again; return what is wrong. `needed` are the days that packages state as being in
    the lake alone, by the package's name.

    Raises:
        StoppedError: `stop` was set.
    """
    problems: list[str] = []
    for name in (names := notes_in(copy)):
        try:
            day = day_at(copy, name)
        except DataFileError as error:
            problems.append(str(error))
            continue
        for kind, version in day.versions if day is not None else ():
            go_on(stop)
            problems += wrong_file(copy.folder / day.name_of(kind, version), version) if day is not None else ()
    known = {Path(name).stem for name in names}
    for package, days in needed.items():
        if absent := sorted(set(days) - known):
            problems.append(f"{package} needs {len(absent)} days of the lake that are not copied: {', '.join(absent)}")
    return problems
