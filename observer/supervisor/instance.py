"""One supervisor to a runtime directory: a lock that the system releases when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path
from typing import Final

from observer.base.errors import ObserverError

_FILE_NAME: Final = "supervisor.pid"


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
        self._file = (runtime_directory / _FILE_NAME).open("a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            text = self._file.read().strip()
            self._file.close()
            raise AlreadyRunningError(runtime_directory, int(text) if text.isdigit() else None) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Release the lock. The file stays: after its removal two processes could lock two files of one name."""
        self._file.truncate(0)
        self._file.close()
