"""How the rows of a day stand in a kind's table, and how they become the kind's columns.

A row of trades has numbers and the id of its group; the texts are the group's (`observer.store.tables.TRADE_GROUPS`).
Read and sorted by numbers, with the texts put to the sorted rows here, they take half of what the view's rows take.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, Select, case, select

from bus.events import Trade
from observer.store.arrow import array_of, column_of, schema_of
from observer.store.day_rows import columns_of, is_of_day_unindexed
from observer.store.kinds import POSITION, Kind
from observer.store.lines import lines_of
from observer.store.tables import EVENT_TABLES, GROUP_COLUMNS, TRADE_GROUPS, TRADE_ROWS

Ranks = np.ndarray[Any, np.dtype[Any]]
"""Of each row the place of its symbol among symbols: 16 bits where they suffice, which are sorted without comparing."""

_ID: Final = TRADE_ROWS.c.group_id.name
_NO_GROUP: Final = -1
_SHORT_RANKS: Final = 65_536
_Places = np.ndarray[Any, np.dtype[np.int32]]


class StoredRows(Protocol):
    """The rows of a kind and a day as they are read. `schema` has the columns that are read."""

    schema: pa.Schema

    def statement(self, stream: int, first: int, last: int) -> Select[*tuple[Any, ...]]:
        """The statement of the day's rows between two numbers of a stream, in no order: a search of the primary key."""

    def of_day(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that belong to the day."""

    def ranks(self, rows: pa.Table) -> tuple[Ranks, Sequence[str]]:
        """The ranks of the rows' symbols, and the symbols by rank, in the order of their bytes."""

    def whole(self, rows: pa.Table) -> pa.Table:
        """The rows with the wanted columns."""


def stored_rows(
    connection: Connection, kind: Kind, session_date: str, columns: Sequence[str] | None = None
) -> StoredRows:
    """How the rows of a kind are stored: trades by their groups, other kinds whole. `columns` are the wanted ones, in
    this order; None for all.
    """
    known = schema_of(kind.name)
    wanted = known if columns is None else pa.schema([known.field(name) for name in columns])
    sorted_by = {"symbol", *kind.order, *POSITION}
    read = pa.schema([field for field in known if field.name in sorted_by or field.name in wanted.names])
    if kind.event is Trade:
        return _GroupedRows(connection, session_date, read, wanted)
    return _PlainRows(kind, session_date, read, wanted)


class _PlainRows:
    """Rows that have all columns of their kind."""

    def __init__(self, kind: Kind, session_date: str, read: pa.Schema, wanted: pa.Schema) -> None:
        self.schema = read
        self._wanted = wanted
        self._kind = kind
        self._session_date = session_date

    def statement(self, stream: int, first: int, last: int) -> Select[*tuple[Any, ...]]:
        table = EVENT_TABLES[self._kind.event]
        within = (table.c.stream == stream, table.c.sequence.between(first, last))
        of_day = is_of_day_unindexed(self._kind, self._session_date)
        return select(*columns_of(self._kind, self.schema.names)).where(*within, of_day)

    def of_day(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch  # by the statement

    def ranks(self, rows: pa.Table) -> tuple[Ranks, Sequence[str]]:
        coded = rows["symbol"].combine_chunks().dictionary_encode()
        values = coded.dictionary.to_pylist()
        symbols, ranks = _ranked(values)
        return ranks[coded.indices.to_numpy()], symbols

    def whole(self, rows: pa.Table) -> pa.Table:
        return rows.select(self._wanted.names)


class _GroupedRows:
    """Rows of trades with the ids of their groups."""

    def __init__(self, connection: Connection, session_date: str, read: pa.Schema, wanted: pa.Schema) -> None:
        self._wanted = wanted
        own = [field for field in read if field.name not in GROUP_COLUMNS]
        self.schema = pa.schema([pa.field(_ID, pa.int64(), nullable=False), *own])
        groups = TRADE_GROUPS.c
        wanted = select(groups.id, *(groups[name] for name in GROUP_COLUMNS))
        of_lines = groups.symbol.in_(lines_of(connection, TRADE_GROUPS))
        found = connection.execute(wanted.where(of_lines, groups.session_date == session_date)).all()
        ids = np.array([row[0] for row in found], np.int64)
        self._first, self._last = (int(ids.min()), int(ids.max())) if found else (0, 0)
        self._places = np.full(self._last - self._first + 1, _NO_GROUP, np.int32)  # by id
        self._places[ids - self._first] = np.arange(len(found), dtype=np.int32)
        self._texts = {
            name: column_of([row[number] for row in found], read.field(name).type)
            for number, name in enumerate(GROUP_COLUMNS, 1)
            if name in read.names
        }
        self._symbols, self._ranks = _ranked(self._texts["symbol"].to_pylist())

    def statement(self, stream: int, first: int, last: int) -> Select[*tuple[Any, ...]]:
        rows = TRADE_ROWS.c
        within = (rows.stream == stream, rows.sequence.between(first, last))
        # A condition that no index serves: the index of the groups would find the whole day each time.
        may_be_of_day = case((rows.group_id.between(self._first, self._last), 1), else_=0) == 1
        return select(*(rows[name] for name in self.schema.names)).where(*within, may_be_of_day)

    def of_day(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        is_of_day = self._places_of(batch.column(0)) != _NO_GROUP
        return batch if is_of_day.all() else batch.filter(array_of(is_of_day))

    def ranks(self, rows: pa.Table) -> tuple[Ranks, Sequence[str]]:
        return self._ranks[self._places_of(rows.column(0))], self._symbols

    def whole(self, rows: pa.Table) -> pa.Table:
        places = array_of(self._places_of(rows.column(0)))
        columns = [
            self._texts[name].take(places) if name in self._texts else rows.column(name) for name in self._wanted.names
        ]
        return pa.Table.from_arrays(columns, schema=self._wanted)

    def _places_of(self, ids: pa.Array | pa.ChunkedArray) -> _Places:
        found: _Places = self._places[ids.to_numpy() - self._first]
        return found


def _ranked(values: Sequence[str]) -> tuple[Sequence[str], Ranks]:
    """Return the distinct texts in the order of their bytes, and the rank of each text."""
    ordered = sorted(set(values), key=str.encode)
    rank = {value: number for number, value in enumerate(ordered)}
    width = np.uint16 if len(ordered) <= _SHORT_RANKS else np.int32
    return ordered, np.array([rank[value] for value in values], width)
