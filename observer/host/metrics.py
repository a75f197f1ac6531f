"""The exporter of one system: joins what the processes count, what the host knows and what the feed brings.

It runs in the host, off the writer's path: the processes send their figures with their heartbeats, and the feed drops
what a slow reader does not take.
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from bus.commands import Sample, StatusReply
from bus.endpoints import Address
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.alerts.process import DATABASE_UNAVAILABLE
from observer.backup.manifest import is_package_name, moment_in
from observer.calendar.phases import DayPlan
from observer.clock import Clock
from observer.config import Settings
from observer.metrics import events
from observer.metrics.counters import Counters
from observer.metrics.delivery import producer_samples
from observer.metrics.families import MEDIA_TYPE, exposition, of_process
from observer.metrics.host import Storage, Traffic, machine_samples, system_samples
from observer.metrics.readiness import DayState, Owners, readiness
from observer.metrics.server import Answer, Server
from observer.processes import CORE_WRITER, SLOTS_OWNER
from observer.supervisor.limits import HostFigures
from observer.supervisor.watch import disk_bytes, interface_bytes

logger = logging.getLogger(__name__)

STORAGE_S: Final = 10.0  # machine seconds between looks at the disk
OWNERS: Final = Owners(database=CORE_WRITER, tokens="accounts", slots=SLOTS_OWNER, database_alert=DATABASE_UNAVAILABLE)
_SQLITE: Final = "sqlite"


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
        self._version = _version()
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


def storage_of(settings: Settings) -> Storage:
    """The sizes on the disk now; what cannot be read is left out."""
    run = settings.run
    outboxes = [folder for folder in _entries(Path(run.runtime) / "outbox") if folder.is_dir()]
    free_bytes = None
    with contextlib.suppress(OSError):
        free_bytes = shutil.disk_usage(run.data).free
    return Storage(
        disk_free_bytes=free_bytes,
        database_bytes=_database_bytes(settings.store.url),
        outbox_bytes={folder.name: _bytes_in(folder) for folder in outboxes},
        archive_bytes={folder.name: _bytes_in(folder / "archive") for folder in outboxes},
        backups_ns=_newest_packages(settings.backup.folder_of(run)),
    )


def _database_bytes(url: str) -> int | None:
    if not url.startswith(_SQLITE):
        return None
    path = Path(url.partition(":///")[2].partition("?")[0])
    return sum(_size(path.with_name(path.name + suffix)) for suffix in ("", "-wal"))


def _newest_packages(folder: Path) -> Mapping[str, int]:
    """The time of the newest package of each kind that was verified, by its name."""
    names = [each.name for each in _entries(folder) if is_package_name(each.name) and (each / "verified.json").exists()]
    newest: dict[str, int] = {}
    for name in names:
        kind = name.split("-")[1]
        newest[kind] = max(newest.get(kind, 0), moment_in(name))
    return newest


def _bytes_in(folder: Path) -> int:
    """The size of the files right in the folder."""
    return sum(_size(path) for path in _entries(folder) if path.is_file())


def _entries(folder: Path) -> Sequence[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _json(status: int, content: object) -> Answer:
    return Answer(status, "application/json", msgspec.json.encode(content))


def _version() -> str:
    try:
        return version("observer")
    except PackageNotFoundError:  # it runs from a folder
        return "unknown"
