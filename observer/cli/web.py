"""`observer web`: the page over what is stored, in a browser."""

import asyncio
import contextlib
import socket
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Annotated

import click

from observer.base.errors import ConfigError
from observer.base.extras import install_command
from observer.base.settings import RunSettings, StoreSettings, is_reachable
from observer.base.signals import stopping_on_signals
from observer.cli.context import ConfigOption, full_settings
from observer.cli.options import Argument, Option
from observer.store.engine import parse_url, sqlite_path
from observer.system.config import Settings, WebSettings, load_settings


def web(
    store: Annotated[
        str | None, Argument(help="A folder, an observer.toml, a database or its URL; default: what is here.")
    ] = None,
    port: Annotated[
        int | None,
        Option(min=1, max=65_535, help="Port on loopback; left out: 8765, or a free one where it is in use."),
    ] = None,
    no_open: Annotated[bool, Option("--no-open", help="Print the address and open no browser.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what is stored as a page in a browser, until ctrl-C.

    No system needs to run. The page is read only: orders are given at the page of the running system.
    """
    if not can_serve():
        raise ConfigError(f"the page's server is not installed: {install_command('web')}")
    from observer.web.viewing import last_day

    settings = full_settings(config) if store is None else _settings_of(store)
    if settings.web is not None and is_reachable(settings.run):
        _show("the running system is at {}", settings.web.port, opens=not no_open)
    else:
        day = last_day(settings)
        serve(settings, port or free_port(), f"{day} is at {{}}; ctrl-C ends", opens=not no_open)


def can_serve() -> bool:
    """Whether the packages of the page's server are installed."""
    return find_spec("litestar") is not None and find_spec("uvicorn") is not None


def free_port() -> int:
    """The page's usual port, or a free one where that is in use."""
    from observer.web.server import listening

    for port in (WebSettings().port, 0):
        with contextlib.suppress(ConfigError), listening(port) as found:
            bound: int = found.getsockname()[1]
            return bound
    raise ConfigError("no port of loopback is free")


def serve(settings: Settings, port: int, text: str, *, opens: bool) -> None:
    """Serve the page of what is stored until ctrl-C. `text` is printed once it can be asked for, {} is the address."""
    from observer.web.server import listening

    asyncio.run(_serve(settings, listening(port), partial(_show, text, port, opens=opens)))


async def _serve(settings: Settings, listener: socket.socket, served: Callable[[], None]) -> None:
    from observer.web.viewing import view

    stopping = asyncio.Event()
    with stopping_on_signals(stopping):
        await view(settings, listener, stopping, served)


def _show(text: str, port: int, *, opens: bool) -> None:
    from observer.web.server import ADDRESS

    address = f"http://{ADDRESS}:{port}/"
    click.echo(text.format(address))
    if opens and sys.stdout.isatty():
        webbrowser.open(address)


def _settings_of(store: str) -> Settings:
    from observer.research.opening import found_target  # polars

    target = found_target(store)
    if target.configuration is not None:
        return load_settings(target.configuration)
    if target.url is None:
        raise ConfigError(f"{store} is a lake alone, and the page reads a database: `observer query` reads a lake")
    url = parse_url(target.url)
    data = str(sqlite_path(url).parent) if url.get_backend_name() == "sqlite" else RunSettings().data
    return Settings(run=RunSettings(data=data, runtime=f"{data}/run"), store=StoreSettings(url=target.url))
