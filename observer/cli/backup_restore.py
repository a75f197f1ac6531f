"""`observer backup restore`: the database from a package, or the package's files in another folder."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import click
import msgspec
from click.exceptions import Exit

from observer.archive.copying import copy_of_lake
from observer.archive.making import unpack
from observer.archive.package import Package, manifest_of, packages_of
from observer.archive.restore import LakePlan, lacking, put_back
from observer.base.clock import clock_from_environment
from observer.base.errors import ConfigError
from observer.cli.backup import (
    NameArgument,
    System,
    chosen_package,
    counts_text,
    system_of,
)
from observer.cli.context import ConfigOption, JsonOption, print_error, print_json
from observer.cli.options import Option
from observer.cli.steps import Step, run_shown, shown
from observer.system.restoring import (
    RestoredLake,
    RestorePlan,
    RestoreReport,
    newest_sound,
    planned,
    require_damaged,
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

    The package is verified first; without NAME or --at the newest whole one is taken. The outboxes then deliver again
    what it lacks. Where no package is whole, and the database is damaged or gone, the outboxes and their archives
    deliver all that they hold into an empty one. The replaced database is kept beside the restored one
    (observer.db.replaced-TIME; on PostgreSQL as a schema). Universe files, ledgers and master files that are missing
    are put back, and files of the lake that are missing or damaged; the configuration is not. A running system goes
    on: only its writer is stopped meanwhile.

    Exit status 0: restored, and nothing is lost; 1: without --yes, events are lost or not delivered yet, or the lake
    lacks what its copy lacks; 2: it cannot be restored; 130 after ctrl-C.
    """
    system = system_of(config)
    if to is not None:
        _unpack(chosen_package(system.plan, name, at), to, as_json=as_json)
        return
    package: Package | None
    if name is not None or at is not None:
        package = chosen_package(system.plan, name, at)
    elif only_lake:
        package = next(reversed(packages_of(system.plan.folder, system.plan.contents.instance)), None)
    else:
        package = run_shown(partial(_newest, system), as_json=as_json)
    found = run_shown(partial(_lacking, system, package), as_json=as_json)
    if only_lake:
        _restore_lake(system, package, found, yes=yes, as_json=as_json)
        return
    is_verified = name is None and at is None
    chosen = asyncio.run(shown(partial(_planned, system, package, found, is_verified), as_json=as_json))
    if not yes:
        _show_plan(chosen, as_json=as_json)
        raise Exit(1)
    chosen = msgspec.structs.replace(chosen, lake=_put_back(system, found, as_json=as_json))
    logging.getLogger("bus.sender").setLevel(logging.ERROR)  # a warning for each stream: the report has their sum
    report = asyncio.run(shown(partial(_restored, system, package, chosen), as_json=as_json))
    if as_json:
        print_json(report)
    else:
        _show_report(report)
    if not report.is_whole:
        raise Exit(1)


def _unpack(package: Package, folder: Path, *, as_json: bool) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: give a new folder")

    def work(show: Step, stop: threading.Event) -> None:
        show(f"verifying {package.name}")
        require_sound(package, stop)
        show(f"unpacking into {folder}")
        unpack(package, folder, stop)

    run_shown(work, as_json=as_json)
    click.echo(f"{package.name} is in {folder}: {counts_text(package)}", err=as_json)


def _newest(system: System, show: Step, stop: threading.Event) -> Package | None:
    """The newest whole package. Raises NoDataError: none is whole, and the database needs none."""
    show("verifying packages, the newest first")
    folder = system.plan.folder
    found = newest_sound(packages_of(folder, system.plan.contents.instance), stop, print_error)
    if found is None:
        show("checking the database")
        require_damaged(system.settings.store.url, folder, stop)
    return found


async def _planned(
    system: System, package: Package | None, found: LakePlan, is_verified: bool, show: Step, stop: threading.Event
) -> RestorePlan:
    if package is not None and not is_verified:
        show(f"verifying {package.name}")
        await asyncio.to_thread(require_sound, package, stop)
    return await planned(system.settings, system.plan, package, system.database, _of_lake(found))


async def _restored(
    system: System, package: Package | None, chosen: RestorePlan, show: Step, stop: threading.Event
) -> RestoreReport:
    clock = clock_from_environment()
    return await restore(system.settings, system.plan, package, chosen, clock=clock, show=show, stop=stop)


# --- the lake ---------------------------------------------------------------------------------------------------------


def _lacking(system: System, package: Package | None, show: Step, stop: threading.Event) -> LakePlan:
    if (lake := system.plan.contents.lake) is None:
        return LakePlan()
    show(f"comparing {lake} with its copy")
    folder = package.path.absolute().parent if package else system.plan.folder
    copy = copy_of_lake(folder, system.plan.contents.instance)
    return lacking(lake, copy, manifest_of(package).lake_days if package else (), stop)


def _restore_lake(system: System, package: Package | None, found: LakePlan, *, yes: bool, as_json: bool) -> None:
    """Put the lake's files back, or say which.

    Raises:
        Exit: 1: without `yes`, or something cannot be put back.
    """
    lake = _put_back(system, found, as_json=as_json) if yes else _of_lake(found)
    if as_json:
        print_json(lake)
    else:
        _show_lake(lake, "put back" if yes else "puts back")
        if not yes:
            click.echo(_to_do_it(package.name if package else "", "--lake"))
    if not yes or lake.problems:
        raise Exit(1)


def _put_back(system: System, found: LakePlan, *, as_json: bool) -> RestoredLake:
    """Put the plan's files back; return them with what is wrong in the lake then."""

    def work(show: Step, stop: threading.Event) -> Sequence[str]:
        lake = system.plan.contents.lake
        if lake is None or found.is_empty:
            return ()
        show(f"putting {len(found.files)} files of the lake back")
        return put_back(lake, found, stop)

    wrong = run_shown(work, as_json=as_json)
    return RestoredLake(list(found.files), list(dict.fromkeys([*found.problems, *wrong])))


def _of_lake(found: LakePlan) -> RestoredLake:
    return RestoredLake(list(found.files), found.problems)


def _show_lake(lake: RestoredLake, verb: str) -> None:
    if lake.files:
        days = {Path(name).parent.name.partition("=")[2] for name in lake.files}
        click.echo(f"{verb} {len(lake.files):,} files of the lake, of {len(days):,} days")
    for problem in lake.problems:
        print_error(problem)


# --- texts ------------------------------------------------------------------------------------------------------------


def _show_plan(chosen: RestorePlan, *, as_json: bool) -> None:
    if as_json:
        print_json(chosen)
        return
    present = "cannot be read" if chosen.present_events is None else f"has {chosen.present_events:,} events"
    if chosen.package:
        click.echo(f"package {chosen.package}: {chosen.events:,} events, whole")
    else:
        click.echo(f"no whole package: the outboxes and their archives deliver up to {chosen.events:,} events")
    click.echo(f"replaces {chosen.database}, which {present} and is kept beside it")
    click.echo("the system runs: its writer is stopped meanwhile" if chosen.is_running else "no system runs")
    for path in chosen.missing_files:
        click.echo(f"puts back {path}")
    _show_lake(chosen.lake, "puts back")
    click.echo(_to_do_it(chosen.package))


def _to_do_it(*words: str) -> str:
    return f"Nothing was changed. To do it: {' '.join(filter(None, ('observer backup restore', *words, '--yes')))}"


def _show_report(report: RestoreReport) -> None:
    what = f"that of {report.package}" if report.package else "new"
    click.echo(f"{report.database} is {what}: {report.events:,} events")
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
