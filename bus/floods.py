"""Ends a connection whose peer sends a message without an end.

libzmq bounds a frame (`bus.sockets`), not a message: it keeps the frames of a message until the last one has come, and
its reader sees none of them before. But the kernel counts the bytes of a connection, and a message that is read names
its connection. What came behind the last message that was read waits here. If that is too much over all connections, a
thread shuts down the one with the most; libzmq drops what it kept of it. A producer of ours connects again and loses
nothing.
"""

import contextlib
import os
import socket
import stat
import struct
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import zmq

from bus.peers import NETWORK

# Of all connections to this process, with the kernel's buffers. Our own producers have some megabytes under way.
WAITING_BYTES_MAX: Final = 128 * 1024 * 1024
_LOOK_S: Final = 0.1  # machine seconds, in which libzmq takes some 30 MB
_RECEIVED: Final = struct.Struct("<128xQ")  # tcpi_bytes_received in struct tcp_info (linux/tcp.h)
_DESCRIPTORS: Final = "/proc/self/fd"


def connection_to_end(waiting: Mapping[int, int], bytes_max: int) -> int | None:
    """The connection with the most waiting bytes, if all of them together have too many."""
    return max(waiting, key=waiting.__getitem__) if sum(waiting.values()) > bytes_max else None


class Floods:
    """Watches the connections to the TCP ports of this process, from a thread that the first port starts."""

    def __init__(self) -> None:
        self._ports: set[int] = set()
        self._read: set[int] = set()  # connections of which a message was read since the last look
        self._marks: dict[int, int] = {}  # by connection, the bytes that had come at the last look at which one was

    def watch(self, port: int) -> None:
        """Watch the connections to this port, too. Who reads its messages calls `heard` with each."""
        self._ports.add(port)
        if len(self._ports) == 1:
            threading.Thread(target=self._run, name="floods", daemon=True).start()

    def heard(self, frame: zmq.Frame) -> None:
        """A message was read, of which this is a frame. From any thread."""
        if self._ports:
            with contextlib.suppress(zmq.ZMQError):  # it came over no connection
                self._read.add(int(frame.get(zmq.SRCFD)))

    def _run(self) -> None:
        while True:
            threading.Event().wait(_LOOK_S)
            with contextlib.suppress(OSError):  # no descriptor is left
                self.look()

    def look(self) -> None:
        """Compare the connections once, and end one if need be."""
        read = self._read.copy()
        self._read -= read
        received = dict(_received(self._ports))
        # A descriptor is used again: a new connection has fewer bytes than the mark of the one before.
        marks = {each: min(self._marks.get(each, 0), came) for each, came in received.items()}
        self._marks = marks | {each: received[each] for each in read & received.keys()}
        waiting = {each: came - self._marks[each] for each, came in received.items()}
        if (ended := connection_to_end(waiting, WAITING_BYTES_MAX)) is not None:
            self._end(ended)

    def _end(self, descriptor: int) -> None:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
            if connection.getsockname()[1] in self._ports:
                host, port = connection.getpeername()[:2]
                connection.shutdown(socket.SHUT_RDWR)
                NETWORK.refuse("a message without an end", f"from {host}:{port}")


def _received(ports: Collection[int]) -> Iterator[tuple[int, int]]:
    """The descriptors of the connections to these ports, and the bytes that came over each."""
    for descriptor in map(int, os.listdir(_DESCRIPTORS)):  # noqa: PTH208 - ten times a second
        with contextlib.suppress(OSError):  # closed meanwhile, or no connection
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as connection:
                    if connection.family == socket.AF_INET and connection.getsockname()[1] in ports:
                        information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
                        yield descriptor, *_RECEIVED.unpack(information)


FLOODS: Final = Floods()
"""Of this process."""
