"""Bytes and events: how a batch of a stream looks on the wire and, byte for byte the same, in a journal.

A batch is a fixed head (stream id, first sequence, number of events, schema version) and a MessagePack array of the
events. Older schema versions need no conversion: an event is an array, and what it does not have yet gets its default
(see `bus.events`). What cannot be decoded becomes `Poison` and takes its number in the stream like any other event.
"""

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from bus.events import SCHEMA_VERSION, Event, Poison

_HEAD: Final = struct.Struct("<16sQIH")

_encoder: Final = msgspec.msgpack.Encoder()
_event_decoder: Final = msgspec.msgpack.Decoder(Event)
_events_decoder: Final = msgspec.msgpack.Decoder(list[Event])
_raw_decoder: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_kind_decoder: Final = msgspec.msgpack.Decoder(str)


class BatchError(Exception):
    """These bytes are not a batch."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Consecutive events of one stream, still encoded; `stream` is its id as 32 hexadecimal digits."""

    stream: str
    first_sequence: int
    count: int
    schema_version: int
    body: bytes

    @property
    def last_sequence(self) -> int:
        """The number of the last event in it."""
        return self.first_sequence + self.count - 1


def pack(stream: str, first_sequence: int, events: Sequence[Event]) -> bytes:
    """The bytes of a batch of at least one event."""
    head = _HEAD.pack(bytes.fromhex(stream), first_sequence, len(events), SCHEMA_VERSION)
    return head + _encoder.encode(events)


def unpack(data: bytes) -> Batch:
    """Split a batch into its head and its still encoded body.

    Raises:
        BatchError: too short for a head, or a head that counts nothing.
    """
    if len(data) < _HEAD.size:
        raise BatchError(f"{len(data)} bytes are too few for a batch")
    stream, first_sequence, count, schema_version = _HEAD.unpack_from(data)
    if count == 0 or first_sequence == 0:
        raise BatchError("a batch without events, or numbered from zero")
    return Batch(stream.hex(), first_sequence, count, schema_version, data[_HEAD.size :])


def repack(batch: Batch, stream: str, first_sequence: int) -> bytes:
    """The same events, byte for byte, as a batch of another stream or from another number on."""
    head = _HEAD.pack(bytes.fromhex(stream), first_sequence, batch.count, batch.schema_version)
    return head + batch.body


def split(batch: Batch) -> Sequence[bytes] | None:
    """Each event's own bytes, in order; None where the body cannot be taken apart."""
    try:
        raws = _raw_decoder.decode(batch.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return [bytes(raw) for raw in raws] if len(raws) == batch.count else None


def join(batch: Batch, contents: Sequence[bytes], first_sequence: int) -> Batch:
    """A part of a batch: consecutive events as `split` gave them, from this number on."""
    body = _encoder.encode([msgspec.Raw(content) for content in contents])
    return Batch(batch.stream, first_sequence, len(contents), batch.schema_version, body)


def kind_in(content: bytes) -> str | None:
    """The kind of the event in these bytes, of whatever version; None where there is none to be read."""
    try:
        return _kind_decoder.decode(_raw_decoder.decode(content)[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError):
        return None


def decode_events(batch: Batch) -> Sequence[Event | Poison]:
    """All `batch.count` events, in order; the unreadable ones as `Poison`. Never raises for bad content."""
    try:
        events = _events_decoder.decode(batch.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_one_by_one(batch)
    return events if len(events) == batch.count else _unreadable(batch, f"{len(events)} events, not {batch.count}")


def _decode_one_by_one(batch: Batch) -> Sequence[Event | Poison]:
    try:
        raws = _raw_decoder.decode(batch.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _unreadable(batch, str(error))
    if len(raws) != batch.count:
        return _unreadable(batch, f"{len(raws)} events, not {batch.count}")
    return [_decode_or_poison(bytes(raw)) for raw in raws]


def _decode_or_poison(content: bytes) -> Event | Poison:
    try:
        return decode_event(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Poison(content, str(error))


def _unreadable(batch: Batch, reason: str) -> Sequence[Poison]:
    """Every number of the batch is used up; the bytes are kept once, with the first."""
    rest = f"see sequence {batch.first_sequence}: {reason}"
    return [Poison(batch.body, reason), *(Poison(b"", rest) for _ in range(batch.count - 1))]


def encode_event(event: Event) -> bytes:
    """One event alone, as the feed carries it."""
    return _encoder.encode(event)


def decode_event(content: bytes) -> Event:
    """The event of `encode_event`.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    event: Event = _event_decoder.decode(content)
    return event
