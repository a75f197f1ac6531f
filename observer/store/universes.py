"""Queries of universes, and of the universe in force on a day."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select

from bus.events import UniverseBuilt, UniverseMember, VenueEligibility
from observer.store.rows import event_of
from observer.store.session import DatabaseReader, events_in, rows_of
from observer.store.tables import EVENT_TABLES


class StoredUniverse(msgspec.Struct, frozen=True):
    """A build, and its members by rank."""

    built: UniverseBuilt
    members: Sequence[UniverseMember]


class UniverseReader(DatabaseReader):
    """Reads universes."""

    def universe(self, session_date: str, market: str, built_ns: int | None = None) -> Sequence[UniverseMember]:
        """The members of the day's universe by rank; empty without a build. Of several builds the last counts, or the
        build of the given time.

        A build's members and its `UniverseBuilt` are published together, the members first. They are neighbours in
        their stream, which separates a rebuilt universe from the earlier universe.
        """
        with self._asking() as connection:
            built = connection.execute(last_build(session_date, market, built_ns)).first()
            return members_of(connection, built).members if built else []

    def universe_built(self, session_date: str, market: str) -> UniverseBuilt | None:
        with self._asking() as connection:
            built = connection.execute(last_build(session_date, market)).first()
            return event_of(UniverseBuilt, built) if built else None

    def universe_in_force(
        self, session_date: str, market: str, fixed_ns: int, oldest: str = ""
    ) -> StoredUniverse | None:
        """The universe in force on a day, fixed at a moment of the day (docs/requirement.md): the
        last build by then, of this day or of the latest day before it, since the day `oldest`. Without such a build it
        is the first later one; None without any build.
        """
        with self._asking() as connection:
            found = (connection.execute(build).first() for build in in_force(session_date, market, fixed_ns, oldest))
            return next((members_of(connection, built) for built in found if built is not None), None)

    def venue_eligibility(self, oldest: str, session_date: str) -> Sequence[VenueEligibility]:
        """The latest facts of these days, both included: of each stock and venue beside the main one."""
        of_these_days = EVENT_TABLES[VenueEligibility].c.session_date.between(oldest, session_date)
        facts = self._stored(VenueEligibility, of_these_days, order="session_date stream sequence")
        return list({(each.symbol, each.venue): each for each in facts}.values())


def last_build(session_date: str, market: str, built_ns: int | None = None) -> Select[*tuple[Any, ...]]:
    """The day's last build; with a build time, the last build of that time."""
    built = EVENT_TABLES[UniverseBuilt].c
    of_the_day = rows_of(UniverseBuilt, session_date=session_date, market=market, built_ns=built_ns)
    return of_the_day.order_by(built.built_ns.desc(), built.stream.desc(), built.sequence.desc()).limit(1)


def in_force(session_date: str, market: str, fixed_ns: int, oldest: str) -> Sequence[Select[*tuple[Any, ...]]]:
    """The build in force on a day that is fixed at this moment, and its fallback without one. A build without a member,
    or of a day before `oldest`, does not count.
    """
    built = EVENT_TABLES[UniverseBuilt].c
    known = rows_of(UniverseBuilt, built.session_date.between(oldest, session_date), built.symbols > 0, market=market)
    last = (built.session_date.desc(), built.built_ns.desc(), built.stream.desc(), built.sequence.desc())
    in_time = known.where(built.built_ns <= fixed_ns).order_by(*last)
    return in_time.limit(1), known.order_by(built.built_ns, built.stream, built.sequence).limit(1)


def members_of(connection: Connection, row: Row[*tuple[Any, ...]]) -> StoredUniverse:
    """The build of this row with the members that were published with it. The members are the row's neighbours in its
    stream, usually before it: later rows may belong to the next build.
    """
    built, at = event_of(UniverseBuilt, row), row.sequence
    sides = ((at - built.symbols, at - 1), (at + 1, at + built.symbols))
    found = (_members_within(connection, row.stream, first, last, built) for first, last in sides)
    return StoredUniverse(built, max(found, key=len))  # of two that are whole the first


def _members_within(
    connection: Connection, stream: int, first: int, last: int, built: UniverseBuilt
) -> Sequence[UniverseMember]:
    within = EVENT_TABLES[UniverseMember].c.sequence.between(first, last)
    of_build = {"stream": stream, "session_date": built.session_date, "market": built.market}
    return events_in(connection, UniverseMember, within, order="rank", **of_build)
