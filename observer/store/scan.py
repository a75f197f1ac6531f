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
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, func, select

from observer.base.errors import StoppedError
from observer.store.arrow import ROWS_AT_ONCE, array_of, copied, fetched, in_tables
from observer.store.columns import can_read_columns, read_columns
from observer.store.day_rows import conditions_of_days
from observer.store.kinds import POSITION, kind_named
from observer.store.scanned_rows import StoredRows, stored_rows
from observer.store.tables import EVENT_TABLES

ROWS_MIN: Final = 100_000
"""Of fewer rows a sorted statement takes no longer."""
LOT_ROWS: Final = 1_000_000
_GROUP_ROWS: Final = 200_000  # symbols with so many rows together are sorted at once
SPREAD_MAX: Final = 20
"""Numbers of the streams for each row of the day: beyond, other days' rows lie between."""


class Span(msgspec.Struct, frozen=True):
    """The numbers of a day's rows in one event stream, and how many they are."""

    stream: int
    first: int
    last: int
    rows: int


def spans_of(connection: Connection, kind: str, session_date: str) -> Sequence[Span]:
    """The place of the day's rows. Empty where a scan does not serve: the kind has no symbols, its order has columns
    without values, or late rows lie far from the others.
    """
    of_kind = kind_named(kind)
    columns = EVENT_TABLES[of_kind.event].c
    if not of_kind.has_symbols or any(columns[name].nullable for name in of_kind.order):
        return ()
    number = columns.sequence
    wanted = select(columns.stream, func.min(number), func.max(number), func.count())
    wanted = wanted.where(*conditions_of_days(connection, of_kind, [session_date], None)).group_by(columns.stream)
    spans = [Span(*row) for row in connection.execute(wanted)]
    spread = sum(span.last - span.first + 1 for span in spans)
    return spans if spread <= SPREAD_MAX * sum(span.rows for span in spans) else ()


def read_spans(
    connection: Connection,
    kind: str,
    session_date: str,
    spans: Sequence[Span],
    folder: Path | None = None,
    stop: threading.Event | None = None,
    lot_rows: int = LOT_ROWS,
    columns_min: int = ROWS_MIN,
    columns: Sequence[str] | None = None,
) -> Generator[pa.RecordBatch]:
    """The rows of a day as `observer.store.arrow.read_batches`, of the connection's transaction. `folder` is for files
    while it reads; None for the machine's own. `lot_rows` are sorted at once. A span of at least `columns_min` rows is
    read as columns where that is installed, which takes a third of a second to start.

    Raises:
        StoreError: the database does not answer.
        StoppedError: `stop` was set before all rows were read.
    """
    of_kind = kind_named(kind)
    stored = stored_rows(connection, of_kind, session_date, columns)
    found = _until_stopped(_unsorted(connection, stored, spans, columns_min), stop)
    with ExitStack() as stack:
        lots = [
            _Lot.kept(lot, stored, folder, stack) if number or lot.num_rows == lot_rows else _Lot.of(lot, stored)
            for number, lot in enumerate(in_tables(found, stored.schema, lot_rows))
        ]
        for rows in _by_symbols(lots):
            keys = [rows.column(name).to_numpy() for name in reversed((*of_kind.order, *POSITION))]
            ranks, _ = stored.ranks(rows)
            place = np.lexsort([*keys, ranks])
            yield from stored.whole(rows.take(array_of(place))).to_batches(ROWS_AT_ONCE)


def _unsorted(
    connection: Connection, stored: StoredRows, spans: Sequence[Span], columns_min: int
) -> Iterator[pa.RecordBatch]:
    for span in sorted(spans, key=lambda each: each.stream):
        statement = stored.statement(span.stream, span.first, span.last)
        if connection.dialect.name == "postgresql":
            batches = copied(connection, statement, stored.schema, ROWS_AT_ONCE)
        elif span.rows >= columns_min and can_read_columns():
            batches = read_columns(connection, statement, stored.schema)
        else:
            batches = fetched(connection, statement, stored.schema, {}, ROWS_AT_ONCE)
        yield from map(stored.of_day, batches)


def _until_stopped(batches: Iterable[pa.RecordBatch], stop: threading.Event | None) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if stop is not None and stop.is_set():
            raise StoppedError("reading a day's rows was interrupted")
        yield batch


class _Lot(msgspec.Struct, frozen=True):
    """Rows sorted by symbol, with the place and the number of each symbol's rows."""

    rows: pa.Table
    places: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, rows: pa.Table, stored: StoredRows) -> "_Lot":
        """The rows, sorted by symbol."""
        ranks, symbols = stored.ranks(rows)
        ordered = rows.combine_chunks().take(array_of(np.argsort(ranks, kind="stable")))
        counts = np.bincount(ranks, minlength=len(symbols))
        begins = np.cumsum(counts) - counts
        places = {symbols[rank]: (int(begins[rank]), int(counts[rank])) for rank in np.flatnonzero(counts).tolist()}
        return cls(ordered, places)

    @classmethod
    def kept(cls, rows: pa.Table, stored: StoredRows, folder: Path | None, stack: ExitStack) -> "_Lot":
        """The same in a file that lives as long as the stack; it loses its name here, so that a kill leaves nothing."""
        made = cls.of(rows, stored)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".rows") as file:
            with pa.ipc.new_file(file.name, made.rows.schema) as writer:
                writer.write_table(made.rows)
            mapped = stack.enter_context(pa.memory_map(file.name))
        return cls(pa.ipc.open_file(mapped).read_all(), made.places)


def _by_symbols(lots: Sequence[_Lot]) -> Iterator[pa.Table]:
    """Yield the rows of all lots, some symbols at a time, in the order of the symbols' bytes."""
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
