"""What the stream loop and a broker's stream protocol say to each other: frames in, meanings out. Pure.

The loop in `websocket.py` knows sockets and patience, a dialect (`kis/session.py`) knows one broker's texts. Between
them pass only the structs of this file.
"""

from typing import Protocol

import msgspec

from bus.events import InputQuarantined, Trade


class Registered(msgspec.Struct, frozen=True):
    """The broker acknowledged the registration of `symbol`, or says that it is there already."""

    symbol: str


class Unregistered(msgspec.Struct, frozen=True):
    """The broker acknowledged the removal of `symbol`, or says that it is not there."""

    symbol: str


class Refused(msgspec.Struct, frozen=True):
    """The broker refused what was asked about `symbol`; the connection stays. `symbol` is empty when it names none."""

    symbol: str
    code: str
    reason: str


class Ping(msgspec.Struct, frozen=True):
    """A keep-alive that must be answered with `reply`."""

    reply: str


class Data(msgspec.Struct, frozen=True):
    """A frame of market data, for `StreamDialect.parse`."""

    frame: str


class SessionRefused(msgspec.Struct, frozen=True):
    """The broker will not talk to us on this connection; with `key_rejected` not with this approval key either."""

    code: str
    reason: str
    key_rejected: bool


class Unreadable(msgspec.Struct, frozen=True):
    """A frame that is none of the above."""

    content: bytes
    reason: str


StreamMessage = Registered | Unregistered | Refused | Ping | Data | SessionRefused | Unreadable


class StreamDialect(Protocol):
    """One broker's texts on one connection. Without a socket, a clock or a wait."""

    def register(self, symbol: str) -> str:
        """The text that asks for the trades of a symbol."""
        ...

    def unregister(self, symbol: str) -> str:
        """The text that asks for them no more."""
        ...

    def read(self, frame: str | bytes) -> StreamMessage:
        """What a frame means. Never raises."""
        ...

    def parse(self, data: Data, receive_time_ns: int) -> tuple[list[Trade], InputQuarantined | None]:
        """The trades of a data frame; of a broken one those before the break, and what was wrong. Never raises."""
        ...
