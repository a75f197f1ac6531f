"""Processes as /proc shows them: identities, parents, sessions, environments. Loads nothing that a worker has not.

A pid is used again; a pid with its start, in clock ticks since boot, is not. Setting the wall clock moves no tick.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_PROC: Final = Path("/proc")
_BOOT_ID: Final = _PROC / "sys/kernel/random/boot_id"
_DEAD: Final = "ZX"  # states of a process that has ended, reaped or not


class ProcessId(msgspec.Struct, frozen=True, order=True):
    """A process by its pid and its start: the kernel gives a pid again, but not with the same start."""

    pid: int
    start_ticks: int


class ProcessSeen(msgspec.Struct, frozen=True):
    """A process at one scan. `command` is the kernel's short name of its program, for people."""

    identity: ProcessId
    parent_pid: int
    session: int
    command: str
    has_ended: bool = False
    """Ended and not reaped."""

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.identity.pid


def boot_id() -> str:
    """The kernel's random id of this boot, empty where it has none; ticks of different boots cannot be compared."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def seen(pid: int) -> ProcessSeen | None:
    """The process with this pid; None when it has ended, reaped or not."""
    process = _read(pid)
    return None if process is None or process.has_ended else process


def scan() -> dict[int, ProcessSeen]:
    """All living processes by their pids."""
    return {process.pid: process for process in _all() if not process.has_ended}


def ended_children() -> list[ProcessSeen]:
    """The children of this process that have ended and are not reaped."""
    return [process for process in _all() if process.has_ended and process.parent_pid == os.getpid()]


def _all() -> Iterator[ProcessSeen]:
    names = os.listdir(_PROC)  # noqa: PTH208 - half the time of iterdir
    return filter(None, (_read(int(name)) for name in names if name.isdecimal()))


def _read(pid: int) -> ProcessSeen | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it is gone, or this user may not see it
        return None
    head, _, rest = text.rpartition(")")  # a command may have blanks and brackets
    fields = rest.split()  # the first is field 3 of proc(5)
    identity = ProcessId(pid, int(fields[19]))
    return ProcessSeen(identity, int(fields[1]), int(fields[3]), head.partition("(")[2], fields[0] in _DEAD)


def variable_of(pid: int, name: str) -> str | None:
    """The value of a variable in the environment that the process began with; None without one, or if unreadable.

    The kernel refuses the environment of another user's process and of one that has changed its user.
    """
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = os.fsencode(name) + b"="
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def signal_exactly(identity: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to this process and to no other that has its number; whether it lived.

    Raises:
        PermissionError: it belongs to another user.
    """
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        process = seen(identity.pid)
        if process is None or process.identity != identity:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
