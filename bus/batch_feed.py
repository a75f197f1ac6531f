"""Committed batches, whole and as they came, for captures (`bus.subscriptions`).

The feed is fast and may lose events; a reader of the batch feed can detect every loss. A message is either

    [b"B", batch]    a committed batch, byte for byte as its producer sent it (`bus.codec`)
    [b"M", marks]    sent once to each new subscriber: from here on every committed batch follows

`marks` gives, for each stream this writer has committed, the number of its last event before that point. A subscriber
thus knows where it began, and the numbers in the batches show what is missing after it. Like the feed, the batch feed
never makes the writer wait: a slow subscriber loses batches and can see it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import zmq

from bus.codec import BATCH_BYTES_MAX, Batch, unpack
from bus.decoding import DecodeError, decoder_of
from bus.delivery import Delivered, Mark, StreamId
from bus.endpoints import Address
from bus.subscriptions import ReaderSocket, Subscribers

BATCHES_MAX: Final = 4_000  # queue limit for one slow subscriber; at 500 events of 100 bytes each some 200 MB
LINGER_MS: Final = 2_000  # a writer that stops gives its subscribers so long to take the rest
RECONNECT_MS: Final = 10  # sooner than producers come back to a writer that is started anew
_BATCH: Final = b"B"
_MARKS: Final = b"M"

_encoder: Final = msgspec.msgpack.Encoder()
_decode_marks: Final[Callable[[bytes], dict[str, int]]] = decoder_of(dict[StreamId, Mark], BATCH_BYTES_MAX)


class Began(msgspec.Struct, frozen=True):
    """Every batch committed after these marks follows; this writer committed nothing of an unnamed stream."""

    marks: Mapping[str, int]


class BatchFeedPublisher:
    """The writer's end; used from one thread."""

    def __init__(self, address: Address) -> None:
        self._context = zmq.Context()  # of its own: closing it waits until the subscribers have taken the rest
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = LINGER_MS
        self._subscribers = Subscribers(self._socket, address, "batch feed", BATCHES_MAX)
        self._marks: dict[str, int] = {}

    @property
    def refused(self) -> int:
        """Messages that are no subscription, or came from a peer that is ignored."""
        return self._subscribers.refused

    def publish(self, batches: Iterable[Delivered]) -> None:
        """Publish committed batches if there is a subscriber, and remember each stream's mark."""
        for subscriber in self._subscribers.receive():
            self._subscribers.send(subscriber, [_MARKS, _encoder.encode(self._marks)])
        for batch in batches:
            for subscriber in self._subscribers:
                self._subscribers.send(subscriber, [_BATCH, batch.packed])
            self._marks[batch.stream] = batch.last_sequence

    def close(self) -> None:
        """Close, waiting at most `LINGER_MS` for subscribers that have not taken everything yet."""
        self._socket.close()
        self._context.term()


def decode_batch_feed(frames: Sequence[bytes]) -> Began | Batch:
    """Decode a message of the batch feed.

    Raises:
        DecodeError: the bytes are no such message.
    """
    match frames:
        case [kind, content] if kind == _BATCH:
            return unpack(content)
        case [kind, content] if kind == _MARKS:
            return Began(_decode_marks(content))
    raise DecodeError(f"{len(frames)} frames are no message of the batch feed")


class BatchFeedSubscriber:
    """The reader's end of the batch feed: iterate over it. It may connect before a writer exists, and survives restarts
    of the writer.
    """

    def __init__(self, address: Address) -> None:
        self._socket = ReaderSocket(address, (), BATCHES_MAX, BATCH_BYTES_MAX, RECONNECT_MS)

    async def __aiter__(self) -> AsyncIterator[Began | Batch]:
        """Yield committed batches in commit order until cancelled, and a `Began` for each writer found.

        Raises:
            DecodeError: the writer sent no such message.
        """
        while True:
            yield decode_batch_feed(await self._socket.receive())

    def close(self) -> None:
        self._socket.close()
