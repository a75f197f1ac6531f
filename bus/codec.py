"""Bytes and events: how a batch of a stream looks on the wire and, byte for byte the same, in a journal.

A batch is a fixed head (stream id, first sequence, number of events, schema version) and a MessagePack array of the
events. Older schema versions need no conversion: an event is an array, and what it does not have yet gets its default
(see `bus.events`). What cannot be decoded becomes `Poison` and takes its number in the stream like any other event.
"""

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from bus.decoding import UNREADABLE, DecodeError, decode
from bus.events import SCHEMA_VERSION, Event, Poison

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024  # the largest of ours, the listings of an exchange, has 1 to 2 MB
BATCH_COUNT_MAX: Final = 50_000  # its events: more than any exchange has listings
SEQUENCE_MAX: Final = 2**53 - 1  # at a million events a second 285 years; sums of it stay within a database's integers
_HEAD: Final = struct.Struct("<16sQIH")

_encoder: Final = msgspec.msgpack.Encoder()
_event_decoder: Final = msgspec.msgpack.Decoder(Event)
_events_decoder: Final = msgspec.msgpack.Decoder(list[Event])
_raw_decoder: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_kind_decoder: Final = msgspec.msgpack.Decoder(str)


class BatchError(DecodeError):
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
        return self.first_sequence + self.count - 1


def pack(stream: str, first_sequence: int, events: Sequence[Event]) -> bytes:
    """The bytes of a batch of at least one event."""
    head = _HEAD.pack(bytes.fromhex(stream), first_sequence, len(events), SCHEMA_VERSION)
    return head + _encoder.encode(events)


def unpack(data: bytes) -> Batch:
    """Split a batch into its head and its still encoded body.

    Raises:
        BatchError: too short for a head or too long, or a head that counts nothing or more than the bytes can hold.
    """
    if not _HEAD.size <= len(data) <= BATCH_BYTES_MAX:
        raise BatchError(f"{len(data):,} bytes are too few or too many for a batch")
    stream, first_sequence, count, schema_version = _HEAD.unpack_from(data)
    if count == 0 or first_sequence == 0:
        raise BatchError("a batch without events, or numbered from zero")
    if count > min(BATCH_COUNT_MAX, len(data) - _HEAD.size) or first_sequence + count - 1 > SEQUENCE_MAX:
        raise BatchError(f"{len(data):,} bytes cannot be {count:,} events from number {first_sequence} on")
    return Batch(stream.hex(), first_sequence, count, schema_version, data[_HEAD.size :])


def repack(batch: Batch, stream: str, first_sequence: int) -> bytes:
    """The same events, byte for byte, as a batch of another stream or from another number on."""
    head = _HEAD.pack(bytes.fromhex(stream), first_sequence, batch.count, batch.schema_version)
    return head + batch.body


def split(batch: Batch) -> Sequence[bytes] | None:
    """Each event's own bytes, in order; None where the body cannot be taken apart."""
    try:
        raws = _raw_decoder.decode(batch.body)
    except UNREADABLE:
        return None
    return [bytes(raw) for raw in raws] if len(raws) == batch.count else None


def join(batch: Batch, contents: Sequence[bytes], first_sequence: int) -> Batch:
    """A part of a batch: consecutive events as `split` gave them, from this number on."""
    body = _encoder.encode([msgspec.Raw(content) for content in contents])
    return Batch(batch.stream, first_sequence, len(contents), batch.schema_version, body)


def kind_in(content: bytes) -> str | None:
    """Return the kind of an encoded event of any version; None for unreadable bytes."""
    try:
        return _kind_decoder.decode(_raw_decoder.decode(content)[0])
    except (*UNREADABLE, IndexError):
        return None


def decode_events(batch: Batch) -> Sequence[Event | Poison]:
    """All `batch.count` events, in order; the unreadable ones as `Poison`. Never raises for bad content."""
    try:
        events: Sequence[Event | Poison] = decode_body(batch.body)
    except DecodeError as error:
        return _unreadable(batch, str(error))
    return events if len(events) == batch.count else _unreadable(batch, f"{len(events)} events, not {batch.count}")


def encode_body(events: Sequence[Event]) -> bytes:
    """The events alone, as a batch or a message of the feed carries them."""
    return _encoder.encode(events)


def decode_body(body: bytes) -> Sequence[Event | Poison]:
    """The events of `encode_body`, the unreadable ones as `Poison`.

    Raises:
        DecodeError: it is no array.
    """
    try:
        return _events_decoder.decode(body)
    except UNREADABLE:
        return [_decode_or_poison(bytes(raw)) for raw in decode(_raw_decoder, body, len(body))]


def _decode_or_poison(content: bytes) -> Event | Poison:
    try:
        return decode_event(content)
    except DecodeError as error:
        return Poison(content, str(error))


def _unreadable(batch: Batch, reason: str) -> Sequence[Poison]:
    """Return one `Poison` for each number of the batch. The first one keeps the bytes."""
    rest = f"see sequence {batch.first_sequence}: {reason}"
    return [Poison(batch.body, reason), *(Poison(b"", rest) for _ in range(batch.count - 1))]


def encode_event(event: Event) -> bytes:
    """Encode one event without a batch around it."""
    return _encoder.encode(event)


def decode_event(content: bytes) -> Event:
    """Decode the bytes of `encode_event`.

    Raises:
        DecodeError: the bytes are no event.
    """
    event: Event = decode(_event_decoder, content, len(content))
    return event
