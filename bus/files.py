"""Files of the bus that are replaced as a whole."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write the file under another name, bring it to the disk, then rename it: the name never stands for a part of it,
    and other users may not read it.

    Raises:
        OSError: the disk refused; the file is as it was.
    """
    unfinished = path.with_name(f".{path.name}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
        unfinished.rename(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
