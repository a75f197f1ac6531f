"""The system calls that Python's `os` does not have: give back the beginning of a file, adopt orphans.

Linux only, as are the pidfds and the `/proc` that the rest of this room relies on.
"""

import ctypes
import errno
import os
from typing import Final

# include/uapi/linux/falloc.h
_KEEP_SIZE: Final = 0x01
_PUNCH_HOLE: Final = 0x02
_COLLAPSE_RANGE: Final = 0x08
# include/uapi/linux/prctl.h
_SET_CHILD_SUBREAPER: Final = 36

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def cut_front(descriptor: int, length: int) -> None:
    """Free the first `length` bytes of a file in one step, whoever appends to it meanwhile.

    Where the file system can (ext4, XFS), what follows moves to the front; `length` must then be whole blocks and less
    than the file. Elsewhere (btrfs, tmpfs) the file keeps its size and begins with a hole that takes no room.

    Raises:
        OSError: the file system can do neither.
    """
    try:
        _fallocate(descriptor, _COLLAPSE_RANGE, 0, length)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        _fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, 0, length)


def data_begin(descriptor: int) -> int:
    """Where a file's contents begin behind the hole that `cut_front` may have left; its size when there are none."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.fstat(descriptor).st_size


def adopt_orphans(*, adopt: bool) -> None:
    """Whether processes that lose their parent below this one become its children, rather than those of init.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(adopt), 0, 0, 0))


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    _checked(_libc.fallocate(descriptor, mode, offset, length))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
