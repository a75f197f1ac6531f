"""The only process that writes the database: ingest -> store -> acknowledge -> feed. Also makes the day's backup."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from bus.events import BackupCompleted
from bus.feed import FeedPublisher
from bus.ingest import Ingest
from bus.producer import Producer
from observer.clock import kst_datetime
from observer.errors import ObserverError, StoreError
from observer.store.backup import backup
from observer.store.engine import migrate
from observer.store.writer import StoreWriter
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)


async def core_writer(worker: Worker) -> None:
    """Migrate, then write until stopped; the thread that writes goes on until its queue is empty."""
    url = worker.settings.store.url
    await asyncio.to_thread(migrate, url)
    async with _ingest(worker, url), worker.producer() as producer:
        await worker.ready()
        await _back_up_daily(worker, producer)


@contextlib.asynccontextmanager
async def _ingest(worker: Worker, url: str) -> AsyncIterator[None]:
    writer = StoreWriter(url)
    feed = FeedPublisher(worker.endpoints.feed)
    ingest = Ingest(worker.endpoints.ingest, writer, feed.publish, StoreError)
    stopping = threading.Event()
    thread = asyncio.create_task(asyncio.to_thread(ingest.run, stopping))
    try:
        yield
    finally:
        stopping.set()
        await thread
        feed.close()
        writer.close()
        logger.info("stored %d events in %d commits", ingest.committed_events, ingest.commits)


async def _back_up_daily(worker: Worker, producer: Producer) -> None:
    directory = Path(worker.settings.run.data) / "backup"
    while True:
        moment_ns = (await worker.today.plan()).backup_ns
        await worker.clock.sleep_until(moment_ns)
        stamp = kst_datetime(moment_ns).strftime("%Y%m%d")
        try:
            made = await asyncio.to_thread(backup, worker.settings.store.url, directory, stamp)
        except (ObserverError, OSError):
            logger.exception("backup failed")
        else:
            now_ns = worker.clock.now_ns()
            producer.publish(BackupCompleted(now_ns, str(made.path), made.size_bytes, made.sha256))
        await worker.today.is_over()


if __name__ == "__main__":
    run("core-writer", core_writer)
