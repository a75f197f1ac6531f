"""`observer backup`: packages of all data, made, listed, verified and restored."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import click
import msgspec

from bus.commands import Refused, RunJob, UnderWay
from bus.control import ControlClient, ControlTimeoutError
from observer.archive.backup import Plan, back_up, plan_of
from observer.archive.backup_jobs import RESULT
from observer.archive.copying import copy_of_lake, problems_in_copy
from observer.archive.day_files import DayFiles
from observer.archive.making import unfinished_bytes
from observer.archive.manifest import is_package_name
from observer.archive.package import (
    MANIFEST,
    Package,
    manifest_of,
    packages,
    packages_of,
    read_package,
    verify,
)
from observer.base.clock import clock_from_environment
from observer.base.errors import BackupFailedError, ConfigError, NoDataError, StoppedError, did_you_mean
from observer.base.local_time import local_datetime, local_ns
from observer.base.settings import endpoints_of
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.cli.context import (
    ANSWER_S,
    CONFIG_HELP,
    JsonOption,
    configuration_path,
    full_settings,
)
from observer.cli.frame import Answer
from observer.cli.options import Argument, Option
from observer.cli.removed import folder_of_lake
from observer.cli.steps import Step, run_shown, shown
from observer.cli.tables import Table, show
from observer.store.engine import parse_url
from observer.store.exports import ledgers_folder
from observer.system.config import Settings
from observer.system.processes import CORE_WRITER
from observer.system.restoring import is_running

_POLL_S: Final = 0.2
_NEWEST: Final = "The package, as `observer backup list` names it, or its folder elsewhere; default: the newest."
NameArgument = Annotated[str | None, Argument(help=_NEWEST)]


class System(msgspec.Struct, frozen=True):
    """The configured system: its settings, and the plan of its packages."""

    settings: Settings
    plan: Plan

    @property
    def database(self) -> str:
        """The database's address without its password."""
        return str(parse_url(self.settings.store.url))


class ListedPackage(msgspec.Struct, frozen=True):
    """A line of `observer backup list`. Values that a damaged manifest does not give are None."""

    name: str
    path: str
    kind: str | None
    taken_ns: int
    events: int | None
    size_bytes: int | None
    schema_revision: str | None
    verified_ns: int | None
    problem: str


class VerifiedPackage(msgspec.Struct, frozen=True):
    """A line of `observer backup verify`; a whole package has no problems. The copy of the lake has the name "lake"."""

    name: str
    path: str
    problems: Sequence[str]


def system_of(config: Path | None) -> System:
    """The system of the named configuration, or of the chosen one of this folder. Raises ConfigError: it is wrong."""
    path = configuration_path(config)
    settings = full_settings(path)
    lake, store = folder_of_lake(settings), settings.store.url
    day_files = DayFiles(ledgers_folder(settings.run.data), settings.provider) if settings.lake is None else None
    return System(settings, plan_of(settings.backup, settings.run, settings.instance, store, path, lake, day_files))


SystemOption = Annotated[System, Option("--config", help=CONFIG_HELP, made=system_of)]


# --- now ---------------------------------------------------------------------------------------------------------


def now(system: SystemOption, as_json: JsonOption = False) -> Answer:
    """Make a package now: database, universe, ledgers, master files. Copy the lake's new files beside it.

    The package also has the configuration without secrets. The running system's writer makes it, or this command where
    none runs. Without [lake] it also writes the day files of finished days (docs/lake.md).

    Exit status 0: it is whole, verified and copied to the second target like the lake's files, and the command on it
    succeeded; 1: any of this failed; 130 after ctrl-C.
    """
    package = asyncio.run(_make(system, as_json=as_json))
    return Answer(_listed(package), f"{package.path}: {counts_text(package)}")


async def _make(system: System, *, as_json: bool) -> Package:
    if await is_running(system.settings.run):
        return await shown(partial(_order, system), as_json=as_json)

    def work(stop: threading.Event) -> Package:
        now_ns = clock_from_environment().now_ns()
        yesterday = local_datetime(now_ns - NS_PER_DAY).date().isoformat()  # today is not known to be over
        made = back_up(system.plan, "manual", now_ns, stop, yesterday)
        if made.failures:
            raise BackupFailedError(f"{made.package.path} is whole, but: {'; '.join(made.failures)}")
        return made.package

    async def making(show: Step, stop: threading.Event) -> Package:
        task = asyncio.create_task(asyncio.to_thread(work, stop))
        while not task.done():
            show(_step(system.plan))
            await asyncio.wait([task], timeout=_POLL_S)
        return task.result()

    return await shown(making, as_json=as_json)


async def _order(system: System, show: Step, stop: threading.Event) -> Package:
    """Have the running system make a package; wait for it."""
    plan = system.plan
    known = {package.name for package in packages_of(plan.folder, plan.contents.instance)}

    def made() -> Sequence[Package]:
        return [each for each in packages_of(plan.folder, plan.contents.instance) if each.name not in known]

    control = ControlClient(endpoints_of(system.settings.run).control)
    try:
        reply = await control.request(RunJob("backup"), ANSWER_S)
        is_under_way = isinstance(reply, UnderWay)
        while is_under_way:
            if stop.is_set():
                raise StoppedError(f"{CORE_WRITER} goes on with the package: see `observer backup list`")
            show(_step(plan, made()))
            await asyncio.sleep(_POLL_S)
            reply = await control.request(RunJob("backup", [RESULT]), ANSWER_S)
            is_under_way = isinstance(reply, Refused) and reply.code == "busy"
    except ControlTimeoutError as error:
        raise ConfigError(f"{error}: see `observer status`") from error
    finally:
        control.close()
    if isinstance(reply, Refused):
        raise BackupFailedError(f"{reply.message} ({reply.code})")
    if found := made():
        return found[-1]
    raise BackupFailedError(f"no package was made: the log of {CORE_WRITER} says why")


def _step(plan: Plan, made: Sequence[Package] = ()) -> str:
    if made:
        return f"{made[-1].name} is made; waiting for [backup] copy_to and command"
    return f"making a package: {unfinished_bytes(plan.folder):,} bytes"


# --- list, verify ------------------------------------------------------------------------------------------------


def list_packages(system: SystemOption) -> Answer:
    """List the packages, oldest first."""
    folder = system.plan.folder
    found = packages(folder)

    def shown() -> None:
        if not found:
            raise _no_package(folder)
        columns = ("package", "kind", "events", "MB", "verified")
        rows = [_row(package) for package in found]
        show(Table(columns, rows, str(folder), right=("events", "MB"), folded=("package", "verified")))

    return Answer([_listed(package) for package in found], shown)


def verify_command(
    name: NameArgument = None,
    every: Annotated[bool, Option("--all", help="Verify every package.")] = False,
    *,
    system: SystemOption,
    as_json: JsonOption = False,
) -> Answer:
    """Verify a package: each file's digest, the database's own check. Exit status 1: it is damaged.

    The files of the lake that are copied beside the packages are verified, too.

    A package that is whole is marked as verified. Outboxes keep all events that the second-newest verified package does
    not hold; a restore refuses a damaged one.
    """
    plan = system.plan
    wanted = packages(plan.folder) if every else [chosen_package(plan, name, None)]
    found = run_shown(partial(_verified, plan, wanted), as_json=as_json)

    def shown() -> None:
        for each in found:
            for problem in each.problems or ("whole",):
                click.echo(f"{each.name}: {problem}", err=bool(each.problems))

    return Answer(found, shown, status=int(any(each.problems for each in found)))


def _verified(plan: Plan, wanted: Sequence[Package], show: Step, stop: threading.Event) -> Sequence[VerifiedPackage]:
    now_ns = clock_from_environment().now_ns()
    found = []
    for package in wanted:
        show(f"verifying {package.name}")
        found.append(VerifiedPackage(package.name, str(package.path), verify(package.path, now_ns, stop)))
    for folder in dict.fromkeys(package.path.parent for package in wanted):
        copy = copy_of_lake(folder, plan.contents.instance)
        here = [package for package in wanted if package.path.parent == folder]
        needed = {package.name: package.manifest.lake_days for package in here if package.manifest}
        if copy.folder.exists() or any(needed.values()):
            show(f"verifying {copy.url}")
            found.append(VerifiedPackage("lake", copy.url, problems_in_copy(copy, needed, stop)))
    return found


# --- shared ------------------------------------------------------------------------------------------------------


def chosen_package(plan: Plan, name: str | None, at: str | None) -> Package:
    """The named package, or the newest, or the newest up to then.

    Raises:
        ConfigError: there is no package of this name, or both were given.
        NoDataError: there is none.
    """
    if name is not None and at is not None:
        raise ConfigError("give a package or --at, not both")
    if name is not None and Path(name).name != name:  # on a second target, say
        if not is_package_name(Path(name).name) and not (Path(name) / MANIFEST).is_file():
            raise ConfigError(
                f"{name!r} names no package: give a name of `observer backup list`, or a package's folder"
            )
        return read_package(Path(name))
    found = packages(plan.folder) if name is not None else packages_of(plan.folder, plan.contents.instance)
    if not found:
        raise _no_package(plan.folder)
    wanted = [each for each in found if name in (None, each.name) and (at is None or each.taken_ns <= _moment_ns(at))]
    if wanted:
        return wanted[-1]
    if name is not None:
        raise ConfigError(f"no package is named {name!r}{did_you_mean(name, [each.name for each in found])}")
    raise NoDataError(f"no package is as old as {at}: see `observer backup list`")


def _no_package(folder: Path) -> NoDataError:
    return NoDataError(f"there is no package in {folder}: `observer backup now` makes one")


def _moment_ns(text: str) -> int:
    """The moment in UTC nanoseconds of a local time, or the last one of a day."""
    moment = datetime.fromisoformat(text)
    if len(text) <= len("2026-11-18"):
        return local_ns(moment.date(), 23, 59, 59)
    if moment.tzinfo is not None:
        return int(moment.timestamp()) * NS_PER_S
    return local_ns(moment.date(), moment.hour, moment.minute, moment.second)


def _listed(package: Package) -> ListedPackage:
    manifest = package.manifest
    return ListedPackage(
        name=package.name,
        path=str(package.path),
        kind=manifest.kind if manifest else None,
        taken_ns=package.taken_ns,
        events=manifest.events if manifest else None,
        size_bytes=manifest.size_bytes if manifest else None,
        schema_revision=manifest.schema_revision if manifest else None,
        verified_ns=package.verified_ns,
        problem=package.problem,
    )


def _row(package: Package) -> Sequence[str]:
    if package.manifest is None:
        return (package.name, "", "", "", package.problem)
    manifest = package.manifest
    verified = "no: `observer backup verify`" if package.verified_ns is None else _local(package.verified_ns)
    return (package.name, manifest.kind, f"{manifest.events:,}", f"{manifest.size_bytes / 1e6:,.1f}", verified)


def _local(moment_ns: int) -> str:
    return local_datetime(moment_ns).strftime("%Y-%m-%d %H:%M")


def counts_text(package: Package) -> str:
    """The numbers of a package in words."""
    manifest = manifest_of(package)
    return f"{manifest.events:,} events, {len(manifest.files)} files, {manifest.size_bytes:,} bytes"
