"""`observer web`: the page over what is stored, in a browser."""

import asyncio
import socket
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from typing import Annotated

import click

from observer.base.errors import ConfigError
from observer.base.extras import install_command
from observer.base.settings import RunSettings, StoreSettings, is_reachable
from observer.base.signals import stopping_on_signals
from observer.cli.context import ConfigOption, full_settings
from observer.cli.options import Argument, Option
from observer.research.opening import found_target
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
    try:
        from observer.web.viewing import last_day
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: {install_command('web')}") from error
    settings = full_settings(config) if store is None else _settings_of(store)
    if settings.web is not None and is_reachable(settings.run):
        _show("the running system is at {}", settings.web.port, opens=not no_open)
        return
    listener = _listener(port)
    text = f"{last_day(settings)} is at {{}}; ctrl-C ends"
    asyncio.run(_serve(settings, listener, partial(_show, text, listener.getsockname()[1], opens=not no_open)))


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


def _listener(port: int | None) -> socket.socket:
    from observer.web.server import listening

    try:
        return listening(port or WebSettings().port)
    except ConfigError:
        if port is not None:
            raise
        return listening(0)


def _settings_of(store: str) -> Settings:
    target = found_target(store)
    if target.configuration is not None:
        return load_settings(target.configuration)
    if target.url is None:
        raise ConfigError(f"{store} is a lake alone, and the page reads a database: `observer query` reads a lake")
    url = parse_url(target.url)
    data = str(sqlite_path(url).parent) if url.get_backend_name() == "sqlite" else RunSettings().data
    return Settings(run=RunSettings(data=data, runtime=f"{data}/run"), store=StoreSettings(url=target.url))
