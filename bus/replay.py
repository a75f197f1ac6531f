"""Delivers a capture through the ingest socket into a database, as one stream of its own.

Its batches are numbered anew from 1 in file order, under the capture's id. The same capture is therefore the same
stream every time, the writer's marks state how much is stored, and a second replay changes nothing. A `BatchSender`
treats the capture like a worker's outbox: it keeps batches until they are committed.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from bus.capture import CaptureLabel, read_label
from bus.codec import Batch, BatchError, decode_events, repack, unpack
from bus.delivery import StreamProgress
from bus.endpoints import Address
from bus.events import EVENT_TYPES, Event, Fact, Poison
from bus.journal import JournalError, JournalReader
from bus.segments import Packed
from bus.sender import BatchSender, Source

PRODUCER: Final = "replay"
_LANDMARK_RECORDS: Final = 1_000  # a jump back reads on from the last landmark before its aim
_NS_PER_S: Final = 1_000_000_000
_WAIT_S: Final = 60.0  # a wait for the writer has no end, and is made of these

# A field with (nearly) the time of publication, such as `detected_ns`; an event's other times belong to its subject.
_MOMENT: Final = re.compile(r"(receive_time|\w*(?<!start)ed|built|found)_ns")


def _moment_field(event_type: type[Fact]) -> str | None:
    return next(filter(_MOMENT.fullmatch, event_type.__struct_fields__), None)


_MOMENT_FIELD: Final = {event_type: _moment_field(event_type) for event_type in EVENT_TYPES}


def moment_ns(event: Event) -> int | None:
    """Return the event's time of publication in UTC nanoseconds of market time; None for an event without a time."""
    name = _MOMENT_FIELD[type(event)]
    moment: int | None = getattr(event, name) if name else None
    return moment


class CaptureSource(Source):
    """A capture as a `bus.sender.Source`: one stream that is already whole, and stays as it is.

    Raises:
        JournalError: not a capture, or not a journal at all.
        BatchError: a record is no batch.
        OSError: it cannot be read.
    """

    producer = PRODUCER

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = JournalReader(path)
        self.streams: set[str] = set()
        self.events = 0
        self._landmarks = [(1, self._reader.offset)]
        try:
            self.label: CaptureLabel = read_label(self._reader.label)
            self._survey()
        except (JournalError, BatchError, OSError):
            self._reader.close()
            raise
        self._next_sequence = 1
        self._jump(1)

    @property
    def stream(self) -> str:
        """The stream that the replay is delivered as."""
        return self.label.capture_id

    def _survey(self) -> None:
        for number, record in enumerate(self._reader, 1):
            batch = unpack(record.payload)
            self.streams.add(batch.stream)
            self.events += batch.count
            if number % _LANDMARK_RECORDS == 0:
                self._landmarks.append((self.events + 1, record.end_offset))

    def _jump(self, sequence: int) -> None:
        landmark = bisect_right(self._landmarks, sequence, key=lambda landmark: landmark[0]) - 1
        self._next_sequence, offset = self._landmarks[landmark]
        self._reader.offset = offset

    def batch_at(self, stream: str, sequence: int) -> Packed:
        """The batch that holds this number. Reading on is cheap.

        Raises:
            KeyError: the number is not here.
        """
        assert stream == self.stream
        if sequence < self._next_sequence:
            self._jump(sequence)
        while record := self._reader.next_record():
            batch, first_sequence = unpack(record.payload), self._next_sequence
            self._next_sequence += batch.count
            if self._next_sequence > sequence:
                return Packed(repack(batch, stream, first_sequence), self._next_sequence - 1)
        raise KeyError(f"the capture ends before {sequence}")

    def progress(self) -> Sequence[StreamProgress]:
        """The one stream; the replay sets how much of it may be sent."""
        return [StreamProgress(self.stream)]

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        """A capture stays as it is."""

    def finish(self, stream: str) -> None:
        """A capture stays as it is."""

    def remember_epoch(self, epoch: str) -> None:
        """A capture stays as it is."""

    def keep_behind(self, backed_up: Mapping[str, int]) -> None:
        """A capture stays as it is."""

    def rewind(self, stream: str) -> int:  # noqa: ARG002 - of the protocol
        """Return the stream's last number. A capture stays as it is."""
        return self.events

    def close(self) -> None:
        self._reader.close()


def moments(path: Path) -> Iterator[tuple[int, int | None]]:
    """Return two values for each batch of a capture: the replay's number of its last event, and the latest market time
    (UTC nanoseconds) of its events, None without a time.
    """
    with closing(JournalReader(path)) as reader:
        last_sequence = 0
        for record in reader:
            batch = unpack(record.payload)
            last_sequence += batch.count
            yield last_sequence, _latest_moment_ns(batch)


def _latest_moment_ns(batch: Batch) -> int | None:
    readable = (event for event in decode_events(batch) if not isinstance(event, Poison))
    return max((moment for event in readable if (moment := moment_ns(event)) is not None), default=None)


class Replay:
    """One delivery of a capture.

    Args:
        source: the capture; it stays the caller's to close.
        ingest_address: of the writer of the database that it goes into.
        committed: number of its events already in the database.
        speed: market seconds a machine second, counted from the first event that is not there yet; None for as fast as
            the writer takes it.
    """

    def __init__(self, source: CaptureSource, ingest_address: Address, *, committed: int, speed: float | None) -> None:
        self._source = source
        self._committed = committed
        self._speed = speed
        self._revealed = 0
        self._sender = BatchSender(source, ingest_address)

    @property
    def committed(self) -> int:
        """How many of the capture's events are known to be in the database."""
        return max(self._committed, self._revealed - self._sender.unacknowledged)

    async def run(self) -> None:
        """Deliver the whole capture; return once it is committed."""
        async with asyncio.TaskGroup() as tasks:
            delivery = tasks.create_task(self._sender.run())
            if self._speed is None:
                self._reveal(self._source.events)
            else:
                await self._reveal_in_time(self._speed)
            while not await self._sender.drain(_WAIT_S):
                pass
            delivery.cancel()

    def _reveal(self, last_sequence: int) -> None:
        """Let the sender send up to this number."""
        self._revealed = last_sequence
        self._sender.appended(self._source.stream, last_sequence)

    async def _reveal_in_time(self, speed: float) -> None:
        """Reveal batches by their events' own times. An event older than its predecessor is due at once."""
        self._reveal(self._committed)
        machine_time_s = asyncio.get_running_loop().time
        began_ns, began_s = None, 0.0
        for last_sequence, moment in moments(self._source.path):
            if last_sequence <= self._committed:
                continue
            if began_ns is None and moment is not None:
                began_ns, began_s = moment, machine_time_s()
            due_s = began_s if began_ns is None or moment is None else began_s + (moment - began_ns) / _NS_PER_S / speed
            await asyncio.sleep(max(0.0, due_s - machine_time_s()))
            self._reveal(last_sequence)
