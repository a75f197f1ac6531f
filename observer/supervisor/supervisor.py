"""Starts children in order, keeps them, stops them in reverse, and answers for them on the control socket.

Nothing here knows what the children are for, and nothing runs on market time.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, Self

from bus.commands import (
    Heartbeat,
    Ready,
    Refused,
    Reply,
    Request,
    Restart,
    Shutdown,
    Start,
    Status,
    StatusReply,
    Stop,
    Stopping,
    UnderWay,
)
from bus.control import ControlServer
from observer.supervisor.child import Child
from observer.supervisor.instance import InstanceLock
from observer.supervisor.keeper import Keeper, Listener, Outcome, Surroundings, Verb
from observer.supervisor.leftovers import Leftovers
from observer.supervisor.limits import HostLimits
from observer.supervisor.process import Lifeline
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.rounds import Rounds

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 0.8  # a command is answered within a second: with its result, or that it is under way


class Supervisor:
    """Supervises children from `async with` to its end, or for the length of `run_until`.

    Args:
        children: what to run; asked once, at the beginning.
        runtime_directory: private to this user; holds the instance lock and the list of what runs.
        control_address: where commands, `Ready` and heartbeats arrive (`bus.endpoints.Endpoints.control`).
        listener: told of every change of state, and when the machine becomes too small.
        extend_status: phase of the day and market time in ns, for `StatusReply`; the supervisor has none of its own.
        limits: back-off and intensity, for each child by itself.
        host_limits: from where on the listener is told that the machine becomes too small.
        disk: a folder on the disk that must not become full; the runtime directory when it is not given.
        monotonic: machine seconds.
        chance: for the jitter of restarts.
    """

    def __init__(
        self,
        children: Callable[[], Sequence[Child]],
        *,
        runtime_directory: Path,
        control_address: str,
        listener: Listener,
        extend_status: Callable[[], tuple[str, int]],
        limits: RestartLimits | None = None,
        host_limits: HostLimits | None = None,
        disk: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Random | None = None,
    ) -> None:
        self._specifications = children()
        if len({child.name for child in self._specifications}) < len(self._specifications):
            raise ValueError("two children have the same name")
        self._runtime_directory = runtime_directory
        self._control_address = control_address
        self._listener = listener
        self._extend_status = extend_status
        self._limits = limits or RestartLimits()
        self._monotonic = monotonic
        self._chance = chance or Random()
        self._began_s = monotonic()
        self._keepers: dict[str, Keeper] = {}
        self._rounds = Rounds(self._keepers, listener, host_limits or HostLimits(), disk or runtime_directory)
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._services: list[asyncio.Task[None]] = []
        self._stopping = False
        self.shutdown_asked = asyncio.Event()
        """Set when somebody asked for the end over the control socket; whoever runs the supervisor obeys."""
        self.strangers = 0
        """Messages of processes that are none of our children, or no longer."""
        self.started = asyncio.Event()
        """Set when `start_all` has come to its end: each child is ready, done, or given up."""

    # --- the whole -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Take the runtime directory, end what an earlier run left, listen. Nothing is started yet.

        Raises:
            AlreadyRunningError: another supervisor works here.
            BusError: the control socket cannot be opened.
        """
        lock = InstanceLock(self._runtime_directory)
        try:
            leftovers = Leftovers(self._runtime_directory)
            for pid in await leftovers.end():
                logger.warning("ended pid %s, left over from an earlier run", pid)
            server = ControlServer(self._control_address, self._handle)
        except BaseException:
            lock.release()
            raise
        self._lock, self._server, self._lifeline = lock, server, Lifeline()
        self._employ_keepers(leftovers)
        self._services = [asyncio.create_task(server.serve()), asyncio.create_task(self._rounds.run())]
        return self

    def _employ_keepers(self, leftovers: Leftovers) -> None:
        around = Surroundings(self._lifeline, leftovers, self._listener, self._limits, self._monotonic, self._chance)
        for child in sorted(self._specifications, key=lambda child: child.order):
            keeper = self._keepers[child.name] = Keeper(child, around)
            self._keeping[child.name] = asyncio.create_task(keeper.run())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all children and let go of everything."""
        try:
            await self.stop_all()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._server.close()
            self._lifeline.close()
            self._lock.release()

    @property
    def _tasks(self) -> list[asyncio.Task[None]]:
        """What works for as long as the supervisor does; none of them ends before but by a mistake of ours."""
        return [*self._keeping.values(), *self._services]

    async def run_until(
        self, stopping: asyncio.Event, beside: AbstractAsyncContextManager[object] | None = None
    ) -> None:
        """Start all, keep them until `stopping` is set or a shutdown is asked for, stop all.

        `beside` is entered before anything is started and left before anything is stopped.

        Raises:
            AlreadyRunningError: another supervisor works in this runtime directory.
            BusError: the control socket cannot be opened.
        """
        async with self, beside or nullcontext():
            starting = asyncio.create_task(self.start_all())
            ends = [asyncio.create_task(_wait(event)) for event in (stopping, self.shutdown_asked)]
            try:
                await asyncio.wait([*ends, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (starting, *ends):
                    task.cancel()
                await asyncio.gather(starting, *ends, return_exceptions=True)
            for task in (starting, *self._tasks):
                if task.done() and not task.cancelled():
                    task.result()  # raises our mistake, which then stops all

    async def start_all(self) -> None:
        """Start group after group; the next when each of this one is ready, done, or given up.

        A child that is given up holds nobody back: its state says so, and the others can do their part without it.
        """
        for group in _by_order(self._keepers.values()):
            if self._stopping:
                return
            await asyncio.gather(*(_start_and_settle(keeper) for keeper in group))
        self.started.set()

    async def stop_all(self) -> None:
        """Stop group after group in the reverse order; a group when nothing of the later ones is left."""
        self._stopping = True
        for group in reversed(list(_by_order(self._keepers.values()))):
            await asyncio.gather(*(self._stop_or_skip(keeper) for keeper in group))

    async def _stop_or_skip(self, keeper: Keeper) -> None:
        """A keeper that died of a mistake of ours answers no more: its process is left to the lifeline."""
        stopped = asyncio.create_task(_wait_for(keeper.ask("stop")))
        await asyncio.wait([stopped, self._keeping[keeper.child.name]], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    # --- one child -----------------------------------------------------------------------------------------

    async def start(self, name: str) -> Outcome:
        """Start a child that is not running; Done when it is ready."""
        return await self._ask("start", name)

    async def stop(self, name: str) -> Outcome:
        """Stop a child and keep it stopped; Done when nothing of it is left."""
        return await self._ask("stop", name)

    async def restart(self, name: str) -> Outcome:
        """Stop a child and start it again, alone; Done when it is ready. Joins a start that is under way."""
        return await self._ask("restart", name)

    async def _ask(self, verb: Verb, name: str) -> Outcome:
        keeper = self._keepers.get(name)
        if keeper is None:
            return Refused("unknown_process", f"no process is named {name!r}; there are {', '.join(self._keepers)}")
        if self._stopping and verb != "stop":
            return Refused("shutting_down", "everything is being stopped")
        return await keeper.ask(verb)

    def status(self) -> StatusReply:
        """What runs, in the order of its start; the figures are at most some seconds old."""
        phase, market_time_ns = self._extend_status()
        return StatusReply(
            processes=[keeper.status(self._rounds.figures.get(keeper.pid or 0)) for keeper in self._keepers.values()],
            phase=phase,
            market_time_ns=market_time_ns,
            supervisor_pid=os.getpid(),
            uptime_s=self._monotonic() - self._began_s,
        )

    # --- the control socket --------------------------------------------------------------------------------

    async def _handle(self, _identity: bytes, request: Request) -> Reply | None:
        match request:
            case Ready() | Heartbeat() | Stopping():
                return self._hear(request)
            case Status():
                return self.status()
            case Start(process):
                return await _soon(self.start(process), f"starting {process}")
            case Stop(process):
                return await _soon(self.stop(process), f"stopping {process}")
            case Restart(process):
                return await _soon(self.restart(process), f"restarting {process}")
            case Shutdown():
                self.shutdown_asked.set()
                return UnderWay("stopping everything")

    def _hear(self, message: Ready | Heartbeat | Stopping) -> Refused | None:
        keeper = self._keepers.get(message.process)
        if keeper is None or not _pass_on(message, keeper):
            self.strangers += 1
            return Refused("not_supervised", f"pid {message.pid} is not the running {message.process}")
        return None


def _pass_on(message: Ready | Heartbeat | Stopping, keeper: Keeper) -> bool:
    match message:
        case Ready(_, pid):
            return keeper.hear("ready", pid)
        case Stopping(_, pid):
            return keeper.hear("leaving", pid)
        case Heartbeat(_, pid, loop_lag_s, progress):
            return keeper.hear_heartbeat(pid, loop_lag_s, progress)


def _by_order(keepers: Iterable[Keeper]) -> Iterator[list[Keeper]]:
    """Groups of equal order; the keepers are sorted by it."""
    for _, group in groupby(keepers, key=lambda keeper: keeper.child.order):
        yield list(group)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _wait_for(outcome: Awaitable[Outcome]) -> None:
    await outcome


async def _start_and_settle(keeper: Keeper) -> None:
    await keeper.ask("start")
    await keeper.settled()


async def _soon(outcome: Awaitable[Outcome], what: str) -> Outcome | UnderWay:
    """The outcome if it is known within `ANSWER_WITHIN_S`; it goes on when not."""
    task = asyncio.ensure_future(outcome)
    done, _ = await asyncio.wait([task], timeout=ANSWER_WITHIN_S)
    return task.result() if done else UnderWay(f"{what}: ask for the status")
