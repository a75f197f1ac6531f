"""Checks every second: the children's figures, orphans, the machine, the length of the logs."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from observer.supervisor.child import Child
from observer.supervisor.child_monitor import ChildMonitor
from observer.supervisor.limits import (
    HostFigures,
    HostLimits,
    HysteresisThreshold,
    Resource,
    after_host_check,
)
from observer.supervisor.mark import with_descendants
from observer.supervisor.orphans import adopting, reap_adopted
from observer.supervisor.output import rotate
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.proc import ProcessSeen, scan
from observer.supervisor.states import ProcessState
from observer.supervisor.surroundings import SUPERVISOR, SupervisorListener, report_change
from observer.supervisor.watch import Figures, HostWatch, Watch

logger = logging.getLogger(__name__)

POLL_S: Final = 1.0
ROTATION_RETRY_S: Final = 600.0  # a file system that cannot cut does not learn it; a full disk may have room again


class MonitorLoop:
    """Samples figures and passes them to the monitors; reports scarce resources to the listener.

    Args:
        disk: a folder on the disk that must not become full.
        pid_registry: where the children's descendants are written down.
    """

    def __init__(
        self,
        monitors: Mapping[str, ChildMonitor],
        listener: SupervisorListener,
        limits: HostLimits,
        disk: Path,
        pid_registry: PidRegistry,
    ) -> None:
        self._monitors = monitors
        self._listener = listener
        self._pid_registry = pid_registry
        self._unwritten = False
        self._limits = limits
        self._host = HostWatch(disk)
        self._watch = Watch()
        self._thresholds: Mapping[Resource, HysteresisThreshold] = {}
        self._uncut: dict[Path, float] = {}  # logs that cannot be rotated: when it is tried again, by the loop's clock
        self.figures: Mapping[int, Figures] = {}
        """Of the last check, by the pid of a child's leader."""
        self.host_figures: HostFigures | None = None
        """Of the last check of the machine."""

    async def run(self) -> None:
        """Check until cancelled; meanwhile this process adopts orphans below it."""
        with adopting():
            try:
                while True:
                    self._check_children()
                    self._check_host()
                    await self._check_logs()
                    await asyncio.sleep(POLL_S)
            finally:
                self._reap()

    def _reap(self) -> None:
        reap_adopted({monitor.pid for monitor in self._monitors.values() if monitor.pid})

    def _check_children(self) -> None:
        self._reap()
        processes = scan()
        leaders = [monitor.pid for monitor in self._monitors.values() if monitor.pid]
        self.figures = self._watch.sample(processes.values(), leaders)
        self._record_descendants(processes)
        for monitor in self._monitors.values():
            if (figures := self.figures.get(monitor.pid or 0)) is not None:
                monitor.weigh(figures)

    def _record_descendants(self, processes: Mapping[int, ProcessSeen]) -> None:
        """Write down what descends from the children; report once that this fails. Processes in our own session are
        no child's.
        """
        own = os.getpid()
        session = processes[own].session
        roots = [each.pid for each in processes.values() if each.parent_pid == own and each.session != session]
        self._pid_registry.record_descendants(processes[pid] for pid in with_descendants(roots, processes, {own}))
        error, was_unwritten = self._pid_registry.error, self._unwritten
        self._unwritten = error is not None
        if error is not None and not was_unwritten:
            self._report(f"cannot write the registry of processes, so a next start may not know them: {error}")

    def _report(self, text: str) -> None:
        report_change(self._listener, SUPERVISOR, ProcessState.RUNNING, os.getpid(), text)

    def _check_host(self) -> None:
        self.host_figures = figures = self._host.check(self.figures.values())
        self._thresholds, crossings = after_host_check(self._thresholds, figures, self._limits)
        for crossing in crossings:
            try:  # the listener reports an alert, which is the log line
                self._listener.on_crossing(crossing)
            except Exception:  # an error of a check must not end a child
                logger.exception("the listener failed on %s", crossing)

    async def _check_logs(self) -> None:
        """Rotate long logs. One that cannot be is reported once, and tried again after a while, not every second."""
        now_s = asyncio.get_running_loop().time()
        children = [monitor.child for monitor in self._monitors.values()]
        due = [child for child in children if self._uncut.get(child.log_path, now_s) <= now_s]
        failures = await asyncio.to_thread(_rotate_logs, due)
        for path, error in failures.items():
            if path not in self._uncut:
                logger.error("cannot rotate %s, which goes on growing: %s", path, error)
                self._report(f"cannot rotate {path}, which goes on growing: {error}")
        tried = {child.log_path for child in due}
        waiting = {path: retry_s for path, retry_s in self._uncut.items() if path not in tried}
        self._uncut = waiting | dict.fromkeys(failures, now_s + ROTATION_RETRY_S)


def _rotate_logs(children: Sequence[Child]) -> Mapping[Path, OSError]:
    """Rotate what is too long; the errors by path."""
    failures: dict[Path, OSError] = {}
    for child in children:
        if child.log_bytes_max is not None:
            try:
                rotate(child.log_path, child.log_bytes_max, child.logs_kept)
            except OSError as error:
                failures[child.log_path] = error
    return failures
