"""The control socket: ROUTER at the supervisor, DEALER at a worker or a command line.

A message is two frames: an id that its sender chose (at most `ID_BYTES_MAX` bytes) and a MessagePack request; the
reply repeats the id. An order that the supervisor passes on to a worker, and the worker's answer to it, have a third
frame before those two: `ORDER`. Who may speak is decided by the system, not by the content: the runtime directory and
the socket file are their owner's alone, and libzmq asks the kernel for the user of each peer (SO_PEERCRED) and turns
others away. On the network it is decided by the key (`bus.curve`), whose role allows some requests or all. Every
command is logged with its requester.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import zmq
import zmq.asyncio

from bus.commands import (
    REPLY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Order,
    OrderReply,
    Refused,
    Reply,
    Report,
    Request,
    Status,
    allows,
    decode_order,
    decode_order_reply,
    decode_reply,
    decode_request,
)
from bus.decoding import DecodeError
from bus.endpoints import Address, BusError
from bus.peers import Peers
from bus.roles import ANY_ROLE, ROLES, Role
from bus.sockets import bind, connect, received

logger = logging.getLogger(__name__)

ID_BYTES_MAX: Final = 16
IN_FLIGHT_MAX: Final = 256  # requests being answered at once, so that a flood cannot fill the memory
UNSENT_MAX: Final = 1_000  # messages a client queues for a supervisor that does not run yet
ORDER: Final = b"O"
_RECEIVED_MAX: Final = 1_000  # messages of one peer that libzmq keeps until they are read
_LOGGED_CHARACTERS_MAX: Final = 500  # of a command

Key = TypeVar("Key")
Answer = TypeVar("Answer")
Handler = Callable[[bytes, Request], Awaitable[Reply | None]]
"""Answers one request of the peer with this identity; None sends nothing."""
OrderHandler = Callable[[Order], Awaitable[OrderReply]]
"""A worker's answer to an order. What it raises becomes a refusal with code "internal", and is logged."""

_encoder: Final = msgspec.msgpack.Encoder()


class ControlTimeoutError(BusError):
    """No answer came in time."""


class Requester(msgspec.Struct, frozen=True):
    """The sender of a request: its name, for the log, and its role."""

    name: str
    role: Role


class ControlServer:
    """Answers each request in a task of its own, so a slow request delays no other.

    Args:
        address: where to listen; the file of an `ipc://` address gets mode 0600.
        handler: an exception of the handler becomes a refusal with code "internal", and is logged.
    """

    def __init__(self, address: Address, handler: Handler) -> None:
        self._handler = handler
        self._socket = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.rcvhwm = _RECEIVED_MAX
        bind(self._socket, address, REQUEST_BYTES_MAX, ANY_ROLE)
        self._address = address
        self._peers = Peers("control")
        self._answering: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)
        self._given: dict[tuple[bytes, bytes], asyncio.Future[OrderReply]] = {}  # by the worker's identity and the id
        self._given_up: deque[tuple[bytes, bytes]] = deque(maxlen=IN_FLIGHT_MAX)  # their answers may still come

    @property
    def refused(self) -> int:
        """Requests that cannot be read, or that the sender's role may not make, until now."""
        return self._peers.refused

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
        sending = self._socket.send_multipart([identity, ORDER, order_id, _encoder.encode(order)])
        try:
            return await _answered(self._given, (identity, order_id), sending, deadline_s, "no answer")
        except ControlTimeoutError:
            self._given_up.append((identity, order_id))
            raise

    async def _receive(self) -> None:
        parts = await self._socket.recv_multipart(copy=False)
        identity, *frames = received(parts)
        if self._take_answer(identity, frames):
            return
        try:
            requester = _requester_of(parts[-1], is_local=isinstance(self._address, str))
            request_id, request = _understand(frames)
        except DecodeError as error:
            self._peers.refuse("a malformed request", error)
            await self._reply(identity, _id_in(frames), Refused("malformed", str(error)))
            return
        if not allows(requester.role, request):
            what = type(request).__struct_config__.tag
            self._peers.refuse(f"{what} from {requester.name}", f"its role is {requester.role}")
            refusal = Refused("not_allowed", f"a {requester.role} may not ask for {what}: use the key of an operator")
            await self._reply(identity, request_id, refusal)
        elif len(self._answering) >= IN_FLIGHT_MAX:
            await self._reply(identity, request_id, Refused("busy", f"{IN_FLIGHT_MAX} requests are being answered"))
        else:
            if not isinstance(request, Report | Status):
                logger.info("%.*s from %s", _LOGGED_CHARACTERS_MAX, ascii(request), requester.name)
            task = asyncio.create_task(self._answer(identity, request_id, request))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def _take_answer(self, identity: bytes, frames: list[bytes]) -> bool:
        """Return whether the message answers one of our orders, in time or too late. Any other one is malformed."""
        match frames:
            case [mark, order_id, body] if mark == ORDER:
                given = (identity, order_id)
                if answer := self._given.get(given):
                    if not answer.done():
                        answer.set_result(_answer_in(body))
                    return True
                if given in self._given_up:
                    self._given_up.remove(given)
                    return True
        return False

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
        """Send the reply. The socket drops it when the peer is gone or does not read."""
        await self._socket.send_multipart([identity, request_id, _encoder.encode(reply)])

    def close(self) -> None:
        """Close the socket; the file of a local one goes first, as another server may listen there afterwards."""
        if isinstance(self._address, str):
            Path(self._address.removeprefix("ipc://")).unlink(missing_ok=True)
        self._socket.close()


class ControlClient:
    """Sends requests to the supervisor at `address`; used from one event loop. It may connect before the server
    listens.
    """

    def __init__(self, address: Address) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.sndhwm = UNSENT_MAX
        connect(self._socket, address, REPLY_BYTES_MAX)
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
        sending = self._socket.send_multipart([request_id, _encoder.encode(request)])
        return await _answered(self._asked, request_id, sending, deadline_s, f"no answer from {self._address}")

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
            answer.set_result(decode_reply(body))
        except DecodeError as error:
            answer.set_exception(BusError(f"cannot read the answer of {self._address}: {error}"))

    async def _answer(self, order_id: bytes, body: bytes) -> None:
        reply = await _obeyed(self._obey, body)
        await self._socket.send_multipart([ORDER, order_id, _encoder.encode(reply)])

    def close(self) -> None:
        """Close the socket at once; unsent messages are dropped."""
        for task in [*self._obeying, *([self._receiving] if self._receiving else [])]:
            task.cancel()
        self._socket.close()


async def _answered(
    asked: dict[Key, asyncio.Future[Answer]], key: Key, sending: Awaitable[object], deadline_s: float, failure: str
) -> Answer:
    """Send a question, and wait for its answer among those that are asked.

    Raises:
        ControlTimeoutError: none came within so many machine seconds.
    """
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    asked[key] = answer
    try:
        async with asyncio.timeout(deadline_s):
            await sending
            return await answer
    except TimeoutError as error:
        raise ControlTimeoutError(f"{failure} within {deadline_s:g} s") from error
    finally:
        del asked[key]


def _id_in(frames: list[bytes]) -> bytes:
    """Return the id of a message, empty if the message has no id that a reply can repeat."""
    return frames[0] if len(frames) == 2 and len(frames[0]) <= ID_BYTES_MAX else b""


def _understand(frames: list[bytes]) -> tuple[bytes, Request]:
    """Return the id of a message and its request.

    Raises:
        DecodeError: the message holds no request.
    """
    if len(frames) != 2 or len(frames[0]) > ID_BYTES_MAX:
        raise DecodeError(f"a request is an id of at most {ID_BYTES_MAX} bytes and a body: two frames")
    return frames[0], decode_request(frames[1])


def _requester_of(frame: zmq.Frame, *, is_local: bool) -> Requester:
    """Return the sender of a message with this frame. A local sender is a process of this user, see `bus.sockets.bind`.

    Raises:
        DecodeError: the message came from the network without a key.
    """
    if is_local:
        match _property(frame, "Peer-Address").split(":"):  # of libzmq: "localhost:uid:gid:pid"
            case [_, user, _, pid]:
                return Requester(f"the local socket, uid {user}, pid {pid}", "operator")
        return Requester("the local socket", "operator")
    role, _, name = _property(frame, "User-Id").partition(" ")
    for known in ROLES:
        if role == known:
            return Requester(f"{known} {name}", known)
    raise DecodeError("it came without a key")


def _property(frame: zmq.Frame, name: str) -> str:
    """Return a property of the frame's connection; empty for an unknown name."""
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""


def _answer_in(body: bytes) -> OrderReply:
    try:
        return decode_order_reply(body)
    except DecodeError as error:
        return Refused("internal", f"the worker's answer cannot be read: {error}")


async def _obeyed(handler: OrderHandler | None, body: bytes) -> OrderReply:
    """Decode the order, call the handler, and return its answer or the reason of a refusal."""
    try:
        order = decode_order(body)
    except DecodeError as error:
        return Refused("malformed", str(error))
    if handler is None:
        return Refused("not_an_order", "this process takes no orders")
    try:
        return await handler(order)
    except Exception:  # the top of this task: an error in an order must not end the worker
        logger.exception("cannot obey %s", type(order).__name__)
        return Refused("internal", "the process failed to obey; its log says why")
