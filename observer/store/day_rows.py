"""Rows of a day by kind: the statements that read and count them, and a reader that gives them without Arrow.

A kind with an index by symbol and day is read line by line (`observer.store.lines`), any other by one statement.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Connection, Select, case, func, or_, select

from bus.events import GapDetected, SweepCompleted, UniverseBuilt
from observer.store.engine import store_errors
from observer.store.kinds import DAY, GAP, POSITION, Kind, kind_named
from observer.store.lines import lines_of
from observer.store.session import DatabaseReader
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES

# A statement's columns and values: PostgreSQL takes 1,664 columns, SQLite 32,766 values.
_COLUMNS_MAX: Final = 500
_VALUES_MAX: Final = 30_000
_ROWS_AT_ONCE: Final = 2_000  # what an iterator holds in memory

# A day that was collected has a row in one of these, which have few rows a day.
_OF_COLLECTED_DAYS: Final = (UniverseBuilt, SweepCompleted)

_GAPS: Final = EVENT_TABLES[GapDetected].c


def is_of_day(kind: Kind, session_date: str) -> ColumnElement[bool]:
    """The condition of a day's rows in the kind's table."""
    return is_of_days(kind, [session_date])


def is_of_days(kind: Kind, session_dates: Sequence[str]) -> ColumnElement[bool]:
    """The condition of some days' rows in the kind's table; at least one day."""
    column = EVENT_TABLES[kind.event].c[kind.day]
    if kind.day == DAY:
        return _is_one_of(column, session_dates)
    if kind.day == GAP:
        return column.in_(select(_GAPS.gap_id).where(_is_one_of(_GAPS.session_date, session_dates)))
    return or_(*((column >= since_ns) & (column < until_ns) for since_ns, until_ns in _times_of(session_dates)))


def _is_one_of(column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool]:
    return column == values[0] if len(values) == 1 else column.in_(values)


def _times_of(session_dates: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The times [from, to) of the days; one span of days that follow each other."""
    span: tuple[int, int] | None = None
    for since_ns, until_ns in sorted(map(day_bounds, session_dates)):
        if span is not None and since_ns > span[1]:
            yield span
            span = None
        span = (since_ns if span is None else span[0], until_ns)
    if span is not None:
        yield span


def counts_by_day(kind: Kind, days: Sequence[str]) -> Select[str, int]:
    """The statement of the number of rows of each of these days that has any; the kind is dated (`Kind.is_dated`)."""
    table = EVENT_TABLES[kind.event]
    if kind.day == DAY:
        dates = table.c.session_date
        return select(dates, func.count()).where(dates.in_(days)).group_by(dates)
    gaps = select(_GAPS.gap_id, _GAPS.session_date).where(_GAPS.session_date.in_(days)).distinct().subquery()
    joined = table.join(gaps, gaps.c.gap_id == table.c.gap_id)
    return select(gaps.c.session_date, func.count()).select_from(joined).group_by(gaps.c.session_date)


def is_of_day_unindexed(kind: Kind, session_date: str) -> ColumnElement[bool]:
    """The same condition as one that no index serves: a statement that names positions is to search the primary key,
    an index of days would find the whole day each time.
    """
    return case((is_of_day(kind, session_date), 1), else_=0) == 1


def columns_of(kind: Kind, names: Sequence[str]) -> Sequence[ColumnElement[Any]]:
    """The named columns in the form in which every statement reads them."""
    return [EVENT_TABLES[kind.event].c[name] for name in names]


def rows_of_days(
    connection: Connection,
    kind: Kind,
    session_dates: Sequence[str],
    columns: Sequence[str],
    symbols: Sequence[str] | None = None,
) -> Select[*tuple[Any, ...]]:
    """The statement of some days' sorted rows; `symbols` as for `read_batches`."""
    of_days = conditions_of_days(connection, kind, session_dates, symbols)
    return _sorted(select(*columns_of(kind, columns)).where(*of_days), kind, connection)


def conditions_of_days(
    connection: Connection, kind: Kind, session_dates: Sequence[str], symbols: Sequence[str] | None
) -> Sequence[ColumnElement[bool]]:
    """The conditions of some days' rows. Where an index has the day behind the symbol, all symbols are named: a day is
    read line by line then, and the other days are not.
    """
    return (is_of_days(kind, session_dates), *_conditions_of_lines(connection, kind, symbols))


def _conditions_of_lines(
    connection: Connection, kind: Kind, symbols: Sequence[str] | None
) -> Sequence[ColumnElement[bool]]:
    lines = _named_lines(connection, kind, symbols)
    return () if lines is None else (EVENT_TABLES[kind.event].c.symbol.in_(lines),)


def _named_lines(connection: Connection, kind: Kind, symbols: Sequence[str] | None) -> Sequence[str] | None:
    """The lines that a condition names; None for a condition that names no line."""
    if not kind.has_symbols:
        return None
    if symbols is None and kind.is_by_line and not any(index[0] == kind.day for index in kind.indexes):
        return lines_of(connection, EVENT_TABLES[kind.event])
    return symbols


def _sorted(statement: Select[*tuple[Any, ...]], kind: Kind, connection: Connection) -> Select[*tuple[Any, ...]]:
    table = EVENT_TABLES[kind.event]
    order: list[ColumnElement[Any]] = [table.c[name] for name in (*kind.order, *POSITION)]
    if kind.has_symbols:
        # By bytes, as SQLite sorts: a server's own order of text differs from machine to machine.
        symbol = table.c.symbol
        order.insert(0, symbol.collate("C") if connection.dialect.name == "postgresql" else symbol)
    return statement.order_by(*order)


def lines_to_read(connection: Connection, kind: Kind, symbols: Sequence[str] | None) -> Sequence[str] | None:
    """The lines that are read one after another, where an index finds a line's rows of the day: what is to be sorted
    then is small, and the line and the day need no column. None: the day is read by one statement.
    """
    if not (kind.has_symbols and kind.is_by_line and kind.day == DAY):
        return None
    return lines_of(connection, EVENT_TABLES[kind.event]) if symbols is None else symbols


def count_rows(connection: Connection, kind: str, session_date: str) -> int:
    """The number of a day's rows. Rows are never changed, so a day has changed only if this has."""
    return count_days(connection, kind, [session_date])[session_date]


def count_days(connection: Connection, kind: str, days: Sequence[str]) -> dict[str, int]:
    """Count the rows of each of these days by one statement. A kind whose day follows from a time needs a column and
    the lines of each day: with too many lines, several statements count it.
    """
    of_kind = kind_named(kind)
    lines = _named_lines(connection, of_kind, None)
    table = EVENT_TABLES[of_kind.event]
    of_lines = () if lines is None else (table.c.symbol.in_(lines),)
    if of_kind.is_dated:
        counted = counts_by_day(of_kind, days).where(*of_lines)
        return {**dict.fromkeys(days, 0), **dict(connection.execute(counted).all())}
    each = [
        select(func.count()).select_from(table).where(is_of_day(of_kind, day), *of_lines).scalar_subquery()
        for day in days
    ]
    at_once = max(1, min(_COLUMNS_MAX, _VALUES_MAX // (2 + len(lines or ()))))
    found: list[int] = []
    for first in range(0, len(each), at_once):
        found += connection.execute(select(*each[first : first + at_once])).one()
    return dict(zip(days, found, strict=True))


class DayRowsReader(DatabaseReader):
    """Reads one state of the database: all queries of a `with` block are one transaction."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._counts: dict[tuple[str, str], int] = {}
        self._stack = ExitStack()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        with store_errors(self._engine):
            self._connection = self._stack.enter_context(self._engine.connect())
        return self

    def close(self) -> None:
        """End the transaction, and give the connection back."""
        self._connection = None
        self._stack.close()
        super().close()

    @property
    def _open(self) -> Connection:
        assert self._connection is not None, "this reader is used in a `with` block"
        return self._connection

    def count(self, kind: str, session_date: str) -> int:
        key = (kind, session_date)
        if key not in self._counts:
            with store_errors(self._engine):
                self._counts[key] = count_rows(self._open, kind, session_date)
        return self._counts[key]

    def counts(self, kind: str, days: Sequence[str]) -> Mapping[str, int]:
        """The number of rows of a kind for each of these days. One statement counts the days that are not known yet."""
        unknown = [day for day in days if (kind, day) not in self._counts]
        with store_errors(self._engine):
            found = count_days(self._open, kind, unknown) if unknown else {}
        self._counts |= {(kind, day): rows for day, rows in found.items()}
        return {day: self._counts[kind, day] for day in days}

    def rows(
        self, kind: str, session_date: str, columns: Sequence[str], symbols: Sequence[str] | None = None
    ) -> Iterator[Sequence[Any]]:
        """These columns of the day's rows of a kind, sorted by symbol, the kind's order and position; of these symbols
        alone where they are given. Some thousand rows are in memory.
        """
        of_kind = kind_named(kind)
        with store_errors(self._engine):
            lines = lines_to_read(self._open, of_kind, symbols)
            for wanted in [symbols] if lines is None else [[line] for line in sorted(set(lines))]:
                statement = rows_of_days(self._open, of_kind, [session_date], columns, wanted)
                yield from self._open.execute(statement, execution_options={"yield_per": _ROWS_AT_ONCE})

    def collected_days(self) -> list[str]:
        """The days that were collected, as ISO dates, oldest first."""
        days: set[str] = set()
        with store_errors(self._engine):
            for event_type in _OF_COLLECTED_DAYS:
                column = EVENT_TABLES[event_type].c.session_date
                days |= set(self._open.scalars(select(column).distinct()))
        return sorted(days)
