"""Queries of the stored sessions: which days the database has."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select, union

from bus.events import GapDetected, InputQuarantined, QualityJudged, SelectionAdvanced, SweepCompleted, UniverseBuilt
from observer.store.lines import distinct_values
from observer.store.session import DatabaseReader
from observer.store.tables import EVENT_TABLES

# Each session has a row in one of these tables. A table has an index of its days, or few rows a day (universes).
_OF_SESSIONS: Final = (UniverseBuilt, SweepCompleted, SelectionAdvanced, GapDetected, QualityJudged)


class DayReader(DatabaseReader):
    """Reads which sessions are stored. Never scans trades or snapshots."""

    def last_session(self) -> str | None:
        """The last stored session, as an ISO date; None without a session."""
        newest = [select(func.max(EVENT_TABLES[kind].c.session_date)) for kind in _OF_SESSIONS]
        with self._asking() as connection:
            return max(filter(None, map(connection.scalar, newest)), default=None)

    def sessions(self) -> Sequence[str]:
        """Every stored session, the newest first; each is found by one search in an index, or is among few rows."""
        days = [distinct_values(EVENT_TABLES[kind].c.session_date).c.value for kind in _OF_SESSIONS]
        found = union(*(select(day).where(day.is_not(None)) for day in days))
        with self._asking() as connection:
            return sorted(connection.scalars(found), reverse=True)

    def has_session(self, session_date: str) -> bool:
        """Whether anything of this session is stored."""
        columns = (EVENT_TABLES[kind].c.session_date for kind in _OF_SESSIONS)
        with self._asking() as connection:
            return any(connection.scalar(select(1).where(day == session_date).limit(1)) for day in columns)

    def quarantined_input_bytes(self, since_ns: int, until_ns: int) -> int:
        """The bytes of the inputs in quarantine, with their reasons, of a time in UTC nanoseconds."""
        inputs = EVENT_TABLES[InputQuarantined]
        size = func.sum(func.length(inputs.c.content) + func.length(inputs.c.reason))
        during = inputs.c.quarantined_ns.between(since_ns, until_ns - 1)
        return int(self._scalar(select(size).where(during)) or 0)
