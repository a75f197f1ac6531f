"""A backup in a process of its own: `python -m observer.archive.backup`, which the core writer starts and waits for.

A copy reads, hashes and writes gigabytes. In the writer's own process that would take turns with the commits. Stdin has
a `BackupOrder` as one line of JSON (a database URL may hold a password), and its end asks the process to stop: it ends
with the process that ordered it. Stdout has the `BackupOutcome`.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.backup.manifest import Kind
from observer.archive.backup.package import read_package
from observer.archive.backup.work import Made, Plan, back_up
from observer.base.errors import DataFileError, ObserverError
from observer.base.signals import stop_process

_MODULE: Final = "observer.archive.backup"
_NICER: Final = 10  # a commit goes before a copy where processors are scarce
_STOP_S: Final = 10.0  # machine seconds


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
    """As `observer.archive.backup.work.back_up`, in a process of its own, which ends when this task is cancelled.

    Raises:
        DataFileError: there is no new package; the text says why.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", _MODULE), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(BackupOrder(plan, kind, now_ns, last_day), enc_hook=str) + b"\n")
        answer = await process.stdout.read()
        status = await process.wait()
    finally:
        process.stdin.close()
        await stop_process(process, _STOP_S)
    if not answer:
        raise DataFileError(f"the process of the backup ended with status {status}: the log of this process says why")
    outcome = msgspec.json.decode(answer, type=BackupOutcome)
    if outcome.error:
        raise DataFileError(outcome.error)
    return Made(read_package(Path(outcome.package)), outcome.failures)


def main() -> int:
    """Do what the line on stdin says, unless stdin ends before; return the exit status."""
    line = sys.stdin.buffer.readline()
    order = msgspec.json.decode(line, type=BackupOrder, dec_hook=lambda kind, value: kind(value))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())  # the command that runs on the package has to be ended
    threading.Thread(target=_stop_at_end, args=(stop,), daemon=True).start()
    with contextlib.suppress(OSError):
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
