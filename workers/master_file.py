"""The day's reference jobs: the calendar, the master files with what they change, and the universe of the day."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import msgspec

from bus.events import (
    AlertRaised,
    DailyBar,
    Event,
    InputQuarantined,
    ListingChanged,
    MasterFileChecked,
    UniverseBuilt,
)
from bus.producer import Producer
from observer.brokers import PROVIDER
from observer.clock import NS_PER_S, kst_datetime
from observer.errors import DataFileError, ProviderError
from observer.providers.calendars import trading_days
from observer.providers.day_file import read_trading_days, write_trading_days
from observer.providers.interfaces import Bar, FileStamp, HistorySource, MasterFileSource
from observer.providers.kis.masters import BadLine, parse_master
from observer.reference.changes import Change, Verdict, decide_download, difference, verdict
from observer.reference.listings import Listing
from observer.schedule.jobs import Job, due_jobs, next_job
from observer.schedule.phases import DayPlan
from observer.schedule.trading_day import TradingDay
from observer.selection.universe import KOREAN_STOCKS, UniverseDay, build, exclusion, history_of
from observer.store.reader import StoreReader
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

EXCHANGES: Final = ("KOSPI", "KOSDAQ")
CALENDAR_DAYS_BACK: Final = 100  # daily bars of 20 sessions are asked for by date
CALENDAR_DAYS_AHEAD: Final = 40
HISTORY_DAYS: Final = 45  # calendar days that hold the sessions of the longest average (20) and one more
BARS_KEPT: Final = 21
CALLS_AT_ONCE: Final = 8
BAD_LINES_MAX: Final = 0.005  # more unreadable records than this share, and the file is not believed
SETTLE_S: Final = 5.0
RETRY_MARKET_S: Final = 60.0


async def master_file(worker: Worker) -> None:
    """Run the day's jobs in their order, each once a day; a process that starts late makes up for what it missed."""
    account = worker.broker_account()
    await asyncio.to_thread(_write_calendar, worker)
    with StoreReader(worker.settings.store.url) as reader:
        async with worker.producer() as producer, account.rest() as rest, account.master_files() as files:
            await worker.ready()
            masters = MasterFiles(worker, producer, files, reader)
            universe = UniverseBuilder(worker, producer, rest, reader, masters)
            while True:
                plan = await worker.today.plan()
                await _run_jobs(worker, producer, plan, {"universe": universe.build, "master_files": masters.check_all})
                await worker.today.is_over()
                await asyncio.to_thread(_write_calendar, worker)


def _write_calendar(worker: Worker) -> None:
    today = kst_datetime(worker.clock.now_ns()).date()
    first, last = today - timedelta(days=CALENDAR_DAYS_BACK), today + timedelta(days=CALENDAR_DAYS_AHEAD)
    write_trading_days(worker.runtime, trading_days(Path(worker.settings.run.trading_days), first, last))


async def _run_jobs(
    worker: Worker, producer: Producer, plan: DayPlan, actions: Mapping[str, Callable[[DayPlan], Awaitable[None]]]
) -> None:
    jobs = [Job("universe", plan.universe_ns), Job("master_files", plan.master_files_ns)] if plan.trades else []
    done: set[str] = set()
    while len(done) < len(jobs):
        for job in due_jobs(jobs, done, worker.clock.now_ns()):
            try:
                await actions[job.name](plan)
            except (ProviderError, DataFileError) as error:
                logger.error("job %s failed, will be tried again: %s", job.name, error)
                text = f"job {job.name} failed: {error}"
                producer.publish(AlertRaised(worker.clock.now_ns(), "critical", "master-file", text))
                await worker.clock.sleep(RETRY_MARKET_S)
            else:
                done.add(job.name)
        if coming := next_job(jobs, done, worker.clock.now_ns()):
            await worker.clock.sleep_until(coming.at_ns)


class LocalCopy(msgspec.Struct, frozen=True):
    """What we know of the master file that lies on our disk: the server's stamp of it, and when it was last checked."""

    stamp: FileStamp
    checked_ns: int


class MasterFiles:
    """Looks at the exchanges' master files, downloads what differs, and publishes what changed in them."""

    def __init__(self, worker: Worker, producer: Producer, files: MasterFileSource, reader: StoreReader) -> None:
        self._clock = worker.clock
        self._settings = worker.settings.reference
        self._folder = Path(worker.settings.run.data) / "master"
        self._producer = producer
        self._files = files
        self._reader = reader

    async def check_all(self, plan: DayPlan) -> None:
        """Check every exchange that was not checked since this day's time for it."""
        for exchange in EXCHANGES:
            copy = self._local_copy(exchange)
            if copy is None or copy.checked_ns < plan.master_files_ns:
                await self.check(exchange)

    async def check(self, exchange: str) -> None:
        """Look at one exchange's file; all that comes of it is published as one batch."""
        started_ns = self._clock.now_ns()
        copy = self._local_copy(exchange)
        remote = await self._files.stamp(exchange)
        age_s = 0.0 if copy is None else (started_ns - copy.checked_ns) / NS_PER_S
        decision = decide_download(copy.stamp if copy else None, remote, self._settings, age_s=age_s)
        if decision.action == "download":
            stamp = await self._files.download(exchange, self._path(exchange))
            await self._take_in(exchange, copy, stamp, started_ns)
        else:
            stamp = remote if copy is None else copy.stamp
            answer = Verdict("unchanged" if decision.action == "skip" else "held", decision.reason, decision.severity)
            self._producer.publish(_checked(exchange, started_ns, answer, b"", [], [], []))
        self._remember(exchange, LocalCopy(stamp, started_ns))

    async def _take_in(self, exchange: str, copy: LocalCopy | None, stamp: FileStamp, now_ns: int) -> None:
        content = self._path(exchange).read_bytes()
        listings, bad_lines = parse_master(exchange, content)
        await self._until_stored()
        known = {
            **{symbol: (listing, False) for symbol, listing in self._reader.inactive_listings(exchange).items()},
            **{symbol: (listing, True) for symbol, listing in self._reader.active_listings(exchange).items()},
        }
        changes: Sequence[Change] = ()
        if len(bad_lines) > BAD_LINES_MAX * (len(bad_lines) + len(listings)):
            answer = Verdict("held", f"{len(bad_lines)} records cannot be read", "critical")
        else:
            changes = difference(known, listings)
            answer = verdict(
                changes,
                self._settings,
                first_time=not known,
                old_size_bytes=copy.stamp.size_bytes if copy else None,
                new_size_bytes=stamp.size_bytes or len(content),
            )
        if answer.decision != "updated":
            changes = ()
        events: list[Event] = [_checked(exchange, now_ns, answer, content, listings, bad_lines, changes)]
        events += [_listing_changed(change, now_ns) for change in changes]
        events += [_quarantined(exchange, line, now_ns) for line in bad_lines]
        if answer.severity != "info":
            events.append(AlertRaised(now_ns, answer.severity, "master-file", f"{exchange}: {answer.reason}"))
        self._producer.publish_together(events)
        logger.info("%s: %s, %d listings, %d changes", exchange, answer.decision, len(listings), len(changes))

    async def _until_stored(self) -> None:
        """What was published before must be in the database before it is compared with."""
        while not await self._producer.drain(SETTLE_S):
            logger.warning("waiting for the writer")

    def _path(self, exchange: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
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

    async def build(self, plan: DayPlan) -> None:
        """Build it once; a universe that is there already stays as it is all day."""
        session_date = plan.day.isoformat()
        if self._reader.universe(session_date, KOREAN_STOCKS):
            return
        listings = await self._listings()
        previous = _previous_session(read_trading_days(self._worker.runtime), plan.day)
        candidates = [listing for listing in listings if exclusion(listing, listing.base_price, self._settings) is None]
        bars = await self._bars([listing.symbol for listing in candidates], previous)
        day = UniverseDay(PROVIDER, KOREAN_STOCKS, session_date, previous.isoformat(), self._worker.clock.now_ns())
        histories = {symbol: history_of(days[-BARS_KEPT:]) for symbol, days in bars.items()}
        universe = build(candidates, histories, day, self._settings)
        if universe.warning:
            self._producer.publish(AlertRaised(day.built_ns, "warning", "master-file", universe.warning))
        built: UniverseBuilt = msgspec.structs.replace(universe.built, considered=len(listings))
        self._producer.publish_together([*universe.members, built])
        logger.info("universe of %d symbols out of %d listings", built.symbols, built.considered)

    async def _listings(self) -> Sequence[Listing]:
        """What is listed; on the very first day nothing is known, and the master files come first."""
        while True:
            found = [listing for name in EXCHANGES for listing in self._reader.active_listings(name).values()]
            if found:
                return found
            for exchange in EXCHANGES:
                await self._masters.check(exchange)
            await self._producer.drain(SETTLE_S)

    async def _bars(self, symbols: Sequence[str], previous: date) -> Mapping[str, Sequence[Bar | DailyBar]]:
        """The last bars of every symbol: the stored ones where they reach to the previous session, else fetched."""
        stored = await asyncio.to_thread(self._reader.daily_bars, BARS_KEPT)
        known = {symbol: days for symbol, days in stored.items() if days[-1].session_date == previous.isoformat()}
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)

        async def fetch(symbol: str) -> tuple[str, Sequence[Bar]]:
            async with at_once:
                return symbol, await self._fetch(symbol, previous)

        missing = [symbol for symbol in symbols if symbol not in known]
        fetched = await asyncio.gather(*[fetch(symbol) for symbol in missing])
        return {**known, **dict(fetched)}

    async def _fetch(self, symbol: str, previous: date) -> Sequence[Bar]:
        """One symbol's bars, published as they come; none when the broker has none to give."""
        try:
            bars = await self._history.daily_bars(symbol, previous - timedelta(days=HISTORY_DAYS), previous)
        except ProviderError as error:
            logger.warning("no daily bars of %s: %s", symbol, error)
            return []
        for bar in bars:
            self._producer.publish(_daily_bar(bar))
        return bars


def _previous_session(days: Sequence[TradingDay], today: date) -> date:
    return max(day.day for day in days if day.trades and day.day < today)


def _daily_bar(bar: Bar) -> DailyBar:
    day = kst_datetime(bar.start_ns).date().isoformat()
    return DailyBar(PROVIDER, bar.symbol, day, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.value)


def _checked(
    exchange: str,
    checked_ns: int,
    answer: Verdict,
    content: bytes,
    listings: Sequence[Listing],
    bad_lines: Sequence[BadLine],
    changes: Sequence[Change],
) -> MasterFileChecked:
    def count(kind: str) -> int:
        return sum(change.kind == kind for change in changes)

    return MasterFileChecked(
        PROVIDER,
        exchange,
        checked_ns,
        answer.decision,
        answer.reason,
        len(content),
        hashlib.sha256(content).hexdigest() if content else "",
        len(listings),
        len(bad_lines),
        count("new"),
        count("removed"),
        count("changed") + count("relisted"),
    )


def _listing_changed(change: Change, changed_ns: int) -> ListingChanged:
    listing = change.listing
    return ListingChanged(
        PROVIDER,
        listing.exchange,
        listing.symbol,
        change.kind,
        changed_ns,
        listing.name,
        listing.isin,
        listing.group,
        listing.base_price,
        listing.market_cap_krw,
        listing.listed_shares,
        listing.listed_on,
        listing.suspended,
        listing.administrative,
        listing.preferred,
        listing.spac,
        ",".join(change.fields),
    )


def _quarantined(exchange: str, line: BadLine, now_ns: int) -> InputQuarantined:
    return InputQuarantined(f"master_file {exchange} line {line.number}", now_ns, line.reason, line.content)


if __name__ == "__main__":
    run("master-file", master_file)
