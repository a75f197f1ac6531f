"""A file of secrets or of notes about them, replaced in one step and readable by its owner only."""

import contextlib
import os
import shlex
import stat
from pathlib import Path

from observer.errors import MissingKeysError


def replace_privately(path: Path, content: bytes) -> None:
    """Write a file that nobody else can read at any moment, on disk before it takes its name.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with contextlib.suppress(FileNotFoundError):  # left by a process of the same number that was killed here
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_privately(path: Path) -> bytes:
    """A file of secrets, after a look at who else could read it.

    Raises:
        FileNotFoundError: there is none.
        MissingKeysError: others may read it, or it cannot be read. The text holds nothing of its content.
    """
    try:
        # Looked at and read through one descriptor: nothing can be put in between.
        with path.open("rb") as file:
            _check_private(os.fstat(file.fileno()), path)
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MissingKeysError(f"{path} cannot be read: {type(error).__name__}") from None


def _check_private(status: os.stat_result, path: Path) -> None:
    """A keys file belongs to the user who runs us and is closed to everybody else."""
    quoted = shlex.quote(str(path))
    if status.st_uid != os.geteuid():
        raise MissingKeysError(f"{path} belongs to another user: run `chown {os.geteuid()} {quoted}`")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise MissingKeysError(f"{path} can be read by others: run `chmod 600 {quoted}`")
