"""Executes a person's orders beyond starting and stopping processes. `HostOrders.obey` is the table.

An order goes by way of the supervisor, which knows neither jobs nor slots, to the process that owns the matter
(observer.system.processes). A reload joins the configuration with the table of processes.
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
    SilenceAlert,
    StartCapture,
    StopCapture,
    Unpin,
)
from bus.producer import Producer
from observer.base import logs
from observer.base.errors import ConfigError
from observer.brokers.accounts.keys import keys_of
from observer.monitoring.alerts.targets import require_urls
from observer.supervisor.states import ProcessState
from observer.supervisor.supervisor import ANSWER_WITHIN_S, Supervisor
from observer.system.captures import Capturing
from observer.system.config import Settings, load_settings
from observer.system.process_orders import drained
from observer.system.processes import GAPS_OWNER, JOB_OWNERS, SLOTS_OWNER


class HostOrders:
    """Executes orders for one system.

    Args:
        name: of the process that hosts the supervisor; it takes `Drain` and `SetLogLevel` like any other.
        supervisor: of the processes.
        configuration: the file that a reload reads.
        settings: its content at the start.
        adopt: called with new settings once a reload has begun with them.
        producer: the host's own; None before its start and after its end.
        silence: silences an open alert.
    """

    def __init__(
        self,
        name: str,
        supervisor: Supervisor,
        configuration: Path,
        settings: Settings,
        adopt: Callable[[Settings], None],
        producer: Callable[[], Producer | None],
        silence: Callable[[SilenceAlert], OrderReply],
    ) -> None:
        self._name = name
        self._supervisor = supervisor
        self._configuration = configuration
        self._settings = settings
        self._adopt = adopt
        self._producer = producer
        self._silence = silence
        self._capturing = Capturing(supervisor, configuration)

    async def obey(self, request: HostRequest) -> Reply:
        """Answer within a second: with the result, or `UnderWay`."""
        match request:
            case Reload(dry_run):
                return await self._reload(dry_run=dry_run)
            case StartCapture():
                return await self._capturing.start(request, self._settings)
            case StopCapture():
                return await self._capturing.stop(self._settings)
            case SilenceAlert():
                return self._silence(request)
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
            keys_of(settings.pool)
            require_urls(settings.alerts)
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
        """Order a process by its name; the host takes it directly."""
        if process != self._name:
            return await self._supervisor.order(process, order)
        if isinstance(order, Drain):
            return await self._drain_host()
        logs.set_level(order.level)
        return Done(self._name, f"logs from {order.level} on, until it ends")

    async def _drain_all(self) -> EachReply:
        """Drain all running processes concurrently."""
        running = [
            process.name for process in self._supervisor.status().processes if process.state == ProcessState.RUNNING
        ]
        replies = await asyncio.gather(
            *(self._supervisor.order(name, Drain(name)) for name in running), self._drain_host()
        )
        return EachReply(dict(zip([*running, self._name], replies, strict=True)))

    async def _drain_host(self) -> OrderReply:
        producer = self._producer()
        if producer is None:
            return Refused("shutting_down", f"{self._name} publishes nothing now")
        return await drained(self._name, producer, ANSWER_WITHIN_S)

    async def _run_job(self, job: str, request: RunJob) -> OrderReply:
        owner = JOB_OWNERS.get(job)
        if owner is None:
            return Refused("unknown_job", f"no job is named {job!r}; there are {', '.join(JOB_OWNERS)}")
        return await self._supervisor.order(owner, request)


def fixed_changes(old: Settings, new: Settings) -> list[str]:
    """Names of changed settings that the supervisor itself reads only once, at the start."""
    pairs: list[tuple[str, object, object]] = [
        ("[run] runtime", old.run.runtime, new.run.runtime),
        ("[run] data", old.run.data, new.run.data),
        ("[run.endpoints]", old.run.endpoints, new.run.endpoints),
        ("[metrics]", old.metrics, new.metrics),
        ("[supervision.host]", old.supervision.host, new.supervision.host),
    ]
    return [name for name, before, after in pairs if before != after]
