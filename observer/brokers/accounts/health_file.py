"""An account's health in a file beside its token: one process checks and writes, all others read.

A file, not a message: processes that use an account need its health while the writer of the database is down.
"""

from pathlib import Path

import msgspec

from observer.base.private_file import replace_privately
from observer.brokers.accounts.health import Health


class HealthFile:
    """The file `<account>.health` in a folder."""

    def __init__(self, folder: Path, account: str) -> None:
        self._path = folder / f"{account}.health"
        # What was read last, with the stamp of the file it came from.
        self._stamp: tuple[int, int, int] | None = None
        self._health: Health | None = None

    def read(self) -> Health | None:
        """The health that was written last; None without a readable file.

        The file is read again only when it was replaced.
        """
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._health = msgspec.json.decode(self._path.read_bytes(), type=Health)
                self._stamp = stamp
        except (OSError, ValueError, RecursionError):
            self._stamp = self._health = None
        return self._health

    def write(self, health: Health) -> None:
        """Replace the file.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_privately(self._path, msgspec.json.encode(health))
