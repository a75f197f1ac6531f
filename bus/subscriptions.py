"""How a reader subscribes to a feed, and the writer's list of readers: ROUTER at the writer, DEALER at the reader.

A reader sends its subscription when it connects, and again every some seconds; then messages of the feed come. XPUB and
SUB would do the same with less code, but libzmq keeps the subscriptions of an XPUB without any bound, and reads them as
long as they come. Here a connection has one subscription, of kinds of events, and a round reads a bounded number.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final

import msgspec
import zmq
import zmq.asyncio

from bus.decoding import DecodeError, Wire, decoder_of
from bus.endpoints import Address
from bus.events import EVENT_TYPES, Fact, kind_of
from bus.peers import Peers
from bus.roles import READERS
from bus.sockets import bind, connect, received

SUBSCRIPTION_BYTES_MAX: Final = 8_192  # one of all kinds of events has some 1,000
SUBSCRIBERS_MAX: Final = 256
RENEW_S: Final = 5.0  # machine seconds
LEASE_S: Final = 60.0  # machine seconds without a subscription: a reader whose connection is gone is forgotten then
_RECEIVED_MAX: Final = 10  # messages of one reader that libzmq keeps until they are read
_READ_A_ROUND: Final = 256
_TYPES: Final = {kind_of(event_type): event_type for event_type in EVENT_TYPES}

_Kind = Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,64}\Z")]


class Subscription(Wire):
    """Reader to writer: the reader's random id, and the kinds of events that the reader wants. The id identifies the
    reader after a lost connection.
    """

    reader: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    kinds: Annotated[frozenset[_Kind], msgspec.Meta(max_length=256)] = frozenset()


_encoder: Final = msgspec.msgpack.Encoder()
decode_subscription: Final[Callable[[bytes], Subscription]] = decoder_of(Subscription, SUBSCRIPTION_BYTES_MAX)
"""Raises `DecodeError` for anything else."""


class Subscriber:
    """The writer's record of a reader: its address, the wanted types of events, and the number of its events, sent or
    missed. `is_gone`: a message found no connection.
    """

    __slots__ = ("is_gone", "number", "renewed_s", "route", "types")

    def __init__(self, route: bytes, renewed_s: float) -> None:
        self.route = route
        self.renewed_s = renewed_s
        self.types: frozenset[type[Fact]] = frozenset()
        self.number = 0
        self.is_gone = False


class Subscribers:
    """The readers of one feed. Used from one thread.

    Args:
        socket: a ROUTER, unbound.
        address: where it listens.
        name: of the feed, for the log.
        messages_max: the messages that wait for a slow reader before the reader misses some.
        monotonic: machine seconds.
    """

    def __init__(
        self,
        socket: zmq.SyncSocket,
        address: Address,
        name: str,
        messages_max: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = socket
        self._socket.router_mandatory = 1  # only then libzmq says that a message is not sent
        self._socket.rcvhwm = _RECEIVED_MAX
        self._socket.sndhwm = messages_max
        bind(self._socket, address, SUBSCRIPTION_BYTES_MAX, READERS)
        self._peers = Peers(name)
        self._monotonic = monotonic
        self._known: dict[str, Subscriber] = {}
        self._looked_s = monotonic()  # for readers that did not renew their subscriptions

    @property
    def refused(self) -> int:
        """Messages that are no subscription, or came from a peer that is ignored."""
        return self._peers.refused

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._known.values())

    def receive(self) -> Sequence[Subscriber]:
        """Read the subscriptions that came. Returns the readers that are new here, or have a new connection."""
        now_s = self._monotonic()
        if now_s - self._looked_s >= LEASE_S / 4:
            self._looked_s = now_s
            # A hanging reader is kept: the number of its next message shows what it missed.
            self._forget(lambda subscriber: subscriber.is_gone and now_s - subscriber.renewed_s > LEASE_S)
        fresh: list[Subscriber] = []
        for _ in range(_READ_A_ROUND):
            if not self._socket.poll(0):
                break
            route, *frames = received(self._socket.recv_multipart(copy=False))
            if self._peers.is_ignored(route):
                continue
            try:
                if subscriber := self._renewed(route, frames, now_s):
                    fresh.append(subscriber)
            except DecodeError as error:
                self._peers.ignore(route, "a subscription", error)
        return fresh

    def _renewed(self, route: bytes, frames: Sequence[bytes], now_s: float) -> Subscriber | None:
        """Take a subscription. Returns the reader if its connection is new."""
        if len(frames) != 1:
            raise DecodeError(f"it has {len(frames)} frames")
        subscription = decode_subscription(frames[0])
        known = self._known.get(subscription.reader)
        is_fresh = known is None or known.route != route
        if is_fresh:
            self._forget(lambda subscriber: subscriber.route == route)  # an earlier reader of this connection
            if known is None and len(self._known) >= SUBSCRIBERS_MAX:
                self._forget(lambda subscriber: now_s - subscriber.renewed_s > LEASE_S)
            if known is None and len(self._known) >= SUBSCRIBERS_MAX:
                self._peers.refuse("a further subscription", f"there are {SUBSCRIBERS_MAX} readers")
                return None
        subscriber = self._known.setdefault(subscription.reader, Subscriber(route, now_s))
        subscriber.route, subscriber.renewed_s, subscriber.is_gone = route, now_s, False
        subscriber.types = frozenset(_TYPES[kind] for kind in subscription.kinds if kind in _TYPES)
        return subscriber if is_fresh else None

    def _forget(self, is_meant: Callable[[Subscriber], bool]) -> None:
        self._known = {reader: subscriber for reader, subscriber in self._known.items() if not is_meant(subscriber)}

    def send(self, subscriber: Subscriber, frames: Sequence[bytes], count: int = 1) -> None:
        """Send a message with so many events; one that a slow or absent reader does not take is missed."""
        subscriber.number += count
        try:
            self._socket.send_multipart([subscriber.route, *frames], zmq.NOBLOCK)
        except zmq.Again:
            pass
        except zmq.ZMQError:  # EHOSTUNREACH
            subscriber.is_gone = True


class ReaderSocket:
    """A reader's end; used from one event loop. It may be made before there is a writer, and outlives any number.

    Args:
        address: of the feed.
        types: of the events that are wanted, as far as the feed distinguishes them.
        messages_max: that wait here before some are missed.
        bytes_max: the largest frame of the feed.
        reconnect_ms: after a connection was lost.
    """

    def __init__(
        self, address: Address, types: Sequence[type[Fact]], messages_max: int, bytes_max: int, reconnect_ms: int = 100
    ) -> None:
        self._subscription = _encoder.encode(Subscription(uuid.uuid4().hex, frozenset(map(kind_of, types))))
        self._socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.rcvhwm = messages_max
        self._socket.sndhwm = 1  # one subscription waits for a writer, not all of an hour
        self._socket.reconnect_ivl = reconnect_ms
        connect(self._socket, address, bytes_max)
        with contextlib.suppress(zmq.Again):  # the writer has refused our key already: nothing will ever come
            # by the plain socket: no loop may run yet
            zmq.Socket.shadow(self._socket.underlying).send(self._subscription, zmq.NOBLOCK)
        self._connections = self._socket.get_monitor_socket(zmq.EVENT_CONNECTED)
        self._renewing: asyncio.Task[None] | None = None
        with contextlib.suppress(RuntimeError):  # no loop runs yet
            self._begin_renewing()

    def _begin_renewing(self) -> None:
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def receive(self) -> list[bytes]:
        """The frames of the next message of the feed."""
        self._begin_renewing()
        return list(await self._socket.recv_multipart())

    async def _renew(self) -> None:
        """Subscribe again after each new connection, and before the lease ends."""
        while True:
            if await self._connections.poll(round(RENEW_S * 1000)):
                await self._connections.recv_multipart()
            with contextlib.suppress(zmq.Again):
                await self._socket.send(self._subscription, zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket at once; the writer notices it."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._socket.disable_monitor()
        self._connections.close()
        self._socket.close()
