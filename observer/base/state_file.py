"""What a process keeps in a file for its next life, or for other processes: one value, as JSON."""

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from observer.base.files import make_private_folder, read_file, replacing

T = TypeVar("T")


class StateFile(Generic[T]):
    """A file with one value of the type, readable by its owner only. A reader sees the old value or the new one.

    Without `survives_power_failure` a write does not wait for the disk: a kill costs nothing, a power failure may.
    """

    def __init__(self, path: Path, of: type[T], *, survives_power_failure: bool = True) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(of)
        self._is_durable = survives_power_failure
        self._stamp: tuple[int, int, int] | None = None  # of the file that `_value` was read from
        self._value: T | None = None

    def read(self) -> T | None:
        """The value; None where the file is missing, damaged or not readable."""
        try:
            return self.read_whole()
        except (OSError, ValueError, RecursionError):
            return None

    def read_whole(self) -> T | None:
        """The value; None where the file is missing. Reads the file again only after its replacement.

        Raises:
            OSError: it cannot be read.
            ValueError, RecursionError: it is damaged.
        """
        try:
            status = self.path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._value = self._decoder.decode(read_file(self.path))
                self._stamp = stamp
        except FileNotFoundError:
            self._stamp = self._value = None
        return self._value

    def write(self, value: T) -> None:
        """Replace the value. Makes the folder.

        Raises:
            OSError: the folder cannot be written.
        """
        make_private_folder(self.path.parent)
        with replacing(self.path, survives_power_failure=self._is_durable) as file:
            file.write(msgspec.json.encode(value))
