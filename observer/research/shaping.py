"""Stored rows as a person sees them: names, stocks and venues, local time. Pure: frames in, frames out."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec
import polars as pl

from observer.base.lines import stock_of
from observer.research.frame import Schema
from observer.research.relation import Column, columns_of, is_day, is_moment

_TYPES: Final[Mapping[type, Any]] = {
    str: pl.String, float: pl.Float64, int: pl.Int64, bool: pl.Boolean, date: pl.Date,
}  # fmt: skip


def schema_of_row(row: type[msgspec.Struct], zone: str) -> Schema:
    """The polars types of a relation's columns; `zone` is the IANA name of the zone of its times."""
    return {
        each.name: pl.Datetime("ns", zone) if each.type is datetime else _TYPES.get(each.type, pl.String)
        for each in columns_of(row)
    }


def shaped(rows: pl.LazyFrame, row: type[msgspec.Struct], zone: str, **made: str | pl.Expr) -> pl.LazyFrame:
    """The rows with the columns of a relation's row.

    A column is what `made` has for it, the name of another stored column or an expression; else the stored column of
    its name: of a moment NAME_ns, of `day` the session, of `symbol` beside a `venue` the stock.
    """
    columns = columns_of(row)
    has_venue = any(each.name == "venue" for each in columns)
    return rows.select(**{each.name: _value(each, made.get(each.name), zone, has_venue) for each in columns})


def _value(column: Column, made: str | pl.Expr | None, zone: str, has_venue: bool) -> pl.Expr:
    if isinstance(made, pl.Expr):
        return made
    if is_moment(column):
        return time_of(made or f"{column.name}_ns", zone)
    if is_day(column):
        return pl.col(made or ("session_date" if column.name == "day" else column.name)).str.to_date()
    return stock() if made is None and column.name == "symbol" and has_venue else pl.col(made or column.name)


def time_of(column: str, zone: str) -> pl.Expr:
    """A column of UTC nanoseconds as a time in the zone."""
    return pl.col(column).cast(pl.Datetime("ns", zone))


def stock() -> pl.Expr:
    """The stock of a line: the id without the venue's name and the separator before it (`observer.base.lines`)."""
    line, venue = pl.col("symbol"), pl.col("venue")
    length = line.str.len_chars().cast(pl.Int64) - venue.str.len_chars().cast(pl.Int64) - 1
    is_further = (venue != "") & (length > 0) & line.str.ends_with(venue)
    return pl.when(is_further).then(line.str.head(pl.max_horizontal(length, 0))).otherwise(line)


def stock_of_id(column: str) -> pl.Expr:
    """The stock of a column of lines' ids that has no venue beside it; for few rows."""
    return pl.col(column).map_elements(stock_of, return_dtype=pl.String)


def venue_of_id(column: str, venues: Mapping[str, str]) -> pl.Expr:
    """The venue of a column of lines' ids, by the lines of the day; null for another line."""
    return pl.col(column).replace_strict(venues, default=None, return_dtype=pl.String)


def newest(rows: pl.LazyFrame, moment: str, *key: str) -> pl.LazyFrame:
    """The newest row of each key, by a moment and the position."""
    return rows.sort(moment, "stream", "sequence").unique(list(key), keep="last", maintain_order=True)
