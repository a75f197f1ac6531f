"""Is a journal whole? Reads a file to its end and says what is in it, where it breaks, and what kind of break that is.

A *torn tail* is what a process leaves that was killed while it appended: behind the last whole record nothing whole
follows, and cutting it off loses nothing that was ever complete. A journal in which whole records follow a broken one
was *damaged* afterwards; nothing is cut then.
"""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from bus.codec import Batch, BatchError, decode_events, unpack
from bus.events import Poison
from bus.journal import RECORD_BYTES_MAX, JournalReader

# How far behind a break a whole record is looked for. Records are some 50 KiB at most, but for those that hold what was
# published together (a universe, a master file's changes): a few MiB.
LOOK_BEHIND_BYTES: Final = 4 * 1024 * 1024
_FRAME: Final = struct.Struct("<II")


class StreamContent(msgspec.Struct, frozen=True):
    """What a journal holds of one stream: its first and last number, and how many of those between are not there."""

    first_sequence: int
    last_sequence: int
    events: int
    absent: int


class Verdict(msgspec.Struct, frozen=True):
    """What a journal is like. `unreadable` events are kept as they are and go to quarantine when they are replayed."""

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
        """Events that are not there, though later ones of their stream are."""
        return sum(stream.absent for stream in self.streams.values())

    @property
    def has_holes(self) -> bool:
        """Whether events are absent that the journal was to hold: a capture of some kinds has none, only less."""
        return self.absent > 0 and not (self.label.startswith("capture ") and not self.label.endswith(" *"))


def verify(path: Path) -> Verdict:
    """Read the whole journal.

    Raises:
        JournalError: it does not start like a journal.
        OSError: it cannot be read.
    """
    reader = JournalReader(path)
    try:
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
        if damaged_at is None and _a_record_follows(path, end_offset):
            damaged_at = end_offset
        torn_bytes = 0 if damaged_at is not None else size_bytes - end_offset
        return content.verdict(reader.label, size_bytes, torn_bytes, damaged_at)
    finally:
        reader.close()


class _Content:
    """Adds up batches."""

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

    def verdict(self, label: str, size_bytes: int, torn_bytes: int, damaged_at: int | None) -> Verdict:
        streams = {stream: self._stream(stream) for stream in self._first}
        events = sum(self._events.values())
        return Verdict(label, size_bytes, self._records, events, self._unreadable, torn_bytes, damaged_at, streams)

    def _stream(self, stream: str) -> StreamContent:
        first, last, events = self._first[stream], self._last[stream], self._events[stream]
        return StreamContent(first, last, events, last - first + 1 - events)


def _a_record_follows(path: Path, offset: int) -> bool:
    """Whether a whole record that holds a batch begins behind this place."""
    with path.open("rb") as file:
        file.seek(offset)
        rest = memoryview(file.read(LOOK_BEHIND_BYTES))
    return any(_is_record(rest, begin) for begin in range(1, len(rest) - _FRAME.size))


def _is_record(data: memoryview, begin: int) -> bool:
    length, checksum = _FRAME.unpack_from(data, begin)
    payload = data[begin + _FRAME.size : begin + _FRAME.size + length]
    if not 0 < length <= RECORD_BYTES_MAX or len(payload) < length or zlib.crc32(payload) != checksum:
        return False
    try:
        unpack(bytes(payload))
    except BatchError:
        return False
    return True
