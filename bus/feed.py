"""The feed of committed events, from the writer to its readers (`bus.subscriptions`).

A message is [head, events]: consecutive committed events of the kinds that the reader wants. The head is the id of the
writer's run and a number that counts the events which were sent to this reader before, so that it detects losses: what
a writer committed just before it ended may have reached no reader. The feed never blocks the writer and may lose events
for a slow reader; the database is complete. Events without a subscriber are not encoded.
"""

import logging
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final

import zmq

from bus.codec import BATCH_BYTES_MAX, decode_body, encode_body
from bus.decoding import DecodeError
from bus.delivery import Delivered
from bus.endpoints import Address
from bus.events import Event, Fact, Poison, Severity
from bus.subscriptions import ReaderSocket, Subscribers

MESSAGES_MAX: Final = 10_000  # that wait for one slow reader, at each end, before it starts to miss events
MESSAGE_EVENTS_MAX: Final = 500  # of some 100 bytes
LOSS: Final = "committed events are lost on the feed: this reader is too slow, or cannot read them"
POSSIBLE_LOSS: Final = "the writer was restarted, or forgot this reader of the feed: it may lack committed events"
_HEAD: Final = struct.Struct("<16sQ")

logger = logging.getLogger(__name__)


class FeedPublisher:
    """The writer's end; used from one thread."""

    def __init__(self, address: Address) -> None:
        self._socket: zmq.SyncSocket = zmq.Socket(zmq.Context.instance(), zmq.ROUTER)
        self._socket.linger = 0
        self._subscribers = Subscribers(self._socket, address, "feed", MESSAGES_MAX)
        self._run = uuid.uuid4().bytes

    @property
    def refused(self) -> int:
        """Messages that are no subscription, or came from a peer that is ignored."""
        return self._subscribers.refused

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
                self._subscribers.send(subscriber, [_HEAD.pack(self._run, subscriber.number), body], count)

    def close(self) -> None:
        """Close the socket; messages queued for slow readers are dropped."""
        self._socket.close()


def _encoded(events: Sequence[Event]) -> Iterator[tuple[int, bytes]]:
    """Yield the encoded events of each message with the message's number."""
    for first in range(0, len(events), MESSAGE_EVENTS_MAX):
        part = events[first : first + MESSAGE_EVENTS_MAX]
        body = encode_body(part)
        if len(body) <= BATCH_BYTES_MAX:
            yield len(part), body
        else:  # one event fits: it came in a batch
            yield from ((1, encode_body([event])) for event in part)


def decode_feed(frames: Sequence[bytes]) -> tuple[bytes, int, Sequence[Event | Poison]]:
    """Decode a message of the feed: the id of the writer's run, the number of this reader's events before the message,
    and the events. An event of an unknown kind becomes `Poison`.

    Raises:
        DecodeError: the bytes are no message of the feed.
    """
    if len(frames) != 2 or len(frames[0]) != _HEAD.size:
        raise DecodeError("a message of the feed is a head and events: two frames")
    run, number = _HEAD.unpack(frames[0])
    return run, number, decode_body(frames[1])


class FeedSubscriber:
    """A reader's end: iterate over it. `missed` counts events known to be lost on the way, `possible_losses` how often
    an unknown number may have been lost: the writer is another one, or had forgotten this reader.

    Args:
        address: the feed's socket.
        kinds: the types of events wanted; all of each kind, whatever the symbol.
        on_loss: called at each loss, for an alert: "warning" for events known to be lost, "info" for a possible loss,
            and a text that is always the same. Without it the first of each is logged.
    """

    def __init__(
        self,
        address: Address,
        kinds: Sequence[type[Fact]],
        on_loss: Callable[[Severity, str], None] | None = None,
    ) -> None:
        self._socket = ReaderSocket(address, kinds, MESSAGES_MAX, BATCH_BYTES_MAX)
        self._on_loss = on_loss or self._log_first
        self._run = b""
        self._next_number = 0
        self._logged: set[Severity] = set()
        self.missed = 0
        self.possible_losses = 0

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events as they are committed, until cancelled. Undecodable events count as missed. An undecodable
        message counts when the next message comes, as that message's number shows how many events were missed.
        """
        while True:
            try:
                run, number, events = decode_feed(await self._socket.receive())
            except DecodeError:
                self._miss(0)
                continue
            self._compare(run, number)
            self._next_number = number + len(events)
            for event in events:
                if isinstance(event, Poison):
                    self._miss(1)
                else:
                    yield event

    def _compare(self, run: bytes, number: int) -> None:
        """Count the events that were lost before a message. A smaller number of the same run means that the writer
        forgot this reader, whose connection was lost for longer than a lease.
        """
        known, self._run = self._run, run
        if known and (run != known or number < self._next_number):
            self.possible_losses += 1
            self._on_loss("info", POSSIBLE_LOSS)
        elif known and number > self._next_number:
            self._miss(number - self._next_number)

    def _miss(self, count: int) -> None:
        self.missed += count
        self._on_loss("warning", LOSS)

    def _log_first(self, severity: Severity, text: str) -> None:
        """Log a loss once: a slow reader may lose events before each message."""
        if severity not in self._logged:
            self._logged.add(severity)
            logger.warning("%s", text)

    def close(self) -> None:
        self._socket.close()
