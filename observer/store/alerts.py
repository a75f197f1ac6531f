"""Alerts in the database: the open alerts, and a day's alerts with their ends."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Select, bindparam, func, select, tuple_
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from bus.events import AlertRaised, AlertRepeated, AlertResolved, Severity
from observer.store.days import DayReader
from observer.store.rows import Position, event_of, position_of
from observer.store.tables import EVENT_TABLES


class StoredAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert from its raising to its end. `severity` and `text` are the last ones. `resolved_ns` is None while the
    alert is open. `until_ns` is as in `AlertRaised`.
    """

    source: str
    identity: str
    severity: Severity
    since_ns: int
    last_ns: int
    count: int
    text: str
    resolved_ns: int | None = None
    until_ns: int | None = None

    def is_open(self, now_ns: int) -> bool:
        """Whether the alert counts as open at this time."""
        return self.resolved_ns is None and (self.until_ns is None or now_ns < self.until_ns)


AlertEvent = AlertRaised | AlertRepeated | AlertResolved
Columns = ReadOnlyColumnCollection[str, Column[Any]]

_RAISED: Final = EVENT_TABLES[AlertRaised].c
_RESOLVED: Final = EVENT_TABLES[AlertResolved].c


def stories_of(events: Iterable[AlertEvent]) -> Sequence[StoredAlert]:
    """The alerts of these events, in the order of their raising; the events are in the order of their times."""
    closed: list[StoredAlert] = []
    current: dict[tuple[str, str], StoredAlert] = {}
    for event in events:
        key = (event.source, event.identity)
        story = current.get(key)
        match event:
            case AlertRaised():
                if story is not None and story.until_ns is not None and event.raised_ns >= story.until_ns:
                    closed.append(current.pop(key))
                    story = None
                current[key] = _raised(event, story)
            case AlertRepeated() if story is not None:
                current[key] = msgspec.structs.replace(
                    story, last_ns=event.repeated_ns, count=event.count, text=event.text
                )
            case AlertResolved() if story is not None:
                del current[key]
                closed.append(msgspec.structs.replace(story, resolved_ns=event.resolved_ns, count=event.count))
            case _:
                pass  # of an alert before the first of these events
    return sorted([*closed, *current.values()], key=lambda each: (each.since_ns, each.source, each.identity))


def _raised(event: AlertRaised, story: StoredAlert | None) -> StoredAlert:
    """The alert after it was raised, perhaps again with another severity."""
    return StoredAlert(
        source=event.source,
        identity=event.identity,
        severity=event.severity,
        since_ns=story.since_ns if story else event.raised_ns,
        last_ns=event.raised_ns,
        count=story.count + 1 if story else 1,
        text=event.text,
        until_ns=event.until_ns,
    )


class AlertReader(DayReader):
    """Reads stored alerts.

    Raises:
        StoreError: as a `DayReader`.
    """

    def alerts(self, from_ns: int = 0, to_ns: int | None = None) -> Sequence[StoredAlert]:
        """The alerts that were open between these times, with all that is known of them now, in the order of their
        raising.
        """
        with self._asking() as connection:
            found = [each for key in _keys(connection, from_ns) for each in _events(connection, *key, from_ns)]
        stories = stories_of(event for _, event in sorted(found, key=lambda each: each[0]))
        return [
            each
            for each in stories
            if (to_ns is None or each.since_ns < to_ns)
            and (each.resolved_ns is None or each.resolved_ns >= from_ns)
            and (each.until_ns is None or each.until_ns > from_ns)
        ]


def _keys(connection: Connection, from_ns: int) -> Iterator[tuple[str, str]]:
    """Yield source and identity of every raised alert, except alerts whose last resolution is older than `from_ns`. One
    search in the index finds each.
    """
    last = ("", "")
    while found := connection.execute(_NEXT, {"source": last[0], "identity": last[1]}).first():
        last = (found.source, found.identity)
        if found.resolved_ns is None or not found.raised_ns < found.resolved_ns < from_ns:
            yield last


def _next() -> Select[tuple[str, str, int, int | None]]:
    """The statement for the next key after a source and an identity, with the last times of the key's alert. Built
    once: each reading executes it once per key.
    """
    later = EVENT_TABLES[AlertRaised].alias("later").c
    key = (_RAISED.source, _RAISED.identity)
    raised_ns = select(func.max(later.raised_ns)).where(*_of(later, *key))
    resolved_ns = select(func.max(_RESOLVED.resolved_ns)).where(*_of(_RESOLVED, *key))
    return (
        select(
            *key,
            raised_ns.correlate(EVENT_TABLES[AlertRaised]).scalar_subquery().label("raised_ns"),
            resolved_ns.correlate(EVENT_TABLES[AlertRaised]).scalar_subquery().label("resolved_ns"),
        )
        .where(tuple_(*key) > tuple_(bindparam("source"), bindparam("identity")))
        .order_by(*key)
        .limit(1)
    )


def _events(
    connection: Connection, source: str, identity: str, from_ns: int
) -> Iterable[tuple[tuple[int, Position], AlertEvent]]:
    """The events of one alert with their time and position, since the last story that ended before `from_ns`: by a
    resolution, or as an event with an end of its own.
    """
    over = (
        select(func.max(_RESOLVED.resolved_ns)).where(
            *_of(_RESOLVED, source, identity), _RESOLVED.resolved_ns < from_ns
        ),
        select(_RAISED.raised_ns, _RAISED.until_ns)
        .where(*_of(_RAISED, source, identity), _RAISED.raised_ns < from_ns)
        .order_by(_RAISED.raised_ns.desc())
        .limit(1),
    )
    since_ns = connection.scalar(over[0]) or 0
    last = connection.execute(over[1]).first()
    if last is not None and last.until_ns is not None and last.until_ns <= from_ns:
        since_ns = max(since_ns, last.raised_ns)
    kinds: tuple[tuple[type[AlertEvent], str], ...] = (
        (AlertRaised, "raised_ns"),
        (AlertRepeated, "repeated_ns"),
        (AlertResolved, "resolved_ns"),
    )
    for kind, moment in kinds:
        table = EVENT_TABLES[kind]
        wanted = select(table).where(*_of(table.c, source, identity), table.c[moment] >= since_ns)
        for row in connection.execute(wanted):
            event: AlertEvent = event_of(kind, row)
            yield (_moment(event), position_of(row)), event


def _of(
    columns: Columns, source: str | ColumnElement[str], identity: str | ColumnElement[str]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return columns.source == source, columns.identity == identity


def _moment(event: AlertEvent) -> int:
    match event:
        case AlertRaised():
            return event.raised_ns
        case AlertRepeated():
            return event.repeated_ns
        case AlertResolved():
            return event.resolved_ns


_NEXT: Final = _next()
