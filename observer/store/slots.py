"""Queries of triggers, slots and the streams that serve them."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from bus.events import (
    ConnectionChanged,
    PhaseChanged,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    TokenRenewed,
    TriggerFired,
)
from observer.base.local_time import local_ns
from observer.gaps.intervals import Interval, intervals
from observer.store.kinds import BY_EVENT
from observer.store.rows import Position, event_of, position_of, slots_in_use
from observer.store.session import DatabaseReader, events_in, rows_of
from observer.store.tables import EVENT_TABLES, STREAMS

# The phases in which Track B streams, and has stopped (observer.calendar.phases).
_STREAM_BEGINS: Final = "FULL_OPERATION"
_STREAM_ENDS: Final = "TRACK_A_CLOSING"
_FOR_EVER_NS: Final = 2**63 - 1
_RUNS_MAX: Final = 20  # of a process: each began a stream of events
_ONE_DAY: Final = timedelta(days=1)

SlotChange = SlotAssigned | SlotExtended | SlotReleased | SlotOverflowed
_CHANGES: Final[Sequence[type[SlotChange]]] = (SlotAssigned, SlotExtended, SlotReleased, SlotOverflowed)


class SlotReader(DatabaseReader):
    """Reads triggers, slots and connections."""

    def slot_history(self, session_date: str, symbol: str | None = None) -> Sequence[SlotChange]:
        """A day's assignments, extensions, releases and refusals of slots, in the order of the decisions."""
        with self._asking() as connection:
            return slot_changes(connection, *day_bounds(session_date), symbol)

    def open_slots(self, since_ns: int = 0, until_ns: int | None = None) -> Sequence[SlotAssigned]:
        """The assignments of [since, until) that are open at its end: the last one of each slot, unless the slot was
        released since. Without `until` those open now.
        """
        with self._asking() as connection:
            return open_slots(connection, since_ns, until_ns)

    def last_assignment_ns(self, before_ns: int) -> int | None:
        """The time of the last assignment before this time; None without an assignment."""
        at_ns = EVENT_TABLES[SlotAssigned].c.assigned_ns
        found: int | None = self._scalar(select(func.max(at_ns)).where(at_ns < before_ns))
        return found

    def triggers_fired(self, session_date: str, symbol: str) -> Sequence[TriggerFired]:
        """When which conditions of a symbol began to hold on a day."""
        with self._asking() as connection:
            return triggers_fired(connection, session_date, symbol)

    def latest_connections(self, since_ns: int) -> dict[str, ConnectionChanged]:
        """By account: the last change of its stream since that time."""
        since = EVENT_TABLES[ConnectionChanged].c.changed_ns >= since_ns
        changes = self._stored(ConnectionChanged, since, order="changed_ns stream sequence")
        return {change.account: change for change in changes}

    def latest_tokens(self, producer: str) -> dict[str, TokenRenewed]:
        """By account, the last access token that the process got in one of its latest runs."""
        runs = select(STREAMS.c.id).where(STREAMS.c.producer == producer).order_by(STREAMS.c.id.desc())
        newest = runs.limit(_RUNS_MAX).subquery().c.id
        columns = EVENT_TABLES[TokenRenewed].c
        succeeded = (columns.stream.in_(select(newest)), columns.succeeded.is_(True))
        renewals = self._stored(TokenRenewed, *succeeded, order="renewed_ns")
        return {renewal.account: renewal for renewal in renewals}

    def stream_times(self, session_date: str, now_ns: int) -> Mapping[str, Sequence[Interval]]:
        """When each symbol had a slot on that day."""
        with self._asking() as connection:
            return stream_times(connection, session_date, now_ns)

    def stream_hours(self, session_date: str, now_ns: int) -> Interval | None:
        """The times of that day in which slots were available; None without such a time."""
        with self._asking() as connection:
            return stream_hours(connection, session_date, now_ns)


def slot_changes(connection: Connection, from_ns: int, to_ns: int, symbol: str | None = None) -> list[SlotChange]:
    """Assignments, extensions, releases and refusals in [from, to), in the order of the decisions."""
    found: list[tuple[int, Position, SlotChange]] = []
    for kind in _CHANGES:
        moment = BY_EVENT[kind].day
        within = EVENT_TABLES[kind].c[moment].between(from_ns, to_ns - 1)
        for row in connection.execute(rows_of(kind, within, symbol=symbol)):
            change = event_of(kind, row)
            found.append((getattr(change, moment), position_of(row), change))
    return [change for _moment_ns, _position, change in sorted(found, key=lambda item: item[:2])]


def open_slots(connection: Connection, since_ns: int, until_ns: int | None) -> Sequence[SlotAssigned]:
    """The open assignments by the assignments and releases of [since, until), or since."""
    last_ns = _FOR_EVER_NS if until_ns is None else until_ns - 1
    assigned, released = (
        connection.execute(rows_of(kind, EVENT_TABLES[kind].c[BY_EVENT[kind].day].between(since_ns, last_ns))).all()
        for kind in (SlotAssigned, SlotReleased)
    )
    return slots_in_use(assigned, released)


def triggers_fired(connection: Connection, session_date: str, symbol: str) -> list[TriggerFired]:
    """When which conditions of a symbol began to hold on a day, in that order."""
    from_ns, to_ns = day_bounds(session_date)
    of_day = EVENT_TABLES[TriggerFired].c.fired_ns.between(from_ns, to_ns - 1)
    return events_in(connection, TriggerFired, of_day, symbol=symbol, order="fired_ns stream sequence")


def stream_times(connection: Connection, session_date: str, now_ns: int) -> dict[str, list[Interval]]:
    """By symbol, when it had a slot on that day."""
    from_ns, to_ns = day_bounds(session_date)
    changes = [
        change for change in slot_changes(connection, from_ns, to_ns) if isinstance(change, SlotAssigned | SlotReleased)
    ]
    ended_ns = stream_ended_ns(connection, session_date)
    is_over = ended_ns is not None or now_ns >= to_ns
    return intervals(changes, min(now_ns, to_ns) if ended_ns is None else ended_ns, is_over=is_over)


def stream_hours(connection: Connection, session_date: str, now_ns: int) -> Interval | None:
    """The times of the day in which slots were available, by its phases; None without such a time."""
    began_ns = _phase_began_ns(connection, session_date, _STREAM_BEGINS)
    ended_ns = stream_ended_ns(connection, session_date)
    until_ns = min(now_ns, day_bounds(session_date)[1]) if ended_ns is None else ended_ns
    return None if began_ns is None else Interval(began_ns, max(began_ns, until_ns))


def stream_ended_ns(connection: Connection, session_date: str) -> int | None:
    """The time at which Track B stopped on that day, by its phases; None before the stop."""
    return _phase_began_ns(connection, session_date, _STREAM_ENDS)


def day_bounds(session_date: str) -> tuple[int, int]:
    """The Korean calendar day as [from, to) in UTC nanoseconds."""
    day = date.fromisoformat(session_date)
    return local_ns(day), local_ns(day + _ONE_DAY)


def _phase_began_ns(connection: Connection, session_date: str, phase: str) -> int | None:
    phases = EVENT_TABLES[PhaseChanged].c
    began = select(func.min(phases.changed_ns)).where(phases.session_date == session_date, phases.current == phase)
    found: int | None = connection.scalar(began)
    return found
