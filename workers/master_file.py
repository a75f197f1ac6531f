"""The day's reference jobs: the calendar, the master files and their changes, the day's universe."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from bus.commands import Refused
from bus.producer import Producer
from observer.calendar.day_file import read_trading_days
from observer.calendar.jobs import Job
from observer.calendar.phases import DayPlan
from observer.calendar.process import keep_trading_days
from observer.listings.files import FOLDER, LocalFiles
from observer.listings.jobs import MasterFileJobs
from observer.listings.sync import MasterFiles
from observer.local_time import local_datetime
from observer.providers.broker import MasterFileSource, broker_named
from observer.runtime.jobs import DayJobs
from observer.runtime.worker import Worker, run
from observer.store.reader import StoreReader
from observer.universe.builder import UniverseBuilder

CALENDAR_DAYS_BACK: Final = 100  # the sessions of the longest average lie within
CALENDAR_DAYS_AHEAD: Final = 40

DayJob = Callable[[DayPlan], Awaitable[None]]


async def master_file(worker: Worker) -> None:
    """Run the day's jobs in their order, each once a day; after a late start also the missed ones.

    Earlier days need no repetition: the daily check covers every difference, and downloads a file that is as old as the
    weekly refresh would have made it.
    """
    brokers = worker.brokers()
    calendar = asyncio.create_task(_write_calendar(worker))
    if not _has_today(worker):
        await calendar
    async with (
        worker.reader() as reader,
        worker.producer() as producer,
        brokers.rest() as rest,
        brokers.listing_files() as files,
    ):
        await worker.ready()
        await worker.settled(producer)
        await calendar
        masters = MasterFileJobs(worker.settings.reference, _master_files(worker, producer, files, reader))
        universe = UniverseBuilder(
            provider=worker.settings.provider,
            settings=worker.settings.selection.universe,
            runtime=Path(worker.settings.run.runtime),
            folder=Path(worker.settings.run.universe),
            clock=worker.clock,
            producer=producer,
            history=rest,
            quotes=rest,
            reader=reader,
            bring_listings=masters.bring,
            settled=partial(worker.settled, producer),
            alerts=worker.alerts,
        )
        worker.orders.jobs = {
            "universe": partial(_build_now, worker, universe),
            "master_files": masters.check_now,
        }
        worker.orders.directed_jobs = {
            "master_files": masters.check_now,
            "master_approve": masters.approve,
            "master_restore": masters.restore,
        }
        day_jobs = DayJobs(worker.clock, worker.alerts)
        while True:
            plan = await worker.today.plan()
            jobs = [*masters.of_the_day(plan), *([Job("universe", universe.begins_ns(plan))] if plan.trades else [])]
            actions: Mapping[str, DayJob] = {
                "universe": universe.build,
                "master_files": masters.check_all,
                "weekly_refresh": masters.refresh_all,
            }
            await day_jobs.run(jobs, plan.ends_ns, partial(_in_turn, worker, plan, actions))
            await worker.today.end_of(plan)
            await _write_calendar(worker)


def _master_files(worker: Worker, producer: Producer, files: MasterFileSource, reader: StoreReader) -> MasterFiles:
    settings = worker.settings.reference
    return MasterFiles(
        broker=broker_named(worker.settings.provider),
        files=files,
        local=LocalFiles(Path(worker.settings.run.data) / FOLDER, settings.backups_kept),
        reader=reader,
        publisher=producer,
        settled=partial(worker.settled, producer),
        clock=worker.clock,
        alerts=worker.alerts,
        settings=settings,
    )


async def _in_turn(worker: Worker, plan: DayPlan, actions: Mapping[str, DayJob], job: Job[str]) -> None:
    async with worker.orders.turn:
        await actions[job.name](plan)


async def _build_now(worker: Worker, universe: UniverseBuilder) -> str | Refused:
    return await universe.build_now(await worker.today.plan())


async def _write_calendar(worker: Worker) -> None:
    today = local_datetime(worker.clock.now_ns()).date()
    first, last = today - timedelta(days=CALENDAR_DAYS_BACK), today + timedelta(days=CALENDAR_DAYS_AHEAD)
    await keep_trading_days(worker.runtime, Path(worker.settings.run.trading_days), first, last)


def _has_today(worker: Worker) -> bool:
    """Whether an earlier run's day file covers this day: then the system can work before its renewal."""
    today = local_datetime(worker.clock.now_ns()).date()
    return any(day.day == today for day in read_trading_days(worker.runtime))


if __name__ == "__main__":
    run("master-file", master_file)
