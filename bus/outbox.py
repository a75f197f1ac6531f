"""A producer's outbox: a journal that is trimmed by acknowledgements.

"Published" means appended here. An appended event reaches the database exactly once, however often any process is
killed; events not yet appended are lost with their process.

One directory a producer, held by one process at a time through a file lock:

    lock                        held while a process has the outbox open
    <stream>-<first>.journal    segments: batches of one stream, from sequence number `first` on
    finished                    a line "stream last-sequence" for each stream that is wholly committed

Each opening starts a stream of its own, with a random id. Segments of earlier streams are what those processes left
behind; they are delivered first and then deleted. So a number is never used twice, even where the tail of an earlier
stream was lost after it had been committed.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bus.codec import Batch, BatchError, pack, unpack
from bus.delivery import StreamProgress
from bus.events import Event
from bus.journal import JournalError, JournalReader, JournalWriter, cut_torn_tail

logger = logging.getLogger(__name__)

SEGMENT_BYTES_MAX: Final = 8 * 1024 * 1024  # acknowledged data is given back to the disk in pieces of this size
_FINISHED: Final = "finished"


class OutboxInUseError(Exception):
    """Another process has this outbox open."""


class _Segment:
    """A journal file of one stream: which numbers it holds (`last_sequence` is `first - 1` while it is empty)."""

    __slots__ = ("first_sequence", "last_sequence", "path")

    def __init__(self, path: Path, first_sequence: int, last_sequence: int) -> None:
        self.path = path
        self.first_sequence = first_sequence
        self.last_sequence = last_sequence


class Outbox:
    """Appends batches of events to the current stream, and reads back what is not acknowledged yet.

    Args:
        directory: made (0700) if it is not there.
        producer: the name of the process, for the writer's records.
        stream: the new stream's id, 32 hexadecimal digits from a random source that never repeats.

    Raises:
        OutboxInUseError: another process has it open.
        OSError: the directory cannot be used.
    """

    def __init__(self, directory: Path, producer: str, stream: str) -> None:
        self.producer = producer
        self.stream = stream
        self.torn_bytes = 0
        self._directory = directory
        self._last_sequence = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take_lock(directory / "lock")
        _cut_half_line(directory / _FINISHED)
        self._segments = self._find_segments()
        self._writer = self._start_segment()
        self._cursor: _Cursor | None = None

    @property
    def last_sequence(self) -> int:
        """The number of the last event appended to the current stream; 0 before the first."""
        return self._last_sequence

    def progress(self) -> Sequence[StreamProgress]:
        """All streams that are here, oldest first, the current one last."""
        return [StreamProgress(stream, segments[-1].last_sequence) for stream, segments in self._segments.items()]

    def append(self, events: Sequence[Event]) -> int:
        """Append the events as one batch: after a kill either all of them are here or none. Returns the last number.

        Raises:
            RecordTooLargeError: it is too much for one batch; nothing was appended.
            OSError: the disk refused (full, say); nothing was appended.
        """
        if self._writer.size_bytes >= SEGMENT_BYTES_MAX:
            full, self._writer = self._writer, self._start_segment()
            full.close()
        self._writer.append(pack(self.stream, self._last_sequence + 1, events))
        self._last_sequence += len(events)
        self._segments[self.stream][-1].last_sequence = self._last_sequence
        return self._last_sequence

    def batch_at(self, stream: str, sequence: int) -> tuple[bytes, int]:
        """The packed batch that holds this number, and the number of its last event. Reading on is cheap; a jump back
        scans the segment again.

        Raises:
            KeyError: the number is not here (not appended yet, or trimmed).
        """
        if self._cursor is None or not self._cursor.stands_at(stream, sequence):
            self._move_cursor(stream, sequence)
        while self._cursor is not None:
            if found := self._cursor.next_batch(sequence):
                return found
            self._move_cursor(stream, self._cursor.segment.last_sequence + 1)
        raise KeyError(f"{stream} has no {sequence} here")

    def _move_cursor(self, stream: str, sequence: int) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        for segment in self._segments.get(stream, ()):
            if segment.first_sequence <= sequence <= segment.last_sequence:
                self._cursor = _Cursor(stream, segment)

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        """Delete the segments that are wholly committed; a stream's last one stays until the stream is finished."""
        segments = self._segments.get(stream, [])
        while len(segments) > 1 and segments[0].last_sequence <= high_water_mark:
            self._delete(segments.pop(0))

    def finish(self, stream: str) -> None:
        """Everything of this stream is committed: note its length, then forget it. Where the disk has no room for the
        note, that is left to the next opening.
        """
        segments = self._segments.pop(stream)
        try:
            _append_line(self._directory / _FINISHED, f"{stream} {segments[-1].last_sequence}\n")
        except OSError as error:
            logger.error("stream %s stays in the outbox, though it is committed: %s", stream, error)
            return
        for segment in segments:
            self._delete(segment)

    def close(self, *, delivered: bool) -> None:
        """Close; with everything delivered the current stream is finished, otherwise it stays for the next opening."""
        self._writer.close()
        if delivered:
            self.finish(self.stream)
        if self._cursor is not None:
            self._cursor.close()
        os.close(self._lock)

    def _find_segments(self) -> dict[str, list[_Segment]]:
        """Segments of earlier processes, oldest stream first: torn tails are cut, finished streams deleted."""
        noted = _read_finished(self._directory)
        found: dict[str, list[_Segment]] = {}
        for path in sorted(self._directory.glob("*.journal"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
            stream = path.stem.partition("-")[0]
            segment = None if stream in noted else self._recover(path)
            if segment is None:
                path.unlink()
            else:
                found.setdefault(stream, []).append(segment)
        for segments in found.values():
            segments.sort(key=lambda segment: segment.first_sequence)
        return found

    def _recover(self, path: Path) -> _Segment | None:
        """The segment of an earlier process; None for a file that was torn in its head and so holds nothing."""
        first_sequence = int(path.stem.partition("-")[2])
        try:
            self.torn_bytes += cut_torn_tail(path)
        except JournalError:
            self.torn_bytes += path.stat().st_size
            return None
        last_sequence = first_sequence - 1
        for batch in _batches(path):
            last_sequence = batch.last_sequence
        return _Segment(path, first_sequence, last_sequence)

    def _start_segment(self) -> JournalWriter:
        first_sequence = self._last_sequence + 1
        path = self._directory / f"{self.stream}-{first_sequence:020d}.journal"
        writer = JournalWriter(path, f"outbox {self.producer} {self.stream}")
        self._segments.setdefault(self.stream, []).append(_Segment(path, first_sequence, self._last_sequence))
        return writer

    def _delete(self, segment: _Segment) -> None:
        if self._cursor is not None and self._cursor.segment is segment:
            self._cursor.close()
            self._cursor = None
        segment.path.unlink()


class _Cursor:
    """A reading position in one segment."""

    def __init__(self, stream: str, segment: _Segment) -> None:
        self.stream = stream
        self.segment = segment
        self._next_sequence = segment.first_sequence
        self._reader = JournalReader(segment.path)

    def stands_at(self, stream: str, sequence: int) -> bool:
        """Whether the number can be reached by reading on."""
        return self.stream == stream and self._next_sequence <= sequence

    def next_batch(self, sequence: int) -> tuple[bytes, int] | None:
        """The first batch from here on that holds the number, None at the segment's end."""
        while record := self._reader.next_record():
            last_sequence = unpack(record.payload).last_sequence
            self._next_sequence = last_sequence + 1
            if last_sequence >= sequence:
                return record.payload, last_sequence
        return None

    def close(self) -> None:
        """Give the file back."""
        self._reader.close()


def published_by_stream(directory: Path) -> Mapping[str, int]:
    """Number of events ever appended to this outbox, by stream. Reads its files alone, also while it is in use, so that
    a check does not depend on the writer.
    """
    counts = _read_finished(directory)
    for path in directory.glob("*.journal"):
        stream, _, first_sequence = path.stem.partition("-")
        last_sequence = max((batch.last_sequence for batch in _batches(path)), default=int(first_sequence) - 1)
        counts[stream] = max(counts.get(stream, 0), last_sequence)
    return counts


def _batches(path: Path) -> Iterator[Batch]:
    """The batches of a segment; ends at the first record that is none, as at a torn tail."""
    try:
        reader = JournalReader(path)
    except JournalError:
        return
    try:
        for record in reader:
            yield unpack(record.payload)
    except BatchError:
        return
    finally:
        reader.close()


def _read_finished(directory: Path) -> dict[str, int]:
    path = directory / _FINISHED
    if not path.exists():
        return {}
    lines = path.read_text(encoding="ascii").splitlines(keepends=True)
    whole = [line.split() for line in lines if line.endswith("\n")]  # a kill can leave half a line at the end
    return {stream: int(last_sequence) for stream, last_sequence in whole}


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


def _cut_half_line(path: Path) -> None:
    """Cut half a line at the end, as a kill can leave it, before the next line is appended."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _take_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutboxInUseError(f"another process has the outbox {path.parent} open") from None
    return descriptor
