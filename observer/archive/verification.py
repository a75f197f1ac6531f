"""Whether a sealed day is whole: its files, what a glob finds, and the database's own rows, each by the digest."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from observer.archive.day import SealedDay, Version, lost_text, sealed_day, sealed_days
from observer.archive.digest import RowsDigest
from observer.archive.merging import late_rows
from observer.archive.parquet import as_in_file, columns_of, digest_of_file, file_schema, metadata_of, unknown_kind
from observer.archive.whole import whole_files, wrong_bytes
from observer.base.errors import DataFileError, StoppedError
from observer.base.remedies import lake_damaged
from observer.store.kinds import KINDS
from observer.store.sealing import SealingReader


class VerifiedDay(msgspec.Struct, frozen=True):
    """The result for one day: its kinds, its rows, the number of rows that were compared with the database, and the
    problems.
    """

    market: str
    session_date: str
    kinds: int
    rows: int
    compared_rows: int
    problems: tuple[str, ...]


def verify_stored_day(lake: Path, day: SealedDay, url: str, stop: threading.Event) -> VerifiedDay:
    """As `verify_day`, with the present manifest of the day and the present rows of the database at `url`.

    Raises:
        DataFileError: the manifest cannot be read.
        StoreError, StoppedError: as `verify_day`.
    """
    now = sealed_day(lake, day.market, day.session_date) or day
    with SealingReader(url, stop=stop) as reader:
        return verify_day(lake, now, reader, stop)


def verify_day(lake: Path, day: SealedDay, reader: SealingReader, stop: threading.Event) -> VerifiedDay:
    """Read every version of every kind, and the database's rows of the day.

    If the database has no rows at all of the day, it is compared with its manifest alone: another database has it. Of a
    kind that is removed from the database, or whose sealed rows another database has, only the rows count that the
    newest version does not have.

    Raises:
        StoreError: the database does not answer.
        StoppedError: `stop` was set.
    """
    date, problems, compared = day.session_date, list[str](), 0
    counts = {kind: reader.count(kind, date) for kind in KINDS}
    is_compared = any(counts.values())
    uids = reader.marks()[1] if is_compared else {}
    for kind, found in day.kinds.items():
        if kind not in KINDS:
            problems.append(f"{kind} of {date}: {unknown_kind(kind)}")
            continue
        problems += _wrong_files(lake, day, kind, stop)
        if is_compared and (kind in day.removed or not found[-1].is_held_with(set(uids.values()))):
            problems += _late_rows(reader, day, kind, uids)
        elif is_compared:
            compared += found[-1].rows
            problems += _wrong_rows(reader, lake, day, kind)
    problems += [
        f"{kind} of {date}: the database has {rows:,} rows, the sealed day none: `observer lake seal {date}` adds them"
        for kind, rows in counts.items()
        if rows and kind not in day.kinds
    ]
    return VerifiedDay(day.market, date, len(day.kinds), day.rows, compared, tuple(problems))


def verify_catalogue(lake: Path) -> Sequence[str]:
    """What is wrong with the catalogue: tables that have other files than the manifests."""
    from observer.archive.catalogue import outdated_tables  # it loads pyiceberg and with it pandas

    if not (outdated := outdated_tables(lake, sealed_days(lake))):
        return ()
    text = f"the catalogue's tables {', '.join(outdated)} have other files: `observer lake seal` of any day corrects it"
    return (text,)


# --- files ------------------------------------------------------------------------------------------------------------


def _wrong_files(lake: Path, day: SealedDay, kind: str, stop: threading.Event) -> Iterator[str]:
    for version in day.kinds[kind]:
        if stop.is_set():
            raise StoppedError(f"the verification of {day.session_date} was interrupted")
        path = lake / day.name_of(kind, version)
        if what := whole_files(lake).verify(day.name_of(kind, version), version):
            yield lost_text(str(path), kind, day.session_date, what)
        else:
            yield from (lake_damaged(what, day.session_date) for what in _wrong_metadata(path, version))
    own, glob = lake / day.name_of(kind, version), lake / day.glob_name_of(kind)
    is_linked = own.exists() and glob.exists() and own.samefile(glob)
    if own.exists() and not is_linked and (wrong := wrong_version(glob, version)):  # a copy
        yield f"{wrong[0]}: `observer lake seal {day.session_date}` publishes it again"


def wrong_version(path: Path, version: Version) -> Sequence[str]:
    """Return the problems of a version's file: in its bytes (`observer.archive.whole`) or its metadata."""
    wrong = wrong_bytes(path, version)
    return [f"{path} {wrong}"] if wrong else _wrong_metadata(path, version)


def _wrong_metadata(path: Path, version: Version) -> Sequence[str]:
    try:
        stated = metadata_of(path)
    except DataFileError as error:
        return [str(error)]
    expected = {"rows": str(version.rows), "digest": version.digest, "version": str(version.version)}
    if wrong := [name for name, value in expected.items() if stated.get(name) != value]:
        return [f"{path}: its metadata have another {', '.join(wrong)} than its manifest"]
    return []


def states_version(path: Path, version: Version) -> bool:
    """Whether the file is there and says in its metadata that it is this version; its rows are not read."""
    try:
        stated = metadata_of(path)
    except DataFileError:
        return False
    found = (stated.get("version"), stated.get("rows"), stated.get("digest"))
    return found == (str(version.version), str(version.rows), version.digest)


def false_manifest(lake: Path, day: SealedDay) -> Sequence[str]:
    """What to say of the day's versions whose file is there and says another thing of itself than the manifest. The
    files' metadata are read.
    """
    return [
        lost_text(str(path), kind, day.session_date, "states other rows than its manifest")
        for kind, version in day.versions
        if (path := lake / day.name_of(kind, version)).exists() and not states_version(path, version)
    ]


def require_rows(path: Path, rows: int, digest: str, source: str) -> None:
    """Read the file, and return if it has exactly these rows.

    Raises:
        DataFileError: the file has other rows, is damaged, or is missing.
    """
    found = digest_of_file(path)
    if found != (rows, digest):
        raise DataFileError(
            f"{path}: {found[0]:,} rows with digest {found[1][:12]}, but {source} are {rows:,} with {digest[:12]}"
        )


# --- rows of the database ---------------------------------------------------------------------------------------------


def _wrong_rows(reader: SealingReader, lake: Path, day: SealedDay, kind: str) -> Iterator[str]:
    """Compare the columns of the newest version. A version of an earlier Observer lacks later columns: such a row has
    no value there.
    """
    newest, what = day.kinds[kind][-1], f"{kind} of {day.session_date}"
    try:
        sealed = columns_of(lake / day.name_of(kind, newest))
    except DataFileError:
        return  # the file is lost or damaged, which is reported
    stored = file_schema(kind).names
    digest, filled = RowsDigest([name for name in sealed if name in stored]), set[str]()
    for batch in as_in_file(reader.batches(kind, day.session_date), kind):
        digest.add(batch)
        filled |= {name for name in stored if name not in sealed and batch[name].null_count < batch.num_rows}
    if filled:  # the digest of the sealed columns does not show it
        yield f"{what}: the database has values of {', '.join(sorted(filled))}, which the sealed day does not have"
    elif (digest.rows, digest.hexdigest()) != (newest.rows, newest.digest):
        again = f": `observer lake seal {day.session_date}` makes a new version" if digest.rows > newest.rows else ""
        yield f"{what}: the database has {digest.rows:,} rows, the sealed day {newest.rows:,}{again}"


def _late_rows(reader: SealingReader, day: SealedDay, kind: str, uids: Mapping[int, str]) -> Iterator[str]:
    late = late_rows(as_in_file(reader.batches(kind, day.session_date), kind), day.kinds[kind][-1].streams, uids)
    if rows := sum(batch.num_rows for batch in late):
        again = f"`observer lake seal {day.session_date}` makes a new version"
        yield f"{kind} of {day.session_date}: {rows:,} rows of the database came after the sealing: {again}"
