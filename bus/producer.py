"""A worker's end of the ingest socket: publish is an append to the outbox; delivery goes on beside it.

Publishing never waits for the writer: events are gathered until the event loop's next turn, appended to the outbox as
one batch, and sent as far as the writer's credit reaches. While the writer is away the outbox grows on disk.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
import zmq
import zmq.asyncio

from bus.delivery import BATCH, HELLO, Acknowledged, Hello, Rewind, Sender, ToProducer, Unknown, Welcome
from bus.events import Event
from bus.outbox import Outbox

logger = logging.getLogger(__name__)

BATCH_EVENTS_MAX: Final = 500  # a batch is one record, one message, and the least that a lost message costs
SILENCE_S: Final = 0.5  # machine seconds with events under way and no word from the writer: say hello again

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(ToProducer)


class Producer:
    """Publishes events; owns its outbox and one DEALER socket. Used from one event loop."""

    def __init__(self, outbox: Outbox, ingest_address: str) -> None:
        self._outbox = outbox
        self._address = ingest_address
        self._sender = Sender(outbox.progress())
        self._gathered: list[Event] = []
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self.refused = 0

    @property
    def published(self) -> int:
        """Events that this process has appended to its outbox."""
        return self._outbox.last_sequence

    @property
    def unacknowledged(self) -> int:
        """Events in the outbox, of this process and earlier ones, that are not known to be committed."""
        return self._sender.unacknowledged + len(self._gathered)

    def publish(self, event: Event) -> None:
        """Publish soon: with whatever else is published in this turn of the event loop."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self.flush)
        self._gathered.append(event)
        if len(self._gathered) >= BATCH_EVENTS_MAX:
            self.flush()

    def publish_together(self, events: Sequence[Event]) -> None:
        """Publish now, as one batch: whatever is killed, all of it is stored in one transaction, or nothing."""
        self.flush()
        self._append(events)

    def flush(self) -> None:
        """Append what was gathered to the outbox."""
        if self._gathered:
            events, self._gathered = self._gathered, []
            self._append(events)

    def _append(self, events: Sequence[Event]) -> None:
        try:
            last_sequence = self._outbox.append(events)
        except OSError as error:  # the disk is full: say so, keep running, count what could not be kept
            self._refuse(len(events), error)
            return
        except (OverflowError, UnicodeEncodeError) as error:  # one that cannot be encoded takes no other with it
            half = len(events) // 2
            if half == 0:
                self._refuse(1, error)
                return
            self._append(events[:half])
            self._append(events[half:])
            return
        self._sender.appended(self._outbox.stream, last_sequence)
        self._wake.set()

    def _refuse(self, count: int, error: Exception) -> None:
        self.refused += count
        logger.critical("outbox refused %d events (%d so far): %s", count, self.refused, error)

    async def run(self) -> None:
        """Deliver until cancelled."""
        context = zmq.asyncio.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.set_hwm(0)  # the credit bounds what is under way, not the socket
        socket.connect(self._address)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(socket))
                tasks.create_task(self._send(socket))
        finally:
            socket.close()

    async def _listen(self, socket: zmq.asyncio.Socket) -> None:
        await self._say_hello(socket)
        while True:
            if await socket.poll(timeout=round(SILENCE_S * 1000)):
                await self._hear(socket, _decoder.decode(await socket.recv()))
            elif self._sender.unacknowledged:
                await self._say_hello(socket)

    async def _say_hello(self, socket: zmq.asyncio.Socket) -> None:
        self._sender.disconnected()
        hello = Hello(self._outbox.producer, self._sender.streams)
        await socket.send_multipart([HELLO, _encoder.encode(hello)])

    async def _hear(self, socket: zmq.asyncio.Socket, message: ToProducer) -> None:
        match message:
            case Acknowledged(stream, mark):
                self._sender.acknowledged(stream, mark)
                self._outbox.acknowledge(stream, mark)
            case Welcome():
                self._sender.welcomed(message)
            case Rewind(stream, last_taken):
                self._sender.rewound(stream, last_taken)
            case Unknown():
                await self._say_hello(socket)
        for stream in self._sender.finished():
            self._outbox.finish(stream)
        self._wake.set()
        if not self._sender.unacknowledged:
            async with self._settled:
                self._settled.notify_all()

    async def _send(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while position := self._sender.next_to_send():
                stream, sequence = position
                packed, last_sequence = self._outbox.batch_at(stream, sequence)
                self._sender.sent(stream, last_sequence)
                await socket.send_multipart([BATCH, packed])

    async def drain(self, deadline_s: float) -> bool:
        """Wait until everything published is committed; False when that did not happen in so many machine seconds."""
        self.flush()
        try:
            async with asyncio.timeout(deadline_s), self._settled:
                await self._settled.wait_for(lambda: not self._sender.unacknowledged)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Close the outbox; what is not committed stays in it for the next process."""
        self.flush()
        self._outbox.close(delivered=not self._sender.unacknowledged)
