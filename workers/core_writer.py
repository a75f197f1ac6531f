"""The only process that writes the database: ingest -> store -> acknowledge -> feed and tap.

It also writes the ledgers' files, judges each day's data once its stream has ended, and makes the backup.
"""

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bus.commands import Refused
from bus.delivery import Delivered
from bus.events import AlertRaised, BackupCompleted
from bus.feed import FeedPublisher
from bus.ingest import Ingest
from bus.producer import Producer
from bus.tap import TapPublisher
from observer.clock import kst_datetime
from observer.errors import ObserverError, StoreError
from observer.store.backup import backup
from observer.store.engine import migrate
from observer.store.writer import Committed, StoreWriter
from workers.alerts import QuarantineAlerts
from workers.ledgers import LedgerKeeping
from workers.runtime import DATABASE_RETRY_S, Worker, run
from workers.verdicts import Verdicts

logger = logging.getLogger(__name__)

# A group under load is some 20,000 rows, each a tuple of plain values that no cycle can hold. With Python's own 700 new
# objects between collections the collector looks at all of them many times in vain: a tenth of the writer's work.
COLLECT_AFTER_OBJECTS: Final = 100_000


async def core_writer(worker: Worker) -> None:
    """Migrate, then write until stopped; the thread that writes goes on until its queue is empty."""
    url = worker.settings.store.url
    await _migrate(url)
    gc.collect()
    gc.freeze()  # what is there now stays
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    alerts = QuarantineAlerts(worker.clock, worker.name)
    ledgers, verdicts = LedgerKeeping(worker), Verdicts(worker)
    writer = CountingWriter(url, alerts.count_from_thread, (ledgers.count_from_thread, verdicts.count_from_thread))
    async with (
        ledgers.until_the_end(),
        _ingest(worker, writer),
        worker.producer() as producer,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(alerts.run(producer))
        tasks.create_task(ledgers.run(producer))
        worker.orders.jobs = {
            "backup": lambda: _back_up_now(worker, producer),
            "quality": lambda: verdicts.judge_now(producer),
        }
        await worker.ready()
        tasks.create_task(verdicts.run(producer))
        await _back_up_daily(worker, producer)


class CountingWriter(StoreWriter):
    """The writer, which says of each commit how many events went to quarantine, and how many rows of each kind it has.

    A commit in which the connection was lost says nothing, whatever its outcome: the database itself is complete.
    """

    def __init__(
        self,
        url: str,
        on_quarantined: Callable[[int], None],
        on_stored: Sequence[Callable[[Mapping[str, int]], None]],
    ) -> None:
        super().__init__(url)
        self._on_quarantined = on_quarantined
        self._on_stored = on_stored

    def commit(self, batches: Sequence[Delivered]) -> Committed:
        """As `StoreWriter.commit`."""
        committed = super().commit(batches)
        if committed.quarantined:
            logger.error("%d events went to quarantine", committed.quarantined)
            self._on_quarantined(committed.quarantined)
        for tell in self._on_stored:
            tell(committed.rows_by_kind)
        return committed


async def _migrate(url: str) -> None:
    """Bring the database to our schema; while it does not answer this waits, since ending would not bring it back."""
    while True:
        try:
            return await asyncio.to_thread(migrate, url)
        except StoreError as error:
            logger.error("waiting for the database: %s", error)
            await asyncio.sleep(DATABASE_RETRY_S)


@contextlib.asynccontextmanager
async def _ingest(worker: Worker, writer: StoreWriter) -> AsyncIterator[None]:
    feed = FeedPublisher(worker.endpoints.feed)
    tap = TapPublisher(worker.endpoints.tap)

    def tell(group: Sequence[Delivered]) -> None:
        feed.publish(group)
        tap.publish(group)

    ingest = Ingest(worker.endpoints.ingest, writer, tell, StoreError)
    stopping = threading.Event()
    try:
        async with asyncio.TaskGroup() as tasks:  # a thread that fails takes the process with it
            thread = tasks.create_task(asyncio.to_thread(ingest.run, stopping))
            try:
                yield
            finally:
                stopping.set()
                await asyncio.wait([thread])  # a group only cancels, and that leaves the thread at work behind it
    finally:
        feed.close()
        await asyncio.to_thread(tap.close)
        writer.close()
        logger.info("stored %d events in %d commits", ingest.committed_events, ingest.commits)


async def _back_up_daily(worker: Worker, producer: Producer) -> None:
    """One backup a day at its time; a process that starts later makes it only if there is none yet."""
    while True:
        plan = await worker.today.plan()
        await worker.clock.sleep_until(plan.backup_ns)
        stamp = kst_datetime(plan.backup_ns).strftime("%Y%m%d")
        async with worker.orders.turn:
            if not any(_backups(worker).glob(f"observer-{stamp}.*")):
                producer.publish(await asyncio.to_thread(_back_up, worker, stamp))
        await worker.today.end_of(plan)


async def _back_up_now(worker: Worker, producer: Producer) -> str | Refused:
    """A backup beside the day's, by order of a person."""
    stamp = kst_datetime(worker.clock.now_ns()).strftime("%Y%m%dT%H%M%S")
    made = await asyncio.to_thread(_back_up, worker, stamp)
    producer.publish(made)
    return Refused("failed", made.text) if isinstance(made, AlertRaised) else f"{made.path}, {made.size_bytes:,} bytes"


def _backups(worker: Worker) -> Path:
    return Path(worker.settings.run.data) / "backup"


def _back_up(worker: Worker, stamp: str) -> BackupCompleted | AlertRaised:
    try:
        made = backup(worker.settings.store.url, _backups(worker), stamp)
    except (ObserverError, OSError) as error:
        logger.error("backup failed: %s", error)
        return AlertRaised(worker.clock.now_ns(), "critical", worker.name, f"backup failed: {error}")
    return BackupCompleted(worker.clock.now_ns(), str(made.path), made.size_bytes, made.sha256)


if __name__ == "__main__":
    run("core-writer", core_writer)
