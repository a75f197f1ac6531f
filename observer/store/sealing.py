"""What a sealing asks the database beside a day's rows and their number: columns, the streams' marks, rows left."""

import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from sqlalchemy import func, select

from bus.events import BackupCompleted
from observer.base.local_time import local_datetime
from observer.store.arrow import read_batches
from observer.store.day_rows import DayRowsReader
from observer.store.engine import store_errors
from observer.store.kinds import KINDS
from observer.store.lines import distinct_values
from observer.store.removal import SealedRows, count_left, has_rows, lacks_snapshots
from observer.store.scan import ROWS_MIN, read_spans, spans_of
from observer.store.tables import EVENT_TABLES, STREAMS, table_of_lines


class SealingReader(DayRowsReader):
    """Reads one state of the database. `folder` is for files while it reads a day of many rows (None: the machine's
    own), which `stop` interrupts.
    """

    def __init__(self, url: str, folder: Path | None = None, stop: threading.Event | None = None) -> None:
        super().__init__(url)
        self._folder = folder
        self._stop = stop
        self._marks: tuple[Mapping[str, int], Mapping[int, str]] | None = None

    def batches(self, kind: str, session_date: str) -> Generator[pa.RecordBatch]:
        """The day's rows of a kind, as `read_batches`."""
        is_large = self.count(kind, session_date) >= ROWS_MIN
        with store_errors(self._engine):
            if is_large and (spans := spans_of(self._open, kind, session_date)):
                yield from read_spans(self._open, kind, session_date, spans, self._folder, self._stop)
            else:
                yield from read_batches(self._open, kind, session_date)

    def marks(self) -> tuple[Mapping[str, int], Mapping[int, str]]:
        """The high-water mark of each event stream by its random id, and the random id by the number in the rows."""
        if self._marks is None:
            with store_errors(self._engine):
                found = self._open.execute(select(STREAMS.c.id, STREAMS.c.uid, STREAMS.c.high_water_mark)).all()
            self._marks = {uid: mark for _, uid, mark in found}, {stream: uid for stream, uid, _ in found}
        return self._marks

    def is_backed_up(self, since_ns: int) -> bool:
        """Whether a package was completed at or after that time (UTC ns)."""
        completed = EVENT_TABLES[BackupCompleted].c.completed_ns
        with store_errors(self._engine):
            return self._open.scalar(select(completed).where(completed >= since_ns).limit(1)) is not None

    def oldest_days(self) -> set[str]:
        """The oldest day of each line's rows of each kind that is removed from the database: one search in an index for
        each line. A kind with an index by time gives the local day of its oldest time, one with an index by day alone
        each day.
        """
        found: set[str] = set()
        with store_errors(self._engine):
            for table in (EVENT_TABLES[kind.event] for kind in KINDS.values() if kind.removable):
                of_lines = table_of_lines(table)
                indexes = [index.columns.keys()[:2] for index in of_lines.indexes]
                if all(columns[0] == "session_date" for columns in indexes):
                    days = distinct_values(of_lines.c.session_date)
                    found |= set(self._open.scalars(select(days.c.value).where(days.c.value.is_not(None))))
                    continue
                is_dated = ["symbol", "session_date"] in indexes
                column = of_lines.c.session_date if is_dated else of_lines.c.receive_time_ns
                lines = distinct_values(of_lines.c.symbol)
                oldest = select(func.min(column)).where(of_lines.c.symbol == lines.c.value)
                of_line = oldest.correlate(lines).scalar_subquery()
                values = self._open.scalars(select(of_line).select_from(lines).distinct())
                found |= {
                    value if is_dated else local_datetime(value).date().isoformat()
                    for value in values
                    if value is not None
                }
        return found

    def count_left(self, sealed: SealedRows) -> int:
        """How many of these sealed rows the database has."""
        with store_errors(self._engine):
            return count_left(self._open, sealed)

    def has_rows(self, sealed: Sequence[SealedRows]) -> bool:
        """Whether the database has all of these sealed rows."""
        with store_errors(self._engine):
            return has_rows(self._open, sealed)

    def lacks_snapshots(self, session_date: str) -> bool:
        """Whether sweeps of the day brought snapshots that the database does not have."""
        with store_errors(self._engine):
            return lacks_snapshots(self._open, session_date)
