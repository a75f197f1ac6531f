"""The data routes in a server of their own over the small store of `tests.research.stored`."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from litestar import Litestar
from litestar.openapi import OpenAPIConfig

from observer.base.settings import RunSettings, StoreSettings
from observer.system.config import Settings
from observer.web.data import data_routes
from observer.web.failures import HANDLERS
from tests.research.stored import url_of
from tests.waiting import until


def settings_of(folder: Path, url: str) -> Settings:
    return Settings(
        run=RunSettings(data=str(folder / "data"), runtime=str(folder / "run")), store=StoreSettings(url=url)
    )


def data_app(folder: Path, url: str | None = None) -> Litestar:
    """The data routes as the server has them, without its other ones; the database is in the folder, or at the URL."""
    return Litestar(
        list(data_routes(settings_of(folder, url or url_of(folder)))),
        openapi_config=OpenAPIConfig("Observer", "1", path="/api/schema"),
        exception_handlers=HANDLERS,
        logging_config=None,
    )


@contextlib.contextmanager
def served(app: Litestar) -> Iterator[str]:
    """The server's address while it runs."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the server")
        [listening] = server.servers[0].sockets
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
