"""One supervisor to a runtime directory: a lock that the system releases when its holder dies, however it dies."""

import os
from pathlib import Path
from typing import Final

from observer.base.errors import ObserverError
from observer.base.file_lock import FileLock

_FILE_NAME: Final = "supervisor.pid"
_PID_BYTES_MAX: Final = 20


class AlreadyRunningError(ObserverError):
    """Another supervisor works in this runtime directory; `pid` is its number, None if it has just begun."""

    def __init__(self, runtime_directory: Path, pid: int | None) -> None:
        holder = f"pid {pid}" if pid else "a process that has just begun"
        text = f"a supervisor is already running in {runtime_directory}: {holder}"
        super().__init__(f"{text}; `observer ctl shutdown` stops it")
        self.pid = pid


class InstanceLock:
    """Holds the runtime directory from its making to `release`.

    Raises:
        AlreadyRunningError: another process holds it.
    """

    def __init__(self, runtime_directory: Path) -> None:
        self._lock = FileLock(runtime_directory / _FILE_NAME)
        if not self._lock.take():
            text = os.pread(self._lock.descriptor, _PID_BYTES_MAX, 0).decode(errors="replace").strip()
            self._lock.close()
            raise AlreadyRunningError(runtime_directory, int(text) if text.isdigit() else None)
        os.ftruncate(self._lock.descriptor, 0)
        os.pwrite(self._lock.descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.ftruncate(self._lock.descriptor, 0)
        self._lock.close()
