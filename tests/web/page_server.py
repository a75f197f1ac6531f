"""A small server for the page alone: its files, a feed that a test drives, stored days, and orders with a token."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from observer.web.model import State
from tests.waiting import DEADLINE_S

PAGE: Final = Path(__file__).parents[2] / "observer/web/page"
TOKEN: Final = "the-token"
POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'"
)
HEARTBEAT_S: Final = 1.0


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


class PageServer:
    """Serves in a thread of its own. `push` sends a state, which is repeated each second until `silence`."""

    def __init__(self, days: Mapping[str, State]) -> None:
        self.days = dict(days)
        self.orders: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []  # with which they came
        self.refusal: str | None = None
        self.refusal_status = 409
        self.is_losing_answers = False  # an order is done, and its connection ends without an answer
        self.port = 0
        self._keys_made = 0
        self._state: bytes | None = None
        self._is_repeating = True
        self._changed: asyncio.Event | None = None
        self._is_over = False
        self._is_refusing = False
        self._refused = threading.Event()
        self._loop = asyncio.new_event_loop()

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def push(self, state: State) -> None:
        """Sends this state to all open feeds, and to each that opens."""
        self._is_refusing = False
        self._is_repeating = True
        self._set(msgspec.json.encode(state))

    def push_once(self, state: State) -> None:
        """Sends this state to all open feeds, and to each that opens; none gets it again. Connections stay open."""
        self._is_repeating = False
        self._set(msgspec.json.encode(state))

    def silence(self) -> None:
        """No feed gets anything from now on; connections stay open."""
        self._set(None)

    def forget_orders(self) -> None:
        """Orders and keys are those from now on."""
        self.orders.clear()
        self.keys.clear()

    def refuse_feeds(self) -> None:
        """Ends all feeds, and refuses each that opens, until the next `push`; returns when one was refused."""
        self._refused.clear()
        self._is_refusing = True
        self.silence()
        assert self._refused.wait(DEADLINE_S), "the page asks for no feed"

    def _set(self, state: bytes | None) -> None:
        async def change() -> None:
            self._state = state
            assert self._changed is not None
            self._changed.set()
            self._changed = asyncio.Event()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(10)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if self._is_refusing:
            self._refused.set()
            return _json({"error": "The server is starting."}, 503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        with suppress(ConnectionResetError):  # the page was closed
            while not self._is_over and not self._is_refusing:
                assert self._changed is not None
                changed = self._changed
                if self._state is not None:
                    await response.write(b"event: state\ndata: " + self._state + b"\n\n")
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_S if self._is_repeating else None)
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = PAGE / request.match_info.get("name", "index.html")
        if not path.is_file() or path.parent != PAGE:
            return _json({"error": "no such file"}, 404)
        return web.FileResponse(path, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    async def _day(self, request: web.Request) -> web.Response:
        state = self.days.get(request.match_info["day"])
        if state is None:
            return _json({"error": f"No day {request.match_info['day']} is stored: choose another."}, 404)
        return _json(state)

    async def _days(self, _: web.Request) -> web.Response:
        return _json({"days": sorted(self.days, reverse=True)})

    async def _key(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _json({"error": "The token is another one: it is in run/web.token."}, 401)
        self._keys_made += 1
        return _json({"key": f"key-{self._keys_made}"})

    async def _order(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        self.keys.append(request.headers["Idempotency-Key"])
        if self.refusal is not None:
            return _json({"error": self.refusal}, self.refusal_status)
        self.orders.append((request.match_info["order"], await request.json()))
        if self.is_losing_answers and request.transport is not None:
            request.transport.abort()
        return _json({"text": "The system has the order."})

    def _app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/live", self._live),
                web.get("/api/days", self._days),
                web.get("/api/days/{day}", self._day),
                web.get("/api/orders/key", self._key),
                web.post("/api/orders/{order:.*}", self._order),
                web.get("/", self._file),
                web.get("/page/{name}", self._file),
            ]
        )
        return app

    async def _start(self) -> web.AppRunner:
        self._changed = asyncio.Event()
        runner = web.AppRunner(self._app(), shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serves until the block ends."""
        asyncio.set_event_loop(None)
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        try:
            yield self
        finally:
            self._is_over = True
            self.silence()  # wakes the feeds, which end
            asyncio.run_coroutine_threadsafe(runner.cleanup(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(DEADLINE_S)
            self._loop.close()
