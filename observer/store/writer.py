"""Writes batches of events and their streams' high-water marks in one transaction.

A transaction holds the rows, the projections and the marks of all its batches, so after any kill the marks state
exactly which events are stored. The writer first tries the whole group. When the database refuses a row, the writer
stores the group again by halving: the halving finds the row, the row goes to quarantine in the same transaction, and
the rest is stored.

SQLite refuses NaN in a required column and makes it NULL elsewhere. PostgreSQL stores it.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from functools import lru_cache
from typing import Final

import msgspec
from sqlalchemy import BindParameter, Engine, ScalarSelect, Select, Table, bindparam, func, insert, select, update

from bus.delivery import Delivered, Lost, Part
from bus.events import Event, Trade, kind_of
from observer.base.clock import RealClock
from observer.base.errors import StoreError
from observer.base.local_time import local_datetime
from observer.store.engine import describe, open_existing, store_errors
from observer.store.insertion import Insertion, insertion_of
from observer.store.owner import Hold
from observer.store.projections import PROJECTIONS
from observer.store.removal import BATCH_ROWS, SealedRows, remove_batch
from observer.store.rows import QUARANTINE_BYTES_MAX, Position, Row, group_rows, position_of, refused_row, within_bound
from observer.store.systems import System
from observer.store.tables import DATABASE_EPOCHS, DELIVERY_LOSSES, EVENT_TABLES, QUARANTINE, STREAMS
from observer.store.transaction import Transaction

_MACHINE_CLOCK: Final = RealClock()


class Committed(msgspec.Struct, frozen=True):
    """The result of a commit: rows by the kind of event, the number of events in quarantine instead, and the number of
    lost ones.
    """

    rows_by_kind: Mapping[str, int]
    quarantined: int
    lost: int = 0

    @property
    def stored(self) -> int:
        """Rows in the tables of events."""
        return sum(self.rows_by_kind.values())


class _Stream(msgspec.Struct, frozen=True):
    id: int
    high_water_mark: int


# Stores rows of one kind; returns the position and the quarantine row of each refused one.
_StoreRows = Callable[[Transaction, type[Event], Sequence[Row]], Mapping[Position, Row]]


class StoreWriter:
    """Writes one database; used by one thread. The database has the current schema (`observer.store.engine.migrate`).

    After a `StoreError` the outcome of the call is unknown: read the high-water marks and continue after them. The
    writer reconnects by itself.

    Args:
        url: of the database.
        system: the one that owns it; None for a command.
        now_ns: market time in UTC nanoseconds, for the notes of losses and epochs.
    """

    def __init__(
        self, url: str, system: System | None = None, now_ns: Callable[[], int] = _MACHINE_CLOCK.now_ns
    ) -> None:
        self._now_ns = now_ns
        self._engine: Engine = open_existing(url)
        self._hold = Hold(self._engine, system)
        self._insertion = insertion_of(self._engine)
        self._quarantine_day: date | None = None
        self._quarantine_bytes = 0  # of that day's contents; on the day of `open` all that the table holds

    def open(self) -> None:
        """Take the writer's lock, connect and check the schema.

        Raises:
            DatabaseInUseError: another process writes it.
            StoreError: it cannot be opened, or it is not of the schema of this code.
        """
        self._hold.lock()
        try:
            self._hold.remember()
            self._count_quarantine()
        except StoreError:
            self._hold.leave()
            raise

    def _count_quarantine(self) -> None:
        """Go on with the bound of the day's quarantine. The rows name no day, so all of them count until the day ends:
        a process that is restarted again and again gets no room by that.
        """
        size = func.sum(func.length(QUARANTINE.c.content))
        with self._apart(), self._engine.connect() as connection:
            self._quarantine_bytes = int(connection.scalar(select(size)) or 0)
        self._quarantine_day = local_datetime(self._now_ns()).date()

    def close(self) -> None:
        """Close the connection and release the lock; SQLite then checkpoints its log into the file."""
        self._hold.leave()

    def high_water_marks(self, streams: Sequence[str]) -> dict[str, int]:
        """The last committed number of each stream; 0 for an unknown stream.

        Raises:
            StoreError: no answer.
        """
        self._hold.adopt()  # a database that was put back may have older marks, and other groups
        self._insertion.groups.forget()
        with store_errors(self._engine), self._hold.transactions.begin() as begun:
            known = _find_streams(begun, streams)
        return {uid: known[uid].high_water_mark if uid in known else 0 for uid in streams}

    def epoch(self) -> str:
        """The epoch of the database; the first one begins with the first question.

        Raises:
            StoreError: as for `commit`.
        """
        newest = select(DATABASE_EPOCHS.c.epoch).order_by(DATABASE_EPOCHS.c.id.desc()).limit(1)
        with self._apart(), self._engine.connect() as connection:
            found: str | None = connection.scalar(newest)
        return found or self.begin_epoch("created")

    def lost_events(self) -> int:
        """How many published events the database states as lost.

        Raises:
            StoreError: no answer.
        """
        events = DELIVERY_LOSSES.c.last_sequence - DELIVERY_LOSSES.c.first_sequence + 1
        with self._apart(), self._engine.connect() as connection:
            return int(connection.scalar(select(func.sum(events))) or 0)

    def begin_epoch(self, reason: str) -> str:
        """Note that the database went back, or began; returns the new epoch, a random id.

        Raises:
            StoreError: as for `commit`.
        """
        epoch = uuid.uuid4().hex
        values = {"id": _next_id(DATABASE_EPOCHS), "epoch": epoch, "began_ns": self._now_ns(), "reason": reason}
        row = insert(DATABASE_EPOCHS).values(values)
        with self._apart(), self._engine.begin() as connection:
            connection.execute(row)
        return epoch

    def commit(self, batches: Sequence[Part]) -> Committed:
        """Store the events, the lost numbers, the projections and the high-water marks in one transaction.

        Each batch starts right behind its stream's mark, or behind the stream's batch before it in `batches`.

        Raises:
            StoreError: nothing was changed, or (when the connection was lost in the commit itself) it is unknown.
        """
        self._hold.require_same()
        with store_errors(self._engine):
            try:
                committed = self._commit(batches, _insert_all(self._insertion))
            except self._insertion.refusals:
                committed = self._commit(batches, _insert_halving(self._insertion))
        if batches:
            self._hold.committed(batches[-1].stream, batches[-1].last_sequence)
        return committed

    def _commit(self, parts: Sequence[Part], store_rows: _StoreRows) -> Committed:
        delivered = [part for part in parts if isinstance(part, Delivered)]
        lost = [part for part in parts if isinstance(part, Lost)]
        self._insertion.groups.begin()
        with self._hold.transactions.begin() as begun:
            named = dict.fromkeys([*(part.stream for part in parts), *self._hold.last_stream])  # each once
            known = _find_streams(begun, list(named))
            self._hold.require_last_commit({uid: stream.high_water_mark for uid, stream in known.items()})
            streams = _with_new_streams(begun, known, parts)
            _advance_marks(begun, streams, parts)
            if lost:
                begun.connection.execute(insert(DELIVERY_LOSSES), [self._loss_row(part, streams) for part in lost])
            group = group_rows(delivered, {uid: stream.id for uid, stream in streams.items()})
            quarantine = list(group.poison)
            rows_by_kind: dict[str, int] = {}
            projected: dict[type[Event], Sequence[Row]] = {}
            for event_type, rows in group.rows.items():
                refused = store_rows(begun, event_type, rows)
                quarantine += refused.values()
                rows_by_kind[kind_of(event_type)] = len(rows) - len(refused)
                if event_type in PROJECTIONS:
                    projected[event_type] = [row for row in rows if position_of(row) not in refused]
            for event_type, project in PROJECTIONS.items():
                if stored := projected.get(event_type):
                    project(begun.connection, stored)
            day, used_bytes = self._quarantine_day, self._quarantine_bytes
            if quarantine:
                if day != (today := local_datetime(self._now_ns()).date()):
                    day, used_bytes = today, 0
                quarantine, used_bytes = within_bound(quarantine, used_bytes, QUARANTINE_BYTES_MAX)
                self._insertion.insert(begun, QUARANTINE, quarantine)
        self._insertion.groups.keep()
        self._quarantine_day, self._quarantine_bytes = day, used_bytes
        return Committed(rows_by_kind, len(quarantine), sum(part.count for part in lost))

    def _loss_row(self, lost: Lost, streams: Mapping[str, _Stream]) -> dict[str, object]:
        return {
            "stream": streams[lost.stream].id,
            "first_sequence": lost.first_sequence,
            "last_sequence": lost.last_sequence,
            "reason": lost.reason,
            "noted_ns": self._now_ns(),
        }

    def _apart(self) -> AbstractContextManager[None]:
        """Errors of the store, in a block that uses the engine beside the commits."""
        self._hold.transactions.give_back()
        return store_errors(self._engine)

    def renew_ownership(self) -> str | None:
        """Write the system's heartbeat when it is due. Returns and raises as `Hold.renew`."""
        return self._hold.renew()

    def note_duplicates(self, stream: str, count: int) -> None:
        """Add to the stream's count of duplicate events.

        Raises:
            StoreError: as for `commit`.
        """
        more = update(STREAMS).where(STREAMS.c.uid == stream).values(duplicates=STREAMS.c.duplicates + count)
        with self._apart(), self._engine.begin() as connection:
            connection.execute(more)

    def remove(self, sealed: SealedRows, after: int, rows_max: int = BATCH_ROWS) -> int | None:
        """As `observer.store.removal.remove_batch`, in a transaction. Raises StoreError as `commit` does."""
        self._hold.require_same()
        with self._apart(), self._engine.begin() as connection:
            reached = remove_batch(connection, sealed, after, rows_max)
            if reached is None and sealed.kind == EVENT_TABLES[Trade].name:  # it removed groups
                self._insertion.groups.forget()
        return reached


# --- rows ----------------------------------------------------------------------------------------------------


def _insert_all(insertion: Insertion) -> _StoreRows:
    """Store all rows or raise one of the refusals, which ends the transaction."""

    def store(begun: Transaction, event_type: type[Event], rows: Sequence[Row]) -> Mapping[Position, Row]:
        insertion.insert(begun, EVENT_TABLES[event_type], rows)
        return {}

    return store


def _insert_halving(insertion: Insertion) -> _StoreRows:
    """Store the rows that the database takes; each attempt has a savepoint, and a refused lot is tried in halves."""

    def store(begun: Transaction, event_type: type[Event], rows: Sequence[Row]) -> Mapping[Position, Row]:
        try:
            with begun.connection.begin_nested():
                insertion.insert(begun, EVENT_TABLES[event_type], rows)
        except insertion.refusals as error:
            insertion.groups.forget()
            if len(rows) == 1:
                return {position_of(rows[0]): refused_row(event_type, rows[0], describe(error))}
            middle = len(rows) // 2
            first, second = rows[:middle], rows[middle:]
            return {**store(begun, event_type, first), **store(begun, event_type, second)}
        return {}

    return store


# --- streams and their marks ---------------------------------------------------------------------------------


def _find_streams(begun: Transaction, uids: Sequence[str]) -> dict[str, _Stream]:
    """The known streams, their rows locked: after a lost connection PostgreSQL's answer waits for the outcome of the
    commit that was under way.
    """
    if not uids:
        return {}
    found = begun.run(_streams_named(len(uids)), {f"uid{number}": uid for number, uid in enumerate(uids)})
    return {uid: _Stream(stream_id, mark) for uid, stream_id, mark in found}


def _with_new_streams(
    begun: Transaction, known: Mapping[str, _Stream], batches: Sequence[Part]
) -> Mapping[str, _Stream]:
    """The streams of all batches; new ones are entered with the mark 0, in the order in which they came."""
    streams = dict(known)
    for uid, producer in {batch.stream: batch.producer for batch in batches}.items():
        if uid not in streams:
            values = {"id": _next_id(STREAMS), "uid": uid, "producer": producer, "high_water_mark": 0, "duplicates": 0}
            new_id = begun.connection.execute(insert(STREAMS).values(values).returning(STREAMS.c.id)).scalar_one()
            streams[uid] = _Stream(new_id, 0)
    return streams


def _next_id(table: Table) -> ScalarSelect[int]:
    """The next number of a table of the store. No sequence of the database: a server that is restored from rows alone
    has one that begins anew, and there is only one writer.
    """
    return select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()


def _advance_marks(begun: Transaction, streams: Mapping[str, _Stream], batches: Sequence[Part]) -> None:
    marks = {uid: stream.high_water_mark for uid, stream in streams.items()}
    for batch in batches:
        if batch.first_sequence != marks[batch.stream] + 1:
            raise StoreError(
                f"stream {batch.stream} of {batch.producer} stands at {marks[batch.stream]}, "
                f"so a batch that starts with {batch.first_sequence} does not follow"
            )
        marks[batch.stream] = batch.last_sequence
    for uid, mark in marks.items():
        if mark > streams[uid].high_water_mark:
            begun.run(_SET_MARK, {"stream": streams[uid].id, "mark": mark})


_SET_MARK: Final = update(STREAMS).where(STREAMS.c.id == bindparam("stream")).values(high_water_mark=bindparam("mark"))


# Made once: a statement that is built leaves reference cycles, and a commit waits while they are collected.
@lru_cache(100)
def _streams_named(count: int) -> Select[tuple[str, int, int]]:
    """Finds so many streams by the parameters uid0, uid1 and so on."""
    uids: list[BindParameter[str]] = [bindparam(f"uid{number}") for number in range(count)]
    columns = STREAMS.c
    return select(columns.uid, columns.id, columns.high_water_mark).where(columns.uid.in_(uids)).with_for_update()
