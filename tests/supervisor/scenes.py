"""What the supervisor's tests share: children of a few lines, a listener to wait on, and a supervisor around them."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
import psutil

from bus.commands import HostRequest, Reply
from bus.control import ControlClient
from bus.endpoints import Endpoints
from observer.supervisor.child import Child
from observer.supervisor.limits import Crossing, HostLimits
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.states import State
from observer.supervisor.supervisor import Supervisor

DEADLINE_S = 10.0
ROOT = Path(__file__).parents[2]
SPEAKER = Path(__file__).with_name("speaker.py")
PYTHON = (sys.executable, "-S", "-E")  # without site: a script of the standard library starts in some 20 ms
IGNORES_SIGTERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\n"
SLEEPS = "import time; time.sleep(600)"
QUICK = RestartLimits(delay_first_s=0.05, delay_max_s=0.2, stable_s=5.0, restarts_max=3, window_s=30.0)


@dataclass(frozen=True)
class Change:
    name: str
    previous: State
    current: State
    pid: int | None
    reason: str


class Changes:
    """A listener that remembers, and on which a test waits."""

    def __init__(self) -> None:
        self.all: list[Change] = []
        self.crossings: list[Crossing] = []
        self._event = asyncio.Event()

    def on_change(self, name: str, previous: State, current: State, pid: int | None, reason: str) -> None:
        self.all.append(Change(name, previous, current, pid, reason))
        self._event.set()
        self._event = asyncio.Event()

    def on_crossing(self, crossing: Crossing) -> None:
        self.crossings.append(crossing)
        self._event.set()

    def states(self, name: str) -> list[State]:
        return [change.current for change in self.all if change.name == name]

    def order_of(self, state: State) -> list[str]:
        return [change.name for change in self.all if change.current is state]

    async def until(self, name: str, state: State, count: int = 1) -> Change:
        """The `count`-th time that the child came into the state."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = [change for change in self.all if change.name == name and change.current is state]
                if len(found) >= count:
                    return found[count - 1]
                await self._event.wait()


@dataclass(frozen=True)
class Scene:
    supervisor: Supervisor
    changes: Changes
    client: ControlClient
    folder: Path

    def pids(self) -> dict[str, int | None]:
        return {process.name: process.pid for process in self.supervisor.status().processes}

    def pid(self, name: str) -> int:
        pid = self.pids()[name]
        assert pid is not None
        return pid

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


def supervisor_of(
    folder: Path,
    children: Sequence[Child],
    limits: RestartLimits = QUICK,
    chance: Random | None = None,
    host_limits: HostLimits | None = None,
    orders: Callable[[HostRequest], Awaitable[Reply]] | None = None,
) -> tuple[Supervisor, Changes]:
    endpoints = Endpoints(folder / "run")
    changes = Changes()
    supervisor = Supervisor(
        lambda: children,
        runtime_directory=endpoints.runtime_directory,
        control_address=endpoints.control,
        listener=changes,
        extend_status=lambda: ("IDLE", 1_795_000_000_000_000_000),
        limits=limits,
        chance=chance or Random(1),
        host_limits=host_limits,
        orders=orders,
    )
    return supervisor, changes


@contextlib.asynccontextmanager
async def supervised(folder: Path, children: Sequence[Child], limits: RestartLimits = QUICK) -> AsyncIterator[Scene]:
    """A supervisor that listens and has started nothing yet; at the end nothing of it is left."""
    supervisor, changes = supervisor_of(folder, children, limits)
    client = ControlClient(Endpoints(folder / "run").control)
    try:
        async with asyncio.timeout(3 * DEADLINE_S), supervisor:
            yield Scene(supervisor, changes, client, folder)
    finally:
        client.close()
    leaders = {change.pid for change in changes.all if change.pid}
    assert not [pid for pid in leaders if psutil.pid_exists(pid)]


def quiet(folder: Path, name: str, code: str = SLEEPS, **changes: object) -> Child:
    """A child that says nothing to us: Python code of the standard library."""
    return program(folder, name, (*PYTHON, "-c", code), **changes)


def program(folder: Path, name: str, argv: tuple[str, ...], **changes: object) -> Child:
    child = Child(name=name, argv=argv, log_path=folder / f"{name}.log", expects_ready=False, stop_grace_s=5.0)
    return msgspec.structs.replace(child, **changes)


def speaker(folder: Path, name: str, mode: str = "well", **changes: object) -> Child:
    """A child that speaks our protocol; see speaker.py for its modes."""
    argv = (sys.executable, str(SPEAKER), name, f"ipc://{folder}/run/control", mode)
    child = program(folder, name, argv, expects_ready=True, environment={"PYTHONPATH": str(ROOT)})
    return msgspec.structs.replace(child, **({"ready_deadline_s": DEADLINE_S} | changes))


async def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Look until it is so."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"never happened: {what}"
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, 9)
