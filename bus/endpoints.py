"""Where the four sockets are: files in one runtime directory that nobody but its owner may enter."""

import os
import stat
from pathlib import Path
from typing import Final

DIRECTORY_MODE: Final = 0o700
IPC_PATH_BYTES_MAX: Final = 107  # unix(7): sun_path holds 108 bytes, the last one ends the name
_SOCKET_NAMES: Final = ("ingest", "feed", "tap", "control")


class BusError(Exception):
    """The bus cannot be used as asked; the text names the remedy."""


class Endpoints:
    """The addresses of the bus in one runtime directory, which is made if it is not there.

    Raises:
        BusError: the directory is not ours alone, is no directory, cannot be made, or has too long a name.
    """

    def __init__(self, runtime_directory: Path) -> None:
        self.runtime_directory = runtime_directory.absolute()
        _refuse_long_paths(self.runtime_directory)
        _make_private(self.runtime_directory)

    @property
    def ingest(self) -> str:
        """Producers send their batches here."""
        return self._address("ingest")

    @property
    def feed(self) -> str:
        """Committed events are published here."""
        return self._address("feed")

    @property
    def tap(self) -> str:
        """Committed batches are published here, whole, for captures."""
        return self._address("tap")

    @property
    def control(self) -> str:
        """The supervisor answers here."""
        return self._address("control")

    def _address(self, name: str) -> str:
        return f"ipc://{self.runtime_directory / name}"


def _refuse_long_paths(directory: Path) -> None:
    longest_bytes = max(len(os.fsencode(directory / name)) for name in _SOCKET_NAMES)
    if longest_bytes > IPC_PATH_BYTES_MAX:
        raise BusError(
            f"socket names in {directory} would have {longest_bytes} bytes, the system allows {IPC_PATH_BYTES_MAX}: "
            "choose a runtime directory with a shorter path, such as one under /run or /tmp"
        )


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise BusError(f"cannot make the runtime directory {directory}: {error.strerror}; choose another") from error
    if not stat.S_ISDIR(status.st_mode):
        raise BusError(
            f"the runtime directory {directory} is not a directory itself (a link is refused): choose another"
        )
    if status.st_uid != os.getuid():
        raise BusError(f"the runtime directory {directory} belongs to user {status.st_uid}: choose one of your own")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise BusError(f"others may enter {directory} (mode {mode:04o}): run `chmod 700 {directory}`")
