"""Keeps what a process makes to its owner: files, and its memory at a crash. For the first lines of every process."""

import contextlib
import os
import resource
from pathlib import Path
from typing import Final

OTHERS: Final = 0o077  # the permission bits of the group and of all other users

_DUMP_FILTER: Final = Path("/proc/self/coredump_filter")


def keep_private() -> None:
    """Make new files and folders accessible to their owner only, and turn core dumps off, here and in all processes
    started later.

    A reader's lock on a file beside the database would stop the writer: SQLite and `flock` ask for no more than the
    right to read. The hard limit turns dump files off. A program that the kernel pipes dumps to gets them whatever the
    limit says: the empty filter leaves no memory in them. Processes stay "dumpable" to the kernel, because else only
    root could read their marks (`supervisor.mark`).
    """
    os.umask(OTHERS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a kernel without core dumps has no filter
        _DUMP_FILTER.write_text("0", encoding="ascii")
