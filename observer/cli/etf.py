"""`observer etf`: the data of ETFs and ETNs, their freshness and completeness, and orders to update them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import click
import msgspec
from click.exceptions import Exit

from bus.commands import Refused, RunJob
from bus.events import EtfJob, EtfJobEnded, EtfListed
from observer.base.errors import ConfigError, NoDataError
from observer.base.local_time import local_datetime
from observer.base.settings import BaseSettings
from observer.base.units import NS_PER_S
from observer.calendar.day_file import read_trading_days
from observer.cli.context import (
    AskedDay,
    ConfigOption,
    JsonOption,
    age_time_ns,
    as_maps,
    asked_day,
    base_settings,
    full_settings,
    market_time_ns,
    parsed_day,
    print_error,
    print_json,
)
from observer.cli.options import Argument, Option
from observer.cli.system import ask
from observer.cli.tables import Table
from observer.cli.tables import show as show_table
from observer.reference.etf.model import Etf
from observer.reference.etf.report import JOBS, EtfReport, report
from observer.reference.etf.schedule import last_due_ns
from observer.store.etf import EtfReader

POLL_S: Final = 0.2
PHASES: Final[dict[str, EtfJob]] = {job.removeprefix("etf_"): job for job in JOBS}
SORTS: Final = ("symbol", "aum", "premium", "expense")
_BILLION: Final = 1e9

Row = TypeVar("Row", bound=msgspec.Struct)


def list_etfs(
    day: Annotated[
        str | None,
        Argument(metavar="[DATE]", parser=parsed_day, help="The list of that day, instead of the latest data."),
    ] = None,
    group: Annotated[str | None, Option(help="Show one security group: EF for ETFs, EN for ETNs.")] = None,
    issuer: Annotated[str | None, Option(help="Show those whose issuer or name contains this text.")] = None,
    sort: Annotated[str, Option(help=f"One of {', '.join(SORTS)}; the largest first, symbols from A to Z.")] = "symbol",
    limit: Annotated[int | None, Option(min=1, help="Show this many at most.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List ETFs and ETNs with fee, price, NAV, AUM and premium.

    Further columns: multiple of the index (x), tracking error, range of 52 weeks (closes and the price).
    Fee, premium (mean of 20 sessions) and
    tracking error (250 sessions) are percent, AUM is in billions of the currency.
    """
    settings = base_settings(config)
    _require_sort(sort)
    with EtfReader(settings.store.url) as reader:
        etfs = reader.etfs().values()
        if not etfs:
            raise NoDataError("no ETF is stored: the running system lists them each day, or `observer etf update` now")
        if day is not None:
            asked = asked_day(reader, day, settings.run)
            found = reader.etf_list(asked.session_date)
            if not found:
                raise NoDataError(f"no list of ETFs of {asked.session_date} is stored")
            _print_json_or(found[:limit], lambda listed: _list_table(listed, asked), as_json=as_json)
            return
    chosen = [
        etf
        for etf in etfs
        if etf.active and group in (None, etf.group) and (issuer is None or issuer in f"{etf.issuer or ''} {etf.name}")
    ]
    _print_json_or(_sorted(chosen, sort)[:limit], _etfs_table, as_json=as_json)


def show(
    symbol: Annotated[str, Argument(help="The ETF's code, such as 069500.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all fields of one ETF, their sources, and its list changes. An ETN is shown likewise."""
    with EtfReader(base_settings(config).store.url) as reader:
        etf, history = reader.etf(symbol), reader.etf_changes(symbol)
    if etf is None:
        raise NoDataError(f"no list of ETFs ever had {symbol!r}")
    if as_json:
        print_json({"etf": etf, "changes": as_maps(history)})
        return
    rows = []
    for name in Etf.__struct_fields__:
        value = getattr(etf, name)
        if value is not None and name != "sources":
            shown = _moment(value) if name.endswith("_ns") else _text(value)
            rows.append((name.removesuffix("_ns"), shown, etf.sources.get(name, "")))
    show_table(Table(("field", "value", "source"), rows, f"{etf.symbol} {etf.name}", folded=("value",)))
    click.echo("in the lists:")
    for change in history:
        fields = f": {change.changed_fields}" if change.changed_fields else ""
        click.echo(f" {change.session_date} {change.change}{fields}")


def update(
    phases: Annotated[list[str] | None, Argument(help=f"Of {', '.join(PHASES)}; default: all, in this order.")] = None,
    wait: Annotated[bool, Option(help="Wait until each is done, and show its result.")] = True,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run update phases now, by the running system. Exit status 1: one was refused or failed."""
    unknown = [phase for phase in phases or () if phase not in PHASES]
    if unknown:
        raise ConfigError(f"no phase {', '.join(unknown)}: there are {', '.join(PHASES)}")
    settings = base_settings(config)
    ended = [_run(PHASES[phase], settings, config, wait=wait) for phase in phases or PHASES]
    if wait:
        _print_json_or([each for each in ended if each is not None], _jobs_table, as_json=as_json)


def _run(job: EtfJob, settings: BaseSettings, config: Path | None, *, wait: bool) -> EtfJobEnded | None:
    """Order a job and wait for its end."""
    from rich.console import Console

    asked_ns = market_time_ns(settings.run)
    reply = ask(RunJob(job), config)
    if isinstance(reply, Refused):
        print_error(f"{job}: {reply.message} ({reply.code})")
        raise Exit(1)
    if not wait:
        click.echo(f"{job}: under way")
        return None
    with EtfReader(settings.store.url) as reader, Console(stderr=True).status(f"{job} ...") as line:
        started_s = time.monotonic()
        while True:
            ended = reader.last_etf_jobs().get(job)
            if ended is not None and ended.started_ns >= asked_ns:
                return ended
            if failure := reader.failure_since(job, asked_ns):
                print_error(failure)
                raise Exit(1)
            line.update(f"{job} ... {time.monotonic() - started_s:.0f} s")
            time.sleep(POLL_S)


def show_report(
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report freshness and completeness. Exit status 1: a job did not run when it was due.

    Where no system runs, that of the end of the stored data.
    """
    settings = full_settings(config)
    trading_days = {day.day for day in read_trading_days(Path(settings.run.runtime)) if day.trades}
    with EtfReader(settings.store.url) as reader:
        etfs, jobs = list(reader.etfs().values()), reader.last_etf_jobs()
    if not etfs and not jobs:
        raise NoDataError("nothing is stored of ETFs: the running system's jobs fetch them each day")
    now_ns = age_time_ns(settings.run, settings.store.url, (job.ended_ns for job in jobs.values()))
    found = report(etfs, jobs, last_due_ns(settings.etf, trading_days, now_ns), now_ns)
    if as_json:
        print_json(found)
    else:
        _print_report(found)
    if not found.is_fresh:
        due = ", ".join(each.job.removeprefix("etf_") for each in found.jobs if each.freshness != "fresh")
        print_error(f"not up to date: {due}; a running system updates them daily, or at `observer etf update`")
        raise Exit(1)


# --- tables --------------------------------------------------------------------------------------------------


def _print_json_or(rows: Sequence[Row], table_of: Callable[[Sequence[Row]], Table], *, as_json: bool) -> None:
    """One JSON array of objects, or the table; a table without rows is a sentence."""
    if as_json:
        print_json(as_maps(rows))
    elif rows:
        show_table(table_of(rows))
    else:
        click.echo("no ETF or ETN matches")


def _require_sort(sort: str) -> None:
    if sort not in SORTS:
        raise ConfigError(f"no order {sort!r}: there are {', '.join(SORTS)}")


def _sorted(etfs: Sequence[Etf], sort: str) -> Sequence[Etf]:
    if sort == "symbol":
        return sorted(etfs, key=lambda etf: etf.symbol)
    field = {"aum": "aum", "premium": "premium_20d_percent", "expense": "expense_ratio_percent"}[sort]
    known = [etf for etf in etfs if getattr(etf, field) is not None]
    unknown = [etf for etf in etfs if getattr(etf, field) is None]
    return [*sorted(known, key=lambda etf: -float(getattr(etf, field))), *unknown]


def _etfs_table(etfs: Sequence[Etf]) -> Table:
    rows = [
        (
            etf.symbol,
            etf.name,
            _text(etf.leverage),
            _text(etf.expense_ratio_percent),
            _text(etf.price),
            "" if etf.nav is None else f"{etf.nav:,.2f}",
            "" if etf.aum is None else f"{etf.aum / _BILLION:,.1f}",  # the broker's figures are in 0.1 billion
            _fixed(etf.premium_20d_percent),
            _fixed(etf.tracking_error_250d_percent),
            *map(_text, _range_52w(etf)),
        )
        for etf in etfs
    ]
    columns = ("symbol", "name", "x", "fee", "price", "NAV", "AUM bn", "prem", "TE", "52w low", "52w high")
    return Table(columns, rows, f"{len(etfs):,} ETFs and ETNs", right=columns[2:], folded=("name",))


def _range_52w(etf: Etf) -> tuple[float | None, float | None]:
    """The lowest and the highest of the closes of 52 weeks and of the price, which may lie beyond them."""
    lowest, highest = etf.lowest_close_52w, etf.highest_close_52w
    if lowest is None or highest is None or not etf.price:
        return lowest, highest
    return min(lowest, etf.price), max(highest, etf.price)


def _list_table(etfs: Sequence[EtfListed], day: AskedDay) -> Table:
    rows = [
        (
            *(etf.symbol, etf.change, etf.group, etf.name),
            *map(_text, (etf.leverage, etf.expense_ratio_percent, etf.listed_shares)),
        )
        for etf in etfs
    ]
    columns = ("symbol", "change", "group", "name", "x", "fee", "shares")
    return Table(columns, rows, f"{day.title}: {len(etfs):,} ETFs and ETNs", right=columns[4:], folded=("name",))


def _jobs_table(jobs: Sequence[EtfJobEnded]) -> Table:
    rows = [
        (
            *(job.job.removeprefix("etf_"), job.source, *map(str, (job.asked, job.answered, job.failed))),
            *(f"{(job.ended_ns - job.started_ns) / NS_PER_S:.1f}", job.detail),
        )
        for job in jobs
    ]
    columns = ("phase", "source", "asked", "answered", "failed", "seconds", "outcome")
    return Table(columns, rows, right=columns[2:6], folded=("outcome",))


def _print_report(found: EtfReport) -> None:
    jobs = [
        (
            *(job.job.removeprefix("etf_"), job.freshness, _fixed(job.age_hours)),
            *(*map(str, (job.asked, job.answered, job.failed)), _fixed(job.seconds)),
        )
        for job in found.jobs
    ]
    columns = ("job", "freshness", "age h", "asked", "answered", "failed", "seconds")
    show_table(
        Table(columns, jobs, f"{found.products:,} ETFs and ETNs, {found.etfs:,} of them ETFs", right=columns[2:])
    )
    click.echo()
    fields = [(field.field, str(field.products), str(field.known), f"{field.percent:.1f}") for field in found.fields]
    show_table(Table(("field", "etf", "known", "%"), fields, right=("etf", "known", "%")))


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
    return local_datetime(value).strftime("%Y-%m-%d %H:%M:%S %Z") if isinstance(value, int) else ""
