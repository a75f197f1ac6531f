"""Ends the processes that outlived a supervisor: at the next start those of a dead one, at an orderly end its own.

A process is left over when it carries the mark of a dead supervisor of this runtime folder, when the pid registry names
it by pid and start, when it is in the recorded control group, or when it descends from one of these. No other process
is signalled: neither one that has the pid of an earlier one now, nor one of another folder or of a living supervisor.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal

import msgspec

from observer.supervisor.cgroup import Cgroup, recorded_cgroup
from observer.supervisor.mark import Mark, ancestors_of, find_marked, marks_of, of_other_systems, with_descendants
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.proc import ProcessId, ProcessSeen, scan, signal_exactly

logger = logging.getLogger(__name__)

_GRACE_S: Final = 2.0
_KILL_S: Final = 10.0  # a process that survives SIGKILL so long hangs in the kernel: a start must not wait for it
_POLL_S: Final = 0.02

Outcome = Literal["ended by SIGTERM", "ended by SIGKILL", "not ended"]
Find = Callable[[], Sequence[ProcessSeen]]


class Leftover(msgspec.Struct, frozen=True):
    """A process that outlived its supervisor, and how it ended. `name` is its child's, or its program's."""

    name: str
    pid: int
    outcome: Outcome


def left_over(
    processes: Mapping[int, ProcessSeen],
    marks: Mapping[int, Mark],
    registered: Collection[ProcessId],
    grouped: Collection[int],
    folder: str,
    own_pid: int,
) -> set[int]:
    """The pids of what a dead supervisor of this folder left, at one scan.

    Args:
        processes: all living processes.
        marks: of those that have a readable one.
        registered: identities in the pid registry.
        grouped: pids in the recorded control group.
        folder: id of the runtime folder (`mark.folder_id`), whose lock this process holds: other leaders are dead.
        own_pid: the new supervisor.
    """
    living = {process.identity for process in processes.values() if process.pid != own_pid}
    roots = {pid for pid, mark in marks.items() if mark.folder == folder and mark.leader not in living}
    roots |= {identity.pid for identity in registered if identity in living}
    roots |= set(grouped) - of_other_systems(marks, processes, own_pid)
    of_others = {pid for pid in marks if pid not in roots}
    return with_descendants(roots, processes, of_others | ancestors_of(own_pid, processes))


async def end_leftovers(pid_registry: PidRegistry, folder: str) -> list[Leftover]:
    """End what an earlier supervisor of this folder left: SIGTERM, a grace, SIGKILL. The folder's lock must be held."""
    earlier = pid_registry.earlier()
    cgroup = recorded_cgroup(earlier.cgroup, folder)
    names = {process.identity: process.name for process in earlier.processes}

    def find() -> Sequence[ProcessSeen]:
        processes = scan()
        grouped = cgroup.pids() if cgroup else set()
        pids = left_over(processes, marks_of(processes), names, grouped, folder, os.getpid())
        return [processes[pid] for pid in pids]

    terminated = await _signal_until_gone(find, signal.SIGTERM, _GRACE_S)
    killed = await _signal_until_gone(find, signal.SIGKILL, _KILL_S, cgroup)
    left = {process.identity for process in find()}
    if cgroup is not None:
        cgroup.remove()
    return [
        Leftover(names.get(identity) or process.command, identity.pid, _outcome(identity, left, killed))
        for identity, process in (terminated | killed).items()
    ]


async def end_marked(mark: Mark, cgroup: Cgroup | None) -> list[Leftover]:
    """SIGKILL what carries this mark or is in the control group, which is removed: the end of an orderly stop."""

    def find() -> Sequence[ProcessSeen]:
        grouped = cgroup.pids() if cgroup else set()
        return find_marked(mark, grouped)

    killed = await _signal_until_gone(find, signal.SIGKILL, _KILL_S, cgroup)
    left = {process.identity for process in find()}
    if cgroup is not None:
        cgroup.remove()
    return [
        Leftover(process.command, process.pid, _outcome(identity, left, killed)) for identity, process in killed.items()
    ]


def _outcome(identity: ProcessId, left: Collection[ProcessId], killed: Collection[ProcessId]) -> Outcome:
    if identity in left:
        return "not ended"
    return "ended by SIGKILL" if identity in killed else "ended by SIGTERM"


def _is_all_ours(cgroup: Cgroup) -> bool:
    """Whether the group may be killed as one: it holds neither this process nor one of another living system."""
    pids = cgroup.pids()
    return os.getpid() not in pids and not of_other_systems(marks_of(pids), scan(), os.getpid())


async def _signal_until_gone(
    find: Find, number: signal.Signals, within_s: float, cgroup: Cgroup | None = None
) -> dict[ProcessId, ProcessSeen]:
    """Signal what is found until nothing more is, for so long; return what was found.

    A process that may not be signalled is logged, and not waited for. A control group is killed as one, for SIGKILL.
    """
    found: dict[ProcessId, ProcessSeen] = {}
    refused: set[ProcessId] = set()
    for _ in range(round(within_s / _POLL_S)):
        now = [process for process in find() if process.identity not in refused]
        if not now:
            break
        if cgroup is not None and _is_all_ours(cgroup):
            cgroup.kill()
        for process in now:
            is_new = process.identity not in found
            found[process.identity] = process
            try:
                if number is signal.SIGKILL or is_new:
                    signal_exactly(process.identity, number)
                    signal_exactly(process.identity, signal.SIGCONT)  # a suspended one must wake to end by itself
            except PermissionError as error:
                refused.add(process.identity)
                logger.error("cannot end pid %d (%s): %s", process.pid, process.command, error)
        await asyncio.sleep(_POLL_S)
    return found
