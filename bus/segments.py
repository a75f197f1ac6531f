"""Reads an outbox's segments: the batches of one stream in a journal, around damage if need be."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from bus.archive import Archive, ArchiveLimits
from bus.codec import Batch, BatchError, unpack
from bus.journal import JournalReader, Record
from bus.outbox_notes import is_stream, read_finished, read_progress

logger = logging.getLogger(__name__)


class Packed(msgspec.Struct, frozen=True):
    """A packed batch (`bus.codec`) and the number of its last event."""

    content: bytes
    last_sequence: int


class Missing(msgspec.Struct, frozen=True):
    """The numbers up to `last_sequence` are not here any more."""

    last_sequence: int
    reason: str


class Segment:
    """A journal file of one stream, with the numbers that it holds. `last_sequence` is `first - 1` for an empty
    segment.
    """

    __slots__ = ("first_sequence", "last_sequence", "path")

    def __init__(self, path: Path, first_sequence: int, last_sequence: int) -> None:
        self.path = path
        self.first_sequence = first_sequence
        self.last_sequence = last_sequence


class SegmentCursor:
    """A reading position in one segment."""

    def __init__(
        self, stream: str, segment: Segment, reader: JournalReader, on_damage: Callable[[Segment, str], None]
    ) -> None:
        self.stream = stream
        self.segment = segment
        self._next_sequence = segment.first_sequence
        self._reader = reader
        self._on_damage = on_damage

    def stands_at(self, stream: str, sequence: int) -> bool:
        """Whether reading on reaches the number."""
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
                self._reader.offset = before
                return Missing(batch.first_sequence - 1, "damaged")
            self._next_sequence = batch.last_sequence + 1
            if batch.last_sequence >= sequence:
                return Packed(record.payload, batch.last_sequence)

    def _skip_damage(self) -> bool:
        self._on_damage(self.segment, f"number {self._next_sequence} cannot be read")
        return self._reader.skip_damage(bytes.fromhex(self.stream))

    def close(self) -> None:
        self._reader.close()


def recover(segment: Segment, stream: str, appended: int, on_damage: Callable[[Segment, str], None]) -> bool:
    """Set the last number of a segment of an earlier process, and cut a torn tail. Returns False for a segment that is
    gone, or has no whole record and is deleted.

    Args:
        segment: with its first number.
        stream: the segment's.
        appended: the number of the stream's last event, by its note.
        on_damage: called with the segment and the damage.
    """
    try:
        _recover(segment, stream, appended, on_damage)
        if segment.last_sequence < segment.first_sequence:
            segment.path.unlink()
            return False
    except FileNotFoundError:  # removed this moment
        return False
    except OSError as error:
        on_damage(segment, f"it cannot be read: {error.strerror}")
        return False
    return True


def _recover(segment: Segment, stream: str, appended: int, on_damage: Callable[[Segment, str], None]) -> None:
    path = segment.path
    with closing(JournalReader(path, damaged=True)) as reader:
        for batch, is_behind_damage in batches_around_damage(reader, stream):
            if is_behind_damage:
                on_damage(segment, f"number {segment.last_sequence + 1} cannot be read")
            segment.last_sequence = batch.last_sequence
        torn_bytes = path.stat().st_size - reader.offset
    if torn_bytes and appended > segment.last_sequence and not _is_followed(segment, stream):
        on_damage(segment, f"its last {torn_bytes:,} bytes cannot be read")  # their append had returned
    elif torn_bytes:
        logger.info("cut %d bytes of an interrupted append from %s", torn_bytes, path)
        os.truncate(path, path.stat().st_size - torn_bytes)


def _is_followed(segment: Segment, stream: str) -> bool:
    """Whether a later segment of the stream begins with the next number."""
    return segment.path.with_name(f"{stream}-{segment.last_sequence + 1:020d}.journal").exists()


def keep(path: Path, kept: Path) -> None:
    """Give a damaged file a second name, under which it stays for a person."""
    try:
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        kept.unlink(missing_ok=True)
        kept.hardlink_to(path)
    except OSError as error:
        logger.error("cannot keep %s: %s", kept, error)


def published_by_stream(directory: Path) -> Mapping[str, int]:
    """Number of events ever appended to this outbox, by stream. Reads its files alone, also while it is in use, so that
    a check does not depend on the writer.
    """
    counts, _unreadable = read_finished(directory)
    for stream, noted in read_progress(directory).items():
        counts[stream] = max(counts.get(stream, 0), noted.last_sequence)
    for path in directory.glob("*.journal"):
        stream = path.stem.partition("-")[0]
        if is_stream(stream):
            counts[stream] = max(counts.get(stream, 0), _last_sequence_in(path, stream))
    for stream, last_sequence in Archive(directory / "archive", ArchiveLimits()).last_sequences().items():
        counts[stream] = max(counts.get(stream, 0), last_sequence)
    return counts


def _last_sequence_in(path: Path, stream: str) -> int:
    """Return the last number in a segment; 0 for a segment without a whole batch, or a file that is gone."""
    try:
        reader = JournalReader(path, damaged=True)
    except OSError:  # archived meanwhile, say: the stream's later segments say more
        return 0
    with closing(reader):
        return max((batch.last_sequence for batch, _ in batches_around_damage(reader, stream)), default=0)


def batches_around_damage(reader: JournalReader, stream: str) -> Iterator[tuple[Batch, bool]]:
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
    """Return the record as a batch of the stream; None for a record of another stream."""
    try:
        batch = unpack(record.payload)
    except BatchError:
        return None
    return batch if batch.stream == stream else None
