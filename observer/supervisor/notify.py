"""sd_notify, both ways: what children say to us over `NOTIFY_SOCKET`, and what we say to the service manager above us.

The protocol is a datagram of lines NAME=value (sd_notify(3)). Each life of a child has a socket of its own, at an
abstract address that the kernel chooses: who speaks is told by where it arrives, so a message counts even when its
sender, a `systemd-notify` in a script, has ended before it is read, and none reaches the wrong life. No file is left
behind. An abstract address has no permissions, so the kernel's word on the sender's user is asked for instead.
"""

import array
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

ADDRESS_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLES: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")
STATUS_LENGTH_MAX: Final = 200  # a status is a line in a table

_DATAGRAM_BYTES_MAX: Final = 4096
_DESCRIPTORS_MAX: Final = 253  # SCM_MAX_FD of the kernel: all that one datagram can carry
_CREDENTIALS: Final = struct.Struct("iII")  # pid, uid, gid: struct ucred
_ROOM: Final = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
_DATAGRAMS_A_TURN_MAX: Final = 100  # one child that talks without end must leave the event loop to the others


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What one datagram says. `status` is None when it does not say; assignments of other names are ignored."""

    ready: bool = False
    stopping: bool = False
    alive: bool = False
    status: str | None = None


def parse_notification(datagram: bytes) -> Notification:
    """Read the lines of a datagram; whatever bytes they are, this returns."""
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
    """Text for a person's terminal: without what steers one, and not too long."""
    printable = (letter if letter.isprintable() else "?" for letter in text.decode(errors="replace"))
    return "".join(printable)[:STATUS_LENGTH_MAX]


class NotifySocket:
    """Where one life of a child reports.

    Args:
        on_notification: called by `receive` for every datagram of a process of our user.
    """

    def __init__(self, on_notification: Callable[[Notification], None]) -> None:
        self._on_notification = on_notification
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("")  # an abstract address of the kernel's choice
        self.strangers = 0
        """Datagrams from another user's processes; they are not read."""

    @property
    def address(self) -> str:
        """The value of `NOTIFY_SOCKET` for the child; `@` stands for the abstract address's first byte."""
        return "@" + bytes(self._socket.getsockname()[1:]).decode("ascii")

    def fileno(self) -> int:
        """The descriptor that becomes readable when something was said."""
        return self._socket.fileno()

    def receive(self) -> None:
        """Read what has arrived.

        A descriptor that comes along is closed once the datagram has been acted on: that is what a sender of
        `BARRIER=1` waits for.
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
                else:
                    self.strangers += 1

    def close(self) -> None:
        """Hear no more; what was said and not yet received is gone."""
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
    """The inherited environment with this address, and with the limit of silence where there is one.

    The variables of our own service manager do not pass to a child: it would speak to it in our name.
    """
    ours = (ADDRESS_VARIABLE, *WATCHDOG_VARIABLES)
    environment = {name: value for name, value in inherited.items() if name not in ours}
    environment[ADDRESS_VARIABLE] = address
    if watchdog_s is not None:
        environment["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
    return environment


class ServiceManager:
    """The service manager above us: told of our own state. Without one, telling does nothing.

    Args:
        environment: of this process; says where the service manager listens and how often it wants a sign of life.
        pid: of this process: a watchdog that is meant for another one is none of ours.
    """

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        address = environment.get(ADDRESS_VARIABLE)
        self._address = address.replace("@", "\0", 1) if address and address[0] in "@/" else None
        self.watchdog_s = _watchdog_s(environment, pid)
        """How long our silence may last, in machine seconds; None when nobody watches."""
        self.unheard = 0
        """What could not be sent, because the service manager does not listen or does not read."""

    def tell(self, **assignments: object) -> None:
        """Send assignments, `READY=1` as `ready=1`. A service manager that does not listen is no reason to stop."""
        if self._address is None:
            return
        lines = "\n".join(f"{name.upper()}={value}" for name, value in assignments.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
            try:
                out.sendto(lines.encode(), self._address)
            except OSError:
                self.unheard += 1


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    microseconds, meant_for = (environment.get(name, "") for name in WATCHDOG_VARIABLES)
    if not microseconds.isdecimal() or int(microseconds) == 0 or meant_for not in ("", str(pid)):
        return None
    return int(microseconds) / 1e6
