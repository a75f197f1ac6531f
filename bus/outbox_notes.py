"""The notes beside an outbox's segments: how far each stream was appended, and which streams are finished.

They state which numbers exist, whatever happens to the segments. Each note has its checksum; a damaged one is ignored.
"""

import errno
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Final

import msgspec

from bus.files import write_whole

_FINISHED: Final = "finished"
_EPOCH: Final = "epoch"
_EPOCH_TEXT: Final = re.compile(r"[A-Za-z0-9 _.:-]{0,64}")
_PROGRESS: Final = struct.Struct("<QQI")  # ordinal of the stream, number of the last event, CRC-32 of both
_STREAM_DIGITS: Final = 32
_NUMBER_DIGITS: Final = 20  # as in the names of segments


class Progress(msgspec.Struct, frozen=True):
    """A stream: the ordinal of its opening, and the number of its last event."""

    ordinal: int = 0
    last_sequence: int = 0


class ProgressFile:
    """The note of one stream, written over at each append.

    Raises:
        OSError: the disk has no room for it.
    """

    def __init__(self, directory: Path, stream: str, progress: Progress) -> None:
        self._ordinal = progress.ordinal
        path = progress_path(directory, stream)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.note(progress.last_sequence)
        except OSError:
            self.close()
            raise

    def note(self, last_sequence: int) -> None:
        """Set the number of the last event.

        Raises:
            OSError: the disk refused.
        """
        checksum = _progress_checksum(self._ordinal, last_sequence)
        os.pwrite(self._descriptor, _PROGRESS.pack(self._ordinal, last_sequence, checksum), 0)

    def close(self) -> None:
        os.close(self._descriptor)


def note_progress(directory: Path, stream: str, progress: Progress) -> None:
    """Set the number of the last event of a stream that is not written any more.

    Raises:
        OSError: the disk refused.
    """
    ProgressFile(directory, stream, progress).close()


def progress_path(directory: Path, stream: str) -> Path:
    """Where the note of a stream is."""
    return directory / f"{stream}.progress"


def read_epoch(directory: Path) -> str:
    """The epoch of the database that this outbox was welcomed in last; empty before the first welcome, and where the
    note is damaged.
    """
    try:
        epoch = (directory / _EPOCH).read_text("ascii", "replace").strip()
    except OSError:
        return ""
    return epoch if _EPOCH_TEXT.fullmatch(epoch) else ""


def note_epoch(directory: Path, epoch: str) -> None:
    """Note the epoch.

    Raises:
        OSError: the disk refused; the note is as it was.
    """
    write_whole(directory / _EPOCH, f"{epoch}\n".encode())


def is_stream(text: str) -> bool:
    return len(text) == _STREAM_DIGITS and all(digit in "0123456789abcdef" for digit in text)


def is_number(text: str) -> bool:
    """Whether it is a sequence number, in a file's name or in a note."""
    return text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS


def read_progress(directory: Path) -> dict[str, Progress]:
    """The streams that are not finished, in the order of their openings."""
    found = {}
    for path in directory.glob("*.progress"):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if len(content) == _PROGRESS.size and is_stream(path.stem):
            ordinal, last_sequence, checksum = _PROGRESS.unpack(content)
            if checksum == _progress_checksum(ordinal, last_sequence):
                found[path.stem] = Progress(ordinal, last_sequence)
    return dict(sorted(found.items(), key=lambda item: item[1].ordinal))


def _progress_checksum(ordinal: int, last_sequence: int) -> int:
    return zlib.crc32(b"%d %d" % (ordinal, last_sequence))


def note_finished(directory: Path, stream: str, last_sequence: int) -> None:
    """Add a stream to the finished ones; with the number 0 take it out again: it is to be delivered once more.

    Raises:
        OSError: the disk has no room for the line; the file is as it was.
    """
    _append_line(directory / _FINISHED, _finished_line(stream, last_sequence))


def _finished_line(stream: str, last_sequence: int) -> str:
    note = f"{stream} {last_sequence}"
    return f"{note} {zlib.crc32(note.encode()):08x}\n"


def read_finished(directory: Path) -> tuple[dict[str, int], int]:
    """The last number of each finished stream, in the order of their ends; and how many lines are damaged."""
    try:
        content = (directory / _FINISHED).read_bytes()
    except FileNotFoundError:
        return {}, 0
    except OSError:
        return {}, 1
    notes: dict[str, int] = {}
    unreadable = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):  # a kill can leave half a line at the end
            continue
        stream, _, rest = line.decode("ascii", "replace").partition(" ")
        last_sequence = rest.partition(" ")[0]
        if is_number(last_sequence) and line.decode("ascii", "replace") == _finished_line(stream, int(last_sequence)):
            notes.pop(stream, None)
            if int(last_sequence):
                notes[stream] = int(last_sequence)
        else:
            unreadable += 1
    return notes, unreadable


def _append_line(path: Path, line: str) -> None:
    """Add the whole line, or raise an `OSError` and leave the file as it was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size_bytes = os.fstat(descriptor).st_size
        if os.write(descriptor, line.encode()) < len(line):
            os.ftruncate(descriptor, size_bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def cut_half_line(directory: Path) -> None:
    """Cut half a line at the end, as a kill can leave it, in the note of finished streams."""
    path = directory / _FINISHED
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
