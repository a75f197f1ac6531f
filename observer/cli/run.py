"""`observer run`: the system against the configured broker, until it is stopped."""

import asyncio
import contextlib
import faulthandler
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from observer.base import logs
from observer.base.clock import Clock, clock_from_environment
from observer.base.signals import stopping_on_signals
from observer.cli.context import DEFAULT_CONFIGURATION
from observer.cli.options import Option
from observer.supervisor.notify import ServiceManager
from observer.supervisor.output import open_log, rotate
from observer.system.config import Settings, load_settings
from observer.system.host import NAME, Host

ROTATION_S: Final = 60.0  # machine seconds between looks at the length of our own log

logger = logging.getLogger(__name__)


def run(
    config: Annotated[Path, Option(help="The configuration file.")] = DEFAULT_CONFIGURATION,
) -> None:
    """Run the system until SIGTERM or ctrl-C. Against the hosts of the configuration.

    Under systemd it says when it is ready, how it does, and that it lives (Type=notify, WatchdogSec). Its log goes to
    stderr and, as JSON lines, to a file beside those of the processes (`observer logs`).

    Exit status 0 after an orderly stop; 2 when the configuration, the keys or the database are wrong, or when another
    process writes the database; 1 when a folder cannot be written or a port is in use: then nothing was collected.
    """
    faulthandler.enable()  # a watchdog's SIGABRT leaves the stacks in the service manager's journal
    settings = load_settings(config)
    clock = clock_from_environment()
    # A start that is refused is one line, without the head of a log.
    level, head = settings.run.log_level, settings.log_head(config)
    logs.set_up(NAME, clock, form="plain", level=level, head=head, begins=False)
    asyncio.run(_run(settings, config, clock))


async def _run(settings: Settings, config: Path, clock: Clock) -> None:
    host = Host(settings, config, clock, ServiceManager(os.environ, os.getpid()))
    with own_log(settings, clock) as path:
        rotating = asyncio.create_task(_keep_short(path, settings))
        try:
            with stopping_on_signals(host.stopping):
                await host.run()
        finally:
            rotating.cancel()


@contextlib.contextmanager
def own_log(settings: Settings, clock: Clock) -> Iterator[Path]:
    """Our log's file, which gets the log while the block runs; of a folder that refuses it the host's checks say so."""
    path = Path(settings.run.data) / "logs" / f"{NAME}.log"
    try:
        file = os.fdopen(open_log(path), "a")
    except OSError:
        yield path
        return
    with file, logs.writing_also(file, NAME, clock):
        yield path


async def _keep_short(path: Path, settings: Settings) -> None:
    """Rotate our log as the supervisor does those of its processes; until cancelled."""
    limits, failed = settings.supervision, False
    while True:
        await asyncio.sleep(ROTATION_S)
        try:
            await asyncio.to_thread(rotate, path, limits.log_bytes_max, limits.logs_kept)
        except OSError as error:
            if not failed:
                logger.error("cannot rotate %s, which goes on growing: %s", path, error)
            failed = True
        else:
            failed = False
