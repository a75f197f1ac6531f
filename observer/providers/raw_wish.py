"""Whether somebody wants a raw capture, and where: a file in the runtime directory, and who holds its lock.

The lock (`flock`) is the kernel's: it goes with the process that held it, however that one dies. So a file whose lock
nobody holds means nothing, a capture that was killed ends, and workers that are started meanwhile join it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from observer.errors import ConfigError

_NAME: Final = "raw-capture"
_WISH_BYTES_MAX: Final = 8192  # two paths of the longest kind
_TRIES: Final = 20  # a worker that looks holds a lock for some microseconds
_BETWEEN_TRIES_S: Final = 0.02


class RawWish(msgspec.Struct, frozen=True):
    """A capture that is wanted: its id, and the absolute path of the folder for its journals."""

    capture_id: str
    folder: str


def wish_path(runtime_directory: Path) -> Path:
    """Where the wish stands."""
    return runtime_directory / _NAME


def read_wish(path: Path) -> RawWish | None:
    """What is wanted now; None when nothing is, or whoever wanted it is gone.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parsed(os.read(descriptor, _WISH_BYTES_MAX))
    finally:
        os.close(descriptor)
    return None


def _parsed(content: bytes) -> RawWish | None:
    """The wish; one that is just being written is none yet."""
    try:
        return msgspec.json.decode(content, type=RawWish)
    except msgspec.DecodeError:
        return None


@contextlib.contextmanager
def held_wish(path: Path, wish: RawWish) -> Iterator[None]:
    """Want a capture while the block runs.

    Raises:
        ConfigError: another one is wanted already.
        OSError: the file cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(wish), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES_S)
        else:
            return
    raise ConfigError(f"a raw capture of this system runs already ({path} is locked): end that first")
