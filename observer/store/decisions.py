"""What Track B published on a day, as far as decisions were made of it or in it, in the order of its streams."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, and_, func, select, union_all

from bus.events import (
    ChurnGuardChanged,
    Event,
    GapDetected,
    MarketStateChanged,
    SelectionAdvanced,
    SelectionStep,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Trade,
    TradesConflated,
    TriggerFired,
    WatchChanged,
)
from observer.selection.wishes import standing_wishes
from observer.store.rows import event_of, place_of
from observer.store.tables import EVENT_TABLES, STREAMS

_OF_PLACES: Final[Sequence[type[Event]]] = (
    MarketStateChanged,
    SelectionAdvanced,
    SlotAssigned,
    SlotReleased,
    SlotOverflowed,
    ChurnGuardChanged,
)
_KINDS: Final[Sequence[type[Event]]] = (*_OF_PLACES, Trade, TradesConflated, WatchChanged, TriggerFired, GapDetected)
_OF_WISHES: Final[Sequence[SelectionStep]] = ("wishes_kept", "pinned", "unpinned")
_OF_STATES: Final[Sequence[type[Event]]] = (SelectionAdvanced, SlotAssigned, SlotReleased, WatchChanged)
_NUMBERS_AT_ONCE: Final = 20_000  # of a stream's events, what is held in memory


def decision_events(connection: Connection, session_date: str) -> Iterator[Event]:
    """The day's events of all kinds; also from a capture that was replayed, which is one stream of all processes."""
    return _events(connection, session_date, _KINDS)


def place_events(connection: Connection, session_date: str) -> Iterator[Event]:
    """Those of them that tell of places and wishes: what whoever takes over begins with."""
    return _events(connection, session_date, _OF_PLACES)


def wishes_before(connection: Connection, session_date: str) -> Sequence[str]:
    """The symbols whose wishes stood at the end of the last day before that one on which Track B took a step."""
    table = EVENT_TABLES[SelectionAdvanced]
    last = select(func.max(table.c.session_date)).where(table.c.session_date < session_date).scalar_subquery()
    wanted = select(table).where(table.c.session_date == last, table.c.step.in_(_OF_WISHES))
    rows = connection.execute(wanted.order_by(table.c.stream, table.c.sequence))
    return list(standing_wishes(event_of(SelectionAdvanced, row) for row in rows))


def place_state_events(connection: Connection, session_date: str) -> Iterator[Event]:
    """Those of them from which the state of each place follows."""
    return _events(connection, session_date, _OF_STATES)


def _events(connection: Connection, session_date: str, kinds: Sequence[type[Event]]) -> Iterator[Event]:
    for stream, first, end in _stretches(connection, session_date):
        for begin in range(first, end, _NUMBERS_AT_ONCE):
            yield from _stretch(connection, kinds, stream, begin, min(begin + _NUMBERS_AT_ONCE, end))


def _stretches(connection: Connection, session_date: str) -> Iterator[tuple[int, int, int]]:
    """The day in each stream that has a part of it: from its first step to the first of another day, as [from, to). A
    process may end an earlier day that nobody ended between two of its own.
    """
    tables = [EVENT_TABLES[kind].c for kind in (SelectionAdvanced, WatchChanged)]
    steps = union_all(*(select(table.stream, table.sequence, table.session_date) for table in tables)).subquery().c
    places = connection.execute(select(STREAMS.c.id, STREAMS.c.high_water_mark))
    marks = {row.id: row.high_water_mark for row in places}
    of_the_day = select(steps.stream, func.min(steps.sequence)).where(steps.session_date == session_date)
    for stream, first in connection.execute(of_the_day.group_by(steps.stream).order_by(steps.stream)).all():
        other = and_(steps.session_date != session_date, steps.sequence > first)
        end = connection.scalar(select(func.min(steps.sequence)).where(steps.stream == stream, other))
        yield stream, first, end if end is not None else marks[stream] + 1


def _stretch(
    connection: Connection, kinds: Sequence[type[Event]], stream: int, begin: int, end: int
) -> Iterator[Event]:
    found: list[tuple[int, Event]] = []
    for kind in kinds:
        table = EVENT_TABLES[kind]
        numbered = (table.c.stream == stream, table.c.sequence >= begin, table.c.sequence < end)
        rows = connection.execute(select(table).where(*numbered))
        found += ((place_of(row)[1], event_of(kind, row)) for row in rows)
    yield from (event for _, event in sorted(found, key=lambda numbered: numbered[0]))
