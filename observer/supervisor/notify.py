"""sd_notify in both directions: from the children over `NOTIFY_SOCKET`, and to the service manager above us.

The protocol is a datagram of lines NAME=value (sd_notify(3)). Each process of a child has its own socket, at an
abstract address chosen by the kernel. The socket identifies the sender, so a message counts even when its sender, a
`systemd-notify` in a script, has ended before it is read, and none reaches the wrong process. No file is left behind.
An abstract address has no permissions, so the kernel supplies the sender's user.
"""

import array
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

logger = logging.getLogger(__name__)

ADDRESS_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLES: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")
STATUS_LENGTH_MAX: Final = 200  # a status is a line in a table

_DATAGRAM_BYTES_MAX: Final = 4096
_DESCRIPTORS_MAX: Final = 253  # SCM_MAX_FD of the kernel: all that one datagram can carry
_CREDENTIALS: Final = struct.Struct("iII")  # pid, uid, gid: struct ucred
_ROOM: Final = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
_DATAGRAMS_A_TURN_MAX: Final = 100  # one child that talks without end must leave the event loop to the others


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """The content of one datagram. `status` is None without one; other names are ignored."""

    ready: bool = False
    stopping: bool = False
    alive: bool = False
    status: str | None = None


def parse_notification(datagram: bytes) -> Notification:
    """Parse a datagram; never raises, whatever its bytes."""
    said: dict[bytes, bytes] = {}
    for line in datagram.split(b"\n"):
        name, _, value = line.partition(b"=")
        said[name] = value
    status = said.get(b"STATUS")
    return Notification(
        ready=said.get(b"READY") == b"1",
        stopping=said.get(b"STOPPING") == b"1",
        alive=said.get(b"WATCHDOG") == b"1",
        status=None if status is None else _readable(status),
    )


def _readable(text: bytes) -> str:
    """Text without control characters, shortened for a terminal."""
    printable = (letter if letter.isprintable() else "?" for letter in text.decode(errors="replace"))
    return "".join(printable)[:STATUS_LENGTH_MAX]


class NotifySocket:
    """The notify socket of one process of a child.

    Args:
        on_notification: called by `receive` for every datagram of a process of our user.
    """

    def __init__(self, on_notification: Callable[[Notification], None]) -> None:
        self._on_notification = on_notification
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("")  # an abstract address of the kernel's choice

    @property
    def address(self) -> str:
        """The value of `NOTIFY_SOCKET` for the child; `@` stands for the abstract address's first byte."""
        return "@" + bytes(self._socket.getsockname()[1:]).decode("ascii")

    def fileno(self) -> int:
        """The descriptor that becomes readable when a message arrives."""
        return self._socket.fileno()

    def receive(self) -> None:
        """Read the pending messages; those of another user's processes are dropped.

        A descriptor sent along is closed once the datagram is handled: a sender of `BARRIER=1` waits for that.
        """
        for _ in range(_DATAGRAMS_A_TURN_MAX):
            try:
                datagram, ancillary, _, _ = self._socket.recvmsg(_DATAGRAM_BYTES_MAX, _ROOM, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            with contextlib.ExitStack() as descriptors:
                for descriptor in _descriptors_in(ancillary):
                    descriptors.callback(os.close, descriptor)
                if _sender_uid(ancillary) in (os.geteuid(), 0):
                    self._on_notification(parse_notification(datagram))

    def close(self) -> None:
        """Close the socket; unread messages are lost."""
        self._socket.close()


def _sender_uid(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            _, uid, _ = _CREDENTIALS.unpack_from(content)
            return int(uid)
    return None


def _descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    received = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    return list(received)


def child_environment(inherited: Mapping[str, str], address: str, watchdog_s: float | None) -> dict[str, str]:
    """The inherited environment with this address, and with the watchdog's limit if there is one.

    Our own service manager's variables are removed: with them a child would report in our name.
    """
    ours = (ADDRESS_VARIABLE, *WATCHDOG_VARIABLES)
    environment = {name: value for name, value in inherited.items() if name not in ours}
    environment[ADDRESS_VARIABLE] = address
    if watchdog_s is not None:
        environment["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
    return environment


class ServiceManager:
    """Reports our state to the service manager above us; does nothing without one.

    Args:
        environment: of this process; gives the service manager's address and its watchdog interval.
        pid: of this process; a watchdog for another pid is ignored.
    """

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        address = environment.get(ADDRESS_VARIABLE)
        self._address = address.replace("@", "\0", 1) if address and address[0] in "@/" else None
        self.watchdog_s = _watchdog_s(environment, pid)
        """The longest allowed silence in machine seconds; None without a watchdog."""
        self._is_heard = True

    def report(self, **assignments: object) -> None:
        """Send assignments, `READY=1` as `ready=1`. An absent service manager is no error."""
        if self._address is None:
            return
        lines = "\n".join(f"{name.upper()}={value}" for name, value in assignments.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
            try:
                out.sendto(lines.encode(), self._address)
                self._is_heard = True
            except OSError as error:
                if self._is_heard:  # once an outage: the watchdog's message comes every few seconds
                    logger.warning("the service manager cannot be notified: %s", error)
                self._is_heard = False


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    microseconds, meant_for = (environment.get(name, "") for name in WATCHDOG_VARIABLES)
    if not microseconds.isdecimal() or int(microseconds) == 0 or meant_for not in ("", str(pid)):
        return None
    return int(microseconds) / 1e6
