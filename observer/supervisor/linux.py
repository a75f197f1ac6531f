"""Linux calls that Python's `os` lacks: free the front of a file, adopt orphans, change the texts in /proc.

Linux only, as are the pidfds and the `/proc` that the rest of this room relies on.
"""

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Final

from observer.base.environment import memory_span
from observer.base.errors import ConfigError

# include/uapi/linux/falloc.h
_KEEP_SIZE: Final = 0x01
_PUNCH_HOLE: Final = 0x02
_COLLAPSE_RANGE: Final = 0x08
_FAR_BYTES: Final = 1 << 30  # behind a file's end, where appending does not get while a call lasts
# include/uapi/linux/prctl.h
_SET_CHILD_SUBREAPER: Final = 36


def require_linux(platform: str = sys.platform) -> None:
    """Return on Linux.

    Raises:
        ConfigError: it is another platform; says what is missing there, and what to do.
    """
    if platform != "linux":
        name = {"darwin": "macOS", "win32": "Windows"}.get(platform, platform)
        missing = "pidfds, /proc and prctl, by which no process outlives its supervisor"
        raise ConfigError(
            f"a system runs on Linux alone: {name} lacks {missing}; use a Linux machine, a virtual machine or a "
            "container (Containerfile). Commands that read a database or a lake work here"
        )


def cut_front(descriptor: int, length: int) -> None:
    """Free the first `length` bytes of a file in one step, also while processes append to it.

    Where the file system can (ext4, XFS), what follows moves to the front; `length` must then be whole blocks and less
    than the file. Elsewhere (btrfs, tmpfs) the file keeps its size and begins with a gap that takes no room.

    Raises:
        OSError: the file system can do neither.
    """
    try:
        _fallocate(descriptor, _COLLAPSE_RANGE, 0, length)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        _fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, 0, length)


def require_cuttable(descriptor: int) -> None:
    """Return if `cut_front` can free a part of this file. Changes nothing: it frees a gap far behind the file's end.

    Raises:
        OSError: the file system cannot (vfat, 9p, NFS before 4.2), or this file may not be cut.
    """
    _fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, os.fstat(descriptor).st_size + _FAR_BYTES, 1)


def data_begin(descriptor: int) -> int:
    """Offset of a file's contents behind the gap that `cut_front` may have left; its size when it has none."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.fstat(descriptor).st_size


def adopt_orphans(*, adopt: bool) -> None:
    """Make this process the parent of orphans below it, or leave them to init.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc().prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(adopt), 0, 0, 0))


def show_command(command: str) -> None:
    """Show this command line in /proc, shortened to the room that the process had for its own."""
    begin, end = memory_span(48)
    room = end - begin
    # A last byte that is not NUL says that the line ends at the first NUL (`get_mm_proctitle` of the kernel).
    text = os.fsencode(command)[: room - 2].ljust(room - 1, b"\0") + b"."
    ctypes.memmove(begin, text, room)


def replace_environment_text(old: str, new: str) -> None:
    """Replace a text by one of equal length in the environment that /proc shows; where it is not found, nothing."""
    begin, end = memory_span(50)
    at = ctypes.string_at(begin, end - begin).find(os.fsencode(old))
    if at >= 0 and len(os.fsencode(old)) == len(os.fsencode(new)):
        ctypes.memmove(begin + at, os.fsencode(new), len(os.fsencode(new)))


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    _checked(_libc().fallocate(descriptor, mode, offset, length))


@cache
def _libc() -> ctypes.CDLL:
    """The C library; loaded at the first call, because another platform's lacks these functions."""
    library = ctypes.CDLL(None, use_errno=True)
    library.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return library


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
