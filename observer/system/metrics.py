"""The exporter of one system: joins what the processes count, what the host knows and what the feed brings.

It runs in the host, off the writer's path: the processes send their figures with their heartbeats, and the feed drops
what a slow reader does not take.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from bus.commands import Sample, StatusReply
from bus.endpoints import Address
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.logs import own_version
from observer.calendar.phases import DayPlan
from observer.monitoring.alerts.process import DATABASE_UNAVAILABLE
from observer.monitoring.metrics import events
from observer.monitoring.metrics.counters import Counters
from observer.monitoring.metrics.delivery import producer_samples
from observer.monitoring.metrics.families import MEDIA_TYPE, exposition, of_process
from observer.monitoring.metrics.host import Storage, Traffic, machine_samples, system_samples
from observer.monitoring.metrics.readiness import DayState, Owners, readiness
from observer.monitoring.metrics.server import Answer, Server
from observer.supervisor.limits import HostFigures
from observer.supervisor.watch import disk_bytes, interface_bytes
from observer.system.config import Settings
from observer.system.processes import CORE_WRITER, SLOTS_OWNER
from observer.system.storage import storage_of

logger = logging.getLogger(__name__)

STORAGE_S: Final = 10.0  # machine seconds between looks at the disk
OWNERS: Final = Owners(database=CORE_WRITER, tokens="accounts", slots=SLOTS_OWNER, database_alert=DATABASE_UNAVAILABLE)


class System(msgspec.Struct, frozen=True):
    """What the exporter asks the host: the system's status, the processes' figures, the machine's, the day's plan, the
    host's producer, the configured accounts; each at the moment of the call.
    """

    status: Callable[[], StatusReply]
    samples: Callable[[], Mapping[str, Sequence[Sample]]]
    machine: Callable[[], HostFigures | None]
    plan: Callable[[], DayPlan | None]
    producer: Callable[[], Producer | None]
    accounts: Callable[[], Collection[str]]


class Exporter:
    """Answers Prometheus while `run` runs.

    Args:
        port: on loopback.
        name: of the host's process.
        system: the host.
        settings: where the system keeps its data.
        feed_address: the feed of committed events.
        clock: market time.
    """

    def __init__(
        self, port: int, name: str, system: System, settings: Settings, feed_address: Address, clock: Clock
    ) -> None:
        self._name = name
        self._system = system
        self._settings = settings
        self._feed_address = feed_address
        self._clock = clock
        self._feed: FeedSubscriber | None = None
        self._counters = Counters()
        self._figures = events.FeedFigures(self._counters, OWNERS.slots)
        self._storage = Storage()
        self._version = own_version()
        routes = {"/metrics": self._metrics, "/healthz": self._health, "/readyz": self._readiness}
        self._server = Server(port, routes)
        self._port = port

    async def run(self) -> str:
        """Serve until cancelled. Returns why it ended before; that does not end the system."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._server.run())
                tasks.create_task(self._follow_feed())
                tasks.create_task(self._look_at_storage())
        except* Exception as group:
            logger.exception("the exporter ended")
            failure = str(group.exceptions[0])
        return f"no figures for Prometheus on port {self._port}: {failure}; the next start of the system tries again"

    async def _follow_feed(self) -> None:
        self._feed = FeedSubscriber(self._feed_address, events.KINDS)
        try:
            async for event in self._feed:
                self._figures.count(event, self._clock.now_ns())
        finally:
            self._feed.close()

    async def _look_at_storage(self) -> None:
        while True:
            self._storage = await asyncio.to_thread(storage_of, self._settings)
            await asyncio.sleep(STORAGE_S)

    def samples(self) -> Sequence[Sample]:
        """All figures now."""
        found = [*system_samples(self._system.status(), self._version), *machine_samples(traffic(), self._storage)]
        if (machine := self._system.machine()) is not None:
            found += [
                Sample("observer_machine_cpu_ratio", (), machine.cpu_percent / 100),
                Sample("observer_memory_bytes", (), machine.memory_bytes),
                Sample("observer_disk_used_ratio", (), machine.disk_percent / 100),
            ]
        if self._feed is not None:
            found += [
                Sample("observer_feed_missed_events_total", (), self._feed.missed),
                Sample("observer_feed_possible_losses_total", (), self._feed.possible_losses),
            ]
        if (producer := self._system.producer()) is not None:
            found += of_process(self._name, producer_samples(producer))
        for process, samples in self._system.samples().items():
            found += of_process(process, samples)
        return [*found, *self._counters.samples()]

    def _metrics(self) -> Answer:
        return Answer(200, MEDIA_TYPE, exposition(self.samples()))

    def _health(self) -> Answer:
        """The host lives and its event loop turns: otherwise there would be no answer."""
        status = self._system.status()
        content = {"status": "alive", "uptime_s": status.uptime_s, "phase": status.phase, "version": self._version}
        return _json(200, content)

    def _readiness(self) -> Answer:
        samples = {**self._system.samples(), "": self._counters.samples()}
        day = day_state(self._system.plan(), self._clock.now_ns())
        found = readiness(self._system.status(), samples, day, OWNERS, self._system.accounts())
        return _json(200 if found.ready else 503, found)


def day_state(plan: DayPlan | None, now_ns: int) -> DayState:
    """What is due at this moment; None: the calendar does not know the day."""
    if plan is None:
        return DayState(is_known=False)
    return DayState(
        is_known=True,
        connects=plan.trades and plan.context_sync_ns <= now_ns < plan.track_b_stop_ns,
        streams=plan.trades and plan.track_b_start_ns <= now_ns < plan.track_b_stop_ns,
    )


def traffic() -> Traffic:
    """The machine's traffic until now."""
    outside, disk = interface_bytes(), disk_bytes()
    return Traffic(
        received=None if outside is None else sum(received for received, _ in outside.values()),
        transmitted=None if outside is None else sum(sent for _, sent in outside.values()),
        read=None if disk is None else disk[0],
        written=None if disk is None else disk[1],
    )


def _json(status: int, content: object) -> Answer:
    return Answer(status, "application/json", msgspec.json.encode(content))
