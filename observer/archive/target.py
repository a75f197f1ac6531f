"""The lake's copy in an object store: publishes sealed days, lists the published days, and verifies them.

    URL/_versions/kind=K/market=M/session_date=D/N.parquet    every version
    URL/kind=K/market=M/session_date=D/part-0.parquet         a copy of the newest one, for engines that read a glob
    URL/_days/market=M/D.json                                 the day's manifest, written last

The local lake stays the truth; the copy follows from it. A version is read back and compared with its file before
anything names it. The manifest is written after everything that it names. Each object appears in one step. So a kill or
a lost store leaves a day unchanged, and the next publication continues.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    manifest_path,
    path_of,
    sealed_dates,
    sealed_day,
    version_path,
    write_manifest,
)
from observer.archive.lost_versions import without
from observer.archive.object_store import ObjectStore
from observer.archive.repair import locked
from observer.archive.verification import wrong_version
from observer.base.errors import DataFileError
from observer.store.kinds import REMOVABLE

Progress = Callable[[str, str], None]
"""Is called with the day and the kind that begins."""

_ROOT: Final = Path()  # the names at the target are the paths in the lake
_AT_ONCE: Final = 8  # manifests
_REMEDY: Final = "remove this object, and `observer lake publish` writes it again"


def published_days(store: ObjectStore) -> list[SealedDay]:
    """The days with a manifest at the target, by market and date.

    Raises:
        TargetError: the target does not answer.
        DataFileError: a manifest is damaged, or of a later version of Observer.
    """
    names = sorted(name for name in store.list(DAYS) if name.endswith(".json"))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda name: _manifest(store, name), names)
        return [day for day in found if day is not None]


def publish_days(
    lake: Path,
    store: ObjectStore,
    market: str,
    stop: threading.Event,
    progress: Progress = lambda _day, _kind: None,
    again: str | None = None,
) -> Iterator[SealedDay]:
    """Bring the target to the sealed days of a market, the oldest first, and note in the lake's manifests what it has;
    yields each day that changed there. Of the day `again` everything that is there is read and, where it is damaged,
    replaced. A day or a kind that is wrong does not keep the others from being published.

    Raises:
        LakeInUseError: another process changes the lake.
        DataFileError: days are wrong, here or there, as `publish_day` says; the other days are published.
        TargetError, StoppedError, OSError: as `publish_day`, at once.
    """
    wrong: list[str] = []
    with locked(lake):
        dates = sorted(sealed_dates(lake))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            there = [pool.submit(_manifest, store, manifest_path(_ROOT, market, date).as_posix()) for date in dates]
        for date, known in zip(dates, there, strict=True):
            try:
                if (day := sealed_day(lake, market, date)) is None:  # of another market
                    continue
                done = publish_day(lake, store, day, known.result(), stop, progress, is_again=date == again)
            except DataFileError as error:
                wrong.append(str(error))
                continue
            published = {kind: found[-1].version for kind, found in done.there.kinds.items()}
            if published != day.published:
                write_manifest(lake, msgspec.structs.replace(day, published=published))
            if done.problems:
                wrong.append("; ".join(done.problems))
            if done.is_changed:
                yield day
    if wrong:
        count = f"{len(wrong)} of {len(dates)} days are not published or not whole: " if len(wrong) > 1 else ""
        raise DataFileError(f"{count}{'; '.join(wrong)}")


class Published(msgspec.Struct, frozen=True):
    """The day as the target has it now, whether the publication changed it, and the problems of kinds that stayed
    unchanged.
    """

    there: SealedDay
    is_changed: bool
    problems: Sequence[str] = ()


def publish_day(
    lake: Path,
    store: ObjectStore,
    day: SealedDay,
    known: SealedDay | None,
    stop: threading.Event,
    progress: Progress = lambda _day, _kind: None,
    *,
    is_again: bool = False,
) -> Published:
    """Publish a sealed day. `known` is its manifest there, None where it has none: what it names was verified before it
    was written, and with `is_again` is verified now. A kind with a damaged file stays there as it was, and the manifest
    there states what it lacks. Versions that the lake has lost and forgotten stay there. The caller holds the lock.

    Raises:
        TargetError: the target does not answer, or refuses.
        DataFileError: the target has another lake's day of this name.
        StoppedError: `stop` was set.
        OSError: a file cannot be read.
    """
    here, day = day.kinds, _as_there(day, known, store)
    if known == day and not is_again:
        return Published(day, is_changed=False)
    if known is not None:
        _require_same_lake(store, day, known)
    behind: dict[str, Sequence[Version]] = {}
    problems: list[str] = []
    for kind, found in day.kinds.items():
        there = known.kinds.get(kind, ()) if known is not None else ()
        has = () if is_again else there
        if has == found:
            continue
        progress(day.session_date, kind)
        try:
            for version in here.get(kind, ()):
                if version not in has:
                    _put_version(lake, store, day, kind, version, stop)
        except DataFileError as error:
            problems.append(str(error))
            behind[kind] = [version for version in found if version not in there]
            continue
        # In front of the manifest: a day whose manifest is there has all its files.
        store.copy(_version_name(day, kind, found[-1]), path_of(_ROOT, kind, day.market, day.session_date).as_posix())
    published = without(day, behind) if any(behind.values()) else day
    if is_changed := published != known or is_again:
        store.write(_manifest_name(day), manifest_content(published))
    return Published(published, is_changed, problems)


def wrong_at_target(lake: Path, store: ObjectStore, day: SealedDay, stop: threading.Event) -> tuple[str, ...]:
    """What is wrong with a sealed day's copy: its manifest, each version, and what a glob finds. All are read whole and
    compared with the lake's files.

    Raises:
        TargetError: the target does not answer.
        StoppedError: `stop` was set.
        OSError: a file of the lake cannot be read; one that is gone is passed over.
    """
    try:
        there = _manifest(store, _manifest_name(day))
    except DataFileError as error:
        return (str(error),)
    day = _as_there(day, there, store)
    if there is None or there.kinds != day.kinds:
        text = "is not published" if there is None else "has another state there"
        return (f"{day.session_date} {text}: `observer lake publish {day.session_date}`",)
    problems = []
    for kind, found in day.kinds.items():
        names = {_version_name(day, kind, version): version for version in found}
        names[path_of(_ROOT, kind, day.market, day.session_date).as_posix()] = found[-1]
        for name, version in names.items():
            path = version_path(lake, kind, day.market, day.session_date, version.version)
            if path.exists() and not store.has(path, name, stop):  # a lost one is the lake's own problem
                remedy = f"`observer lake publish {day.session_date}` replaces it"
                problems.append(f"{store.url_of(name)} is not version {version.version}: {remedy}")
    return tuple(problems)


def state_at_target(day: SealedDay, there: Mapping[tuple[str, str], SealedDay]) -> str:
    """What the target has of a sealed day, given its manifests by market and date."""
    found = there.get((day.market, day.session_date))
    if found is None:
        return "no"
    return "published" if found.kinds == _as_there(day, found).kinds else "behind"


def _as_there(day: SealedDay, known: SealedDay | None, store: ObjectStore | None = None) -> SealedDay:
    """The day as the target is to have it: versions that the lake has lost, and that the target's manifest names, are
    not lacking there; with `store` only those with an object. Of a kind whose newest version is one of these the
    database need not have the rows.
    """

    def is_kept(kind: str, version: Version) -> bool:
        return version in day.lacking[kind] and (store is None or store.has_object(_version_name(day, kind, version)))

    there = known.kinds if known is not None else {}
    kept = {kind: [each for each in there.get(kind, ()) if is_kept(kind, each)] for kind in day.lacking}
    left = {kind: tuple(each for each in lost if each not in kept[kind]) for kind, lost in day.lacking.items()}
    kinds = {
        **day.kinds,
        **{
            kind: tuple(sorted([*day.kinds.get(kind, ()), *found], key=lambda each: each.version))
            for kind, found in kept.items()
            if found
        },
    }
    lacking = {kind: lost for kind, lost in left.items() if lost}
    whole = msgspec.structs.replace(day, kinds=kinds, lacking=lacking, published={})
    was_lost = REMOVABLE.intersection(day.lost_kinds).difference(whole.lost_kinds)
    return msgspec.structs.replace(whole, removed=tuple(sorted(was_lost.union(day.removed))))


def _put_version(
    lake: Path, store: ObjectStore, day: SealedDay, kind: str, version: Version, stop: threading.Event
) -> None:
    path = version_path(lake, kind, day.market, day.session_date, version.version)
    if wrong := wrong_version(path, version):
        raise DataFileError(f"{kind} of {day.session_date} is not published: {wrong[0]}")
    name = _version_name(day, kind, version)
    if store.has(path, name, stop):  # an earlier publication, which did not end, has put it there
        return
    store.upload(path, name, stop)
    if not store.has(path, name, stop):
        text = f"{store.url_of(name)} is not what was written"
        raise DataFileError(f"{kind} of {day.session_date} is not published: {text}")


def _require_same_lake(store: ObjectStore, day: SealedDay, known: SealedDay) -> None:
    """Require that the target's manifest names only versions of this lake: versions are only added. Other versions
    belong to another lake, or to this lake before it was lost.
    """
    for kind, found in known.kinds.items():
        own = {(each.version, each.digest) for of in (day.kinds, day.lacking) for each in of.get(kind, ())}
        if not {(version.version, version.digest) for version in found} <= own:
            raise DataFileError(
                f"{store.url} has another lake's {kind} of {day.session_date}: give this lake another prefix, or take "
                "that lake's files back from there"
            )


def _manifest(store: ObjectStore, name: str) -> SealedDay | None:
    content = store.read(name)
    return None if content is None else manifest_from(content, store.url_of(name), _REMEDY)


def _manifest_name(day: SealedDay) -> str:
    return manifest_path(_ROOT, day.market, day.session_date).as_posix()


def _version_name(day: SealedDay, kind: str, version: Version) -> str:
    return version_path(_ROOT, kind, day.market, day.session_date, version.version).as_posix()
