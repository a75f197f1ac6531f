"""Keeps one child running, in a task with its own inbox, so that no child waits for another.

The inbox delivers the child's events one by one. Events that arrive while the monitor ends a process are handled in the
state that follows. Only the monitor's task changes the state.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from bus.commands import Done, Heartbeat, OpenAlert, ProcessStatus, Ready, Refused, Sample, Stopping
from observer.supervisor.child import Child
from observer.supervisor.limits import HysteresisThreshold, after_weighing, weight_text
from observer.supervisor.notify import Notification
from observer.supervisor.process import RunningProcess, exit_text
from observer.supervisor.restarts import GiveUp, RestartHistory, after_end
from observer.supervisor.states import SETTLED, ProcessState, Transition, next_state
from observer.supervisor.surroundings import Surroundings, report_change
from observer.supervisor.watch import Figures, is_hung

logger = logging.getLogger(__name__)

Verb = Literal["start", "stop", "restart", "end"]
"""What is asked; "end" is the stop of the whole system and leaves FATAL as it is."""
Outcome = Done | Refused

_PIDS_NAMED: Final = 5  # a reason is a line


class _Asked(msgspec.Struct, frozen=True):
    verb: Verb
    answer: "asyncio.Future[Outcome]"


class _Received(msgspec.Struct, frozen=True):
    """The process with this pid is ready, leaving or too heavy, or its leader has exited."""

    what: Literal["ready", "leaving", "heavy", "exited"]
    pid: int


class ChildMonitor:
    """Runs one child, restart after restart. `run` is its task; all other methods belong to the same event loop."""

    def __init__(self, child: Child, surroundings: Surroundings) -> None:
        self.child = child
        self.state = ProcessState.STOPPED
        self.alerts: Sequence[OpenAlert] | None = None
        """The open alerts of the last heartbeat, None before the first; a child that ended has not resolved them."""
        self._around = surroundings
        self._inbox: asyncio.Queue[_Asked | _Received] = asyncio.Queue()
        self._waiting: list[asyncio.Future[Outcome]] = []  # callers of a start that is under way
        self._changed = asyncio.Event()  # replaced at every change of state
        self._process: RunningProcess | None = None
        self._started_s = 0.0
        self._ready_s: float | None = None  # when the current process, or the last one, became ready
        self._is_late = False  # whether the current process was not ready in time, and reported for it
        self._has_run = False  # whether a process became ready since a start was asked for
        self._history = RestartHistory()
        self._retry_s = 0.0  # in BACKOFF and LOOPING: when to try again
        self._received_s = 0.0  # time of the last heartbeat or notification
        self._loop_lag_s: float | None = None
        self._progress: int | None = None
        self._samples: Sequence[Sample] = ()
        self._beats = False  # whether the current process has sent a heartbeat
        self._says: str | None = None  # its last STATUS over sd_notify
        self._rss_bytes = 0
        self._threshold = HysteresisThreshold()  # of its memory
        self._restarts = 0
        self.orphans = 0
        """Number of processes that its processes left at their ends, and that were killed."""
        self._exit: str | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the current process; None without one."""
        return self._process.pid if self._process else None

    @property
    def samples(self) -> Sequence[Sample]:
        """The figures in the last heartbeat of the current process; a process that ended has none."""
        return self._samples if self._process is not None and self._beats else ()

    def ask(self, verb: Verb) -> "asyncio.Future[Outcome]":
        """Put a request into the inbox; the returned future is set once it succeeds or fails."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_Asked(verb, answer))
        return answer

    def hear(self, message: Ready | Heartbeat | Stopping) -> bool:
        """Handle a report of the process; False when its pid is not the current one."""
        if message.pid != self.pid:
            return False
        match message:
            case Ready():
                self._inbox.put_nowait(_Received("ready", message.pid))
            case Stopping():
                self._inbox.put_nowait(_Received("leaving", message.pid))
            case Heartbeat():
                self._received_s = self._around.monotonic()
                self._beats = True
                self._loop_lag_s = message.loop_lag_s
                self._progress = message.progress
                self.alerts, self._samples = message.alerts, message.samples
        return True

    def _receive_notification(self, pid: int, said: Notification) -> None:
        """Handle an sd_notify message like its counterpart on the control socket."""
        if said.alive:
            self._received_s = self._around.monotonic()
            self._beats = True
        if said.status is not None:
            self._says = said.status
        if said.ready:
            self._inbox.put_nowait(_Received("ready", pid))
        if said.stopping:
            self._inbox.put_nowait(_Received("leaving", pid))

    def weigh(self, figures: Figures) -> None:
        """Handle a sample of the current process, one a second: after too much memory for too long restart it."""
        limit_bytes, limits = self.child.rss_bytes_max, self._around.limits
        if limit_bytes is None or self.pid is None or self._ready_s is None or self.state is not ProcessState.RUNNING:
            return
        self._rss_bytes = figures.rss_bytes
        is_spared = self.child.is_essential and self._around.monotonic() - self._ready_s < limits.recovered_s
        self._threshold, action = after_weighing(self._threshold, self._rss_bytes, limit_bytes, is_spared=is_spared)
        if action == "end":
            self._inbox.put_nowait(_Received("heavy", self.pid))
        elif action == "report":
            self._report(self.state, self.pid, f"{weight_text(self._rss_bytes, limit_bytes)}; it goes on for now")

    async def settled(self) -> ProcessState:
        """Wait for a settled state and return it."""
        while self.state not in SETTLED:
            await self._changed.wait()
        return self.state

    def status(self, figures: Figures | None) -> ProcessStatus:
        """The child's status, with the last sample of its figures."""
        now_s = self._around.monotonic()
        beats = self._process is not None and self._beats
        return ProcessStatus(
            name=self.child.name,
            state=self.state.value,
            pid=self.pid,
            uptime_s=now_s - self._started_s if self._process else None,
            restarts=self._restarts,
            heartbeat_age_s=now_s - self._received_s if beats else None,
            loop_lag_s=self._loop_lag_s if beats else None,
            progress=self._progress if beats else None,
            exit=self._exit,
            says=self._says if self._process else None,
            **(msgspec.structs.asdict(figures) if figures else {}),
        )

    # --- the task ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the child running until cancelled; after a cancellation the lifeline ends its process."""
        while True:
            match self.state:
                case ProcessState.STARTING:
                    await self._start()
                case ProcessState.RUNNING:
                    await self._keep()
                case ProcessState.BACKOFF | ProcessState.LOOPING:
                    await self._wait_for_retry()
                case _:
                    await self._rest()

    async def _rest(self) -> None:
        match await self._inbox.get():
            case _Asked("stop" | "end" as verb, answer):
                was = self.state
                if verb == "stop" and was is ProcessState.FATAL:
                    self._move(Transition.STOP, "asked for")
                _resolve(answer, Done(self.child.name, f"was {was} already"))
            case _Asked(_, answer):
                self._history, self._has_run = RestartHistory(), False
                self._waiting.append(answer)
                self._move(Transition.START, "asked for")

    async def _wait_for_retry(self) -> None:
        match await self._next(max(0.0, self._retry_s - self._around.monotonic())):
            case None:
                self._restarts += 1
                self._move(Transition.START, "its delay is over")
            case _Asked("stop" | "end", answer):
                self._move(Transition.STOP, "asked for")
                _resolve(answer, Done(self.child.name, "was waiting for its next start"))
            case _Asked(_, answer):
                self._waiting.append(answer)
                self._move(Transition.START, "asked for")

    async def _start(self) -> None:
        try:
            process = await self._spawn()
        except OSError as error:
            self._exit = f"cannot be started: {error}"
            self._decide_after_end(succeeded=False)
            return
        if not self.child.expects_ready:
            self._note_ready("started")
            return
        while self.state is ProcessState.STARTING:
            due_s = self._received_s + self.child.ready_deadline_s
            match await self._next(max(0.0, due_s - self._around.monotonic())):
                case None:
                    await self._check_start(process)
                case _Received("ready", pid) if pid == process.pid:
                    self._received_s = self._around.monotonic()
                    self._note_ready("ready")
                case event:
                    await self._live_on(process, event)

    async def _check_start(self, process: RunningProcess) -> None:
        """End a start that is late and silent. One that sends heartbeats is reported once and goes on: it waits for the
        database, say, and the next start would wait again.
        """
        now_s, limit_s = self._around.monotonic(), self.child.ready_deadline_s
        if now_s - self._received_s >= limit_s:
            await self._end_hung(process, f"not ready within {limit_s:g} s")
        elif now_s - self._started_s >= limit_s and not self._is_late:
            self._is_late = True
            self._report(self.state, self.pid, f"not ready within {limit_s:g} s, but it sends heartbeats: it goes on")

    def _note_ready(self, reason: str) -> None:
        self._ready_s, self._has_run = self._around.monotonic(), True
        self._move(Transition.READY, reason)

    async def _spawn(self) -> RunningProcess:
        self._started_s = self._received_s = self._around.monotonic()
        self._loop_lag_s = self._progress = self._says = None
        self._beats, self._threshold, self._ready_s, self._is_late = False, HysteresisThreshold(), None, False
        around = self._around
        process = await RunningProcess.start(
            self.child,
            around.lifeline,
            self._note_exit,
            self._receive_notification,
            around.zygote,
            around.containment,
        )
        self._process = process
        self._around.pid_registry.record(process.pid, self.child.name)
        return process

    def _note_exit(self, pid: int) -> None:
        self._inbox.put_nowait(_Received("exited", pid))

    async def _keep(self) -> None:
        process = self._process
        assert process is not None, "a running child has a process"
        limit_s = self.child.heartbeat_limit_s
        check_s = limit_s / 4 if limit_s else None
        while self.state is ProcessState.RUNNING:
            began_s = self._around.monotonic()
            event = await self._next(check_s)
            if event is not None:
                await self._live_on(process, event)
            elif check_s is not None:
                await self._check(process, began_s + check_s)

    async def _check(self, process: RunningProcess, due_s: float) -> None:
        """Check the heartbeat. A late check means that the supervisor itself was suspended: the child is not hung."""
        now_s = self._around.monotonic()
        self._received_s += max(0.0, now_s - due_s)
        if is_hung(now_s - self._received_s, self.child.heartbeat_limit_s):
            await self._end_hung(process, f"no heartbeat for {now_s - self._received_s:.1f} s")

    async def _live_on(self, process: RunningProcess, event: _Asked | _Received) -> None:
        """Handle events with the same meaning in STARTING and RUNNING."""
        match event:
            case _Asked("stop" | "end", answer):
                await self._stop(process)
                _resolve(answer, Done(self.child.name, f"stopped: {self._exit}"))
            case _Asked("restart", answer) if self.state is ProcessState.RUNNING:
                await self._stop(process)
                self._waiting.append(answer)
                self._move(Transition.START, "restart was asked for")
            case _Asked(_, answer) if self.state is ProcessState.RUNNING:
                _resolve(answer, Done(self.child.name, f"was running already, pid {process.pid}"))
            case _Asked(_, answer):
                self._waiting.append(answer)
            case _Received("heavy", pid) if pid == process.pid and self.state is ProcessState.RUNNING:
                await self._end_heavy(process)
            case _Received("exited", pid) if pid == process.pid:
                self._note_end(process, await process.finish())
            case _Received("leaving", pid) if pid == process.pid:
                self._move(Transition.LEAVE, "it ends by itself")
                self._note_end(process, await process.leave(self.child.stop_grace_s))
            case _Received():
                pass  # from an earlier process, or a repeated ready

    async def _stop(self, process: RunningProcess) -> None:
        self._move(Transition.STOP, "asked for")
        self._exit = self._end_text(process, await process.stop(self.child.stop_grace_s))
        self._move(Transition.GONE, self._exit)

    async def _end_hung(self, process: RunningProcess, why: str) -> None:
        self._move(Transition.HUNG, why)
        await process.dump_stacks()
        await self._end_for(process, why)

    async def _end_heavy(self, process: RunningProcess) -> None:
        assert self.child.rss_bytes_max is not None, "only a child with a limit is too heavy"
        why = weight_text(self._rss_bytes, self.child.rss_bytes_max)
        self._move(Transition.HEAVY, why)
        await self._end_for(process, why)

    async def _end_for(self, process: RunningProcess, why: str) -> None:
        status = await process.stop(self.child.stop_grace_s)
        self._exit = f"{why}; ended by {self._end_text(process, status)}"
        self._decide_after_end(succeeded=False)

    def _end_text(self, process: RunningProcess, status: int) -> str:
        """The end in words, with the processes that it left; they are counted."""
        self.orphans += len(process.orphans)
        if not process.orphans:
            return exit_text(status)
        pids = ", ".join(map(str, sorted(process.orphans)[:_PIDS_NAMED]))
        return f"{exit_text(status)}; it left {len(process.orphans)} that were killed: pid {pids}"

    def _note_end(self, process: RunningProcess, status: int) -> None:
        self._exit = self._end_text(process, status)
        if status in self.child.final_exits and not (self.child.is_essential and self._has_run):
            self._move(Transition.GAVE_UP, f"{self._exit}, which another start does not change")
        else:
            self._decide_after_end(succeeded=status == 0)

    def _decide_after_end(self, *, succeeded: bool) -> None:
        """Decide after an unexpected exit: stay stopped, back off, or FATAL."""
        assert self._exit is not None, "an end has a text"
        if succeeded and self.child.restart != "always":
            self._move(Transition.FINISHED, self._exit)
        elif self.child.restart == "never":
            self._move(Transition.GAVE_UP, self._exit)
        else:
            self._decide_retry(self._exit)

    def _decide_retry(self, how: str) -> None:
        now_s = self._around.monotonic()
        ran_s = now_s - self._ready_s if self._ready_s is not None else 0.0
        self._history, decision = after_end(
            self._history, self._around.limits, now_s, ran_s, self._around.rng, is_essential=self.child.is_essential
        )
        if isinstance(decision, GiveUp):
            self._move(Transition.GAVE_UP, f"{how}; {decision.reason}")
            return
        self._retry_s = now_s + decision.delay_s
        if decision.crash_loop:
            self._move(Transition.LOOPED, f"{how}; {decision.crash_loop}; next start in {decision.delay_s:.0f} s")
        else:
            self._move(Transition.ENDED, f"{how}; next start in {decision.delay_s:.2f} s")

    # --- small parts ---------------------------------------------------------------------------------------

    async def _next(self, within_s: float | None) -> _Asked | _Received | None:
        """The next event; None when none arrives within so many seconds."""
        try:
            async with asyncio.timeout(within_s):
                return await self._inbox.get()
        except TimeoutError:
            return None

    def _move(self, transition: Transition, reason: str) -> None:
        previous, self.state = self.state, next_state(self.state, transition)
        pid = self.pid
        if pid is not None and self.state not in (ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING):
            self._around.pid_registry.forget(pid)
            self._process = None
        self._answer_waiting(reason)
        self._report(previous, pid, reason)
        self._changed.set()
        self._changed = asyncio.Event()

    def _answer_waiting(self, reason: str) -> None:
        """Answer the callers that wait for a start."""
        match self.state:
            case ProcessState.STARTING:
                return
            case ProcessState.RUNNING:
                outcome: Outcome = Done(self.child.name, f"running, pid {self.pid}")
            case ProcessState.EXITED:
                outcome = Done(self.child.name, f"done: {reason}")
            case ProcessState.STOPPED:
                outcome = Refused("superseded", f"{self.child.name} was stopped meanwhile")
            case ProcessState.STOPPING:
                return
            case _:
                outcome = Refused("failed", f"{self.child.name} is {self.state}: {reason}")
        for answer in self._waiting:
            _resolve(answer, outcome)
        self._waiting.clear()

    def _report(self, previous: ProcessState, pid: int | None, reason: str) -> None:
        logger.info("%s: %s -> %s (pid %s): %s", self.child.name, previous, self.state, pid, reason)
        report_change(self._around.listener, self.child.name, self.state, pid, reason, previous)


def _resolve(answer: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    """Set the answer, unless its caller cancelled it."""
    if not answer.done():
        answer.set_result(outcome)
