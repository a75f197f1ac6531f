"""A system for the page without its processes: a filled database, a control socket, a feed, and the server itself."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import msgspec

from bus.commands import Done, ProcessStatus, Refused, Reply, Request, Status, StatusReply
from bus.control import ControlClient, ControlServer
from bus.delivery import Delivered
from bus.events import Event
from bus.feed import FeedPublisher
from observer.base.settings import endpoints_of
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.store.writer import StoreWriter
from observer.system.config import Settings, load_settings
from observer.web.access import ensured_token
from observer.web.broadcast import Broadcast
from observer.web.connections import Bounds
from observer.web.live import Live
from observer.web.model import State
from observer.web.orders import Orders
from observer.web.server import BOUNDS, listening, made_app, serving
from observer.web.stored_days import StoredDays, read_stored_day
from tests.store.filled import SESSIONS, STREAM, events, ten_ns
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S, until_async
from tests.web.states import States

DAY = SESSIONS[1]
NOON_NS = ten_ns(DAY) + 7_200_000_000_000
RUNNING = ProcessStatus("core-writer", "RUNNING", pid=7, uptime_s=60.0, heartbeat_age_s=0.3)
STATUS = StatusReply([RUNNING], "FULL_OPERATION", NOON_NS, supervisor_pid=6, uptime_s=61.0)


class System:
    """The control socket's end and the writer's; `status` is what the supervisor answers, None for silence."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.status: StatusReply | None = STATUS
        self.orders: list[Request] = []
        self.feed = FeedPublisher(endpoints_of(settings.run).feed)
        self._sequence = 0

    async def answer(self, _identity: bytes, request: Request) -> Reply | None:
        if isinstance(request, Status):
            return self.status
        self.orders.append(request)
        if "unknown" in repr(request):
            return Refused("unknown_process", "no process is named unknown; there is core-writer")
        return Done("supervisor", "it is done")

    def publish(self, *found: Event) -> None:
        self.feed.publish([Delivered("track-b", "7" * 32, self._sequence + 1, list(found))])
        self._sequence += len(found)


def filled(folder: Path, more: Sequence[Event] = ()) -> Settings:
    """The settings of a system in the folder, whose database has the two sessions of `tests.store.filled`."""
    settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
    Path(settings.run.data).mkdir(exist_ok=True)
    make_database(settings.store.url)
    with contextlib.closing(StoreWriter(settings.store.url)) as writer:
        writer.open()
        writer.begin_epoch("created")
        writer.epoch()
        writer.commit([Delivered("track-b", STREAM, 1, [*events(), *more])])
    # the builders' market
    return msgspec.structs.replace(settings, instance=msgspec.structs.replace(settings.instance, market="KR"))


@contextlib.asynccontextmanager
async def system(settings: Settings) -> AsyncIterator[System]:
    """Answers on the control socket and publishes on the feed."""
    made = System(settings)
    server = ControlServer(endpoints_of(settings.run).control, made.answer)
    task = asyncio.create_task(server.serve())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()
        made.feed.close()


class Served(msgspec.Struct, frozen=True):
    """The running server: a client of it, its port, its token, and the state behind it."""

    client: httpx.AsyncClient
    port: int
    token: str
    live: Live


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Served]:
    """The page's server on a free port, wired as its worker does."""
    path = Path(settings.run.runtime) / "web.token"
    token, control, broadcast = ensured_token(path), ControlClient(endpoints_of(settings.run).control), Broadcast()
    listener = listening(0)
    port: int = listener.getsockname()[1]
    stored = StoredDays(partial(read_stored_day, settings))
    app = made_app(broadcast, Orders(control, settings.store.url, token), stored, settings)
    async with serving(app, listener), Live(settings) as live, httpx.AsyncClient(timeout=DEADLINE_S) as client:
        client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        sending = asyncio.create_task(broadcast.run(live.states()))
        try:
            yield Served(client, port, token, live)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            control.close()


class Page(msgspec.Struct, frozen=True):
    """The running server, what it sends, and states to send."""

    port: int
    broadcast: Broadcast
    states: States

    async def connection(self, receive_bytes: int | None = None) -> socket.socket:
        """A client's socket; with so small a buffer that some states fill it."""
        made = socket.socket()
        made.setblocking(False)
        if receive_bytes is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        return made

    async def asked(self, path: str) -> httpx.Response:
        """The answer to a request on a new connection."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=DEADLINE_S) as client:
            return await client.get(path)


@contextlib.asynccontextmanager
async def page(settings: Settings, bounds: Bounds = BOUNDS, stored: StoredDays | None = None) -> AsyncIterator[Page]:
    """The server with states, and maybe stored days, that the test gives."""
    broadcast, states, control = Broadcast(), States(), ControlClient(endpoints_of(settings.run).control)
    listener = listening(0)
    port: int = listener.getsockname()[1]
    days = stored or StoredDays(partial(read_stored_day, settings))
    app = made_app(broadcast, Orders(control, settings.store.url, "t" * 32), days, settings)
    sending = asyncio.create_task(broadcast.run(states))
    try:
        async with serving(app, listener, bounds):
            yield Page(port, broadcast, states)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        control.close()


async def loaded(live: Live) -> State:
    """The first state with the stored day and the slow figures."""

    def is_loaded() -> State | None:
        state = live.state()
        is_whole = state.processes.processes and state.universe.tiles and state.storage.rows
        return state if is_whole else None

    return await until_async(is_loaded, "the stored day") or live.state()
