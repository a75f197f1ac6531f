"""`observer etf`: what is known of ETFs and ETNs, whether that is fresh and complete, and orders to renew it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bus.commands import Refused, RunJob
from bus.events import FundJob, FundJobEnded, FundListed
from observer.cli.control import ask
from observer.cli.here import ConfigOption, market_time_ns, settings_here
from observer.cli.quality import parsed_day
from observer.clock import kst_datetime
from observer.config import Settings
from observer.errors import ConfigError
from observer.funds.times import last_due_ns
from observer.providers.day_file import read_trading_days
from observer.reference.etf import Fund
from observer.reference.etf_report import JOBS, FundReport, report
from observer.store.funds import FundReader

LOOK_S: Final = 0.2
PHASES: Final[dict[str, FundJob]] = {job.removeprefix("fund_"): job for job in JOBS}
SORTS: Final = ("symbol", "aum", "premium", "expense")
_TRILLION_KRW: Final = 1e12

Row = TypeVar("Row", bound=msgspec.Struct)

app = typer.Typer(help="ETFs and ETNs: what is known of them.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_funds(
    day: Annotated[
        str | None, typer.Option("--date", help="The list of that day instead of what is known now.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="EF for ETFs alone, EN for ETNs.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Whose name or fund's name has this in it.")] = None,
    sort: Annotated[
        str, typer.Option(help=f"One of {', '.join(SORTS)}; the largest first but for symbols.")
    ] = "symbol",
    limit: Annotated[int | None, typer.Option(min=1, help="So many at most.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the funds: multiple of the index (x), fee, price, NAV, AUM, premium, tracking error, range of 52 weeks.

    Fee, premium (mean of 20 sessions) and tracking error (250 sessions) are percent,
    AUM is in trillion won.
    """
    with FundReader(settings_here(config).store.url) as reader:
        if day is not None:
            _print_json_or(reader.fund_list(parsed_day(day))[:limit], _list_table, as_json=as_json)
            return
        funds = [fund for fund in reader.funds().values() if fund.active]
    chosen = [
        fund
        for fund in funds
        if group in (None, fund.group) and (issuer is None or issuer in f"{fund.issuer or ''} {fund.name}")
    ]
    _print_json_or(_sorted(chosen, sort)[:limit], _funds_table, as_json=as_json)


@app.command()
def show(
    symbol: Annotated[str, typer.Argument(help="The fund's code: 069500, say.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of one fund, where each field is from, and what changed in the lists."""
    with FundReader(settings_here(config).store.url) as reader:
        fund, history = reader.fund(symbol), reader.fund_changes(symbol)
    if fund is None:
        raise ConfigError(f"no list of funds ever had {symbol!r}")
    if as_json:
        changes = [msgspec.structs.asdict(change) for change in history]
        typer.echo(msgspec.json.encode({"fund": fund, "changes": changes}).decode())
        return
    table = _table(f"{fund.symbol} {fund.name}", ("field", "value", "from"))
    sources = dict(pair.split("=", 1) for pair in fund.sources.split(",") if pair)
    for name in Fund.__struct_fields__:
        value = getattr(fund, name)
        if value is not None and name != "sources":
            shown = _moment(value) if name.endswith("_ns") else _text(value)
            table.add_row(name.removesuffix("_ns"), shown, sources.get(name, ""))
    Console().print(table)
    typer.echo("in the lists:")
    for change in history:
        fields = f": {change.changed_fields}" if change.changed_fields else ""
        typer.echo(f" {change.session_date} {change.change}{fields}")


@app.command()
def update(
    phases: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(PHASES)}; without any all, in this order.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until each is done, and show what came of it.")] = True,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run phases now, in the running system, one after the other. Status 1 when one is refused or fails."""
    unknown = [phase for phase in phases or () if phase not in PHASES]
    if unknown:
        raise ConfigError(f"no phase {', '.join(unknown)}: there are {', '.join(PHASES)}")
    settings = settings_here(config)
    ended = [_run(PHASES[phase], settings, config, wait=wait) for phase in phases or PHASES]
    if wait:
        _print_json_or([each for each in ended if each is not None], _jobs_table, as_json=as_json)


def _run(job: FundJob, settings: Settings, config: Path | None, *, wait: bool) -> FundJobEnded | None:
    """Order a job and wait for the word that it has ended."""
    asked_ns = market_time_ns(settings)
    reply = ask(RunJob(job), config)
    if isinstance(reply, Refused):
        typer.echo(f"observer: {job}: {reply.message} ({reply.code})", err=True)
        raise typer.Exit(1)
    if not wait:
        typer.echo(f"{job}: under way")
        return None
    with FundReader(settings.store.url) as reader, Console(stderr=True).status(f"{job} ...") as line:
        started_s = time.monotonic()
        while True:
            ended = reader.last_fund_jobs().get(job)
            if ended is not None and ended.started_ns >= asked_ns:
                return ended
            if failure := reader.alert_since("funds", f"job {job}, run by order, failed", asked_ns):
                typer.echo(f"observer: {failure}", err=True)
                raise typer.Exit(1)
            line.update(f"{job} ... {time.monotonic() - started_s:.0f} s")
            time.sleep(LOOK_S)


@app.command("report")
def show_report(
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how fresh and how complete it is. Status 1 when a job did not run when it was due."""
    settings = settings_here(config)
    now_ns = market_time_ns(settings)
    trading_days = {day.day for day in read_trading_days(Path(settings.run.runtime)) if day.trades}
    with FundReader(settings.store.url) as reader:
        due_ns = last_due_ns(settings.funds, trading_days, now_ns)
        found = report(list(reader.funds().values()), reader.last_fund_jobs(), due_ns, now_ns)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _print_report(found)
    if not found.is_fresh:
        raise typer.Exit(1)


# --- tables --------------------------------------------------------------------------------------------------


def _table(title: str, left: Sequence[str], right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _print_json_or(rows: Sequence[Row], table_of: Callable[[Sequence[Row]], Table], *, as_json: bool) -> None:
    """One JSON array of objects, or the table."""
    if as_json:
        typer.echo(msgspec.json.encode([msgspec.structs.asdict(row) for row in rows]).decode())
    else:
        Console().print(table_of(rows))


def _sorted(funds: Sequence[Fund], sort: str) -> Sequence[Fund]:
    keys = {"aum": "aum_krw", "premium": "premium_20d_percent", "expense": "expense_ratio_percent"}
    if sort == "symbol":
        return sorted(funds, key=lambda fund: fund.symbol)
    if sort not in keys:
        raise ConfigError(f"no order {sort!r}: there are {', '.join(SORTS)}")
    known = [fund for fund in funds if getattr(fund, keys[sort]) is not None]
    unknown = [fund for fund in funds if getattr(fund, keys[sort]) is None]
    return [*sorted(known, key=lambda fund: -float(getattr(fund, keys[sort]))), *unknown]


def _funds_table(funds: Sequence[Fund]) -> Table:
    columns = ("x", "fee", "price", "NAV", "AUM T", "prem", "TE", "52w low", "high")
    table = _table(f"{len(funds)} funds", ("symbol", "name"), columns)
    for fund in funds:
        table.add_row(
            fund.symbol,
            Text(fund.name, no_wrap=True, overflow="ellipsis"),  # where it is narrow, figures come before names
            _text(fund.leverage),
            _text(fund.expense_ratio_percent),
            _text(fund.price),
            "" if fund.nav is None else f"{fund.nav:,.0f}",
            _fixed(None if fund.aum_krw is None else fund.aum_krw / _TRILLION_KRW),
            _fixed(fund.premium_20d_percent),
            _fixed(fund.tracking_error_250d_percent),
            _text(fund.lowest_close_52w),
            _text(fund.highest_close_52w),
        )
    return table


def _list_table(rows: Sequence[FundListed]) -> Table:
    table = _table(f"{len(rows)} funds", ("symbol", "change", "group", "name"), ("x", "fee", "shares"))
    for row in rows:
        figures = (row.leverage, row.expense_ratio_percent, row.listed_shares)
        table.add_row(row.symbol, row.change, row.group, row.name, *map(_text, figures))
    return table


def _jobs_table(rows: Sequence[FundJobEnded]) -> Table:
    table = _table("", ("phase", "from"), ("asked", "answered", "failed", "seconds", "outcome"))
    for row in rows:
        seconds = (row.ended_ns - row.started_ns) / 1e9
        counts = map(str, (row.asked, row.answered, row.failed))
        table.add_row(row.job.removeprefix("fund_"), row.source, *counts, f"{seconds:.1f}", row.detail)
    return table


def _print_report(found: FundReport) -> None:
    jobs = _table(f"{found.funds} funds, {found.etfs} of them ETFs", ("job", "verdict"))
    for name in ("age h", "asked", "answered", "failed", "seconds"):
        jobs.add_column(name, justify="right")
    for job in found.jobs:
        figures = (_fixed(job.age_hours), *map(str, (job.asked, job.answered, job.failed)), _fixed(job.seconds))
        jobs.add_row(job.job.removeprefix("fund_"), job.verdict, *figures)
    fields = _table("", ("field",), ("funds", "known", "%"))
    for field in found.fields:
        fields.add_row(field.field, str(field.funds), str(field.known), f"{field.percent:.1f}")
    console = Console()
    console.print(jobs)
    console.print(fields)


def _text(value: object) -> str:
    """A figure to four decimals, without zeros at its end."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return str(value)


def _fixed(value: float | None) -> str:
    return "" if value is None else f"{value:z,.2f}"  # z: nothing is -0.00


def _moment(value: object) -> str:
    return kst_datetime(value).strftime("%Y-%m-%d %H:%M:%S KST") if isinstance(value, int) else ""
