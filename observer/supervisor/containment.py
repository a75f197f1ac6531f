"""The containment of one run: an earlier run's leftovers are ended, our processes marked, and none of ours left.

A process is left over when it carries the mark of a dead supervisor of this runtime folder, when the pid registry names
it by pid and start, when it is in the recorded control group, or when it descends from one of these. No other process
is signalled: neither one that has the pid of an earlier one now, nor one of another folder or of a living supervisor.
"""

import logging
import os
import signal
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from observer.supervisor.cgroup import Cgroup, cgroup_for, recorded_cgroup
from observer.supervisor.ending import Find, end
from observer.supervisor.mark import (
    Containment,
    Mark,
    ancestors_of,
    find_marked,
    marks_of,
    of_other_systems,
    own_mark,
    with_descendants,
)
from observer.supervisor.orphans import reap_adopted
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.proc import ProcessId, ProcessSeen, scan
from observer.supervisor.states import ProcessState
from observer.supervisor.surroundings import ORPHAN, SupervisorListener, report_change

logger = logging.getLogger(__name__)

_GRACE_S: Final = 2.0
_KILL_S: Final = 10.0  # a process that survives SIGKILL so long hangs in the kernel: a start must not wait for it

Outcome = Literal["ended by SIGTERM", "ended by SIGKILL", "not ended"]


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

    def find() -> list[ProcessSeen]:
        processes = scan()
        grouped = cgroup.pids() if cgroup else set()
        pids = left_over(processes, marks_of(processes), names, grouped, folder, os.getpid())
        return [processes[pid] for pid in pids]

    return await _end_all(find, cgroup, names, grace_s=_GRACE_S)


async def end_marked(mark: Mark, cgroup: Cgroup | None) -> list[Leftover]:
    """SIGKILL what carries this mark or is in the control group, which is removed: the end of an orderly stop."""
    return await _end_all(lambda: find_marked(mark, cgroup.pids() if cgroup else ()), cgroup, {}, grace_s=0.0)


async def _end_all(
    find: Find, cgroup: Cgroup | None, names: Mapping[ProcessId, str], *, grace_s: float
) -> list[Leftover]:
    """End what is found, and remove the control group, which is killed as one if it is wholly ours."""

    def end_group() -> None:
        if cgroup is not None and _is_all_ours(cgroup):
            cgroup.kill()

    found = await end(find, signal.SIGTERM, grace_s)
    killed = await end(find, within_s=_KILL_S, end_group=end_group)
    left = {process.identity for process in find()}
    if cgroup is not None:
        cgroup.remove()
    return [
        Leftover(names.get(identity) or process.command, identity.pid, _outcome(identity, left, killed))
        for identity, process in (found | killed).items()
    ]


def _outcome(identity: ProcessId, left: Collection[ProcessId], killed: Collection[ProcessId]) -> Outcome:
    if identity in left:
        return "not ended"
    return "ended by SIGKILL" if identity in killed else "ended by SIGTERM"


def _is_all_ours(cgroup: Cgroup) -> bool:
    """Whether the group may be killed as one: it holds neither this process nor one of another living system."""
    pids = cgroup.pids()
    return os.getpid() not in pids and not of_other_systems(marks_of(pids), scan(), os.getpid())


class ContainedRun:
    """One supervisor's containment, from `begin` to `end`; the runtime directory's lock is held meanwhile."""

    def __init__(self, runtime_directory: Path, pid_registry: PidRegistry, listener: SupervisorListener) -> None:
        self._runtime_directory = runtime_directory
        self._pid_registry = pid_registry
        self._listener = listener
        self._unreported: list[Leftover] = []
        self._containment: Containment | None = None
        self.ended = 0
        """Number of processes that outlived an earlier run, or their child in this one, and were found by the mark."""

    async def begin(self) -> Containment:
        """End what an earlier supervisor of this folder left; return what our processes shall carry."""
        mark = own_mark(self._runtime_directory)
        self._unreported = await end_leftovers(self._pid_registry, mark.folder)
        cgroup = cgroup_for(str(mark))
        self._pid_registry.record_cgroup(cgroup.path if cgroup else None)
        self._containment = Containment(mark, cgroup)
        return self._containment

    @property
    def has_cgroup(self) -> bool:
        """Whether a control group holds our processes; False before `begin`."""
        return self._containment is not None and self._containment.cgroup is not None

    def report(self, source: str = "an earlier run") -> None:
        """Report what `begin` ended to the listener, which may not have been ready then."""
        for each in self._unreported:
            reason = f"{each.name}, left over from {source}: {each.outcome}"
            logger.warning("pid %d: %s", each.pid, reason)
            report_change(self._listener, ORPHAN, ProcessState.STOPPED, each.pid, reason)
        self.ended += sum(each.outcome != "not ended" for each in self._unreported)
        self._unreported = []

    async def end(self) -> None:
        """End what outlived its child, after the end of all children. Does nothing without a completed `begin`."""
        if self._containment is None:
            return
        self._unreported = await end_marked(self._containment.mark, self._containment.cgroup)
        reap_adopted(())
        self._pid_registry.record_cgroup(None)
        self.report("this run")
