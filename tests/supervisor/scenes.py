"""Shared by the supervisor's tests: short children, a listener to wait on, and a supervisor."""

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
from observer.supervisor.linux import data_begin
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.states import ProcessState
from observer.supervisor.supervisor import Supervisor
from observer.supervisor.surroundings import ORPHAN, SUPERVISOR, ZYGOTE
from tests.waiting import DEADLINE_S

ROOT = Path(__file__).parents[2]
CODE, SPEAKER = "tests.supervisor.code", "tests.supervisor.speaker"
PYTHON = (sys.executable, "-S", "-E")  # without site: a script of the standard library starts in some 20 ms
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ignores SIGTERM', flush=True)\n"
LIVES = "import signal\nwhile True: signal.pause()"
NO_CHILDREN = {ORPHAN, SUPERVISOR, ZYGOTE}  # names in changes
QUICK = RestartLimits(delay_first_s=0.05, delay_max_s=0.2, stable_s=5.0, restarts_max=3, window_s=30.0)


class Way:
    """How children start that are Python code of ours: as fresh interpreters, or forked by a zygote (`both_ways`)."""

    forked = False

    @classmethod
    def preload(cls) -> tuple[str, ...]:
        return (CODE, SPEAKER) if cls.forked else ()


@dataclass(frozen=True)
class Change:
    name: str
    previous: ProcessState
    current: ProcessState
    pid: int | None
    reason: str


class Changes:
    """A listener that remembers, and on which a test waits."""

    def __init__(self) -> None:
        self.all: list[Change] = []
        self.crossings: list[Crossing] = []
        self._event = asyncio.Event()

    def on_change(self, name: str, previous: ProcessState, current: ProcessState, pid: int | None, reason: str) -> None:
        self.all.append(Change(name, previous, current, pid, reason))
        self._wake()

    def on_crossing(self, crossing: Crossing) -> None:
        self.crossings.append(crossing)
        self._wake()

    def _wake(self) -> None:
        """Each waits for an event of its own: one that stays set would let `until` turn without a pause."""
        self._event.set()
        self._event = asyncio.Event()

    def states(self, name: str) -> list[ProcessState]:
        return [change.current for change in self.all if change.name == name]

    async def until(self, name: str, state: str, count: int = 1) -> Change:
        """The `count`-th time that the child came into the state."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = [change for change in self.all if change.name == name and change.current == state]
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
    rng: Random | None = None,
    host_limits: HostLimits | None = None,
    orders: Callable[[HostRequest], Awaitable[Reply]] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[Supervisor, Changes]:
    endpoints = Endpoints(folder / "run")
    changes = Changes()
    supervisor = Supervisor(
        lambda: children,
        runtime_directory=endpoints.runtime_directory,
        control_address=endpoints.control,
        listener=changes,
        extend_status=lambda _alerts: ("IDLE", 1_795_000_000_000_000_000, []),
        limits=limits,
        rng=rng or Random(1),
        host_limits=host_limits,
        orders=orders,
        monotonic=monotonic,
        preload=Way.preload(),
    )
    return supervisor, changes


@contextlib.asynccontextmanager
async def supervised(folder: Path, children: Sequence[Child], limits: RestartLimits = QUICK) -> AsyncIterator[Scene]:
    """A listening supervisor without children yet; at the end all its processes are gone."""
    supervisor, changes = supervisor_of(folder, children, limits)
    client = ControlClient(Endpoints(folder / "run").control)
    try:
        async with supervisor:
            yield Scene(supervisor, changes, client, folder)
    finally:
        client.close()
    leaders = {change.pid for change in changes.all if change.pid and change.name not in NO_CHILDREN}
    assert supervisor.zygote is None or (supervisor.zygote.pid is None and supervisor.zygote.fallbacks == 0)
    assert not [pid for pid in leaders if psutil.pid_exists(pid)]


@contextlib.asynccontextmanager
async def running(folder: Path, children: Sequence[Child], limits: RestartLimits = QUICK) -> AsyncIterator[Scene]:
    """A supervisor whose children have all been started."""
    async with supervised(folder, children, limits) as scene:
        await scene.supervisor.start_all()
        yield scene


def quiet(folder: Path, name: str, code: str = LIVES, **changes: object) -> Child:
    """A child without our protocol: Python code of the standard library."""
    argv = (sys.executable, "-P", "-m", CODE, code) if Way.forked else (*PYTHON, "-c", code)
    return program(folder, name, argv, **changes)


def program(folder: Path, name: str, argv: tuple[str, ...], **changes: object) -> Child:
    child = Child(name=name, argv=argv, log_path=folder / f"{name}.log", expects_ready=False, stop_grace_s=5.0)
    return msgspec.structs.replace(child, **changes)


def speaker(folder: Path, name: str, mode: str = "well", **changes: object) -> Child:
    """A child that speaks our protocol; see speaker.py for its modes."""
    argv = (sys.executable, "-P", "-m", SPEAKER, name, f"ipc://{folder}/run/control", mode)
    child = program(folder, name, argv, expects_ready=True, environment={"PYTHONPATH": str(ROOT)})
    return msgspec.structs.replace(child, **({"ready_deadline_s": DEADLINE_S} | changes))


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, 9)


def log_files(log: Path) -> list[bytes]:
    """What each file of a log holds, the oldest first; the present one behind its gap."""
    numbers = sorted((int(path.suffix[1:]) for path in log.parent.glob(f"{log.name}.[0-9]*")), reverse=True)
    kept = [log.with_name(f"{log.name}.{number}").read_bytes() for number in numbers]
    with log.open("rb") as present:
        present.seek(data_begin(present.fileno()))
        return [*kept, present.read()]
