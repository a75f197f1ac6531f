"""A file of secrets or of notes about them, replaced in one step and readable by its owner only."""

import contextlib
import os
from pathlib import Path


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
