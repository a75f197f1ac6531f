"""The interface between the stream loop and a broker's stream protocol: frames in, meanings out. Pure.

The loop in `websocket.py` handles sockets and waits; a dialect (a folder's `session.py`) handles one broker's texts.
They exchange only the structs of this file.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from bus.events import InputQuarantined, Trade
from observer.brokers.broker import RecordKind, StreamFact


class Subscription(msgspec.Struct, frozen=True):
    """One subscription of a connection: one kind of record of one symbol."""

    kind: RecordKind
    symbol: str

    def __str__(self) -> str:
        """For logs and reasons: `trades of SYMBOL`."""
        return f"{self.kind} of {self.symbol}"


class Subscribed(msgspec.Struct, frozen=True):
    """The broker acknowledged the subscription, or says that it is there already."""

    subscription: Subscription


class Unsubscribed(msgspec.Struct, frozen=True):
    """The broker acknowledged the removal of the subscription, or says that it is not there."""

    subscription: Subscription


class SubscriptionRefused(msgspec.Struct, frozen=True):
    """The broker refused a request about the subscription; the connection stays. None when the answer names no
    subscription.
    """

    subscription: Subscription | None
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


StreamMessage = Subscribed | Unsubscribed | SubscriptionRefused | Ping | Data | SessionRefused | Unreadable


class Parsed(msgspec.Struct, frozen=True):
    """The content of a data frame, in its order: trades, facts of another kind, or trades followed by the facts of
    their records. `broken` is the frame itself with a reason when part of it could not be read; the other fields then
    hold the whole records before the break. `unread` are the symbols whose trades may be in the rest; None: of any
    symbol that the connection streams.
    """

    trades: Sequence[Trade] = ()
    facts: Sequence[StreamFact] = ()
    broken: InputQuarantined | None = None
    unread: Collection[str] | None = ()


class StreamTraits(msgspec.Struct, frozen=True, kw_only=True):
    """How a broker's stream differs from others.

    `acknowledges`: the broker answers each subscription by itself; where not, a subscription counts once it is sent.
    `batch_max`: how many subscriptions one message carries (the loop in `websocket.py` sends one). `keep_alive` is a
    text that we send each `keep_alive_s` machine seconds; empty: the broker sends its own. What opens a session (a
    login, say) is `StreamDialect.opening`. Where a message states the full set and what is not in it ends, the dialect
    of the connection keeps the set.
    """

    acknowledges: bool = True
    batch_max: int = 1
    keep_alive: str = ""
    keep_alive_s: float = 0.0


class StreamDialect(Protocol):
    """One broker's texts on one connection. Without a socket, a clock or a wait."""

    def opening(self) -> Sequence[str]:
        """The first text on a new connection, before any subscription: a login, say. Empty: none."""
        ...

    def subscribe(self, subscription: Subscription) -> str:
        """The text that subscribes these records."""
        ...

    def unsubscribe(self, subscription: Subscription) -> str:
        """The text that unsubscribes them."""
        ...

    def read(self, frame: str | bytes) -> StreamMessage:
        """The meaning of a frame. Never raises."""
        ...

    def parse(self, data: Data, receive_time_ns: int) -> Parsed:
        """The records of a data frame. Never raises."""
        ...
