"""`observer query`, `observer bars` and `observer export`: the research API, typed."""

import sys
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import click
from rich.console import Console

from observer.base.errors import ConfigError, NoDataError
from observer.base.units import plain
from observer.cli.context import (
    ConfigOption,
    DayArgument,
    JsonOption,
    base_settings,
    configuration_path,
    print_json,
    today,
)
from observer.cli.options import Argument, Option
from observer.cli.plot import Candle, plotted
from observer.cli.steps import steps
from observer.cli.tables import Table, show, terminal_width

if TYPE_CHECKING:
    import polars as pl

    from observer.research.store import Store

_PLOT_WIDTH: Final = 80
_TERMINAL: Final = "-"  # where a picture without a file goes
_FILES_SHOWN: Final = 20
_OF_TAPE: Final = ("unreachable_seconds", "unknown_volume")  # columns of bars with a report of the tape
_FIGURES: Final = 6  # significant digits of a figure that is not whole

CsvOption = Annotated[bool, Option("--csv", help="Print CSV.")]
LimitOption = Annotated[int, Option(min=0, help="Rows of the table; 0 for all.")]


def query(
    sql: Annotated[str, Argument(help="One SELECT, in DuckDB's SQL.")],
    limit: LimitOption = 50,
    as_csv: CsvOption = False,
    as_json: JsonOption = False,
    parquet: Annotated[Path | None, Option(metavar="FILE", help="Write the rows to a Parquet file.")] = None,
    config: ConfigOption = None,
) -> None:
    """Query the stored days in SQL; read only.

    The relations are trades, minute_bars, snapshots, daily, universe, gaps, quality, missing, slots, triggers and
    etf_premium, each of all days and with a column `day`. `DESCRIBE trades` shows the columns of one.
    """
    _require_one_form(("--csv", as_csv), ("--json", as_json), ("--parquet", parquet is not None))
    with steps(Console(stderr=True)) as step, _opened(config) as store:
        step("querying the stored days; ctrl-C ends it")
        found = store.sql(sql).collect()
    if parquet is not None:
        from observer.research.exporting import write_frame

        write_frame(found, parquet, "parquet")
        click.echo(f"{parquet}: {found.height:,} rows")
        return
    _print(found, limit, as_csv=as_csv, as_json=as_json)


def bars(
    symbol: Annotated[str, Argument(help="The symbol.")],
    day: DayArgument = None,
    interval: Annotated[str, Option(help="The length of a bar: 30s, 1m, 5m, 1h.")] = "1m",
    official: Annotated[
        bool, Option("--official", help="Bars of the minute bars that `observer backfill` fetched, not of trades.")
    ] = False,
    plot: Annotated[
        str | None, Option(metavar="[FILE]", bare=_TERMINAL, help="Draw the bars here, or to a file .png or .html.")
    ] = None,
    limit: LimitOption = 0,
    as_csv: CsvOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a symbol's bars of a day, and whether each is complete.

    The bars are made of the stored trades, of recovered ones, and of the exchange's minute bars where recovery has no
    trades. A bar is complete if the exchange's volume proves that no trade of it is missing.
    """
    _require_one_form(("--csv", as_csv), ("--json", as_json), ("--plot", plot is not None))
    picture = None if plot in (None, _TERMINAL) else Path(str(plot))
    if picture is not None:
        _require_picture(picture)
    with _opened(config) as store:
        named = _day(store, day, config)
        source: Literal["official", "trades"] = "official" if official else "trades"
        found = store.bars(symbol, named, interval=interval, source=source).collect()
    if plot is None:
        is_said = as_csv or as_json or not found["unreachable_seconds"].is_null().all()
        _print(found if is_said else found.drop(_OF_TAPE), limit, as_csv=as_csv, as_json=as_json)
        return
    if found.is_empty():
        raise NoDataError(f"{symbol} did not trade in its slots on {named}: there is nothing to draw")
    title = f"{symbol} on {named}, bars of {interval}"
    if picture is not None:
        from observer.research.pictures import write_picture

        write_picture(found, title, picture)
        click.echo(f"{picture}: {found.height:,} bars")
        return
    candles = [
        Candle(
            row["time"].strftime("%H:%M"),
            row["open"],
            row["high"],
            row["low"],
            row["close"],
            row["volume"],
            row["complete"],
        )
        for row in found.iter_rows(named=True)
    ]
    click.echo(title)
    for line in plotted(candles, terminal_width() or _PLOT_WIDTH):
        click.echo(line)


def export(
    day: DayArgument = None,
    to: Annotated[Path | None, Option(metavar="FOLDER", help="Where to write; default: export/DATE.")] = None,
    form: Annotated[
        Literal["parquet", "csv", "nautilus", "lean"], Option("--format", help="Format of the files.")
    ] = "parquet",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write a day's trades, bars, quality and decisions as files.

    As a catalogue of Nautilus Trader (nautilus) and as data of LEAN (lean): the trades and bars of the symbols with a
    slot.
    """
    with steps(Console(stderr=True)) as step, _opened(config) as store:
        named = _day(store, day, config)
        step(f"writing the files of {named}")
        files = store.export(named, to or Path("export") / named, form)
    if as_json:
        print_json({"day": named, "files": [str(path) for path in files]})
        return
    click.echo(f"{named}: {len(files)} files")
    for path in files[:_FILES_SHOWN]:
        click.echo(f"{path}")
    if len(files) > _FILES_SHOWN:
        click.echo(f"and {len(files) - _FILES_SHOWN:,} more: --json lists all")


def _require_picture(path: Path) -> None:
    from observer.research.pictures import require_form

    require_form(path)


def _opened(config: Path | None) -> "Store":
    from observer.research.opening import open_store

    return open_store(configuration_path(config))


def _day(store: "Store", asked: str | None, config: Path | None) -> str:
    """The day as it was typed, or the last stored one."""
    from datetime import timedelta

    days: Sequence[date] = store.days().collect()["day"].to_list()
    if asked in (None, "last"):
        if not days:
            raise NoDataError("no session is stored yet: `observer run` or `observer demo` stores one")
        return days[-1].isoformat()
    if asked in ("today", "yesterday"):
        now = date.fromisoformat(today(base_settings(config).run))
        return (now if asked == "today" else now - timedelta(days=1)).isoformat()
    return str(asked)


def _require_one_form(*options: tuple[str, bool]) -> None:
    given = [name for name, is_given in options if is_given]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other: give one")


def _print(found: "pl.DataFrame", limit: int, *, as_csv: bool, as_json: bool) -> None:
    if as_csv:
        from observer.research.exporting import csv_of

        sys.stdout.write(csv_of(found))
    elif as_json:
        print_json(found.to_dicts())
    else:
        shown = found.head(limit) if limit else found
        numbers = [name for name, dtype in found.schema.items() if dtype.is_numeric()]
        show(Table(found.columns, [[_text(value) for value in row] for row in shown.iter_rows()], right=numbers))
        if shown.height < found.height:
            click.echo(f"{found.height - shown.height:,} more rows: --limit 0 shows all")


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return (
                str(plain(value))
                if value.is_integer()
                else f"{value:.{_FIGURES}g}"
                if abs(value) < 1
                else f"{value:.2f}"
            )
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S") + (
                f".{value.microsecond // 1000:03}" if value.microsecond else ""
            )
        case _:
            return str(value)
