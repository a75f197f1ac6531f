"""Keeps what is known of funds: the list, their values and ranges on trading days, the measures on Sundays.

Beside that it has sectors looked up, where the configuration wants it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from functools import partial

from bus.events import FundJob
from observer.funds.collector import FundCalls, FundCollector
from observer.funds.times import jobs_to_do
from observer.providers.day_file import read_trading_days
from observer.reference.etf_report import JOBS
from observer.schedule.jobs import Job
from observer.schedule.phases import DayPlan
from observer.store.funds import FundReader
from workers.day_jobs import DayJobs
from workers.runtime import Worker, run
from workers.sectors import look_up_sectors

logger = logging.getLogger(__name__)


async def funds(worker: Worker) -> None:
    """Run the day's jobs in their order; who starts late makes up for what was not done, on earlier days too."""
    async with worker.reader():
        pass  # it was waited for; what is asked is asked of another reader
    async with worker.producer() as producer:
        with FundReader(worker.settings.store.url) as reader:
            collector = FundCollector(
                settings=worker.settings,
                clock=worker.clock,
                publisher=producer,
                reader=reader,
                open_calls=_opening(worker),
                trading_days=partial(_trading_days, worker),
                settled=partial(worker.settled, producer),
                source=worker.name,
            )
            worker.orders.jobs = {job: partial(_run_now, worker, collector, job) for job in JOBS}
            day_jobs = DayJobs(worker.clock, producer, worker.name)
            await worker.ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(look_up_sectors(worker, producer))
                while True:
                    plan = await worker.today.plan()
                    await worker.settled(producer)
                    jobs = _jobs_to_do(worker, plan, reader)
                    await day_jobs.run(jobs, plan.ends_ns, partial(_in_turn, worker, collector, plan))
                    await worker.today.end_of(plan)


def _opening(worker: Worker) -> Callable[[], AbstractAsyncContextManager[FundCalls]]:
    """Opens the broker's calls: the keys are read and the network library is loaded when first something is asked."""
    return lambda: worker.brokers().funds()


def _trading_days(worker: Worker) -> Sequence[date]:
    return [day.day for day in read_trading_days(worker.runtime) if day.trades]


async def _run_now(worker: Worker, collector: FundCollector, job: FundJob) -> str:
    """By order of a person: for all funds, whatever was done before."""
    return await collector.run(job, await worker.today.plan(), worker.clock.now_ns())


def _jobs_to_do(worker: Worker, plan: DayPlan, reader: FundReader) -> Sequence[Job[FundJob]]:
    ended_ns = {job: ended.ended_ns for job, ended in reader.last_fund_jobs().items()}
    return jobs_to_do(plan, _trading_days(worker), worker.settings.funds, ended_ns, worker.clock.now_ns())


async def _in_turn(worker: Worker, collector: FundCollector, plan: DayPlan, job: Job[FundJob]) -> None:
    async with worker.orders.turn:
        logger.info("%s: %s", job.name, await collector.run(job.name, plan, job.at_ns))


if __name__ == "__main__":
    run("funds", funds)
