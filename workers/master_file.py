"""The day's reference jobs: the calendar, the master files with what they change, and the universe of the day."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from bus.commands import Refused
from bus.producer import Producer
from observer.brokers import PROVIDER
from observer.clock import kst_datetime
from observer.errors import DataFileError
from observer.masters.local import FOLDER, LocalFiles
from observer.masters.rounds import FORCE, Examined, MasterFiles
from observer.providers.calendar_process import trading_days_apart
from observer.providers.day_file import write_trading_days
from observer.providers.interfaces import MasterFileSource
from observer.schedule.jobs import Job
from observer.schedule.phases import DayPlan, moment_of
from observer.store.reader import StoreReader
from observer.universe.builder import UniverseBuilder
from workers.day_jobs import DayJobs
from workers.runtime import Worker, run

CALENDAR_DAYS_BACK: Final = 100  # the sessions of the longest average lie within
CALENDAR_DAYS_AHEAD: Final = 40

DayJob = Callable[[DayPlan], Awaitable[None]]


async def master_file(worker: Worker) -> None:
    """Run the day's jobs in their order, each once a day; a process that starts late makes up for what it missed.

    Of an earlier day nothing is left to make up for: the daily check looks at whatever differs, and takes a file anew
    that is as old as the weekly refresh would have made it.
    """
    brokers = worker.brokers()
    await _write_calendar(worker)
    async with (
        worker.reader() as reader,
        worker.producer() as producer,
        brokers.rest() as rest,
        brokers.master_files() as files,
    ):
        await worker.ready()
        await worker.settled(producer)
        masters = MasterFileJobs(worker, _master_files(worker, producer, files, reader))
        universe = UniverseBuilder(
            settings=worker.settings,
            clock=worker.clock,
            producer=producer,
            history=rest,
            quotes=rest,
            reader=reader,
            bring_listings=masters.bring,
            settled=partial(worker.settled, producer),
            source=worker.name,
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
        day_jobs = DayJobs(worker.clock, producer, worker.name)
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
        provider=PROVIDER,
        files=files,
        local=LocalFiles(Path(worker.settings.run.data) / FOLDER, settings.backups_kept),
        reader=reader,
        publisher=producer,
        settled=partial(worker.settled, producer),
        clock=worker.clock,
        settings=settings,
    )


async def _in_turn(worker: Worker, plan: DayPlan, actions: Mapping[str, DayJob], job: Job[str]) -> None:
    async with worker.orders.turn:
        await actions[job.name](plan)


async def _build_now(worker: Worker, universe: UniverseBuilder) -> str | Refused:
    return await universe.build_now(await worker.today.plan())


async def _write_calendar(worker: Worker) -> None:
    today = kst_datetime(worker.clock.now_ns()).date()
    first, last = today - timedelta(days=CALENDAR_DAYS_BACK), today + timedelta(days=CALENDAR_DAYS_AHEAD)
    days = await trading_days_apart(Path(worker.settings.run.trading_days), first, last)
    write_trading_days(worker.runtime, days)


class MasterFileJobs:
    """What the day, and a person, let happen to the master files."""

    def __init__(self, worker: Worker, masters: MasterFiles) -> None:
        self._clock = worker.clock
        self._settings = worker.settings.reference
        self._masters = masters

    def of_the_day(self, plan: DayPlan) -> Sequence[Job[str]]:
        """The daily check on every day, and on one of the week the full refresh before it."""
        jobs = [Job("master_files", plan.master_files_ns)]
        if plan.day.strftime("%A").lower() == self._settings.weekly_refresh_day:
            jobs.append(Job("weekly_refresh", moment_of(plan, self._settings.weekly_refresh_time)))
        return jobs

    async def check_all(self, plan: DayPlan) -> None:
        """Check every exchange that was not checked since this day's time for it.

        Raises:
            DataFileError: some failed: they alone are tried again later.
        """
        _require_all(await self._masters.check_all(self._settings.exchanges, since_ns=plan.master_files_ns))

    async def refresh_all(self, plan: DayPlan) -> None:
        """Download every exchange's file, unless that was done since this day's time for it.

        Raises:
            DataFileError: as for `check_all`.
        """
        since_ns = moment_of(plan, self._settings.weekly_refresh_time)
        _require_all(await self._masters.check_all(self._settings.exchanges, force=True, since_ns=since_ns))

    async def check_now(self, arguments: Sequence[str] = ()) -> str | Refused:
        """Check these exchanges, or all, whenever that was done; with `FORCE` download what did not change too."""
        exchanges = [name for name in arguments if name != FORCE] or self._settings.exchanges
        if unknown := [name for name in exchanges if name not in self._settings.exchanges]:
            return Refused("unknown_exchange", f"not among [reference] exchanges: {', '.join(unknown)}")
        found = await self._masters.check_all(exchanges, force=FORCE in arguments)
        _require_all(found)
        return ", ".join(f"{each.exchange} {each.verdict.decision}" for each in found)

    async def approve(self, arguments: Sequence[str]) -> str:
        """Apply what a held run would change."""
        found = await self._masters.approve(arguments[0], self._settings.exchanges)
        return f"{found.exchange}: {found.verdict.reason}"

    async def restore(self, arguments: Sequence[str]) -> str:
        """Put an exchange's newest backup in force."""
        found = await self._masters.restore(arguments[0])
        return f"{found.exchange}: {found.verdict.decision}, {found.verdict.reason}"

    async def bring(self, exchange: str) -> None:
        """Check one exchange now, because its listings are missing.

        Raises:
            DataFileError: that failed.
        """
        _require_all([await self._masters.check(exchange)])


def _require_all(found: Sequence[Examined]) -> None:
    if failed := [f"{each.exchange}: {each.verdict.reason}" for each in found if each.verdict.decision == "failed"]:
        raise DataFileError("; ".join(failed))


if __name__ == "__main__":
    run("master-file", master_file)
