"""Keeps one child running: a task of its own with an inbox of its own, so that no other child waits for this one.

Whatever happens to the child comes through the inbox, one thing after the other; while the keeper ends a process, what
arrives waits, and is answered in the state that follows. Only the keeper's task moves the state.
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Final, Literal, Protocol

import msgspec

from bus.commands import Done, ProcessStatus, Refused
from observer.supervisor.child import Child
from observer.supervisor.leftovers import Leftovers
from observer.supervisor.limits import Crossing, Strain, after_look
from observer.supervisor.notify import Notification
from observer.supervisor.process import Lifeline, RunningProcess, exit_text
from observer.supervisor.restarts import GiveUp, RestartHistory, RestartLimits, after_end
from observer.supervisor.states import SETTLED, Happening, State, next_state
from observer.supervisor.watch import Figures, is_hung

logger = logging.getLogger(__name__)

Verb = Literal["start", "stop", "restart"]
Outcome = Done | Refused

_HEAVY_LOOKS: Final = 3  # so many looks in a row above its memory limit: one may be a passing peak


class Listener(Protocol):
    """Is told of every change of every child and of the machine, from the event loop: it must return at once."""

    def on_change(self, name: str, previous: State, current: State, pid: int | None, reason: str) -> None:
        """`pid` is of the life that this is about, None where there is none; `reason` is for people."""
        ...

    def on_crossing(self, crossing: Crossing) -> None:
        """Something of the machine has become scarce, or is no longer."""
        ...


class Surroundings(msgspec.Struct, frozen=True):
    """What all keepers share. `monotonic` gives machine seconds."""

    lifeline: Lifeline
    leftovers: Leftovers
    listener: Listener
    limits: RestartLimits
    monotonic: Callable[[], float]
    chance: Random


class _Asked(msgspec.Struct, frozen=True):
    verb: Verb
    answer: "asyncio.Future[Outcome]"


class _Heard(msgspec.Struct, frozen=True):
    """The life with this pid said that it is ready or leaving, was found too heavy, or its leader has exited."""

    what: Literal["ready", "leaving", "heavy", "exited"]
    pid: int


class Keeper:
    """One child's life after life. `run` is its task; everything else may be called from the same event loop."""

    def __init__(self, child: Child, surroundings: Surroundings) -> None:
        self.child = child
        self.state = State.STOPPED
        self._around = surroundings
        self._inbox: asyncio.Queue[_Asked | _Heard] = asyncio.Queue()
        self._waiting: list[asyncio.Future[Outcome]] = []  # whoever asked for a start that is under way
        self._changed = asyncio.Event()  # replaced at every change of state
        self._process: RunningProcess | None = None
        self._started_s = 0.0
        self._history = RestartHistory()
        self._retry_s = 0.0  # in BACKOFF: when to try again
        self._heard_s = 0.0  # the last sign of life
        self._loop_lag_s: float | None = None
        self._progress: int | None = None
        self._beats = False  # whether this life has sent a heartbeat
        self._says: str | None = None  # its last STATUS over sd_notify
        self._rss_bytes = 0
        self._strain = Strain()  # of its memory
        self._restarts = 0
        self._exit: str | None = None

    @property
    def pid(self) -> int | None:
        """The leader of the present life."""
        return self._process.pid if self._process else None

    def ask(self, verb: Verb) -> "asyncio.Future[Outcome]":
        """Put a wish into the inbox; the future is set when it is fulfilled or has failed."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_Asked(verb, answer))
        return answer

    def hear(self, what: Literal["ready", "leaving"], pid: int) -> bool:
        """The process speaks; False when that pid is not the present life's."""
        if pid != self.pid:
            return False
        self._inbox.put_nowait(_Heard(what, pid))
        return True

    def hear_heartbeat(self, pid: int, loop_lag_s: float, progress: int) -> bool:
        """The process lives; False when that pid is not the present life's."""
        if pid != self.pid:
            return False
        self._heard_s = self._around.monotonic()
        self._beats = True
        self._loop_lag_s = loop_lag_s
        self._progress = progress
        return True

    def _hear_notification(self, pid: int, said: Notification) -> None:
        """The process speaks over sd_notify: the same as over the control socket, in other words."""
        if said.alive:
            self._heard_s = self._around.monotonic()
            self._beats = True
        if said.status is not None:
            self._says = said.status
        if said.ready:
            self._inbox.put_nowait(_Heard("ready", pid))
        if said.stopping:
            self._inbox.put_nowait(_Heard("leaving", pid))

    def weigh(self, figures: Figures) -> None:
        """A sample of the present life, one a second: with too much memory for too long it is ended and restarted."""
        limit_bytes = self.child.rss_bytes_max
        if limit_bytes is None or self.pid is None or self.state is not State.RUNNING:
            return
        was_over, self._rss_bytes = self._strain.is_over, figures.rss_bytes
        self._strain = after_look(self._strain, figures.rss_bytes, limit_bytes, _HEAVY_LOOKS)
        if self._strain.is_over and not was_over:
            self._inbox.put_nowait(_Heard("heavy", self.pid))

    async def settled(self) -> State:
        """Wait until the child is where it stays until something new happens, and return that state."""
        while self.state not in SETTLED:
            await self._changed.wait()
        return self.state

    def status(self, figures: Figures | None) -> ProcessStatus:
        """What is known of the child now, with the last sample of its figures."""
        now_s = self._around.monotonic()
        beats = self._process is not None and self._beats
        return ProcessStatus(
            name=self.child.name,
            state=self.state.value,
            pid=self.pid,
            uptime_s=now_s - self._started_s if self._process else None,
            restarts=self._restarts,
            cpu_percent=figures.cpu_percent if figures else None,
            rss_bytes=figures.rss_bytes if figures else None,
            open_files=figures.open_files if figures else None,
            threads=figures.threads if figures else None,
            heartbeat_age_s=now_s - self._heard_s if beats else None,
            loop_lag_s=self._loop_lag_s if beats else None,
            progress=self._progress if beats else None,
            exit=self._exit,
            says=self._says if self._process else None,
        )

    # --- the task ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the child until cancelled; a cancelled keeper leaves its process to the lifeline."""
        while True:
            match self.state:
                case State.STARTING:
                    await self._start()
                case State.RUNNING:
                    await self._keep()
                case State.BACKOFF:
                    await self._wait_for_retry()
                case _:
                    await self._rest()

    async def _rest(self) -> None:
        match await self._inbox.get():
            case _Asked("stop", answer):
                _resolve(answer, Done(self.child.name, f"was {self.state} already"))
            case _Asked(_, answer):
                self._history = RestartHistory()
                self._waiting.append(answer)
                self._move(Happening.START, "asked for")

    async def _wait_for_retry(self) -> None:
        match await self._next(max(0.0, self._retry_s - self._around.monotonic())):
            case None:
                self._restarts += 1
                self._move(Happening.START, "its delay is over")
            case _Asked("stop", answer):
                self._move(Happening.STOP, "asked for")
                _resolve(answer, Done(self.child.name, "was waiting for its next start"))
            case _Asked(_, answer):
                self._waiting.append(answer)
                self._move(Happening.START, "asked for")

    async def _start(self) -> None:
        try:
            process = self._spawn()
        except OSError as error:
            self._exit = f"cannot be started: {error}"
            self._decide_after_end(succeeded=False)
            return
        if not self.child.expects_ready:
            self._move(Happening.READY, "started")
            return
        deadline_s = self._started_s + self.child.ready_deadline_s
        while self.state is State.STARTING:
            match await self._next(max(0.0, deadline_s - self._around.monotonic())):
                case None:
                    await self._end_hung(process, f"not ready within {self.child.ready_deadline_s:g} s")
                case _Heard("ready", pid) if pid == process.pid:
                    self._heard_s = self._around.monotonic()
                    self._move(Happening.READY, "ready")
                case event:
                    await self._live_on(process, event)

    def _spawn(self) -> RunningProcess:
        self._started_s = self._heard_s = self._around.monotonic()
        self._loop_lag_s = self._progress = self._says = None
        self._beats, self._strain = False, Strain()
        process = RunningProcess(self.child, self._around.lifeline, self._note_exit, self._hear_notification)
        self._process = process
        self._around.leftovers.record(process.pid)
        return process

    def _note_exit(self, pid: int) -> None:
        self._inbox.put_nowait(_Heard("exited", pid))

    async def _keep(self) -> None:
        process = self._process
        assert process is not None, "a running child has a process"
        limit_s = self.child.heartbeat_limit_s
        look_s = limit_s / 4 if limit_s else None
        while self.state is State.RUNNING:
            began_s = self._around.monotonic()
            event = await self._next(look_s)
            if event is not None:
                await self._live_on(process, event)
            elif look_s is not None:
                await self._look(process, began_s + look_s)

    async def _look(self, process: RunningProcess, due_s: float) -> None:
        """A look that comes late means that the supervisor stood still and could not hear: nobody is blamed for it."""
        now_s = self._around.monotonic()
        self._heard_s += max(0.0, now_s - due_s)
        if is_hung(now_s - self._heard_s, self.child.heartbeat_limit_s):
            await self._end_hung(process, f"no heartbeat for {now_s - self._heard_s:.1f} s")

    async def _live_on(self, process: RunningProcess, event: _Asked | _Heard) -> None:
        """Handle what means the same to a child that is starting and to one that runs."""
        match event:
            case _Asked("stop", answer):
                await self._stop(process)
                _resolve(answer, Done(self.child.name, f"stopped: {self._exit}"))
            case _Asked("restart", answer) if self.state is State.RUNNING:
                await self._stop(process)
                self._waiting.append(answer)
                self._move(Happening.START, "restart was asked for")
            case _Asked(_, answer) if self.state is State.RUNNING:
                _resolve(answer, Done(self.child.name, f"was running already, pid {process.pid}"))
            case _Asked(_, answer):
                self._waiting.append(answer)
            case _Heard("heavy", pid) if pid == process.pid and self.state is State.RUNNING:
                await self._end_heavy(process)
            case _Heard("exited", pid) if pid == process.pid:
                self._note_end(await process.finish())
            case _Heard("leaving", pid) if pid == process.pid:
                self._move(Happening.LEAVE, "it ends by itself")
                self._note_end(await process.leave(self.child.stop_grace_s))
            case _Heard():
                pass  # from a life that is over, or ready said twice

    async def _stop(self, process: RunningProcess) -> None:
        self._move(Happening.STOP, "asked for")
        self._exit = exit_text(await process.stop(self.child.stop_grace_s))
        self._move(Happening.GONE, self._exit)

    async def _end_hung(self, process: RunningProcess, why: str) -> None:
        self._move(Happening.HUNG, why)
        await process.dump_stacks()
        await self._end_for(process, why)

    async def _end_heavy(self, process: RunningProcess) -> None:
        assert self.child.rss_bytes_max is not None, "only who has a limit is too heavy"
        why = f"uses {self._rss_bytes / 1e6:.0f} MB of memory, more than its {self.child.rss_bytes_max / 1e6:.0f} MB"
        self._move(Happening.HEAVY, why)
        await self._end_for(process, why)

    async def _end_for(self, process: RunningProcess, why: str) -> None:
        status = await process.stop(self.child.stop_grace_s)
        self._exit = f"{why}; ended by {exit_text(status)}"
        self._decide_after_end(succeeded=False)

    def _note_end(self, status: int) -> None:
        self._exit = exit_text(status)
        if status in self.child.final_exits:
            self._move(Happening.GAVE_UP, f"{self._exit}, which another start does not change")
        else:
            self._decide_after_end(succeeded=status == 0)

    def _decide_after_end(self, *, succeeded: bool) -> None:
        """An end that nobody asked for, of a life of which nothing is left: rest, try again, or give up."""
        assert self._exit is not None, "an end has a text"
        if succeeded and self.child.restart != "always":
            self._move(Happening.FINISHED, self._exit)
        elif self.child.restart == "never":
            self._move(Happening.GAVE_UP, self._exit)
        else:
            self._decide_retry(self._exit)

    def _decide_retry(self, how: str) -> None:
        now_s = self._around.monotonic()
        lived_s = now_s - self._started_s
        self._history, decision = after_end(self._history, self._around.limits, now_s, lived_s, self._around.chance)
        if isinstance(decision, GiveUp):
            self._move(Happening.GAVE_UP, f"{how}; {decision.reason}")
            return
        self._retry_s = now_s + decision.delay_s
        self._move(Happening.ENDED, f"{how}; next start in {decision.delay_s:.2f} s")

    # --- small parts ---------------------------------------------------------------------------------------

    async def _next(self, within_s: float | None) -> _Asked | _Heard | None:
        """The next thing that happens; None when nothing does within so many seconds."""
        try:
            async with asyncio.timeout(within_s):
                return await self._inbox.get()
        except TimeoutError:
            return None

    def _move(self, happening: Happening, reason: str) -> None:
        previous, self.state = self.state, next_state(self.state, happening)
        pid = self.pid
        if pid is not None and self.state not in (State.STARTING, State.RUNNING, State.STOPPING):
            self._around.leftovers.forget(pid)
            self._process = None
        self._answer_waiting(reason)
        self._tell(previous, pid, reason)
        self._changed.set()
        self._changed = asyncio.Event()

    def _answer_waiting(self, reason: str) -> None:
        """Whoever waits for a start learns how it went as soon as that is known."""
        match self.state:
            case State.STARTING:
                return
            case State.RUNNING:
                outcome: Outcome = Done(self.child.name, f"running, pid {self.pid}")
            case State.EXITED:
                outcome = Done(self.child.name, f"done: {reason}")
            case State.STOPPED:
                outcome = Refused("superseded", f"{self.child.name} was stopped meanwhile")
            case State.STOPPING:
                return
            case _:
                outcome = Refused("failed", f"{self.child.name} is {self.state}: {reason}")
        for answer in self._waiting:
            _resolve(answer, outcome)
        self._waiting.clear()

    def _tell(self, previous: State, pid: int | None, reason: str) -> None:
        logger.info("%s: %s -> %s (pid %s): %s", self.child.name, previous, self.state, pid, reason)
        try:
            self._around.listener.on_change(self.child.name, previous, self.state, pid, reason)
        except Exception:  # a child's life must not depend on who watches it
            logger.exception("the listener failed on %s", self.child.name)


def _resolve(answer: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    """Answer, unless whoever asked has gone away."""
    if not answer.done():
        answer.set_result(outcome)
