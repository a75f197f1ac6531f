"""The control socket: ROUTER at the supervisor, DEALER at a worker or a command line.

A message is two frames: an id that its sender chose (at most `ID_BYTES_MAX` bytes) and a MessagePack request; the
reply repeats the id. Who may speak is decided by the system, not by the content: the runtime directory and the socket
file are their owner's alone, and libzmq asks the kernel for the user of each peer (SO_PEERCRED) and turns others away.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import zmq
import zmq.asyncio

from bus.commands import Refused, Reply, Request
from bus.endpoints import BusError

logger = logging.getLogger(__name__)

ID_BYTES_MAX: Final = 16
REQUEST_BYTES_MAX: Final = 65_536  # the largest real one is far below 1 KiB; libzmq cuts off who sends more
IN_FLIGHT_MAX: Final = 256  # requests being answered at once, so that a flood cannot fill the memory
UNSENT_MAX: Final = 1_000  # what a client keeps for a supervisor that is not there yet
_IPC: Final = "ipc://"

Handler = Callable[[bytes, Request], Awaitable[Reply | None]]
"""Answers one request of the peer with this identity; None sends nothing."""

_encoder: Final = msgspec.msgpack.Encoder()
_request_decoder: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_reply_decoder: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


class ControlTimeoutError(BusError):
    """Nobody answered in time."""


class ControlServer:
    """Answers each request in a task of its own: one that takes long delays no other.

    Args:
        address: where to listen; the file of an `ipc://` address gets mode 0600.
        handler: what it raises becomes a refusal with code "internal", and is logged.
    """

    def __init__(self, address: str, handler: Handler) -> None:
        self._handler = handler
        self._socket = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, REQUEST_BYTES_MAX)
        self._bind(address)
        self._answering: set[asyncio.Task[None]] = set()
        self.malformed = 0
        self.failures = 0

    def _bind(self, address: str) -> None:
        if address.startswith(_IPC):
            self._socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._socket.close()
            raise BusError(f"cannot listen on {address}: {error.strerror}") from error
        if address.startswith(_IPC):
            Path(address.removeprefix(_IPC)).chmod(0o600)

    async def serve(self) -> None:
        """Answer until cancelled; what is then being answered is given up."""
        try:
            while True:
                await self._receive()
        finally:
            for task in self._answering:
                task.cancel()

    async def _receive(self) -> None:
        identity, *frames = await self._socket.recv_multipart()
        request_id, request = _understand(frames)
        if isinstance(request, Refused):
            self.malformed += 1
            await self._reply(identity, request_id, request)
        elif len(self._answering) >= IN_FLIGHT_MAX:
            await self._reply(identity, request_id, Refused("busy", f"{IN_FLIGHT_MAX} requests are being answered"))
        else:
            task = asyncio.create_task(self._answer(identity, request_id, request))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, identity: bytes, request_id: bytes, request: Request) -> None:
        reply: Reply | None
        try:
            reply = await self._handler(identity, request)
        except Exception:  # the top of this task: a mistake of ours must not end the supervisor
            logger.exception("cannot answer %s", type(request).__name__)
            self.failures += 1
            reply = Refused("internal", "the supervisor failed to answer; its log says why")
        if reply is not None:
            await self._reply(identity, request_id, reply)

    async def _reply(self, identity: bytes, request_id: bytes, reply: Reply) -> None:
        """To a peer that is gone, or does not read, the socket drops it."""
        await self._socket.send_multipart([identity, request_id, _encoder.encode(reply)])

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()


class ControlClient:
    """Asks the supervisor at `address`; used from one event loop. Connecting succeeds before anybody listens."""

    def __init__(self, address: str) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, UNSENT_MAX)
        self._socket.connect(address)
        self._address = address
        self._ids = itertools.count(1)
        self._asked: dict[bytes, asyncio.Future[Reply]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self.dropped = 0

    async def request(self, request: Request, deadline_s: float) -> Reply:
        """The answer to this request; several may be under way at once.

        Raises:
            ControlTimeoutError: none came within `deadline_s` machine seconds.
        """
        if self._hearing is None:
            self._hearing = asyncio.create_task(self._hear())
        request_id = next(self._ids).to_bytes(8, "big")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = answer
        try:
            async with asyncio.timeout(deadline_s):
                await self._socket.send_multipart([request_id, _encoder.encode(request)])
                return await answer
        except TimeoutError as error:
            raise ControlTimeoutError(f"no answer from {self._address} within {deadline_s:g} s") from error
        finally:
            del self._asked[request_id]

    async def send(self, message: Request) -> None:
        """Send and do not wait for anything; `dropped` counts what found the queue full."""
        try:
            await self._socket.send_multipart([b"", _encoder.encode(message)], zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1

    async def _hear(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            answer = self._asked.get(frames[0])
            if answer is None or answer.done() or len(frames) != 2:
                continue  # an answer that came too late, or to what was only sent
            try:
                answer.set_result(_reply_decoder.decode(frames[1]))
            except msgspec.MsgspecError as error:
                answer.set_exception(BusError(f"cannot read the answer of {self._address}: {error}"))

    def close(self) -> None:
        """Close the socket at once; what was not sent yet is dropped."""
        if self._hearing is not None:
            self._hearing.cancel()
        self._socket.close()


def _understand(frames: list[bytes]) -> tuple[bytes, Request | Refused]:
    """The id of a message and the request in it, or why it is none."""
    if len(frames) != 2 or len(frames[0]) > ID_BYTES_MAX:
        return b"", Refused("malformed", f"a request is an id of at most {ID_BYTES_MAX} bytes and a body: two frames")
    request_id, body = frames
    try:
        return request_id, _request_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return request_id, Refused("malformed", str(error))
