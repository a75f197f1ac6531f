"""The mark of a system: a variable that all processes below a supervisor inherit by fork and exec.

It names the runtime folder and the supervisor. A process that left its session, its group and its parent still shows
it in /proc, so the next supervisor of the folder, or a worker whose lifeline closed, finds the process.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from observer.supervisor.cgroup import Cgroup, cgroup_above
from observer.supervisor.proc import ProcessId, ProcessSeen, scan, seen, signal_exactly, variable_of

MARK_VARIABLE: Final = "OBSERVER_SYSTEM"

_NUMBER_DIGITS_MAX: Final = 20  # of a pid and a start; the environment of any process may claim more
_POLL_S: Final = 0.01
_ROUNDS_MAX: Final = 500  # 5 s: a process that survives SIGKILL so long hangs in the kernel


class Mark(msgspec.Struct, frozen=True):
    """`folder` identifies the runtime folder, `leader` the supervisor."""

    folder: str
    leader: ProcessId

    def __str__(self) -> str:
        """The variable's value."""
        return f"{self.folder}.{self.leader.pid}.{self.leader.start_ticks}"


class Containment(msgspec.Struct, frozen=True):
    """What a system's processes carry: its mark, and its control group where there is one."""

    mark: Mark
    cgroup: Cgroup | None

    def group_of(self, name: str) -> Cgroup | None:
        """The control group of one child."""
        return self.cgroup.below(name) if self.cgroup else None


def folder_id(runtime_directory: Path) -> str:
    """Identifies a folder by device and inode: a renamed folder keeps its id, a copy has another one."""
    status = runtime_directory.stat()
    return f"{status.st_dev:x}-{status.st_ino:x}"


def own_mark(runtime_directory: Path) -> Mark:
    """The mark of the supervisor that is this process."""
    process = seen(os.getpid())
    assert process is not None, "this process lives"
    return Mark(folder_id(runtime_directory), process.identity)


def parse_mark(text: str | None) -> Mark | None:
    """The mark that a variable's value says; None for any other text."""
    folder, *numbers = (text or "").split(".")
    if len(numbers) != 2 or not all(map(_is_number, numbers)):
        return None
    return Mark(folder, ProcessId(int(numbers[0]), int(numbers[1])))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS_MAX


def marks_of(pids: Collection[int]) -> dict[int, Mark]:
    """The marks of these processes; those without a readable one are left out."""
    found = {pid: parse_mark(variable_of(pid, MARK_VARIABLE)) for pid in pids}
    return {pid: mark for pid, mark in found.items() if mark is not None}


def of_other_systems(marks: Mapping[int, Mark], processes: Mapping[int, ProcessSeen], own_pid: int) -> set[int]:
    """The pids whose mark names a living supervisor other than `own_pid`."""
    living = {process.identity for process in processes.values() if process.pid != own_pid}
    return {pid for pid, mark in marks.items() if mark.leader in living}


def with_descendants(roots: Collection[int], processes: Mapping[int, ProcessSeen], spared: Collection[int]) -> set[int]:
    """These processes, the living members of sessions that they lead, and all descendants, but none that is spared."""
    below: dict[int, list[int]] = {}
    for process in processes.values():
        for above in {process.parent_pid, process.session} - {process.pid}:
            below.setdefault(above, []).append(process.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in processes]
    while waiting:
        pid = waiting.pop()
        if pid not in found and pid not in spared:
            found.add(pid)
            waiting += below.get(pid, [])
    return found


def ancestors_of(pid: int, processes: Mapping[int, ProcessSeen]) -> set[int]:
    """The process itself and those above it."""
    found: set[int] = set()
    while pid in processes and pid not in found:
        found.add(pid)
        pid = processes[pid].parent_pid
    return found


def find_marked(mark: Mark, also: Collection[int] = ()) -> list[ProcessSeen]:
    """All living processes that carry this mark, those with the other pids, and those below them, but this process and
    those above it. Of the other pids, those of another living system are left out.
    """
    processes = scan()
    spared = ancestors_of(os.getpid(), processes)
    marks = marks_of(processes.keys())
    roots = {pid for pid, found in marks.items() if found == mark}
    roots |= set(also) - of_other_systems(marks, processes, os.getpid())
    return [processes[pid] for pid in with_descendants(roots, processes, spared)]


def end_own_system() -> None:
    """SIGKILL every process of the system that this process carries the mark of, after the end of its supervisor.

    This process itself lives on, unless the system has a control group. For a worker whose lifeline closed; returns
    early in a process without a mark, and where the supervisor lives: then another process held the lifeline.
    """
    mark = parse_mark(os.environ.get(MARK_VARIABLE))
    if mark is None or not _has_ended(mark.leader):
        return
    with _one_at_a_time(mark):
        for _ in range(_ROUNDS_MAX):
            found = find_marked(mark)
            for process in found:
                with contextlib.suppress(OSError):
                    signal_exactly(process.identity, signal.SIGKILL)
            if not found:
                break
            time.sleep(_POLL_S)
        if (cgroup := cgroup_above(os.getpid(), str(mark))) is not None:
            cgroup.kill()


@contextlib.contextmanager
def _one_at_a_time(mark: Mark) -> Iterator[None]:
    """Wait while another worker of the system sweeps, but not longer than a sweep takes.

    Two that sweep at once could kill each other before either reaches the rest. The kernel releases the address with
    its holder's end; a name in the abstract name space leaves no file.
    """
    with socket.socket(socket.AF_UNIX) as holder:
        for _ in range(_ROUNDS_MAX):
            try:
                holder.bind(f"\0observer-{mark}")
                break
            except OSError:
                time.sleep(_POLL_S)
        yield


def _has_ended(leader: ProcessId) -> bool:
    """Whether the process ends; a dying one closes its files a moment before its end can be seen."""
    for _ in range(_ROUNDS_MAX):
        process = seen(leader.pid)
        if process is None or process.identity != leader:
            return True
        time.sleep(_POLL_S)
    return False
