"""The only process that writes the database: ingest, store, acknowledge, publish to the feed and the batch feed.

It also writes the ledgers' files, makes the backup, and each day the statistics of the tables; with `[store] keep_days`
it removes the rows of old sealed days.
"""

import asyncio
import contextlib
import gc
import logging
import os
import threading
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

from bus.batch_feed import BatchFeedPublisher
from bus.delivery import Delivered
from bus.feed import FeedPublisher
from bus.ingest import Ingest, Listeners, ingest_socket
from bus.peers import NETWORK
from observer.archive.backup import plan_of
from observer.archive.backup_jobs import BackupJobs
from observer.archive.copying import copy_of_lake
from observer.archive.day_files import DayFiles
from observer.archive.package import cached_safe_marks, require_restored
from observer.archive.removal import Removal, RemovalJob
from observer.archive.settings import LakeSettings
from observer.base.errors import StoreError
from observer.monitoring.alerts.process import (
    DATABASE_DAMAGED,
    DATABASE_UNAVAILABLE,
    DATABASE_WENT_BACK,
    database_identity,
)
from observer.store.exports import LedgerExport, Ledgers, ledgers_folder
from observer.store.integrity import report_integrity
from observer.store.owner import claim
from observer.store.readiness import database_ready, report_silence
from observer.store.reporting_writer import ReportingWriter
from observer.store.statistics import StatisticsJob
from observer.store.systems import this_system
from observer.store.write_ahead_log import folded_at_end
from observer.supervisor.lifeline import LIFELINE_VARIABLE
from observer.system.refusals import Refusals, refused_messages
from observer.system.worker import Worker, run
from observer.system.writer_process import RESTORES_VARIABLE

logger = logging.getLogger(__name__)

# A group under load is some 20,000 rows, each a tuple of plain values that no cycle can hold. With Python's own 700 new
# objects between collections the collector scans all of them many times in vain: a tenth of the writer's work.
COLLECT_AFTER_OBJECTS: Final = 100_000


async def core_writer(worker: Worker) -> None:
    """Claim the database, then write until stopped; the thread that writes goes on until its queue is empty.

    Raises:
        ConfigError: as `database_ready`, or the database belongs to another instance.
    """
    settings = worker.settings
    url = settings.store.url
    # The supervisor, or the command, is the system: it lives on while its writer is restarted.
    system = this_system(worker.runtime, os.getppid() if LIFELINE_VARIABLE in os.environ else None)
    if RESTORES_VARIABLE in os.environ:
        worker.alerts.leave_out(DATABASE_WENT_BACK)
    copies = settings.backup.folder_of(settings.run)
    now_ns = worker.clock.now_ns()

    def prepare() -> None:
        require_restored(url, copies, settings.instance)
        claim(url, settings.instance, settings.providers, now_ns, system, copies)

    await database_ready(prepare, worker.alerts)
    gc.collect()
    gc.freeze()  # existing objects stay
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    backups = _backup_jobs(worker)
    ledgers = LedgerExport(
        Ledgers(url, ledgers_folder(settings.run.data), settings.provider, settings.instance.market),
        worker.alerts,
    )
    removal: Removal

    def forget_removed() -> None:
        removal.forget()

    writer = ReportingWriter(
        url, system, worker.clock.now_ns, worker.alerts, (ledgers.count_from_thread,), on_epoch=forget_removed
    )
    removal = Removal(writer)
    await database_ready(writer.open, worker.alerts)
    worker.alerts.resolve(DATABASE_UNAVAILABLE, "the database answers")
    async with (
        folded_at_end(url),
        ledgers.until_the_end(),
        _ingest(worker, writer, removal),
        worker.producer() as producer,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(ledgers.run())
        tasks.create_task(StatisticsJob(url, worker.today, worker.clock, worker.alerts).run())
        if settings.lake is not None and (kept := settings.store.keep_days) is not None:
            lake, market = settings.lake.folder_in(settings.run.data), settings.instance.market
            job = RemovalJob(
                lake,
                market,
                kept,
                removal,
                worker.today,
                worker.clock,
                worker.alerts,
                copy=None if settings.lake.target else copy_of_lake(copies, settings.instance).folder,
            )
            tasks.create_task(job.run())
        check = partial(report_integrity, url, worker.alerts)
        if worker.alerts.are_open(DATABASE_DAMAGED):  # perhaps of a database that was replaced since
            tasks.create_task(check())
        worker.orders.jobs = {"backup": lambda: backups.make_now(producer), "integrity": check}
        worker.orders.directed_jobs = {"backup": backups.result}
        await worker.ready()
        tasks.create_task(backups.watch())
        await backups.run(producer)


def _backup_jobs(worker: Worker) -> BackupJobs:
    settings = worker.settings
    lake = (settings.lake or LakeSettings()).folder_in(settings.run.data)  # days that a person sealed, too
    day_files = DayFiles(ledgers_folder(settings.run.data), settings.provider) if settings.lake is None else None
    store, configuration = settings.store.url, worker.configuration
    return BackupJobs(
        plan=plan_of(settings.backup, settings.run, settings.instance, store, configuration, lake, day_files),
        turn=worker.orders.turn,
        today=worker.today,
        clock=worker.clock,
        alerts=worker.alerts,
    )


@contextlib.asynccontextmanager
async def _ingest(worker: Worker, writer: ReportingWriter, removal: Removal) -> AsyncIterator[None]:
    feed = FeedPublisher(worker.endpoints.feed)
    batch_feed = BatchFeedPublisher(worker.endpoints.batch_feed)

    refused: Refusals

    def report(group: Sequence[Delivered]) -> None:
        feed.publish(group)
        batch_feed.publish(group)
        writer.renew_ownership()
        refused.check_from_thread()
        if not group:
            removal.step_from_thread()

    alerts = worker.alerts
    ingest = Ingest(
        ingest_socket(worker.endpoints.ingest),
        writer,
        report,
        StoreError,
        listeners=Listeners(
            outage=lambda text: alerts.report_from_thread(database_identity(text), "critical", text),
            recovered=lambda seconds: alerts.resolve_from_thread(
                DATABASE_UNAVAILABLE, f"the database takes events again, after {seconds:.1f} s"
            ),
            lacking=writer.report_lacking,
        ),
        backed_up=cached_safe_marks(worker.settings.backup.folder_of(worker.settings.run), worker.settings.instance),
    )
    refused = refused_messages(
        alerts, lambda: ingest.peers.refused + feed.refused + batch_feed.refused + NETWORK.refused
    )
    stopping = threading.Event()
    try:
        async with asyncio.TaskGroup() as tasks:  # a thread that fails takes the process with it
            thread = tasks.create_task(asyncio.to_thread(ingest.run, stopping))
            watching = tasks.create_task(report_silence(ingest, alerts))
            try:
                yield
            finally:
                watching.cancel()
                stopping.set()
                await asyncio.wait([thread])  # a group only cancels, and that leaves the thread at work behind it
    finally:
        feed.close()
        await asyncio.to_thread(batch_feed.close)
        writer.close()
        logger.info("stored %d events in %d commits", ingest.committed_events, ingest.commits)


if __name__ == "__main__":
    run("core-writer", core_writer)
