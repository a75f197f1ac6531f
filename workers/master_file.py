"""The day's reference jobs: the calendar, the master files and their changes, the day's universe."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bus.commands import Refused
from bus.producer import Producer
from observer.brokers.broker import MasterFileSource, broker_named
from observer.calendar.day_file import CalendarFiles
from observer.calendar.upkeep import CalendarUpkeep
from observer.monitoring.jobs import Job
from observer.reference.listings.files import FOLDER, LocalFiles
from observer.reference.listings.health import ListingHealth
from observer.reference.listings.jobs import MasterFileJobs
from observer.reference.listings.model import Listing
from observer.reference.listings.sync import MasterFiles
from observer.reference.universe.builder import UniverseBuilder
from observer.reference.universe.parts import UniverseParts
from observer.store.reader import StoreReader
from observer.system.config import session_file
from observer.system.worker import Worker, run

if TYPE_CHECKING:
    from observer.brokers.accounts.clients import RestOfAll


async def master_file(worker: Worker) -> None:
    """Run the day's jobs in their order, each once a day; after a late start also the missed ones.

    Earlier days need no repetition: the daily check covers every difference, and downloads a file that is as old as the
    weekly refresh would have made it.
    """
    brokers = worker.brokers()
    async with (
        worker.producer() as producer,
        _calendar(worker) as calendar,
        worker.reader() as reader,
        brokers.rest() as rest,
        brokers.listing_files() as files,
        contextlib.AsyncExitStack() as stack,
    ):
        # On a busy machine the calendar may take minutes: heartbeats keep this process alive meanwhile.
        await calendar.upkeep.tried.wait()
        await worker.ready()
        await worker.settled(producer)
        await calendar.first
        master_files = _master_files(worker, producer, files, reader)
        masters = MasterFileJobs(worker.settings.reference, master_files)
        universe = universe_builder(
            worker, producer, rest, reader,
            bring_listings=masters.bring, listed=master_files.listed_at, settled=partial(worker.settled, producer),
        )  # fmt: skip
        worker.orders.jobs = {"universe": partial(_build_now, worker, universe), "master_files": masters.check_now}
        worker.orders.directed_jobs = {
            "master_files": masters.check_now,
            "master_approve": masters.approve,
            "master_restore": masters.restore,
        }
        folder = Path(worker.settings.run.data) / FOLDER
        health = ListingHealth(folder, masters.checked_ns, reader.counts, worker.clock, worker.alerts)
        await stack.enter_async_context(health.watching())
        while True:
            plan = await worker.today.plan()
            jobs = list(masters.of_the_day(plan))
            if plan.trades:
                jobs.append(Job("universe", universe.begins_ns(plan), partial(universe.build, plan)))
            await worker.run_jobs(jobs, plan.ends_ns)
            await worker.today.end_of(plan)
            await calendar.upkeep.keep()


def universe_builder(
    worker: Worker, producer: Producer, rest: "RestOfAll", reader: StoreReader, *,
    bring_listings: Callable[[str], Awaitable[None]],
    listed: Callable[[str], Awaitable[Sequence[Listing]]],
    settled: Callable[[], Awaitable[None]],
) -> UniverseBuilder:  # fmt: skip
    """The builder of this process: `rest` answers for every venue; `settled` returns when what was published is
    stored.
    """
    parts = UniverseParts(
        provider=worker.settings.provider,
        settings=worker.settings.selection.universe,
        venues=worker.settings.universe,
        today=worker.today,
        folder=Path(worker.settings.run.universe),
        clock=worker.clock,
        producer=producer,
        history=rest,
        quotes=rest,
        listed=listed,
        trading=rest,
        reader=reader,
        bring_listings=bring_listings,
        settled=settled,
        alerts=worker.alerts,
    )
    return UniverseBuilder(parts)


class _Calendar(msgspec.Struct, frozen=True):
    """The upkeep of the day file, and its first run, which has begun."""

    upkeep: CalendarUpkeep
    first: asyncio.Task[None]


@contextlib.asynccontextmanager
async def _calendar(worker: Worker) -> AsyncIterator[_Calendar]:
    files = CalendarFiles(Path(worker.settings.run.trading_days), session_file(worker.settings.run))
    report, resolve = partial(worker.alerts.report, "calendar"), partial(worker.alerts.resolve, "calendar")
    upkeep = CalendarUpkeep(worker.runtime, files, worker.clock, report, resolve)
    first = asyncio.create_task(upkeep.keep())
    try:
        yield _Calendar(upkeep, first)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


def _master_files(worker: Worker, producer: Producer, files: MasterFileSource, reader: StoreReader) -> MasterFiles:
    return MasterFiles(
        broker=broker_named(worker.settings.provider),
        files=files,
        local=LocalFiles(Path(worker.settings.run.data) / FOLDER, worker.settings.reference.backups_kept),
        reader=reader,
        publisher=producer,
        settled=partial(worker.settled, producer),
        clock=worker.clock,
        alerts=worker.alerts,
        settings=worker.settings.reference,
    )


async def _build_now(worker: Worker, universe: UniverseBuilder) -> str | Refused:
    return await universe.build_now(await worker.today.plan())


if __name__ == "__main__":
    run("master-file", master_file)
