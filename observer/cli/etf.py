"""`observer etf`: the data of ETFs and ETNs, their freshness and completeness, and orders to update them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import click
import msgspec
from click.exceptions import Exit

from bus.commands import Refused, RunJob
from bus.events import EtfJob, EtfJobEnded
from observer.base.errors import ConfigError, NoDataError
from observer.base.settings import BaseSettings
from observer.base.units import NS_PER_S
from observer.calendar.day_file import read_trading_days
from observer.cli.context import (
    ConfigOption,
    JsonOption,
    age_time_ns,
    as_maps,
    base_settings,
    full_settings,
    market_time_ns,
    print_error,
    print_json,
)
from observer.cli.options import Argument, Option
from observer.cli.system import ask
from observer.cli.tables import Table
from observer.cli.tables import show as show_table
from observer.reference.etf.report import JOBS, EtfReport, report
from observer.reference.etf.schedule import last_due_ns
from observer.store.etf import EtfReader

POLL_S: Final = 0.2
PHASES: Final[dict[str, EtfJob]] = {job.removeprefix("etf_"): job for job in JOBS}

Row = TypeVar("Row", bound=msgspec.Struct)


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


def _fixed(value: float | None) -> str:
    return "" if value is None else f"{value:z,.2f}"  # z: nothing is -0.00
