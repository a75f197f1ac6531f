"""A producer's outbox: a journal that is trimmed by acknowledgements, and the archive of what was trimmed.

"Published" means appended here. An appended event reaches the database exactly once, however often any process is
killed; events not yet appended are lost with their process.

One directory a producer, held by one process at a time through a file lock:

    lock                        held while a process has the outbox open
    <stream>-<first>.journal    segments: batches of one stream, from sequence number `first` on
    <stream>.progress           the stream's ordinal, and the number of its last event
    finished                    a line "stream last-sequence checksum" for each stream that is wholly committed
    archive/                    acknowledged segments (`bus.archive`)
    damaged/                    damaged segments, as they were found, for a person

Each opening starts a stream of its own, with a random id. Segments of earlier streams are what those processes left
behind; they are delivered first and then archived. So a number is never used twice, even where the tail of an earlier
stream was lost after it had been committed.

Damage ends nothing but itself: the whole records around it are delivered, and the numbers that are not there any more
are stated as `Missing`. `<stream>.progress` and the names of the segments state which numbers were appended.
"""

import errno
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.archive import Archive, ArchiveLimits
from bus.codec import Batch, BatchError, pack, unpack
from bus.delivery import StreamProgress
from bus.events import Event
from bus.journal import JournalReader, JournalWriter, Record

logger = logging.getLogger(__name__)

SEGMENT_BYTES_MAX: Final = 8 * 1024 * 1024  # acknowledged data is archived in pieces of this size
FINISHED_STREAMS_MAX: Final = 500  # of the newest finished streams; each is named in every hello
_FINISHED: Final = "finished"
_PROGRESS: Final = struct.Struct("<QQI")  # ordinal of the stream, number of the last event, CRC-32 of both
_NOTHING: Final = (0, 0)
_STREAM_DIGITS: Final = 32


class OutboxInUseError(Exception):
    """Another process has this outbox open."""


class Packed(msgspec.Struct, frozen=True):
    """A packed batch (`bus.codec`) and the number of its last event."""

    content: bytes
    last_sequence: int


class Missing(msgspec.Struct, frozen=True):
    """The numbers up to `last_sequence` are not here any more."""

    last_sequence: int
    reason: str


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
        limits: of the archive.

    Raises:
        OutboxInUseError: another process has it open.
        OSError: the directory cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        producer: str,
        stream: str,
        limits: ArchiveLimits = ArchiveLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.producer = producer
        self.stream = stream
        self.damage: list[str] = []  # texts for an alert, oldest first; the caller takes them out
        self._directory = directory
        self._last_sequence = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take_lock(directory / "lock")
        _cut_half_line(directory / _FINISHED)
        self._archive = Archive(directory / "archive", limits)
        self._damaged_segments: set[Path] = set()
        self._cursor: _Cursor | None = None
        self._finished = self._read_finished()
        self._progress = _read_progress(directory)
        self._segments = self._find_segments()
        self._writer = self._start_stream()

    @property
    def last_sequence(self) -> int:
        """The number of the last event appended to the current stream; 0 before the first."""
        return self._last_sequence

    def progress(self) -> Sequence[StreamProgress]:
        """All streams that are here, oldest first, the current one last."""
        return [StreamProgress(stream, self._appended(stream)) for stream in self._segments]

    def archived(self) -> Mapping[str, int]:
        """The last number of each of the newest finished streams, whose events may have to be delivered again."""
        newest = [stream for stream in self._finished if stream not in self._segments][-FINISHED_STREAMS_MAX:]
        return {stream: self._finished[stream] for stream in newest}

    def append(self, events: Sequence[Event]) -> int:
        """Append the events as one batch: after a kill either all of them are here or none. Returns the last number.

        Raises:
            RecordTooLargeError: it is too much for one batch; nothing was appended.
            OSError: the disk refused (full, say); nothing was appended.
        """
        if self._writer.is_removed:
            self._writer.write_again()
            self._report(f"{self._writer.path} had been removed; it was written again from the open file")
        if self._writer.size_bytes >= SEGMENT_BYTES_MAX:
            full, self._writer = self._writer, self._start_segment()
            full.close()
        self._writer.append(pack(self.stream, self._last_sequence + 1, events))
        self._last_sequence += len(events)
        self._segments[self.stream][-1].last_sequence = self._last_sequence
        self._note_progress()
        return self._last_sequence

    def batch_at(self, stream: str, sequence: int) -> Packed | Missing:
        """The batch that holds this number, which was appended. Reading on is cheap; a jump back scans the segment."""
        assert 0 < sequence <= self._appended(stream), f"{stream} has no {sequence} here"
        if self._cursor is None or not self._cursor.stands_at(stream, sequence):
            self._move_cursor(stream, sequence)
        while self._cursor is not None:
            if found := self._cursor.next_batch(sequence):
                return found
            end_sequence = self._cursor.segment.last_sequence
            if sequence <= end_sequence:
                self._note_damage(self._cursor.segment, f"it ends before number {sequence}")
                return Missing(end_sequence, "damaged")
            self._move_cursor(stream, sequence)
        later = [segment.first_sequence for segment in self._segments[stream] if segment.first_sequence > sequence]
        end_sequence = min(later) - 1 if later else self._appended(stream)
        self._report(f"numbers {sequence} to {end_sequence} of stream {stream} are in no segment any more")
        return Missing(end_sequence, "removed")

    def _move_cursor(self, stream: str, sequence: int) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        for segment in self._segments[stream]:
            if segment.first_sequence <= sequence <= segment.last_sequence and (reader := self._open(segment)):
                self._cursor = _Cursor(stream, segment, reader, self._note_damage)

    def _open(self, segment: _Segment) -> JournalReader | None:
        if segment is self._segments[self.stream][-1]:
            return self._writer.reader()  # readable also without its name
        try:
            return JournalReader(segment.path, damaged=True)
        except OSError as error:
            self._report(f"segment {segment.path} cannot be read: {error.strerror}")
            return None

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        """Archive the segments that are wholly committed; a stream's last one stays until the stream is finished."""
        segments = self._segments.get(stream, [])
        while len(segments) > 1 and segments[0].last_sequence <= high_water_mark:
            self._put_away(segments.pop(0), stream)

    def finish(self, stream: str) -> None:
        """Everything of this stream is committed: note its length, then archive it. Where the disk has no room for the
        note, that is left to the next opening.
        """
        appended = self._appended(stream)
        segments = self._segments.pop(stream)
        if appended and not self._note_finished(stream, appended):
            return
        for segment in segments:
            self._put_away(segment, stream)
        (self._directory / f"{stream}.progress").unlink(missing_ok=True)

    def rewind(self, stream: str, high_water_mark: int) -> int:
        """The database went back to this mark: bring back the archived segments behind it. Returns the number of the
        stream's last event.

        Raises:
            OSError: the disk refused; what is back stays, and the call can be repeated.
        """
        appended = self._finished.get(stream, 0) if stream not in self._segments else self._appended(stream)
        here = self._segments.get(stream, [])
        known = {segment.first_sequence for segment in here}
        for taken in self._archive.take_back(stream, high_water_mark, self._directory):
            if taken.first_sequence not in known:
                here.append(_Segment(taken.path, taken.first_sequence, taken.last_sequence))
        here.sort(key=lambda segment: segment.first_sequence)
        if stream not in self._segments:
            current = self._segments.pop(self.stream)
            self._segments |= {stream: here, self.stream: current}
            self._progress[stream] = (0, appended)
        return appended

    def keep_behind(self, backed_up: Mapping[str, int]) -> None:
        """Two verified backups hold the events up to these numbers: the archive need not."""
        self._archive.trim(backed_up)

    def tidy_archive(self, now_s: float) -> bool:
        """Enforce the archive's limits and compress one segment; False when none is left. Any thread may call it.

        Args:
            now_s: machine time since the epoch, as the files' times.

        Raises:
            OSError: the disk refused; no event is lost.
        """
        if deleted := self._archive.shrink(now_s):
            self._report(
                f"{deleted} archived segments of {self.producer} are deleted without a verified backup of them: "
                "the archive is at its limit, make backups (observer backup now)"
            )
        return self._archive.compress_next()

    def close(self, *, delivered: bool) -> None:
        """Close; with everything delivered the current stream is finished, otherwise it stays for the next opening."""
        self._writer.close()
        os.close(self._progress_file)
        if delivered:
            self.finish(self.stream)
        if self._cursor is not None:
            self._cursor.close()
        os.close(self._lock)

    # --- opening ---------------------------------------------------------------------------------------------

    def _find_segments(self) -> dict[str, list[_Segment]]:
        """Segments of earlier processes, oldest stream first. Torn tails are cut, finished streams archived."""
        found: dict[str, list[_Segment]] = {}
        for path in sorted(self._directory.glob("*.journal"), key=self._age):
            stream, _, first = path.stem.partition("-")
            if segment := self._recover(path, stream, first):
                found.setdefault(stream, []).append(segment)
        for stream, (_ordinal, last_sequence) in list(self._progress.items()):
            if last_sequence:
                found.setdefault(stream, [])  # its segments may be gone: `Missing` then
            elif stream not in found:
                (self._directory / f"{stream}.progress").unlink()
        for stream in [stream for stream in found if stream in self._finished]:
            for segment in found.pop(stream):
                self._put_away(segment, stream)
            (self._directory / f"{stream}.progress").unlink(missing_ok=True)
        for segments in found.values():
            segments.sort(key=lambda segment: segment.first_sequence)
        return found

    def _age(self, path: Path) -> tuple[int, int, str]:
        """Streams in the order of their openings; one without a note of that by its file's time."""
        ordinal, _last = self._progress.get(path.stem.partition("-")[0], _NOTHING)
        return ordinal, path.stat().st_mtime_ns, path.name

    def _recover(self, path: Path, stream: str, first: str) -> _Segment | None:
        """The segment of an earlier process; None for a file without a whole record."""
        if not first.isdigit() or not _is_stream(stream):
            self._report(f"{path} is no segment of an outbox; it is left alone")
            return None
        segment = _Segment(path, int(first), int(first) - 1)
        reader = JournalReader(path, damaged=True)
        try:
            for batch, is_behind_damage in _batches_around_damage(reader, stream):
                if is_behind_damage:
                    self._note_damage(segment, f"number {segment.last_sequence + 1} cannot be read")
                segment.last_sequence = batch.last_sequence
            torn_bytes = path.stat().st_size - reader.offset
        finally:
            reader.close()
        if torn_bytes:
            self._end_with(segment, stream, torn_bytes)
        if segment.last_sequence < segment.first_sequence:
            path.unlink()
            return None
        return segment

    def _end_with(self, segment: _Segment, stream: str, torn_bytes: int) -> None:
        """Cut what is left of an append that a kill interrupted. A tail whose append had returned is damage."""
        if self._progress.get(stream, _NOTHING)[1] > segment.last_sequence and not self._is_followed(segment, stream):
            self._note_damage(segment, f"its last {torn_bytes:,} bytes cannot be read")
        else:
            logger.info("cut %d bytes of an interrupted append from %s", torn_bytes, segment.path)
            os.truncate(segment.path, segment.path.stat().st_size - torn_bytes)

    def _is_followed(self, segment: _Segment, stream: str) -> bool:
        """Whether a later segment of the stream begins right behind this one."""
        return (self._directory / f"{stream}-{segment.last_sequence + 1:020d}.journal").exists()

    def _read_finished(self) -> dict[str, int]:
        notes, unreadable = _read_finished(self._directory)
        if unreadable:
            self._report(f"{unreadable} lines of {self._directory / _FINISHED} cannot be read; they are ignored")
        return notes

    # --- the current stream ----------------------------------------------------------------------------------

    def _start_stream(self) -> JournalWriter:
        ordinal = 1 + max((ordinal for ordinal, _last in self._progress.values()), default=0)
        self._progress[self.stream] = (ordinal, 0)
        self._progress_file = os.open(
            self._directory / f"{self.stream}.progress", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self._note_progress()
        return self._start_segment()

    def _start_segment(self) -> JournalWriter:
        first_sequence = self._last_sequence + 1
        path = self._directory / f"{self.stream}-{first_sequence:020d}.journal"
        writer = JournalWriter(path, f"outbox {self.producer} {self.stream}")
        self._segments.setdefault(self.stream, []).append(_Segment(path, first_sequence, self._last_sequence))
        return writer

    def _note_progress(self) -> None:
        ordinal, _last = self._progress[self.stream]
        self._progress[self.stream] = (ordinal, self._last_sequence)
        noted = _PROGRESS.pack(ordinal, self._last_sequence, _progress_checksum(ordinal, self._last_sequence))
        try:
            os.pwrite(self._progress_file, noted, 0)
        except OSError as error:  # the events are appended; only damage would go unnoticed
            logger.error("cannot note the progress of stream %s: %s", self.stream, error)

    def _appended(self, stream: str) -> int:
        """The number of the stream's last event, by its note or by its last segment."""
        segments = self._segments[stream]
        noted = self._progress.get(stream, _NOTHING)[1]
        return max(noted, segments[-1].last_sequence) if segments else noted

    # --- putting away, and notes -----------------------------------------------------------------------------

    def _put_away(self, segment: _Segment, stream: str) -> None:
        """Archive a committed segment. One that the disk does not let go stays for the next opening."""
        if self._cursor is not None and self._cursor.segment is segment:
            self._cursor.close()
            self._cursor = None
        try:
            if segment.last_sequence < segment.first_sequence:
                segment.path.unlink(missing_ok=True)
            else:
                self._archive.add(segment.path, stream, segment.first_sequence, segment.last_sequence)
        except OSError as error:
            self._report(f"cannot archive {segment.path}: {error.strerror}; its events are stored")

    def _note_finished(self, stream: str, last_sequence: int) -> bool:
        """Add the stream to the finished ones; False where the disk has no room for the line."""
        if self._finished.get(stream) == last_sequence:
            return True
        try:
            _append_line(self._directory / _FINISHED, _finished_line(stream, last_sequence))
        except OSError as error:
            logger.error("stream %s stays in the outbox, though it is committed: %s", stream, error)
            return False
        self._finished[stream] = last_sequence
        return True

    def _note_damage(self, segment: _Segment, what: str) -> None:
        """Report the damage of a segment once, and keep the file as it is for a person."""
        if segment.path in self._damaged_segments:
            return
        self._damaged_segments.add(segment.path)
        kept = self._directory / "damaged" / segment.path.name
        try:
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            kept.unlink(missing_ok=True)
            kept.hardlink_to(segment.path)
        except OSError as error:
            logger.error("cannot keep %s: %s", kept, error)
        self._report(f"segment {segment.path.name} of {self.producer} is damaged: {what}; kept as {kept}")

    def _report(self, text: str) -> None:
        logger.critical("%s", text)
        self.damage.append(text)


class _Cursor:
    """A reading position in one segment."""

    def __init__(
        self, stream: str, segment: _Segment, reader: JournalReader, on_damage: Callable[[_Segment, str], None]
    ) -> None:
        self.stream = stream
        self.segment = segment
        self._next_sequence = segment.first_sequence
        self._reader = reader
        self._on_damage = on_damage

    def stands_at(self, stream: str, sequence: int) -> bool:
        """Whether the number can be reached by reading on."""
        return self.stream == stream and self._next_sequence <= sequence

    def next_batch(self, sequence: int) -> Packed | Missing | None:
        """The first batch from here on that holds the number, `Missing` before a later one; None at the end."""
        while True:
            before = self._reader.offset
            record = self._reader.next_record()
            if record is None:
                if self._next_sequence > self.segment.last_sequence or not self._skip_damage():
                    return None
                continue
            batch = _batch_of(record, self.stream)
            if batch is None:
                continue
            if batch.first_sequence > sequence:
                self._reader.seek(before)
                return Missing(batch.first_sequence - 1, "damaged")
            self._next_sequence = batch.last_sequence + 1
            if batch.last_sequence >= sequence:
                return Packed(record.payload, batch.last_sequence)

    def _skip_damage(self) -> bool:
        self._on_damage(self.segment, f"number {self._next_sequence} cannot be read")
        return self._reader.skip_damage(bytes.fromhex(self.stream))

    def close(self) -> None:
        """Give the file back."""
        self._reader.close()


def published_by_stream(directory: Path) -> Mapping[str, int]:
    """Number of events ever appended to this outbox, by stream. Reads its files alone, also while it is in use, so that
    a check does not depend on the writer.
    """
    counts, _unreadable = _read_finished(directory)
    for stream, (_ordinal, last_sequence) in _read_progress(directory).items():
        counts[stream] = max(counts.get(stream, 0), last_sequence)
    for path in directory.glob("*.journal"):
        stream = path.stem.partition("-")[0]
        if _is_stream(stream):
            counts[stream] = max(counts.get(stream, 0), _last_in(path, stream))
    return counts


def _last_in(path: Path, stream: str) -> int:
    try:
        reader = JournalReader(path, damaged=True)
    except FileNotFoundError:  # archived meanwhile: the stream's later segments say more
        return 0
    try:
        return max((batch.last_sequence for batch, _ in _batches_around_damage(reader, stream)), default=0)
    finally:
        reader.close()


def _batches_around_damage(reader: JournalReader, stream: str) -> Iterator[tuple[Batch, bool]]:
    """The whole batches of a segment, each with whether it follows a damaged part."""
    follows_damage = reader.offset == 0
    while True:
        record = reader.next_record()
        if record is None:
            if not reader.skip_damage(bytes.fromhex(stream)):
                return
            follows_damage = True
        elif batch := _batch_of(record, stream):
            yield batch, follows_damage
            follows_damage = False
        else:
            follows_damage = True


def _batch_of(record: Record, stream: str) -> Batch | None:
    """The record as a batch of the stream; None for a record that belongs elsewhere."""
    try:
        batch = unpack(record.payload)
    except BatchError:
        return None
    return batch if batch.stream == stream else None


def _is_stream(text: str) -> bool:
    return len(text) == _STREAM_DIGITS and all(digit in "0123456789abcdef" for digit in text)


def _read_progress(directory: Path) -> dict[str, tuple[int, int]]:
    """Ordinal and last number of each stream that is not finished; without notes that are damaged."""
    found = {}
    for path in directory.glob("*.progress"):
        content = path.read_bytes()
        if len(content) == _PROGRESS.size and _is_stream(path.stem):
            ordinal, last_sequence, checksum = _PROGRESS.unpack(content)
            if checksum == _progress_checksum(ordinal, last_sequence):
                found[path.stem] = (ordinal, last_sequence)
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def _progress_checksum(ordinal: int, last_sequence: int) -> int:
    return zlib.crc32(b"%d %d" % (ordinal, last_sequence))


def _finished_line(stream: str, last_sequence: int) -> str:
    note = f"{stream} {last_sequence}"
    return f"{note} {zlib.crc32(note.encode()):08x}\n"


def _read_finished(directory: Path) -> tuple[dict[str, int], int]:
    """The last number of each finished stream, in the order of their ends; and how many lines are damaged."""
    try:
        content = (directory / _FINISHED).read_bytes()
    except FileNotFoundError:
        return {}, 0
    notes: dict[str, int] = {}
    unreadable = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):  # a kill can leave half a line at the end
            continue
        stream, _, rest = line.decode("ascii", "replace").partition(" ")
        last_sequence = rest.partition(" ")[0]
        if last_sequence.isdecimal() and line.decode("ascii", "replace") == _finished_line(stream, int(last_sequence)):
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
