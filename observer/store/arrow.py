"""Rows of a day as Arrow columns: as the lake seals and people read them. Their statements: `observer.store.day_rows`.

A kind's schema (`observer.store.kinds`) is the table's columns, by name and meaning: int64,
double, bool and string; a document is JSON text. Batches are sorted by symbol, by the kind's own order, then by the
event's position, which is unique: the same rows come in the same order from both databases.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
from sqlalchemy import BigInteger, Boolean, ColumnElement, Connection, Engine, Integer, Select, Table, Text, select
from sqlalchemy.sql.compiler import SQLCompiler

from observer.base.errors import StoreError
from observer.store.day_rows import lines_to_read, rows_of_days
from observer.store.engine import store_errors
from observer.store.kinds import POSITION, Kind, kind_named
from observer.store.tables import ETFS, EVENT_TABLES, STREAMS

if TYPE_CHECKING:
    import numpy as np

ROWS_AT_ONCE: Final = 16_384  # measured: 65,536 at once take an eighth longer
_CSV_BYTES: Final = 4_000_000  # of rows that are parsed at once
_DAY: Final = "session_date"
_TYPES: Final = {
    "int64": pl.Int64, "double": pl.Float64, "bool": pl.Boolean, "string": pl.String,
}  # fmt: skip
_TABLES: Final = {each.name: each for each in (*EVENT_TABLES.values(), ETFS)}

# The unit of a column, by the end of its name; the first that fits.
_UNITS: Final = (
    ("_ns", "ns since 1970-01-01T00:00:00Z"),
    ("_s", "s"),
    ("_percent", "%"),
    ("_bytes", "bytes"),
    ("_hz", "1/s"),
    ("seconds", "s"),
    ("share", "of 1"),
    ("volume", "shares"),
    ("shares", "shares"),
    ("volume_20d", "shares"),
    ("trades", "trades"),
    *((f"volume_{level}", "shares") for level in range(1, 11)),
    *((f"{side}_{level}", "price in the instrument's currency") for side in ("ask", "bid") for level in range(1, 11)),
    *((name, "price in the instrument's currency") for name in ("price", "open", "high", "low", "close", "bid", "ask")),
    *((name, "price in the instrument's currency") for name in ("_limit", "nav", "true_range_14d", "close_52w")),
    *((name, "amount in the instrument's currency") for name in ("value", "market_cap", "aum", "net_assets")),
)


def schema_of(table: str) -> pa.Schema:
    """The Arrow schema of a table: its columns in their order, with units in the fields' metadata (`unit`).

    Raises:
        StoreError: there is no such table.
    """
    return pa.schema(
        [
            pa.field(column.name, _arrow_type(column.type), bool(column.nullable), metadata=_unit_of(column.name))
            for column in table_named(table).columns
        ]
    )


def table_named(name: str) -> Table:
    return _TABLES[name] if name in _TABLES else EVENT_TABLES[kind_named(name).event]


def _arrow_type(column_type: object) -> pa.DataType:
    if isinstance(column_type, Boolean):
        return pa.bool_()
    if isinstance(column_type, BigInteger | Integer):
        return pa.int64()
    if isinstance(column_type, Text):
        return pa.string()
    return pa.float64()


def _unit_of(column: str) -> dict[str, str] | None:
    return next(({"unit": unit} for end, unit in _UNITS if column.endswith(end)), None)


def read_batches(
    source: Engine | Connection,
    kind: str,
    session_date: str,
    *,
    symbols: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    rows: int = ROWS_AT_ONCE,
) -> Generator[pa.RecordBatch]:
    """The rows of a day, sorted by symbol, the kind's order, stream and sequence, in batches of at most `rows` rows.

    All are read in one transaction: of an engine's own, or that of the connection; close an iterator that is left
    early before its connection. `symbols` are ids of lines; a kind without symbols ignores them.
    `columns` are the wanted ones, in this order; None for all.

    Raises:
        StoreError: there is no such kind or column, or the database does not answer.
    """
    return read_days(source, kind, [session_date], symbols=symbols, columns=columns, rows=rows)


def read_days(
    source: Engine | Connection,
    kind: str,
    session_dates: Sequence[str],
    *,
    symbols: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    rows: int = ROWS_AT_ONCE,
) -> Generator[pa.RecordBatch]:
    """Read the rows of one or more days as `read_batches`. The rows of each day keep that order and are mixed with
    those of other days. One statement reads all days; a kind that is read by line is read line by line, all days of a
    line together.
    """
    of_kind = kind_named(kind)
    whole = schema_of(kind)
    if unknown := [name for name in columns or () if name not in whole.names]:
        raise StoreError(f"{kind} has no column {', '.join(unknown)}: it has {', '.join(whole.names)}")
    schema = whole if columns is None else pa.schema([whole.field(name) for name in columns])
    with _connected(source) as connection:
        if not connection.in_transaction():
            connection.begin()
        if connection.dialect.name == "postgresql":
            yield from copied(
                connection, rows_of_days(connection, of_kind, session_dates, schema.names, symbols), schema, rows
            )
        elif (lines := lines_to_read(connection, of_kind, symbols)) is None:
            statement = rows_of_days(connection, of_kind, session_dates, schema.names, symbols)
            yield from fetched(connection, statement, schema, {}, rows)
        else:
            found = (
                batch
                for line in sorted(set(lines))
                for batch in _of_line(connection, of_kind, session_dates, line, schema, rows)
            )
            yield from _together(found, rows)


def read_table(engine: Engine, name: str, *conditions: ColumnElement[bool]) -> Iterator[pa.RecordBatch]:
    """The rows of a whole table, or those that satisfy the conditions, in no order."""
    schema, statement = schema_of(name), select(*table_named(name).columns).where(*conditions)
    with _connected(engine) as connection:
        connection.begin()
        if connection.dialect.name == "postgresql":
            yield from copied(connection, statement, schema, ROWS_AT_ONCE)
        else:
            yield from fetched(connection, statement, schema, {}, ROWS_AT_ONCE)


def _of_line(
    connection: Connection, kind: Kind, session_dates: Sequence[str], line: str, schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    known = {"symbol": line, **({_DAY: session_dates[0]} if len(session_dates) == 1 else {})}
    asked = [name for name in schema.names if name not in known] or [POSITION[1]]
    return fetched(connection, rows_of_days(connection, kind, session_dates, asked, [line]), schema, known, rows)


def _together(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches of at most so many rows."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        if held and count + batch.num_rows > rows:
            yield pa.concat_batches(held)
            held, count = [], 0
        held.append(batch)
        count += batch.num_rows
    if held:
        yield pa.concat_batches(held)


def copied(
    connection: Connection, statement: Select[*tuple[Any, ...]], schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    """The rows by COPY as CSV, which the columns' own library reads: a cursor's rows take five times as long. The texts
    of the server's numbers are exact.
    """
    driver: Any = connection.connection.driver_connection
    asked = compiled(connection, statement)
    held: list[bytes] = []
    held_bytes = 0
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY ({asked.string}) TO STDOUT (FORMAT csv)", asked.params) as copy,
    ):
        for row in copy:  # the server sends whole rows
            held.append(bytes(row))
            held_bytes += len(row)
            if held_bytes >= _CSV_BYTES:
                yield from _parsed(held, schema).to_batches(rows)
                held, held_bytes = [], 0
        if held:
            yield from _parsed(held, schema).to_batches(rows)


def _parsed(lines: Sequence[bytes], schema: pa.Schema) -> pa.Table:
    """Lines of CSV as PostgreSQL writes them: NULL is nothing, an empty text is in quotes."""
    found = pa_csv.read_csv(
        pa.BufferReader(b"".join(lines)),
        pa_csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=2 * _CSV_BYTES),
        pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pa_csv.ConvertOptions(
            column_types=dict(zip(schema.names, schema.types, strict=True)),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return pa.Table.from_arrays(found.columns, schema=schema)


def fetched(
    connection: Connection,
    statement: Select[*tuple[Any, ...]],
    schema: pa.Schema,
    known: Mapping[str, str],
    rows: int,
) -> Iterator[pa.RecordBatch]:
    """Fetch rows of SQLite. `known` are columns with one value in all rows; the statement has the other columns."""
    asked = compiled(connection, statement)
    names = [column.key for column in statement.selected_columns]
    driver: Any = connection.connection.driver_connection
    # The driver's own cursor in the connection's transaction: SQLAlchemy's rows would take half as long again.
    with closing(driver.cursor()) as cursor:
        cursor.execute(asked.string, [asked.params[name] for name in asked.positiontup or ()])
        while portion := cursor.fetchmany(rows):
            columns = dict(zip(names, zip(*portion, strict=True), strict=True))
            arrays = [
                pa.repeat(column_of([known[field.name]], field.type)[0], len(portion))
                if field.name in known
                else column_of(columns[field.name], field.type)
                for field in schema
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def compiled(connection: Connection, statement: Select[*tuple[Any, ...]], *, literals: bool = False) -> SQLCompiler:
    """The statement as the database takes it; with `literals` the values stand in its text."""
    options = {"literal_binds" if literals else "render_postcompile": True}
    found = statement.compile(dialect=connection.dialect, compile_kwargs=options)
    assert isinstance(found, SQLCompiler)
    return found


def array_of(values: "np.ndarray[Any, np.dtype[Any]]") -> pa.Array:
    """Numbers or truth values as an array. polars makes it, as it makes columns: the first `pa.array` of a process
    imports pandas, where that is installed, in 0.4 s.
    """
    return pl.Series(values).to_arrow()


def column_of(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    """The values as a column; SQLite has 0 and 1 for a truth value."""
    is_bits = pa.types.is_boolean(kind) and any(type(value) is int for value in values)
    made = pl.Series(values, dtype=pl.Int8 if is_bits else _TYPES[str(kind)]).to_arrow()
    return made if made.type == kind else made.cast(kind)


@contextmanager
def _connected(source: Engine | Connection) -> Iterator[Connection]:
    if isinstance(source, Connection):
        with store_errors(source.engine):
            yield source
    else:
        with store_errors(source), source.connect() as connection:
            yield connection


def read_marks(connection: Connection) -> dict[int, int]:
    """The high-water mark of each event stream, by the number that rows carry as `stream`. Read them in the
    transaction of the rows: then these are the rows up to the marks.
    """
    found = connection.execute(select(STREAMS.c.id, STREAMS.c.high_water_mark)).all()
    return {int(stream): int(mark) for stream, mark in found}


def read_uids(connection: Connection) -> dict[int, str]:
    """The random id of each event stream, by the number that rows carry as `stream`."""
    return {int(stream): str(uid) for stream, uid in connection.execute(select(STREAMS.c.id, STREAMS.c.uid))}


def in_tables(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows_each: int) -> Iterator[pa.Table]:
    """The rows of the batches in tables of so many rows; the last one has the rest."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows_each:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, rows_each)
            held, count = table.slice(rows_each).to_batches(), count - rows_each
    if count:
        yield pa.Table.from_batches(held, schema)
