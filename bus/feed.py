"""The feed of committed events: PUB on the writer's side, SUB on the reader's.

A message is [topic, number, event]. The topic is "kind.symbol" ("kind." for events without a symbol). The number counts
the events of that kind on the feed, so that a subscriber of a whole kind detects losses. The feed never blocks the
writer and may lose events for a slow subscriber; the database is complete. Events without a subscriber are not encoded.
"""

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import msgspec
import zmq
import zmq.asyncio

from bus.codec import decode_event, encode_event
from bus.delivery import Delivered
from bus.endpoints import Address
from bus.events import EVENT_TYPES, Event, Fact, Poison, kind_of
from bus.sockets import bind, connect

MESSAGES_MAX: Final = 100_000  # queue limit for one slow subscriber before it starts to miss events
_NUMBER: Final = struct.Struct("<Q")
_KINDS: Final = {event_type: kind_of(event_type).encode() + b"." for event_type in EVENT_TYPES}


class FeedPublisher:
    """The writer's end; used from one thread."""

    def __init__(self, address: Address) -> None:
        self._socket: zmq.SyncSocket = zmq.Context.instance().socket(zmq.XPUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, MESSAGES_MAX)
        bind(self._socket, address)
        self._subscriptions: dict[bytes, int] = {}
        self._wanted: dict[type[Fact], bool] = dict.fromkeys(_KINDS, False)
        self._numbers: dict[type[Fact], int] = dict.fromkeys(_KINDS, 0)

    def publish(self, batches: Iterable[Delivered]) -> None:
        """Publish the events that have a subscriber."""
        self._receive_subscriptions()
        if not any(self._wanted.values()):
            return
        for batch in batches:
            for event in batch.events:
                if not isinstance(event, Poison) and self._wanted[type(event)]:
                    self._send(event)

    def _send(self, event: Event) -> None:
        event_type = type(event)
        self._numbers[event_type] += 1
        topic = _KINDS[event_type] + getattr(event, "symbol", "").encode()
        self._socket.send_multipart([topic, _NUMBER.pack(self._numbers[event_type]), encode_event(event)])

    def _receive_subscriptions(self) -> None:
        changed = False
        while self._socket.poll(0):
            message = self._socket.recv()
            self._subscriptions[message[1:]] = self._subscriptions.get(message[1:], 0) + (1 if message[0] else -1)
            changed = True
        if changed:
            prefixes = [prefix for prefix, subscribers in self._subscriptions.items() if subscribers > 0]
            for event_type, kind in _KINDS.items():
                self._wanted[event_type] = any(p.startswith(kind) or kind.startswith(p) for p in prefixes)

    def close(self) -> None:
        """Close the socket; messages queued for slow subscribers are dropped."""
        self._socket.close()


class FeedSubscriber:
    """A reader's end: iterate over it. `missed` counts events known to be lost on the way.

    Args:
        address: the feed's socket.
        kinds: the types of events wanted; all of each kind, whatever the symbol.
    """

    def __init__(self, address: Address, kinds: Sequence[type[Fact]]) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, MESSAGES_MAX)
        for event_type in kinds:
            self._socket.subscribe(_KINDS[event_type])
        connect(self._socket, address)
        self._last_numbers: dict[bytes, int] = {}
        self.missed = 0

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events as they are committed, until cancelled. What this reader cannot decode counts as missed."""
        while True:
            topic, number, content = await self._socket.recv_multipart()
            self._count_missed(topic.partition(b".")[0], _NUMBER.unpack(number)[0])
            try:
                event = decode_event(content)
            except msgspec.MsgspecError:
                self.missed += 1
                continue
            yield event

    def _count_missed(self, kind: bytes, number: int) -> None:
        """Add to `missed`. A smaller number means that the writer restarted; losses of the old one are unknown here."""
        last_number = self._last_numbers.get(kind, number - 1)
        self.missed += max(0, number - last_number - 1)
        self._last_numbers[kind] = number

    def close(self) -> None:
        """Unsubscribe and close."""
        self._socket.close()
