"""A lock that the kernel releases when its holder ends, however it ends (`flock`)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from observer.base.files import PRIVATE_FILE


class FileLock:
    """A lock on a file, which is made where it is absent. It stays: after its removal two processes could lock two
    files of one name. `descriptor` reads and writes what its holder keeps in it.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)

    def take(self) -> bool:
        """Whether the lock is taken now; False if another process holds it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock during the block; waits until no other process holds it."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the lock; the object is unusable afterwards."""
        os.close(self.descriptor)
