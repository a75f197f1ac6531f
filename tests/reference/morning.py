"""A morning: the simulated broker, the writer, the tokens and the reference jobs, real processes without supervisor."""

import asyncio
import contextlib
import json
import os
import signal
import time
import tomllib
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import tomli_w

from observer.base.clock import CLOCK_VARIABLE, ScaledClock
from observer.base.local_time import local_ns
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.store.reader import StoreReader
from observer.system.config import Settings, load_settings
from tests import waiting
from tests.bench.child import BenchError, running_child
from tests.waiting import DEADLINE_S

POLL_S = 0.02
MASTER_FILE = "master-file"


class Morning:
    """The processes that run in a folder, and access to their output."""

    def __init__(self, folder: Path, clock: ScaledClock) -> None:
        self.configuration = folder / "observer.toml"
        self.settings: Settings = load_settings(self.configuration)
        self._environment = {CLOCK_VARIABLE: clock.to_variable()}
        self._stack = contextlib.AsyncExitStack()
        self._master: contextlib.AsyncExitStack | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.reader: StoreReader

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        for name in ("simulator", "core-writer", "accounts"):
            await self._stack.enter_async_context(self._child(name))
        await self.until(self._is_there, "the database is there")
        self.reader = self._stack.enter_context(StoreReader(self.settings.store.url))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await self.kill()
        await self._stack.aclose()

    async def start(self) -> None:
        """Start the process of the reference jobs."""
        self._master = contextlib.AsyncExitStack()
        self._process = await self._master.enter_async_context(self._child(MASTER_FILE))

    async def kill(self) -> None:
        """Kill it, as a power cut would."""
        assert self._process is not None
        assert self._master is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process = None
        with contextlib.suppress(BenchError):  # that it was killed is what it ends with
            await self._master.aclose()

    async def until(self, condition: Callable[[], object], what: str, within_s: float = waiting.DEADLINE_S) -> None:
        """Wait in a thread: the condition queries the database or the broker, so it runs rarely and off the loop."""
        await asyncio.to_thread(waiting.until, condition, what, within_s, POLL_S)

    def count(self, table: str) -> int:
        return self.reader.row_counts()[table]

    def counters(self) -> dict[str, Any]:
        """The broker's counters."""
        with urllib.request.urlopen(
            f"{self.settings.broker.rest_url}/simulator/counters", timeout=DEADLINE_S
        ) as answer:
            reported: dict[str, Any] = json.loads(answer.read())
            return reported

    def _child(self, name: str) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
        return running_child(name, self.settings, self.configuration, self._environment)

    def _is_there(self) -> bool:
        with contextlib.suppress(Exception), StoreReader(self.settings.store.url):
            return True
        return False


@contextlib.asynccontextmanager
async def morning(
    folder: Path, *, symbols: int, speed: float, calls_per_second: float, begins: tuple[int, int] = (8, 4)
) -> AsyncIterator[Morning]:
    """The market day's morning from `begins` on; the universe is due at 08:05."""
    (folder / "data").mkdir(mode=0o700, parents=True)
    configuration = write_demo_configuration(folder, DemoConfiguration(symbols=symbols, seed=7))
    document = tomllib.loads(configuration.read_text())
    document["simulator"]["rest_limit_per_s"] = round(calls_per_second)
    document["kis"]["rate_limit"] = {"calls_per_second": calls_per_second}
    configuration.write_text(tomli_w.dumps(document))
    clock = ScaledClock(local_ns(DAY, *begins), time.monotonic_ns(), speed)
    async with Morning(folder, clock) as day:
        yield day
