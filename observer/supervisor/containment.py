"""The containment of one run: an earlier run's leftovers are ended, our processes marked, and none of ours left."""

import logging
from pathlib import Path

from observer.supervisor.cgroup import cgroup_for
from observer.supervisor.leftovers import Leftover, end_leftovers, end_marked
from observer.supervisor.mark import Containment, own_mark
from observer.supervisor.orphans import reap_adopted
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.states import ProcessState
from observer.supervisor.surroundings import ORPHAN, SupervisorListener, report_change

logger = logging.getLogger(__name__)


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
