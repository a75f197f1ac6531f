"""The CURVE keys of an installation, in a directory of their own: a pair for its servers, and a pair for each client.

    server.public  server.secret  client.public  client.secret      each one line, 40 characters of Z85 (ZeroMQ RFC 32)
    clients                                                         a line "name role public-key" for each other client;
                                                                    lines that begin with # are comments

The machine of the servers has all of them. Its own client pair is an operator's; every other machine has a pair of its
own, with a role: `client.*` and `server.public`. Secrets are read where a socket is set up, from files that are their
owner's alone, and kept nowhere.
"""

import contextlib
import fcntl
import functools
import logging
import os
import re
import stat
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import zmq
from zmq.utils import z85

from bus.endpoints import BusError
from bus.files import write_whole
from bus.roles import ROLES, Role

logger = logging.getLogger(__name__)

OWN_CLIENT: Final = "client"  # the name of the servers' own machine
MAKE_COMMAND: Final = "observer keys make"
KEY_BYTES: Final = 32  # of one half; 40 characters in Z85
_SECRET_MODE: Final = 0o600
_CLIENT_NAMES: Final = ("server.public", "client.public", "client.secret")
_CLIENTS: Final = "clients"
_CLIENTS_BYTES_MAX: Final = 65_536  # some hundred clients
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_REMEDY: Final = (
    f"make them with `{MAKE_COMMAND}` where the servers run, those of another machine with `observer keys add` there"
)

Side = Literal["server", "client"]


class MissingBusKeysError(BusError):
    """TCP needs keys, and they are absent, malformed, or accessible to other users."""


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair in Z85. Its text never shows the secret half."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Names the public half only."""
        return f"KeyPair({self.public.decode()!r}, ...)"

    __str__ = __repr__


class Client(msgspec.Struct, frozen=True):
    """A client that the servers admit, by its public key."""

    name: str
    role: Role
    public: bytes


def make_keys(directory: Path) -> None:
    """Create new key pairs in a new directory, all of them or none.

    Raises:
        BusError: it is there already, or cannot be made.
    """
    with _new_directory(directory) as made:
        _make_pair(made, "server")
        _make_pair(made, "client")


def add_client(directory: Path, name: str, role: Role, folder: Path) -> Client:
    """Make a pair for a client on another machine and admit it: the new folder is that machine's key directory.

    Raises:
        BusError: the name is taken or none, or the folder is there already or cannot be made.
    """
    if not _NAME.fullmatch(name):
        raise BusError(f"{name!r} is no name for a client: give up to 32 of a-z, 0-9, '_', '.' and '-'")
    server = public_key(directory, "server")
    with _locked(directory):
        if name in {client.name for client in clients(directory)}:
            remedy = f"remove it first (observer keys remove {name}), or give another name"
            raise BusError(f"{name} has a key already: {remedy}")
        lines = _client_lines(directory)
        with _new_directory(folder) as made:
            client = Client(name, role, _make_pair(made, "client"))
            _write(made / "server.public", server)
        _write_clients(directory, [*lines, f"{name} {role} {client.public.decode()}".encode()])
    return client


def remove_client(directory: Path, name: str) -> None:
    """Stop admitting a client. The client's open connections end with the servers.

    Raises:
        BusError: no client has this name, or the list cannot be changed.
    """
    with _locked(directory):
        if name not in {client.name for client in clients(directory)[1:]}:
            raise BusError(f"no client is named {name!r} in {directory / _CLIENTS}: see `observer keys list`")
        lines = _client_lines(directory)
        _write_clients(directory, [line for line in lines if line.split()[:1] != [name.encode()]])


def clients(directory: Path) -> Sequence[Client]:
    """The clients that the servers admit, first the one of their own machine. A line that is none of ours admits no
    client.

    Raises:
        MissingBusKeysError: the machine's own key cannot be read.
    """
    own = Client(OWN_CLIENT, "operator", public_key(directory, "client"))
    try:
        return [own, *_other_clients(directory)]
    except MissingBusKeysError as error:
        logger.error("only this machine's own client is admitted: %s", error)
        return [own]


def _other_clients(directory: Path) -> Iterator[Client]:
    path = directory / _CLIENTS
    for number, line in enumerate(_client_lines(directory), 1):
        match line.decode("ascii", "replace").split():
            case [name, role, key] if _NAME.fullmatch(name) and role in ROLES and _is_key(key.encode()):
                yield Client(name, role, key.encode())
            case [word, *_] if not word.startswith("#"):
                _report_line(path, number, line)


def _client_lines(directory: Path) -> Sequence[bytes]:
    path = directory / _CLIENTS
    return _private_content(path, _CLIENTS_BYTES_MAX).splitlines() if os.path.lexists(path) else []


@functools.lru_cache(maxsize=1_000)
def _report_line(path: Path, number: int, line: bytes) -> None:
    """Log the line once: every connection of a client reads the list."""
    del line
    logger.error("line %d of %s admits no client: it is not 'name role public-key'", number, path)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of the list: changes by other processes wait."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BusError(f"cannot open {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_clients(directory: Path, lines: Iterable[bytes]) -> None:
    try:
        write_whole(directory / _CLIENTS, b"\n".join(lines) + b"\n")
    except OSError as error:
        raise BusError(f"cannot write {directory / _CLIENTS}: {error.strerror}") from error


def _make_pair(directory: Path, side: Side) -> bytes:
    """Make a pair and return its public half."""
    public, secret = zmq.curve_keypair()
    _write(directory / f"{side}.public", public)
    _write(directory / f"{side}.secret", secret)
    return public


@contextlib.contextmanager
def _new_directory(directory: Path) -> Iterator[Path]:
    """Make a directory that gets its name at the end of the block."""
    try:
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".keys-") as scratch:
            made = Path(scratch) / directory.name
            made.mkdir(mode=0o700)
            yield made
            made.rename(directory)  # refused by the system when there is a directory with anything in it
    except OSError as error:
        if directory.exists():
            raise BusError(
                f"{directory} is there already: move it away first; then its keys admit no client"
            ) from error
        raise BusError(f"cannot make {directory}: {error.strerror}") from error


def require_client_keys(directory: Path) -> None:
    """Return if a client can be set up from this directory.

    Raises:
        MissingBusKeysError: it cannot.
    """
    for name in _CLIENT_NAMES:
        _read(directory / name)


def key_pair(directory: Path, side: Side) -> KeyPair:
    """Read the key pair of the servers or of the clients.

    Raises:
        MissingBusKeysError: the pair does not exist, or other users may read it.
    """
    return KeyPair(public_key(directory, side), _read(directory / f"{side}.secret"))


def public_key(directory: Path, side: Side) -> bytes:
    """Read the public half in Z85.

    Raises:
        MissingBusKeysError: the file does not exist, or other users may change it.
    """
    return _read(directory / f"{side}.public")


def _write(path: Path, key: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")


def _read(path: Path) -> bytes:
    key = _private_content(path, 100).strip()
    if not _is_key(key):
        raise MissingBusKeysError(f"{path} holds no key of 40 characters: {_REMEDY}")
    return key


def _private_content(path: Path, bytes_max: int) -> bytes:
    """The file's first bytes.

    Raises:
        MissingBusKeysError: it cannot be read, or is not its owner's alone.
    """
    try:
        # Looked at and read through one descriptor: nothing can be put in between.
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(bytes_max)
    except OSError as error:
        raise MissingBusKeysError(f"cannot read {path} ({error.strerror}): tcp needs keys, {_REMEDY}") from error
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise MissingBusKeysError(f"{path} is not yours alone: run `chmod 600` on it, as its owner")
    return content


def _is_key(text: bytes) -> bool:
    try:
        return len(z85.decode(text)) == KEY_BYTES
    except (KeyError, ValueError, struct.error):  # a character that Z85 has not, a wrong length, five too large ones
        return False
