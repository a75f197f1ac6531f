"""The rows of several days that one statement read, as a frame a day. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from observer.store.kinds import kind_named
from observer.store.slots import day_bounds

_LABEL: Final = "day of the row"


def by_day(
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
