"""One file format for everything that must survive a process: outboxes, captures, the input of a replay.

A journal is a file of records that is only ever appended to:

    head    b"OBSJRNL1", u32 length and u32 CRC-32 of the label, the label (text chosen by the owner)
    record  u32 length, u32 CRC-32 of the payload, the payload

A payload is never empty: zeros, which a power cut can leave at the end of a file, are no records. A record is written
with one system call. A process killed during it leaves a torn tail; readers stop there and owners cut it off: every
record before it is whole. All numbers are little endian.
"""

import errno
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from bus.files import write_whole

MAGIC: Final = b"OBSJRNL1"
_FRAME: Final = struct.Struct("<II")
RECORD_BYTES_MAX: Final = 64 * 1024 * 1024  # a length beyond this is a broken record, not a large one


class JournalError(Exception):
    """A file that is not a journal, or one that cannot be written."""


class RecordTooLargeError(JournalError):
    """A record that readers would take for the beginning of a torn tail."""


class Record(msgspec.Struct, frozen=True):
    """A whole record: where its payload ends in the file, and the payload."""

    end_offset: int
    payload: bytes


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


class JournalWriter:
    """Appends records to a new journal. Owned by one process; the caller sees to that with a lock."""

    def __init__(self, path: Path, label: str) -> None:
        """Create the file with its head.

        Raises:
            OSError: it exists already, or cannot be created; then it is not there.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # readable, too: see `reader`
        self.path = path
        self._descriptor = os.open(path, flags, 0o600)
        self._status = os.fstat(self._descriptor)
        self.size_bytes = 0
        """The length of the file up to its last whole record."""
        try:
            self._append(MAGIC + _frame(label.encode()))
        except OSError:
            self.close()
            path.unlink()
            raise

    @property
    def is_removed(self) -> bool:
        """Whether the file's name stands for another file or for none: then appended records end with this process."""
        try:
            return not os.path.samestat(self.path.stat(), self._status)
        except FileNotFoundError:
            return True

    def reader(self) -> "JournalReader":
        """Return a reader of the open file, also after the file's name was removed or its head was damaged."""
        return JournalReader(self.path, damaged=True, descriptor=os.dup(self._descriptor))

    def append(self, payload: bytes) -> None:
        """Add a record with at least one byte; when this returns, it survives the death of this process.

        Raises:
            RecordTooLargeError: it has more than `RECORD_BYTES_MAX`; the file is as it was before.
            OSError: the disk refused; the file is as it was before.
        """
        assert payload, "an empty record looks like zeros"
        if len(payload) > RECORD_BYTES_MAX:
            raise RecordTooLargeError(f"a record of {len(payload):,} bytes is beyond {RECORD_BYTES_MAX:,}")
        self._append(_frame(payload))

    def _append(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:] if written else data)
        except OSError:
            os.ftruncate(self._descriptor, self.size_bytes)
            os.lseek(self._descriptor, self.size_bytes, os.SEEK_SET)
            raise
        self.size_bytes += len(data)

    def write_again(self) -> None:
        """Restore the name of a removed file: copy the file, and continue in the copy.

        Raises:
            OSError: the disk refused; the journal is unchanged.
        """
        write_whole(self.path, os.pread(self._descriptor, self.size_bytes, 0))
        copy = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        os.lseek(copy, self.size_bytes, os.SEEK_SET)
        os.close(self._descriptor)
        self._descriptor, self._status = copy, os.fstat(copy)

    def sync(self) -> None:
        """Sync to the disk, so that appended records survive the machine's failure."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class JournalReader:
    """Reads records of a journal, also while it is being appended to: the end of the whole records is not an error, and
    `next_record` finds what came since.
    """

    def __init__(self, path: Path, *, damaged: bool = False, descriptor: int | None = None) -> None:
        """Open the file and read its label.

        Args:
            path: the journal.
            damaged: accept a damaged head; the label is then empty, and `skip_damage` finds the records.
            descriptor: of the file, if it is open already; the reader closes it.

        Raises:
            JournalError: it does not start like a journal.
            OSError: it cannot be opened.
        """
        if descriptor is None:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._descriptor = descriptor
        self.offset = len(MAGIC)
        """Where the next record begins; to be set to the end of one that was read before."""
        self.label = ""
        if os.pread(self._descriptor, len(MAGIC), 0) == MAGIC and (head := self.next_record()):
            self.label = head.payload.decode("utf-8", "replace")
            return
        self.offset = 0
        if not damaged:
            self.close()
            raise JournalError(f"{path} is not a journal, or was torn before its first record")

    def next_record(self) -> Record | None:
        """The next whole record; None at the end or before a torn tail."""
        frame = os.pread(self._descriptor, _FRAME.size, self.offset)
        if len(frame) < _FRAME.size:
            return None
        length, checksum = _FRAME.unpack(frame)
        if not 0 < length <= RECORD_BYTES_MAX:
            return None
        payload = os.pread(self._descriptor, length, self.offset + _FRAME.size)
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return None
        self.offset += _FRAME.size + length
        return Record(self.offset, payload)

    def skip_damage(self, beginning: bytes, within_bytes: int = sys.maxsize) -> bool:
        """Go to the next whole record whose payload begins with these bytes; False, and no move, if none follows.

        It reads the rest of the file, but no more than `within_bytes`; journals of outboxes have some MiB.
        """
        rest_bytes = max(0, os.fstat(self._descriptor).st_size - self.offset)
        rest = os.pread(self._descriptor, min(rest_bytes, within_bytes), self.offset)
        found = rest.find(beginning, _FRAME.size)
        while 0 <= found < len(rest):
            length, checksum = _FRAME.unpack_from(rest, found - _FRAME.size)
            if 0 < length <= len(rest) - found and zlib.crc32(memoryview(rest)[found : found + length]) == checksum:
                self.offset += found - _FRAME.size
                return True
            found = rest.find(beginning, found + 1)
        return False

    def __iter__(self) -> Iterator[Record]:
        """The records from here to the last whole one."""
        while record := self.next_record():
            yield record

    def close(self) -> None:
        os.close(self._descriptor)


def cut_torn_tail(path: Path) -> int:
    """Cut a journal at the end of its last whole record; return the number of bytes removed.

    Raises:
        JournalError: not even its head is whole.
    """
    with closing(JournalReader(path)) as reader:
        for _record in reader:
            pass
    torn_bytes = path.stat().st_size - reader.offset
    if torn_bytes:
        os.truncate(path, reader.offset)
    return torn_bytes
