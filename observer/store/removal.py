"""Removes rows that a sealed day has from the database, and counts those that are there. The writer alone calls it.

The rows of a kind and a day are named by their positions: an event stream's random id, and numbers in it. A sealing has
read all rows with these numbers, and an event stream only grows: a later row of the day has another number and stays. A
removal that is repeated removes nothing more, so it needs no note of how far it came.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, delete, func, select

from bus.events import Snapshot, SweepCompleted
from observer.store.day_rows import is_of_day_unindexed
from observer.store.kinds import Kind, kind_named
from observer.store.tables import EVENT_TABLES, ROW_TABLES, STREAMS, TRADE_GROUPS, TRADE_ROWS
from observer.store.trade_groups import remove_empty

BATCH_ROWS: Final = 2_000
"""Rows that one transaction examines: some milliseconds, for which an event waits at most."""


class SealedRows(msgspec.Struct, frozen=True):
    """The rows of a kind and a day in one event stream that a sealed day holds: the stream's random id, the first and
    last number, and the number of rows.
    """

    kind: str
    session_date: str
    uid: str
    first: int
    last: int
    rows: int


def remove_batch(connection: Connection, sealed: SealedRows, after: int, rows_max: int = BATCH_ROWS) -> int | None:
    """Remove those of the next rows behind the number `after` that are of the day; return the number that was reached,
    None behind the last one. Then the groups of trades without a row are removed too.
    """
    kind = kind_named(sealed.kind)
    table = ROW_TABLES[kind.event]
    rows = table.c
    stream = _stream_of(connection, sealed)
    if stream is None:
        return None
    behind = (rows.stream == stream, rows.sequence > max(after, sealed.first - 1), rows.sequence <= sealed.last)
    portion = select(rows.sequence).where(*behind).order_by(rows.sequence).limit(rows_max).subquery()
    reached: int | None = connection.scalar(select(func.max(portion.c.sequence)))
    if reached is not None:
        is_of_portion = (*behind, rows.sequence <= reached)
        connection.execute(delete(table).where(*is_of_portion, _is_of_day(kind, sealed)))
    elif table is TRADE_ROWS:
        remove_empty(connection, sealed.session_date)
    return reached


def lacks_snapshots(connection: Connection, session_date: str) -> bool:
    """Whether sweeps of the day brought snapshots that the database does not have: its rows were removed."""
    sweeps, seen = EVENT_TABLES[SweepCompleted].c, EVENT_TABLES[Snapshot].c
    swept = select(1).where(sweeps.session_date == session_date, sweeps.received > 0).limit(1)
    stored = select(1).where(seen.session_date == session_date).limit(1)
    return connection.scalar(swept) is not None and connection.scalar(stored) is None


def count_left(connection: Connection, sealed: SealedRows) -> int:
    """The number of these rows that the database has."""
    stream = _stream_of(connection, sealed)
    if stream is None:
        return 0
    kind = kind_named(sealed.kind)
    table = ROW_TABLES[kind.event]
    within = _within(table, stream, sealed)
    wanted = select(func.count()).select_from(table).where(*within, _is_of_day(kind, sealed))
    return int(connection.execute(wanted).scalar_one())


def has_rows(connection: Connection, sealed: Sequence[SealedRows]) -> bool:
    """Whether the database has all of these rows."""
    return all(count_left(connection, each) == each.rows for each in sealed)


def _stream_of(connection: Connection, sealed: SealedRows) -> int | None:
    """The number of the stream in this database; None if the database has no row of the stream."""
    found: int | None = connection.scalar(select(STREAMS.c.id).where(STREAMS.c.uid == sealed.uid))
    return found


def _within(table: Table, stream: int, sealed: SealedRows) -> tuple[ColumnElement[bool], ...]:
    return table.c.stream == stream, table.c.sequence.between(sealed.first, sealed.last)


def _is_of_day(kind: Kind, sealed: SealedRows) -> ColumnElement[bool]:
    """The condition of the day in a form that no index serves (`is_of_day_unindexed`)."""
    if ROW_TABLES[kind.event] is TRADE_ROWS:
        day = select(TRADE_GROUPS.c.session_date).where(TRADE_GROUPS.c.id == TRADE_ROWS.c.group_id)
        return day.correlate(TRADE_ROWS).scalar_subquery() == sealed.session_date
    return is_of_day_unindexed(kind, sealed.session_date)
