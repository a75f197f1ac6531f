"""Sends numbered batches from an outbox or a capture over a DEALER socket to the writer.

A worker's source is its outbox, a replay's is its capture. The sender stays within the writer's credit and reports
committed numbers to the source.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec
import zmq
import zmq.asyncio

from bus.decoding import DecodeError
from bus.delivery import (
    BATCH,
    HELLO,
    LOST,
    TO_PRODUCER_BYTES_MAX,
    Acknowledged,
    Lost,
    Rewind,
    Sender,
    StreamProgress,
    ToProducer,
    Unknown,
    Welcome,
    decode_to_producer,
)
from bus.endpoints import Address
from bus.histogram import Histogram
from bus.segments import Missing, Packed
from bus.sockets import connect

logger = logging.getLogger(__name__)

# Machine seconds with events under way and no message from the writer, then hello again: ever later while it is silent.
# Hellos wait in the sockets while there is no writer, or one that cannot commit; each is answered afterwards.
SILENCE_S: Final = 0.5
SILENCE_S_MAX: Final = 16.0
_DOUBLINGS_MAX: Final = 5
_TIMED_MAX: Final = 10_000  # batches under way whose latency is measured; an outage has more
IDLE_S: Final = 5.0  # with nothing under way: a hello finds out whether the database went back

_encoder: Final = msgspec.msgpack.Encoder()
Frames: TypeAlias = Sequence[bytes]


class Source(Protocol):
    """Streams of batches that are kept until they are committed; without an archive, and of any database, by itself."""

    @property
    def producer(self) -> str:
        """The name under which the writer knows these streams."""
        ...

    @property
    def epoch(self) -> str:
        """The epoch of the database that these streams were delivered to last; empty if unknown, or if any will do."""
        return ""

    def progress(self) -> Sequence[StreamProgress]:
        """All streams that are here, oldest first, the current one last."""
        ...

    def archived(self) -> Mapping[str, int]:
        """The last number of each finished stream that can be delivered again."""
        return {}

    def batch_at(self, stream: str, sequence: int) -> Packed | Missing:
        """The batch that holds this number.

        Raises:
            OSError: the disk does not give it now.
        """
        ...

    def rewind(self, stream: str) -> int:
        """The database went back: make the stream ready for delivery. Returns the last number."""
        ...

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        """The stream is committed up to this number."""
        ...

    def finish(self, stream: str) -> None:
        """Put this earlier stream away: everything of it is committed."""
        ...

    def remember_epoch(self, epoch: str) -> None:
        """The streams are delivered to a database in this epoch."""
        ...

    def keep_behind(self, backed_up: Mapping[str, int]) -> None:
        """Two verified backups of the database hold the events up to these numbers."""
        ...


class BatchSender:
    """Delivers the batches of one source. Used from one event loop."""

    def __init__(self, source: Source, ingest_address: Address) -> None:
        self._source = source
        self._address = ingest_address
        self._sender = Sender(source.progress(), source.epoch)
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._timed: deque[tuple[str, int, float]] = deque(maxlen=_TIMED_MAX)  # stream, last number, when appended
        self.latency = Histogram()
        """Machine seconds from the append of a batch to its acknowledgement, for the newest 10,000 of an outage."""

    @property
    def unacknowledged(self) -> int:
        """Events in the source that are not known to be committed."""
        return self._sender.unacknowledged

    def appended(self, stream: str, last_sequence: int) -> None:
        """The source now holds the stream up to and with this number."""
        self._sender.appended(stream, last_sequence)
        self._timed.append((stream, last_sequence, time.monotonic()))
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled.

        Raises:
            BusError: the address needs keys that are not there.
        """
        context = zmq.asyncio.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.set_hwm(0)  # the credit bounds what is under way, not the socket
        connect(socket, self._address, TO_PRODUCER_BYTES_MAX)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(socket))
                tasks.create_task(self._send(socket))
        finally:
            socket.close()

    async def _listen(self, socket: zmq.asyncio.Socket) -> None:
        await socket.send_multipart(self.hello())
        silent_s, hellos = 0.0, 0
        while True:
            if await socket.poll(timeout=round(SILENCE_S * 1000)):
                if answer := self.received(await socket.recv()):
                    await socket.send_multipart(answer)
                async with self._settled:
                    self._settled.notify_all()
                silent_s, hellos = 0.0, 0
                continue
            silent_s += SILENCE_S
            if silent_s >= (patience_s(hellos) if self._sender.unacknowledged else IDLE_S):
                await socket.send_multipart(self.hello())
                silent_s, hellos = 0.0, hellos + 1

    def hello(self) -> Frames:
        """The message that a connection begins with; nothing else is sent until its answer."""
        self._sender.disconnected()
        return [HELLO, _encoder.encode(self._sender.hello(self._source.producer, self._source.archived()))]

    def received(self, content: bytes) -> Frames | None:
        """Act on a message of the writer; the hello that it asks for."""
        try:
            message = decode_to_producer(content)
        except DecodeError as error:
            logger.error("the writer sent what is no message of a writer: %s", error)
            return None
        is_asked = self._is_asked(message)
        for stream in self._sender.finished():
            self._source.finish(stream)
        self._wake.set()
        return self.hello() if is_asked else None

    def _is_asked(self, message: ToProducer) -> bool:
        """Act on the message. Returns whether the message asks for a hello."""
        match message:
            case Acknowledged(stream, mark, epoch):
                self._sender.acknowledged(message)
                if epoch == self._sender.epoch:
                    self._source.acknowledge(stream, mark)
                self._measure(stream, mark)
            case Welcome():
                self._welcomed(message)
            case Rewind(stream, last_taken):
                return not self._sender.rewound(stream, last_taken)
            case Unknown():
                return True
        return False

    def _measure(self, stream: str, mark: int) -> None:
        """Count the latency of each batch up to this number, once per batch."""
        now_s = time.monotonic()
        while self._timed and self._timed[0][0] == stream and self._timed[0][1] <= mark:
            self.latency.observe(now_s - self._timed.popleft()[2])

    def _welcomed(self, welcome: Welcome) -> None:
        """Go back first where the database went back. When the disk refuses that, the next hello tries again."""
        try:
            fallen = self._sender.fallen(welcome, self._source.archived())
            for stream, mark in reversed(list(fallen.items())):
                logger.warning("the database went back to %d of stream %s: delivering again", mark, stream)
                self._sender.revived(stream, self._source.rewind(stream), mark)
        except OSError as error:
            logger.critical("cannot read the archive: %s", error)
            return
        self._sender.welcomed(welcome)
        self._source.remember_epoch(welcome.epoch)
        self._source.keep_behind(welcome.backed_up)

    async def _send(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while frames := self.next_message():
                await socket.send_multipart(frames)

    def next_message(self) -> Frames | None:
        """The next batch or statement of losses; None when all is sent, or the credit is used up."""
        if (position := self._sender.next_to_send()) is None:
            return None
        stream, sequence = position
        try:
            found = self._source.batch_at(stream, sequence)
        except OSError as error:
            logger.critical("cannot read the archive: %s", error)
            self._sender.disconnected()  # the answer to the next hello goes on
            return None
        match found:
            case Packed(content, last_sequence):
                frames = [BATCH, content]
            case Missing(last_sequence, reason):
                frames = [LOST, _encoder.encode(Lost(stream, sequence, last_sequence, reason))]
        self._sender.sent(stream, last_sequence)
        return frames

    async def drain(self, deadline_s: float) -> bool:
        """Wait until everything that is in the source now is committed, whatever comes after it; False when that took
        more than so many machine seconds.
        """
        marks = self._sender.appended_marks
        try:
            async with asyncio.timeout(deadline_s), self._settled:
                await self._settled.wait_for(lambda: self._sender.has_committed(marks))
        except TimeoutError:
            return False
        return True


def patience_s(hellos: int) -> float:
    """How long a silent writer is waited for after so many hellos without an answer, in machine seconds."""
    return min(SILENCE_S * 2.0 ** min(hellos, _DOUBLINGS_MAX), SILENCE_S_MAX)
