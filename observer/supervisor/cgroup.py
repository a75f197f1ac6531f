"""A control group (cgroup v2) of one system: the kernel knows its processes, however they detach themselves.

It is made below the supervisor's own group where this user may do that: as root, in a delegated systemd unit, in
`systemd-run --user --scope`. Elsewhere there is none, and the mark (`mark`) has to do. No controller is enabled, so no
limit changes and the supervisor may stay in the group above.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from observer.supervisor.proc import ProcessSeen, seen

_PREFIX: Final = "observer-"
_KILL: Final = "cgroup.kill"
_TYPE: Final = "cgroup.type"
_PROCESSES: Final = "cgroup.procs"
_MEMBERSHIP: Final = "0::"  # the line of /proc/PID/cgroup that names the cgroup of version 2


class Cgroup:
    """The control group at a folder of the cgroup file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> bool:
        """Create its folder, and check that processes can be moved into it and killed with it; False if not.

        A move needs the right to write in the group above, too, and a group of the type "domain".
        """
        try:
            self.path.mkdir(exist_ok=True)
            files = (self.path.parent / _PROCESSES, self.path / _PROCESSES, self.path / _KILL)
            usable = all(os.access(file, os.W_OK) for file in files)
            usable = usable and (self.path / _TYPE).read_text(encoding="ascii") == "domain\n"
        except OSError:
            return False
        if not usable:
            self.remove()
        return usable

    def below(self, name: str) -> "Cgroup":
        """The group of one child, made where it is missing."""
        child = Cgroup(self.path / name.replace("/", "_"))
        child.make()
        return child

    def add(self, pid: int) -> bool:
        """Move a process into it; its later children are born there. False when the kernel refuses."""
        try:
            (self.path / _PROCESSES).write_text(str(pid), encoding="ascii")
        except OSError:
            return False
        return True

    def add_in_fork(self) -> None:
        """Move the calling process into it: for a fork that has not executed its program yet. A refusal is ignored."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path / _PROCESSES, os.O_WRONLY)
            os.write(descriptor, b"0")
            os.close(descriptor)

    def pids(self) -> set[int]:
        """The processes in it and in the groups below it, without those that have ended; empty for an absent group."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self.path):
            with contextlib.suppress(OSError):
                found.update(map(int, (Path(folder) / _PROCESSES).read_text(encoding="ascii").split()))
        return found

    def processes(self) -> list[ProcessSeen]:
        """The living ones of `pids`."""
        return list(filter(None, map(seen, self.pids())))

    def kill(self) -> None:
        """SIGKILL all processes in it and below it in one step; forks under way are caught."""
        with contextlib.suppress(OSError):
            (self.path / _KILL).write_text("1", encoding="ascii")

    def remove(self) -> None:
        """Remove it and the groups below it; one with processes stays."""
        for folder, _, _ in os.walk(self.path, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def cgroup_for(mark: str) -> Cgroup | None:
    """The group of the system with this mark, made below this process's own; None where that cannot be.

    The name holds the supervisor, too: a folder's id is given again after its removal, and another system with that id
    may have processes in a group of its own.
    """
    own = _folder_of(os.getpid())
    cgroup = Cgroup(own / f"{_PREFIX}{mark}") if own else None
    return cgroup if cgroup is not None and cgroup.make() else None


def recorded_cgroup(path: str, folder: str) -> Cgroup | None:
    """The group at a path that an earlier run has written down; None unless it is named after this folder."""
    return Cgroup(Path(path)) if Path(path).name.startswith(f"{_PREFIX}{folder}.") else None


def cgroup_above(pid: int, mark: str) -> Cgroup | None:
    """The group of the system with this mark that holds the process; None when it is in none."""
    own = _folder_of(pid)
    found = [path for path in (own, *own.parents) if path.name == f"{_PREFIX}{mark}"] if own else []
    return Cgroup(found[0]) if found else None


def _folder_of(pid: int) -> Path | None:
    """The folder of a process's control group; None without cgroup v2."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    names = [line.removeprefix(_MEMBERSHIP) for line in lines if line.startswith(_MEMBERSHIP)]
    for mount in mounts:
        fields, _, kind = mount.partition(" - ")
        if names and kind.startswith("cgroup2 "):
            root, point = fields.split()[3:5]
            with contextlib.suppress(ValueError):  # the group lies outside of what is mounted
                return Path(point) / Path(names[0]).relative_to(root)
    return None
