"""What every worker process is made of: clock, log, lifeline, signals, heartbeat, outbox, and an orderly stop.

`run` starts a worker's body as a coroutine and cancels it when the process is to stop; what the body cleans up in its
`finally` blocks is its orderly stop. Exit statuses: 0 stopped as asked, 1 failed, 2 wrongly configured.
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
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bus.commands import Heartbeat, Ready
from bus.control import ControlClient
from bus.outbox import Outbox
from bus.producer import Producer
from observer import logs
from observer.clock import Clock, clock_from_environment
from observer.config import Settings, endpoints_of, load_settings
from observer.errors import ConfigError, StoreError
from observer.today import Today
from workers.alerts import DiskAlerts
from workers.orders import Orders

if TYPE_CHECKING:
    from observer.brokers import BrokerAccount, Brokers
    from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 1.0
DRAIN_S: Final = 5.0  # how long a stopping worker waits for the writer; what is not committed by then stays on disk
SETTLE_S: Final = 1.0
DATABASE_RETRY_S: Final = 1.0
LIFELINE_VARIABLE: Final = "OBSERVER_LIFELINE_FD"


class Worker:
    """What a worker's body works with."""

    def __init__(self, name: str, settings: Settings, clock: Clock, configuration: Path | None = None) -> None:
        """`configuration` is the file of the settings, where they are from one: for processes that it starts."""
        self.name = name
        self.settings = settings
        self.configuration = configuration
        self.clock = clock
        self.runtime = Path(settings.run.runtime)
        self.endpoints = endpoints_of(settings.run)
        self.control = ControlClient(self.endpoints.control)
        self.orders = Orders(name, clock)
        self.progress: Callable[[], int] = lambda: 0
        self.today = Today(settings, clock)

    async def ready(self) -> None:
        """Tell the supervisor that what depends on this process may start."""
        await self.control.send(Ready(self.name, os.getpid()))

    def brokers(self) -> "Brokers":
        """The configured accounts; only processes that call a broker load what that takes."""
        from observer.brokers import Brokers

        return Brokers(self.settings, self.clock, random.Random(os.getpid()), self.name)

    def broker_account(self) -> "BrokerAccount":
        """The first of them by priority."""
        return self.brokers().accounts[0]

    @contextlib.asynccontextmanager
    async def reader(self) -> "AsyncIterator[StoreReader]":
        """The database, for reading; while it does not answer this waits, since ending would not bring it back."""
        from observer.store.reader import StoreReader

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
        """Wait until all that was published, by earlier processes of this name too, is in the database.

        Whoever reads the database to go on where an earlier process stopped must do this first.
        """
        while not await producer.drain(SETTLE_S):
            logger.info("waiting for %d events to be stored", producer.unacknowledged)

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[Producer]:
        """The worker's outbox, delivering while the block runs; at its end what was published is waited for."""
        directory = self.runtime / "outbox" / self.name
        producer = Producer(Outbox(directory, self.name, uuid.uuid4().hex), self.endpoints.ingest)
        disk_alerts = DiskAlerts(self.clock, self.name)
        self.progress = lambda: producer.published
        self.orders.producer = producer
        try:
            # a delivery that fails takes the body with it: it is no use alone
            async with asyncio.TaskGroup() as tasks:
                delivery = tasks.create_task(producer.run())
                telling = tasks.create_task(disk_alerts.run(producer))
                try:
                    with producer.telling(disk_alerts.count):
                        yield producer
                finally:
                    telling.cancel()
                    if not delivery.done() and not await producer.drain(DRAIN_S):
                        logger.warning("%d events stay in the outbox for the next run", producer.unacknowledged)
                    delivery.cancel()
        finally:
            producer.close()


def run(name: str, body: Callable[[Worker], Awaitable[None]]) -> None:
    """The whole life of a worker process; never returns."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # the supervisor asks a hung process for its stacks
    _hold_on_to_lifeline()
    try:
        clock = clock_from_environment()
        configuration = _configuration_path(name)
        settings = load_settings(configuration)
    except (ConfigError, ValueError) as error:
        sys.exit(_complain(name, error))
    logs.set_up(name, clock, level=settings.run.log_level)
    try:
        asyncio.run(_run_body(name, settings, clock, configuration, body))
    except ConfigError as error:
        sys.exit(_complain(name, error))
    except Exception:
        logger.exception("failed")
        sys.exit(1)
    sys.exit(0)


def _configuration_path(name: str) -> Path:
    parser = argparse.ArgumentParser(prog=f"python -m workers.{name.replace('-', '_')}")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file, see config/observer.toml")
    path: Path = parser.parse_args().config
    return path


def _complain(name: str, error: Exception) -> int:
    sys.stderr.write(f"{name}: {error}\n")
    return 2


def _hold_on_to_lifeline() -> None:
    """Die with the supervisor, children and all: its end of this pipe closes when it does, however it does."""
    text = os.environ.get(LIFELINE_VARIABLE)
    if text is None:
        return
    descriptor = int(text)
    os.set_inheritable(descriptor, False)

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


async def _run_body(
    name: str, settings: Settings, clock: Clock, configuration: Path, body: Callable[[Worker], Awaitable[None]]
) -> None:
    worker = Worker(name, settings, clock, configuration)
    try:
        await _live(worker, body)
    finally:
        worker.control.close()


async def _live(worker: Worker, body: Callable[[Worker], Awaitable[None]]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    worker.control.obey(worker.orders.obey)
    beat = asyncio.create_task(_beat(worker))
    stop = asyncio.create_task(stopping.wait())
    work = asyncio.ensure_future(body(worker))
    await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
    await worker.orders.stop()
    work.cancel()
    [result] = await asyncio.gather(work, return_exceptions=True)  # the heart beats on while the body cleans up
    for task in (stop, beat):
        task.cancel()
    await asyncio.gather(stop, beat, return_exceptions=True)
    if isinstance(result, Exception):
        raise result


async def _beat(worker: Worker) -> None:
    """Tell the supervisor every second that this process lives and how late its event loop is."""
    pid = os.getpid()
    while True:
        before_s = time.monotonic()
        await asyncio.sleep(HEARTBEAT_S)
        lag_s = max(0.0, time.monotonic() - before_s - HEARTBEAT_S)
        await worker.control.send(Heartbeat(worker.name, pid, lag_s, worker.progress()))
