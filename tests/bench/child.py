"""Runs one process alone, started as the supervisor starts it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from observer.base.errors import ObserverError
from observer.base.signals import stop_process
from observer.supervisor.lifeline import LIFELINE_VARIABLE, Lifeline
from observer.system.config import Settings
from observer.system.processes import children_of

_STOP_S: Final = 60.0  # folding a large log into the database file takes its time


class BenchError(ObserverError):
    """A failed measurement; the text has the reason."""


@contextlib.asynccontextmanager
async def running_child(
    name: str, settings: Settings, configuration: Path, environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process of this name with these environment variables added, stopped in order at the end of the block.

    Its log is `<name>.log` beside the configuration.

    Raises:
        BenchError: it ended by itself; its log is quoted.
    """
    [child] = [child for child in children_of(settings, configuration) if child.name == name]
    log_path = configuration.with_name(f"{name}.log")
    lifeline = Lifeline()
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *child.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, LIFELINE_VARIABLE: str(lifeline.child_fd), **environment},
            pass_fds=[lifeline.child_fd],
            start_new_session=True,
        )
    try:
        yield process
    finally:
        status = await stop_process(process, _STOP_S)
        lifeline.close()
    if status != 0:
        raise BenchError(f"{name} ended with status {status}: {log_path.read_text()[-1000:]}")
