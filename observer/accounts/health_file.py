"""An account's health in a file beside its token: one process checks and writes, all others read.

A file, not a message: whoever needs an account must know how it does while the writer of the database is away.
"""

from pathlib import Path

import msgspec

from observer.accounts.health import Health
from observer.accounts.private_file import replace_privately


class HealthFile:
    """The file `<account>.health` in a folder."""

    def __init__(self, folder: Path, account: str) -> None:
        self._path = folder / f"{account}.health"
        # What was read last, with the stamp of the file it came from.
        self._stamp: tuple[int, int, int] | None = None
        self._health: Health | None = None

    def read(self) -> Health | None:
        """What was written last; None while there is nothing readable: an account that nobody judged yet.

        The file is read again only when it was replaced.
        """
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._health = msgspec.json.decode(self._path.read_bytes(), type=Health)
                self._stamp = stamp
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._stamp = self._health = None
        return self._health

    def write(self, health: Health) -> None:
        """Put it in place of the last one.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_privately(self._path, msgspec.json.encode(health))
