"""A folder for the targets that decode files; gone with the process or after `remove`."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path


@cache
def folder() -> Path:
    """The folder of this process."""
    made = Path(tempfile.mkdtemp(prefix="observer-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def file_of(place: str, name: str, content: bytes) -> Path:
    """A file with this content, its owner's alone, in the folder `place`."""
    path = folder() / place / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def remove() -> None:
    """Delete the folder now: for a process that ends without its exit handlers."""
    shutil.rmtree(folder(), ignore_errors=True)
