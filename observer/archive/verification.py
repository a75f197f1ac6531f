"""Whether a sealed day is whole: its files, what a glob finds, and the database's own rows, each by the digest."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from observer.archive.day import SealedDay, Version, lost_text, path_of, sealed_day, sealed_days, version_path
from observer.archive.digest import RowsDigest
from observer.archive.merging import late_rows
from observer.archive.parquet import as_in_file, columns_of, digest_of_file, file_schema, metadata_of, unknown_kind
from observer.archive.repair import locked, publish
from observer.base.errors import DataFileError, LakeInUseError, StoppedError
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
    """As `verify_day`, with the present manifest of the day and the present rows of the database at `url`. A version
    that is gone is put back from the glob's file before.

    Raises:
        DataFileError: the manifest cannot be read.
        StoreError, StoppedError: as `verify_day`.
    """
    now = sealed_day(lake, day.market, day.session_date) or day
    newest = [
        version_path(lake, kind, now.market, now.session_date, found[-1].version) for kind, found in now.kinds.items()
    ]
    if not all(path.exists() for path in newest):
        with (
            suppress(LakeInUseError, DataFileError, OSError),
            locked(lake),
        ):  # what cannot be put back is a problem below
            publish(lake, now)
    with SealingReader(url, stop=stop) as reader:
        return verify_day(lake, now, reader, stop)


def verify_day(lake: Path, day: SealedDay, reader: SealingReader | None, stop: threading.Event) -> VerifiedDay:
    """Read every version of every kind, and the database's rows of the day where there is a reader.

    If the database has no rows at all of the day, it is compared with its manifest alone: another database has it. Of a
    kind that is removed from the database, or whose sealed rows another database has, only the rows count that the
    newest version does not have.

    Raises:
        StoreError: the database does not answer.
        StoppedError: `stop` was set.
    """
    problems: list[str] = []
    compared = 0
    counts = {kind: reader.count(kind, day.session_date) for kind in KINDS} if reader is not None else {}
    compares = reader if any(counts.values()) else None
    uids = set(compares.marks()[1].values()) if compares is not None else set()
    for kind, found in day.kinds.items():
        if kind not in KINDS:
            problems.append(f"{kind} of {day.session_date}: {unknown_kind(kind)}")
            continue
        for version in found:
            if stop.is_set():
                raise StoppedError(f"the verification of {day.session_date} was interrupted")
            path = version_path(lake, kind, day.market, day.session_date, version.version)
            if path.exists():
                problems += wrong_version(path, version)
            else:
                problems.append(lost_text(str(path), kind, day.session_date))
        problems += _wrong_glob(lake, day, kind, found[-1])
        if compares is not None and (kind in day.removed or not found[-1].is_held_with(uids)):
            problems += _late_rows(compares, day, kind, found[-1])
        elif compares is not None:
            compared += found[-1].rows
            problems += _wrong_rows(compares, lake, day, kind, found[-1])
    problems += [
        f"{kind} of {day.session_date}: version {day.last_number(kind)} is lost and forgotten"
        for kind in day.lost_kinds
    ]
    problems += [
        f"{kind} of {day.session_date}: the database has {rows:,} rows, the sealed day none: "
        f"`observer lake seal {day.session_date}` adds them"
        for kind, rows in counts.items()
        if rows and kind not in day.kinds
    ]
    return VerifiedDay(day.market, day.session_date, len(day.kinds), day.rows, compared, tuple(problems))


def verify_catalogue(lake: Path) -> Sequence[str]:
    """What is wrong with the catalogue: tables that have other files than the manifests."""
    from observer.archive.catalogue import outdated_tables  # it loads pyiceberg and with it pandas

    if not (outdated := outdated_tables(lake, sealed_days(lake))):
        return ()
    text = f"the catalogue's tables {', '.join(outdated)} have other files: `observer lake seal` of any day corrects it"
    return (text,)


def wrong_version(path: Path, version: Version) -> list[str]:
    """Return the problems of a version's file: in its rows or its metadata."""
    try:
        require_rows(path, version.rows, version.digest, "those of its manifest")
        stated = metadata_of(path)
    except DataFileError as error:
        return [str(error)]
    expected = {"rows": str(version.rows), "digest": version.digest, "version": str(version.version)}
    if wrong := [name for name, value in expected.items() if stated.get(name) != value]:
        return [f"{path}: its metadata have another {', '.join(wrong)} than its manifest"]
    return []


def _wrong_glob(lake: Path, day: SealedDay, kind: str, newest: Version) -> list[str]:
    path = path_of(lake, kind, day.market, day.session_date)
    try:
        stated = metadata_of(path)
        if not path.samefile(version_path(lake, kind, day.market, day.session_date, newest.version)):  # a copy
            require_rows(path, newest.rows, newest.digest, "those of its manifest")
    except FileNotFoundError:
        return []  # the version's file is gone, which is reported
    except DataFileError as error:
        return [f"{error}: `observer lake seal {day.session_date}` publishes it again"]
    if (stated.get("version"), stated.get("digest")) != (str(newest.version), newest.digest):
        return [f"{path} is not version {newest.version}: `observer lake seal {day.session_date}` publishes it again"]
    return []


def _wrong_rows(reader: SealingReader, lake: Path, day: SealedDay, kind: str, newest: Version) -> list[str]:
    """Compare the columns of the newest version. A version of an earlier Observer lacks later columns: such a row has
    no value there.
    """
    try:
        sealed = columns_of(version_path(lake, kind, day.market, day.session_date, newest.version))
    except DataFileError:
        return []  # the file is lost or damaged, which is reported
    stored = file_schema(kind).names
    digest, filled = RowsDigest([name for name in sealed if name in stored]), set[str]()
    for batch in as_in_file(reader.batches(kind, day.session_date), kind):
        digest.add(batch)
        filled |= {name for name in stored if name not in sealed and batch[name].null_count < batch.num_rows}
    if filled:  # the digest of the sealed columns does not show it
        names = ", ".join(sorted(filled))
        return [f"{kind} of {day.session_date}: the database has values of {names}, which the sealed day does not have"]
    if (digest.rows, digest.hexdigest()) == (newest.rows, newest.digest):
        return []
    again = f": `observer lake seal {day.session_date}` makes a new version" if digest.rows > newest.rows else ""
    return [
        f"{kind} of {day.session_date}: the database has {digest.rows:,} rows, the sealed day {newest.rows:,}{again}"
    ]


def _late_rows(reader: SealingReader, day: SealedDay, kind: str, newest: Version) -> list[str]:
    _, uids = reader.marks()
    late = late_rows(as_in_file(reader.batches(kind, day.session_date), kind), newest.streams, uids)
    if not (rows := sum(batch.num_rows for batch in late)):
        return []
    again = f"`observer lake seal {day.session_date}` makes a new version"
    return [f"{kind} of {day.session_date}: {rows:,} rows of the database came after the sealing: {again}"]


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
