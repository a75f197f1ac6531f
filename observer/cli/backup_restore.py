"""`observer backup restore`: the database from a package, or the package's files in another folder."""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import click
import msgspec
from click.exceptions import Exit

from observer.archive.lake_copy import copy_of_lake
from observer.archive.making import unpack
from observer.archive.package import Package, manifest_of
from observer.archive.restore import LakePlan, lacking, put_back
from observer.base.clock import clock_from_environment
from observer.base.errors import ConfigError
from observer.cli.backup import NameArgument, System, chosen_package, counts_text, shown, system_of
from observer.cli.context import ConfigOption, JsonOption, print_error, print_json
from observer.cli.options import Option
from observer.system.restoring import (
    RestoredLake,
    RestorePlan,
    RestoreReport,
    planned,
    require_sound,
    restore,
)


def parsed_moment(text: str) -> str:
    """The text, if it is a date or a date with a time.

    Raises:
        ConfigError: it is neither.
    """
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a time such as 2026-11-18T21:00 or 2026-11-18") from error
    return text


def restore_command(
    name: NameArgument = None,
    to: Annotated[Path | None, Option(help="Only unpack into this new folder; the system is not touched.")] = None,
    at: Annotated[
        str | None,
        Option(
            metavar="TIME", parser=parsed_moment, help="Take the newest package up to it: 2026-11-18T21:00, or a day."
        ),
    ] = None,
    yes: Annotated[bool, Option("--yes", help="Do it; without it only say what would be done.")] = False,
    only_lake: Annotated[bool, Option("--lake", help="Only put the lake's files back; the database stays.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore the database from a package.

    The package is verified first. The outboxes then deliver again what it lacks. The replaced database is kept beside
    the restored one (observer.db.replaced-TIME; on PostgreSQL as a schema). Universe files, ledgers and master files
    that are missing are put back, and files of the lake that are missing or damaged; the configuration is not. A
    running system goes on: only its writer is stopped meanwhile.

    Exit status 0: restored, and nothing is lost; 1: without --yes, events are lost or not delivered yet, or the lake
    lacks what its copy lacks; 2: it cannot be restored; 130 after ctrl-C.
    """
    system = system_of(config)
    package = chosen_package(system.plan, name, at)
    if to is not None:
        if to.exists() and any(to.iterdir()):
            raise ConfigError(f"{to} is not empty: give a new folder")
        asyncio.run(_unpack(package, to, as_json=as_json))
        click.echo(f"{package.name} is in {to}: {counts_text(package)}", err=as_json)
        return
    plan = asyncio.run(_lacking(system, package, as_json=as_json))
    if only_lake:
        _restore_lake(system, package, plan, yes=yes, as_json=as_json)
        return
    chosen = asyncio.run(_planned(system, package, plan, as_json=as_json))
    if not yes:
        _show_plan(chosen, as_json=as_json)
        raise Exit(1)
    plan = asyncio.run(_put_back(system, package, plan, as_json=as_json))
    chosen = msgspec.structs.replace(chosen, lake=_restored(plan))
    logging.getLogger("bus.sender").setLevel(logging.ERROR)  # a warning for each stream: the report has their sum
    report = asyncio.run(_restore(system, package, chosen, as_json=as_json))
    if as_json:
        print_json(report)
    else:
        _show_report(report)
    if not report.is_whole:
        raise Exit(1)


def _restore_lake(system: System, package: Package, plan: LakePlan, *, yes: bool, as_json: bool) -> None:
    """Put the lake's files back, or say which.

    Raises:
        Exit: 1: without `yes`, or something cannot be put back.
    """
    if yes:
        plan = asyncio.run(_put_back(system, package, plan, as_json=as_json))
    if as_json:
        print_json(_restored(plan))
    else:
        _show_lake(_restored(plan), "put back" if yes else "puts back")
        if not yes:
            click.echo(f"Nothing was changed. To do it: observer backup restore {package.name} --lake --yes")
    if not yes or plan.problems:
        raise Exit(1)


async def _lacking(system: System, package: Package, *, as_json: bool) -> LakePlan:
    async def work(show: Callable[[str], None], stop: threading.Event) -> LakePlan:
        lake, copy = system.plan.contents.lake, _copy_beside(system, package)
        needed = manifest_of(package).lake_days
        if lake is None:
            return LakePlan((), ())
        show(f"comparing {lake} with its copy")
        return await asyncio.to_thread(lacking, lake, copy, needed, stop)

    return await shown(work, as_json=as_json)


async def _put_back(system: System, package: Package, plan: LakePlan, *, as_json: bool) -> LakePlan:
    """Put the plan's files back; return the plan with what is wrong in the lake then."""

    async def work(show: Callable[[str], None], stop: threading.Event) -> LakePlan:
        lake = system.plan.contents.lake
        if lake is None or plan.is_empty:
            return plan
        show(f"putting {len(plan.files)} files of the lake back")
        wrong = await asyncio.to_thread(put_back, lake, _copy_beside(system, package), plan, stop)
        problems = list(dict.fromkeys([*plan.problems, *wrong]))
        return msgspec.structs.replace(plan, problems=problems)

    return await shown(work, as_json=as_json)


def _copy_beside(system: System, package: Package) -> Path:
    return copy_of_lake(package.path.absolute().parent, system.plan.contents.instance)


def _restored(plan: LakePlan) -> RestoredLake:
    return RestoredLake(plan.files, plan.problems)


async def _planned(system: System, package: Package, lake: LakePlan, *, as_json: bool) -> RestorePlan:
    async def work(show: Callable[[str], None], stop: threading.Event) -> RestorePlan:
        show(f"verifying {package.name}")
        await asyncio.to_thread(require_sound, package, stop)
        return await planned(system.settings, system.plan, package, system.database, _restored(lake))

    return await shown(work, as_json=as_json)


async def _restore(system: System, package: Package, chosen: RestorePlan, *, as_json: bool) -> RestoreReport:
    async def work(show: Callable[[str], None], stop: threading.Event) -> RestoreReport:
        clock = clock_from_environment()
        return await restore(system.settings, system.plan, package, chosen, clock=clock, show=show, stop=stop)

    return await shown(work, as_json=as_json)


async def _unpack(package: Package, folder: Path, *, as_json: bool) -> None:
    async def work(show: Callable[[str], None], stop: threading.Event) -> None:
        show(f"verifying {package.name}")
        await asyncio.to_thread(require_sound, package, stop)
        show(f"unpacking into {folder}")
        await asyncio.to_thread(unpack, package, folder, stop)

    await shown(work, as_json=as_json)


def _show_plan(chosen: RestorePlan, *, as_json: bool) -> None:
    if as_json:
        print_json(chosen)
        return
    present = "cannot be read" if chosen.present_events is None else f"has {chosen.present_events:,} events"
    click.echo(f"package {chosen.package}: {chosen.events:,} events, whole")
    click.echo(f"replaces {chosen.database}, which {present} and is kept beside it")
    click.echo("the system runs: its writer is stopped meanwhile" if chosen.is_running else "no system runs")
    for path in chosen.missing_files:
        click.echo(f"puts back {path}")
    _show_lake(chosen.lake, "puts back")
    click.echo(f"Nothing was changed. To do it: observer backup restore {chosen.package} --yes")


def _show_lake(lake: RestoredLake, verb: str) -> None:
    if lake.files:
        days = {Path(name).parent.name.partition("=")[2] for name in lake.files}
        click.echo(f"{verb} {len(lake.files):,} files of the lake, of {len(days):,} days")
    for problem in lake.problems:
        print_error(problem)


def _show_report(report: RestoreReport) -> None:
    click.echo(f"{report.database} is that of {report.package}: {report.events:,} events")
    click.echo(f"{report.delivered:,} events were delivered again from outboxes and archives")
    if report.kept_aside:
        click.echo(f"the replaced database: {report.kept_aside}")
    for path in report.files:
        click.echo(f"put back: {path}")
    _show_lake(report.lake, "put back")
    if report.undelivered:
        print_error(f"{report.undelivered:,} events are in outboxes: `observer run` delivers them")
    for loss in report.losses:
        print_error(
            f"{loss.events:,} events are lost: stream {loss.stream}, {loss.first_sequence:,} to "
            f"{loss.last_sequence:,}: {loss.reason}"
        )
