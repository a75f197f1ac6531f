"""Seals a finished day: its rows as files, verified, then its manifest, then what engines read.

The order makes a kill harmless. No manifest names the new files yet; the manifest is replaced in one step; the rest
follows from it and is repeated by the next sealing. A day that changed since gets a new version of the kinds that
changed, and the earlier versions stay.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from bus.events import SCHEMA_VERSION
from observer.errors import DataFileError, StoppedError
from observer.files import sync_path
from observer.lake.catalogue import update_catalogue
from observer.lake.digest import digest_of
from observer.lake.layout import SealedDay, Version, sealed_day, sealed_days, version_path, write_manifest
from observer.lake.parquet import file_schema, read_file, write_file
from observer.lake.publishing import locked, publish, repair, staging_path
from observer.store.arrow import KINDS
from observer.store.sealing import SealingReader

Progress = Callable[[str, str, int], None]
"""Is called with the day, the kind that begins and the number of its rows."""

_VERIFIED_BY: Final = "the rows that were read from the database"


class SealingResult(msgspec.Struct, frozen=True):
    """The sealed day, and the kinds that got a new version; none where nothing had changed."""

    day: SealedDay
    written: tuple[str, ...]


def seal_days(
    lake: Path,
    url: str,
    market: str,
    days: Sequence[str],
    now_ns: Callable[[], int],
    stop: threading.Event,
    progress: Progress = lambda _day, _kind, _rows: None,
) -> Iterator[SealingResult]:
    """Repair the lake, seal these days one after another, as `seal`, and bring the catalogue up to date, also after a
    failure or a stop. A day that is wrong does not keep the others from being sealed. A process changes the lake only
    through this.

    Raises:
        LakeInUseError: another process seals.
        DataFileError: days are wrong, as `seal` says; the other days are sealed.
        StoreError, StoppedError, OSError: as `seal`, at once.
    """
    wrong: list[str] = []
    with locked(lake):
        repair(lake)
        try:
            for session_date in days:
                try:
                    result = seal(lake, url, market, session_date, now_ns(), stop, progress)
                except DataFileError as error:
                    wrong.append(str(error))
                    continue
                yield result
        finally:
            if found := sealed_days(lake):
                update_catalogue(lake, found)
    if wrong:
        count = f"{len(wrong)} of {len(days)} days are not sealed: " if len(wrong) > 1 else ""
        raise DataFileError(f"{count}{'; '.join(wrong)}")


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
    manifest names it.

    Raises:
        StoreError: the database does not answer.
        DataFileError: the database has fewer rows than the sealed day, or a file is not what was written.
        StoppedError: `stop` was set; the lake is as before.
        OSError: the folder cannot be written.
    """
    before = sealed_day(lake, market, session_date)
    with SealingReader(url) as reader:
        counts = {kind: reader.count(kind, session_date) for kind in KINDS}
        changed = _changed(before, counts, session_date)
        made: dict[str, Version] = {}
        for kind in changed:
            progress(session_date, kind, counts[kind])
            with closing(reader.batches(kind, session_date)) as found:
                batches = _until_stopped(found, session_date, stop)
                made[kind] = _write(lake, batches, market, session_date, kind, before, now_ns)
            if made[kind].rows != counts[kind]:  # one transaction has counted and read them
                text = f"{made[kind].rows:,} rows of {kind} were read, but the database counts {counts[kind]:,}"
                raise DataFileError(f"{session_date}: {text}: nothing is sealed; run `observer doctor --recount`")
        marks, streams = reader.marks()
    if before is not None and not made:
        if not before.streams:  # a manifest that was made again from its files
            before = msgspec.structs.replace(before, marks=marks, streams=streams)
            write_manifest(lake, before)
        publish(lake, before, by_content=True)
        return SealingResult(before, ())
    kinds = dict(before.kinds) if before else {}
    for kind, version in made.items():
        kinds[kind] = (*kinds.get(kind, ()), version)
    day = SealedDay(market, session_date, now_ns, kinds, marks, streams)
    write_manifest(lake, day)
    publish(lake, day)
    return SealingResult(day, tuple(made))


def _changed(before: SealedDay | None, counts: Mapping[str, int], session_date: str) -> list[str]:
    """The kinds whose rows are not those of the newest version. Rows are never changed, so their number shows it."""
    sealed = {kind: newest.rows if before and (newest := before.newest(kind)) else 0 for kind in counts}
    if fewer := [kind for kind, rows in counts.items() if rows < sealed[kind]]:
        texts = (f"{kind} {counts[kind]:,} of {sealed[kind]:,}" for kind in fewer)
        raise DataFileError(
            f"{session_date}: the database has fewer rows than the sealed day ({', '.join(texts)}): "
            "if it was restored, wait until the processes have delivered again; the sealed day stays as it is"
        )
    return [kind for kind, rows in counts.items() if rows > sealed[kind]]


def _until_stopped(
    batches: Iterable[pa.RecordBatch], session_date: str, stop: threading.Event
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if stop.is_set():
            raise StoppedError(f"the sealing of {session_date} was interrupted")
        yield batch


def _write(
    lake: Path,
    batches: Iterable[pa.RecordBatch],
    market: str,
    session_date: str,
    kind: str,
    before: SealedDay | None,
    now_ns: int,
) -> Version:
    newest = before.newest(kind) if before else None
    number = newest.version + 1 if newest else 1
    metadata = {
        "kind": kind,
        "market": market,
        "session_date": session_date,
        "version": str(number),
        "sealed_at_ns": str(now_ns),
        "schema_version": str(SCHEMA_VERSION),
    }
    staged = staging_path(lake, f"{kind}.{session_date}.{number}.parquet")
    written = write_file(staged, kind, market, batches, metadata)
    if written is None:
        raise DataFileError(f"{session_date}: no row of {kind} was read, but the database counts some")
    require_rows(staged, kind, written.rows, written.digest, _VERIFIED_BY)
    final = version_path(lake, kind, market, session_date, number)
    final.parent.mkdir(parents=True, exist_ok=True)
    staged.replace(final)
    sync_path(final.parent)
    return Version(number, written.rows, written.digest, written.size_bytes, now_ns, SCHEMA_VERSION)


def require_rows(path: Path, kind: str, rows: int, digest: str, source: str) -> None:
    """Read the file and return if it has exactly these rows.

    Raises:
        DataFileError: it has others, it is damaged, or it is not there.
    """
    found = digest_of(read_file(path), file_schema(kind).names)
    if found != (rows, digest):
        raise DataFileError(
            f"{path}: {found[0]:,} rows with digest {found[1][:12]}, but {source} are {rows:,} with {digest[:12]}"
        )
