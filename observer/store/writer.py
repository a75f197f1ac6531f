"""The one hand that writes: batches of events into their tables, with their streams' high-water marks, all or nothing.

A transaction holds the rows, the projections and the marks of everything in it, so after any kill the marks tell
exactly which events are there. It is tried in one go first. Only when the database refuses a row is the group stored
again carefully: halving finds the row, which goes to quarantine in the same transaction, and the rest is stored.

A NaN is no value to SQLite: it is refused where there must be one and becomes NULL elsewhere. PostgreSQL keeps it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bus.delivery import Delivered
from bus.events import Event, ListingChanged, kind_of
from observer.errors import StoreError
from observer.store.engine import describe, open_writer, require_current_schema, store_errors
from observer.store.fund_projection import FUND_PROJECTIONS, Projection
from observer.store.insertion import Insertion, insertion_of
from observer.store.listing_values import LISTING_VALUES
from observer.store.rows import Place, Row, event_of, group_rows, listing_row, place_of, refused_row
from observer.store.tables import EVENT_TABLES, LISTINGS, QUARANTINE, STREAMS


class Committed(msgspec.Struct, frozen=True):
    """What a commit stored: rows by the kind of event, and how many events went to quarantine instead."""

    rows_by_kind: Mapping[str, int]
    quarantined: int

    @property
    def stored(self) -> int:
        """Rows in the tables of events."""
        return sum(self.rows_by_kind.values())


class _Stream(msgspec.Struct, frozen=True):
    id: int
    high_water_mark: int


# Stores rows of one kind and returns those that were refused: their place, and their row for the quarantine.
_StoreRows = Callable[[Connection, type[Event], Sequence[Row]], Mapping[Place, Row]]


class StoreWriter:
    """Writes one database; used by one thread. The database has the current schema (`observer.store.engine.migrate`).

    After a `StoreError` the outcome of the call is unknown: ask for the high-water marks and go on behind them. The
    connection is made anew by itself.
    """

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_writer(url)
        self._insertion = insertion_of(self._engine)

    def open(self) -> None:
        """Connect and check the schema.

        Raises:
            StoreError: it cannot be opened, or is not of the schema of this code.
        """
        require_current_schema(self._engine)

    def close(self) -> None:
        """Give the connection back; SQLite then folds its log into the file."""
        self._engine.dispose()

    def high_water_marks(self, streams: Sequence[str]) -> dict[str, int]:
        """The last committed number of each stream; 0 for one that is not known.

        Raises:
            StoreError: no answer.
        """
        with store_errors(self._engine), self._engine.connect() as connection:
            known = _find_streams(connection, streams)
        return {uid: known[uid].high_water_mark if uid in known else 0 for uid in streams}

    def commit(self, batches: Sequence[Delivered]) -> Committed:
        """Store the events, the projections and the high-water marks in one transaction.

        Each batch starts right behind its stream's mark, or behind the stream's batch before it in `batches`.

        Raises:
            StoreError: nothing was changed, or (when the connection was lost in the commit itself) it is unknown.
        """
        with store_errors(self._engine):
            try:
                return self._commit(batches, _insert_all(self._insertion))
            except self._insertion.refusals:
                return self._commit(batches, _insert_halving(self._insertion))

    def _commit(self, batches: Sequence[Delivered], store_rows: _StoreRows) -> Committed:
        with self._engine.begin() as connection:
            streams = _require_streams(connection, batches)
            _advance_marks(connection, streams, batches)
            group = group_rows(batches, {uid: stream.id for uid, stream in streams.items()})
            quarantine = list(group.poison)
            rows_by_kind: dict[str, int] = {}
            projected: dict[type[Event], Sequence[Row]] = {}
            for event_type, rows in group.rows.items():
                refused = store_rows(connection, event_type, rows)
                quarantine += refused.values()
                rows_by_kind[kind_of(event_type)] = len(rows) - len(refused)
                if event_type in _PROJECTIONS:
                    projected[event_type] = [row for row in rows if place_of(row) not in refused]
            for event_type, project in _PROJECTIONS.items():
                if stored := projected.get(event_type):
                    project(connection, stored)
            if quarantine:
                self._insertion.insert(connection, QUARANTINE, quarantine)
        return Committed(rows_by_kind, len(quarantine))

    def note_duplicates(self, stream: str, count: int) -> None:
        """Add to the number of the stream's events that came more than once.

        Raises:
            StoreError: as for `commit`.
        """
        more = update(STREAMS).where(STREAMS.c.uid == stream).values(duplicates=STREAMS.c.duplicates + count)
        with store_errors(self._engine), self._engine.begin() as connection:
            connection.execute(more)


# --- rows ----------------------------------------------------------------------------------------------------


def _insert_all(insertion: Insertion) -> _StoreRows:
    """Store all rows or raise one of the refusals, which ends the transaction."""

    def store(connection: Connection, event_type: type[Event], rows: Sequence[Row]) -> Mapping[Place, Row]:
        insertion.insert(connection, EVENT_TABLES[event_type], rows)
        return {}

    return store


def _insert_halving(insertion: Insertion) -> _StoreRows:
    """Store the rows that the database takes; each attempt has a savepoint, and a refused lot is tried in halves."""

    def store(connection: Connection, event_type: type[Event], rows: Sequence[Row]) -> Mapping[Place, Row]:
        try:
            with connection.begin_nested():
                insertion.insert(connection, EVENT_TABLES[event_type], rows)
        except insertion.refusals as error:
            if len(rows) == 1:
                return {place_of(rows[0]): refused_row(event_type, rows[0], describe(error))}
            middle = len(rows) // 2
            first, second = rows[:middle], rows[middle:]
            return {**store(connection, event_type, first), **store(connection, event_type, second)}
        return {}

    return store


# --- streams and their marks ---------------------------------------------------------------------------------


def _find_streams(connection: Connection, uids: Sequence[str]) -> dict[str, _Stream]:
    """The streams that are known. PostgreSQL locks them, SQLite's writer has the whole database: two writers would
    wait for each other and not mix.
    """
    found = connection.execute(
        select(STREAMS.c.uid, STREAMS.c.id, STREAMS.c.high_water_mark).where(STREAMS.c.uid.in_(uids)).with_for_update()
    )
    return {row.uid: _Stream(row.id, row.high_water_mark) for row in found}


def _require_streams(connection: Connection, batches: Sequence[Delivered]) -> dict[str, _Stream]:
    """The streams of all batches; new ones are entered with the mark 0, in the order in which they came."""
    producers = {batch.stream: batch.producer for batch in batches}
    streams = _find_streams(connection, list(producers))
    for uid, producer in producers.items():
        if uid not in streams:
            values = {"uid": uid, "producer": producer, "high_water_mark": 0, "duplicates": 0}
            new_id = connection.execute(insert(STREAMS).values(values).returning(STREAMS.c.id)).scalar_one()
            streams[uid] = _Stream(new_id, 0)
    return streams


def _advance_marks(connection: Connection, streams: Mapping[str, _Stream], batches: Sequence[Delivered]) -> None:
    marks = {uid: stream.high_water_mark for uid, stream in streams.items()}
    for batch in batches:
        if batch.first_sequence != marks[batch.stream] + 1:
            raise StoreError(
                f"stream {batch.stream} of {batch.producer} stands at {marks[batch.stream]}, "
                f"so a batch that starts with {batch.first_sequence} does not follow"
            )
        marks[batch.stream] += len(batch.events)
    if marks:
        connection.execute(_SET_MARK, [{"stream": streams[uid].id, "mark": mark} for uid, mark in marks.items()])


_SET_MARK: Final = update(STREAMS).where(STREAMS.c.id == bindparam("stream")).values(high_water_mark=bindparam("mark"))


# --- the projection of listings ------------------------------------------------------------------------------


def _project_listings(connection: Connection, rows: Sequence[Row]) -> None:
    """Bring the listings to the state after these changes. When a listing was first seen stays, and a change that is
    older than what is there (the late rest of an earlier stream) changes nothing.
    """
    names = LISTINGS.columns.keys()
    events = [event_of(ListingChanged, row) for row in rows]
    upsert = _LISTING_UPSERTS[connection.dialect.name]
    connection.execute(upsert, [dict(zip(names, listing_row(event), strict=True)) for event in events])


def _listing_upsert(statement: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    key = ("exchange", "symbol")
    kept = (*key, "first_seen_ns")
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={column.name: statement.excluded[column.name] for column in LISTINGS.columns if column.name not in kept},
        where=statement.excluded.changed_ns >= LISTINGS.c.changed_ns,
    )


_LISTING_UPSERTS: Final = {
    "sqlite": _listing_upsert(sqlite.insert(LISTINGS)),
    "postgresql": _listing_upsert(postgresql.insert(LISTINGS)),
}

# In this order, whatever came first: what is known of a listing or a fund needs it to be there.
_PROJECTIONS: Final[Mapping[type[Event], Projection]] = {
    ListingChanged: _project_listings,
    **LISTING_VALUES,
    **FUND_PROJECTIONS,
}
