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
    HostRequest,
    Order,
    OrderReply,
    Ready,
    Refused,
    ReloadReply,
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
from bus.control import ControlServer, ControlTimeoutError
from bus.endpoints import Address
from observer.supervisor.child import Child
from observer.supervisor.instance import InstanceLock
from observer.supervisor.keeper import Keeper, Listener, Outcome, Surroundings, Verb
from observer.supervisor.leftovers import Leftovers
from observer.supervisor.limits import HostLimits
from observer.supervisor.process import Lifeline
from observer.supervisor.reload import ReloadPlan, plan_reload, refuse_namesakes
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.rounds import Rounds
from observer.supervisor.states import State

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 0.8  # a command is answered within a second: with its result, or that it is under way


class Supervisor:
    """Supervises children from `async with` to its end, or for the length of `run_until`.

    Args:
        children: what to run; asked once, at the beginning; `reload` is told the rest.
        runtime_directory: private to this user; holds the instance lock and the list of what runs.
        control_address: where commands, `Ready` and heartbeats arrive (`bus.endpoints.Endpoints.control`).
        listener: told of every change of state, and when the machine becomes too small.
        extend_status: phase of the day and market time in ns, for `StatusReply`; the supervisor has none of its own.
        limits: back-off and intensity, for each child by itself.
        host_limits: from where on the listener is told that the machine becomes too small.
        disk: a folder on the disk that must not become full; the runtime directory when it is not given.
        orders: answers what is asked of the whole or of the work that children do (`reload` and `order` are its means);
            without it that is refused.
        monotonic: machine seconds.
        chance: for the jitter of restarts.
    """

    def __init__(
        self,
        children: Callable[[], Sequence[Child]],
        *,
        runtime_directory: Path,
        control_address: Address,
        listener: Listener,
        extend_status: Callable[[], tuple[str, int]],
        limits: RestartLimits | None = None,
        host_limits: HostLimits | None = None,
        disk: Path | None = None,
        orders: Callable[[HostRequest], Awaitable[Reply]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Random | None = None,
    ) -> None:
        self._specifications = children()
        refuse_namesakes(self._specifications)
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
        self._orders = orders or _refuse_orders
        self._addresses: dict[str, tuple[int, bytes]] = {}  # of each child that spoke: its pid then, and its identity
        self._reloading: asyncio.Task[list[str]] | None = None
        self._broken = asyncio.Event()  # a task of ours ended by itself: a mistake
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
        self._around = Surroundings(
            self._lifeline, leftovers, self._listener, self._limits, self._monotonic, self._chance
        )
        self._employ(self._specifications)
        self._services = [asyncio.create_task(server.serve()), asyncio.create_task(self._rounds.run())]
        for task in self._services:
            task.add_done_callback(self._note_end)
        return self

    def _employ(self, children: Iterable[Child]) -> None:
        """A keeper for each of these, in its place in the order of start."""
        for child in children:
            keeper = self._keepers[child.name] = Keeper(child, self._around)
            self._keeping[child.name] = asyncio.create_task(keeper.run())
            self._keeping[child.name].add_done_callback(self._note_end)
        in_order = sorted(self._keepers.values(), key=lambda keeper: keeper.child.order)
        self._keepers.clear()
        self._keepers.update({keeper.child.name: keeper for keeper in in_order})

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._broken.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all children and let go of everything."""
        try:
            await self.stop_all()
        finally:
            tasks = [*self._tasks, *([self._reloading] if self._reloading else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
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
            ends = [asyncio.create_task(_wait(event)) for event in (stopping, self.shutdown_asked, self._broken)]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
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
            return self._unknown(name)
        if self._stopping and verb != "stop":
            return Refused("shutting_down", "everything is being stopped")
        return await keeper.ask(verb)

    def _unknown(self, name: str) -> Refused:
        return Refused("unknown_process", f"no process is named {name!r}; there are {', '.join(self._keepers)}")

    async def order(self, name: str, order: Order) -> OrderReply:
        """Pass an order on to the child's process and return its answer; `UnderWay` when that takes too long."""
        keeper = self._keepers.get(name)
        if keeper is None:
            return self._unknown(name)
        if keeper.state is not State.RUNNING:
            return Refused("not_running", f"{name} is {keeper.state}")
        pid, identity = self._addresses.get(name, (None, b""))
        if pid != keeper.pid:
            return Refused("not_an_order", f"{name} takes no orders: it does not speak over the control socket")
        try:
            return await self._server.order(identity, order, ANSWER_WITHIN_S)
        except ControlTimeoutError:
            return UnderWay(f"{name} was told and has not answered within {ANSWER_WITHIN_S:g} s: ask for the status")

    # --- all of them, anew -----------------------------------------------------------------------------------

    async def reload(self, children: Sequence[Child], *, dry_run: bool) -> ReloadReply | Refused:
        """Supervise these children from now on: those that differ are restarted, the others never notice.

        With `dry_run` the answer is all that comes of it.
        """
        refuse_namesakes(children)
        if self._stopping:
            return Refused("shutting_down", "everything is being stopped")
        if not self.started.is_set() or (self._reloading and not self._reloading.done()):
            return Refused("busy", "processes are being started or reloaded: try again when they run")
        plan = plan_reload({name: (keeper.child, keeper.state) for name, keeper in self._keepers.items()}, children)
        if dry_run:
            return plan.reply("dry_run")
        self._reloading = asyncio.create_task(self._carry_out(plan))
        done, _ = await asyncio.wait([self._reloading], timeout=ANSWER_WITHIN_S)
        if not done:
            return plan.reply("under_way")
        return plan.reply("done", self._reloading.result())

    async def _carry_out(self, plan: ReloadPlan) -> list[str]:
        """The names of those that did not come to run again."""
        for name in reversed(plan.stopped):
            await self._dismiss(name)
        for child in (*plan.restarted, *plan.at_next_start):
            self._keepers[child.name].child = child
        self._employ(plan.started)
        names = {child.name for child in (*plan.restarted, *plan.started)}
        failed: list[str] = []
        for group in _by_order([keeper for keeper in self._keepers.values() if keeper.child.name in names]):
            if self._stopping:
                return failed
            outcomes = await asyncio.gather(*(keeper.ask("restart") for keeper in group))
            pairs = zip(group, outcomes, strict=True)
            failed += [keeper.child.name for keeper, outcome in pairs if isinstance(outcome, Refused)]
        return failed

    async def _dismiss(self, name: str) -> None:
        """Stop a child that nobody wants any more, and forget it."""
        await self._keepers[name].ask("stop")
        del self._keepers[name]
        self._addresses.pop(name, None)
        self._keeping.pop(name).cancel()

    # --- the control socket --------------------------------------------------------------------------------

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

    async def _handle(self, identity: bytes, request: Request) -> Reply | None:
        match request:
            case Ready() | Heartbeat() | Stopping():
                return self._hear(identity, request)
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
            case _:
                return await self._orders(request)

    def _hear(self, identity: bytes, message: Ready | Heartbeat | Stopping) -> Refused | None:
        keeper = self._keepers.get(message.process)
        if keeper is None or not _pass_on(message, keeper):
            self.strangers += 1
            return Refused("not_supervised", f"pid {message.pid} is not the running {message.process}")
        self._addresses[message.process] = (message.pid, identity)
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


async def _refuse_orders(_request: HostRequest) -> Reply:
    return Refused("not_an_order", "this supervisor takes no orders beyond start, stop, restart and shutdown")


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
