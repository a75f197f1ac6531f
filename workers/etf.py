"""Collects ETF data: the list, values and ranges on trading days, the measures on Sundays.

Also runs the sector jobs, if configured.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path

from bus.events import EtfJob
from observer.calendar.day_file import read_trading_days
from observer.calendar.phases import DayPlan
from observer.monitoring.jobs import Job, run_jobs
from observer.reference.etf.collector import EtfCollector, record_end
from observer.reference.etf.report import JOBS
from observer.reference.etf.schedule import jobs_to_do
from observer.reference.etf.sources import EtfSources
from observer.reference.sectors.jobs import SectorJobs
from observer.store.etf import EtfReader
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
                open_calls=lambda: worker.brokers().rest(),  # reads the keys and loads the network library
                trading_days=partial(_trading_days, worker),
                settled=partial(worker.settled, producer),
                alerts=worker.alerts,
            )
            worker.orders.jobs = {job: partial(_run_now, worker, collector, job) for job in JOBS}
            await worker.ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_check_up_sectors(worker, sector_jobs(worker)))
                async for plan in worker.today.days():
                    await worker.settled(producer)
                    due = await asyncio.to_thread(_jobs_to_do, worker, plan, reader)
                    jobs = [Job(name, at_ns, partial(_run_due, collector, name, plan, at_ns)) for name, at_ns in due]
                    await worker.run_jobs(jobs, plan.ends_ns)


def _trading_days(worker: Worker) -> Sequence[date]:
    return [day.day for day in read_trading_days(worker.runtime) if day.trades]


async def _run_now(worker: Worker, collector: EtfCollector, job: EtfJob) -> str:
    """Run a job by command: for all ETFs, whatever was done before."""
    return await collector.run(job, await worker.today.plan(), worker.clock.now_ns())


def _jobs_to_do(worker: Worker, plan: DayPlan, reader: EtfReader) -> Sequence[tuple[EtfJob, int]]:
    last = reader.last_etf_jobs()
    for ended in last.values():
        record_end(ended)
    ended_ns = {job: ended.ended_ns for job, ended in last.items()}
    return jobs_to_do(plan, _trading_days(worker), worker.settings.etf, ended_ns, worker.clock.now_ns())


async def _run_due(collector: EtfCollector, job: EtfJob, plan: DayPlan, at_ns: int) -> None:
    logger.info("%s: %s", job, await collector.run(job, plan, at_ns))


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


async def _check_up_sectors(worker: Worker, sectors: SectorJobs) -> None:
    """Run the due sector jobs that are not done, beside the other jobs; never returns."""
    turn = asyncio.Lock()
    async for plan in worker.today.days():
        await run_jobs(await sectors.left(plan), plan.ends_ns, clock=worker.clock, alerts=worker.alerts, turn=turn)


if __name__ == "__main__":
    run("etf", etf)
