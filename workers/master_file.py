"""The day's reference jobs: the calendar, the master files with what they change, and the universe of the day."""

import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bus.commands import Refused
from bus.events import AlertRaised
from bus.producer import Producer
from observer.brokers import PROVIDER
from observer.clock import NS_PER_S, kst_datetime
from observer.errors import DataFileError, ProviderError
from observer.providers.calendar_process import trading_days_apart
from observer.providers.day_file import write_trading_days
from observer.providers.interfaces import FileStamp, MasterFileSource
from observer.providers.kis.masters import parse_master
from observer.reference.changes import KnownListings, Verdict, decide_download
from observer.reference.intake import MasterFile, take_in, untouched
from observer.schedule.jobs import Job, due_jobs, next_job
from observer.schedule.phases import DayPlan
from observer.store.reader import StoreReader
from observer.universe.builder import EXCHANGES, UniverseBuilder
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

CALENDAR_DAYS_BACK: Final = 100  # the sessions of the longest average lie within
CALENDAR_DAYS_AHEAD: Final = 40
RETRY_MARKET_S: Final = 60.0

DayJob = Callable[[DayPlan], Awaitable[None]]


async def master_file(worker: Worker) -> None:
    """Run the day's jobs in their order, each once a day; a process that starts late makes up for what it missed."""
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
        masters = MasterFiles(worker, producer, files, reader)
        universe = UniverseBuilder(
            settings=worker.settings,
            clock=worker.clock,
            producer=producer,
            history=rest,
            quotes=rest,
            reader=reader,
            bring_listings=masters.check,
            settled=partial(worker.settled, producer),
            source=worker.name,
        )
        worker.orders.jobs = {
            "universe": partial(_build_now, worker, universe),
            "master_files": masters.check_now,
        }
        while True:
            plan = await worker.today.plan()
            if plan.trades:
                jobs = [Job("universe", universe.begins_ns(plan)), Job("master_files", plan.master_files_ns)]
                actions: Mapping[str, DayJob] = {"universe": universe.build, "master_files": masters.check_all}
                await _run_jobs(worker, producer, plan, jobs, actions)
            await worker.today.end_of(plan)
            await _write_calendar(worker)


async def _build_now(worker: Worker, universe: UniverseBuilder) -> str | Refused:
    return await universe.build_now(await worker.today.plan())


async def _write_calendar(worker: Worker) -> None:
    today = kst_datetime(worker.clock.now_ns()).date()
    first, last = today - timedelta(days=CALENDAR_DAYS_BACK), today + timedelta(days=CALENDAR_DAYS_AHEAD)
    days = await trading_days_apart(Path(worker.settings.run.trading_days), first, last)
    write_trading_days(worker.runtime, days)


async def _run_jobs(
    worker: Worker, producer: Producer, plan: DayPlan, jobs: Sequence[Job], actions: Mapping[str, DayJob]
) -> None:
    """Run them all; one that fails is tried again, and somebody is told of the first failure, and of the end of it."""
    done: set[str] = set()
    failures: Counter[str] = Counter()
    while len(done) < len(jobs) and worker.clock.now_ns() < plan.ends_ns:
        for job in due_jobs(jobs, done, worker.clock.now_ns()):
            try:
                async with worker.orders.turn:
                    await actions[job.name](plan)
            except (ProviderError, DataFileError) as error:
                text = f"job {job.name} failed, will be tried again: {error}"
                logger.error(text)
                if not failures[job.name]:
                    producer.publish(AlertRaised(worker.clock.now_ns(), "critical", worker.name, text))
                failures[job.name] += 1
                await worker.clock.sleep(RETRY_MARKET_S)
            else:
                done.add(job.name)
                if failed := failures[job.name]:
                    text = f"job {job.name} is done, after {failed} failures"
                    producer.publish(AlertRaised(worker.clock.now_ns(), "info", worker.name, text))
        if coming := next_job(jobs, done, worker.clock.now_ns()):
            await worker.clock.sleep_until(coming.at_ns)


class LocalCopy(msgspec.Struct, frozen=True):
    """What we know of the master file on our disk: the server's stamp of it, when it came and when it was checked."""

    stamp: FileStamp
    downloaded_ns: int
    checked_ns: int


class MasterFiles:
    """Looks at the exchanges' master files, downloads what differs, and publishes what changed in them."""

    def __init__(self, worker: Worker, producer: Producer, files: MasterFileSource, reader: StoreReader) -> None:
        self._worker = worker
        self._clock = worker.clock
        self._settings = worker.settings.reference
        self._folder = Path(worker.settings.run.data) / "master"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._producer = producer
        self._files = files
        self._reader = reader

    async def check_all(self, plan: DayPlan) -> None:
        """Check every exchange that was not checked since this day's time for it."""
        for exchange in EXCHANGES:
            copy = self._local_copy(exchange)
            if copy is None or copy.checked_ns < plan.master_files_ns:
                await self.check(exchange)

    async def check_now(self) -> str:
        """Check every exchange, whenever that was done before; by order of a person."""
        for exchange in EXCHANGES:
            await self.check(exchange)
        return f"{' and '.join(EXCHANGES)} were checked"

    async def check(self, exchange: str) -> None:
        """Look at one exchange's file; all that comes of it is published as one batch."""
        now_ns = self._clock.now_ns()
        known = await self._known(exchange)
        copy = self._local_copy(exchange) if known else None  # a copy that another database took in is none
        remote = await self._files.stamp(exchange)
        age_s = 0.0 if copy is None else (now_ns - copy.downloaded_ns) / NS_PER_S
        decision = decide_download(copy.stamp if copy else None, remote, self._settings, age_s=age_s)
        if decision.action == "download":
            await self._download(exchange, copy, known, now_ns)
            return
        answer = Verdict("unchanged" if decision.action == "skip" else "held", decision.reason, decision.severity)
        self._producer.publish_together(untouched(PROVIDER, exchange, now_ns, answer))
        if copy is not None:
            self._remember(exchange, LocalCopy(copy.stamp, copy.downloaded_ns, now_ns))

    async def _download(self, exchange: str, copy: LocalCopy | None, known: KnownListings, now_ns: int) -> None:
        """Take in a new version. The stamp of one that is held is not kept: the next check looks at it again."""
        stamp = await self._files.download(exchange, self._path(exchange))
        content = self._path(exchange).read_bytes()
        listings, bad_lines = parse_master(exchange, content)
        digest = hashlib.sha256(content).hexdigest()
        file = MasterFile(PROVIDER, exchange, listings, bad_lines, stamp.size_bytes or len(content), digest, now_ns)
        old_size_bytes = copy.stamp.size_bytes if copy else None
        answer, events = take_in(file, known, self._settings, old_size_bytes=old_size_bytes)
        self._producer.publish_together(events)
        logger.info("%s: %s (%s), %d listings", exchange, answer.decision, answer.reason, len(listings))
        if answer.decision != "held":
            self._remember(exchange, LocalCopy(stamp, now_ns, now_ns))

    async def _known(self, exchange: str) -> KnownListings:
        """What the database knows of the exchange, once all that was published before is in it."""
        await self._worker.settled(self._producer)
        known = {symbol: (listing, False) for symbol, listing in self._reader.inactive_listings(exchange).items()}
        active = self._reader.active_listings(exchange)
        return known | {symbol: (listing, True) for symbol, listing in active.items()}

    def _path(self, exchange: str) -> Path:
        return self._folder / f"{exchange.lower()}.mst"

    def _local_copy(self, exchange: str) -> LocalCopy | None:
        path = self._path(exchange)
        note = path.with_suffix(".json")
        return msgspec.json.decode(note.read_bytes(), type=LocalCopy) if path.exists() and note.exists() else None

    def _remember(self, exchange: str, copy: LocalCopy) -> None:
        note = self._path(exchange).with_suffix(".json")
        unfinished = note.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(copy))
        unfinished.replace(note)


if __name__ == "__main__":
    run("master-file", master_file)
