"""A producer's outbox: a journal that acknowledgements trim, and the archive of the trimmed segments.

"Published" means appended to the outbox. An appended event reaches the database exactly once, however often any process
is killed. Events that are not appended yet are lost with their process.

Each producer has one directory. A file lock admits one process at a time:

    lock                        held while a process has the outbox open
    <stream>-<first>.journal    segments: batches of one stream, from sequence number `first` on
    <stream>.progress           the stream's ordinal, and the number of its last event
    finished                    a line "stream last-sequence checksum" for each wholly committed stream
    epoch                       the epoch of the database in the last welcome
    archive/                    acknowledged segments (`bus.archive`)
    damaged/                    damaged segments as they were found, for a person

Each opening starts a new stream with a random id. Segments of earlier streams are the rest of earlier processes: the
outbox delivers them first and archives them then. So no number is used twice, even where an earlier stream lost its
tail after the tail had been committed.

Damage ends nothing but itself: the whole records around it are delivered, and the lost numbers are stated as `Missing`.
`<stream>.progress` and the names of the segments show which numbers were appended.
"""

import fcntl
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bus.archive import Archive, ArchiveLimits
from bus.codec import BATCH_BYTES_MAX, BATCH_COUNT_MAX, pack
from bus.delivery import StreamProgress
from bus.events import Event
from bus.journal import JournalReader, JournalWriter, RecordTooLargeError
from bus.outbox_notes import (
    Progress,
    ProgressFile,
    cut_half_line,
    is_number,
    is_stream,
    note_epoch,
    note_finished,
    note_progress,
    progress_path,
    read_epoch,
    read_finished,
    read_progress,
)
from bus.segments import Missing, Packed, Segment, SegmentCursor, keep, recover

logger = logging.getLogger(__name__)

SEGMENT_BYTES_MAX: Final = 8 * 1024 * 1024  # acknowledged data is archived in pieces of this size
FINISHED_STREAMS_MAX: Final = 500  # of the newest finished streams; each is named in every hello
_NOTHING: Final = Progress()


class OutboxInUseError(Exception):
    """Another process has this outbox open."""


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
        cut_half_line(directory)
        for unfinished in directory.rglob(".*.journal*"):
            unfinished.unlink()  # a copy that a kill interrupted; its original is there
        self._archive = Archive(directory / "archive", limits)
        self._damaged_segments: set[Path] = set()
        self._reported: set[str] = set()
        self._cursor: SegmentCursor | None = None
        self._is_closed = False
        self._fallen_out = 0
        self._stranded: dict[str, list[Segment]] = {}  # committed, and the disk does not let them be archived
        self._epoch = read_epoch(directory)
        self._finished = self._read_finished()
        self._progress = read_progress(directory)
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
        """The last number of each stream whose events may have to be delivered again: the archived streams and the
        newest finished streams.
        """
        newest = dict(list(self._finished.items())[-FINISHED_STREAMS_MAX:])
        stranded = {stream: segments[-1].last_sequence for stream, segments in self._stranded.items()}
        here = self._archive.last_sequences().items()
        older = {stream: last for stream, last in here if stream not in newest}  # or their note is gone
        known = {**older, **stranded, **newest}
        return {stream: last for stream, last in known.items() if stream not in self._segments}

    @property
    def epoch(self) -> str:
        """The epoch of the database that this outbox was welcomed in last; empty before the first welcome."""
        return self._epoch

    def remember_epoch(self, epoch: str) -> None:
        """Note the epoch for the next process. Where the disk refuses, that one begins another epoch."""
        if epoch != self._epoch:
            self._epoch = epoch
            try:
                note_epoch(self._directory, epoch)
            except OSError as error:
                logger.error("cannot note the epoch of the database: %s", error)

    def append(self, events: Sequence[Event]) -> int:
        """Append the events as one batch: after a kill either all of them are here or none. Returns the last number.

        Raises:
            RecordTooLargeError: it is too much for one batch; nothing was appended.
            OSError: the disk refused (full, say); nothing was appended.
        """
        batch = pack(self.stream, self._last_sequence + 1, events)
        if len(batch) > BATCH_BYTES_MAX or len(events) > BATCH_COUNT_MAX:
            raise RecordTooLargeError(
                f"{len(events):,} events of {len(batch):,} bytes are beyond the {BATCH_COUNT_MAX:,} events and "
                f"{BATCH_BYTES_MAX:,} bytes of a batch"
            )
        if self._writer.is_removed:
            self._writer.write_again()
            self._close_cursor()  # it reads the removed file
            self.report(f"{self._writer.path} had been removed; it was written again from the open file")
        if self._writer.size_bytes >= SEGMENT_BYTES_MAX:
            full, self._writer = self._writer, self._start_segment()
            full.close()
        self._writer.append(batch)
        self._last_sequence += len(events)
        self._segments[self.stream][-1].last_sequence = self._last_sequence
        self._note_progress(self.stream, self._last_sequence)
        return self._last_sequence

    def batch_at(self, stream: str, sequence: int) -> Packed | Missing:
        """The batch that holds this number, which was appended. Reading on is cheap; a jump back scans the segment.

        Raises:
            OSError: it is in the archive, and the disk refused to bring it back.
        """
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
        later += filter(None, [self._archive.first_behind(stream, sequence)])
        end_sequence = min(later) - 1 if later else self._appended(stream)
        self.report(f"numbers {sequence} to {end_sequence} of stream {stream} are in no segment any more")
        return Missing(end_sequence, "removed")

    def _move_cursor(self, stream: str, sequence: int) -> None:
        self._close_cursor()
        if not self._set_cursor(stream, sequence) and self._take_back(stream, sequence):
            self._set_cursor(stream, sequence)

    def _take_back(self, stream: str, sequence: int) -> bool:
        """Bring the archived segment with this number back; False if there is none."""
        try:
            taken = self._archive.take_back(stream, sequence, self._directory)
        except OSError as error:
            self.report(f"cannot bring back archived events of {self.producer}: {error.strerror}; will be tried again")
            raise
        if taken is None:
            return False
        if taken.damaged:
            self.report(f"archived segment of {self.producer} is damaged; kept as {taken.damaged}")
        here = self._segments[stream]
        if all(segment.first_sequence != taken.first_sequence for segment in here):
            here.append(Segment(taken.path, taken.first_sequence, taken.last_sequence))
            here.sort(key=lambda segment: segment.first_sequence)
        return True

    def _close_cursor(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _set_cursor(self, stream: str, sequence: int) -> bool:
        for segment in self._segments[stream]:
            if segment.first_sequence <= sequence <= segment.last_sequence and (reader := self._open(segment)):
                self._cursor = SegmentCursor(stream, segment, reader, self._note_damage)
                return True
        return False

    def _open(self, segment: Segment) -> JournalReader | None:
        if not self._is_closed and segment is self._segments[self.stream][-1]:
            return self._writer.reader()  # readable also without its name
        try:
            return JournalReader(segment.path, damaged=True)
        except OSError as error:
            self.report(f"segment {segment.path} cannot be read: {error.strerror}")
            return None

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        """Archive the segments that are wholly committed; a stream's last one stays until the stream is finished."""
        segments = self._segments.get(stream, [])
        while (
            len(segments) > 1 and segments[0].last_sequence <= high_water_mark and self._put_away(segments[0], stream)
        ):
            segments.pop(0)

    def finish(self, stream: str) -> None:
        """Everything of this stream is committed: note its length, then archive it; on a full disk the next opening."""
        appended = self._appended(stream)
        segments = self._segments.pop(stream)
        if appended and not self._note_finished(stream, appended):
            self._stranded[stream] = segments
            return
        if left := [segment for segment in segments if not self._put_away(segment, stream)]:
            self._stranded[stream] = left
        progress_path(self._directory, stream).unlink(missing_ok=True)

    def rewind(self, stream: str) -> int:
        """The database went back: the stream is to be delivered again, from the archive as far as it is there. Returns
        the number of its last event.

        Raises:
            OSError: the disk refused; the call can be repeated.
        """
        if stream not in self._segments:
            appended = self.archived()[stream]
            self._progress[stream] = Progress(0, appended)
            note_progress(self._directory, stream, self._progress[stream])
            if stream in self._finished:
                note_finished(self._directory, stream, 0)
                del self._finished[stream]
            current = self._segments.pop(self.stream)
            self._segments |= {stream: self._stranded.pop(stream, []), self.stream: current}
        return self._appended(stream)

    def keep_behind(self, backed_up: Mapping[str, int]) -> None:
        """Two verified backups hold the events up to these numbers: the archive need not."""
        try:
            self._archive.trim(backed_up)
        except OSError as error:
            self.report(f"cannot delete what backups hold from the archive of {self.producer}: {error.strerror}")

    def tidy_archive(self, now_s: float) -> bool:
        """Enforce the archive's limits and compress one segment; False when none is left. Any thread may call it.

        Args:
            now_s: machine time since the epoch, as the files' times.

        Raises:
            OSError: the disk refused; no event is lost.
        """
        if deleted := self._archive.shrink(now_s):
            self._fallen_out += deleted
            self.report(
                f"{self._fallen_out} archived segments of {self.producer} are deleted without a verified backup of "
                "them: the archive is at its limit, make backups (observer backup now)"
            )
        return self._archive.compress_next()

    def close(self, *, delivered: bool) -> None:
        """Close; with everything delivered the current stream is finished, otherwise it stays for the next opening."""
        self._is_closed = True
        self._writer.close()
        self._progress_file.close()
        if delivered:
            self.finish(self.stream)
        self._close_cursor()
        os.close(self._lock)

    # --- opening ---------------------------------------------------------------------------------------------

    def _find_segments(self) -> dict[str, list[Segment]]:
        """Segments of earlier processes, oldest stream first. Torn tails are cut, finished streams archived."""
        found: dict[str, list[Segment]] = {}
        for path in sorted(self._directory.glob("*.journal"), key=self._age):
            stream, _, first = path.stem.partition("-")
            if segment := self._recover(path, stream, first):
                found.setdefault(stream, []).append(segment)
        for stream, noted in list(self._progress.items()):
            if noted.last_sequence:
                found.setdefault(stream, [])  # its segments may be gone: `Missing` then
            elif stream not in found:
                progress_path(self._directory, stream).unlink()
        for stream in [stream for stream in found if stream in self._finished]:
            for segment in found.pop(stream):
                self._put_away(segment, stream)
            progress_path(self._directory, stream).unlink(missing_ok=True)
        for stream, segments in found.items():
            segments.sort(key=lambda segment: segment.first_sequence)
            if segments and segments[-1].last_sequence > self._progress.get(stream, _NOTHING).last_sequence:
                self._note_progress(stream, segments[-1].last_sequence)
        return dict(sorted(found.items(), key=lambda item: self._progress.get(item[0], _NOTHING).ordinal))

    def _age(self, path: Path) -> tuple[int, int, str]:
        """The sort key of a stream: the order of openings. A stream without a note of its opening is sorted by the time
        of its file.
        """
        ordinal = self._progress.get(path.stem.partition("-")[0], _NOTHING).ordinal
        try:
            return ordinal, path.stat().st_mtime_ns, path.name
        except FileNotFoundError:  # removed this moment
            return ordinal, 0, path.name

    def _recover(self, path: Path, stream: str, first: str) -> Segment | None:
        """Return the segment of an earlier process; None for a file without a whole record."""
        if not is_number(first) or not is_stream(stream):
            self.report(f"{path} is no segment of an outbox; it is left alone")
            return None
        segment = Segment(path, int(first), int(first) - 1)
        appended = self._progress.get(stream, _NOTHING).last_sequence
        return segment if recover(segment, stream, appended, self._note_damage) else None

    def _read_finished(self) -> dict[str, int]:
        notes, unreadable = read_finished(self._directory)
        if unreadable:
            self.report(f"{unreadable} lines of {self._directory / 'finished'} cannot be read; they are ignored")
        return notes

    # --- the current stream ----------------------------------------------------------------------------------

    def _start_stream(self) -> JournalWriter:
        ordinal = 1 + max((noted.ordinal for noted in self._progress.values()), default=0)
        self._progress[self.stream] = Progress(ordinal)
        self._progress_file = ProgressFile(self._directory, self.stream, self._progress[self.stream])
        return self._start_segment()

    def _start_segment(self) -> JournalWriter:
        first_sequence = self._last_sequence + 1
        path = self._directory / f"{self.stream}-{first_sequence:020d}.journal"
        writer = JournalWriter(path, f"outbox {self.producer} {self.stream}")
        self._segments.setdefault(self.stream, []).append(Segment(path, first_sequence, self._last_sequence))
        return writer

    def _note_progress(self, stream: str, last_sequence: int) -> None:
        progress = self._progress[stream] = Progress(self._progress.get(stream, _NOTHING).ordinal, last_sequence)
        try:
            if stream == self.stream:
                self._progress_file.note(last_sequence)
            else:
                note_progress(self._directory, stream, progress)
        except OSError as error:  # the events are appended; only damage would go unnoticed
            logger.error("cannot note the progress of stream %s: %s", stream, error)

    def _appended(self, stream: str) -> int:
        """The number of the stream's last event, by its note or by its last segment."""
        segments = self._segments[stream]
        noted = self._progress.get(stream, _NOTHING).last_sequence
        return max(noted, segments[-1].last_sequence) if segments else noted

    # --- putting away, and notes -----------------------------------------------------------------------------

    def _put_away(self, segment: Segment, stream: str) -> bool:
        """Archive a committed segment. Returns False if the disk refuses: it stays until the next opening."""
        if self._cursor is not None and self._cursor.segment is segment:
            self._close_cursor()
        try:
            if segment.last_sequence < segment.first_sequence:
                segment.path.unlink(missing_ok=True)
            else:
                self._archive.add(segment.path, stream, segment.first_sequence, segment.last_sequence)
        except OSError as error:
            self.report(f"cannot archive {segment.path}: {error.strerror}; its events are stored")
            return isinstance(error, FileNotFoundError)
        return True

    def _note_finished(self, stream: str, last_sequence: int) -> bool:
        """Add the stream to the finished streams. Returns False where the disk has no room for the line."""
        if self._finished.get(stream) == last_sequence:
            return True
        try:
            note_finished(self._directory, stream, last_sequence)
        except OSError as error:
            logger.error("stream %s stays in the outbox, though it is committed: %s", stream, error)
            return False
        self._finished[stream] = last_sequence
        return True

    def _note_damage(self, segment: Segment, what: str) -> None:
        """Report the damage of a segment once, and keep the damaged file for a person."""
        if segment.path in self._damaged_segments:
            return
        self._damaged_segments.add(segment.path)
        kept = self._directory / "damaged" / segment.path.name
        keep(segment.path, kept)
        self.report(f"segment {segment.path.name} of {self.producer} is damaged: {what}; kept as {kept}")

    @property
    def keeps_damaged(self) -> bool:
        """Whether a damaged segment is kept for a person, who has not deleted it yet."""
        return any((self._directory / "damaged").glob("*"))

    def report(self, text: str) -> None:
        """Log a text and keep it for an alert; once, however often its events are asked for."""
        if text not in self._reported:
            self._reported.add(text)
            logger.critical("%s", text)
            self.damage.append(text)


def _take_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutboxInUseError(f"another process has the outbox {path.parent} open") from None
    return descriptor
