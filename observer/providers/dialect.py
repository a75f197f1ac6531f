"""What the stream loop and a broker's stream protocol say to each other: frames in, meanings out. Pure.

The loop in `websocket.py` knows sockets and patience, a dialect (`kis/session.py`) knows one broker's texts. Between
them pass only the structs of this file.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bus.events import InputQuarantined, Trade
from observer.providers.interfaces import RecordKind, StreamFact


class Registration(msgspec.Struct, frozen=True):
    """One of the places of a connection: one kind of record of one symbol."""

    kind: RecordKind
    symbol: str

    def __str__(self) -> str:
        """For logs and reasons: `trades of 005930`."""
        return f"{self.kind} of {self.symbol}"


class Registered(msgspec.Struct, frozen=True):
    """The broker acknowledged the registration, or says that it is there already."""

    registration: Registration


class Unregistered(msgspec.Struct, frozen=True):
    """The broker acknowledged the removal of the registration, or says that it is not there."""

    registration: Registration


class Refused(msgspec.Struct, frozen=True):
    """The broker refused what was asked about the registration; the connection stays. None when it names none."""

    registration: Registration | None
    code: str
    reason: str


class Ping(msgspec.Struct, frozen=True):
    """A keep-alive that must be answered with `reply`."""

    reply: str


class Data(msgspec.Struct, frozen=True):
    """A frame of market data, for `StreamDialect.parse`."""

    frame: bytes


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


class Parsed(msgspec.Struct, frozen=True):
    """What a data frame holds, in its order: trades, facts of another kind, or trades and then what their records tell
    beside them. `broken` is the frame itself with a reason when any of it could not be read; then the rest holds its
    whole records before the break.
    """

    trades: Sequence[Trade] = ()
    facts: Sequence[StreamFact] = ()
    broken: InputQuarantined | None = None


class StreamDialect(Protocol):
    """One broker's texts on one connection. Without a socket, a clock or a wait."""

    def register(self, registration: Registration) -> str:
        """The text that asks for these records."""
        ...

    def unregister(self, registration: Registration) -> str:
        """The text that asks for them no more."""
        ...

    def read(self, frame: str | bytes) -> StreamMessage:
        """What a frame means. Never raises."""
        ...

    def parse(self, data: Data, receive_time_ns: int) -> Parsed:
        """The records of a data frame. Never raises."""
        ...
