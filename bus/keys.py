"""The CURVE keys of an installation: a pair for its servers and a pair for its clients, in a directory of their own.

    server.public  server.secret  client.public  client.secret      each one line, 40 characters of Z85 (ZeroMQ RFC 32)

The machine of the servers has all four; a machine with clients only needs `client.*` and `server.public`. Secrets are
read where a socket is set up, from files that are their owner's alone, and kept nowhere.
"""

import os
import stat
import struct
import tempfile
from pathlib import Path
from typing import Final, Literal

import msgspec
import zmq
from zmq.utils import z85

from bus.endpoints import BusError

MAKE_COMMAND: Final = "observer keys make"
KEY_BYTES: Final = 32  # of one half; 40 characters in Z85
_SECRET_MODE: Final = 0o600
_CLIENT_NAMES: Final = ("server.public", "client.public", "client.secret")
_REMEDY: Final = f"make them with `{MAKE_COMMAND}` where the servers run; other machines get copies"

Role = Literal["server", "client"]


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


def make_keys(directory: Path) -> None:
    """Create new key pairs in a new directory, all of them or none.

    Raises:
        BusError: it is there already, or cannot be made.
    """
    try:
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".keys-") as scratch:
            made = Path(scratch) / directory.name
            made.mkdir(mode=0o700)
            for role in ("server", "client"):
                public, secret = zmq.curve_keypair()
                _write(made / f"{role}.public", public)
                _write(made / f"{role}.secret", secret)
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


def key_pair(directory: Path, role: Role) -> KeyPair:
    """The pair of the servers or of the clients.

    Raises:
        MissingBusKeysError: it is not there, or others may read it.
    """
    return KeyPair(public_key(directory, role), _read(directory / f"{role}.secret"))


def public_key(directory: Path, role: Role) -> bytes:
    """The public half alone, in Z85.

    Raises:
        MissingBusKeysError: it is not there, or others may change it.
    """
    return _read(directory / f"{role}.public")


def _write(path: Path, key: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")


def _read(path: Path) -> bytes:
    try:
        # Looked at and read through one descriptor: nothing can be put in between.
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            key = file.read(100).strip()
    except OSError as error:
        raise MissingBusKeysError(f"cannot read {path} ({error.strerror}): tcp needs keys, {_REMEDY}") from error
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise MissingBusKeysError(f"{path} is not yours alone: run `chmod 600` on it, as its owner")
    if not _is_key(key):
        raise MissingBusKeysError(f"{path} holds no key of 40 characters: {_REMEDY}")
    return key


def _is_key(text: bytes) -> bool:
    try:
        return len(z85.decode(text)) == KEY_BYTES
    except (KeyError, ValueError, struct.error):  # a character that Z85 has not, a wrong length, five too large ones
        return False
