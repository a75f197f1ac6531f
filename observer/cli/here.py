"""Which system a question means that only reads files and the database, and what time it is there."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from bus.commands import Status, StatusReply
from bus.control import ControlClient, ControlTimeoutError
from observer.cli.control import ANSWER_S, DEMO_CONFIGURATION
from observer.cli.run import DEFAULT_CONFIGURATION
from observer.clock import clock_from_environment, kst_datetime
from observer.config import Settings, endpoints_of, is_reachable, load_settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(help="The configuration that is meant; without it the one of the system that runs in this folder."),
]


def settings_here(config: Path | None) -> Settings:
    """The named configuration, or of those here the one whose system runs, or else the usual one.

    Raises:
        ConfigError: it cannot be read, or is wrong.
    """
    return load_settings(config or _configuration_here())


def market_time_ns(settings: Settings) -> int:
    """The running system's time, which is another than ours in a compressed day; ours when none answers."""
    if is_reachable(settings.run):
        with contextlib.suppress(ControlTimeoutError):
            reply = asyncio.run(_ask_status(settings))
            if isinstance(reply, StatusReply):
                return reply.market_time_ns
    return clock_from_environment().now_ns()


def today(settings: Settings) -> str:
    """The Korean date there, in ISO notation."""
    return kst_datetime(market_time_ns(settings)).date().isoformat()


def _configuration_here() -> Path:
    for path in (DEFAULT_CONFIGURATION, DEMO_CONFIGURATION):
        if path.exists() and is_reachable(load_settings(path).run):
            return path
    return DEFAULT_CONFIGURATION


async def _ask_status(settings: Settings) -> object:
    control = ControlClient(endpoints_of(settings.run).control)
    try:
        return await control.request(Status(), ANSWER_S)
    finally:
        control.close()
