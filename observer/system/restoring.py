"""Restores a system's database from a package; then the outboxes deliver again what the package lacks. Without a
whole package they deliver all that they and their archives hold into an empty database.

Where the system runs its writer is stopped meanwhile, and its processes deliver by themselves. Where none runs a writer
of this command stores what the outboxes hold.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.commands import Refused, Start, Status, StatusReply, Stop
from bus.control import ControlClient, ControlTimeoutError
from bus.endpoints import Address
from bus.outbox import Outbox, OutboxInUseError
from bus.producer import delivering
from bus.segments import published_by_stream
from observer.archive.backup import Plan
from observer.archive.bundles import HeldFile, held_files, put_back
from observer.archive.manifest import Manifest, stamp_of
from observer.archive.package import Package, manifest_of, problems_in
from observer.base.clock import Clock
from observer.base.errors import (
    ConfigError,
    DatabaseDamagedError,
    DataFileError,
    NoDataError,
    StoreError,
    StoreFailedError,
)
from observer.base.remedies import REMEDIES
from observer.base.settings import RunSettings, endpoints_of, is_reachable
from observer.store.backup import copy_name, selected_schema
from observer.store.integrity import require_whole
from observer.store.owner import claim
from observer.store.restore import Loss, StoredState, replace_database, stored_state
from observer.store.schema import SCHEMA_REVISION
from observer.store.systems import this_system
from observer.system.config import Settings
from observer.system.processes import CORE_WRITER
from observer.system.writer_process import writer_of

Show = Callable[[str], None]
"""Shows the step that is under way."""

_READ_FAILED: Final = "disk I/O error"  # as SQLite says it
_ANSWER_S: Final = 3.0  # machine seconds, as all below
_POLL_S: Final = 0.25
_STOP_S: Final = 60.0
_STALLED_S: Final = 60.0  # without a delivered event
_DRAIN_S: Final = 0.2
_RUNNING: Final = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})


class RestoredLake(msgspec.Struct, frozen=True):
    """The lake's files that are put back, by their paths in it, and what is wrong in it and cannot be put back."""

    files: Sequence[str] = ()
    problems: Sequence[str] = ()


class RestorePlan(msgspec.Struct, frozen=True):
    """What a restore will do. Without a `package` the outboxes deliver all that they and their archives hold into an
    empty database: up to `events`. `present_events` are those of the database that is replaced; None: it cannot be
    read. `lake` is what is done with the lake's files.
    """

    package: str
    path: str
    database: str
    events: int
    present_events: int | None
    is_running: bool
    missing_files: Sequence[str]
    lake: RestoredLake


class RestoreReport(msgspec.Struct, frozen=True):
    """The result: `kept_aside` is where the replaced database is now, None if there was none.

    `events` are those of the package, `delivered` those that the outboxes delivered again, `undelivered` those that
    they hold and that are not stored yet. `lake` is as in the plan.
    """

    package: str
    database: str
    kept_aside: str | None
    events: int
    delivered: int
    undelivered: int
    losses: Sequence[Loss]
    files: Sequence[str]
    lake: RestoredLake

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost, nothing left to deliver, and nothing wrong in the lake."""
        return not self.losses and not self.undelivered and not self.lake.problems


# --- before ------------------------------------------------------------------------------------------------------


def require_sound(package: Package, stop: threading.Event) -> None:
    """Read the whole package again. Raises DataFileError when anything in it is damaged."""
    if problems := problems_in(package.path, stop):
        what = f"{package.path} is damaged, nothing was restored: {'; '.join(problems)}"
        raise DataFileError(f"{what}: {REMEDIES['package damaged']}")


def newest_sound(found: Sequence[Package], stop: threading.Event, passed: Show) -> Package | None:
    """The newest of these packages that is whole, all of it read again; None where none is. `passed` hears of each
    newer one what is damaged.
    """
    for package in sorted(found, key=lambda each: (each.taken_ns, each.name), reverse=True):
        if not (problems := problems_in(package.path, stop)):
            return package
        passed(f"{package.name} is passed over, as it is damaged: {'; '.join(problems)}")
    return None


def require_damaged(url: str, folder: Path, stop: threading.Event) -> None:
    """Return if the database is gone or damaged, so that it has to be built again.

    Raises:
        NoDataError: it is whole, and needs a package instead.
        StoreFailedError: it does not answer.
    """
    try:
        stored_state(url)
        require_whole(url, stop, reads_rows=True)
    except DatabaseDamagedError:
        return
    except StoreFailedError as error:  # such as one that another program has locked
        if _READ_FAILED not in str(error):
            raise
        return
    except StoreError:  # it is gone
        return
    raise NoDataError(f"no whole package is in {folder}, and the database is: {REMEDIES['package missing']}")


async def planned(
    settings: Settings, plan: Plan, package: Package | None, address: str, lake: RestoredLake
) -> RestorePlan:
    """What a restore of this package, or without one, would do to the system; `address` names the database without a
    password.

    Raises:
        ConfigError: the package is of another instance, another kind of database, or another schema.
        DataFileError: it has no readable manifest.
    """
    url = settings.store.url
    if package is None:
        outboxes = endpoints_of(settings.run).runtime_directory / "outbox"
        events = sum((await asyncio.to_thread(published_in, outboxes)).values())
    else:
        events = (manifest := manifest_of(package)).events
        await asyncio.to_thread(_require_fitting, manifest, settings, url)
    present = await asyncio.to_thread(_present_state, url)
    return RestorePlan(
        package=package.name if package else "",
        path=str(package.path) if package else "",
        database=address,
        events=events,
        present_events=None if present is None else sum(present.marks.values()),
        is_running=await is_running(settings.run),
        missing_files=list(map(str, _missing_files(plan, package).values())) if package else (),
        lake=lake,
    )


def _require_fitting(manifest: Manifest, settings: Settings, url: str) -> None:
    if manifest.instance != settings.instance:
        raise ConfigError(
            f"the package is of instance '{manifest.instance.name}' (market {manifest.instance.market}), "
            f"not of '{settings.instance.name}' (market {settings.instance.market}): choose its configuration"
        )
    if manifest.database != copy_name(url):
        raise ConfigError(f"the package has {manifest.database}, another kind of database than [store] url names")
    if manifest.schema is not None and manifest.schema != (schema := selected_schema(url)):
        raise ConfigError(f"the package has the schema {manifest.schema}, [store] url selects {schema}")
    if manifest.schema_revision > SCHEMA_REVISION:
        raise ConfigError(
            f"the package's schema is {manifest.schema_revision}, this program knows {SCHEMA_REVISION}: "
            "use the version of Observer that made it"
        )


def _present_state(url: str) -> StoredState | None:
    """What the present database holds; None where it is absent or damaged.

    Raises:
        StoreFailedError: it does not answer.
    """
    try:
        return stored_state(url)
    except DatabaseDamagedError:
        return None
    except StoreFailedError:
        if url.startswith("sqlite"):  # its file is damaged
            return None
        raise
    except StoreError:
        return None


def _missing_files(plan: Plan, package: Package) -> Mapping[HeldFile, Path]:
    """The files of the packed folders that are on the disk no more, each with where it belongs."""
    found = {}
    for file in held_files(package):
        folder, _, name = file.path.partition("/")
        if folder in plan.contents.folders and not (target := plan.contents.folders[folder] / name).exists():
            found[file] = target
    return found


async def is_running(run: RunSettings) -> bool:
    """Whether a system answers there; a socket that a killed one left does not."""
    if not is_reachable(run):
        return False
    control = ControlClient(endpoints_of(run).control)
    try:
        await control.request(Status(), _ANSWER_S)
    except ControlTimeoutError:
        return False
    finally:
        control.close()
    return True


# --- doing -------------------------------------------------------------------------------------------------------


async def restore(
    settings: Settings,
    plan: Plan,
    package: Package | None,
    chosen: RestorePlan,
    clock: Clock,
    show: Show,
    stop: threading.Event,
) -> RestoreReport:
    """Put files back that are missing, and the package's database, or an empty one, in the place of the system's, which
    is kept aside; then wait until the outboxes have delivered what they hold. `stop` ends the work before the
    replacement, or the waiting.

    Raises:
        StoreError, DataFileError, StoppedError: nothing was replaced; files that were missing may be back.
        ConfigError: the running system's writer cannot be stopped or started.
    """
    manifest, url = manifest_of(package) if package else None, settings.store.url
    before = await asyncio.to_thread(_present_state, url)
    outboxes = endpoints_of(settings.run).runtime_directory / "outbox"
    expected = await asyncio.to_thread(published_in, outboxes)
    control = _writer_stopped(settings.run, show) if chosen.is_running else contextlib.nullcontext()
    async with control:
        missing: Mapping[HeldFile, Path] = {}
        if package is not None:
            missing = _missing_files(plan, package)
            await asyncio.to_thread(put_back, package, missing, stop)  # before: damage found here replaces nothing
        show("putting the database back")
        copy = package.path / manifest.database if package and manifest else None
        stamp = stamp_of(clock.now_ns())
        system = this_system(Path(settings.run.runtime))
        aside = await asyncio.to_thread(replace_database, url, copy, stamp, system, stop)
        noted = await asyncio.to_thread(stored_state, url)
    if chosen.is_running:
        undelivered = await _delivered(outboxes, endpoints_of(settings.run).ingest, url, expected, show, stop)
    else:
        claim(url, settings.instance, settings.providers, clock.now_ns(), copies=plan.folder)
        async with writer_of(url, settings.instance, restores=True) as writer:
            undelivered = await _delivered(outboxes, writer.ingest_address, url, expected, show, stop)
    after = await asyncio.to_thread(stored_state, url)
    losses = losses_between(before, noted, after, expected)
    stated = sum(loss.events for loss in new_losses(noted, after))
    marks = manifest.marks if manifest else {}
    known = {**(before.marks if before else {}), **expected}
    return RestoreReport(
        package=chosen.package,
        database=chosen.database,
        kept_aside=aside,
        events=manifest.events if manifest else 0,
        delivered=_passed(marks, after.marks, known) - stated,
        undelivered=undelivered,
        losses=losses,
        files=list(map(str, missing.values())),
        lake=chosen.lake,
    )


def losses_between(
    before: StoredState | None, restored: StoredState, after: StoredState, expected: Mapping[str, int]
) -> Sequence[Loss]:
    """The losses noted since the restore, and what the replaced database had that is in no database, outbox or
    archive. The outboxes know of the streams in `expected` up to those numbers.
    """
    had = before.marks if before else {}
    gone = [
        Loss(stream, known + 1, mark, "in the replaced database alone: no outbox or archive has them")
        for stream, mark in had.items()
        if (known := max(after.marks.get(stream, 0), min(mark, expected.get(stream, 0)))) < mark
    ]
    return [*new_losses(restored, after), *gone]


def new_losses(restored: StoredState, after: StoredState) -> Sequence[Loss]:
    """The losses noted since the restore."""
    return [loss for loss in after.losses if loss not in restored.losses]


def _passed(package: Mapping[str, int], after: Mapping[str, int], known: Mapping[str, int]) -> int:
    """Numbers behind the package's marks that were known before the restore: a running system publishes more."""
    return sum(max(0, min(after.get(stream, 0), last) - package.get(stream, 0)) for stream, last in known.items())


@contextlib.asynccontextmanager
async def _writer_stopped(run: RunSettings, show: Show) -> AsyncIterator[None]:
    """While the block runs the system's writer is stopped; the other processes go on.

    Raises:
        ConfigError: it does not stop, or does not start again.
    """
    control = ControlClient(endpoints_of(run).control)
    try:
        show(f"stopping {CORE_WRITER}")
        await _ask(control, Stop(CORE_WRITER))
        await _until_state(control, lambda state: state not in _RUNNING, f"{CORE_WRITER} does not stop")
        try:
            yield
        finally:
            show(f"starting {CORE_WRITER}")
            await _ask(control, Start(CORE_WRITER))
        await _until_state(control, lambda state: state == "RUNNING", f"{CORE_WRITER} does not start")
    finally:
        control.close()


async def _ask(control: ControlClient, request: Stop | Start) -> None:
    try:
        reply = await control.request(request, _ANSWER_S)
    except ControlTimeoutError as error:
        raise ConfigError(f"{error}: see `observer status`, and try again") from error
    if isinstance(reply, Refused):
        raise ConfigError(f"{reply.message} ({reply.code})")


async def _until_state(control: ControlClient, is_reached: Callable[[str], bool], otherwise: str) -> None:
    give_up_s = time.monotonic() + _STOP_S
    while time.monotonic() < give_up_s:
        with contextlib.suppress(ControlTimeoutError):
            reply = await control.request(Status(), _ANSWER_S)
            if isinstance(reply, StatusReply):
                states = [process.state for process in reply.processes if process.name == CORE_WRITER]
                if all(map(is_reached, states)):
                    return
        await asyncio.sleep(_POLL_S)
    raise ConfigError(f"{otherwise} within {_STOP_S:.0f} s: see `observer status` and its log")


# --- delivering --------------------------------------------------------------------------------------------------


def published_in(outboxes: Path) -> Mapping[str, int]:
    """The last number of each stream that any outbox of the folder ever took."""
    return {stream: last for folder in _folders(outboxes) for stream, last in published_by_stream(folder).items()}


async def _delivered(
    outboxes: Path, ingest: Address, url: str, expected: Mapping[str, int], show: Show, stop: threading.Event
) -> int:
    """Wait until every outbox has delivered: those that no process uses by producers of this command, the others by
    themselves. Returns the number of events that are still missing when `stop` is set or nothing arrives any more.
    """
    async with contextlib.AsyncExitStack() as stack:
        producers = []
        for folder in _folders(outboxes):
            with contextlib.suppress(OutboxInUseError):
                outbox = Outbox(folder, folder.name, uuid.uuid4().hex)
                producers.append(await stack.enter_async_context(delivering(outbox, ingest)))
        left, moved_s = -1, time.monotonic()
        while not stop.is_set():
            drained = [await producer.drain(_DRAIN_S) for producer in producers]
            marks = (await asyncio.to_thread(stored_state, url)).marks
            missing = sum(max(0, last - marks.get(stream, 0)) for stream, last in expected.items())
            total = missing + sum(producer.unacknowledged for producer in producers)
            if all(drained) and not total:
                return 0
            if total != left:
                left, moved_s = total, time.monotonic()
                show(f"{total:,} events to deliver again")
            if time.monotonic() - moved_s > _STALLED_S:
                return total
            await asyncio.sleep(_POLL_S)
    return max(left, 0)


def _folders(outboxes: Path) -> Sequence[Path]:
    return sorted(each for each in outboxes.glob("*") if each.is_dir())
