"""Binds and connects sockets for every kind of address. For `ipc://` nothing of CURVE is loaded.

Every socket bounds the size of a frame before it has one: libzmq takes the memory for a frame when its length has come,
which a stranger sends before any authentication, and disconnects a peer that announces more. `bus.floods` bounds what a
message of many frames takes.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, TypeAlias

import zmq
import zmq.asyncio

from bus.endpoints import Address, BusError, TcpAddress
from bus.floods import FLOODS
from bus.roles import Role

Socket: TypeAlias = zmq.SyncSocket | zmq.asyncio.Socket
"""A socket of either kind of context."""

_IPC: Final = "ipc://"
_FRAME_BYTES_MIN: Final = 1_024  # a handshake's largest frame, CURVE's INITIATE with an identity, has some 700 bytes
_CURVE_BYTES: Final = 64  # it adds 33 to each frame


def bind(socket: Socket, address: Address, bytes_max: int, roles: AbstractSet[Role]) -> None:
    """Listen there, to processes of this user or, on the network, to clients with a key of one of these roles. The
    socket is closed when that fails.

    Args:
        socket: unbound.
        address: where to listen; the file of an `ipc://` address gets mode 0600.
        bytes_max: the largest frame of a message that is sent to it.
        roles: see `bus.keys`.

    Raises:
        BusError: it cannot be bound, or keys are missing.
    """
    with _closed_on_failure(socket, f"listen on {address}"):
        _bound_frames(socket, bytes_max)
        if isinstance(address, TcpAddress):
            from bus.curve import secure_server

            secure_server(socket, address, roles)
            socket.bind(address.url)
            FLOODS.watch(int(address.url.rpartition(":")[2]))
        else:
            url = _url(address)
            socket.ipc_filter_uid = os.getuid()
            socket.bind(url)
            Path(url.removeprefix(_IPC)).chmod(0o600)


def connect(socket: Socket, address: Address, bytes_max: int) -> None:
    """Connect, now or once a listener exists; on the network as a client with keys. The socket is closed on failure.

    Args:
        socket: unconnected.
        address: of the listener.
        bytes_max: the largest frame of a message that the listener sends.

    Raises:
        BusError: the address is none, or keys are missing.
    """
    with _closed_on_failure(socket, f"connect to {address}"):
        _bound_frames(socket, bytes_max)
        if isinstance(address, TcpAddress):
            from bus.curve import secure_client

            secure_client(socket, address)
        socket.connect(_url(address))


def received(message: Sequence[zmq.Frame]) -> list[bytes]:
    """The frames of a message that was read from a bound socket, with `copy=False`: each message passes here."""
    FLOODS.heard(message[-1])
    return [frame.bytes for frame in message]


def _bound_frames(socket: Socket, bytes_max: int) -> None:
    socket.maxmsgsize = max(_FRAME_BYTES_MIN, bytes_max + _CURVE_BYTES)


@contextlib.contextmanager
def _closed_on_failure(socket: Socket, what: str) -> Iterator[None]:
    """Close the socket when the block raises a BusError or a ZMQError. A ZMQError becomes a BusError."""
    try:
        yield
    except zmq.ZMQError as error:
        socket.close()
        raise BusError(f"cannot {what}: {error.strerror}") from error
    except BusError:
        socket.close()
        raise


def _url(address: Address) -> str:
    """Return the address in libzmq's form.

    Raises BusError for a bare string that is no `ipc://` address: its socket would be unprotected.
    """
    if isinstance(address, TcpAddress):
        return address.url
    if not address.startswith(_IPC):
        raise BusError(f"{address} has no keys: only ipc:// addresses go without")
    return address
