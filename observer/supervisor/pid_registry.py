"""Registry of running processes, written at each change, so that the next supervisor ends leftovers of a killed one.

It names children and, from each check of the monitor loop on, all their descendants, wherever they detached themselves
to. A process is identified by pid and start of this boot.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from observer.base.state_file import StateFile
from observer.supervisor.proc import ProcessId, ProcessSeen, boot_id, seen

logger = logging.getLogger(__name__)

_FILE_NAME: Final = "children.json"


class Registered(msgspec.Struct, frozen=True):
    """One process; `name` is its child's, empty for a descendant."""

    identity: ProcessId
    name: str = ""


class Registry(msgspec.Struct, frozen=True):
    """The content of the file: the boot, the path of the system's control group or nothing, the processes."""

    boot: str = ""
    cgroup: str = ""
    processes: tuple[Registered, ...] = ()


class PidRegistry:
    """The processes that run now, as a file in the runtime directory."""

    def __init__(self, runtime_directory: Path) -> None:
        self._file = StateFile(runtime_directory / _FILE_NAME, Registry, survives_power_failure=False)
        self._children: dict[int, Registered] = {}
        self._descendants: frozenset[ProcessId] = frozenset()
        self._cgroup = ""
        self.error: OSError | None = None
        """Why the file could not be written the last time; None when it was."""

    def record(self, pid: int, name: str = "") -> None:
        """Add a started child; one that has ended already is left out."""
        if (process := seen(pid)) is not None:
            self._children[pid] = Registered(process.identity, name)
            self._write()

    def forget(self, pid: int) -> None:
        """Remove a child whose processes are all gone."""
        if self._children.pop(pid, None) is not None:
            self._write()

    def record_descendants(self, processes: Iterable[ProcessSeen]) -> None:
        """Replace the descendants of all children by these; writes when they differ, or when the last write failed."""
        descendants = frozenset(process.identity for process in processes if process.pid not in self._children)
        if descendants != self._descendants or self.error is not None:
            self._descendants = descendants
            self._write()

    def record_cgroup(self, path: Path | None) -> None:
        """Note the system's control group."""
        self._cgroup = str(path) if path else ""
        self._write()

    def _write(self) -> None:
        """Replace the file at once, so that a kill leaves the old one or the new one.

        An error is kept, and the first of a row is logged: a full disk must not stop children, and the lifeline is the
        first protection.
        """
        descendants = (Registered(identity) for identity in sorted(self._descendants))
        content = Registry(boot_id(), self._cgroup, (*self._children.values(), *descendants))
        try:
            self._file.write(content)
            self.error = None
        except OSError as error:
            if self.error is None:
                logger.error(
                    "cannot write %s, so the next supervisor will not know our children: %s", self._file.path, error
                )
            self.error = error

    def earlier(self) -> Registry:
        """What an earlier supervisor wrote in this boot; an empty registry without one."""
        try:
            registry = self._file.read_whole()
        except (ValueError, RecursionError) as error:
            logger.warning("cannot read %s, so leftovers of an earlier run are not known: %s", self._file.path, error)
            registry = None
        return registry if registry is not None and registry.boot == boot_id() else Registry()
