"""What the running system does on a person's order, beyond starting and stopping processes. `Orders.obey` is the table.

An order for one process goes to the one that owns the matter (observer.processes) by way of the supervisor, which knows
nothing of jobs and places; a reload joins the configuration with the table of processes.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from bus.commands import (
    Done,
    Drain,
    EachReply,
    HostRequest,
    OrderReply,
    Pin,
    Refused,
    Reload,
    Reply,
    RetryGaps,
    RunJob,
    SetLogLevel,
    StartCapture,
    StopCapture,
    UnderWay,
    Unpin,
)
from bus.producer import Producer
from observer import logs
from observer.brokers import keys_of
from observer.cli.capturing import Capturing
from observer.config import Settings, load_settings
from observer.errors import ConfigError
from observer.processes import GAPS_OWNER, JOB_OWNERS, SLOTS_OWNER
from observer.supervisor.states import State
from observer.supervisor.supervisor import ANSWER_WITHIN_S, Supervisor


class Orders:
    """Obeys for one system.

    Args:
        name: of the process that hosts the supervisor; it can be drained and told its log level like any other.
        supervisor: of the processes.
        configuration: the file that a reload reads.
        settings: what it said at the start.
        adopt: told of new settings once a reload has begun with them.
        producer: the host's own; None before its start and after its end.
    """

    def __init__(
        self,
        name: str,
        supervisor: Supervisor,
        configuration: Path,
        settings: Settings,
        adopt: Callable[[Settings], None],
        producer: Callable[[], Producer | None],
    ) -> None:
        self._name = name
        self._supervisor = supervisor
        self._configuration = configuration
        self._settings = settings
        self._adopt = adopt
        self._producer = producer
        self._capturing = Capturing(supervisor, configuration)

    async def obey(self, request: HostRequest) -> Reply:
        """Answer within a second: with what came of it, or that it is under way."""
        match request:
            case Reload(dry_run):
                return await self._reload(dry_run=dry_run)
            case StartCapture():
                return await self._capturing.start(request, self._settings)
            case StopCapture():
                return await self._capturing.stop(self._settings)
            case Drain(process):
                return await (self._drain_all() if process is None else self._order(process, request))
            case SetLogLevel(process):
                return await self._order(process, request)
            case RunJob(job, _):
                return await self._run_job(job, request)
            case Pin() | Unpin():
                return await self._supervisor.order(SLOTS_OWNER, request)
            case RetryGaps():
                return await self._supervisor.order(GAPS_OWNER, request)

    async def _reload(self, *, dry_run: bool) -> Reply:
        try:
            settings = load_settings(self._configuration)
            keys_of(settings)
        except ConfigError as error:
            return Refused("wrong_configuration", str(error))
        if fixed := fixed_changes(self._settings, settings):
            return Refused("needs_shutdown", f"read only when the whole system starts: {', '.join(fixed)}")
        reply = await self._supervisor.reload(self._capturing.beside(settings), dry_run=dry_run)
        if not dry_run and not isinstance(reply, Refused):
            self._settings = settings
            self._adopt(settings)
        return reply

    async def _order(self, process: str, order: Drain | SetLogLevel) -> OrderReply:
        """To a process by its name; the host is one like the others, but for the way there."""
        if process != self._name:
            return await self._supervisor.order(process, order)
        if isinstance(order, Drain):
            return await self._drain_host()
        logs.set_level(order.level)
        return Done(self._name, f"logs from {order.level} on, until it ends")

    async def _drain_all(self) -> EachReply:
        """Whoever runs, all at once."""
        running = [process.name for process in self._supervisor.status().processes if process.state == State.RUNNING]
        replies = await asyncio.gather(
            *(self._supervisor.order(name, Drain(name)) for name in running), self._drain_host()
        )
        return EachReply(dict(zip([*running, self._name], replies, strict=True)))

    async def _drain_host(self) -> OrderReply:
        producer = self._producer()
        if producer is None:
            return Refused("shutting_down", f"{self._name} publishes nothing now")
        published = producer.published
        if await producer.drain(ANSWER_WITHIN_S):
            return Done(self._name, f"all it published is committed: {published} events of this run")
        return UnderWay(f"{producer.unacknowledged} events of {self._name} are not committed yet")

    async def _run_job(self, job: str, request: RunJob) -> OrderReply:
        owner = JOB_OWNERS.get(job)
        if owner is None:
            return Refused("unknown_job", f"no job is named {job!r}; there are {', '.join(JOB_OWNERS)}")
        return await self._supervisor.order(owner, request)


def fixed_changes(old: Settings, new: Settings) -> list[str]:
    """The names of what differs and is read only once, by the supervisor itself, when everything starts."""
    pairs: list[tuple[str, object, object]] = [
        ("[run] runtime", old.run.runtime, new.run.runtime),
        ("[run] data", old.run.data, new.run.data),
        ("[run.endpoints]", old.run.endpoints, new.run.endpoints),
        ("[supervision.host]", old.supervision.host, new.supervision.host),
    ]
    return [name for name, before, after in pairs if before != after]
