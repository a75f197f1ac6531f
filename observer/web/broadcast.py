"""The live state as server-sent events, encoded once for all clients: the whole state first, and then what changed.

`web.connections` drops a client that reads none.
"""

import asyncio
from collections.abc import AsyncIterable
from typing import Final

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from observer.web.changes import change_of
from observer.web.model import State

CLIENTS_MAX: Final = 64
RECONNECT_MS: Final = 1_000
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Broadcast:
    """Keeps the newest state as JSON, and what changed since the one before. A client that is slow misses states, and
    then gets a whole one.
    """

    def __init__(self) -> None:
        self._number = 0
        self._change = b""
        self._renewed = asyncio.Condition()
        self._is_over = False
        self.json = b""
        self.clients = 0

    async def run(self, states: AsyncIterable[State]) -> None:
        """Take states until cancelled; then every client's answer ends."""
        encoder = msgspec.json.Encoder()
        before: object = None
        try:
            async for state in states:
                self.json = encoder.encode(state)
                self._number += 1
                after = msgspec.json.decode(self.json)  # its arrays are lists
                self._change = self._event("change", encoder.encode(change_of(before, after)))
                before = after
                async with self._renewed:
                    self._renewed.notify_all()
        finally:
            self._is_over = True
            async with self._renewed:
                self._renewed.notify_all()

    async def next_event(self, seen: int) -> tuple[int, bytes] | None:
        """The event that brings a client from `seen` (0: nothing) to the newest state, and its number, once there is
        one after `seen`; None when no more will come.
        """
        async with self._renewed:
            while self._number == seen and not self._is_over:
                await self._renewed.wait()
        if self._is_over:
            return None
        return self._number, self._change if seen and self._number == seen + 1 else self._event("state", self.json)

    def _event(self, name: str, data: bytes) -> bytes:
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (self._number, name.encode(), data)


class LiveResponse(ASGIResponse):
    """The events for one client, until it goes."""

    def __init__(self, broadcast: Broadcast) -> None:
        super().__init__()
        self._broadcast = broadcast

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Send the current event at once, and then each new one."""
        self._broadcast.clients += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(send))
                leaving = tasks.create_task(_gone(receive))
                await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
                sending.cancel()
                leaving.cancel()
        finally:
            self._broadcast.clients -= 1

    async def _send(self, send: Send) -> None:
        begin = b"retry: %d\n\n" % RECONNECT_MS
        number = 0
        while (found := await self._broadcast.next_event(number)) is not None:
            number, event = found
            await send({"type": "http.response.body", "body": begin + event, "more_body": True})
            begin = b""
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
