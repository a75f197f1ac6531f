"""Decodes what a peer sent: the value, or `DecodeError` and nothing else, whatever the bytes."""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar, dataclass_transform

import msgspec

Value = TypeVar("Value")

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises; `RecursionError` where values are nested too deeply."""
_REASON_CHARACTERS_MAX: Final = 200  # msgspec quotes the value that it refuses


class DecodeError(Exception):
    """These bytes are no message of the expected kind."""


def decoder_of(kind: Any, bytes_max: int) -> Callable[[bytes], Any]:
    """A function that decodes a message of this type, or of one of this union, as `decode` does."""
    decoder = msgspec.msgpack.Decoder(kind)
    return lambda content: decode(decoder, content, bytes_max)


def decode(decoder: msgspec.msgpack.Decoder[Value], content: bytes, bytes_max: int) -> Value:
    """Decode the bytes.

    Raises:
        DecodeError: the bytes are too many, or no such value.
    """
    if len(content) > bytes_max:
        raise DecodeError(f"{len(content):,} bytes, more than the {bytes_max:,} that such a message may have")
    try:
        return decoder.decode(content)
    except UNREADABLE as error:
        raise DecodeError(reason_of(error)) from None


def reason_of(error: Exception) -> str:
    """The text of an error of `UNREADABLE`: one line of bounded length, whatever it quotes."""
    return ascii(str(error)[:_REASON_CHARACTERS_MAX])[1:-1]


def tag_of(name: str) -> str:
    """The tag on the wire and in files of a struct with this name: `OrderBook` is "order_book"."""
    return re.sub(r"\B(?=[A-Z])", "_", name).lower()


@dataclass_transform(frozen_default=True)
class Wire(msgspec.Struct, frozen=True, array_like=True, tag=tag_of):
    """Base of the messages between writer, producers and readers: an array that begins with the tag."""
