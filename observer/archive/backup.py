"""One backup: the package, the lake's new files beside it, the second target, the command, and old packages.

The core writer has it made in a process of its own, `python -m observer.archive.backup`: a copy reads, hashes and
writes gigabytes, which in the writer's own process would take turns with the commits. Stdin has a `BackupOrder` as one
line of JSON (a database URL may hold a password), and its end asks the process to stop: it ends with the process that
ordered it. Stdout has the `BackupOutcome`.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.copying import copy_lake, copy_of_lake
from observer.archive.day import sealed_dates
from observer.archive.day_files import DayFiles
from observer.archive.making import Contents, copy_package, delete_outdated, make
from observer.archive.manifest import LEDGERS, Kind
from observer.archive.package import Package, manifest_of, packages_of, read_package
from observer.archive.settings import PACKAGE_PLACEHOLDER, BackupSettings
from observer.base.errors import DataFileError, ObserverError, StoppedError, StoreError
from observer.base.instance import Instance
from observer.base.programs import program
from observer.base.settings import RunSettings
from observer.base.signals import stop_process
from observer.reference.listings.files import FOLDER as MASTER_FOLDER
from observer.store.exports import ledgers_folder
from observer.store.write_ahead_log import fold_log

logger = logging.getLogger(__name__)

_FOLD_S: Final = 1.0
_POLL_S: Final = 0.1
_MODULE: Final = "observer.archive.backup"
_NICER: Final = 10  # a commit goes before a copy where processors are scarce
_STOP_S: Final = 10.0  # machine seconds


class Plan(msgspec.Struct, frozen=True):
    """What is packed, where packages go, how many stay, and where each day's rows go as tables (None: nowhere)."""

    settings: BackupSettings
    folder: Path
    contents: Contents
    day_files: DayFiles | None = None


def plan_of(
    settings: BackupSettings,
    run: RunSettings,
    instance: Instance,
    url: str,
    configuration: Path | None,
    lake: Path | None = None,
    day_files: DayFiles | None = None,
) -> Plan:
    """The plan of a system: the database, universe files, ledgers, master files, the configuration and the lake; beside
    them the day files, unless [backup] leaves them out.
    """
    folders = {
        "universe": Path(run.universe),
        LEDGERS: ledgers_folder(run.data),
        "master": Path(run.data) / MASTER_FOLDER,
    }
    contents = Contents(url, instance, folders, configuration, lake, bundled=frozenset({LEDGERS}))
    return Plan(settings, settings.folder_of(run), contents, day_files if settings.day_files else None)


class Made(msgspec.Struct, frozen=True):
    """A package, and what failed beside it: earlier packages that are damaged, the lake, the second target, the
    command, old packages, day files.
    """

    package: Package
    failures: Sequence[str]


def back_up(plan: Plan, kind: Kind, now_ns: int, stop: threading.Event, last_day: str = "") -> Made:
    """Make a package, copy what the lake has since the last one, bring both to the second target, run the command on
    the package, delete packages that are too many, write the day files up to `last_day` (empty: of no day). A package
    of this kind and moment that is there is not made again: a process that was killed has made it.

    Raises:
        StoreError, DataFileError, StoppedError: as `observer.archive.making.make`; there is no new package.
    """
    before = _verified_in(plan)
    made = [each for each in before.values() if (manifest_of(each).kind, each.taken_ns) == (kind, now_ns)]
    package = made[0] if made else make(plan.folder, plan.contents, kind, now_ns, stop)
    damaged = sorted(before.keys() - _verified_in(plan))
    failures = [f"damaged packages, which are verified no more: {', '.join(damaged)}"] if damaged else []
    steps: Sequence[Callable[[], None]] = (
        lambda: _copy_lake(plan, plan.folder, stop),
        lambda: _copy_to_target(plan, package, stop),
        lambda: _run_command(plan, package, stop),
        lambda: _delete_old(plan, plan.folder),
        lambda: _write_day_files(plan, last_day, stop),
        lambda: _fold(plan),
    )
    for step in steps:
        try:
            step()
        except StoppedError:
            raise
        except (ObserverError, OSError) as error:
            failures.append(str(error))
    return Made(package, failures)


def _verified_in(plan: Plan) -> Mapping[str, Package]:
    found = packages_of(plan.folder, plan.contents.instance)
    return {package.name: package for package in found if package.verified_ns is not None}


def _copy_lake(plan: Plan, folder: Path, stop: threading.Event) -> None:
    if plan.contents.lake is not None:
        copied = copy_lake(plan.contents.lake, copy_of_lake(folder, plan.contents.instance), stop)
        if copied.problems:
            raise DataFileError("; ".join(copied.problems))


def _copy_to_target(plan: Plan, package: Package, stop: threading.Event) -> None:
    if plan.settings.copy_to:
        folder = Path(plan.settings.copy_to)
        copy_package(package, folder, stop)
        _delete_old(plan, folder)
        _copy_lake(plan, folder, stop)


def _delete_old(plan: Plan, folder: Path) -> None:
    kept: dict[Kind, int] = {"daily": plan.settings.daily_kept, "manual": plan.settings.manual_kept}
    delete_outdated(folder, plan.contents.instance, kept)


def _write_day_files(plan: Plan, last_day: str, stop: threading.Event) -> None:
    contents = plan.contents
    if plan.day_files is not None and last_day:
        in_lake = sealed_dates(contents.lake) if contents.lake is not None else set()  # the database may have no rows
        plan.day_files.write_tables(contents.url, contents.instance.market, last_day, in_lake, stop)


def _fold(plan: Plan) -> None:
    """Fold what commits wrote beside the copy, so that no commit has to: the copy kept SQLite from folding it. A log
    that is busy is folded by a later one.

    Measured with a log of 200 MB on a busy machine of two cores: left to the writer, the first commit took 723 ms. This
    took 700 ms in this process, one commit beside it up to 240 ms, the first one afterwards 4 to 10 ms, and the log was
    empty. With a passive checkpoint alone the first commit afterwards took 46 to 152 ms, because it cuts the log to
    `journal_size_limit`, and 67 MB stayed.
    """
    with suppress(StoreError):
        fold_log(plan.contents.url, _FOLD_S)


def _run_command(plan: Plan, package: Package, stop: threading.Event) -> None:
    """Run the configured command on the package.

    Raises:
        DataFileError: it cannot be started, fails, or takes too long; the text has the end of what it wrote.
        StoppedError: `stop` was set.
    """
    if not plan.settings.command:
        return
    words = [word.replace(PACKAGE_PLACEHOLDER, str(package.path.absolute())) for word in plan.settings.command]
    what = f"[backup] command {words[0]} on {package.name}"
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own program, without a shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise DataFileError(f"{what} cannot be started: {error.strerror}") from error
    with process:
        try:
            output = _output_of(process, what, plan.settings.command_limit_s, stop)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        said = (output.strip().splitlines() or ["nothing"])[-1]
        raise DataFileError(f"{what} ended with status {process.returncode} and said: {said}")


def _output_of(process: "subprocess.Popen[str]", what: str, limit_s: float, stop: threading.Event) -> str:
    deadline_s = time.monotonic() + limit_s
    while not stop.is_set():
        try:
            return process.communicate(timeout=_POLL_S)[0]
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline_s:
                raise DataFileError(f"{what} took more than command_limit_s = {limit_s:g}: it was killed") from None
    raise StoppedError(f"{what} was interrupted")


# --- in a process of its own ---------------------------------------------------------------------------------


class BackupOrder(msgspec.Struct, frozen=True):
    """What to do; `now_ns` is market time, `last_day` the last one of the day files."""

    plan: Plan
    kind: Kind
    now_ns: int
    last_day: str


class BackupOutcome(msgspec.Struct, frozen=True):
    """The package's folder and what failed after it was whole; or why there is none."""

    package: str = ""
    failures: tuple[str, ...] = ()
    error: str = ""


async def back_up_apart(plan: Plan, kind: Kind, now_ns: int, last_day: str = "") -> Made:
    """As `observer.archive.backup.back_up`, in a process of its own, which ends when this task is cancelled. After the
    first kill another process goes on with it at once.

    Raises:
        DataFileError: there is no new package; the text says why.
    """
    order = BackupOrder(plan, kind, now_ns, last_day)
    status, answer = await _ended(order)
    if status < 0 and not answer:
        logger.warning("the process of the backup was killed by signal %d, and is started again", -status)
        status, answer = await _ended(order)
    if not answer:
        raise DataFileError(f"the process of the backup ended with status {status}: the log of this process says why")
    outcome = msgspec.json.decode(answer, type=BackupOutcome)
    if outcome.error:
        raise DataFileError(outcome.error)
    return Made(read_package(Path(outcome.package)), outcome.failures)


async def _ended(order: BackupOrder) -> tuple[int, bytes]:
    """Run the process; return its exit status and what it answered."""
    process = await asyncio.create_subprocess_exec(
        *program(_MODULE), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(order, enc_hook=str) + b"\n")
        answer = await process.stdout.read()
        return await process.wait(), answer
    finally:
        process.stdin.close()
        await stop_process(process, _STOP_S)


def main() -> int:
    """Do what the line on stdin says, unless stdin ends before; return the exit status."""
    line = sys.stdin.buffer.readline()
    order = msgspec.json.decode(line, type=BackupOrder, dec_hook=lambda kind, value: kind(value))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())  # the command that runs on the package has to be ended
    threading.Thread(target=_stop_at_end, args=(stop,), daemon=True).start()
    with suppress(OSError):
        os.nice(_NICER)
    try:
        made = back_up(order.plan, order.kind, order.now_ns, stop, order.last_day)
        outcome = BackupOutcome(str(made.package.path), tuple(made.failures))
    except (ObserverError, OSError) as error:
        outcome = BackupOutcome(error=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    sys.stdout.flush()
    return 0 if outcome.package else 1


def _stop_at_end(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
