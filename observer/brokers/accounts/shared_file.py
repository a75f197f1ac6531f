"""Files of an account that one process writes and all others read: in the folder `tokens` of the runtime directory.

Files, not messages: processes that use an account need its token and its health while the writer of the database is
down.
"""

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from observer.base.private_file import replace_privately
from observer.brokers.accounts.health import Health

T = TypeVar("T", bound=msgspec.Struct)


class SharedFile(Generic[T]):
    """A value in a file that its owner alone can read. The file is read again only when it was replaced."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self._kind = kind
        # What was read last, with the stamp of the file it came from.
        self._stamp: tuple[int, int, int] | None = None
        self._value: T | None = None

    def read(self) -> T | None:
        """The value that was written last; None without a file.

        Raises:
            OSError, ValueError, RecursionError: the file cannot be read, or holds something else.
        """
        try:
            status = self.path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._value = msgspec.json.decode(self.path.read_bytes(), type=self._kind)
                self._stamp = stamp
        except FileNotFoundError:
            self._stamp = self._value = None
        return self._value

    def write(self, value: T) -> None:
        """Replace the file durably and in one step.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_privately(self.path, msgspec.json.encode(value))


class HealthFile(SharedFile[Health]):
    """The file `<account>.health` in a folder."""

    def __init__(self, folder: Path, account: str) -> None:
        super().__init__(folder / f"{account}.health", Health)

    def read(self) -> Health | None:
        """The health that was written last; None without a readable file."""
        try:
            return super().read()
        except (OSError, ValueError, RecursionError):
            return None
