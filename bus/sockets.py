"""Binds and connects sockets for every kind of address. For `ipc://` nothing of CURVE is loaded."""

import contextlib
from collections.abc import Iterator
from typing import Final, TypeAlias

import zmq
import zmq.asyncio

from bus.endpoints import Address, BusError, TcpAddress

Socket: TypeAlias = zmq.SyncSocket | zmq.asyncio.Socket
"""A socket of either kind of context."""

_IPC: Final = "ipc://"


def bind(socket: Socket, address: Address) -> None:
    """Listen there; on the network only to clients with a known key. The socket is closed when that fails.

    Raises:
        BusError: it cannot be bound, or keys are missing.
    """
    with _closed_on_failure(socket, f"listen on {address}"):
        if isinstance(address, TcpAddress):
            from bus.curve import secure_server

            secure_server(socket, address)
        socket.bind(_url(address))


def connect(socket: Socket, address: Address) -> None:
    """Connect, now or once a listener exists; on the network as a client with keys. The socket is closed on failure.

    Raises:
        BusError: the address is none, or keys are missing.
    """
    with _closed_on_failure(socket, f"connect to {address}"):
        if isinstance(address, TcpAddress):
            from bus.curve import secure_client

            secure_client(socket, address)
        socket.connect(_url(address))


@contextlib.contextmanager
def _closed_on_failure(socket: Socket, what: str) -> Iterator[None]:
    """Close the socket when a BusError leaves the block, or a ZMQError, which becomes one."""
    try:
        yield
    except zmq.ZMQError as error:
        socket.close()
        raise BusError(f"cannot {what}: {error.strerror}") from error
    except BusError:
        socket.close()
        raise


def _url(address: Address) -> str:
    """The address as libzmq takes it.

    Raises BusError for a bare string that is no `ipc://` address: its socket would be unprotected.
    """
    if isinstance(address, TcpAddress):
        return address.url
    if not address.startswith(_IPC):
        raise BusError(f"{address} has no keys: only ipc:// addresses go without")
    return address
