"""`observer run`: the system against the configured broker, until it is stopped."""

import asyncio
import faulthandler
import os
from pathlib import Path
from typing import Annotated

from observer import logs
from observer.cli.context import DEFAULT_CONFIGURATION
from observer.cli.options import Option
from observer.clock import Clock, clock_from_environment
from observer.config import Settings, load_settings
from observer.host.process import NAME, Host
from observer.signals import stopping_on_signals
from observer.supervisor.notify import ServiceManager


def run(
    config: Annotated[Path, Option(help="The configuration file.")] = DEFAULT_CONFIGURATION,
) -> None:
    """Run the system until SIGTERM or ctrl-C. Against the hosts of the configuration.

    Under systemd it says when it is ready, how it does, and that it lives (Type=notify, WatchdogSec).

    Exit status 0 after an orderly stop; 2 when the configuration, the keys or the database are wrong, or when another
    process writes the database; 1 when a folder cannot be written or a port is in use: then nothing was collected.
    """
    faulthandler.enable()  # a watchdog's SIGABRT leaves the stacks in the service manager's journal
    settings = load_settings(config)
    clock = clock_from_environment()
    logs.set_up(NAME, clock, form="plain", level=settings.run.log_level, head=settings.log_head(config))
    asyncio.run(_run(settings, config, clock))


async def _run(settings: Settings, config: Path, clock: Clock) -> None:
    host = Host(settings, config, clock, ServiceManager(os.environ, os.getpid()))
    with stopping_on_signals(host.stopping):
        await host.run()
