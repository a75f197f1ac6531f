"""The real core-writer, started as the supervisor starts it, alone in a folder."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import psutil
import tomli_w

from bus.endpoints import Endpoints
from observer.system.config import load_settings
from tests.bench.child import running_child

WRITER: Final = "core-writer"


class RunningWriter(msgspec.Struct, frozen=True):
    """A running writer: its sockets, the SQLite database in its folder, its process."""

    endpoints: Endpoints
    database: Path
    process: psutil.Process

    @property
    def rss_bytes(self) -> int:
        """The current memory in bytes."""
        return int(self.process.memory_info().rss)


@contextlib.asynccontextmanager
async def running_writer(folder: Path, url: str | None = None) -> AsyncIterator[RunningWriter]:
    """A core-writer on the database of this URL, or on an empty SQLite one in `folder`, stopped in order at the end of
    the block.

    Raises:
        BenchError: it ended by itself; its log is quoted.
    """
    database = folder / "observer.db"
    configuration = _write_configuration(folder, url or f"sqlite:///{database}")
    settings = load_settings(configuration)
    async with running_child(WRITER, settings, configuration, {}) as process:
        yield RunningWriter(Endpoints(Path(settings.run.runtime)), database, psutil.Process(process.pid))


def _write_configuration(folder: Path, url: str) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    path = folder / "observer.toml"
    run = {"data": str(folder / "data"), "runtime": str(folder / "run")}
    path.write_text(tomli_w.dumps({"run": run, "store": {"url": url}}))
    return path
