"""Rows of the database as frames: a day as a lazy one, several days read by one statement."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import polars as pl

from observer.research.frame import Schema, allowed, needed, scanned
from observer.store.arrow import schema_of
from observer.store.kinds import POSITION, kind_named
from observer.store.research import ResearchReader
from observer.store.slots import day_bounds

if TYPE_CHECKING:
    import pyarrow as pa

_LABEL: Final = "day of the row"
_NO_MARK: Final = -1
_TYPES: Final = {"int64": pl.Int64, "double": pl.Float64, "bool": pl.Boolean, "string": pl.String}


@cache
def stored_schema(kind: str) -> Schema:
    """The polars types of a kind's columns, as they are stored."""
    return {field.name: _TYPES[str(field.type)] for field in schema_of(kind)}


def frame_of(batches: Iterable["pa.RecordBatch"], table: str) -> pl.DataFrame:
    """The rows of a table that these batches have."""
    return pl.concat([pl.DataFrame(schema=dict(stored_schema(table))), *map(_frame, batches)])


class DatabaseRows:
    """The rows of a database up to the marks, the number of the last row of each event stream."""

    def __init__(self, database: ResearchReader, marks: Mapping[int, int]) -> None:
        self._database = database
        self._marks = marks

    def scan(
        self,
        kind: str,
        day: str,
        lines: Sequence[str] | None,
        sealed: Mapping[int, int],
        require_current: Callable[[], None],
    ) -> pl.LazyFrame:
        """A day's rows of a kind; `sealed` are the numbers of the last rows that a sealed file has. `require_current`
        is called when they are read.
        """
        hot = _Hot(self._database, self._marks, sealed, require_current, kind, day, lines)
        return scanned(hot.read, stored_schema(kind), f"{kind} {day}")

    def of_days(
        self, kind: str, days: Sequence[str], lines: Sequence[str] | None, columns: Sequence[str]
    ) -> Mapping[str, pl.DataFrame]:
        """By day the rows of a kind, read by one statement, with these columns."""
        schema, of_day = stored_schema(kind), kind_named(kind).day
        asked = [name for name in schema if name in {*columns, *POSITION, of_day}]
        batches = self._database.batches(kind, days, lines, asked) if lines is None or lines else ()
        rows = pl.concat([pl.DataFrame(schema={name: schema[name] for name in asked}), *map(_frame, batches)])
        rows = rows.filter(is_known(self._marks))
        gaps = self._database.days_of_gaps(days) if of_day == "gap_id" else ()
        return {day: frame.select(columns) for day, frame in _by_day(kind, rows, days, gaps).items()}


class _Hot:
    """A day's rows of a kind in the database: up to the marks, and beyond the positions that a sealed file has."""

    def __init__(
        self,
        database: ResearchReader,
        marks: Mapping[int, int],
        sealed: Mapping[int, int],
        require_current: Callable[[], None],
        kind: str,
        day: str,
        lines: Sequence[str] | None,
    ) -> None:
        self._database = database
        self._require_current = require_current
        self._kind = kind
        self._day = day
        self._lines = lines
        self._is_wanted = is_known(marks) & ~is_known(sealed)

    def read(
        self, columns: Sequence[str] | None, predicate: pl.Expr | None, _rows: int | None
    ) -> Iterator[pl.DataFrame]:
        """The rows in batches: of the asked columns, and of the lines that the predicate leaves possible."""
        schema = stored_schema(self._kind)
        wanted = needed(columns, predicate, schema)
        lines = self._lines
        if lines is not None and "symbol" in schema:
            lines = allowed(predicate, "symbol", lines, pl.String)
            if not lines:
                return
        asked = [*wanted, *(name for name in POSITION if name not in wanted)]
        for batch in self._database.batches(self._kind, [self._day], lines, asked):
            yield _frame(batch).filter(self._is_wanted)
        self._require_current()


def is_known(marks: Mapping[int, int]) -> pl.Expr:
    """Whether a row is among the first of its stream, up to the mark; none of a stream without a mark is."""
    known = (list(marks), list(marks.values()))
    return pl.col("sequence") <= pl.col("stream").replace_strict(*known, default=_NO_MARK, return_dtype=pl.Int64)


def _by_day(
    kind: str, rows: pl.DataFrame, days: Sequence[str], gaps: Sequence[tuple[str, str]] = ()
) -> Mapping[str, pl.DataFrame]:
    """The rows of each of these days, in their order; they are all of these days.

    Args:
        kind: of the rows, which have the column that gives their day.
        rows: as stored.
        days: each has a frame, empty or not.
        gaps: the gaps of the days, each with its day: where they give a row's day (`observer.store.kinds`).
    """
    column = kind_named(kind).day
    if column == "session_date":
        labelled = rows.with_columns(pl.col(column).alias(_LABEL))
    elif column == "gap_id":
        of_gaps = pl.DataFrame(list(gaps), schema={column: pl.String, _LABEL: pl.String}, orient="row")
        labelled = rows.join(of_gaps, on=column, how="inner", maintain_order="left")
    else:
        ordered = pl.Series(sorted(days), dtype=pl.String)
        begins = pl.Series([day_bounds(day)[0] for day in ordered], dtype=pl.Int64)
        nth = begins.search_sorted(rows[column], side="right").cast(pl.Int64) - 1
        labelled = rows.with_columns(ordered.gather(nth).alias(_LABEL))
    found = labelled.partition_by(_LABEL, as_dict=True, include_key=False, maintain_order=True)
    return {day: found[(day,)] if (day,) in found else rows.clear() for day in days}


def _frame(batch: "pa.RecordBatch") -> pl.DataFrame:
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    return frame
