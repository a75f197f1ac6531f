"""Queries of Track B's decisions on a day and of their inputs, in the order of its streams."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, and_, func, select, union_all

from bus.events import (
    ChurnGuardChanged,
    Event,
    GapDetected,
    GapEmpty,
    GapOpened,
    MarketStateChanged,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    StreamedTime,
    Trade,
    TradesConflated,
    TriggerEnded,
    TriggerFired,
    WatchChanged,
)
from observer.selection.pins import pins_after
from observer.selection.slot_projection import slot_intervals, streamed_times
from observer.store.rows import event_of, position_of
from observer.store.session import DatabaseReader, events_in, rows_of
from observer.store.slots import day_bounds, stream_ended_ns
from observer.store.tables import EVENT_TABLES, STREAMS

_OF_SLOTS: Final[Sequence[type[Event]]] = (
    MarketStateChanged,
    SelectionAdvanced,
    TriggerFired,
    TriggerEnded,
    SlotAssigned,
    SlotExtended,
    SlotReleased,
    SlotOverflowed,
    ChurnGuardChanged,
)
_OF_GAPS: Final[Sequence[type[Event]]] = (WatchChanged, GapOpened, GapEmpty, GapDetected)
_KINDS: Final[Sequence[type[Event]]] = (*_OF_SLOTS, Trade, TradesConflated, *_OF_GAPS)
_OF_STATES: Final[Sequence[type[Event]]] = (SelectionAdvanced, SlotAssigned, SlotExtended, SlotReleased, WatchChanged)
_NUMBERS_AT_ONCE: Final = 20_000  # of a stream's events, what is held in memory


class DecisionReader(DatabaseReader):
    """Reads the decisions of Track B."""

    def decision_events(self, session_date: str) -> Iterator[Event]:
        """The day's decisions of Track B and their inputs, in the order of its streams."""
        with self._asking() as connection:
            yield from decision_events(connection, session_date)

    def slot_events(self, session_date: str) -> Sequence[Event]:
        """The day's trigger, slot and pin events, in order."""
        with self._asking() as connection:
            return list(slot_events(connection, session_date))

    def pins_before(self, session_date: str) -> Mapping[str, int | None]:
        """The symbols with a pin at the end of the last day before, in the order of the requests, with the pins' ends
        (UTC ns; None: until removed).
        """
        with self._asking() as connection:
            return pins_before(connection, session_date)

    def slot_status_events(self, session_date: str) -> Sequence[Event]:
        """The day's events of slot status: assignments, extensions, releases, and the broker's acknowledgements."""
        with self._asking() as connection:
            return list(slot_status_events(connection, session_date))

    def streamed_times(self, session_date: str, now_ns: int) -> Mapping[str, Sequence[StreamedTime]]:
        """By symbol, the times of the day in which the broker streamed the symbol, by the broker's acknowledgements."""
        with self._asking() as connection:
            return acknowledged_times(connection, session_date, now_ns)


def decision_events(connection: Connection, session_date: str) -> Iterator[Event]:
    """The day's events of all kinds; also from a capture that was replayed, which is one stream of all processes."""
    return _events(connection, session_date, _KINDS)


def slot_events(connection: Connection, session_date: str) -> Iterator[Event]:
    """The day's trigger, slot and pin events; a process that resumes starts from them."""
    return _events(connection, session_date, _OF_SLOTS)


def pins_before(connection: Connection, session_date: str) -> Mapping[str, int | None]:
    """The symbols pinned at the end of the last earlier day with a step of Track B, with the pins' ends."""
    table = EVENT_TABLES[SelectionAdvanced]
    last = select(func.max(table.c.session_date)).where(table.c.session_date < session_date).scalar_subquery()
    is_last = table.c.session_date == last
    return pins_after(events_in(connection, SelectionAdvanced, is_last, order="stream sequence")).ends


def slot_status_events(connection: Connection, session_date: str) -> Iterator[Event]:
    """The events from which the status of each slot follows."""
    return _events(connection, session_date, _OF_STATES)


def acknowledged_times(connection: Connection, session_date: str, now_ns: int) -> Mapping[str, Sequence[StreamedTime]]:
    """By symbol, the times in which the broker streamed it. A time without an end lasts until now; when the day is
    over, until the last step of Track B.
    """
    is_over = now_ns >= day_bounds(session_date)[1] or stream_ended_ns(connection, session_date) is not None
    steps = EVENT_TABLES[SelectionAdvanced].c
    last_step = select(func.max(steps.advanced_ns)).where(steps.session_date == session_date)
    until_ns = (connection.scalar(last_step) or 0) if is_over else now_ns
    return streamed_times(slot_intervals(slot_status_events(connection, session_date)), until_ns)


def _events(connection: Connection, session_date: str, kinds: Sequence[type[Event]]) -> Iterator[Event]:
    for stream, first, end in _segments(connection, session_date):
        for begin in range(first, end, _NUMBERS_AT_ONCE):
            yield from events_between(connection, kinds, stream, begin, min(begin + _NUMBERS_AT_ONCE, end))


def _segments(connection: Connection, session_date: str) -> Iterator[tuple[int, int, int]]:
    """Per event stream, the half-open sequence range that belongs to the day: from its first step to the first step of
    another day. A process may finish an earlier, unfinished day between two days of its own.
    """
    tables = [EVENT_TABLES[kind].c for kind in (SelectionAdvanced, WatchChanged)]
    steps = union_all(*(select(table.stream, table.sequence, table.session_date) for table in tables)).subquery().c
    of_the_day = select(steps.stream, func.min(steps.sequence)).where(steps.session_date == session_date)
    begins = connection.execute(of_the_day.group_by(steps.stream).order_by(steps.stream)).all()
    of_streams = STREAMS.c.id.in_([stream for stream, _ in begins])
    positions = connection.execute(select(STREAMS.c.id, STREAMS.c.high_water_mark).where(of_streams))
    marks = {row.id: row.high_water_mark for row in positions}
    for stream, first in begins:
        other = and_(steps.session_date != session_date, steps.sequence > first)
        end = connection.scalar(select(func.min(steps.sequence)).where(steps.stream == stream, other))
        yield stream, first, end if end is not None else marks[stream] + 1


def events_between(
    connection: Connection, kinds: Sequence[type[Event]], stream: int, begin: int, end: int
) -> Iterator[Event]:
    """A stream's events of these kinds with numbers in [begin, end), in order."""
    found: list[tuple[int, Event]] = []
    for kind in kinds:
        within = EVENT_TABLES[kind].c.sequence.between(begin, end - 1)
        rows = connection.execute(rows_of(kind, within, stream=stream))
        found += ((position_of(row)[1], event_of(kind, row)) for row in rows)
    yield from (event for _, event in sorted(found, key=lambda numbered: numbered[0]))
