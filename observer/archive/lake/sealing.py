"""Seals a finished day: its rows as files, verified, then its manifest, then what engines read.

The order makes a kill harmless. No manifest names the new files yet; the manifest is replaced in one step; the rest
follows from it and is repeated by the next sealing. A day that changed since gets a new version of the kinds that
changed, and the earlier versions stay. A manifest states whether the database need not keep the day's rows; the core
writer removes those (`observer.archive.lake.removal`).
"""

import logging
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from bus.events import SCHEMA_VERSION
from observer.archive.lake.known_days import KnownDays
from observer.archive.lake.layout import SealedDay, Version, sealed_day, sealed_rows, version_path, write_manifest
from observer.archive.lake.merging import late_rows, merged, numbers_of
from observer.archive.lake.object_store import ObjectStore
from observer.archive.lake.parquet import as_in_file, of_market, read_file, write_file
from observer.archive.lake.publishing import locked, publish, scratch_folder, staging_path
from observer.archive.lake.target import wrong_at_target
from observer.archive.lake.verification import require_rows, verify_day
from observer.base.errors import DataFileError, StoppedError, UntidyCatalogueError
from observer.base.files import sync_path
from observer.store.kinds import KINDS, REMOVABLE
from observer.store.sealing import SealingReader

logger = logging.getLogger(__name__)

_COMPARED_TOGETHER: Final = 20  # sealed days whose rows are counted in one transaction

Progress = Callable[[str, str, int], None]
"""Is called with the day, the kind that begins and the number of its rows."""


class SealingResult(msgspec.Struct, frozen=True):
    """The sealed day, the kinds that got a new version (none where nothing had changed), the kinds whose rows the
    database need not keep from now on, and what to say of those that stay lost.
    """

    day: SealedDay
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def seal_days(
    lake: Path,
    url: str,
    market: str,
    days: Sequence[str],
    now_ns: Callable[[], int],
    stop: threading.Event,
    progress: Progress = lambda _day, _kind, _rows: None,
    remove: Collection[str] = (),
    target: ObjectStore | None = None,
    known: KnownDays | None = None,
) -> Iterator[SealingResult]:
    """Repair the lake, seal the days one after another as `seal`, and update the catalogue, also after a failure or a
    stop. A wrong day does not keep the other days from being sealed. A process changes the lake only through this
    function. Rows of the days in `remove` may leave the database afterwards (`allow_removal`); where the lake has a
    target, only rows that the target has too. `known` is this process's knowledge of the sealed days (None: nothing is
    known), which saves the check of all files.

    Raises:
        LakeInUseError: another process seals.
        DataFileError: days are wrong, as `seal` says, or versions are lost; the other days are sealed.
        UntidyCatalogueError: all days are sealed, but the catalogue is not up to date.
        StoreError, TargetError, StoppedError, OSError: as `seal` and `allow_removal`, at once.
    """
    wrong: list[str] = []
    known = known or KnownDays(lake)
    with locked(lake):
        repaired = known.repair(now_ns())
        before = repaired.days
        try:
            for session_date, unchanged in _compared(lake, url, market, days, before):
                try:
                    if unchanged is not None:
                        publish(lake, unchanged, by_content=True)
                        result = SealingResult(unchanged)
                    else:
                        result = seal(lake, url, market, session_date, now_ns(), stop, progress)
                    if session_date in remove:
                        result = allow_removal(lake, url, result, stop, target)
                except DataFileError as error:
                    wrong.append(str(error))
                    continue
                yield result
        finally:
            untidy = _untidy_catalogue(lake, known, before)
        lost = [each for each in repaired.problems if not any(each in text for text in wrong)]
        if not wrong and not lost:
            known.finish()
    if wrong or lost:
        count = f"{len(wrong)} of {len(days)} days are not sealed: " if len(wrong) > 1 else ""
        raise DataFileError(f"{count}{'; '.join([*wrong, *lost, *untidy])}")
    if untidy:
        raise UntidyCatalogueError(untidy[0])


def _untidy_catalogue(lake: Path, known: KnownDays, before: Sequence[SealedDay]) -> Sequence[str]:
    """Update the catalogue. Returns the reasons why it is not up to date. Called also after a failed sealing, whose
    error takes precedence.
    """
    from observer.archive.lake.catalogue import (
        update_catalogue,  # it loads pyiceberg and with it pandas: 0.7 s, once a day
    )

    try:
        if found := known.days():
            update_catalogue(lake, found, before)
    except (UntidyCatalogueError, DataFileError) as error:
        logger.warning("%s", error)
        return [str(error)]
    return []


def _compared(
    lake: Path, url: str, market: str, days: Sequence[str], sealed: Sequence[SealedDay]
) -> Iterator[tuple[str, SealedDay | None]]:
    """Yield each date with its sealed day if that day has all rows of the database, else with None. One statement a
    kind counts the rows of several sealed days: most of these days did not change.
    """
    of_market = {each.session_date: each for each in sealed if each.market == market}
    for first in range(0, len(days), _COMPARED_TOGETHER):
        dates = days[first : first + _COMPARED_TOGETHER]
        again = [of_market[date] for date in dates if date in of_market]
        unchanged = _unchanged(lake, url, again) if again else {}
        yield from ((date, unchanged.get(date)) for date in dates)


def _unchanged(lake: Path, url: str, sealed: Sequence[SealedDay]) -> Mapping[str, SealedDay]:
    with SealingReader(url) as reader:
        _, uids = reader.marks()
        dates = [each.session_date for each in sealed]
        counts = {kind: reader.counts(kind, dates) for kind in KINDS}
    of_days = ((each, {kind: rows[each.session_date] for kind, rows in counts.items()}) for each in sealed)
    return {each.session_date: each for each, rows in of_days if _is_unchanged(lake, each, rows, uids)}


def _is_unchanged(lake: Path, day: SealedDay, counts: Mapping[str, int], uids: Mapping[int, str]) -> bool:
    """Whether `seal` would find nothing to do. A day with a problem counts as changed: `seal` has to look at it."""
    joined = _joined(day, uids)
    if not day.marks or day.lost_kinds or any(counts[kind] for kind in joined):
        return False
    try:
        return not _changed(lake, day, {kind: rows for kind, rows in counts.items() if kind not in joined}, uids)
    except DataFileError:
        return False


def seal(
    lake: Path,
    url: str,
    market: str,
    session_date: str,
    now_ns: int,
    stop: threading.Event,
    progress: Progress = lambda _day, _kind, _rows: None,
) -> SealingResult:
    """Seal a day, or bring it up to date: `now_ns` is the time of its new versions. The caller holds the lock and has
    repaired the lake.

    All rows are read in one transaction of the database. A new file is read again and compared with them before the
    manifest names it. Of a kind that is removed from the database, or whose sealed rows another database has, the new
    version has the rows of the one before and those that came since.

    Raises:
        StoreError: the database does not answer.
        DataFileError: the database has fewer rows than the sealed day, or no more those of a day without a manifest,
            or a file is not what was written.
        StoppedError: `stop` was set; the lake is as before.
        OSError: the folder cannot be written.
    """
    before = sealed_day(lake, market, session_date)
    with SealingReader(url, scratch_folder(lake), stop) as reader:
        if before is None and reader.lacks_snapshots(session_date):  # the other rows alone would pass for the whole day
            raise DataFileError(
                f"{session_date}: neither the database nor {lake} has the day: mount the lake, or "
                f"`observer backup restore --lake`; without a copy `observer lake forget {session_date}`"
            )
        marks, uids = reader.marks()
        counts = {kind: reader.count(kind, session_date) for kind in KINDS}
        if before is not None and not before.marks:  # a manifest that was made again from its files, or was put back
            removed = tuple(sorted({*before.removed, *_fewer(lake, before, reader)}))
            before = msgspec.structs.replace(before, marks=_marks_of(before.kinds, marks), removed=removed)
            write_manifest(lake, before)
        lost = _still_lost(before, reader) if before is not None else {}
        counts = {kind: rows for kind, rows in counts.items() if kind not in lost}
        made: dict[str, Version] = {}
        with closing(_sources(lake, before, reader, market, session_date, counts, uids)) as sources:
            for source in sources:
                progress(session_date, source.kind, source.rows)
                made[source.kind] = _write(lake, source, market, session_date, before, now_ns, stop)
    if before is not None and not made:
        publish(lake, before, by_content=True)
        return SealingResult(before, lost=tuple(lost.values()))
    kinds = dict(before.kinds) if before else {}
    for kind, version in made.items():
        kinds[kind] = (*kinds.get(kind, ()), version)
    removed, published = (before.removed, before.published) if before else ((), {})
    lacking = before.lacking if before else {}
    day = SealedDay(market, session_date, now_ns, kinds, _marks_of(kinds, marks), removed, published, lacking)
    write_manifest(lake, day)
    publish(lake, day)
    return SealingResult(day, tuple(made), lost=tuple(lost.values()))


def allow_removal(
    lake: Path, url: str, result: SealingResult, stop: threading.Event, target: ObjectStore | None
) -> SealingResult:
    """State in the day's manifest that the database need not keep the rows of its kinds of many rows, after every
    version's file was read again, here and at the target, and the newest ones were compared with the database's rows by
    digest. The caller holds the lock and has just sealed the day.

    Raises:
        DataFileError: something differs; the manifest is as before.
        TargetError: the target does not answer.
        StoreError, StoppedError, OSError: as `seal`.
    """
    removed = tuple(sorted(REMOVABLE & result.day.kinds.keys()))
    if removed == result.day.removed:
        return result
    with SealingReader(url, scratch_folder(lake), stop) as reader:
        problems = verify_day(lake, result.day, reader, stop).problems
        if not problems and target is not None:
            problems = wrong_at_target(lake, target, result.day, stop)
        if problems:
            raise DataFileError(f"{result.day.session_date}: no row is removed from the database: {problems[0]}")
    day = msgspec.structs.replace(result.day, removed=removed)
    write_manifest(lake, day)
    return msgspec.structs.replace(result, day=day, removed=removed)


class _Source(msgspec.Struct, frozen=True):
    """The content of a kind's new version: the rows, their number, and the random id of each stream by its number in
    the rows.
    """

    kind: str
    rows: int
    batches: Iterable[pa.RecordBatch]
    uids: Mapping[int, str]


def _sources(
    lake: Path,
    before: SealedDay | None,
    reader: SealingReader,
    market: str,
    session_date: str,
    counts: Mapping[str, int],
    uids: Mapping[int, str],
) -> Generator[_Source]:
    """Yield the kinds whose rows differ from the newest version. Write each source before you take the next one."""
    joined = _joined(before, uids) if before is not None else ()
    for kind in _changed(lake, before, {kind: rows for kind, rows in counts.items() if kind not in joined}, uids):
        with closing(reader.batches(kind, session_date)) as found:
            yield _Source(kind, counts[kind], as_in_file(of_market(found, market), kind), uids)
    for kind in joined:
        if before is None or not counts.get(kind) or (newest := before.newest(kind)) is None:
            continue
        with closing(reader.batches(kind, session_date)) as found:
            late = sum(batch.num_rows for batch in late_rows(as_in_file(found, kind), newest.streams, uids))
        if late:  # they are read again: all rows of a large day would not be held
            numbers = numbers_of(newest.streams, uids)
            own = {numbers[each.stream]: each.uid for each in newest.streams}
            path = version_path(lake, kind, market, session_date, newest.version)
            with closing(read_file(path)) as sealed, closing(reader.batches(kind, session_date)) as found:
                stored = late_rows(as_in_file(of_market(found, market), kind), newest.streams, uids)
                yield _Source(kind, newest.rows + late, merged(sealed, stored, kind, numbers), {**uids, **own})


def _still_lost(before: SealedDay, reader: SealingReader) -> Mapping[str, str]:
    """By kind what to say of a newest version that is lacking and whose rows the database does not have all: part of
    them is no version, so the kind stays as it is.
    """
    lost = {kind: before.lacking[kind][-1] for kind in before.lost_kinds}
    return {
        kind: f"{before.session_date}: version {version.version} of {kind} is lost, and the database does not have its "
        f"{version.rows:,} rows: bring its file back, then `observer lake seal {before.session_date}`"
        for kind, version in lost.items()
        if kind not in KINDS or not _is_in_database(reader, kind, before.session_date, version)
    }


def _is_in_database(reader: SealingReader, kind: str, session_date: str, version: Version) -> bool:
    """Whether the database has the version's rows, by their positions: an equal number alone can be other rows."""
    positions = sealed_rows(kind, session_date, version.streams)
    return reader.count(kind, session_date) >= version.rows and reader.has_rows(positions)


def _joined(before: SealedDay, uids: Mapping[int, str]) -> Sequence[str]:
    """The kinds whose sealed rows the database may lack: the database's rows of such a kind join the sealed rows."""
    held = set(uids.values())
    lost = before.lost_kinds
    known = [(kind, found[-1]) for kind, found in before.kinds.items() if kind in KINDS and kind not in lost]
    return [kind for kind, newest in known if kind in before.removed or not newest.is_held_with(held)]


def _marks_of(kinds: Mapping[str, Sequence[Version]], marks: Mapping[str, int]) -> Mapping[str, int]:
    """Return the high-water marks of the streams with rows in the newest versions. Each start of a process is a stream,
    so a manifest with all streams would grow with each start. A restored database may lack some of these streams.
    """
    streams = [each for found in kinds.values() for each in found[-1].streams]
    last = {each.uid: max(of_stream.last for of_stream in streams if of_stream.uid == each.uid) for each in streams}
    return {uid: max(marks.get(uid, 0), number) for uid, number in last.items()}


def _changed(lake: Path, before: SealedDay | None, counts: Mapping[str, int], uids: Mapping[int, str]) -> list[str]:
    """The kinds whose rows differ from the newest version, or whose file is gone. Stored rows never change, so the
    number of rows shows a difference; in a restored database the numbers of the streams do. A version without positions
    is of an earlier Observer.
    """
    if before is None:
        return [kind for kind, rows in counts.items() if rows]
    sealed = {kind: newest.rows if (newest := before.newest(kind)) else 0 for kind in counts}
    if fewer := [kind for kind, rows in counts.items() if rows < sealed[kind]]:
        texts = (f"{kind} {counts[kind]:,} of {sealed[kind]:,}" for kind in fewer)
        raise DataFileError(
            f"{before.session_date}: the database has fewer rows than the sealed day ({', '.join(texts)}): "
            "if it was restored, wait until the processes have delivered again; the sealed day stays as it is"
        )
    return [kind for kind, rows in counts.items() if rows > sealed[kind] or _is_stale(lake, before, kind, uids)]


def _is_stale(lake: Path, before: SealedDay, kind: str, uids: Mapping[int, str]) -> bool:
    if (newest := before.newest(kind)) is None:
        return False
    if not newest.streams or any(uids.get(each.stream) != each.uid for each in newest.streams):
        return True
    path = version_path(lake, kind, before.market, before.session_date, newest.version)
    return kind in before.lost_kinds or not path.exists()


def _fewer(lake: Path, before: SealedDay, reader: SealingReader) -> Sequence[str]:
    """The kinds with fewer rows in the database than in the lake, where the database may lack rows. Checks that the
    files of these kinds are whole.
    """
    fewer: list[str] = []
    for kind in sorted(REMOVABLE.intersection(before.kinds).difference(before.lost_kinds)):
        newest = before.kinds[kind][-1]
        if not _is_in_database(reader, kind, before.session_date, newest):
            path = version_path(lake, kind, before.market, before.session_date, newest.version)
            require_rows(path, newest.rows, newest.digest, "those of its metadata")
            fewer.append(kind)
    return fewer


def _until_stopped(
    batches: Iterable[pa.RecordBatch], session_date: str, stop: threading.Event
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if stop.is_set():
            raise StoppedError(f"the sealing of {session_date} was interrupted")
        yield batch


def _write(
    lake: Path,
    source: _Source,
    market: str,
    session_date: str,
    before: SealedDay | None,
    now_ns: int,
    stop: threading.Event,
) -> Version:
    kind = source.kind
    number = before.last_number(kind) + 1 if before else 1
    metadata = {
        "kind": kind,
        "market": market,
        "session_date": session_date,
        "version": str(number),
        "sealed_at_ns": str(now_ns),
        "schema_version": str(SCHEMA_VERSION),
    }
    staged = staging_path(lake, f"{kind}.{session_date}.{number}.parquet")
    written = write_file(staged, kind, _until_stopped(source.batches, session_date, stop), metadata, source.uids)
    rows = 0 if written is None else written.rows
    if written is None or rows != source.rows:  # one transaction has counted and read them
        text = f"{rows:,} rows of {kind} were read, but the database counts {source.rows:,}"
        raise DataFileError(f"{session_date}: {text}: nothing is sealed; run `observer doctor --recount`")
    require_rows(staged, written.rows, written.digest, "the rows that were read from the database")
    final = version_path(lake, kind, market, session_date, number)
    final.parent.mkdir(parents=True, exist_ok=True)
    staged.replace(final)
    sync_path(final.parent)
    return Version(
        version=number,
        rows=written.rows,
        digest=written.digest,
        size_bytes=written.size_bytes,
        sealed_at_ns=now_ns,
        schema_version=SCHEMA_VERSION,
        streams=written.streams,
        is_distinct=written.is_distinct,
    )
