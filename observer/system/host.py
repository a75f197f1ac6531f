"""The process that hosts the supervisor: joins the configuration, the table of processes and the phases of the day."""

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from bus.commands import HostRequest, ProcessStatus, Refused, Reply, RunJob, StatusReply
from bus.events import PhaseChanged, ProcessChanged
from bus.outbox import Outbox
from bus.peers import NETWORK
from bus.producer import Producer
from observer.base import logs
from observer.base.clock import Clock, RealClock
from observer.base.errors import ConfigError
from observer.base.settings import endpoints_of
from observer.brokers.accounts.keys import keys_of
from observer.calendar.phases import DayPlan, next_change, phase_at
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.delivery import AlertDelivery, DeliveryParts, system_name
from observer.monitoring.alerts.process import DATABASE_DAMAGED, REFUSALS, Alerts, kept_alerts
from observer.monitoring.alerts.silences import Silences
from observer.monitoring.alerts.supervised import PREFIXES, report_process
from observer.monitoring.alerts.system import SystemAlerts
from observer.monitoring.alerts.targets import require_urls
from observer.monitoring.metrics.host import DELIVERY_METRICS
from observer.monitoring.metrics.readiness import Owners
from observer.monitoring.metrics.settings import MetricsSettings
from observer.supervisor.limits import Crossing, crossing_text
from observer.supervisor.linux import require_linux
from observer.supervisor.mark import MARK_VARIABLE, own_mark
from observer.supervisor.notify import ServiceManager
from observer.supervisor.states import ProcessState
from observer.supervisor.supervisor import Supervisor
from observer.system.access import close_to_others
from observer.system.config import Settings
from observer.system.figures import day_state, disk_samples, machine_samples
from observer.system.orders import HostOrders
from observer.system.preflight import require_usable_machine
from observer.system.processes import CORE_WRITER, PRELOADED, SLOTS_OWNER, children_of
from observer.system.refusals import refused_events, refused_messages
from observer.system.service import Service
from observer.system.worker_log import complaint_in

logger = logging.getLogger(__name__)

NAME: Final = "supervisor"
DRAIN_S: Final = 10.0
READY: Final = "ready"
NOT_READY: Final = "not_ready"
WRITER_STOPPED: Final = "writer_stopped"
OWNERS: Final = Owners(database=CORE_WRITER, tokens="accounts", slots=SLOTS_OWNER, database_alerts=REFUSALS)
CALENDAR_GRACE_S: Final = 30.0  # machine seconds: a day file is computed in less
WRITER_GRACE_S: Final = 30.0  # machine seconds: a restart takes less
_CHECK_S: Final = 1.0  # machine seconds


class Host:
    """One system, from its start to its orderly end.

    Args:
        settings: read from `configuration`, which the processes read themselves.
        configuration: the file.
        clock: market time, the same as the processes'.
        service_manager: receives the system's state; None for no reports.

    Raises:
        MissingKeysError: there are no broker keys, or a target of alerts has no URL; nothing was started.
        ConfigError: this is not Linux, or the sockets are on the network, and there are no keys for them.
        BusError: the runtime directory cannot be used.
    """

    def __init__(
        self, settings: Settings, configuration: Path, clock: Clock, service_manager: ServiceManager | None = None
    ) -> None:
        require_linux()
        keys_of(settings.pool)
        require_urls(settings.alerts)
        runtime = Path(settings.run.runtime)
        self._settings = settings
        self._configuration = configuration
        self.endpoints = endpoints_of(settings.run)
        self.stopping = asyncio.Event()
        self._clock = clock
        self._today = TradingDayService(runtime, settings.day_rules, clock)
        self._alerts = Alerts(clock, NAME, runtime=runtime)
        self._accounts = _accounts_of(settings)
        self._producer: Producer | None = None
        self._logged_phase = "IDLE"
        self._writer_log = next(
            child.log_path for child in children_of(settings, configuration) if child.name == CORE_WRITER
        )
        self._employed: frozenset[str] = frozenset()  # the names of the processes, when they were last looked at
        self._refusal: str | None = None  # why the writer cannot write this database at all
        self._following: list[asyncio.Task[None]] = []  # tasks that report the schedule; replaced when it changes
        self._supervisor = Supervisor(
            lambda: children_of(settings, configuration),
            runtime_directory=self.endpoints.runtime_directory,
            control_address=self.endpoints.control,
            listener=self,
            extend_status=lambda _: (self.phase, clock.now_ns(), self._system_alerts.all()),
            host_limits=settings.supervision.host,
            disk=Path(settings.run.data),
            orders=self._obey,
            preload=PRELOADED,
            status_metrics=DELIVERY_METRICS,
        )
        left = kept_alerts(runtime)
        self._system_alerts = SystemAlerts(self._alerts, Silences(runtime), clock, self._supervisor.alerts, left)
        self._delivery = AlertDelivery(
            settings.alerts,
            DeliveryParts(
                open_alerts=self._system_alerts.all,
                own=self._alerts,
                runtime=runtime,
                market=clock,
                machine=RealClock(),
                system=system_name(settings.instance.name),
                variables=lambda: {MARK_VARIABLE: str(own_mark(runtime))},  # so that no sending outlives the system
            ),
        )
        self._lost_events = refused_events(self._alerts, self._events_refused)
        self._refused_requests = refused_messages(
            self._alerts, lambda: self._supervisor.refused_requests + NETWORK.refused
        )
        self._orders = HostOrders(
            NAME,
            self._supervisor,
            configuration,
            settings,
            self._adopt,
            producer=lambda: self._producer,
            silence=self._system_alerts.silence,
        )
        self._service = Service(service_manager or ServiceManager({}, os.getpid()), self._status_line)

    def _events_refused(self) -> int:
        return self._producer.refused + self._producer.unstorable if self._producer is not None else 0

    def _plan(self) -> DayPlan | None:
        return self._today.known()

    @property
    def phase(self) -> str:
        """The phase of the day; IDLE while the calendar does not know this day."""
        plan = self._plan()
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
            ConfigError: as there, and as `close_to_others`; or the writer refused its database at the start, because
                another process writes it, say; all is stopped again, and no process that needs the writer was started.
        """
        require_usable_machine(self._settings)
        for line in close_to_others(self._settings, self._configuration):
            logger.warning(line)
        reports = (
            self._service.run(),
            self._report_ready(),
            self._system_alerts.announce(),
            self._watch("no_calendar", CALENDAR_GRACE_S, self._without_calendar, "the trading day is known"),
            self._watch(WRITER_STOPPED, WRITER_GRACE_S, self._without_writer, f"{CORE_WRITER} runs"),
            self._report_processes(),
        )
        exporting = [] if self._settings.metrics is None else [self._export(self._settings.metrics)]
        serving = [asyncio.create_task(report) for report in (*reports, *exporting)]
        try:
            await self._supervisor.run_until(self.stopping, self._reporting())
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
        if self._refusal is not None:
            raise ConfigError(self._refusal)

    async def _export(self, metrics: MetricsSettings) -> None:
        """Serve figures for Prometheus until cancelled; the library is loaded only here."""
        from observer.monitoring.metrics.exporter import Exporter, System

        supervisor = self._supervisor
        system = System(
            status=supervisor.status,
            samples=supervisor.samples,
            machine=lambda: machine_samples(supervisor.host_figures),
            disk=lambda: disk_samples(self._settings),
            day=lambda: day_state(self._plan(), self._clock.now_ns()),
            producer=lambda: self._producer,
            accounts=lambda: self._accounts,
            owners=OWNERS,
        )
        failure = await Exporter(metrics.port, NAME, system, self.endpoints.feed, self._clock).run()
        await supervisor.started.wait()
        self._alerts.report("host:exporter", "warning", failure)

    def _status_line(self) -> str:
        processes = self.status().processes
        running = sum(process.state == ProcessState.RUNNING.value for process in processes)
        return f"{self.phase}: {running} of {len(processes)} processes run"

    @contextlib.asynccontextmanager
    async def _reporting(self) -> AsyncIterator[None]:
        """Publish the supervisor's changes while the block runs; later ones are only logged."""
        folder = self.endpoints.runtime_directory / "outbox" / NAME
        outbox = Outbox(folder, NAME, uuid.uuid4().hex, self._settings.backup.archive_limits)
        self._producer = producer = Producer(outbox, self.endpoints.ingest)
        self._begin_alerts(producer)
        delivery = asyncio.create_task(producer.run())
        sending = asyncio.create_task(self._delivery.run())
        self._follow_schedule(producer)
        try:
            yield
        finally:
            self._service.stopping()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            self._alerts.resolve_all("host:", "the system stops")
            self._report_damage(producer)
            self._alerts.finish()
            self._alerts.publish_with(None)
            self._producer = None
            if self._writer_stores():  # if not, the next start sends the rest of the outbox
                await producer.drain(DRAIN_S)
            elif self._writer_runs():
                grace_s = self._settings.supervision.stop_grace_s
                logger.warning(
                    "stopping without the database, which does not answer: what waits for it has up to %g s, "
                    "group after group; events that are not stored stay in the outboxes",
                    grace_s,
                )
            for task in (delivery, *self._following):
                task.cancel()
            await asyncio.gather(delivery, *self._following, return_exceptions=True)
            producer.close()

    def _begin_alerts(self, producer: Producer) -> None:
        """Publish alerts from now on; those of an earlier system that are checked anew are resolved."""
        self._alerts.publish_with(producer.publish)
        for prefix in ("host:", NOT_READY, *PREFIXES):
            self._alerts.resolve_all(prefix, "the system starts")

    def _writer_runs(self) -> bool:
        processes = self.status().processes
        return any(each.name == CORE_WRITER and each.state == ProcessState.RUNNING.value for each in processes)

    def _writer_stores(self) -> bool:
        """Whether the writer runs and the database takes events."""
        return self._writer_runs() and not any(
            alert.process == CORE_WRITER and alert.identity in REFUSALS for alert in self._system_alerts.all()
        )

    def _adopt(self, settings: Settings) -> None:
        """Apply a reload to the host; the processes read the file themselves."""
        logs.set_level(settings.run.log_level)
        self._delivery.adopt(settings.alerts)
        self._accounts = _accounts_of(settings)
        self._today = TradingDayService(Path(settings.run.runtime), settings.day_rules, self._clock)
        if self._producer is not None:
            self._follow_schedule(self._producer)

    def _follow_schedule(self, producer: Producer) -> None:
        for task in self._following:
            task.cancel()
        self._following = [
            asyncio.create_task(report) for report in (self._report_phases(producer), self._report_readiness())
        ]

    async def _report_ready(self) -> None:
        await self._supervisor.started.wait()
        self._service.ready()

    async def _watch(self, identity: str, grace_s: float, problem: Callable[[], str], end: str) -> None:
        """Report a problem that lasts for more than so many machine seconds, and its end, until cancelled. `problem`
        returns its text, or nothing.
        """
        await self._supervisor.started.wait()
        lasts_s = 0.0
        while True:
            text = problem()
            lasts_s = lasts_s + _CHECK_S if text else 0.0
            if lasts_s > grace_s:
                self._alerts.report(identity, "critical", text)
            elif not text:
                self._alerts.resolve(identity, end)
            await asyncio.sleep(_CHECK_S)

    def _without_calendar(self) -> str:
        if self._today.known() is not None:
            return ""
        return "the trading day is not known: no phase, no universe, no sweep; see the log of master-file"

    def _without_writer(self) -> str:
        if self._writer_runs():
            return ""
        return f"{CORE_WRITER} does not run, nothing is stored: `observer ctl start {CORE_WRITER}`"

    async def _report_processes(self) -> None:
        """Report damage of the host's outbox, and end the alerts of dismissed processes, until cancelled. Where any
        process met damage of the database the writer checks it, once.
        """
        await self._supervisor.started.wait()
        is_checked = False
        while True:
            is_met = any(alert.identity == DATABASE_DAMAGED for alert in self._system_alerts.all())
            if is_met and not is_checked:
                reply = await self._orders.obey(RunJob("integrity"))
                is_checked = not isinstance(reply, Refused) or reply.code == "failed"
            is_checked = is_checked and is_met
            if self._producer is not None:
                self._report_damage(self._producer)
                self._settle_dismissed(frozenset(each.name for each in self.status().processes), self._producer)
            await asyncio.sleep(_CHECK_S)

    def _report_damage(self, producer: Producer) -> None:
        self._alerts.report_damage(producer.take_damage(), keeps_damaged=producer.keeps_damaged)
        self._lost_events.check()
        self._refused_requests.check()

    def _settle_dismissed(self, employed: frozenset[str], producer: Producer) -> None:
        """End the alerts of processes that are not configured any more, those that they raised among them."""
        if employed == self._employed:
            return
        self._employed = employed
        kept = {f"{prefix}{name}" for name in employed for prefix in PREFIXES}
        for prefix in PREFIXES:
            self._alerts.resolve_all(prefix, "it is no process of the configuration", kept)
        for name in kept_alerts(runtime := Path(self._settings.run.runtime)).keys() - employed - {NAME}:
            left = Alerts(self._clock, name, producer.publish, runtime=runtime)
            left.resolve_all("", f"{name} is no process of the configuration")
            self._system_alerts.forget([name])

    async def _report_phases(self, producer: Producer) -> None:
        while True:
            plan = await self._today.plan()
            now_ns = self._clock.now_ns()
            previous, self._logged_phase = self._logged_phase, phase_at(plan, now_ns)
            if self._logged_phase != previous:
                producer.publish(PhaseChanged(plan.day.isoformat(), now_ns, previous, self._logged_phase))
            await self._clock.sleep_until(next_change(plan, now_ns))

    async def _report_readiness(self) -> None:
        """Raise the readiness alert, ten minutes before the market opens."""
        async for plan in self._today.days():
            if is_readiness_due(plan, self._clock.now_ns(), is_open=NOT_READY in self._alerts.identities):
                await self._clock.sleep_until(plan.ready_ns)
                await self._until_ready()

    async def _until_ready(self) -> None:
        """Report whether every process runs; return when each does."""
        missing = missing_for_open(self.status().processes)
        if not missing and NOT_READY not in self._alerts.identities:
            self._alerts.happened(READY, "info", f"ready for the open: {len(self.status().processes)} processes run")
        while missing:
            self._alerts.report(NOT_READY, "critical", f"not ready for the open: {', '.join(missing)}")
            await asyncio.sleep(_CHECK_S)
            missing = missing_for_open(self.status().processes)
        self._alerts.resolve(NOT_READY, "every process runs")

    def on_change(self, name: str, previous: ProcessState, current: ProcessState, pid: int | None, reason: str) -> None:
        """Publish a process's change of state, and end a start without a writer (the supervisor's listener)."""
        complaint = self._complaint_of(name, current)
        if complaint and current is ProcessState.FATAL and not self.started.is_set():
            self._refusal = complaint
            self._supervisor.shutdown_asked.set()
        if self._producer is None:
            return
        now_ns = self._clock.now_ns()
        self._producer.publish(ProcessChanged(name, now_ns, previous.value, current.value, pid, reason))
        report_process(self._alerts, name, previous, current, reason, complaint)

    def _complaint_of(self, name: str, state: ProcessState) -> str | None:
        """The error with which the writer ended, from the last line of its log; None for other processes and ends."""
        has_ended = state in (ProcessState.FATAL, ProcessState.LOOPING, ProcessState.BACKOFF)
        return complaint_in(self._writer_log, name) if has_ended and name == CORE_WRITER else None

    def on_crossing(self, crossing: Crossing) -> None:
        """Raise an alert for a crossing of a host limit (the supervisor's listener)."""
        identity = f"host:{crossing.resource}"
        if crossing.is_over:
            self._alerts.report(identity, "warning", crossing_text(crossing))
        else:
            self._alerts.resolve(identity, crossing_text(crossing))


def _accounts_of(settings: Settings) -> Sequence[str]:
    return [account.account_id for account in settings.pool.accounts]


def is_readiness_due(plan: DayPlan, now_ns: int, *, is_open: bool) -> bool:
    """Whether to check readiness: before the day's sweeps, and later while its alert is open, after a reload, say."""
    return plan.trades and (now_ns < plan.track_a_start_ns or is_open)


def missing_for_open(processes: Sequence[ProcessStatus]) -> Sequence[str]:
    """The processes that do not run, each with its state."""
    return [f"{process.name} is {process.state}" for process in processes if process.state != ProcessState.RUNNING]
