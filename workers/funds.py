"""Keeps what is known of funds: the list, their values and ranges on trading days, the measures on Sundays.

Beside that it has sectors looked up, where the configuration wants it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from functools import partial
from typing import Final

from bus.events import AlertRaised, FundJob
from bus.producer import Producer
from observer.errors import ConfigError, DataFileError, ProviderError
from observer.funds.collector import FundCalls, FundCollector
from observer.funds.times import fund_jobs_of
from observer.providers.day_file import read_trading_days
from observer.reference.etf_report import JOBS
from observer.schedule.jobs import Job, due_jobs, next_job
from observer.schedule.phases import DayPlan
from observer.store.funds import FundReader
from workers.runtime import Worker, run
from workers.sectors import look_up_sectors

logger = logging.getLogger(__name__)

RETRY_MARKET_S: Final = 60.0


async def funds(worker: Worker) -> None:
    """Run the day's jobs in their order; a process that starts late makes up for what was not done."""
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
            await worker.ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(look_up_sectors(worker, producer))
                while True:
                    plan = await worker.today.plan()
                    await worker.settled(producer)
                    await _run_jobs(worker, producer, plan, collector, reader)
                    await worker.today.end_of(plan)


def _opening(worker: Worker) -> Callable[[], AbstractAsyncContextManager[FundCalls]]:
    """Opens the broker's calls: the keys are read and the network library is loaded when first something is asked."""
    return lambda: worker.brokers().funds()


def _trading_days(worker: Worker) -> Sequence[date]:
    return [day.day for day in read_trading_days(worker.runtime) if day.trades]


async def _run_now(worker: Worker, collector: FundCollector, job: FundJob) -> str:
    """By order of a person: for all funds, whatever was done before."""
    return await collector.run(job, await worker.today.plan(), worker.clock.now_ns())


async def _run_jobs(
    worker: Worker, producer: Producer, plan: DayPlan, collector: FundCollector, reader: FundReader
) -> None:
    """Run the day's, each once; one that fails is tried again, and somebody is told of the first failure."""
    due_ns = fund_jobs_of(plan.day, worker.settings.funds, trades=plan.trades)
    ended = reader.last_fund_jobs()
    jobs = [Job(name, at_ns) for name, at_ns in due_ns.items()]
    done = {name for name, at_ns in due_ns.items() if name in ended and ended[name].ended_ns >= at_ns}
    failed: set[str] = set()
    while len(done) < len(jobs) and worker.clock.now_ns() < plan.ends_ns:
        due = {job.name for job in due_jobs(jobs, done, worker.clock.now_ns())}
        for name, at_ns in due_ns.items():
            if name not in due:
                continue
            try:
                async with worker.orders.turn:
                    logger.info("%s: %s", name, await collector.run(name, plan, at_ns))
            except (ProviderError, DataFileError, ConfigError) as error:
                text = f"job {name} failed, will be tried again: {error}"
                logger.error(text)
                if name not in failed:
                    producer.publish(AlertRaised(worker.clock.now_ns(), "critical", worker.name, text))
                failed.add(name)
                await worker.clock.sleep(RETRY_MARKET_S)
            else:
                done.add(name)
        if coming := next_job(jobs, done, worker.clock.now_ns()):
            await worker.clock.sleep_until(coming.at_ns)


if __name__ == "__main__":
    run("funds", funds)
