"""Files that a reader sees whole: the old content or the new one, also after a kill or a power failure.

Their owner alone may read them.
"""

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

WRITTEN_BYTES_MAX: Final = 4_000_000  # of a file that a person writes: settings, keys, tables; real ones have some kB
PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700


def as_owner(uid: int) -> str:
    """The remedy for a command about another user's files: what root writes or takes over, their owner cannot use."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"'#{uid}'"
    return f"run this command as its owner, `sudo -u {name} ...`"


def read_file(path: Path, bytes_max: int = WRITTEN_BYTES_MAX) -> bytes:
    """The content of a file that others than this process write.

    Raises:
        OSError: it cannot be read, or has more bytes than that.
    """
    with path.open("rb") as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise OSError(errno.EFBIG, f"more than {bytes_max:,} bytes", str(path))
    return content


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file in one step; the content is on the disk before it takes the name. The folder exists.

    Raises:
        OSError: the folder cannot be written.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, *, survives_power_failure: bool = True) -> Iterator[BinaryIO]:
    """A new file that replaces `path` when the block ends, or goes when the block fails. It is on the disk before it
    takes the name, unless it need not survive a power failure.

    Raises:
        OSError: the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.unlink(missing_ok=True)  # left by a killed process with the same id
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(beside, flags, PRIVATE_FILE), "wb") as file:
            yield file
            if survives_power_failure:
                to_disk(file)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def to_disk(file: BinaryIO) -> None:
    """Flush the file's content to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_path(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(path: Path) -> None:
    """Make the folder and its parents, for their owner only, if they are not there."""
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)


def bytes_below(folder: Path) -> int:
    """The size of the files below a folder, which may come and go meanwhile, as may the folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total
