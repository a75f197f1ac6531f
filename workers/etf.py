"""Collects ETF data: the list, values and ranges on trading days, the measures on Sundays.

Also runs the sector jobs, if configured.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from functools import partial
from pathlib import Path

from bus.events import EtfJob
from observer.calendar.day_file import read_trading_days
from observer.calendar.jobs import Job
from observer.calendar.phases import DayPlan
from observer.reference.etf.collector import EtfCalls, EtfCollector, record_end
from observer.reference.etf.report import JOBS
from observer.reference.etf.schedule import jobs_to_do
from observer.reference.etf.sources import EtfSources
from observer.reference.sectors.jobs import SectorJobs
from observer.store.etf import EtfReader
from observer.system.jobs import DayJobs
from observer.system.worker import Worker, run

logger = logging.getLogger(__name__)


async def etf(worker: Worker) -> None:
    """Run the day's jobs in their order; after a late start also the missed ones, of earlier days too."""
    async with worker.reader():
        pass  # only waits for the database; queries use another reader
    async with worker.producer() as producer:
        with EtfReader(worker.settings.store.url) as reader:
            collector = EtfCollector(
                provider=worker.settings.provider,
                sources=EtfSources(
                    settings=worker.settings.etf,
                    rest=worker.settings.broker.rest,
                    runtime=Path(worker.settings.run.runtime),
                    reader=reader,
                ),
                clock=worker.clock,
                publisher=producer,
                open_calls=_opening(worker),
                trading_days=partial(_trading_days, worker),
                settled=partial(worker.settled, producer),
                alerts=worker.alerts,
            )
            worker.orders.jobs = {job: partial(_run_now, worker, collector, job) for job in JOBS}
            day_jobs = DayJobs(worker.clock, worker.alerts)
            await worker.ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_check_up_sectors(worker, sector_jobs(worker), day_jobs))
                while True:
                    plan = await worker.today.plan()
                    await worker.settled(producer)
                    jobs = await asyncio.to_thread(_jobs_to_do, worker, plan, reader)
                    await day_jobs.run(jobs, plan.ends_ns, partial(_in_turn, worker, collector, plan))
                    await worker.today.end_of(plan)


def _opening(worker: Worker) -> Callable[[], AbstractAsyncContextManager[EtfCalls]]:
    """A function that opens the broker's client; its first request reads the keys and loads the network library."""
    return lambda: worker.brokers().rest()


def _trading_days(worker: Worker) -> Sequence[date]:
    return [day.day for day in read_trading_days(worker.runtime) if day.trades]


async def _run_now(worker: Worker, collector: EtfCollector, job: EtfJob) -> str:
    """Run a job by command: for all ETFs, whatever was done before."""
    return await collector.run(job, await worker.today.plan(), worker.clock.now_ns())


def _jobs_to_do(worker: Worker, plan: DayPlan, reader: EtfReader) -> Sequence[Job[EtfJob]]:
    last = reader.last_etf_jobs()
    for ended in last.values():
        record_end(ended)
    ended_ns = {job: ended.ended_ns for job, ended in last.items()}
    return jobs_to_do(plan, _trading_days(worker), worker.settings.etf, ended_ns, worker.clock.now_ns())


async def _in_turn(worker: Worker, collector: EtfCollector, plan: DayPlan, job: Job[EtfJob]) -> None:
    async with worker.orders.turn:
        logger.info("%s: %s", job.name, await collector.run(job.name, plan, job.at_ns))


def sector_jobs(worker: Worker) -> SectorJobs:
    """The jobs about sectors, as this worker is configured."""
    return SectorJobs(
        worker.settings.sectors,
        url=worker.settings.store.url,
        data=Path(worker.settings.run.data),
        outboxes=worker.endpoints.runtime_directory / "outbox",
        archive_limits=worker.settings.backup.archive_limits,
        ingest=worker.endpoints.ingest,
        alerts=worker.alerts,
    )


async def _check_up_sectors(worker: Worker, sectors: SectorJobs, day_jobs: DayJobs) -> None:
    """Run the due sector jobs that are not done; never returns."""
    while True:
        plan = await worker.today.plan()
        await day_jobs.run(await sectors.left(plan), plan.ends_ns, sectors.run)
        await worker.today.end_of(plan)


if __name__ == "__main__":
    run("etf", etf)
