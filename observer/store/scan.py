"""A day of many rows as columns: read in the order in which they are stored, and sorted here.

A database that sorts them searches each row by an index and takes several times as long. Where the day's rows lie
follows from the index of days: for each event stream their first and last numbers, between which the table is read from
end to end. Rows of other days in between are left out by the statement.

Lots of a million rows are sorted by symbol and kept in files; then the rows of a few symbols at a time, those of all
lots, are sorted whole. So the memory is that of some lots, or of the largest symbol.
"""

import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Select, func, select

from observer.errors import StoppedError
from observer.store.arrow import (
    POSITION,
    ROWS_AT_ONCE,
    columns_of,
    conditions_of_day,
    copied,
    fetched,
    in_tables,
    schema_of,
)
from observer.store.columns import can_read_columns, read_columns
from observer.store.kinds import Kind, is_of_day_unindexed, kind_named

ROWS_MIN: Final = 100_000
"""Of fewer rows a sorted statement takes no longer."""
LOT_ROWS: Final = 1_000_000
_GROUP_ROWS: Final = 200_000  # symbols with so many rows together are sorted at once
_SPREAD_MAX: Final = 20  # numbers of the streams for each row of the day: beyond, other days' rows lie between


class Span(msgspec.Struct, frozen=True):
    """The numbers of a day's rows in one event stream, and how many they are."""

    stream: int
    first: int
    last: int
    rows: int


def spans_of(connection: Connection, kind: str, session_date: str) -> Sequence[Span]:
    """Where the day's rows lie. None of them where a scan would not do: the kind has no symbols, its order has columns
    without values, or late rows lie far from the others.
    """
    of_kind = kind_named(kind)
    columns = of_kind.table.c
    if "symbol" not in columns or any(columns[name].nullable for name in of_kind.order):
        return ()
    number = columns.sequence
    wanted = select(columns.stream, func.min(number), func.max(number), func.count())
    wanted = wanted.where(*conditions_of_day(connection, of_kind, session_date, None)).group_by(columns.stream)
    spans = [Span(*row) for row in connection.execute(wanted)]
    spread = sum(span.last - span.first + 1 for span in spans)
    return spans if spread <= _SPREAD_MAX * sum(span.rows for span in spans) else ()


def read_spans(
    connection: Connection,
    kind: str,
    session_date: str,
    spans: Sequence[Span],
    folder: Path | None = None,
    stop: threading.Event | None = None,
    lot_rows: int = LOT_ROWS,
    columns_min: int = ROWS_MIN,
) -> Generator[pa.RecordBatch]:
    """The rows of a day as `observer.store.arrow.read_batches`, of the connection's transaction. `folder` is for files
    while it reads; None for the machine's own. `lot_rows` are sorted at once. A span of at least `columns_min` rows is
    read as columns where that is installed, which takes a third of a second to start.

    Raises:
        StoreError: the database does not answer.
        StoppedError: `stop` was set before all rows were read.
    """
    of_kind, schema = kind_named(kind), schema_of(kind)
    numbers = [schema.get_field_index(name) for name in (*of_kind.order, *POSITION)]
    symbol = schema.get_field_index("symbol")
    unsorted = _unsorted(connection, of_kind, session_date, spans, schema, columns_min)
    found = _until_stopped(unsorted, stop)
    with ExitStack() as stack:
        lots = [
            _Lot.kept(lot, symbol, folder, stack) if number or lot.num_rows == lot_rows else _Lot.of(lot, symbol)
            for number, lot in enumerate(in_tables(found, schema, lot_rows))
        ]
        for rows in _by_symbols(lots):
            keys = [rows.column(number).to_numpy() for number in reversed(numbers)]
            place = np.lexsort([*keys, _ranks(rows.column(symbol))])
            yield from rows.take(pa.array(place)).to_batches(ROWS_AT_ONCE)


def _unsorted(
    connection: Connection,
    kind: Kind,
    session_date: str,
    spans: Sequence[Span],
    schema: pa.Schema,
    columns_min: int,
) -> Iterator[pa.RecordBatch]:
    for span in sorted(spans, key=lambda each: each.stream):
        statement = statement_of(kind, session_date, span, schema.names)
        if connection.dialect.name == "postgresql":
            yield from copied(connection, statement, schema, ROWS_AT_ONCE)
        elif span.rows >= columns_min and can_read_columns():
            yield from read_columns(connection, statement, schema)
        else:
            yield from fetched(connection, statement, schema, {}, ROWS_AT_ONCE)


def _until_stopped(batches: Iterable[pa.RecordBatch], stop: threading.Event | None) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if stop is not None and stop.is_set():
            raise StoppedError("reading a day's rows was interrupted")
        yield batch


def statement_of(kind: Kind, session_date: str, span: Span, columns: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """The statement of a span's rows, in no order: a search of the primary key."""
    table = kind.table
    within = (table.c.stream == span.stream, table.c.sequence.between(span.first, span.last))
    return select(*columns_of(kind, columns)).where(*within, is_of_day_unindexed(kind, session_date))


class _Lot(msgspec.Struct, frozen=True):
    """Rows sorted by symbol, and for each symbol the place and the number of its rows."""

    rows: pa.Table
    places: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, rows: pa.Table, symbol: int) -> "_Lot":
        """The rows, sorted by symbol."""
        ranks = _ranks(rows.column(symbol))
        ordered = rows.take(pa.array(np.argsort(ranks, kind="stable")))
        places: dict[str, tuple[int, int]] = {}
        begin = 0
        for found in pc.value_counts(ordered.column(symbol)).to_pylist():
            places[found["values"]] = (begin, found["counts"])
            begin += found["counts"]
        return cls(ordered, places)

    @classmethod
    def kept(cls, rows: pa.Table, symbol: int, folder: Path | None, stack: ExitStack) -> "_Lot":
        """The same in a file that lives as long as the stack; it loses its name here, so that a kill leaves nothing."""
        made = cls.of(rows, symbol)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".rows") as file:
            with pa.ipc.new_file(file.name, made.rows.schema) as writer:
                writer.write_table(made.rows)
            mapped = stack.enter_context(pa.memory_map(file.name))
        return cls(pa.ipc.open_file(mapped).read_all(), made.places)


def _by_symbols(lots: Sequence[_Lot]) -> Iterator[pa.Table]:
    """The rows of some symbols after the other, of all lots, in the order of the symbols' bytes."""
    held: list[pa.Table] = []
    count = 0
    for symbol in sorted({symbol for lot in lots for symbol in lot.places}, key=str.encode):
        for lot in lots:
            begin, rows = lot.places.get(symbol, (0, 0))
            held.append(lot.rows.slice(begin, rows))
            count += rows
        if count >= _GROUP_ROWS:
            yield pa.concat_tables(held).combine_chunks()
            held, count = [], 0
    if count:
        yield pa.concat_tables(held).combine_chunks()


def _ranks(texts: pa.ChunkedArray) -> "np.ndarray[Any, np.dtype[np.int32]]":
    """Of each text its rank among these, by bytes."""
    coded = texts.combine_chunks().dictionary_encode()
    values = coded.dictionary.to_pylist()
    rank = {value: number for number, value in enumerate(sorted(values, key=str.encode))}
    found: np.ndarray[Any, np.dtype[np.int32]]
    found = np.array([rank[value] for value in values], np.int32)[coded.indices.to_numpy()]
    return found
