"""Reads an outbox's segments: the batches of one stream in a journal, around damage if need be."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bus.codec import Batch, BatchError, unpack
from bus.journal import JournalReader, Record


class Packed(msgspec.Struct, frozen=True):
    """A packed batch (`bus.codec`) and the number of its last event."""

    content: bytes
    last_sequence: int


class Missing(msgspec.Struct, frozen=True):
    """The numbers up to `last_sequence` are not here any more."""

    last_sequence: int
    reason: str


class Segment:
    """A journal file of one stream: which numbers it holds (`last_sequence` is `first - 1` while it is empty)."""

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


def last_sequence_in(path: Path, stream: str) -> int:
    """The last number in a segment; 0 for one without a whole batch, or that is gone."""
    try:
        reader = JournalReader(path, damaged=True)
    except FileNotFoundError:  # archived meanwhile: the stream's later segments say more
        return 0
    try:
        return max((batch.last_sequence for batch, _ in batches_around_damage(reader, stream)), default=0)
    finally:
        reader.close()


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
    """The record as a batch of the stream; None for a record that belongs elsewhere."""
    try:
        batch = unpack(record.payload)
    except BatchError:
        return None
    return batch if batch.stream == stream else None
