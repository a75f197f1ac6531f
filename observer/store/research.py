"""Queries for people's programs: which days are stored, their rows as Arrow columns, and the marks of a moment."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from bus.events import (
    GapDetected,
    GapOpened,
    GapUnrecoverable,
    QualityJudged,
    SelectionAdvanced,
    SweepCompleted,
    UniverseBuilt,
)
from observer.base.local_time import local_datetime
from observer.store.alerts import AlertReader
from observer.store.arrow import read_days, read_marks, read_table, read_uids, table_named
from observer.store.day_rows import count_days
from observer.store.day_totals import Counted, DayTotals, totals_of
from observer.store.kinds import kind_named
from observer.store.lines import distinct_values
from observer.store.removal import SealedRows, has_rows, lacks_snapshots
from observer.store.scan import ROWS_MIN, read_spans, spans_of
from observer.store.tables import EVENT_TABLES, LISTINGS, OWNER, table_of_lines

if TYPE_CHECKING:
    import pyarrow as pa

# Each session has a row in one of these tables. An index, or a small number of rows, finds a table's days.
_OF_SESSIONS: Final = (UniverseBuilt, SweepCompleted, SelectionAdvanced, GapDetected, QualityJudged)


class ResearchReader(AlertReader):
    """Reads days and tables as columns.

    Raises:
        StoreError: as a `DatabaseReader`.
    """

    @property
    def url(self) -> str:
        """The database's address, without secrets."""
        return str(self._engine.url)

    def market(self) -> str | None:
        """The market of the database; None before the first writer."""
        with self._asking() as connection:
            found: str | None = connection.scalar(select(OWNER.c.market).limit(1))
            return found

    def marks(self) -> Mapping[int, int]:
        """The high-water mark of each event stream, by the number that rows carry as `stream`."""
        with self._asking() as connection:
            return read_marks(connection)

    def stream_uids(self) -> Mapping[int, str]:
        """The random id of each event stream, by the number that rows carry as `stream`."""
        with self._asking() as connection:
            return read_uids(connection)

    def session_dates(self) -> Sequence[str]:
        """The stored sessions in order. One statement a kind, with one search in an index for each session."""
        found: set[str] = set()
        with self._asking() as connection:
            for kind in _OF_SESSIONS:
                days = distinct_values(EVENT_TABLES[kind].c.session_date).c.value
                found.update(connection.scalars(select(days).where(days.is_not(None))))
        return sorted(found)

    def batches(
        self, kind: str, session_dates: Sequence[str], symbols: Sequence[str] | None, columns: Sequence[str]
    ) -> Iterator["pa.RecordBatch"]:
        """The rows of some days (`observer.store.arrow.read_days`); a day of many rows as it is stored, and sorted
        here, by a present moment that may be later than the first batch's.
        """
        if symbols is None and len(session_dates) == 1:
            [day] = session_dates
            with self._asking() as connection:
                is_large = count_days(connection, kind, [day])[day] >= ROWS_MIN
                if is_large and (spans := spans_of(connection, kind, day)):
                    yield from read_spans(connection, kind, day, spans, columns=columns)
                    return
        yield from read_days(self._engine, kind, session_dates, symbols=symbols, columns=columns)

    def table(self, name: str, symbols: Sequence[str] | None) -> Iterator["pa.RecordBatch"]:
        """The rows of a whole table, or those of these symbols, in no order."""
        of_symbols = [] if symbols is None else [table_named(name).c.symbol.in_(symbols)]
        return read_table(self._engine, name, *of_symbols)

    def lost_cuts(self, session_date: str) -> Iterator["pa.RecordBatch"]:
        """The losses of a day's cuts of the stream: they belong to a gap that proved no missing volume."""
        cuts = EVENT_TABLES[GapOpened].c
        ids = select(cuts.gap_id).where(cuts.session_date == session_date)
        return read_table(self._engine, "gap_losses", EVENT_TABLES[GapUnrecoverable].c.gap_id.in_(ids))

    def counts(self, kind: str, session_dates: Sequence[str]) -> Mapping[str, int]:
        """The number of each day's rows of a kind; read from an index where one has the day."""
        with self._asking() as connection:
            return count_days(connection, kind, session_dates)

    def totals(self, session_date: str, marks: Mapping[int, int], counted: Sequence[Counted]) -> DayTotals:
        """The totals of a day's rows up to the marks (`observer.store.day_totals`)."""
        with self._asking() as connection:
            return totals_of(connection, session_date, marks, counted)

    def days_of_gaps(self, session_dates: Sequence[str]) -> Sequence[tuple[str, str]]:
        """The gaps of these days as pairs of gap and day."""
        gaps = EVENT_TABLES[GapDetected].c
        wanted = select(gaps.gap_id, gaps.session_date).where(gaps.session_date.in_(session_dates)).distinct()
        with self._asking() as connection:
            return [(gap_id, day) for gap_id, day in connection.execute(wanted)]

    def lacking_snapshots(self, session_dates: Sequence[str]) -> set[str]:
        """Those of the days whose sweeps brought snapshots that the database does not have."""
        with self._asking() as connection:
            return {day for day in session_dates if lacks_snapshots(connection, day)}

    def has_rows(self, sealed: Sequence[SealedRows]) -> bool:
        """Whether the database has all of these sealed rows."""
        with self._asking() as connection:
            return has_rows(connection, sealed)

    def dates_of(self, kind: str, first: str, last: str, symbols: Sequence[str] | None) -> Sequence[str]:
        """The days of these symbols' rows (None: of all) of a kind from `first` to `last`, both included. Some kinds
        have days that were no stored session: daily bars and net asset values go back further.
        """
        columns = table_of_lines(EVENT_TABLES[kind_named(kind).event]).c
        wanted = select(columns.session_date).distinct()
        wanted = wanted.where(columns.session_date.between(first, last))
        if symbols is not None:
            wanted = wanted.where(columns.symbol.in_(symbols))
        with self._asking() as connection:
            return sorted(connection.scalars(wanted))

    def listed_symbols(self) -> Sequence[str]:
        """The symbols of all listings, former ones included."""
        with self._asking() as connection:
            return list(connection.scalars(select(LISTINGS.c.symbol).distinct()))

    def first_files(self) -> dict[str, date]:
        """By exchange, the local day of the first master file: the day on which the first listing was seen."""
        wanted = select(LISTINGS.c.exchange, func.min(LISTINGS.c.first_seen_ns)).group_by(LISTINGS.c.exchange)
        with self._asking() as connection:
            return {exchange: local_datetime(first_ns).date() for exchange, first_ns in connection.execute(wanted)}
