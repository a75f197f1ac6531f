"""Checks a journal: reads the journal to its end and reports the content, the position of a break, and the kind of the
break.

A *torn tail* is the mark of a process that was killed while appending: no whole record follows the tail, and cutting
the tail off loses no complete record. A journal with whole records behind a broken record was *damaged* later. Such a
journal is never cut.
"""

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec

from bus.codec import Batch, BatchError, decode_events, unpack
from bus.events import Poison
from bus.journal import JournalReader

# How far behind a break a whole record is looked for. Records are some 50 KiB at most, but for those that hold what was
# published together (a universe, a master file's changes): a few MiB.
LOOK_BEHIND_BYTES: Final = 4 * 1024 * 1024


class StreamContent(msgspec.Struct, frozen=True):
    """A journal's content of one stream: its first and last number, and the count of absent numbers between them."""

    first_sequence: int
    last_sequence: int
    events: int
    absent: int


class JournalReport(msgspec.Struct, frozen=True):
    """The result of a check. `unreadable` events are kept unchanged; a replay sends them to quarantine."""

    label: str
    size_bytes: int
    records: int
    events: int
    unreadable: int
    torn_bytes: int
    damaged_at: int | None
    streams: Mapping[str, StreamContent]

    @property
    def absent(self) -> int:
        """The number of absent events that later events of their stream follow."""
        return sum(stream.absent for stream in self.streams.values())

    @property
    def has_missing_ranges(self) -> bool:
        """Whether the journal lacks events that it should hold. A capture of selected kinds lacks none."""
        return self.absent > 0 and not (self.label.startswith("capture ") and not self.label.endswith(" *"))


def verify(path: Path) -> JournalReport:
    """Read the whole journal.

    Raises:
        JournalError: it does not start like a journal.
        OSError: it cannot be read.
    """
    with closing(JournalReader(path)) as reader:
        content = _Content()
        end_offset, damaged_at = reader.offset, None
        for record in reader:
            try:
                content.add(unpack(record.payload))
            except BatchError:
                damaged_at = end_offset
                break
            end_offset = record.end_offset
        size_bytes = path.stat().st_size
        if damaged_at is None and _a_batch_follows(reader):
            damaged_at = end_offset
        torn_bytes = 0 if damaged_at is not None else size_bytes - end_offset
        return content.report(reader.label, size_bytes, torn_bytes, damaged_at)


def _a_batch_follows(reader: JournalReader) -> bool:
    """Whether a whole record with a batch begins behind the record that the reader could not read."""
    reader.offset += 1
    while reader.skip_damage(b"", LOOK_BEHIND_BYTES) and (record := reader.next_record()):
        with suppress(BatchError):
            unpack(record.payload)
            return True
    return False


class _Content:
    def __init__(self) -> None:
        self._records = 0
        self._unreadable = 0
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._events: dict[str, int] = {}

    def add(self, batch: Batch) -> None:
        self._records += 1
        self._unreadable += sum(isinstance(event, Poison) for event in decode_events(batch))
        self._first.setdefault(batch.stream, batch.first_sequence)
        self._last[batch.stream] = batch.last_sequence
        self._events[batch.stream] = self._events.get(batch.stream, 0) + batch.count

    def report(self, label: str, size_bytes: int, torn_bytes: int, damaged_at: int | None) -> JournalReport:
        streams = {stream: self._stream(stream) for stream in self._first}
        events = sum(self._events.values())
        return JournalReport(
            label, size_bytes, self._records, events, self._unreadable, torn_bytes, damaged_at, streams
        )

    def _stream(self, stream: str) -> StreamContent:
        first, last, events = self._first[stream], self._last[stream], self._events[stream]
        return StreamContent(first, last, events, last - first + 1 - events)
