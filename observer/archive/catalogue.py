"""The lake as Iceberg tables, one a kind, in an SQLite catalogue beside the files. It follows from the manifests.

A table's files are the newest versions. A snapshot replaces a version by the next version, so the snapshot before it
still reads the earlier version. Each snapshot's summary holds the high-water marks of the streams of the days that it
changed. Few snapshots stay: every sealing reads and writes a table's metadata, which would grow with each day. Files
that no snapshot needs are deleted a week later: a list of manifests stays while the table has its snapshot, and a
week longer; a manifest stays while any list that stays names it, and at least a week. So an engine that read a
table's state at most a week ago still finds all files of it. The files of all versions stay in any case. A catalogue
that is lost, damaged or of another folder is made again from the manifests, without its earlier snapshots.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, read_manifest_list
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot
from pyiceberg.table.update import TableUpdate, update_table_metadata
from pyiceberg.table.update.snapshot import ExpireSnapshots
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import BooleanType, DoubleType, IcebergType, LongType, NestedField, StringType

from observer.archive.day import CATALOGUE, PARTITIONED_BY, SealedDay
from observer.archive.parquet import file_schema, footer_of
from observer.archive.whole import require_whole
from observer.base.errors import DataFileError, UntidyCatalogueError
from observer.base.units import NS_PER_DAY
from observer.store.kinds import KINDS

logger = logging.getLogger(__name__)

NAMESPACE: Final = "observer"
"""Of the tables: `observer.trades` and its sisters."""
NAME: Final = "observer"
"""Of the catalogue; Iceberg's readers need one."""
MARKS: Final = "observer.marks"
"""The key in a snapshot's summary: the marks of each changed day as JSON, by market and date."""

KEPT_NS: Final = 7 * NS_PER_DAY
"""How long lists of snapshots stay that are gone, and every manifest: counted back from the file time of the newest
metadata.
"""
SCHEME: Final = "file://"
_LIST: Final = "snap-"
_SUFFIX: Final = ".avro"
_FILE: Final = "catalogue.sqlite3"
# The snapshots of a table that stay: the newest ones, and of older ones those with an earlier version. Each commit
# copies them several times.
_KEPT_SNAPSHOTS: Final = 5
_KEPT_VERSIONS: Final = 20
# What SQLite says of a file that is whole but cannot be used now.
_UNUSABLE: Final = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM),
    }
)
_FILES: Final = "observer.files"  # a table's property: the digest of the names of its files
_TYPES: Final[Mapping[pa.DataType, IcebergType]] = {
    pa.bool_(): BooleanType(),
    pa.int64(): LongType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
}
_PROPERTIES: Final = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    "commit.manifest-merge.enabled": "true",
    # Each update reads and writes the list of a table's manifests, and from time to time the entries of those that it
    # merges: by this size some forty days are in one, which stays as it is then. With the usual one a sealing would
    # read and write all days of a table again and again.
    "commit.manifest.min-count-to-merge": "10",
    "commit.manifest.target-size-bytes": "24576",
}


def catalogue_uri(lake: Path) -> str:
    """The address of the catalogue, for Iceberg's readers."""
    return f"sqlite:///{(lake / CATALOGUE).absolute() / _FILE}"


def _address(path: Path | str) -> str:
    """Return a file's address as Iceberg's readers expect it: without escapes, which no reader resolves."""
    return f"{SCHEME}{path}"


@contextlib.contextmanager
def open_catalogue(lake: Path) -> Iterator[SqlCatalog]:
    """The catalogue; an empty one is made where there is none."""
    folder = (lake / CATALOGUE).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = SqlCatalog(NAME, uri=catalogue_uri(lake), warehouse=_address(folder))
    try:
        catalogue.create_namespace_if_not_exists(NAMESPACE)
        yield catalogue
    finally:
        catalogue.close()


def update_catalogue(lake: Path, days: Sequence[SealedDay], before: Sequence[SealedDay] = ()) -> None:
    """Bring the tables to the newest versions of `days`, which are all sealed days. Each kind is one commit. A damaged
    catalogue is removed and made again. A version without its file is left out until the file is back. The caller holds
    the lake's lock.

    `before` are the days at the last update. Of a table that has exactly their files, only the entries of changed days
    are read.

    Raises:
        UntidyCatalogueError: another process uses the catalogue, its folder cannot be written, or it keeps unneeded
            files; the days are unchanged.
    """
    untidy: list[str] = []
    try:
        try:
            _update_tables(lake, days, before, untidy)
        except Exception as error:
            if not _is_damage(error):
                raise
            logger.warning("%s is damaged and is made again: %s", lake / CATALOGUE, error)
            shutil.rmtree(lake / CATALOGUE)
            _update_tables(lake, days, (), untidy)
    except Exception as error:  # noqa: BLE001 - the libraries have no common error
        untidy.append(str(error))
    if untidy:
        again = "mend it, and `observer lake seal` of any day does it again"
        said = "; ".join(dict.fromkeys(untidy))
        raise UntidyCatalogueError(f"the catalogue {lake / CATALOGUE} is not up to date or not tidied: {said}; {again}")


def _update_tables(lake: Path, days: Sequence[SealedDay], before: Sequence[SealedDay], untidy: list[str]) -> None:
    """Update each kind's table; add what could not be tidied."""
    _forget_other_place(lake)
    earlier = _newest(lake, before)
    with open_catalogue(lake) as catalogue:
        for kind, files in _newest(lake, days).items():
            table = _table(catalogue, kind)
            _update_table(table, files, earlier.get(kind, {}), untidy)
            delete_unneeded(table, untidy)  # what could not be deleted is said until it is


def _is_damage(error: Exception) -> bool:
    """Whether a new catalogue can help. The libraries have no common error for unreadable content."""
    if isinstance(cause := error.__cause__, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _UNUSABLE
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError)


def outdated_tables(lake: Path, days: Sequence[SealedDay]) -> list[str]:
    """The kinds whose tables do not have exactly the newest versions of these days, which are all."""
    wanted = _newest(lake, days)
    try:
        held = _held_by_kind(lake)
    except Exception as error:
        if not _is_damage(error):
            raise error if isinstance(error, OSError) else DataFileError(f"{lake / CATALOGUE}: {error}") from error
        logger.warning("%s is damaged: %s", lake / CATALOGUE, error)
        held = {}
    return sorted(kind for kind in {*wanted, *held} if set(held.get(kind, ())) != set(wanted.get(kind, ())))


def _held_by_kind(lake: Path) -> dict[str, dict[str, DataFile]]:
    with open_catalogue(lake) as catalogue:
        there = KINDS.keys() & {str(name[-1]) for name in catalogue.list_tables(NAMESPACE)}
        return {kind: _held(catalogue.load_table((NAMESPACE, kind))) for kind in there}


def _newest(lake: Path, days: Sequence[SealedDay]) -> dict[str, dict[str, SealedDay]]:
    """The days by kind and address of their newest version. The tables of a kind that a later Observer sealed stay."""
    found: dict[str, dict[str, SealedDay]] = {}
    whole = str(lake.absolute())
    for day in days:
        for kind, versions in day.kinds.items():
            if kind in KINDS:
                found.setdefault(kind, {})[_address(f"{whole}/{day.name_of(kind, versions[-1])}")] = day
    return found


def _held(table: Table, dates: Collection[str] | None = None) -> dict[str, DataFile]:
    """Return the table's entries of these dates, or all entries, by the addresses of the files."""
    if dates is not None and not dates:
        return {}
    named = ", ".join(f"'{date}'" for date in dates or ())
    scan = table.scan(row_filter=f"session_date in ({named})") if named else table.scan()
    return {task.file.file_path: task.file for task in scan.plan_files()}


def _forget_other_place(lake: Path) -> None:
    """Remove a catalogue that was made in another folder: it names files there."""
    folder = lake / CATALOGUE
    place = folder / "place"
    here = str(folder.absolute())
    if place.exists() and place.read_text() == here:
        return
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    place.write_text(here)


def _update_table(
    table: Table, files: Mapping[str, SealedDay], earlier: Mapping[str, SealedDay], untidy: list[str]
) -> None:
    if (stated := table.properties.get(_FILES)) == _digest_of(files):
        return
    is_as_before = stated == _digest_of(earlier)
    changed = [day.session_date for uri, day in earlier.items() if uri not in files]
    entries = _held(table, changed if is_as_before else None)
    gone = [entry for uri, entry in entries.items() if uri not in files]
    held = earlier.keys() if is_as_before else entries.keys()
    new = {uri: day for uri, day in files.items() if uri not in held}
    added = {uri: entry for uri, day in new.items() if (entry := _data_file(table, uri, day)) is not None}
    digest = _digest_of(files.keys() - (new.keys() - added.keys()))
    if digest == stated:
        return
    marks = {f"{new[uri].market} {new[uri].session_date}": new[uri].marks for uri in added}
    summary = {MARKS: msgspec.json.encode(marks).decode()}
    expired = leaving(_expired(table), untidy)
    with _Transaction(table) as transaction:
        update = transaction.update_snapshot(snapshot_properties=summary)
        with update.overwrite() if gone else update.merge_append() as snapshot:
            for entry in gone:
                snapshot.delete_data_file(entry)
            for entry in added.values():
                snapshot.append_data_file(entry)
        transaction.set_properties({**_PROPERTIES, _FILES: digest})  # a table of an earlier Observer has fewer
        if expired:
            ExpireSnapshots(transaction).by_ids([each.snapshot_id for each in expired]).commit()


class _Transaction(Transaction):
    """Builds the table's next state once per change. The base class copies the whole state at each of some twenty
    reads, a third of an update's processor time.
    """

    _made: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The state behind the changes so far: to read, never to write."""
        base = self._table.metadata
        if self._made is None or self._made[0] is not base or self._made[1] is not self._updates:
            self._made = base, self._updates, update_table_metadata(base, self._updates)
        return self._made[2]


def _digest_of(files: Collection[str]) -> str:
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()


def _expired(table: Table) -> list[Snapshot]:
    """Return the snapshots to expire: all before the newest `_KEPT_VERSIONS`, and of the rest before the newest
    `_KEPT_SNAPSHOTS` those whose next snapshot only added days.
    """
    known = sorted(table.snapshots(), key=lambda each: each.sequence_number or 0)
    adding = {
        each.parent_snapshot_id
        for each in known
        if each.summary is not None and each.summary.operation is Operation.APPEND
    }
    added = [each for each in known[-_KEPT_VERSIONS:-_KEPT_SNAPSHOTS] if each.snapshot_id in adding]
    return [*known[:-_KEPT_VERSIONS], *added]


def _table(catalogue: SqlCatalog, kind: str) -> Table:
    name = (NAMESPACE, kind)
    schema = iceberg_schema(kind)
    try:
        table = catalogue.load_table(name)
    except NoSuchTableError:
        pass
    else:
        held = table.schema().column_names
        if added := [field for field in schema.fields if field.name not in held]:  # an earlier Observer made the table
            with table.update_schema() as update:
                for field in added:
                    update.add_column(field.name, field.field_type)
        return table
    fields = [
        PartitionField(schema.find_field(column).field_id, 1000 + place, IdentityTransform(), column)
        for place, column in enumerate(PARTITIONED_BY)
    ]
    mapping = {"schema.name-mapping.default": schema.name_mapping.model_dump_json()}
    return catalogue.create_table(
        name, schema, partition_spec=PartitionSpec(*fields), properties={**_PROPERTIES, **mapping}
    )


def iceberg_schema(kind: str) -> Schema:
    """The columns of a kind's table: the columns of its files, then market and session_date."""
    columns = [(field.name, _TYPES[field.type], not field.nullable) for field in file_schema(kind)]
    columns += [(name, StringType(), False) for name in PARTITIONED_BY]
    return Schema(
        *(
            NestedField(field_id=number, name=name, field_type=field_type, required=required)
            for number, (name, field_type, required) in enumerate(columns, start=1)
        )
    )


def _data_file(table: Table, uri: str, day: SealedDay) -> DataFile | None:
    """Return the entry of a file; None for a missing or damaged file."""
    path, kind = Path(uri.removeprefix(SCHEME)), str(table.name()[-1])
    lake = path.parents[len(Path(day.name_of(kind, day.kinds[kind][-1])).parents) - 1]
    try:
        require_whole(lake, day, kind, day.kinds[kind][-1])  # by the footer's statistics engines pass files over
        footer = footer_of(path)
    except DataFileError as error:
        logger.warning("the catalogue lacks a file: %s", error)
        return None
    schema = table.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer,
        stats_columns=compute_statistics_plan(schema, table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=uri,
        file_format=FileFormat.PARQUET,
        partition=Record(day.market, day.session_date),
        file_size_in_bytes=path.stat().st_size,
        sort_order_id=None,
        spec_id=table.spec().spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


# --- files that no snapshot needs ----------------------------------------------------------------------------


def leaving(snapshots: Iterable[Snapshot], untidy: list[str]) -> list[Snapshot]:
    """Begin the week of grace of these snapshots' lists. Returns the snapshots whose week began; adds the other
    failures to `untidy`. Call before the commit that removes the snapshots from the table: a kill after that commit
    must not leave lists that look old.
    """
    begun: list[Snapshot] = []
    for each in snapshots:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.utime(each.manifest_list.removeprefix(SCHEME))
            begun.append(each)
        except OSError as error:
            untidy.append(f"a snapshot stays: {error}")
    return begun


def delete_unneeded(table: Table, untidy: list[str]) -> None:
    """Delete the lists and manifests that are not needed. What cannot be read or deleted is added to `untidy` and tried
    again at the next sealing: none fails for it. Lists go first: what a kill leaves is found at the next commit
    with an old list. The caller holds the lake's lock.
    """
    try:
        _delete(table)
    except OSError as error:
        untidy.append(f"what is not needed stays: {error}")


def _delete(table: Table) -> None:
    newest = Path(table.metadata_location.removeprefix(SCHEME))
    limit_ns = newest.stat().st_mtime_ns - KEPT_NS
    written = {each.path: each.stat().st_mtime_ns for each in os.scandir(newest.parent) if each.name.endswith(_SUFFIX)}
    kept = {each.manifest_list.removeprefix(SCHEME) for each in table.snapshots()}
    lists = {path for path in written if Path(path).name.startswith(_LIST)}
    gone = {path for path in lists - kept if written[path] < limit_ns}
    if not gone:
        return
    needed: set[str] = set()
    for path in lists - gone:
        needed |= _manifests_of(table, path, is_kept=path in kept)
    unneeded = {path for path in written.keys() - lists - needed if written[path] < limit_ns}
    for path in (*gone, *unneeded):
        Path(path).unlink(missing_ok=True)


def _manifests_of(table: Table, path: str, *, is_kept: bool) -> set[str]:
    """The manifests that a list names. Raises OSError when it cannot be read."""
    try:
        found = read_manifest_list(table.io.new_input(f"{SCHEME}{path}"))
        return {each.manifest_path.removeprefix(SCHEME) for each in found}
    except OSError:
        raise
    except Exception as error:  # of a library that has no common error
        if is_kept:
            raise OSError(f"{path} is damaged, and what it needs is not known: {error}") from error
        logger.warning("%s names no manifests, a killed sealing left it: %s", path, error)
        return set()
