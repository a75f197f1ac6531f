"""The connections of the page's server: none waits for its client without end, and a new one always finds room.

A connection waits for its client while the client has to send a request, or to take what was sent. Uvicorn bounds
neither a request that never ends nor an answer that is never read, and closes nothing that holds bytes for the client.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import msgspec
from litestar.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from observer.monitoring.metrics.counters import COUNTERS
from observer.web.access import HEADERS, UNREADABLE, refuse
from observer.web.failures import Failure

logger = logging.getLogger(__name__)

SEND_BUFFER_BYTES: Final = 131_072
"""Of the kernel, for a connection: without a bound it takes some minutes of states for a client that reads none."""

_CHECKS: Final = 20  # within the shortest bound
_FULL: Final = "all connections are busy: ask again in a second"

Wait = Literal["request", "reading"]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The open connections, and machine seconds: until a whole request is there, without a request after an answer, and
    until what was sent is taken.
    """

    connections_max: int = 256
    request_s: float = 10.0
    keep_alive_s: int = 5
    reading_s: float = 10.0


class Connection(H11Protocol):
    """One connection, which knows since when it waits for its client."""

    def __init__(self, connections: "Connections", **parts: Any) -> None:  # uvicorn's
        super().__init__(**parts)
        self._connections = connections
        self._pauses = 0
        self._wait: tuple[Wait | None, object] = (None, None)
        self.since_s = time.monotonic()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        if not self._connections.add(self):
            self.app = _busy

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._connections.discard(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than is sent."""
        self._pauses += 1
        super().pause_writing()

    def waits_for(self, now_s: float) -> Wait | None:
        """What the client has to do next, since `since_s`; None: the server has to answer."""
        wait: tuple[Wait | None, object] = (None, None)
        if self.flow.write_paused or self.transport.is_closing():
            # One large write drains without another pause: what is left of it shows that the client takes some.
            wait = "reading", (self._pauses, self.transport.get_write_buffer_size())
        elif self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            wait = "request", self.cycle
        if wait != self._wait:
            self._wait, self.since_s = wait, now_s
        return wait[0]

    def drop(self) -> None:
        """End it at once, with what the client did not take."""
        self._connections.discard(self)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's
        """Refuse what cannot be read, in the form of all refusals."""
        body = msgspec.json.encode(Failure(UNREADABLE))
        headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *HEADERS]
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body]))
        self.transport.close()


class Connections:
    """The open connections of a server. What it drops is counted."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._open: set[Connection] = set()

    def add(self, connection: Connection) -> bool:
        """Add one. Beyond the bound the one that waits longest for its client is dropped. Returns whether there is
        room: there is none where the server has to answer all of them.
        """
        now_s = time.monotonic()
        waiting = [each for each in self._open if each.waits_for(now_s) is not None]
        self._open.add(connection)
        if len(self._open) <= self._bounds.connections_max:
            return True
        if not waiting:
            return False
        self._drop(min(waiting, key=lambda each: each.since_s), "displaced", "another one came")
        return True

    def discard(self, connection: Connection) -> None:
        """Forget one that ended."""
        self._open.discard(connection)

    @contextlib.asynccontextmanager
    async def checked(self) -> AsyncIterator[None]:
        """Drop those that wait for too long while the block runs."""
        task = asyncio.create_task(self._check())
        try:
            yield
        finally:
            task.cancel()

    async def _check(self) -> None:
        limits: dict[Wait, float] = {"request": self._bounds.request_s, "reading": self._bounds.reading_s}
        while True:
            await asyncio.sleep(min(limits.values()) / _CHECKS)
            now_s = time.monotonic()
            for each in list(self._open):
                wait = each.waits_for(now_s)
                if wait is not None and now_s - each.since_s > limits[wait]:
                    text = "sent no whole request" if wait == "request" else "took nothing of what was sent"
                    self._drop(each, wait, f"it {text} for {limits[wait]:g} s")

    def _drop(self, connection: Connection, reason: str, text: str) -> None:
        COUNTERS.add("observer_page_connections_dropped_total", reason)
        logger.info("a connection of the page was dropped: %s", text)
        connection.drop()


async def _busy(_scope: Scope, _receive: Receive, send: Send) -> None:
    await refuse(send, 503, _FULL, [(b"connection", b"close"), (b"retry-after", b"1"), *HEADERS])
