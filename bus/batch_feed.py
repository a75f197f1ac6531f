"""Committed batches, whole and as they came, for captures: XPUB on the writer's side, SUB on the other.

The feed is for those who want to know soon and may miss something; the tap is for those who must be able to tell
whether they have everything. A message is either

    [topic, b"B", batch]    a committed batch, byte for byte as its producer sent it (`bus.codec`)
    [topic, b"M", marks]    sent once for each new subscription: from here on every committed batch follows

`marks` tells, for each stream that this writer has committed something of, the number of its last event before that
point. So a subscriber knows where it began, and the numbers in the batches show what is missing after it. Like the
feed, the tap never makes the writer wait: what a subscriber is too slow for is lost to it, and it can see that.
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

BATCHES_MAX: Final = 4_000  # what may wait for one slow subscriber; at 500 events of 100 bytes each some 200 MB
LINGER_MS: Final = 2_000  # a writer that stops gives its subscribers so long to take the rest
RECONNECT_MS: Final = 10  # sooner than producers come back to a writer that is started anew
TOPIC: Final = b"*"
_BATCH: Final = b"B"
_MARKS: Final = b"M"

_encoder: Final = msgspec.msgpack.Encoder()
_marks_decoder: Final = msgspec.msgpack.Decoder(dict[str, int])


class Began(msgspec.Struct, frozen=True):
    """Everything that is committed after these marks follows; a stream that is not named had nothing of this writer."""

    marks: Mapping[str, int]


class TapPublisher:
    """The writer's end; used from one thread."""

    def __init__(self, address: Address) -> None:
        self._context = zmq.Context()  # of its own: closing it waits until the subscribers have taken the rest
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # hear of every subscriber, not only of the first
        self._socket.setsockopt(zmq.SNDHWM, BATCHES_MAX)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        bind(self._socket, address)
        self._subscribers = 0
        self._marks: dict[str, int] = {}

    def publish(self, batches: Iterable[Delivered]) -> None:
        """Put committed batches on the tap if anybody listens, and remember how far each stream is."""
        self._hear_subscriptions()
        for batch in batches:
            if self._subscribers > 0:
                self._socket.send_multipart([TOPIC, _BATCH, batch.packed])
            self._marks[batch.stream] = batch.first_sequence + len(batch.events) - 1

    def _hear_subscriptions(self) -> None:
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


class TapSubscriber:
    """A reader's end: iterate over it. It may connect before there is a writer, and outlives any number of them."""

    def __init__(self, address: Address) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, BATCHES_MAX)
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self._socket.subscribe(TOPIC)
        connect(self._socket, address)

    async def __aiter__(self) -> AsyncIterator[Began | Batch]:
        """What is committed, in the order of the commits, until cancelled; a `Began` for each writer that is found.

        Raises:
            BatchError: the writer sent no batch.
        """
        while True:
            _topic, kind, content = await self._socket.recv_multipart()
            yield unpack(content) if kind == _BATCH else Began(_marks_decoder.decode(content))

    def close(self) -> None:
        """Unsubscribe and close."""
        self._socket.close()
