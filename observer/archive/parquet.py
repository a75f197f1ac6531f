"""One Parquet file: writes the rows of a kind and a day, and reads them back. The file is whole, or it has no name.

zstd; texts with few values and prices have a dictionary, times and numbers differences (DELTA_BINARY_PACKED). A group
of rows has few symbols, so that a reader of one symbol skips the others by the groups' statistics.
"""

import errno
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from observer.archive.day import PARTITIONED_BY, StreamRows
from observer.archive.digest import RowsDigest, digest_of
from observer.base.errors import DataFileError, UnreadableFileError
from observer.base.files import sync_path
from observer.store.arrow import in_tables, schema_of
from observer.store.kinds import KINDS, kind_named

NAMES_IN_FILE: Final = {"kind": "trigger_kind"}
"""Names of the files' columns by the database's, where they differ: a reader takes `kind` from the folder's name."""
GROUP_ROWS: Final = 122_880
_ROWS_AT_ONCE: Final = 65_536
_LEVEL: Final = 6
_GROWING: Final = "cumulative_"  # doubles that grow with each row: no dictionary helps, byte by byte they compress
_METADATA: Final = "observer."


class Written(msgspec.Struct, frozen=True):
    """The rows of a written file, their digest, the file's bytes, the positions of the rows, and
    `Version.is_distinct`.
    """

    rows: int
    digest: str
    size_bytes: int
    streams: tuple[StreamRows, ...]
    is_distinct: bool


def file_schema(kind: str) -> pa.Schema:
    """The columns of a kind's files.

    Raises:
        DataFileError: there is no such kind.
    """
    if kind not in KINDS:
        raise DataFileError(unknown_kind(kind))
    held = [field for field in schema_of(kind) if field.name not in PARTITIONED_BY]
    return pa.schema([field.with_name(NAMES_IN_FILE.get(field.name, field.name)) for field in held])


def unknown_kind(kind: str) -> str:
    """What to do about sealed rows of a kind that is none of `KINDS`."""
    return f"this program knows no rows of the kind {kind}: a later Observer sealed them, use that one"


def as_in_file(batches: Iterable[pa.RecordBatch], kind: str) -> Iterator[pa.RecordBatch]:
    """The database's rows with the columns of the kind's files."""
    schema = file_schema(kind)
    stored = [field.name for field in schema_of(kind) if field.name not in PARTITIONED_BY]
    for batch in batches:
        yield pa.RecordBatch.from_arrays([batch.column(name) for name in stored], schema=schema)


def write_file(
    path: Path, kind: str, batches: Iterable[pa.RecordBatch], metadata: Mapping[str, str], uids: Mapping[int, str]
) -> Written | None:
    """Write rows with the columns of the kind's files in their order, and flush them to the disk; None without a row,
    and no file then.

    The file's metadata are `observer.rows`, `observer.digest`, `observer.streams` (the positions of the rows, as JSON),
    `observer.is_distinct` and `metadata` with the same prefix. `uids` are the random ids of the event streams by the
    number in the rows.

    Raises:
        OSError: the folder cannot be written.
    """
    schema = file_schema(kind)
    digest, positions, keys = RowsDigest(schema.names), _Positions(), _Keys(kind, schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, **file_options(schema)) as writer:
        with ThreadPoolExecutor(1) as background:  # a group is encoded while the next one is read
            written: Future[None] | None = None
            for table in in_tables(batches, schema, GROUP_ROWS):
                if written is not None:
                    written.result()
                written = background.submit(writer.write_table, table, row_group_size=GROUP_ROWS)
                for batch in table.to_batches():
                    digest.add(batch)
                positions.add(table)
                keys.add(table)
            if written is not None:
                written.result()
        streams = positions.of(uids)
        positions_text = msgspec.json.encode(streams).decode()
        found = {**metadata, "rows": str(digest.rows), "digest": digest.hexdigest(), "streams": positions_text}
        found["is_distinct"] = str(keys.are_distinct).lower()
        writer.add_key_value_metadata({f"{_METADATA}{name}": value for name, value in found.items()})
    if not digest.rows:
        path.unlink()
        return None
    sync_path(path)
    return Written(digest.rows, digest.hexdigest(), path.stat().st_size, streams, keys.are_distinct)


class _Keys:
    """Checks that the keys (symbol and order) of sorted rows are unique."""

    def __init__(self, kind: str, schema: pa.Schema) -> None:
        self._names = [name for name in ("symbol", *kind_named(kind).order) if name in schema.names]
        self._last: list[object] = []
        self.are_distinct = bool(self._names)

    def add(self, table: pa.Table) -> None:
        if not self.are_distinct:
            return
        columns = [table[name].combine_chunks() for name in self._names]
        is_same = pa.repeat(True, table.num_rows - 1)
        for column in columns:
            of_column = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
            is_same = pc.and_(is_same, pc.fill_null(of_column, True))
        first = [column[0].as_py() for column in columns]
        self.are_distinct = first != self._last and not pc.any(is_same, min_count=0).as_py()
        self._last = [column[-1].as_py() for column in columns]


class _Positions:
    """The first number, the last number and the number of rows of each event stream."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[int, int, int]] = {}

    def add(self, table: pa.Table) -> None:
        asked = [("sequence", each) for each in ("min", "max", "count")]
        for row in table.group_by("stream").aggregate(asked).to_pylist():
            first, last, rows = (row[f"sequence_{each}"] for _, each in asked)
            earlier = self._found.get(row["stream"], (first, last, 0))
            self._found[row["stream"]] = min(first, earlier[0]), max(last, earlier[1]), rows + earlier[2]

    def of(self, uids: Mapping[int, str]) -> tuple[StreamRows, ...]:
        return tuple(StreamRows(stream, uids[stream], *found) for stream, found in sorted(self._found.items()))


def file_options(schema: pa.Schema) -> dict[str, object]:
    """How the columns of a file are encoded and compressed."""
    differences = [field.name for field in schema if pa.types.is_integer(field.type)]
    growing = [name for name in schema.names if name.startswith(_GROWING) and name not in differences]
    encodings = {**dict.fromkeys(differences, "DELTA_BINARY_PACKED"), **dict.fromkeys(growing, "BYTE_STREAM_SPLIT")}
    flags = {field.name for field in schema if pa.types.is_boolean(field.type)}
    return {
        "compression": "zstd",
        "compression_level": _LEVEL,
        "use_dictionary": [name for name in schema.names if name not in encodings and name not in flags],
        "column_encoding": encodings,
        "write_page_checksum": True,
    }


def of_market(batches: Iterable[pa.RecordBatch], market: str) -> Iterator[pa.RecordBatch]:
    """The database's rows.

    Raises:
        DataFileError: a row is of another market.
    """
    for batch in batches:
        if "market" in batch.schema.names and (others := set(batch.column("market").unique().to_pylist()) - {market}):
            raise DataFileError(f"rows of market {', '.join(map(str, sorted(others)))} in a database of {market}")
        yield batch


def read_file(path: Path, columns: list[str] | None = None) -> Generator[pa.RecordBatch]:
    """Yield the rows of a file in order.

    Raises:
        UnreadableFileError: the file cannot be read; it may be whole.
        DataFileError: the file is missing or damaged.
    """
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield from file.iter_batches(_ROWS_AT_ONCE, columns=columns)


def digest_of_file(path: Path) -> tuple[int, str]:
    """The number of a file's rows and the digest of all its columns. Raises as `read_file`."""
    return digest_of(read_file(path), columns_of(path))


def columns_of(path: Path) -> list[str]:
    """The columns of a file: an earlier Observer's lacks those that `file_schema` got since. Raises as `read_file`."""
    names: list[str] = footer_of(path).schema.names
    return names


def metadata_of(path: Path) -> dict[str, str]:
    """The file's own metadata without their prefix: rows, digest, streams, version, sealed_at_ns, schema_version.

    Raises:
        UnreadableFileError, DataFileError: as `read_file`.
    """
    texts = {name.decode(): value.decode() for name, value in (footer_of(path).metadata or {}).items()}
    return {name.removeprefix(_METADATA): value for name, value in texts.items() if name.startswith(_METADATA)}


def footer_of(path: Path) -> pq.FileMetaData:
    """The footer of a file: its columns, their statistics and the metadata. Raises as `read_file`."""
    with reading(path):
        return pq.read_metadata(path)


def wrong_footer(path: Path) -> str:
    """What is wrong with what the footer says of the rows, by which readers pass groups of rows over; empty if nothing
    is. All rows are read. Raises as `read_file`.
    """
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        footer = file.metadata
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        if sum(group.num_rows for group in groups) != footer.num_rows:
            return "is damaged (its footer has another number of rows)"
        for number, group in enumerate(groups):
            rows = file.read_row_group(number)
            for place, name in enumerate(rows.schema.names):
                stated = group.column(place).statistics
                if stated is not None and stated.has_min_max:
                    found = pc.min_max(rows[name]).as_py()
                    if (found["min"], found["max"]) != (stated.min, stated.max):
                        return f"is damaged (its footer has other limits of {name})"
    return ""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the reading of a file raises into the errors of `read_file`."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # A refusal of the system has an errno; damage that pyarrow finds is an OSError without an errno.
        is_refused = isinstance(error, OSError) and error.errno not in (None, errno.ENOENT)
        raise (UnreadableFileError if is_refused else DataFileError)(f"{path}: {error}") from error
