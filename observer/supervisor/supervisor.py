"""Starts children in order, keeps them, stops them in reverse, and answers for them on the control socket.

The supervisor does not know the children's work, and nothing runs on market time.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from itertools import groupby
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from bus.commands import (
    Heartbeat,
    HostRequest,
    OpenAlert,
    Order,
    OrderReply,
    Ready,
    Refused,
    ReloadReply,
    Reply,
    Request,
    Restart,
    Sample,
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
from observer.base.errors import did_you_mean
from observer.supervisor.child import Child
from observer.supervisor.child_monitor import ChildMonitor, Outcome, Verb
from observer.supervisor.containment import ContainedRun
from observer.supervisor.instance import InstanceLock
from observer.supervisor.lifeline import Lifeline
from observer.supervisor.limits import HostFigures, HostLimits
from observer.supervisor.monitor_loop import MonitorLoop
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.reload import ReloadPlan, plan_reload, refuse_namesakes
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.states import ProcessState
from observer.supervisor.surroundings import ZYGOTE, SupervisorListener, Surroundings, report_change
from observer.supervisor.zygote import Zygote

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 0.8  # a command is answered within a second: with its result, or that it is under way


class Supervisor:
    """Supervises children from `async with` to its end, or for the length of `run_until`.

    Args:
        children: the initial children, read once at the start; `reload` takes later ones.
        runtime_directory: private to this user; holds the instance lock and the pid registry.
        control_address: where commands, `Ready` and heartbeats arrive (`bus.endpoints.Endpoints.control`).
        listener: receives every change of state and every crossing of a host limit.
        extend_status: of the children's open alerts: phase of the day, market time in ns and all alerts, for
            `StatusReply`; the supervisor has none of its own.
        limits: back-off and intensity, for each child by itself.
        host_limits: limits of the machine's resources; the listener receives each crossing.
        disk: a folder on the disk that must not become full; the runtime directory when it is not given.
        orders: answers what is asked of the whole or of the work that children do (`reload` and `order` are its means);
            without it that is refused.
        preload: what the zygote loads (`zygote.Zygote`); without it every child is a fresh process.
        status_metrics: the children's figures that `StatusReply` carries.
        monotonic: machine seconds.
        chance: for the jitter of restarts.
    """

    def __init__(
        self,
        children: Callable[[], Sequence[Child]],
        *,
        runtime_directory: Path,
        control_address: Address,
        listener: SupervisorListener,
        extend_status: Callable[[Mapping[str, Sequence[OpenAlert] | None]], tuple[str, int, list[OpenAlert]]],
        limits: RestartLimits | None = None,
        host_limits: HostLimits | None = None,
        disk: Path | None = None,
        orders: Callable[[HostRequest], Awaitable[Reply]] | None = None,
        preload: Sequence[str] = (),
        status_metrics: Collection[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self._specifications = children()
        refuse_namesakes(self._specifications)
        self._runtime_directory = runtime_directory
        self._control_address = control_address
        self._listener = listener
        self._extend_status = extend_status
        self._limits = limits or RestartLimits()
        self._preload = preload
        self._status_metrics = status_metrics
        self._monotonic = monotonic
        self._rng = rng or Random()
        self._began_s = monotonic()
        self._monitors: dict[str, ChildMonitor] = {}
        self._pid_registry = PidRegistry(runtime_directory)
        self._monitor_loop = MonitorLoop(
            self._monitors, listener, host_limits or HostLimits(), disk or runtime_directory, self._pid_registry
        )
        self._run = ContainedRun(runtime_directory, self._pid_registry, listener)
        self.zygote: Zygote | None = None
        self._monitoring: dict[str, asyncio.Task[None]] = {}
        self._services: list[asyncio.Task[None]] = []
        self._stopping = False
        self._orders = orders or _refuse_orders
        self._addresses: dict[str, tuple[int, bytes]] = {}  # of each child that spoke: its pid then, and its identity
        self._reloading: asyncio.Task[list[str]] | None = None
        self._broken = asyncio.Event()  # one of our tasks ended by itself: an error
        self.shutdown_asked = asyncio.Event()
        """Set by a shutdown request over the control socket, or by the host: no further group starts, all stops."""
        self.started = asyncio.Event()
        """Set at the end of `start_all`: each child is ready, done, or given up."""

    # --- the whole -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Lock the runtime directory, end the leftovers of an earlier run, listen. Starts no child.

        Raises:
            AlreadyRunningError: another supervisor works here.
            BusError: the control socket cannot be opened.
        """
        lock = InstanceLock(self._runtime_directory)
        try:
            containment = await self._run.begin()
            server = ControlServer(self._control_address, self._handle)
        except BaseException:
            await self._run.end()
            lock.release()
            raise
        self._lock, self._server, self._lifeline = lock, server, Lifeline()
        report = partial(report_change, self._listener, ZYGOTE, ProcessState.EXITED)
        self.zygote = Zygote(self._preload, self._pid_registry, containment, report) if self._preload else None
        common = (self._lifeline, self._pid_registry, self._listener, self._limits, self._monotonic, self._rng)
        self._around = Surroundings(*common, containment, self.zygote)
        self._employ(self._specifications)
        self._services = [asyncio.create_task(server.serve()), asyncio.create_task(self._monitor_loop.run())]
        for task in self._services:
            task.add_done_callback(self._note_end)
        return self

    def _employ(self, children: Iterable[Child]) -> None:
        """Create a monitor for each child, at its position in the order of start."""
        for child in children:
            monitor = self._monitors[child.name] = ChildMonitor(child, self._around)
            self._monitoring[child.name] = asyncio.create_task(monitor.run())
            self._monitoring[child.name].add_done_callback(self._note_end)
        in_order = sorted(self._monitors.values(), key=lambda monitor: monitor.child.order)
        self._monitors.clear()
        self._monitors.update({monitor.child.name: monitor for monitor in in_order})

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._broken.set()

    @property
    def refused_requests(self) -> int:
        """Requests that the control socket refused, until now."""
        return self._server.refused if self._services else 0

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all children and release everything."""
        try:
            await self.stop_all()
        finally:
            tasks = [*self._tasks, *([self._reloading] if self._reloading else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._server.close()
            if self.zygote is not None:
                self.zygote.close()
            self._lifeline.close()
            await self._run.end()
            self._lock.release()

    @property
    def _tasks(self) -> list[asyncio.Task[None]]:
        """The supervisor's own tasks; an early end of one is a programming error."""
        return [*self._monitoring.values(), *self._services]

    async def run_until(
        self, stopping: asyncio.Event, beside: AbstractAsyncContextManager[object] | None = None
    ) -> None:
        """Start all, keep them until `stopping` is set or a shutdown is asked for, stop all.

        `beside` is entered before the first start and left before the first stop.

        Raises:
            AlreadyRunningError: another supervisor works in this runtime directory.
            BusError: the control socket cannot be opened.
        """
        async with self, beside or nullcontext():
            starting = asyncio.create_task(self.start_all())
            ends = [asyncio.create_task(event.wait()) for event in (stopping, self.shutdown_asked, self._broken)]
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
        """Start group after group; the next one when each child of this one is ready, done, or given up.

        A child that is given up delays no other: its state shows it, and the others can work without it.
        """
        self._run.report()
        for group in _by_order(self._monitors.values()):
            if self._stopping or self.shutdown_asked.is_set():
                return
            await asyncio.gather(*(_start_and_settle(monitor) for monitor in group))
        self.started.set()

    async def stop_all(self) -> None:
        """Stop group after group in reverse order, each once the later ones are gone."""
        self._stopping = True
        for group in reversed(list(_by_order(self._monitors.values()))):
            await asyncio.gather(*(self._stop_or_skip(monitor) for monitor in group))

    async def _stop_or_skip(self, monitor: ChildMonitor) -> None:
        """Stop a child, unless its monitor failed by a programming error: then the lifeline ends the process."""
        ends: list[asyncio.Future[Any]] = [monitor.ask("end"), self._monitoring[monitor.child.name]]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    # --- one child -----------------------------------------------------------------------------------------

    async def start(self, name: str) -> Outcome:
        """Start a child that is not running; Done when it is ready."""
        return await self._ask("start", name)

    async def stop(self, name: str) -> Outcome:
        """Stop a child and keep it stopped; Done when all its processes are gone."""
        return await self._ask("stop", name)

    async def restart(self, name: str) -> Outcome:
        """Stop a child and start it again, alone; Done when it is ready. Joins a start that is under way."""
        return await self._ask("restart", name)

    async def _ask(self, verb: Verb, name: str) -> Outcome:
        monitor = self._monitors.get(name)
        if monitor is None:
            return self._unknown(name)
        if self._stopping and verb != "stop":
            return Refused("shutting_down", "everything is being stopped")
        return await monitor.ask(verb)

    def _unknown(self, name: str) -> Refused:
        return Refused("unknown_process", f"no process is named {name!r}{did_you_mean(name, self._monitors)}")

    async def order(self, name: str, order: Order) -> OrderReply:
        """Pass an order on to the child's process and return its answer; `UnderWay` when that takes too long."""
        monitor = self._monitors.get(name)
        if monitor is None:
            return self._unknown(name)
        if monitor.state is not ProcessState.RUNNING:
            return Refused("not_running", f"{name} is {monitor.state}")
        pid, identity = self._addresses.get(name, (None, b""))
        if pid != monitor.pid:
            return Refused("not_an_order", f"{name} takes no orders: it does not speak over the control socket")
        try:
            return await self._server.order(identity, order, ANSWER_WITHIN_S)
        except ControlTimeoutError:
            return UnderWay(
                f"{name} has the command and has not answered within {ANSWER_WITHIN_S:g} s: see `observer status`"
            )

    # --- all of them, anew -----------------------------------------------------------------------------------

    async def reload(self, children: Sequence[Child], *, dry_run: bool) -> ReloadReply | Refused:
        """Supervise these children from now on: changed ones are restarted, the others keep running.

        With `dry_run`, only return the plan.
        """
        refuse_namesakes(children)
        if self._stopping:
            return Refused("shutting_down", "everything is being stopped")
        if not self.started.is_set() or (self._reloading and not self._reloading.done()):
            return Refused("busy", "processes are being started or reloaded: try again when they run")
        plan = plan_reload({name: (monitor.child, monitor.state) for name, monitor in self._monitors.items()}, children)
        if dry_run:
            return plan.reply("dry_run")
        self._reloading = asyncio.create_task(self._carry_out(plan))
        done, _ = await asyncio.wait([self._reloading], timeout=ANSWER_WITHIN_S)
        if not done:
            return plan.reply("under_way")
        return plan.reply("done", self._reloading.result())

    async def _carry_out(self, plan: ReloadPlan) -> list[str]:
        """Carry out the plan; return the names of children that did not run again."""
        for name in reversed(plan.stopped):
            await self._dismiss(name)
        for child in (*plan.restarted, *plan.at_next_start):
            self._monitors[child.name].child = child
        self._employ(plan.started)
        names = {child.name for child in (*plan.restarted, *plan.started)}
        failed: list[str] = []
        for group in _by_order([monitor for monitor in self._monitors.values() if monitor.child.name in names]):
            if self._stopping:
                return failed
            outcomes = await asyncio.gather(*(monitor.ask("restart") for monitor in group))
            pairs = zip(group, outcomes, strict=True)
            failed += [monitor.child.name for monitor, outcome in pairs if isinstance(outcome, Refused)]
        return failed

    async def _dismiss(self, name: str) -> None:
        """Stop a child that is no longer configured, and forget it."""
        await self._monitors[name].ask("stop")
        del self._monitors[name]
        self._addresses.pop(name, None)
        self._monitoring.pop(name).cancel()

    # --- the control socket --------------------------------------------------------------------------------

    def status(self) -> StatusReply:
        """The status of all children, in the order of start; figures are at most some seconds old."""
        phase, market_time_ns, alerts = self._extend_status(self.alerts())
        return StatusReply(
            processes=[
                monitor.status(self._monitor_loop.figures.get(monitor.pid or 0)) for monitor in self._monitors.values()
            ],
            phase=phase,
            market_time_ns=market_time_ns,
            supervisor_pid=os.getpid(),
            uptime_s=self._monotonic() - self._began_s,
            zygote_fallbacks=self.zygote.fallbacks if self.zygote is not None else 0,
            alerts=alerts,
            orphans_ended=self._run.ended + sum(monitor.orphans for monitor in self._monitors.values()),
            is_contained=self._run.has_cgroup,
            samples={
                name: [each for each in samples if each.metric in self._status_metrics]
                for name, samples in self.samples().items()
            },
        )

    def alerts(self) -> Mapping[str, Sequence[OpenAlert] | None]:
        """The open alerts in each child's last heartbeat, by its name; None of one that has sent none."""
        return {name: monitor.alerts for name, monitor in self._monitors.items()}

    def samples(self) -> Mapping[str, Sequence[Sample]]:
        """The figures in each running child's last heartbeat, by its name."""
        return {name: monitor.samples for name, monitor in self._monitors.items() if monitor.samples}

    @property
    def host_figures(self) -> HostFigures | None:
        """The machine's figures of the last check; None before the first."""
        return self._monitor_loop.host_figures

    async def _handle(self, identity: bytes, request: Request) -> Reply | None:
        match request:
            case Ready() | Heartbeat() | Stopping():
                return self._receive(identity, request)
            case Status():
                return self.status()
            case Start(process):
                return await _soon(self.start(process), f"starting {process}", ANSWER_WITHIN_S)
            case Stop(process):
                return await _soon(self.stop(process), f"stopping {process}", ANSWER_WITHIN_S)
            case Restart(process):
                return await _soon(self.restart(process), f"restarting {process}", ANSWER_WITHIN_S)
            case Shutdown():
                self.shutdown_asked.set()
                return UnderWay("stopping everything")
            case _:
                return await self._orders(request)

    def _receive(self, identity: bytes, message: Ready | Heartbeat | Stopping) -> Refused | None:
        monitor = self._monitors.get(message.process)
        if monitor is None or not monitor.hear(message):
            return Refused("not_supervised", f"pid {message.pid} is not the running {message.process}")
        self._addresses[message.process] = (message.pid, identity)
        return None


async def _refuse_orders(_request: HostRequest) -> Reply:
    """Refuse what a supervisor without a host cannot do."""
    return Refused("not_an_order", "this supervisor takes no orders beyond start, stop, restart and shutdown")


async def _start_and_settle(monitor: ChildMonitor) -> None:
    """Start a child, and wait until it is ready, done, or given up."""
    await monitor.ask("start")
    await monitor.settled()


async def _soon(outcome: Awaitable[Outcome], what: str, within_s: float) -> Outcome | UnderWay:
    """The outcome within so many seconds, else `UnderWay`; the work goes on."""
    task = asyncio.ensure_future(outcome)
    done, _ = await asyncio.wait([task], timeout=within_s)
    return task.result() if done else UnderWay(f"{what}: ask for the status")


def _by_order(monitors: Iterable[ChildMonitor]) -> Iterator[list[ChildMonitor]]:
    """Groups of equal order; the monitors are sorted by it."""
    for _, group in groupby(monitors, key=lambda monitor: monitor.child.order):
        yield list(group)
