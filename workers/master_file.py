"""The day's reference jobs: the calendar, the master files with what they change, and the universe of the day."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import msgspec

from bus.commands import Refused
from bus.events import AlertRaised, DailyBar, UniverseBuilt
from bus.producer import Producer
from observer.brokers import PROVIDER
from observer.clock import NS_PER_S, kst_datetime
from observer.errors import DataFileError, ProviderError
from observer.providers.calendar_process import trading_days_apart
from observer.providers.day_file import read_trading_days, write_trading_days
from observer.providers.interfaces import Bar, FileStamp, HistorySource, MasterFileSource
from observer.providers.kis.masters import parse_master
from observer.reference.changes import KnownListings, Verdict, decide_download
from observer.reference.intake import MasterFile, take_in, untouched
from observer.reference.listings import Listing
from observer.schedule.jobs import Job, due_jobs, next_job
from observer.schedule.phases import DayPlan, moment_of
from observer.selection.universe import KOREAN_STOCKS, UniverseDay, build, exclusion, history_of
from observer.store.reader import StoreReader
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

EXCHANGES: Final = ("KOSPI", "KOSDAQ")
CALENDAR_DAYS_BACK: Final = 100  # the sessions of the longest average lie within
CALENDAR_DAYS_AHEAD: Final = 40
HISTORY_DAYS: Final = 45  # calendar days that hold the sessions of the longest average (20) and one more
BARS_KEPT: Final = 21
CALLS_AT_ONCE: Final = 8
FAILURES_MAX: Final = 0.02  # more symbols without an answer than this share are an outage, not oddities
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
        universe = UniverseBuilder(worker, producer, rest, reader, masters)
        worker.orders.jobs = {"universe": universe.build_again, "master_files": masters.check_now}
        while True:
            plan = await worker.today.plan()
            if plan.trades:
                jobs = [Job("universe", universe.begins_ns(plan)), Job("master_files", plan.master_files_ns)]
                actions: Mapping[str, DayJob] = {"universe": universe.build, "master_files": masters.check_all}
                await _run_jobs(worker, producer, plan, jobs, actions)
            await worker.today.end_of(plan)
            await _write_calendar(worker)


async def _write_calendar(worker: Worker) -> None:
    today = kst_datetime(worker.clock.now_ns()).date()
    first, last = today - timedelta(days=CALENDAR_DAYS_BACK), today + timedelta(days=CALENDAR_DAYS_AHEAD)
    days = await trading_days_apart(Path(worker.settings.run.trading_days), first, last)
    write_trading_days(worker.runtime, days)


async def _run_jobs(
    worker: Worker, producer: Producer, plan: DayPlan, jobs: Sequence[Job], actions: Mapping[str, DayJob]
) -> None:
    done: set[str] = set()
    while len(done) < len(jobs) and worker.clock.now_ns() < plan.ends_ns:
        for job in due_jobs(jobs, done, worker.clock.now_ns()):
            try:
                async with worker.orders.turn:
                    await actions[job.name](plan)
            except (ProviderError, DataFileError) as error:
                text = f"job {job.name} failed, will be tried again: {error}"
                logger.error(text)
                producer.publish(AlertRaised(worker.clock.now_ns(), "critical", worker.name, text))
                await worker.clock.sleep(RETRY_MARKET_S)
            else:
                done.add(job.name)
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


class UniverseBuilder:
    """Fixes the universe of a day: listings, their last daily bars, who is eligible."""

    def __init__(
        self, worker: Worker, producer: Producer, history: HistorySource, reader: StoreReader, masters: MasterFiles
    ) -> None:
        self._worker = worker
        self._settings = worker.settings.selection.universe
        self._producer = producer
        self._history = history
        self._reader = reader
        self._masters = masters

    def begins_ns(self, plan: DayPlan) -> int:
        """When the universe of a day is due."""
        return moment_of(plan, self._settings.generation_time)

    async def build(self, plan: DayPlan) -> None:
        """Build it once; a universe that is there already stays as it is all day."""
        if not self._reader.universe(plan.day.isoformat(), KOREAN_STOCKS):
            await self._build(plan)

    async def build_again(self) -> str | Refused:
        """Build it in place of the one that is there, by order of a person. Who reads it later gets the new one."""
        plan = await self._worker.today.plan()
        if not plan.trades:
            return Refused("not_now", f"{plan.day} is no trading day: it has no universe")
        built = await self._build(plan)
        return f"{built.symbols} symbols out of {built.considered} listings"

    async def _build(self, plan: DayPlan) -> UniverseBuilt:
        session_date = plan.day.isoformat()
        listings = await self._listings()
        previous = max(day.day for day in read_trading_days(self._worker.runtime) if day.trades and day.day < plan.day)
        candidates = [listing for listing in listings if exclusion(listing, listing.base_price, self._settings) is None]
        bars = await self._bars([listing.symbol for listing in candidates], previous)
        day = UniverseDay(PROVIDER, KOREAN_STOCKS, session_date, previous.isoformat(), self._worker.clock.now_ns())
        histories = {symbol: history_of(days[-BARS_KEPT:]) for symbol, days in bars.items()}
        universe = build(candidates, histories, day, self._settings)
        if universe.warning:
            self._producer.publish(AlertRaised(day.built_ns, "warning", self._worker.name, universe.warning))
        built: UniverseBuilt = msgspec.structs.replace(universe.built, considered=len(listings))
        self._producer.publish_together([*universe.members, built])
        logger.info("universe of %d symbols out of %d listings", built.symbols, built.considered)
        return built

    async def _listings(self) -> Sequence[Listing]:
        """What is listed; on the very first day nothing is known, and the master files come first.

        Raises:
            DataFileError: the master files gave nothing (held, or unreadable): the job is tried again later.
        """
        if not (found := self._active()):
            for exchange in EXCHANGES:
                await self._masters.check(exchange)
            await self._worker.settled(self._producer)
            found = self._active()
        if not found:
            raise DataFileError(f"no listings of {' or '.join(EXCHANGES)} are known")
        return found

    def _active(self) -> Sequence[Listing]:
        return [listing for exchange in EXCHANGES for listing in self._reader.active_listings(exchange).values()]

    async def _bars(self, symbols: Sequence[str], previous: date) -> Mapping[str, Sequence[DailyBar]]:
        """The last bars of every symbol up to the previous session: the stored ones, and what came since, fetched.

        Raises:
            ProviderError: too many symbols got no answer: a universe without history would be crippled all day, so the
                job is tried again; what was fetched is stored, and only the rest is asked for.
        """
        stored = await asyncio.to_thread(self._reader.daily_bars, BARS_KEPT)
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        failures: list[ProviderError] = []

        async def complete(symbol: str) -> tuple[str, Sequence[DailyBar]]:
            days = stored.get(symbol, [])
            if days and days[-1].session_date >= previous.isoformat():
                return symbol, days
            async with at_once:
                try:
                    new = await self._fetch(symbol, days[-1].session_date if days else "", previous)
                except ProviderError as error:
                    logger.warning("no daily bars of %s: %s", symbol, error)
                    failures.append(error)
                    new = []
            return symbol, [*days, *new]

        bars = dict(await asyncio.gather(*[complete(symbol) for symbol in symbols]))
        outages = [error for error in failures if error.retry]
        if len(outages) > FAILURES_MAX * len(symbols):
            raise outages[0]
        return bars

    async def _fetch(self, symbol: str, after: str, previous: date) -> Sequence[DailyBar]:
        """A symbol's bars after that session date, published as they come.

        Raises:
            ProviderError: the broker has none to give, or does not answer.
        """
        first = previous - timedelta(days=HISTORY_DAYS)
        bars = [_daily_bar(bar) for bar in await self._history.daily_bars(symbol, first, previous)]
        new = [bar for bar in bars if bar.session_date > after]
        for bar in new:
            self._producer.publish(bar)
        return new


def _daily_bar(bar: Bar) -> DailyBar:
    day = kst_datetime(bar.start_ns).date().isoformat()
    return DailyBar(PROVIDER, bar.symbol, day, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.value)


if __name__ == "__main__":
    run("master-file", master_file)
