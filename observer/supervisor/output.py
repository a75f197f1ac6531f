"""Log files of children: a child appends to its file itself; a long file is cut at its front.

There is no pipe between a child and its log: a child never waits for the supervisor, and its last output, even in its
crash or in the supervisor's, is in the file. So the file cannot be exchanged under it either. The part beyond the
length limit is copied to `NAME.log.1` and then taken off the front in one step of the file system (`linux.cut_front`),
during which appending goes on. Copy and truncate, as in logrotate, loses output written between the two steps; this
loses none: the kept files and the present one, joined in order, are the child's output. A supervisor killed between
copy and cut leaves those bytes in both. A cut that the file system refuses leaves all files as they were.

A log that begins with a head (`observer.base.logs`) is cut behind a line, and what stays begins with the head again: it
is written over the last blocks that were copied, blanks behind it. Any other log is cut at a block.
"""

import errno
import os
from pathlib import Path
from typing import Final

from observer.base.logs import continued_head
from observer.supervisor.linux import cut_front, data_begin, require_cuttable

_BLOCK_BYTES: Final = 65536  # a multiple of every usual file system's block, which `cut_front` asks for
_HEAD_BLOCK_BYTES: Final = 4096  # a front is so many, or a multiple; a file system with larger blocks punches a gap
_SEARCHED_BYTES: Final = 1 << 20  # of a log at a time, for its head
_HEAD_BYTES_MAX: Final = 8192  # of a head, which may lie across two parts
_OWNER_ONLY: Final = 0o600
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


def open_log(path: Path) -> int:
    """Open a child's log for appending and return its descriptor; creates file and folder.

    Raises:
        OSError: the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER_ONLY)


def rotate(path: Path, bytes_max: int, kept: int) -> bool:
    """Move a log that is longer than `bytes_max` to `NAME.1`, older ones one number up; whether that was needed.

    At most `kept` old files stay. Less than two blocks stay behind. To be called off the event loop: it copies.

    Raises:
        OSError: the disk has no room, or the file system cannot cut; the log and the kept files are as they were, but
            that the oldest may have been removed to make room.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        begin = data_begin(descriptor)
        size = os.fstat(descriptor).st_size
        end = (size - 1) // _BLOCK_BYTES * _BLOCK_BYTES  # a cut must leave something
        if size - begin <= bytes_max or end <= begin:
            return False
        require_cuttable(descriptor)
        front, kept_end = _front(descriptor, begin, end)
        if kept > 0:
            _keep(descriptor, begin, kept_end, path, kept)
        try:
            _cut(descriptor, end, front)
        except OSError:
            if kept > 0:
                _give_back(path, kept)
            raise
        _numbered(path, kept + 1).unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _front(descriptor: int, begin: int, end: int) -> tuple[bytes, int]:
    """What takes the place of the last bytes before `end`: the head, and the begin of the line that crosses `end`; and
    where that line begins. Nothing and `end` for a log without a head, or with a line that has no room beside it.
    """
    tail = os.pread(descriptor, min(_BLOCK_BYTES, end - begin), max(begin, end - _BLOCK_BYTES))
    lines, newline, rest = tail.rpartition(b"\n")
    head = _last_head(descriptor, begin, end, lines) if newline else None
    if head is None:
        return b"", end
    size = -(-(len(head) + 1 + len(rest)) // _HEAD_BLOCK_BYTES) * _HEAD_BLOCK_BYTES
    if end - size <= begin or size > len(tail):
        return b"", end
    return head.ljust(size - 1 - len(rest)) + b"\n" + rest, end - len(rest)


def _last_head(descriptor: int, begin: int, end: int, last_lines: bytes) -> bytes | None:
    """The head with which the log goes on behind these last lines before `end`."""
    behind = b""
    while end > begin:
        start = max(begin, end - _SEARCHED_BYTES)
        part = os.pread(descriptor, end - start, start)
        if (head := continued_head(part + behind, last_lines)) is not None:
            return head
        behind, end = part[:_HEAD_BYTES_MAX], start
    return None


def _cut(descriptor: int, end: int, front: bytes) -> None:
    """Take off what is before `end`, but for the bytes that the front takes the place of."""
    at = end - len(front)
    covered = os.pread(descriptor, len(front), at)
    try:
        os.pwrite(descriptor, front, at)
        cut_front(descriptor, at)
    except OSError:
        os.pwrite(descriptor, covered, at)
        raise


def _keep(descriptor: int, begin: int, end: int, path: Path, kept: int) -> None:
    """Copy those bytes to the first of the kept files; the others move one number up. One too many stays until the cut
    is made; where the disk has no room for it, the oldest goes first.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        try:
            _copy(descriptor, begin, end, new)
        except OSError as error:
            if error.errno not in _NO_ROOM or not _numbered(path, kept).exists():
                raise
            _numbered(path, kept).unlink()
            _copy(descriptor, begin, end, new)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    for number in range(kept, 0, -1):
        if (older := _numbered(path, number)).exists():
            older.replace(_numbered(path, number + 1))
    new.replace(_numbered(path, 1))


def _give_back(path: Path, kept: int) -> None:
    """Remove the first of the kept files, whose bytes are still in the log; the others move one number down."""
    _numbered(path, 1).unlink(missing_ok=True)
    for number in range(1, kept + 1):
        if (newer := _numbered(path, number + 1)).exists():
            newer.replace(_numbered(path, number))


def _copy(source: int, begin: int, end: int, to: Path) -> None:
    target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
    try:
        while begin < end:
            copied = os.copy_file_range(source, target, end - begin, begin)
            if not copied:  # a person emptied the file meanwhile
                raise OSError(errno.EIO, "the log became shorter while it was copied", str(to))
            begin += copied
    finally:
        os.close(target)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
