"""The process that hosts the supervisor: joins the configuration, the table of processes and the phases of the day."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from bus.commands import HostRequest, ProcessStatus, Reply, StatusReply
from bus.events import AlertRaised, PhaseChanged, ProcessChanged, Severity
from bus.outbox import Outbox
from bus.producer import Producer
from observer import logs
from observer.accounts.clients import keys_of
from observer.base_settings import endpoints_of
from observer.calendar.phases import next_change, phase_at
from observer.calendar.service import TradingDayService
from observer.clock import Clock
from observer.config import Settings
from observer.errors import ConfigError
from observer.host.orders import HostOrders
from observer.host.preflight import require_usable_machine
from observer.host.service import Service
from observer.host.worker_log import complaint_in
from observer.processes import CORE_WRITER, PRELOADED, children_of
from observer.supervisor.limits import Crossing, crossing_text
from observer.supervisor.notify import ServiceManager
from observer.supervisor.states import ProcessState
from observer.supervisor.supervisor import Supervisor

NAME: Final = "supervisor"
DRAIN_S: Final = 10.0


class Host:
    """One system, from its start to its orderly end.

    Args:
        settings: read from `configuration`, which the processes read themselves.
        configuration: the file.
        clock: market time, the same as the processes'.
        service_manager: receives the system's state; None for no reports.

    Raises:
        MissingKeysError: there are no broker keys; nothing was started.
        ConfigError: the sockets are on the network, and there are no keys for them.
        BusError: the runtime directory cannot be used.
    """

    def __init__(
        self, settings: Settings, configuration: Path, clock: Clock, service_manager: ServiceManager | None = None
    ) -> None:
        keys_of(settings.pool)
        self._settings = settings
        self.endpoints = endpoints_of(settings.run)
        self.stopping = asyncio.Event()
        self._clock = clock
        self._today = TradingDayService(Path(settings.run.runtime), settings.schedule, clock)
        self._producer: Producer | None = None
        self._logged_phase = "IDLE"
        self._writer_log = next(
            child.log_path for child in children_of(settings, configuration) if child.name == CORE_WRITER
        )
        self._refusal: str | None = None  # why the writer cannot write this database at all
        self._following: list[asyncio.Task[None]] = []  # tasks that report the schedule; replaced when it changes
        self._supervisor = Supervisor(
            lambda: children_of(settings, configuration),
            runtime_directory=self.endpoints.runtime_directory,
            control_address=self.endpoints.control,
            listener=self,
            extend_status=lambda: (self.phase, clock.now_ns()),
            host_limits=settings.supervision.host,
            disk=Path(settings.run.data),
            orders=self._obey,
            preload=PRELOADED,
        )
        self._orders = HostOrders(
            NAME, self._supervisor, configuration, settings, self._adopt, producer=lambda: self._producer
        )
        self._service = Service(service_manager or ServiceManager({}, os.getpid()), self._status_line)

    @property
    def phase(self) -> str:
        """The phase of the day; IDLE while the calendar does not know this day."""
        plan = self._today.known()
        return phase_at(plan, self._clock.now_ns()) if plan else "IDLE"

    async def _obey(self, request: HostRequest) -> Reply:
        return await self._orders.obey(request)

    @property
    def started(self) -> asyncio.Event:
        """Set when every process is ready, or was given up."""
        return self._supervisor.started

    def status(self) -> StatusReply:
        """The status of all processes; after `run` with their exits."""
        return self._supervisor.status()

    async def run(self) -> None:
        """Run until `stopping` is set or a shutdown is asked for over the control socket.

        Raises:
            AlreadyRunningError: another supervisor works in this runtime directory.
            OSError, StoreError: as `require_usable_machine`; nothing was started.
            ConfigError: as there; or the writer refused its database at the start, because another process writes it,
                say; all is stopped again, and no process that needs the writer was started.
        """
        require_usable_machine(self._settings)
        serving = [asyncio.create_task(report) for report in (self._service.run(), self._report_ready())]
        try:
            await self._supervisor.run_until(self.stopping, self._reporting())
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
        if self._refusal is not None:
            raise ConfigError(self._refusal)

    def _status_line(self) -> str:
        processes = self.status().processes
        running = sum(process.state == ProcessState.RUNNING.value for process in processes)
        return f"{self.phase}: {running} of {len(processes)} processes run"

    @contextlib.asynccontextmanager
    async def _reporting(self) -> AsyncIterator[None]:
        """Publish the supervisor's changes while the block runs; later ones are only logged."""
        outbox = Outbox(self.endpoints.runtime_directory / "outbox" / NAME, NAME, uuid.uuid4().hex)
        self._producer = producer = Producer(outbox, self.endpoints.ingest)
        delivery = asyncio.create_task(producer.run())
        self._follow_schedule(producer)
        try:
            yield
        finally:
            self._service.stopping()
            self._producer = None
            if self._writer_runs():  # without it the next start sends the rest of the outbox
                await producer.drain(DRAIN_S)
            for task in (delivery, *self._following):
                task.cancel()
            await asyncio.gather(delivery, *self._following, return_exceptions=True)
            producer.close()

    def _writer_runs(self) -> bool:
        processes = self.status().processes
        return any(each.name == CORE_WRITER and each.state == ProcessState.RUNNING.value for each in processes)

    def _adopt(self, settings: Settings) -> None:
        """Apply a reload to the host; the processes read the file themselves."""
        logs.set_level(settings.run.log_level)
        self._today = TradingDayService(Path(settings.run.runtime), settings.schedule, self._clock)
        if self._producer is not None:
            self._follow_schedule(self._producer)

    def _follow_schedule(self, producer: Producer) -> None:
        for task in self._following:
            task.cancel()
        self._following = [
            asyncio.create_task(report) for report in (self._report_phases(producer), self._report_readiness(producer))
        ]

    async def _report_ready(self) -> None:
        await self._supervisor.started.wait()
        self._service.ready()

    async def _report_phases(self, producer: Producer) -> None:
        while True:
            plan = await self._today.plan()
            now_ns = self._clock.now_ns()
            previous, self._logged_phase = self._logged_phase, phase_at(plan, now_ns)
            if self._logged_phase != previous:
                producer.publish(PhaseChanged(plan.day.isoformat(), now_ns, previous, self._logged_phase))
            await self._clock.sleep_until(next_change(plan, now_ns))

    async def _report_readiness(self, producer: Producer) -> None:
        """Raise the readiness alert, ten minutes before the market opens (requirement 004, wake-up schedule)."""
        while True:
            plan = await self._today.plan()
            if plan.trades and self._clock.now_ns() < plan.track_a_start_ns:
                await self._clock.sleep_until(plan.ready_ns)
                producer.publish(readiness_alert(self.status().processes, self._clock.now_ns()))
            await self._today.end_of(plan)

    def on_change(self, name: str, previous: ProcessState, current: ProcessState, pid: int | None, reason: str) -> None:
        """Publish a process's change of state, and end a start without a writer (the supervisor's listener)."""
        if name == CORE_WRITER and current is ProcessState.FATAL and not self.started.is_set():
            self._refusal = complaint_in(self._writer_log, CORE_WRITER)
            if self._refusal is not None:
                self._supervisor.shutdown_asked.set()
        if self._producer is None:
            return
        now_ns = self._clock.now_ns()
        self._producer.publish(ProcessChanged(name, now_ns, previous.value, current.value, pid, reason))
        if current is ProcessState.FATAL:
            self._producer.publish(AlertRaised(now_ns, "critical", NAME, f"{name} is given up: {reason}"))
        elif previous is current is ProcessState.STARTING:
            self._producer.publish(AlertRaised(now_ns, "warning", NAME, f"{name} is late: {reason}"))
        elif current is ProcessState.LOOPING:
            self._producer.publish(AlertRaised(now_ns, "critical", NAME, f"{name} ends again and again: {reason}"))

    def on_crossing(self, crossing: Crossing) -> None:
        """Raise an alert for a crossing of a host limit (the supervisor's listener)."""
        if self._producer is not None:
            severity: Severity = "warning" if crossing.is_over else "info"
            self._producer.publish(AlertRaised(self._clock.now_ns(), severity, NAME, crossing_text(crossing)))


def readiness_alert(processes: Sequence[ProcessStatus], now_ns: int) -> AlertRaised:
    """The readiness alert for the market's open: information, or critical with the missing processes."""
    missing = [f"{process.name} is {process.state}" for process in processes if process.state != ProcessState.RUNNING]
    if missing:
        return AlertRaised(now_ns, "critical", NAME, f"not ready for the open: {', '.join(missing)}")
    return AlertRaised(now_ns, "info", NAME, f"ready for the open: {len(processes)} processes run")
