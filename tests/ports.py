"""Ports of loopback for servers whose number must be known beforehand, and sockets that are files."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_HELD: Final = list[socket.socket]()


def own_port() -> int:
    """A port that no other process is given while this one lives: its socket stays bound, and a server binds it as well
    (SO_REUSEADDR), as this one does not listen.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    port: int = held.getsockname()[1]
    return port


@contextlib.contextmanager
def listening(path: Path) -> Iterator[None]:
    """A socket at which somebody listens and never answers: as the control socket says it, a system runs there."""
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(path))
        held.listen()
        yield
