"""Committed batches, whole and as they came, for captures: XPUB on the writer's side, SUB on the other.

The feed is fast and may lose events; a reader of the batch feed can detect every loss. A message is either

    [topic, b"B", batch]    a committed batch, byte for byte as its producer sent it (`bus.codec`)
    [topic, b"M", marks]    sent once for each new subscription: from here on every committed batch follows

`marks` gives, for each stream this writer has committed, the number of its last event before that point. A subscriber
thus knows where it began, and the numbers in the batches show what is missing after it. Like the feed, the batch feed
never makes the writer wait: a slow subscriber loses batches and can see it.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import msgspec
import zmq
import zmq.asyncio

from bus.codec import Batch, unpack
from bus.delivery import Delivered
from bus.endpoints import Address
from bus.sockets import bind, connect

BATCHES_MAX: Final = 4_000  # queue limit for one slow subscriber; at 500 events of 100 bytes each some 200 MB
LINGER_MS: Final = 2_000  # a writer that stops gives its subscribers so long to take the rest
RECONNECT_MS: Final = 10  # sooner than producers come back to a writer that is started anew
TOPIC: Final = b"*"
_BATCH: Final = b"B"
_MARKS: Final = b"M"

_encoder: Final = msgspec.msgpack.Encoder()
_marks_decoder: Final = msgspec.msgpack.Decoder(dict[str, int])


class Began(msgspec.Struct, frozen=True):
    """Every batch committed after these marks follows; this writer committed nothing of an unnamed stream."""

    marks: Mapping[str, int]


class BatchFeedPublisher:
    """The writer's end; used from one thread."""

    def __init__(self, address: Address) -> None:
        self._context = zmq.Context()  # of its own: closing it waits until the subscribers have taken the rest
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # report every subscriber, not only the first
        self._socket.setsockopt(zmq.SNDHWM, BATCHES_MAX)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        bind(self._socket, address)
        self._subscribers = 0
        self._marks: dict[str, int] = {}

    def publish(self, batches: Iterable[Delivered]) -> None:
        """Publish committed batches if there is a subscriber, and remember each stream's mark."""
        self._receive_subscriptions()
        for batch in batches:
            if self._subscribers > 0:
                self._socket.send_multipart([TOPIC, _BATCH, batch.packed])
            self._marks[batch.stream] = batch.first_sequence + len(batch.events) - 1

    def _receive_subscriptions(self) -> None:
        while self._socket.poll(0):
            match self._socket.recv():
                case b"\1*":
                    self._subscribers += 1
                    self._socket.send_multipart([TOPIC, _MARKS, _encoder.encode(self._marks)])
                case b"\0*":
                    self._subscribers -= 1

    def close(self) -> None:
        """Close, waiting at most `LINGER_MS` for subscribers that have not taken everything yet."""
        self._socket.close()
        self._context.term()


class BatchFeedSubscriber:
    """A reader's end: iterate over it. It may connect before there is a writer, and outlives any number of them."""

    def __init__(self, address: Address) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, BATCHES_MAX)
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self._socket.subscribe(TOPIC)
        connect(self._socket, address)

    async def __aiter__(self) -> AsyncIterator[Began | Batch]:
        """Yield committed batches in commit order until cancelled, and a `Began` for each writer found.

        Raises:
            BatchError: the writer sent no batch.
        """
        while True:
            _topic, kind, content = await self._socket.recv_multipart()
            yield unpack(content) if kind == _BATCH else Began(_marks_decoder.decode(content))

    def close(self) -> None:
        """Unsubscribe and close."""
        self._socket.close()
