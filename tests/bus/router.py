"""A network in memory in the place of ingest's ROUTER socket."""

from collections.abc import Sequence
from typing import Literal

import zmq


class MemoryRouter:
    """`received` are the messages that wait, route first; `sent` are the answers."""

    def __init__(self) -> None:
        self.received: list[Sequence[bytes]] = []
        self.sent: list[Sequence[bytes]] = []

    def poll(self, _timeout: int, /) -> int:
        return len(self.received)

    def recv_multipart(self, flags: int, /, *, copy: Literal[False]) -> Sequence[zmq.Frame]:
        assert flags == zmq.NOBLOCK, "a group ends where nothing waits"
        if not self.received:
            raise zmq.Again
        return [zmq.Frame(part, copy=copy) for part in self.received.pop(0)]

    def send_multipart(self, msg_parts: Sequence[bytes], /) -> None:
        self.sent.append(msg_parts)

    def close(self) -> None:
        self.received.clear()
