"""The server of the page: its files, the live state, stored days, orders, and the data of the API."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import uvicorn
from litestar import Litestar, MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath, HeaderParameter, PathParameter
from litestar.types import ControllerRouterHandler

from observer.base.errors import ConfigError
from observer.base.logs import own_version
from observer.system.config import Settings
from observer.web.access import REQUEST_BYTES_MAX, guarded
from observer.web.broadcast import CLIENTS_MAX, Broadcast, LiveResponse
from observer.web.connections import SEND_BUFFER_BYTES, Bounds, Connection, Connections
from observer.web.data import data_routes
from observer.web.failures import HANDLERS, UnansweredError, failures
from observer.web.model import State
from observer.web.orders import Orders, order_routes
from observer.web.stored_days import StoredDays, read_days
from observer.web.tags import tag_of, tagged
from observer.web.threads import Threads

logger = logging.getLogger(__name__)

ADDRESS: Final = "127.0.0.1"
PAGE: Final = Path(__file__).with_name("page")
BOUNDS: Final = Bounds()
STOP_S: Final = 2  # machine seconds for answers under way when the server stops
_POLL_S: Final = 0.01
_TYPES: Final = {  # the charset of those that begin with "text/" is added to the header
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml; charset=utf-8",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
_INDEX: Final = "index.html"
_NEW: Final = "no-store"
_KNOWN: Final = "The state is one that If-None-Match names."

Asked = Request[Any, Any, Any]
Day = Annotated[str, PathParameter(description="A stored day of the market, such as 2026-11-18.", max_length=32)]
KnownTags = Annotated[str | None, HeaderParameter(name="If-None-Match", description="ETags of states that are known.")]


class Days(msgspec.Struct, frozen=True):
    """The stored days, the newest first."""

    days: Sequence[str]


def page_routes() -> Sequence[ControllerRouterHandler]:
    """The files of the page, each with an ETag."""

    @get("/", include_in_schema=False, sync_to_thread=True)
    def index(request: Asked) -> Response[bytes]:
        return _file(request, _INDEX)

    @get("/page/{name:str}", include_in_schema=False, sync_to_thread=True)
    def file(request: Asked, name: FromPath[str]) -> Response[bytes]:
        return _file(request, name)

    return index, file


def _file(request: Asked, name: str) -> Response[bytes]:
    path = PAGE / name
    # a name with a slash or dots is no name of a file right in the folder
    if path.suffix not in _TYPES or path.parent != PAGE or name.startswith(".") or not path.is_file():
        raise NotFoundException
    content = path.read_bytes()
    return tagged(content, tag_of(content), _TYPES[path.suffix], request.headers.get("if-none-match"))


def state_routes(broadcast: Broadcast, stored: StoredDays, settings: Settings) -> Sequence[ControllerRouterHandler]:
    """The live state and those of stored days."""
    lists = Threads("days", 1)

    @get("/api/state", summary="The state of the running system now", tags=["state"], responses=failures(503))
    async def state() -> State:
        if not broadcast.json:
            raise UnansweredError("the first state is being made: ask again in a second")
        return Response(broadcast.json, media_type=MediaType.JSON, headers={"Cache-Control": _NEW})  # type: ignore[return-value]

    @get("/api/live", summary="The state each second, as server-sent events", tags=["state"], responses=failures(503))
    async def live() -> LiveResponse:
        if broadcast.clients >= CLIENTS_MAX:
            raise UnansweredError(f"{CLIENTS_MAX} clients follow the state already: close one of them")
        return LiveResponse(broadcast)

    @get("/api/days", summary="The stored days", tags=["state"], responses=failures(503))
    async def days() -> Days:
        return Days(await lists.run(lambda: read_days(settings)))

    @get(
        "/api/days/{day:str}",
        summary="The state of a stored day at its end",
        tags=["state"],
        responses={304: ResponseSpec(None, description=_KNOWN, generate_examples=False), **failures(404, 503)},
    )
    async def stored_day(day: Day, if_none_match: KnownTags = None) -> State:
        found = await stored.state_of(day)
        return tagged(found.json, found.tag, MediaType.JSON, if_none_match)  # type: ignore[return-value]

    return state, live, days, stored_day


def made_app(broadcast: Broadcast, orders: Orders | None, stored: StoredDays, settings: Settings) -> Litestar:
    """The app without its guards of Host and Origin. Without orders it is read only."""
    return Litestar(
        route_handlers=[
            *page_routes(),
            *state_routes(broadcast, stored, settings),
            *([] if orders is None else [order_routes(orders)]),
            *data_routes(settings),
        ],
        exception_handlers=HANDLERS,
        openapi_config=OpenAPIConfig(
            title="Observer",
            version=own_version(),
            description="The state of the running system, the stored days, orders, and the stored data.",
            path="/api/schema",
            render_plugins=[JsonRenderPlugin()],
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        ),
        logging_config=None,
        request_max_body_size=REQUEST_BYTES_MAX,
        debug=False,
    )


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process it is a part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@contextlib.asynccontextmanager
async def serving(app: Litestar, listener: socket.socket, bounds: Bounds = BOUNDS) -> AsyncIterator[None]:
    """Serve the app while the block runs, within these bounds of its connections."""
    port: int = listener.getsockname()[1]
    connections = Connections(bounds)
    config = uvicorn.Config(
        guarded(app, port),
        http=partial(Connection, connections),  # type: ignore[arg-type]  # it is only called
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=bounds.keep_alive_s,
        h11_max_incomplete_event_size=REQUEST_BYTES_MAX,
        timeout_graceful_shutdown=STOP_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(_POLL_S)
        async with connections.checked():
            yield
    finally:
        server.should_exit = True
        await asyncio.wait([task])  # also where this block is cancelled: answers under way end first
        task.result()  # which raises what ended the server


def listening(port: int) -> socket.socket:
    """A socket for the server on loopback.

    Raises:
        ConfigError: the port is in use.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # of its connections
    try:
        listener.bind((ADDRESS, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"web.port = {port}: {error.strerror}: give another port, or end what uses it") from error
    return listener
