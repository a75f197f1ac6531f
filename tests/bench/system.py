"""Runs the whole system against the simulated broker, started by its own command in a folder, and queries it from
outside.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from bus.commands import ProcessStatus, Status, StatusReply
from bus.control import ControlClient, ControlTimeoutError
from bus.endpoints import Address, Endpoints
from observer.base.clock import CLOCK_VARIABLE, HeldClock, ScaledClock
from observer.base.local_time import local_ns
from observer.base.signals import stop_process
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.store.engine import migrate
from observer.system.config import load_settings
from tests.bench.child import BenchError

_DEMO: Final = DemoConfiguration(symbols=60, seed=7)
_START_S: Final = 60.0
_BOOT_S: Final = 180.0  # every process starts at once, perhaps on a busy machine; the market stands still meanwhile
ANSWER_S: Final = 3.0
_STOP_S: Final = 60.0
_POLL_S: Final = 0.05


class RunningSystem(msgspec.Struct, frozen=True):
    """A running system: its supervisor, control socket, database, clock and feed."""

    pid: int
    control: ControlClient
    database: Path
    clock: ScaledClock
    feed: Address

    async def processes(self) -> dict[str, ProcessStatus]:
        """The running processes by name; empty while the supervisor does not answer."""
        with contextlib.suppress(ControlTimeoutError):
            reply = await self.control.request(Status(), ANSWER_S)
            if isinstance(reply, StatusReply):
                return {process.name: process for process in reply.processes}
        return {}

    async def until(
        self, condition: Callable[[dict[str, ProcessStatus]], bool], what: str, limit_s: float = _START_S
    ) -> dict[str, ProcessStatus]:
        """Poll the processes until the condition holds.

        Raises:
            BenchError: it did not hold within `limit_s`.
        """
        end_s = time.monotonic() + limit_s
        while not condition(processes := await self.processes()):
            if time.monotonic() > end_s:
                raise BenchError(f"not within {limit_s:g} s: {what}")
            await asyncio.sleep(_POLL_S)
        return processes


def all_run(processes: dict[str, ProcessStatus]) -> bool:
    """Whether every process is ready."""
    return bool(processes) and all(process.state == "RUNNING" for process in processes.values())


@contextlib.asynccontextmanager
async def running_system(
    folder: Path,
    hour: int,
    minute: int,
    speed: float,
    market: Mapping[str, object] = {},
    demo: DemoConfiguration = _DEMO,
    sections: Mapping[str, Mapping[str, object]] = {},
) -> AsyncIterator[RunningSystem]:
    """Run `observer run` in `folder`, which is created, on the demo day from this Korean time on, at which the clock
    stands until all processes are ready.

    `market` has simulator settings beyond the configuration of `demo`, `sections` further sections.

    Raises:
        BenchError: it did not come up; its log is quoted.
    """
    configuration = _configured(folder, demo, market, sections)
    settings = load_settings(configuration)
    migrate(settings.store.url)  # as on any day but the first
    clock = HeldClock(local_ns(DAY, hour, minute), folder / "clock", speed)
    log_path = folder / "run.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("observer")),
            *("run", "--config", str(configuration)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, CLOCK_VARIABLE: clock.to_variable()},
        )
    endpoints = Endpoints(Path(settings.run.runtime))
    control = ControlClient(endpoints.control)
    system = RunningSystem(process.pid, control, folder / "data" / "observer.db", clock, endpoints.feed)
    try:
        try:
            await system.until(all_run, "every process runs", _BOOT_S)
        except BenchError as error:
            raise BenchError(f"{error}; the log says: {log_path.read_text()[-500:]}") from None
        clock.start()
        yield system
    finally:
        control.close()
        await stop_process(process, _STOP_S)


def _configured(
    folder: Path,
    demo: DemoConfiguration,
    market: Mapping[str, object],
    sections: Mapping[str, Mapping[str, object]],
) -> Path:
    folder.mkdir(mode=0o700)
    configuration = write_demo_configuration(folder, demo)
    document = msgspec.toml.decode(configuration.read_bytes(), type=dict[str, dict[str, object]])
    document["simulator"].update(market)
    document |= {name: dict(section) for name, section in sections.items()}
    configuration.write_text(tomli_w.dumps(document))
    return configuration
