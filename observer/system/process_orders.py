"""Commands to a running worker, passed on by the supervisor. `WorkerOrders.obey` is the table of verbs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from bus.commands import Done, Drain, Order, OrderReply, Pin, Refused, RetryGaps, RunJob, SetLogLevel, UnderWay, Unpin
from bus.producer import Producer
from observer.base import logs
from observer.base.errors import ObserverError
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.jobs import job_identity

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 0.6  # less than the supervisor waits for it, which answers within a second itself

JobAction = Callable[[], Awaitable[str | Refused]]
"""Runs a job and returns its result as text, or a refusal. Raises ObserverError when it fails."""

DirectedJob = Callable[[Sequence[str]], Awaitable[str | Refused]]
"""The same for a job with arguments."""


async def drained(process: str, producer: Producer, within_s: float) -> OrderReply:
    """Wait so many machine seconds until all that a process published is committed."""
    published = producer.published
    if await producer.drain(within_s):
        return Done(process, f"all it published is committed: {published} events of this run")
    return UnderWay(f"{producer.unacknowledged} events of {process} are not committed yet")


class SlotOrders(Protocol):
    """Pins symbols on a person's command."""

    def pin(self, symbol: str) -> Done | Refused:
        """Give the symbol a slot until it is unpinned."""
        ...

    def unpin(self, symbol: str) -> Done | Refused:
        """Remove the pin."""
        ...


class GapOrders(Protocol):
    """Retries gaps on a person's command."""

    async def retry(self, gap_ids: Sequence[str]) -> Done | Refused:
        """Retry these gaps at once; all open ones if empty."""
        ...


class WorkerOrders:
    """Executes orders for this process. Its body sets the parts it has: a producer, jobs, slots, gaps.

    Attributes:
        jobs: by name; empty for a process that has none.
        directed_jobs: those that take arguments, by name; a job can be among both.
        slots: None while the process has no slots.
        gaps: None while the process fills no gaps.
        turn: held during a job, so that a command and the day's plan never run two at once.
    """

    def __init__(self, process: str, alerts: Alerts) -> None:
        self.producer: Producer | None = None
        self.jobs: Mapping[str, JobAction] = {}
        self.directed_jobs: Mapping[str, DirectedJob] = {}
        self.slots: SlotOrders | None = None
        self.gaps: GapOrders | None = None
        self.turn = asyncio.Lock()
        self._process = process
        self._alerts = alerts
        self._running: set[asyncio.Task[Done | Refused]] = set()

    async def obey(self, order: Order) -> OrderReply:
        """Answer one order; work longer than `ANSWER_WITHIN_S` goes on, with the answer `UnderWay`."""
        match order:
            case Drain():
                return await self._drain()
            case RunJob(job, arguments):
                return await self._run_job(job, arguments)
            case SetLogLevel(_, level):
                logs.set_level(level)
                return Done(self._process, f"logs from {level} on, until it ends")
            case Pin(symbol):
                return self.slots.pin(symbol) if self.slots else self._no_slots()
            case Unpin(symbol):
                return self.slots.unpin(symbol) if self.slots else self._no_slots()
            case RetryGaps(gap_ids):
                return await self.gaps.retry(gap_ids) if self.gaps else self._no_gaps()

    async def stop(self) -> None:
        """Cancel the jobs that run by order: their resources are about to be closed."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _drain(self) -> OrderReply:
        if self.producer is None:
            return Done(self._process, "publishes nothing")
        return await drained(self._process, self.producer, ANSWER_WITHIN_S)

    async def _run_job(self, job: str, arguments: Sequence[str]) -> OrderReply:
        directed = self.directed_jobs.get(job)
        action = partial(directed, arguments) if directed and arguments else self.jobs.get(job)
        if action is None and directed:
            return Refused("unknown_job", f"{job} needs an argument: the run, or the exchange")
        if action is None:
            names = ", ".join({**self.jobs, **self.directed_jobs})
            given = f" with {' '.join(arguments)}" if arguments else ""
            return Refused("unknown_job", f"{self._process} has no job {job!r}{given}; it has {names or 'none'}")
        if self.turn.locked():
            return Refused("busy", f"{self._process} is running a job: try again when it has ended")
        task = asyncio.create_task(self._in_turn(job, action))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        done, _ = await asyncio.wait([task], timeout=ANSWER_WITHIN_S)
        return task.result() if done else UnderWay(f"{job} is running: the log of {self._process} states how it ends")

    async def _in_turn(self, job: str, action: JobAction) -> Done | Refused:
        async with self.turn:
            try:
                outcome = await action()
            except ObserverError as error:
                return self._failed(job, str(error))
            except Exception:  # the top of this task: an error in a job must not end the worker
                logger.exception("job %s", job)
                return self._failed(job, "a mistake of ours; the log has it")
        if isinstance(outcome, Refused):
            return outcome
        logger.info("job %s, run by order: %s", job, outcome)
        self._alerts.resolve(job_identity(job), f"job {job} is done, by order")
        return Done(self._process, f"{job}: {outcome}")

    def _failed(self, job: str, why: str) -> Refused:
        text = f"job {job}, run by order, failed: {why}"
        self._alerts.resolve(job_identity(job), "run again, by order")  # the operator sees each failure raised
        self._alerts.report(job_identity(job), "critical", text, job=job)
        return Refused("failed", text)

    def _no_gaps(self) -> Refused:
        return Refused("not_now", f"{self._process} fills no gaps now")

    def _no_slots(self) -> Refused:
        return Refused("not_now", f"{self._process} has no slots now: only while Track B streams")
