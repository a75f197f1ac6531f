"""Universes as they were built, and which of them a day goes by."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, select

from bus.events import UniverseBuilt, UniverseMember
from observer.store.rows import event_of
from observer.store.tables import EVENT_TABLES


class Universe(msgspec.Struct, frozen=True):
    """A build, and its members by rank."""

    built: UniverseBuilt
    members: Sequence[UniverseMember]


def last_build(session_date: str, market: str, built_ns: int | None = None) -> Select[*tuple[Any, ...]]:
    """The day's last build, or its last one of that time."""
    built = EVENT_TABLES[UniverseBuilt]
    of_the_day = select(built).where(built.c.session_date == session_date, built.c.market == market)
    if built_ns is not None:
        of_the_day = of_the_day.where(built.c.built_ns == built_ns)
    return of_the_day.order_by(built.c.built_ns.desc(), built.c.stream.desc(), built.c.sequence.desc()).limit(1)


def in_force(session_date: str, market: str, fixed_ns: int) -> Sequence[Select[*tuple[Any, ...]]]:
    """The build that a day goes by that is fixed at this moment, and the one that it goes by where there is no such.
    One without a member is none.
    """
    table = EVENT_TABLES[UniverseBuilt]
    built = table.c
    known = select(table).where(built.market == market, built.session_date <= session_date, built.symbols > 0)
    last = (built.session_date.desc(), built.built_ns.desc(), built.stream.desc(), built.sequence.desc())
    in_time = known.where(built.built_ns <= fixed_ns).order_by(*last)
    return in_time.limit(1), known.order_by(built.built_ns, built.stream, built.sequence).limit(1)


def members_of(connection: Connection, row: Row[*tuple[Any, ...]]) -> Universe:
    """The build of this row, with the members that were published with it: its neighbours in its stream, as a rule
    before it. What stands behind it may be of the next build.
    """
    built, at = event_of(UniverseBuilt, row), row.sequence
    sides = ((at - built.symbols, at - 1), (at + 1, at + built.symbols))
    found = (_members_within(connection, row.stream, first, last, built) for first, last in sides)
    return Universe(built, max(found, key=len))  # of two that are whole the first


def _members_within(
    connection: Connection, stream: int, first: int, last: int, built: UniverseBuilt
) -> Sequence[UniverseMember]:
    members = EVENT_TABLES[UniverseMember]
    wanted = select(members).where(
        members.c.stream == stream,
        members.c.sequence.between(first, last),
        members.c.session_date == built.session_date,
        members.c.market == built.market,
    )
    return [event_of(UniverseMember, member) for member in connection.execute(wanted.order_by(members.c.rank))]
