"""The control socket: ROUTER at the supervisor, DEALER at a worker or a command line.

A message is two frames: an id that its sender chose (at most `ID_BYTES_MAX` bytes) and a MessagePack request; the
reply repeats the id. An order that the supervisor passes on to a worker, and the worker's answer to it, have a third
frame before those two: `ORDER`. Who may speak is decided by the system, not by the content: the runtime directory and
the socket file are their owner's alone, and libzmq asks the kernel for the user of each peer (SO_PEERCRED) and turns
others away. On the network it is decided by the key (`bus.curve`).
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

from bus.commands import Order, OrderReply, Refused, Reply, Request
from bus.endpoints import Address, BusError
from bus.sockets import bind, connect

logger = logging.getLogger(__name__)

ID_BYTES_MAX: Final = 16
REQUEST_BYTES_MAX: Final = 65_536  # the largest real one is far below 1 KiB; libzmq disconnects a peer that sends more
IN_FLIGHT_MAX: Final = 256  # requests being answered at once, so that a flood cannot fill the memory
UNSENT_MAX: Final = 1_000  # messages a client queues for a supervisor that does not run yet
ORDER: Final = b"O"
_IPC: Final = "ipc://"

Handler = Callable[[bytes, Request], Awaitable[Reply | None]]
"""Answers one request of the peer with this identity; None sends nothing."""
OrderHandler = Callable[[Order], Awaitable[OrderReply]]
"""A worker's answer to an order. What it raises becomes a refusal with code "internal", and is logged."""

_encoder: Final = msgspec.msgpack.Encoder()
_request_decoder: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_reply_decoder: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)
_order_decoder: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(Order)
_order_reply_decoder: Final[msgspec.msgpack.Decoder[OrderReply]] = msgspec.msgpack.Decoder(OrderReply)


class ControlTimeoutError(BusError):
    """No answer came in time."""


class ControlServer:
    """Answers each request in a task of its own: one that takes long delays no other.

    Args:
        address: where to listen; the file of an `ipc://` address gets mode 0600.
        handler: what it raises becomes a refusal with code "internal", and is logged.
    """

    def __init__(self, address: Address, handler: Handler) -> None:
        self._handler = handler
        self._socket = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, REQUEST_BYTES_MAX)
        self._bind(address)
        self._answering: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)
        self._given: dict[tuple[bytes, bytes], asyncio.Future[OrderReply]] = {}  # by the worker's identity and the id

    def _bind(self, address: Address) -> None:
        if isinstance(address, str):
            self._socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
        bind(self._socket, address)
        if isinstance(address, str):
            Path(address.removeprefix(_IPC)).chmod(0o600)

    async def serve(self) -> None:
        """Answer until cancelled; requests in progress are then given up."""
        try:
            while True:
                await self._receive()
        finally:
            for task in self._answering:
                task.cancel()

    async def order(self, identity: bytes, order: Order, deadline_s: float) -> OrderReply:
        """Give an order to the worker with this identity, and return its answer.

        Raises:
            ControlTimeoutError: none came within `deadline_s` machine seconds; the worker may still obey.
        """
        order_id = next(self._ids).to_bytes(8, "big")
        answer: asyncio.Future[OrderReply] = asyncio.get_running_loop().create_future()
        self._given[identity, order_id] = answer
        try:
            async with asyncio.timeout(deadline_s):
                await self._socket.send_multipart([identity, ORDER, order_id, _encoder.encode(order)])
                return await answer
        except TimeoutError as error:
            raise ControlTimeoutError(f"no answer within {deadline_s:g} s") from error
        finally:
            del self._given[identity, order_id]

    async def _receive(self) -> None:
        identity, *frames = await self._socket.recv_multipart()
        if self._take_answer(identity, frames):
            return
        request_id, request = _understand(frames)
        if isinstance(request, Refused):
            logger.warning("refused a malformed request: %s", request.message)
            await self._reply(identity, request_id, request)
        elif len(self._answering) >= IN_FLIGHT_MAX:
            await self._reply(identity, request_id, Refused("busy", f"{IN_FLIGHT_MAX} requests are being answered"))
        else:
            task = asyncio.create_task(self._answer(identity, request_id, request))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def _take_answer(self, identity: bytes, frames: list[bytes]) -> bool:
        """Whether this was the answer to one of our orders; any other message is malformed."""
        if len(frames) != 3 or frames[0] != ORDER:
            return False
        answer = self._given.get((identity, frames[1]))
        if answer is None or answer.done():
            return False
        try:
            answer.set_result(_order_reply_decoder.decode(frames[2]))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            answer.set_result(Refused("internal", f"the worker's answer cannot be read: {error}"))
        return True

    async def _answer(self, identity: bytes, request_id: bytes, request: Request) -> None:
        reply: Reply | None
        try:
            reply = await self._handler(identity, request)
        except Exception:  # the top of this task: our error must not end the supervisor
            logger.exception("cannot answer %s", type(request).__name__)
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
    """Sends requests to the supervisor at `address`; used from one event loop. It may connect before the server
    listens.
    """

    def __init__(self, address: Address) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, UNSENT_MAX)
        connect(self._socket, address)
        self._address = address
        self._ids = itertools.count(1)
        self._asked: dict[bytes, asyncio.Future[Reply]] = {}
        self._receiving: asyncio.Task[None] | None = None
        self._obey: OrderHandler | None = None
        self._obeying: set[asyncio.Task[None]] = set()
        self.dropped = 0

    async def request(self, request: Request, deadline_s: float) -> Reply:
        """The answer to this request; several may be under way at once.

        Raises:
            ControlTimeoutError: none came within `deadline_s` machine seconds.
        """
        self._listen()
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

    def obey(self, handler: OrderHandler) -> None:
        """Answer the supervisor's orders from now on, each in a task of its own."""
        self._obey = handler
        self._listen()

    def _listen(self) -> None:
        if self._receiving is None:
            self._receiving = asyncio.create_task(self._receive())

    async def send(self, message: Request) -> None:
        """Send without waiting; `dropped` counts messages that found the queue full."""
        try:
            await self._socket.send_multipart([b"", _encoder.encode(message)], zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1

    async def _receive(self) -> None:
        while True:
            match await self._socket.recv_multipart():
                case [mark, order_id, body] if mark == ORDER:
                    task = asyncio.create_task(self._answer(order_id, body))
                    self._obeying.add(task)
                    task.add_done_callback(self._obeying.discard)
                case [request_id, body]:
                    self._take_answer(request_id, body)

    def _take_answer(self, request_id: bytes, body: bytes) -> None:
        answer = self._asked.get(request_id)
        if answer is None or answer.done():
            return  # a late answer, or one to `send`
        try:
            answer.set_result(_reply_decoder.decode(body))
        except msgspec.MsgspecError as error:
            answer.set_exception(BusError(f"cannot read the answer of {self._address}: {error}"))

    async def _answer(self, order_id: bytes, body: bytes) -> None:
        reply = await _obeyed(self._obey, body)
        await self._socket.send_multipart([ORDER, order_id, _encoder.encode(reply)])

    def close(self) -> None:
        """Close the socket at once; unsent messages are dropped."""
        for task in [*self._obeying, *([self._receiving] if self._receiving else [])]:
            task.cancel()
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


async def _obeyed(handler: OrderHandler | None, body: bytes) -> OrderReply:
    """The handler's answer to the order in these bytes, or why there is none."""
    try:
        order = _order_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Refused("malformed", str(error))
    if handler is None:
        return Refused("not_an_order", "this process takes no orders")
    try:
        return await handler(order)
    except Exception:  # the top of this task: an error in an order must not end the worker
        logger.exception("cannot obey %s", type(order).__name__)
        return Refused("internal", "the process failed to obey; its log says why")
