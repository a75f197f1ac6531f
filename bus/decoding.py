"""Decodes what a peer sent: the value, or `DecodeError` and nothing else, whatever the bytes."""

import re
from typing import Final, Protocol, TypeVar

import msgspec

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises; `RecursionError` where values are nested too deeply."""
_REASON_CHARACTERS_MAX: Final = 200  # msgspec quotes the value that it refuses


class DecodeError(Exception):
    """These bytes are no message of the expected kind."""


class Decoder(Protocol[Value_co]):
    """A decoder of msgspec."""

    def decode(self, buf: bytes, /) -> Value_co:
        """The value in these bytes."""
        ...


def decode(decoder: Decoder[Value], content: bytes, bytes_max: int) -> Value:
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
