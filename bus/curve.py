"""CURVE on both sides of a TCP socket (ZeroMQ RFC 26), and the ZAP handler that admits only known clients (RFC 27).

A CURVE server alone admits every client that knows its public key; libzmq leaves the check of the client to a ZAP
handler, one per context. Ours is a thread. It admits only clients whose key the key directory names at that moment, in
one of the socket's roles; a server without a working handler admits no client (`ZAP_ENFORCE_DOMAIN`). A socket's domain
is its roles and its key directory; the user id of a message is its client's role and name.

libzmq's clients do not reconnect after a 400 of the handler: an unknown client asks once, and a client refused because
the keys had just been replaced must be restarted.
"""

import errno
import logging
import os
import threading
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, TypeAlias

import zmq
import zmq.asyncio
from zmq.utils import z85

from bus.endpoints import BusError, TcpAddress
from bus.keys import Client, MissingBusKeysError, clients, key_pair, public_key
from bus.peers import NETWORK, Peers
from bus.roles import Role

logger = logging.getLogger(__name__)

Socket: TypeAlias = zmq.SyncSocket | zmq.asyncio.Socket
"""A socket of either kind of context."""

DOMAIN_BYTES_MAX: Final = 255  # of ZMQ_ZAP_DOMAIN in libzmq 4.3
# A machine without power closes no connection. A silent peer is disconnected after this time and connects anew.
HEARTBEAT_MS: Final = 5_000
HEARTBEAT_TIMEOUT_MS: Final = 15_000
_ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
_REQUEST_FRAMES: Final = 7  # version, request id, domain, address, identity, mechanism, the client's public key


def secure_server(socket: Socket, address: TcpAddress, roles: AbstractSet[Role]) -> None:
    """Make this socket, before it is bound, a CURVE server that admits known clients in these roles only.

    Raises:
        BusError: the keys cannot be read, or their path is too long.
    """
    prefix = ",".join(sorted(roles)).encode() + b":"
    domain = prefix + os.fsencode(address.keys_directory)
    if len(domain) > DOMAIN_BYTES_MAX:
        bytes_max = DOMAIN_BYTES_MAX - len(prefix)
        raise BusError(f"{address.keys_directory} is longer than {bytes_max} bytes: choose a shorter path")
    own = key_pair(Path(address.keys_directory), "server")
    _start_authentication(
        zmq.Context.shadow(socket.context.underlying)
    )  # the same one, and plain whatever the socket is
    socket.zap_domain = domain
    socket.zap_enforce_domain = 1
    socket.curve_server = 1
    socket.curve_secretkey = own.secret
    _watch_peers(socket)


def secure_client(socket: Socket, address: TcpAddress) -> None:
    """Configure the socket before it connects: it presents our client key and speaks only to servers with our server
    key.

    Raises:
        BusError: the keys cannot be read.
    """
    directory = Path(address.keys_directory)
    own = key_pair(directory, "client")
    socket.curve_serverkey = public_key(directory, "server")
    socket.curve_publickey = own.public
    socket.curve_secretkey = own.secret
    _watch_peers(socket)


def _watch_peers(socket: Socket) -> None:
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS


def _start_authentication(context: zmq.SyncContext) -> None:
    """Start the context's ZAP handler unless it runs. The domain is the path of the keys, so one handler serves all
    servers.
    """
    handler = context.socket(zmq.REP)
    handler.linger = 0
    try:
        handler.bind(_ZAP_ADDRESS)
    except zmq.ZMQError as error:
        handler.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return
    threading.Thread(target=_run_authentication, args=[handler, NETWORK], name="authentication", daemon=True).start()


def _run_authentication(socket: zmq.SyncSocket, peers: Peers) -> None:
    try:
        while True:
            socket.send_multipart(_answer(socket.recv_multipart(), peers))
    except zmq.ContextTerminated:
        pass
    finally:
        socket.close()


def _answer(request: list[bytes], peers: Peers) -> list[bytes]:
    """Answer libzmq's question: 200 for a client of ours whose role the socket admits, 400 for all others."""
    request_id = request[1] if len(request) > 1 else b""
    address = request[3].decode("ascii", "replace") if len(request) > 3 else "?"
    client = _client_of(request)
    if client is None:
        peers.refuse("a client without a known key", f"from {address}")
        return [_VERSION, request_id, b"400", b"unknown key", b"", b""]
    roles = request[2].partition(b":")[0].decode()
    if client.role not in roles.split(","):
        peers.refuse(f"the {client.role} {client.name}", f"from {address}: it is for {roles}")
        return [_VERSION, request_id, b"400", b"another role", b"", b""]
    return [_VERSION, request_id, b"200", b"OK", f"{client.role} {client.name}".encode(), b""]


def _client_of(request: list[bytes]) -> Client | None:
    """Return the client with the key that libzmq asks about; None for an unknown key."""
    if len(request) != _REQUEST_FRAMES or request[0] != _VERSION or request[5] != b"CURVE":
        return None
    try:
        known = clients(Path(os.fsdecode(request[2].partition(b":")[2])))
        key = z85.encode(request[6])
    except MissingBusKeysError as error:
        logger.error("no client is admitted: %s", error)
        return None
    return next((client for client in known if client.public == key), None)
