"""`observer query`, `observer bars` and `observer export`: the research API, typed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import click
from rich.console import Console

from observer.base.errors import ConfigError, NoDataError
from observer.cli.context import (
    ConfigOption,
    DayArgument,
    JsonOption,
    print_json,
)
from observer.cli.options import Argument, Option
from observer.cli.plot import Candle, plotted
from observer.cli.rows import named_day, opened, print_rows, write_rows
from observer.cli.steps import steps
from observer.cli.tables import terminal_width

if TYPE_CHECKING:
    import polars as pl


_PLOT_WIDTH: Final = 80
_TERMINAL: Final = "-"  # where a picture without a file goes
_FILES_SHOWN: Final = 20
_OF_TAPE: Final = ("unreachable_seconds", "unknown_volume")  # columns of bars with a report of the tape

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

    The relations are those of `observer show`; those of days have a column `day`. `DESCRIBE trades` shows the columns
    of one.
    """
    _require_one_form(("--csv", as_csv), ("--json", as_json), ("--parquet", parquet is not None))
    with steps(Console(stderr=True)) as step, opened(config) as store:
        step("querying the stored days; ctrl-C ends it")
        found = store.sql(sql).collect()
    if parquet is not None:
        write_rows(found, "parquet", parquet)
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
    with opened(config) as store:
        named = named_day(store, day, config)
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
    to: Annotated[Path | None, Option(metavar="FOLDER", help="Where to write; default: export/DATE/FORMAT.")] = None,
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
    with steps(Console(stderr=True)) as step, opened(config) as store:
        named = named_day(store, day, config)
        step(f"writing the files of {named}")
        files = store.export(named, to or Path("export") / named / form, form)
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


def _require_one_form(*options: tuple[str, bool]) -> None:
    given = [name for name, is_given in options if is_given]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other: give one")


def _print(found: "pl.DataFrame", limit: int, *, as_csv: bool, as_json: bool) -> None:
    if as_csv or as_json:
        write_rows(found, "json" if as_json else "csv", None)
    else:
        print_rows(found, limit)
