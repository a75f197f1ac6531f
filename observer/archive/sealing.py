"""Seals a finished day: its rows as files, verified, then its manifest, then what engines read.

The order makes a kill harmless. No manifest names the new files yet; the manifest is replaced in one step; the rest
follows from it and is repeated by the next sealing. A day that changed since gets a new version of the kinds that
changed, and the earlier versions stay. A manifest states whether the database need not keep the day's rows; the core
writer removes those (`observer.archive.removal`).
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pyarrow as pa

from bus.events import SCHEMA_VERSION
from observer.archive.copying import wrong_at_target
from observer.archive.day import (
    SealedDay,
    Version,
    readable_days,
    sealed_day,
    sealed_rows,
    version_path,
    write_manifest,
)
from observer.archive.lock import locked
from observer.archive.merging import late_rows, merged, numbers_of
from observer.archive.parquet import as_in_file, of_market, read_file, write_file
from observer.archive.places import Places
from observer.archive.repair import mend, publish, repair, scratch_folder
from observer.archive.target import Target
from observer.archive.verification import require_rows, verify_day
from observer.archive.whole import file_sha256, require_whole
from observer.base.errors import DataFileError, StoppedError, UntidyCatalogueError
from observer.base.files import sync_path
from observer.store.kinds import KINDS, REMOVABLE
from observer.store.sealing import SealingReader

logger = logging.getLogger(__name__)

Progress = Callable[[str, str, int], None]
"""Is called with the day, the kind that begins and the number of its rows."""


class SealingResult(msgspec.Struct, frozen=True):
    """The sealed day, the kinds that got a new version (none where nothing had changed), and the kinds whose rows the
    database need not keep from now on.
    """

    day: SealedDay
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def seal_days(
    lake: Path,
    url: str,
    market: str,
    days: Sequence[str],
    now_ns: Callable[[], int],
    stop: threading.Event,
    progress: Progress = lambda _day, _kind, _rows: None,
    remove: Collection[str] = (),
    target: Target | None = None,
    mended: Collection[str] = (),
    places: Places | None = None,
) -> Iterator[SealingResult]:
    """Repair the lake, seal the days one after another as `seal`, and update the catalogue, also after a failure or a
    stop. A wrong day does not keep the other days from being sealed. A process changes the lake only through this
    function. Rows of the days in `remove` may leave the database afterwards (`allow_removal`): with a target those that
    it has, too, which does not have a new version yet. Of the days in `mended` everything is read again, and mended
    (`observer.archive.repair.mend`), also from the other `places` of the lake's files.

    Raises:
        LakeInUseError: another process seals.
        DataFileError: days are wrong, as `seal` says, or newest versions are lost; the other days are sealed.
        UntidyCatalogueError: all days are sealed, but the catalogue is not up to date.
        StoreError, TargetError, StoppedError, OSError: as `seal` and `allow_removal`, at once.
    """
    wrong: list[str] = []
    with locked(lake):
        copies = places.copies if places is not None else ()
        repaired = repair(lake, copies)
        try:
            for session_date in days:
                try:
                    if session_date in mended:
                        mend(places or Places(lake), market, session_date, url)
                    result = seal(lake, url, market, session_date, now_ns(), stop, progress)
                    if session_date in remove and not (result.written and target is not None):
                        result = allow_removal(lake, url, result, stop, target)
                except DataFileError as error:
                    wrong.append(str(error))
                    continue
                yield result
        finally:
            untidy = _untidy_catalogue(lake, repaired.days)
        problems = repair(lake, copies).problems if mended and repaired.problems else repaired.problems
        lost = [each for each in problems if not any(each in text for text in wrong)]
    if wrong or lost:
        count = f"{len(wrong)} of {len(days)} days are not sealed: " if len(wrong) > 1 else ""
        raise DataFileError(f"{count}{'; '.join([*wrong, *lost, *untidy])}")
    if untidy:
        raise UntidyCatalogueError(untidy[0])


def _untidy_catalogue(lake: Path, before: Sequence[SealedDay]) -> Sequence[str]:
    """Update the catalogue. Returns the reasons why it is not up to date. Called also after a failed sealing, whose
    error takes precedence.
    """
    from observer.archive.catalogue import update_catalogue  # it loads pyiceberg and with it pandas: 0.7 s, once a day

    try:
        if found := readable_days(lake)[0]:
            update_catalogue(lake, found, before)
    except (UntidyCatalogueError, DataFileError) as error:
        logger.warning("%s", error)
        return [str(error)]
    return []


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
    sealed = sealed_day(lake, market, session_date)
    before = sealed or SealedDay(market, session_date, now_ns, {})
    with SealingReader(url, scratch_folder(lake), stop) as reader:
        if sealed is None and reader.lacks_snapshots(session_date):  # the other rows alone would pass for the whole day
            raise DataFileError(
                f"{session_date}: neither the database nor {lake} has the day: mount the lake, or "
                "`observer backup restore --lake`"
            )
        marks, uids = reader.marks()
        if sealed is not None and not before.marks:  # a manifest that was made again from its files, or was put back
            removed = tuple(sorted({*before.removed, *_fewer(lake, before, reader)}))
            before = msgspec.structs.replace(before, marks=_marks_of(before.kinds, marks), removed=removed)
            write_manifest(lake, before)
        counts = {kind: reader.count(kind, session_date) for kind in KINDS}
        sealing = _Sealing(lake, before, reader, uids, now_ns, stop, progress)
        made = {kind: sealing.of_database(kind, counts[kind]) for kind in _changed(lake, before, counts, uids)}
        for kind in _joined(before, uids):
            if counts[kind] and (version := sealing.joined(kind)) is not None:
                made[kind] = version
    if sealed is not None and not made:
        publish(lake, before, by_content=True)
        return SealingResult(before)
    kinds = {**before.kinds, **{kind: (*before.kinds.get(kind, ()), version) for kind, version in made.items()}}
    day = msgspec.structs.replace(before, sealed_at_ns=now_ns, kinds=kinds, marks=_marks_of(kinds, marks))
    write_manifest(lake, day)
    publish(lake, day)
    return SealingResult(day, tuple(made))


def allow_removal(
    lake: Path, url: str, result: SealingResult, stop: threading.Event, target: Target | None
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


# --- what changed -----------------------------------------------------------------------------------------------------


def _joined(before: SealedDay, uids: Mapping[int, str]) -> Sequence[str]:
    """The kinds whose sealed rows the database may lack: the database's rows of such a kind join the sealed rows."""
    held = set(uids.values())
    known = [(kind, found[-1]) for kind, found in before.kinds.items() if kind in KINDS]
    return [kind for kind, newest in known if kind in before.removed or not newest.is_held_with(held)]


def _changed(lake: Path, before: SealedDay, counts: Mapping[str, int], uids: Mapping[int, str]) -> list[str]:
    """The kinds, but for the joined ones, whose rows differ from the newest version, or whose file is gone. Stored rows
    never change, so the number of rows shows a difference; in a restored database the numbers of the streams do. A
    version without positions is of an earlier Observer.

    Raises:
        DataFileError: the database has fewer rows than the sealed day.
    """
    joined = _joined(before, uids)
    rows = {
        kind: (found, newest.rows if (newest := before.newest(kind)) else 0)
        for kind, found in counts.items()
        if kind not in joined
    }
    if fewer := [f"{kind} {found:,} of {sealed:,}" for kind, (found, sealed) in rows.items() if found < sealed]:
        raise DataFileError(
            f"{before.session_date}: the database has fewer rows than the sealed day ({', '.join(fewer)}): "
            "if it was restored, wait until the processes have delivered again; the sealed day stays as it is"
        )
    return [kind for kind, (found, sealed) in rows.items() if found > sealed or _is_stale(lake, before, kind, uids)]


def _is_stale(lake: Path, before: SealedDay, kind: str, uids: Mapping[int, str]) -> bool:
    if (newest := before.newest(kind)) is None:
        return False
    is_held = newest.streams and all(uids.get(each.stream) == each.uid for each in newest.streams)
    return not is_held or not (lake / before.name_of(kind, newest)).exists()


def _fewer(lake: Path, before: SealedDay, reader: SealingReader) -> Sequence[str]:
    """The kinds with fewer rows in the database than in the lake, where the database may lack rows: by their positions,
    as an equal number alone can be other rows. Checks that the files of these kinds are whole.
    """
    fewer: list[str] = []
    for kind in sorted(REMOVABLE & before.kinds.keys()):
        newest = before.kinds[kind][-1]
        positions = sealed_rows(kind, before.session_date, newest.streams)
        if reader.count(kind, before.session_date) < newest.rows or not reader.has_rows(positions):
            require_whole(lake, before, kind, newest)
            fewer.append(kind)
    return fewer


def _marks_of(kinds: Mapping[str, Sequence[Version]], marks: Mapping[str, int]) -> Mapping[str, int]:
    """Return the high-water marks of the streams with rows in the newest versions. Each start of a process is a stream,
    so a manifest with all streams would grow with each start. A restored database may lack some of these streams.
    """
    last: dict[str, int] = {}
    for each in (each for found in kinds.values() for each in found[-1].streams):
        last[each.uid] = max(last.get(each.uid, 0), each.last, marks.get(each.uid, 0))
    return last


# --- versions ---------------------------------------------------------------------------------------------------------


class _Sealing(msgspec.Struct, frozen=True):
    """A day that is being sealed: as it was before, and the transaction that reads its rows; `uids` are the random ids
    of the event streams by the number in the rows.
    """

    lake: Path
    before: SealedDay
    reader: SealingReader
    uids: Mapping[int, str]
    now_ns: int
    stop: threading.Event
    progress: Progress

    def of_database(self, kind: str, rows: int) -> Version:
        """Write a version with the database's rows."""
        with closing(self.reader.batches(kind, self.before.session_date)) as found:
            return self._write(kind, rows, as_in_file(of_market(found, self.before.market), kind), self.uids)

    def joined(self, kind: str) -> Version | None:
        """Write a version with the rows of the newest one and the late rows of the database; None without these."""
        before, newest = self.before, self.before.kinds[kind][-1]
        with closing(self.reader.batches(kind, before.session_date)) as found:
            late = sum(batch.num_rows for batch in late_rows(as_in_file(found, kind), newest.streams, self.uids))
        if not late:
            return None
        # They are read again: all rows of a large day would not be held.
        require_whole(self.lake, before, kind, newest)
        numbers = numbers_of(newest.streams, self.uids)
        uids = {**self.uids, **{numbers[each.stream]: each.uid for each in newest.streams}}
        own = read_file(self.lake / before.name_of(kind, newest))
        with closing(own) as sealed, closing(self.reader.batches(kind, before.session_date)) as found:
            stored = late_rows(as_in_file(of_market(found, before.market), kind), newest.streams, self.uids)
            return self._write(kind, newest.rows + late, merged(sealed, stored, kind, numbers), uids)

    def _write(self, kind: str, rows: int, batches: Iterable[pa.RecordBatch], uids: Mapping[int, str]) -> Version:
        market, session_date = self.before.market, self.before.session_date
        self.progress(session_date, kind, rows)
        number = newest.version + 1 if (newest := self.before.newest(kind)) else 1
        metadata = {
            "kind": kind,
            "market": market,
            "session_date": session_date,
            "version": str(number),
            "sealed_at_ns": str(self.now_ns),
            "schema_version": str(SCHEMA_VERSION),
        }
        staged = scratch_folder(self.lake) / f"{kind}.{session_date}.{number}.parquet"
        written = write_file(staged, kind, self._until_stopped(batches), metadata, uids)
        found = 0 if written is None else written.rows
        if written is None or found != rows:  # one transaction has counted and read them
            text = f"{found:,} rows of {kind} were read, but the database counts {rows:,}"
            raise DataFileError(f"{session_date}: {text}: nothing is sealed; run `observer doctor --recount`")
        sha256 = file_sha256(staged)  # before the rows are compared: what changes between the two is found later
        require_rows(staged, written.rows, written.digest, "the rows that were read from the database")
        final = version_path(self.lake, kind, market, session_date, number)
        final.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(final)
        sync_path(final.parent)
        return Version(
            version=number,
            sealed_at_ns=self.now_ns,
            schema_version=SCHEMA_VERSION,
            file_sha256=sha256,
            **msgspec.structs.asdict(written),
        )

    def _until_stopped(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if self.stop.is_set():
                raise StoppedError(f"the sealing of {self.before.session_date} was interrupted")
            yield batch
