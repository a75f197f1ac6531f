"""Rows of frames in a terminal: as a table, as a record, as JSON or CSV, or in a file."""

import sys
import warnings
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from observer.base.errors import ConfigError, NoDataError
from observer.base.units import plain
from observer.cli.context import base_settings, configuration_path, today
from observer.cli.tables import Table, show

if TYPE_CHECKING:
    import polars as pl

    from observer.research.store import Store

ROWS_FIRST: Final = 10
_FIGURES: Final = 6  # significant digits of a figure that is not whole


def opened(config: Path | None) -> "Store":
    """The store of the named configuration, or of the chosen one of this folder."""
    from observer.research.opening import open_store

    warnings.formatwarning = lambda message, *_, **__: f"observer: {message}\n"  # on stderr, each text once
    return open_store(configuration_path(config))


def named_day(store: "Store", asked: str | None, config: Path | None) -> str:
    """The day as it was typed, or the last stored one."""
    from datetime import timedelta

    if asked in (None, "last"):
        if not store.rows.days:
            raise NoDataError("no session is stored yet: `observer run` or `observer demo` stores one")
        return store.rows.days[-1]
    if asked in ("today", "yesterday"):
        now = date.fromisoformat(today(base_settings(config).run))
        return (now if asked == "today" else now - timedelta(days=1)).isoformat()
    return str(asked)


def write_rows(found: "pl.DataFrame", form: str, out: Path | None) -> None:
    """Print the rows as JSON or CSV, or write them to a file (a table as CSV)."""
    from observer.research.exporting import csv_of, json_of, write_frame

    if out is not None:
        if form == "json":
            raise ConfigError("--out writes csv or parquet: print JSON, and redirect it")
        write_frame(found, out, "parquet" if form == "parquet" else "csv")
        click.echo(f"{out}: {found.height:,} rows")
    elif form == "parquet":
        raise ConfigError("parquet is written to a file: name it with --out")
    elif form == "json":
        sys.stdout.write(json_of(found) + "\n")
    else:
        sys.stdout.write(csv_of(found))


def print_rows(found: "pl.DataFrame", limit: int, title: str = "", *, is_one_day: bool = False) -> None:
    """Print a table of the first rows (0: of all) and the number of the others. Of one day, moments are times."""
    shown = found.head(limit) if limit else found
    numbers = [name for name, dtype in found.schema.items() if dtype.is_numeric()]
    texts = [name for name, dtype in found.schema.items() if str(dtype) == "String"]
    rows = [[_text(value, is_one_day=is_one_day) for value in row] for row in shown.iter_rows()]
    show(Table(found.columns, rows, title, right=numbers, folded=texts))
    if shown.height < found.height:
        click.echo(f"{found.height - shown.height:,} more rows: {'--all' if title else '--limit 0'} shows all")


def print_record(found: "pl.DataFrame", title: str) -> None:
    """Print one row, a line a column."""
    values: Sequence[Any] = found.row(0)
    rows = [(name, _text(value)) for name, value in zip(found.columns, values, strict=True)]
    show(Table(("column", "value"), rows, title, folded=("value",)))


def _text(value: Any, *, is_one_day: bool = False) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer():
            return str(plain(value))
        case float():
            return f"{value:.{_FIGURES}g}" if abs(value) < 1 else f"{value:.2f}"
        case datetime():
            of_day = "" if is_one_day else "%Y-%m-%d "
            milliseconds = f".{value.microsecond // 1000:03}" if value.microsecond else ""
            return value.strftime(f"{of_day}%H:%M:%S") + milliseconds
        case _:
            return str(value)
