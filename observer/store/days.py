"""Queries of the stored sessions: which days the database has."""

from typing import Final

from sqlalchemy import Connection, func, select

from bus.events import GapDetected, QualityJudged, SelectionAdvanced, SweepCompleted, UniverseBuilt
from observer.store.session import DatabaseReader
from observer.store.tables import EVENT_TABLES

# A session has a row in one of these. Each has an index of its days, or a few rows a day (universes).
_OF_SESSIONS: Final = (UniverseBuilt, SweepCompleted, SelectionAdvanced, GapDetected, QualityJudged)


class DayReader(DatabaseReader):
    """Reads which sessions are stored. Never scans trades or snapshots."""

    def last_session(self) -> str | None:
        """The last stored session, as an ISO date; None without any."""
        with self._asking() as connection:
            return max(filter(None, (_last_of(connection, kind) for kind in _OF_SESSIONS)), default=None)

    def has_session(self, session_date: str) -> bool:
        """Whether anything of this session is stored."""
        columns = (EVENT_TABLES[kind].c.session_date for kind in _OF_SESSIONS)
        with self._asking() as connection:
            return any(connection.scalar(select(1).where(day == session_date).limit(1)) for day in columns)


def _last_of(connection: Connection, kind: type) -> str | None:
    found: str | None = connection.scalar(select(func.max(EVENT_TABLES[kind].c.session_date)))
    return found
