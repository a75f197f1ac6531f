"""The common frame of worker processes: clock, log, lifeline, signals, heartbeat, outbox, orderly stop.

`run` starts a worker's body as a coroutine and cancels it at a stop request; the body's `finally` blocks are its
orderly stop. Exit statuses: 0 stopped as requested, 1 failed, 2 wrongly configured.
"""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from bus.commands import Heartbeat, Ready, Sample
from bus.control import ControlClient
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base import logs
from observer.base.clock import Clock, clock_from_environment
from observer.base.errors import ConfigError, StoreError
from observer.base.privacy import keep_private
from observer.base.settings import endpoints_of
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import REFUSALS, Alerts
from observer.monitoring.jobs import Job, run_jobs
from observer.monitoring.metrics.counters import COUNTERS, bounded
from observer.monitoring.metrics.delivery import producer_samples
from observer.supervisor.lifeline import end_with_supervisor
from observer.system.config import Settings, load_settings
from observer.system.process_orders import WorkerOrders
from observer.system.refusals import DiskAlerts, refused_events

if TYPE_CHECKING:
    from observer.brokers.accounts.clients import Brokers
    from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 1.0
DRAIN_S: Final = 5.0  # how long a stopping worker waits for the writer; uncommitted events stay on disk
SETTLE_S: Final = 1.0
THREADS_S: Final = 1.0  # how long an ended worker waits for calls on threads, which may wait for a silent database
THREADS_POLL_S: Final = 0.01
_THREADS: Final = "call"


class Worker:
    """Everything that a worker's body uses; `configuration` is the file of the settings."""

    def __init__(self, name: str, settings: Settings, clock: Clock, configuration: Path | None = None) -> None:
        self.name = name
        self.settings = settings
        self.configuration = configuration
        self.clock = clock
        self.runtime = Path(settings.run.runtime)
        self.endpoints = endpoints_of(settings.run)
        self.control = ControlClient(self.endpoints.control)
        self.alerts = Alerts(clock, name, runtime=self.runtime)
        self.orders = WorkerOrders(name, self.alerts)
        self.progress: Callable[[], int] = lambda: 0
        self.figures: Callable[[], Sequence[Sample]] = tuple
        self._unstorable = refused_events(self.alerts, self._events_unstorable)  # `DiskAlerts` reports a full disk

    def _events_unstorable(self) -> int:
        return self.orders.producer.unstorable if self.orders.producer is not None else 0

    @cached_property
    def today(self) -> TradingDayService:
        """The plan of the current trading day."""
        return TradingDayService(self.runtime, self.settings.day_rules, self.clock)

    async def ready(self) -> None:
        """Report readiness to the supervisor; dependent processes may start then."""
        await self.control.send(Ready(self.name, os.getpid()))

    def brokers(self) -> "Brokers":
        """The configured accounts; the broker's modules are loaded only here."""
        from observer.brokers.accounts.clients import Brokers

        return Brokers(self.settings.clients, self.clock, random.Random(os.getpid()), self.name)

    @contextlib.asynccontextmanager
    async def reader(self) -> "AsyncIterator[StoreReader]":
        """The database, for reading; waits while it does not answer, since a restart would not help."""
        from observer.store.reader import StoreReader
        from observer.store.readiness import DATABASE_RETRY_S

        while True:
            try:
                reader = await asyncio.to_thread(StoreReader, self.settings.store.url)
                break
            except StoreError as error:
                logger.error("waiting for the database: %s", error)
                await asyncio.sleep(DATABASE_RETRY_S)
        with reader:
            yield reader

    async def settled(self, producer: Producer) -> None:
        """Wait until every published event, of earlier processes of this name too, is in the database.

        Required before reading the database to resume the work of an earlier process.
        """
        while not await producer.drain(SETTLE_S):
            logger.info("waiting for %d events to be stored", producer.unacknowledged)

    async def run_jobs(self, jobs: Sequence[Job], until_ns: int) -> None:
        """Run the jobs of a day as `monitoring.jobs`, none beside a job that an operator ordered."""
        await run_jobs(jobs, until_ns, clock=self.clock, alerts=self.alerts, turn=self.orders.turn)

    def samples(self) -> list[Sample]:
        """The process's figures for the exporter, as many as a heartbeat carries."""
        producer = self.orders.producer
        delivery = () if producer is None else producer_samples(producer)
        return bounded([*delivery, *self.figures(), *COUNTERS.samples()])

    def report_damage(self) -> None:
        """Report what was found damaged or missing in the outbox."""
        if producer := self.orders.producer:
            self.alerts.report_damage(producer.take_damage(), keeps_damaged=producer.keeps_damaged)
            self._unstorable.check()

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[Producer]:
        """The worker's outbox, delivering while the block runs; at its end waits for the published events."""
        directory = self.runtime / "outbox" / self.name
        producer = Producer(
            Outbox(directory, self.name, uuid.uuid4().hex, self.settings.backup.archive_limits), self.endpoints.ingest
        )
        disk_alerts = DiskAlerts(self.alerts)
        self.progress = lambda: producer.published
        self.orders.producer = producer
        try:
            # a failed delivery ends the body: it is useless alone
            async with asyncio.TaskGroup() as tasks:
                delivery = tasks.create_task(producer.run())
                reporting = tasks.create_task(disk_alerts.run(producer))
                try:
                    with producer.reporting(disk_alerts.count):
                        self.alerts.publish_with(producer.publish)
                        yield producer
                finally:
                    self.report_damage()
                    is_refused = any(map(self.alerts.are_open, REFUSALS))  # the writer knows that nothing is stored
                    self.alerts.finish()
                    self.alerts.publish_with(None)
                    reporting.cancel()
                    if not delivery.done() and not await producer.drain(0 if is_refused else DRAIN_S):
                        logger.warning("%d events stay in the outbox for the next run", producer.unacknowledged)
                    delivery.cancel()
        finally:
            producer.close()


def run(name: str, body: Callable[[Worker], Awaitable[None]]) -> None:
    """Run a worker process from start to exit; never returns."""
    keep_private()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # the supervisor asks a hung process for its stacks
    end_with_supervisor()
    try:
        clock = clock_from_environment()
        configuration = _configuration_path(name)
        settings = load_settings(configuration)
    except (ConfigError, ValueError) as error:
        sys.exit(_complain(name, error))
    logs.set_up(name, clock, level=settings.run.log_level, head=settings.log_head(configuration))
    status = 0
    try:
        asyncio.run(_run_body(lambda: Worker(name, settings, clock, configuration), body))
    except ConfigError as error:
        status = _complain(name, error)
    except Exception:
        logger.exception("failed")
        status = 1
    _exit(status)


def _exit(status: int) -> NoReturn:
    """End the process; a call on a thread that does not end, as of a database that stands still, is abandoned: what is
    not acknowledged is in the outbox.
    """
    until_s = time.monotonic() + THREADS_S
    while any(thread.name.startswith(_THREADS) for thread in threading.enumerate()):
        if time.monotonic() >= until_s:
            logger.warning("a call has not ended within %g s of the stop and is abandoned", THREADS_S)
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        time.sleep(THREADS_POLL_S)
    sys.exit(status)


def _configuration_path(name: str) -> Path:
    parser = argparse.ArgumentParser(prog=f"python -m workers.{name.replace('-', '_')}")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file, see config/observer.toml")
    path: Path = parser.parse_args().config
    return path


def _complain(name: str, error: Exception) -> int:
    with contextlib.suppress(OSError):  # the disk of the log may be full; the status says it too
        sys.stderr.write(f"{name}: {error}\n")
    return 2


async def _run_body(make: Callable[[], Worker], body: Callable[[Worker], Awaitable[None]]) -> None:
    # The loop waits for the threads of its own pool without a bound, and not for those of a pool that is shut down.
    pool = ThreadPoolExecutor(thread_name_prefix=_THREADS)
    asyncio.get_running_loop().set_default_executor(pool)
    worker = make()
    try:
        await _live(worker, body)
    finally:
        worker.control.close()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
        pool.shutdown(wait=False, cancel_futures=True)


async def _live(worker: Worker, body: Callable[[Worker], Awaitable[None]]) -> None:
    stopping = asyncio.Event()
    worker.alerts.use_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    worker.control.obey(worker.orders.obey)
    beat = asyncio.create_task(_beat(worker))
    stop = asyncio.create_task(stopping.wait())
    work = asyncio.ensure_future(body(worker))
    await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
    await worker.orders.stop()
    work.cancel()
    [result] = await asyncio.gather(work, return_exceptions=True)  # heartbeats go on while the body cleans up
    for task in (stop, beat):
        task.cancel()
    await asyncio.gather(stop, beat, return_exceptions=True)
    if isinstance(result, Exception):
        raise result


async def _beat(worker: Worker) -> None:
    """Send a heartbeat with the event loop's lag and the open alerts to the supervisor every second."""
    pid = os.getpid()
    while True:
        before_s = time.monotonic()
        await asyncio.sleep(HEARTBEAT_S)
        lag_s = max(0.0, time.monotonic() - before_s - HEARTBEAT_S)
        worker.report_damage()
        worker.alerts.report_seen()
        worker.alerts.tick()
        alerts = list(worker.alerts.open)
        beat = Heartbeat(worker.name, pid, lag_s, worker.progress(), alerts, worker.samples())
        await worker.control.send(beat)
