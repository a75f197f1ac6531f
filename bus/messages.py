"""Bytes and the messages of the delivery protocol (`bus.delivery`): each is one, or a `DecodeError`."""

from typing import Final

import msgspec

from bus.decoding import DecodeError, decode
from bus.delivery import Hello, Lost, ToProducer

HELLO_BYTES_MAX: Final = 256 * 1024  # each of its streams has some 45 bytes
LOST_BYTES_MAX: Final = 1_024
TO_PRODUCER_BYTES_MAX: Final = 3 * HELLO_BYTES_MAX  # a welcome has three numbers for each stream of the hello

_hello_decoder: Final = msgspec.msgpack.Decoder(Hello)
_lost_decoder: Final = msgspec.msgpack.Decoder(Lost)
_to_producer_decoder: Final[msgspec.msgpack.Decoder[ToProducer]] = msgspec.msgpack.Decoder(ToProducer)


def decode_hello(content: bytes) -> Hello:
    """Decode a producer's hello.

    Raises:
        DecodeError: the bytes are no hello.
    """
    return decode(_hello_decoder, content, HELLO_BYTES_MAX)


def decode_lost(content: bytes) -> Lost:
    """Decode a producer's statement of lost numbers.

    Raises:
        DecodeError: the bytes are no such statement.
    """
    lost = decode(_lost_decoder, content, LOST_BYTES_MAX)
    if lost.count < 1:
        raise DecodeError(f"no numbers from {lost.first_sequence} to {lost.last_sequence}")
    return lost


def decode_to_producer(content: bytes) -> ToProducer:
    """Decode a message of the writer to a producer.

    Raises:
        DecodeError: the bytes are no such message.
    """
    return decode(_to_producer_decoder, content, TO_PRODUCER_BYTES_MAX)
