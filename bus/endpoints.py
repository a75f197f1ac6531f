"""Addresses of the four sockets: files in one runtime directory that only its owner may enter, or TCP addresses.

TCP connects processes on several machines, always with CURVE: a TCP address carries the folder of its keys, and
`bus.sockets` binds or connects no TCP address without keys.
"""

import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

DIRECTORY_MODE: Final = 0o700
IPC_PATH_BYTES_MAX: Final = 107  # unix(7): sun_path holds 108 bytes, the last one ends the name
_SOCKET_NAMES: Final = ("ingest", "feed", "batch_feed", "control")
_KEYS: Final = "keys"


class BusError(Exception):
    """The bus cannot be used as asked; the text names the remedy."""


class TcpAddress(msgspec.Struct, frozen=True):
    """A socket on the network, and the key directory (`bus.keys`) of the process that binds or connects it."""

    url: str
    keys_directory: str

    def __str__(self) -> str:
        """The address alone."""
        return self.url


Address: TypeAlias = str | TcpAddress
"""Address of a socket; a string is an `ipc://` address."""


def is_served(address: Address) -> bool:
    """Whether a process listens at the address: one that was killed leaves its sockets' files, and libzmq would wait
    there in silence. Of a network address it is not known, and True.

    Raises:
        PermissionError: the socket is another user's.
    """
    if not isinstance(address, str):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.setblocking(False)
        try:
            asked.connect(address.removeprefix("ipc://"))
        except BlockingIOError:  # as many wait for it as may
            return True
        except PermissionError:
            raise
        except OSError:
            return False
    return True


class TcpEndpoints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses of all four sockets, each `tcp://IPv4:port`. The server binds and the clients connect the same
    addresses.

    Raises:
        ValueError: an address has another form, or two addresses are equal.
    """

    ingest: str
    feed: str
    batch_feed: str
    control: str

    def __post_init__(self) -> None:
        """Names are refused because a server cannot bind them, a wildcard because a client cannot reach it."""
        urls = [getattr(self, name) for name in _SOCKET_NAMES]
        for name, url in zip(_SOCKET_NAMES, urls, strict=True):
            if not _is_tcp(url):
                raise ValueError(f"{name} = {url!r}: write tcp:// with one IPv4 address and port: tcp://192.0.2.7:5561")
        if len(set(urls)) < len(urls):
            raise ValueError("two sockets have the same address: give each a port of its own")


class Endpoints:
    """The addresses of the bus for one runtime directory, which is created if absent.

    Args:
        runtime_directory: holds the sockets' files, and the keys.
        tcp: the sockets' network addresses; None for files.

    Raises:
        BusError: the directory is not ours alone, is no directory, cannot be made, or has too long a name.
    """

    def __init__(self, runtime_directory: Path, tcp: TcpEndpoints | None = None) -> None:
        self.runtime_directory = runtime_directory.absolute()
        self.keys_directory = self.runtime_directory / _KEYS
        """Of the keys for TCP; it may be absent."""
        self._tcp = tcp
        self.ingest = self._address("ingest")
        """Producers send their batches here."""
        self.feed = self._address("feed")
        """Committed events are published here."""
        self.batch_feed = self._address("batch_feed")
        """Committed batches are published here, whole, for captures."""
        self.control = self._address("control")
        """The supervisor answers here."""
        _refuse_long_paths(self.runtime_directory)
        _make_private(self.runtime_directory)

    def _address(self, name: str) -> Address:
        if self._tcp is None:
            return f"ipc://{self.runtime_directory / name}"
        return TcpAddress(getattr(self._tcp, name), str(self.keys_directory))


def _is_tcp(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = ipaddress.IPv4Address(parts.hostname or "")
        return url == f"tcp://{host}:{parts.port}" and bool(parts.port) and not host.is_unspecified
    except ValueError:
        return False


def _refuse_long_paths(directory: Path) -> None:
    longest_bytes = max(len(os.fsencode(directory / name)) for name in _SOCKET_NAMES)
    if longest_bytes > IPC_PATH_BYTES_MAX:
        raise BusError(
            f"socket names in {directory} would have {longest_bytes} bytes, the system allows {IPC_PATH_BYTES_MAX}: "
            "choose a runtime directory with a shorter path, such as one under /run or /tmp"
        )


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise BusError(f"cannot make the runtime directory {directory}: {error.strerror}; choose another") from error
    if not stat.S_ISDIR(status.st_mode):
        raise BusError(
            f"the runtime directory {directory} is not a directory itself (a link is refused): choose another"
        )
    if status.st_uid != os.getuid():
        raise BusError(f"the runtime directory {directory} belongs to user {status.st_uid}: choose one of your own")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise BusError(f"others may enter {directory} (mode {mode:04o}): run `chmod 700 {directory}`")
