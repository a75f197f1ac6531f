"""Whether a system runs in a runtime folder, and what one that ended without order left there."""

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from observer.base.settings import RunSettings
from observer.supervisor.mark import folder_id, marks_of
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.proc import scan

_CONTROL: Final = "control"
_SOCKETS: Final = ("ingest", "feed", "batch_feed", _CONTROL)
_CONNECT_S: Final = 1.0


def is_running(run: RunSettings) -> bool:
    """Whether the control socket of a system is listened on."""
    if run.endpoints is not None:
        address = urlsplit(run.endpoints.control)
        with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port), _CONNECT_S):
            return True
        return False
    return _is_heard(Path(run.runtime).absolute() / _CONTROL)


def left_sockets(runtime: Path) -> Sequence[str]:
    """The names of the bus's sockets that nothing listens on."""
    paths = (runtime.absolute() / name for name in _SOCKETS)
    return [path.name for path in paths if path.is_socket() and not _is_heard(path)]


def left_processes(runtime: Path) -> Sequence[int]:
    """The pids of living processes of a system of this folder whose supervisor has ended."""
    processes = scan()
    living = {process.identity for process in processes.values()}
    folder = folder_id(runtime)
    found = {
        pid for pid, mark in marks_of(processes.keys()).items() if mark.folder == folder and mark.leader not in living
    }
    registered = {each.identity for each in PidRegistry(runtime).earlier().processes}
    return sorted(found | {identity.pid for identity in registered & living})


def _is_heard(path: Path) -> bool:
    """Whether a process listens on this socket. A connection that ends at once is nothing to the bus."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError:  # nothing listens, there is no socket, or its path is too long for one
            return False
    return True
