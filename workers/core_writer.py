"""The only process that writes the database: ingest, store, acknowledge, publish to the feed and the batch feed.

It also writes the ledgers' files, judges each day's quality, and makes the backup.
"""

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from bus.batch_feed import BatchFeedPublisher
from bus.delivery import Delivered, Part
from bus.feed import FeedPublisher
from bus.ingest import Ingest
from observer.alerts.process import DATABASE_UNAVAILABLE, DATABASE_WENT_BACK, DELIVERY_LOSSES, Alerts
from observer.backup.jobs import BackupJobs, plan_of
from observer.backup.package import require_restored, safe_marks
from observer.errors import ConfigError, DatabaseInUseError, StoreError
from observer.runtime.refusals import QuarantineAlerts
from observer.runtime.worker import DATABASE_RETRY_S, LIFELINE_VARIABLE, Worker, run
from observer.store.exports import LedgerExport, Ledgers, ledgers_folder
from observer.store.ownership import claim
from observer.store.systems import System, this_system
from observer.store.write_ahead_log import fold_log
from observer.store.writer import Committed, StoreWriter
from observer.streaming.quality import QualityJudge

logger = logging.getLogger(__name__)

# A group under load is some 20,000 rows, each a tuple of plain values that no cycle can hold. With Python's own 700 new
# objects between collections the collector scans all of them many times in vain: a tenth of the writer's work.
COLLECT_AFTER_OBJECTS: Final = 100_000

# How long the writer before this one may take to die. Longer than a restarted machine's lost connection keeps its lock
# (observer.store.engine), shorter than the supervisor waits for Ready.
TAKEOVER_S: Final = 10.0

BACKED_UP_S: Final = 60.0  # between two looks at the packages

FOLD_S: Final = 2.0  # machine seconds for readers of other processes to end their queries


async def core_writer(worker: Worker) -> None:
    """Claim the database, then write until stopped; the thread that writes goes on until its queue is empty.

    Raises:
        ConfigError: the database belongs to another instance, or another process writes it for longer than TAKEOVER_S.
    """
    settings = worker.settings
    url = settings.store.url
    # The supervisor, or the command, is the system: it lives on while its writer is restarted.
    system = this_system(worker.runtime, os.getppid() if LIFELINE_VARIABLE in os.environ else None)
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
    quality = _quality_judge(worker)
    counting = (ledgers.count_from_thread, quality.count_from_thread)
    writer = CountingWriter(url, system, worker, counting)
    await database_ready(writer.open, worker.alerts)
    worker.alerts.resolve(DATABASE_UNAVAILABLE, "the database answers")
    async with (
        _folding(url),
        ledgers.until_the_end(),
        _ingest(worker, writer),
        worker.producer() as producer,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(ledgers.run())
        worker.orders.jobs = {
            "backup": lambda: backups.make_now(producer),
            "quality": lambda: quality.judge_now(producer),
        }
        worker.orders.directed_jobs = {"backup": backups.result}
        await worker.ready()
        tasks.create_task(quality.run(producer))
        await backups.run(producer)


def _backup_jobs(worker: Worker) -> BackupJobs:
    settings = worker.settings
    return BackupJobs(
        plan=plan_of(settings.backup, settings.run, settings.instance, settings.store.url, worker.configuration),
        turn=worker.orders.turn,
        today=worker.today,
        clock=worker.clock,
        alerts=worker.alerts,
    )


def _quality_judge(worker: Worker) -> QualityJudge:
    return QualityJudge(
        open_reader=worker.reader,
        settled=worker.settled,
        turn=worker.orders.turn,
        today=worker.today,
        clock=worker.clock,
        alerts=worker.alerts,
    )


class CountingWriter(StoreWriter):
    """Reports each commit's events in quarantine, lost numbers and rows of each kind; nothing where the outcome is
    unknown.
    """

    def __init__(
        self,
        url: str,
        system: System,
        worker: Worker,
        on_stored: Sequence[Callable[[Mapping[str, int]], None]],
    ) -> None:
        super().__init__(url, system, worker.clock.now_ns)
        self._alerts = worker.alerts
        self._quarantine = QuarantineAlerts(worker.alerts)
        self._on_stored = on_stored

    def open(self) -> None:
        """As `StoreWriter.open`; the database may be another one than that of an earlier process."""
        super().open()
        self._report_losses()

    def begin_epoch(self, reason: str) -> str:
        """As `StoreWriter.begin_epoch`."""
        if reason != "created":
            self._alerts.report_from_thread(DATABASE_WENT_BACK, "critical", went_back_text(reason))
        epoch = super().begin_epoch(reason)
        self._report_losses()
        return epoch

    def report_lacking(self, events: int) -> None:
        """Report how many events producers deliver again to a database that went back."""
        if events:
            text = went_back_text(f"it lacks {events:,} events")
            self._alerts.report_from_thread(DATABASE_WENT_BACK, "critical", text)
        else:
            over = "what it lacked was delivered again, or is stated as lost"
            self._alerts.settle_from_thread(DATABASE_WENT_BACK, over)

    def commit(self, batches: Sequence[Part]) -> Committed:
        """As `StoreWriter.commit`."""
        committed = super().commit(batches)
        if committed.quarantined:
            logger.error("%d events went to quarantine", committed.quarantined)
            self._quarantine.count_from_thread(committed.quarantined)
        if committed.lost:
            self._report_losses()
        for report in self._on_stored:
            report(committed.rows_by_kind)
        return committed

    def _report_losses(self) -> None:
        """Report what the database states as lost; a restored one may state nothing."""
        with contextlib.suppress(StoreError):  # the next commit or the next process reports them
            if lost := self.lost_events():
                self._alerts.report_from_thread(DELIVERY_LOSSES, "critical", losses_text(lost))
            else:
                self._alerts.resolve_from_thread(DELIVERY_LOSSES, "the database states no losses")


def went_back_text(why: str) -> str:
    """The alert for a database that went back."""
    return (
        f"the database went back: {why}; producers deliver again what it lacks, and then this alert ends: "
        "`observer doctor` states what is missing"
    )


def losses_text(lost: int) -> str:
    """The alert for so many lost events."""
    return (
        f"{lost:,} published events exist nowhere any more: `observer doctor` states them, a package of `observer "
        f"backup list` may hold them, `observer alerts silence {DELIVERY_LOSSES}` accepts the loss"
    )


async def database_ready(prepare: Callable[[], None], alerts: Alerts) -> None:
    """Repeat `prepare` while the database does not answer: a restart would not help. While another process writes it,
    repeat for TAKEOVER_S.
    """
    loop = asyncio.get_running_loop()
    gives_up_s: float | None = None
    while True:
        try:
            return await asyncio.to_thread(prepare)
        except StoreError as error:
            if isinstance(error, DatabaseInUseError):
                gives_up_s = gives_up_s or loop.time() + TAKEOVER_S
                if loop.time() >= gives_up_s:
                    raise ConfigError(str(error)) from error
            else:
                alerts.report(DATABASE_UNAVAILABLE, "critical", f"waiting for the database: {error}")
            logger.error("waiting for the database: %s", error)
            await asyncio.sleep(DATABASE_RETRY_S)


@contextlib.asynccontextmanager
async def _folding(url: str) -> AsyncIterator[None]:
    """At the end of the block, when this process reads and writes no more, the database's file alone has every row."""
    try:
        yield
    finally:
        try:
            if not await asyncio.to_thread(fold_log, url, FOLD_S):
                logger.warning("another process reads the database: the file is complete only with its log beside it")
        except StoreError as error:
            logger.error("%s", error)


@contextlib.asynccontextmanager
async def _ingest(worker: Worker, writer: CountingWriter) -> AsyncIterator[None]:
    feed = FeedPublisher(worker.endpoints.feed)
    batch_feed = BatchFeedPublisher(worker.endpoints.batch_feed)

    def report(group: Sequence[Delivered]) -> None:
        feed.publish(group)
        batch_feed.publish(group)
        writer.renew_ownership()

    alerts = worker.alerts
    ingest = Ingest(
        worker.endpoints.ingest,
        writer,
        report,
        StoreError,
        on_outage=lambda text: alerts.report_from_thread(DATABASE_UNAVAILABLE, "critical", text),
        on_recovered=lambda seconds: alerts.resolve_from_thread(
            DATABASE_UNAVAILABLE, f"the database takes events again, after {seconds:.1f} s"
        ),
        on_lacking=writer.report_lacking,
        backed_up=_cached(
            lambda: safe_marks(worker.settings.backup.folder_of(worker.settings.run), worker.settings.instance)
        ),
    )
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
        await asyncio.to_thread(batch_feed.close)
        writer.close()
        logger.info("stored %d events in %d commits", ingest.committed_events, ingest.commits)


def _cached(read: Callable[[], Mapping[str, int]]) -> Callable[[], Mapping[str, int]]:
    """The same, read at most once in BACKED_UP_S: every hello asks for it."""
    found: Mapping[str, int] = {}
    read_s = -BACKED_UP_S

    def cached() -> Mapping[str, int]:
        nonlocal found, read_s
        if time.monotonic() >= read_s + BACKED_UP_S:
            found, read_s = read(), time.monotonic()
        return found

    return cached


if __name__ == "__main__":
    run("core-writer", core_writer)
