"""The exporter of one system: joins what the processes count, what the host knows and what the feed brings.

It runs in the host, off the writer's path: the processes send their figures with their heartbeats, and the feed drops
what a slow reader does not take.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from bus.commands import Sample, StatusReply
from bus.endpoints import Address
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.logs import own_version
from observer.monitoring.metrics import events
from observer.monitoring.metrics.counters import Counters
from observer.monitoring.metrics.delivery import producer_samples
from observer.monitoring.metrics.families import MEDIA_TYPE, exposition, of_process
from observer.monitoring.metrics.host import system_samples
from observer.monitoring.metrics.readiness import DayState, Owners, readiness
from observer.monitoring.metrics.server import Answer, Server

logger = logging.getLogger(__name__)

STORAGE_S: Final = 10.0  # machine seconds between looks at the disk


class System(msgspec.Struct, frozen=True, kw_only=True):
    """What the exporter asks the host, each at the moment of the call.

    Args:
        status: of the system.
        samples: the figures of the processes' last heartbeats.
        machine: the figures of the machine, and those of the disk, which may take a while.
        day: what the calendar says of this moment.
        producer: the host's.
        accounts: the configured ones.
        owners: the processes that the readiness is about.
    """

    status: Callable[[], StatusReply]
    samples: Callable[[], Mapping[str, Sequence[Sample]]]
    machine: Callable[[], Iterable[Sample]]
    disk: Callable[[], Sequence[Sample]]
    day: Callable[[], DayState]
    producer: Callable[[], Producer | None]
    accounts: Callable[[], Collection[str]]
    owners: Owners


class Exporter:
    """Answers Prometheus while `run` runs.

    Args:
        port: on loopback.
        name: of the host's process.
        system: the host.
        feed_address: the feed of committed events.
        clock: market time.
    """

    def __init__(self, port: int, name: str, system: System, feed_address: Address, clock: Clock) -> None:
        self._name = name
        self._system = system
        self._feed_address = feed_address
        self._clock = clock
        self._feed: FeedSubscriber | None = None
        self._counters = Counters()
        self._figures = events.FeedFigures(self._counters, system.owners.slots)
        self._disk: Sequence[Sample] = ()
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
                tasks.create_task(self._look_at_disk())
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

    async def _look_at_disk(self) -> None:
        while True:
            self._disk = await asyncio.to_thread(self._system.disk)
            await asyncio.sleep(STORAGE_S)

    def samples(self) -> Sequence[Sample]:
        """All figures now."""
        found = [*system_samples(self._system.status(), self._version), *self._system.machine(), *self._disk]
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
        system = self._system
        found = readiness(system.status(), samples, system.day(), system.owners, system.accounts())
        return _json(200 if found.ready else 503, found)


def _json(status: int, content: object) -> Answer:
    return Answer(status, "application/json", msgspec.json.encode(content))
