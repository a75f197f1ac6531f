"""The system that owns a database: its host, its process, and whether it still lives.

A system is a supervisor with its writer, or a command with a writer of its own. Two systems never write one database in
turns: the second one is refused until the first one ended in order, died, or did not renew its heartbeat for
DEAD_AFTER_S.
"""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from observer.base.units import NS_PER_S

HEARTBEAT_EVERY_S: Final = 10.0  # machine seconds, as all times here
DEAD_AFTER_S: Final = 60.0
_STATE, _STARTED = 0, 19  # fields of /proc/PID/stat behind the name (proc(5): numbers 3 and 22)


class System(msgspec.Struct, frozen=True):
    """A system as its owner row names it.

    Args:
        host: the name of its host.
        machine: one text for all processes that see each other's pids, until the machine starts again.
        pid: its supervisor, or its command.
        pid_started: the start of that process in ticks since the machine's start; a later process may have its pid.
        runtime: its runtime folder; empty for a command without one.
    """

    host: str
    machine: str
    pid: int
    pid_started: int
    runtime: str


class Ownership(msgspec.Struct, frozen=True):
    """What the owner row says: the system, the place of the database when the row was written, UTC times."""

    system: System
    place: str
    started_ns: int
    heartbeat_ns: int


def this_system(runtime: Path | None = None, pid: int | None = None) -> System:
    """The system of this process. `pid` is the supervisor's, or this process's own without a supervisor."""
    pid = os.getpid() if pid is None else pid
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    pids = Path("/proc/self/ns/pid").stat().st_ino  # containers on one machine have pids of their own
    folder = str(runtime.resolve()) if runtime is not None else ""
    return System(socket.gethostname(), f"{boot} {pids}", pid, started_ticks(pid) or 0, folder)


def started_ticks(pid: int) -> int | None:
    """The start of a process in ticks since the machine's start; None for an ended process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STATE] in "ZX" else int(fields[_STARTED])


def owns(
    ownership: Ownership,
    asking: System,
    place: str,
    now_ns: int,
    started: Callable[[int], int | None] = started_ticks,
) -> bool:
    """Whether a living system other than `asking` owns the database at `place`.

    A copy of a database has the owner row of the original, but lies in another place. On one machine the process
    decides, elsewhere the heartbeat; one from the future was written by a wrong clock.
    """
    system = ownership.system
    if ownership.place != place or is_same(system, asking):
        return False
    if system.machine == asking.machine:
        return started(system.pid) == system.pid_started
    return abs(now_ns - ownership.heartbeat_ns) <= DEAD_AFTER_S * NS_PER_S


def is_same(system: System, other: System) -> bool:
    """Whether both values mean one system: the same process, or the same runtime folder (which has one supervisor at a
    time).
    """
    if system.host != other.host:
        return False
    is_process = (system.machine, system.pid, system.pid_started) == (other.machine, other.pid, other.pid_started)
    return is_process or (system.runtime != "" and system.runtime == other.runtime)


def described(ownership: Ownership, now_ns: int) -> str:
    """The owner in words: since when, host, pid, folder, and the age of its heartbeat."""
    system = ownership.system
    since = datetime.fromtimestamp(ownership.started_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    folder = f", runtime folder {system.runtime}" if system.runtime else ""
    age_s = (now_ns - ownership.heartbeat_ns) / NS_PER_S
    return f"pid {system.pid} on {system.host}{folder}, since {since}, its heartbeat is {age_s:.0f} s old"


def owned_by_another(database: str, ownership: Ownership, now_ns: int) -> str:
    """The text of an error about a database that another living system owns."""
    return (
        f"{database}: another system owns this database: {described(ownership, now_ns)}: "
        "stop it (observer ctl shutdown), or give another [store] url"
    )
