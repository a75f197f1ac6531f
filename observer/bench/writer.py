"""The real core-writer, started as the supervisor starts it, alone in a folder."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import psutil
import tomli_w

from bus.endpoints import Endpoints
from observer.config import load_settings
from observer.errors import ObserverError
from observer.processes import children_of
from observer.supervisor.process import LIFELINE_VARIABLE, Lifeline

WRITER: Final = "core-writer"
_STOP_S: Final = 60.0  # folding a large log into the database file takes its time


class BenchError(ObserverError):
    """A measurement could not be made; the text says why."""


class RunningWriter(msgspec.Struct, frozen=True):
    """A writer that runs: its sockets, its database, its process."""

    endpoints: Endpoints
    database: Path
    process: psutil.Process

    @property
    def rss_bytes(self) -> int:
        """The memory that it has now."""
        return int(self.process.memory_info().rss)


@contextlib.asynccontextmanager
async def running_writer(folder: Path) -> AsyncIterator[RunningWriter]:
    """A core-writer on an empty SQLite database in `folder`, stopped in order at the end of the block.

    Raises:
        BenchError: it ended by itself; its log is quoted.
    """
    database = folder / "observer.db"
    configuration = _write_configuration(folder, database)
    settings = load_settings(configuration)
    [child] = [child for child in children_of(settings, configuration) if child.name == WRITER]
    endpoints = Endpoints(Path(settings.run.runtime))
    log_path = folder / "core-writer.log"
    lifeline = Lifeline()
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *child.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, LIFELINE_VARIABLE: str(lifeline.child_fd)},
            pass_fds=[lifeline.child_fd],
            start_new_session=True,
        )
    try:
        yield RunningWriter(endpoints, database, psutil.Process(process.pid))
    finally:
        status = await _stop(process)
        lifeline.close()
    if status != 0:
        raise BenchError(f"the writer ended with status {status}: {log_path.read_text()[-1000:]}")


async def _stop(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _write_configuration(folder: Path, database: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    path = folder / "observer.toml"
    run = {"data": str(folder / "data"), "runtime": str(folder / "run")}
    path.write_text(tomli_w.dumps({"run": run, "store": {"url": f"sqlite:///{database}"}}))
    return path
