"""CURVE on both sides of a TCP socket (ZeroMQ RFC 26), and the gatekeeper that admits only known clients (RFC 27, ZAP).

A server by itself would let in whoever knows its public key: libzmq leaves the question who that is to a ZAP handler,
one for a context. Ours is a thread. It admits the clients' key that stands in the key directory at that moment and
nobody else; a server without a working gatekeeper admits nobody (`ZAP_ENFORCE_DOMAIN`).

libzmq's clients do not come back after a 400 of the gatekeeper's: a stranger asks once, and who was refused because the
keys had just been replaced has to be started anew.
"""

import errno
import logging
import os
import threading
from pathlib import Path
from typing import Final, TypeAlias

import zmq
import zmq.asyncio
from zmq.utils import z85

from bus.endpoints import BusError, TcpAddress
from bus.keys import MissingBusKeysError, key_pair, public_key

logger = logging.getLogger(__name__)

Socket: TypeAlias = zmq.SyncSocket | zmq.asyncio.Socket
"""A socket of either kind of context."""

DOMAIN_BYTES_MAX: Final = 255  # of ZMQ_ZAP_DOMAIN in libzmq 4.3; ours is the key directory's path
# A machine that loses its power closes no connection. Who does not answer for so long is cut off and connects anew.
HEARTBEAT_MS: Final = 5_000
HEARTBEAT_TIMEOUT_MS: Final = 15_000
_GATE: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
_REQUEST_FRAMES: Final = 7  # version, request id, domain, address, identity, mechanism, the client's public key


def secure_server(socket: Socket, address: TcpAddress) -> None:
    """Make this socket, before it is bound, a CURVE server that admits known clients only.

    Raises:
        BusError: the keys cannot be read, or their path is too long.
    """
    domain = os.fsencode(address.keys_directory)
    if len(domain) > DOMAIN_BYTES_MAX:
        raise BusError(f"{address.keys_directory} is longer than {DOMAIN_BYTES_MAX} bytes: choose a shorter path")
    own = key_pair(Path(address.keys_directory), "server")
    _open_gate(zmq.Context.shadow(socket.context.underlying))  # the same one, and plain whatever the socket is
    socket.setsockopt(zmq.ZAP_DOMAIN, domain)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
    _watch_peers(socket)


def secure_client(socket: Socket, address: TcpAddress) -> None:
    """Make this socket, before it connects, one of our clients, which speaks to our servers only.

    Raises:
        BusError: the keys cannot be read.
    """
    directory = Path(address.keys_directory)
    own = key_pair(directory, "client")
    socket.setsockopt(zmq.CURVE_SERVERKEY, public_key(directory, "server"))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
    _watch_peers(socket)


def _watch_peers(socket: Socket) -> None:
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)


def _open_gate(context: zmq.SyncContext) -> None:
    """See that this context has a gatekeeper. A domain says where the known key is, so one serves all its servers."""
    gate = context.socket(zmq.REP)
    gate.setsockopt(zmq.LINGER, 0)
    try:
        gate.bind(_GATE)
    except zmq.ZMQError as error:
        gate.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return
    threading.Thread(target=_keep_gate, args=[gate], name="gatekeeper", daemon=True).start()


def _keep_gate(gate: zmq.SyncSocket) -> None:
    """Answer until the context ends."""
    try:
        while True:
            gate.send_multipart(_verdict(gate.recv_multipart()))
    except zmq.ContextTerminated:
        pass
    finally:
        gate.close()


def _verdict(request: list[bytes]) -> list[bytes]:
    """The reply to a question of libzmq's: 200 for our clients, 400 for everybody else."""
    request_id = request[1] if len(request) > 1 else b""
    if _is_known(request):
        return [_VERSION, request_id, b"200", b"OK", b"client", b""]
    address = request[3].decode(errors="replace") if len(request) > 3 else "?"
    logger.warning("turned away a client without a known key, from %s", address)
    return [_VERSION, request_id, b"400", b"unknown key", b"", b""]


def _is_known(request: list[bytes]) -> bool:
    if len(request) != _REQUEST_FRAMES or request[0] != _VERSION or request[5] != b"CURVE":
        return False
    try:
        return z85.encode(request[6]) == public_key(Path(os.fsdecode(request[2])), "client")
    except MissingBusKeysError as error:
        logger.error("nobody is admitted: %s", error)
        return False
