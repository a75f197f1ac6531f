"""The feed of committed events, from the writer to its readers (`bus.subscriptions`).

A message is [number, events]: consecutive committed events of the kinds that the reader wants. The number counts the
events that were sent to this reader before, so that it detects losses. The feed never blocks the writer and may lose
events for a slow reader; the database is complete. Events without a subscriber are not encoded.
"""

import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

import zmq

from bus.codec import BATCH_BYTES_MAX, decode_body, encode_body
from bus.decoding import DecodeError
from bus.delivery import Delivered
from bus.endpoints import Address
from bus.events import Event, Fact, Poison
from bus.subscriptions import ReaderSocket, Subscribers

MESSAGES_MAX: Final = 10_000  # that wait for one slow reader, at each end, before it starts to miss events
MESSAGE_EVENTS_MAX: Final = 500  # of some 100 bytes
_NUMBER: Final = struct.Struct("<Q")


class FeedPublisher:
    """The writer's end; used from one thread."""

    def __init__(self, address: Address) -> None:
        self._socket: zmq.SyncSocket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._subscribers = Subscribers(self._socket, address, "feed", MESSAGES_MAX)

    def publish(self, batches: Iterable[Delivered]) -> None:
        """Publish the events that have a subscriber."""
        self._subscribers.receive()
        if not self._subscribers:
            return
        events = [event for batch in batches for event in batch.events]
        encoded: dict[frozenset[type[Fact]], Sequence[tuple[int, bytes]]] = {}
        for subscriber in self._subscribers:
            types = subscriber.types
            if types not in encoded:
                encoded[types] = list(
                    _encoded([event for event in events if type(event) in types and not isinstance(event, Poison)])
                )
            for count, body in encoded[types]:
                self._subscribers.send(subscriber, [_NUMBER.pack(subscriber.number), body], count)

    def close(self) -> None:
        """Close the socket; messages queued for slow readers are dropped."""
        self._socket.close()


def _encoded(events: Sequence[Event]) -> Iterator[tuple[int, bytes]]:
    """Messages' events, encoded, each with their number."""
    for first in range(0, len(events), MESSAGE_EVENTS_MAX):
        part = events[first : first + MESSAGE_EVENTS_MAX]
        body = encode_body(part)
        if len(body) <= BATCH_BYTES_MAX:
            yield len(part), body
        else:  # one event fits: it came in a batch
            yield from ((1, encode_body([event])) for event in part)


def decode_feed(frames: Sequence[bytes]) -> tuple[int, Sequence[Event | Poison]]:
    """A message of the feed: the number of this reader's events before it, and its events; those of a kind that this
    version does not know as `Poison`.

    Raises:
        DecodeError: it is none.
    """
    if len(frames) != 2 or len(frames[0]) != _NUMBER.size:
        raise DecodeError("a message of the feed is a number and events: two frames")
    return _NUMBER.unpack(frames[0])[0], decode_body(frames[1])


class FeedSubscriber:
    """A reader's end: iterate over it. `missed` counts events known to be lost on the way.

    Args:
        address: the feed's socket.
        kinds: the types of events wanted; all of each kind, whatever the symbol.
    """

    def __init__(self, address: Address, kinds: Sequence[type[Fact]]) -> None:
        self._socket = ReaderSocket(address, kinds, MESSAGES_MAX, BATCH_BYTES_MAX)
        self._next_number: int | None = None
        self.missed = 0

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events as they are committed, until cancelled. What this reader cannot decode counts as missed."""
        while True:
            try:
                number, events = decode_feed(await self._socket.receive())
            except DecodeError:
                self.missed += 1
                continue
            # A smaller number means that the writer restarted, or has forgotten this reader, whose connection was lost
            # for longer than a lease; losses of before are unknown here.
            self.missed += max(0, number - self._next_number) if self._next_number is not None else 0
            self._next_number = number + len(events)
            for event in events:
                if isinstance(event, Poison):
                    self.missed += 1
                else:
                    yield event

    def close(self) -> None:
        """Unsubscribe and close."""
        self._socket.close()
