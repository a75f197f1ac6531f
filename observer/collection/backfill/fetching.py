"""Fetches missing official bars, a symbol at a time, and publishes each span of days when it is whole.

The bars of a day and the row that says that it is fetched are one batch: after a kill it is stored whole or not at all,
and a later run asks for what has no such row.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Final, Literal

import msgspec

from bus.events import BarsFetched, DailyBar, Event, FetchOutcome, InputQuarantined, MinuteBarFetched, SharesAdjusted
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.errors import ObserverError, ProviderError, StoreFailedError
from observer.base.lines import stock_of, venue_of
from observer.base.local_time import local_datetime
from observer.brokers.broker import Bar, Priority
from observer.brokers.domestic import BarArchive, BarReach, MinuteDay, UnreadableRow
from observer.brokers.quarantine import InputQuarantine
from observer.calendar.service import TradingDayService
from observer.collection.backfill.plan import OVERLAP_DAYS, Span, SymbolNeeds, missing_days, needs_of, outcome_of
from observer.reference.universe.closing import daily_bar_of, sessions_held
from observer.selection.indicators import adjustment
from observer.store.reader import StoreReader

PRIORITY: Final[Priority] = "background"
SYMBOLS_AT_ONCE: Final = 4
"""Of each account: this only hides the answers' latency, the limiter sets the pace."""
_FAILURES_MAX: Final = 20  # symbols in a row without an answer: an outage, not oddities
_UNSTORED_MAX: Final = 20_000  # events that wait for the writer before no further call is made
_STORED_S: Final = 600.0  # machine seconds for the writer to take them


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The bars to have: of these symbols and days, daily ones and perhaps minute bars.

    `minutes_first` is the first day with minute bars at the broker. `session_day` is this day if it is among the
    days and over. With `again` days of minute bars that were not proved equal are fetched once more.
    """

    symbols: Sequence[str]
    days: Span
    minutes: bool
    minutes_first: date
    session_day: date | None = None
    again: bool = False


class Result(msgspec.Struct):
    """What a run did so far. `failed` are symbols without an answer; `differing` days of minute bars that do not have
    the volume of their daily bar.
    """

    symbols: int = 0
    calls: int = 0
    daily_bars: int = 0
    minute_bars: int = 0
    minute_days: int = 0
    unreadable: int = 0
    outcomes: Counter[FetchOutcome] = msgspec.field(default_factory=Counter)
    unreached: int = 0
    differing: list[BarsFetched] = msgspec.field(default_factory=list)
    failed: dict[str, str] = msgspec.field(default_factory=dict)


class Backfill:
    """One run.

    Args:
        asked: the bars to have.
        reach: of the broker.
        provider: the broker's name; `main_venue` the venue of lines without one in their id.
        reader: reads what is stored.
        producer: publishes.
        today: the plans of days.
        clock: the market's.
        wait: returns when calls may be made.
        report: called with the result whenever it grows.
    """

    def __init__(
        self,
        asked: Asked,
        reach: BarReach,
        *,
        provider: str,
        main_venue: str,
        reader: StoreReader,
        producer: Producer,
        today: TradingDayService,
        clock: Clock,
        wait: Callable[[], Awaitable[None]],
        report: Callable[[Result], None] = lambda _: None,
    ) -> None:
        self._asked = asked
        self._reach = reach
        self._provider = provider
        self._main_venue = main_venue
        self._reader = reader
        self._producer = producer
        self._today = today
        self._clock = clock
        self._wait = wait
        self._report = report
        self._quarantine = InputQuarantine()
        self._sessions: dict[tuple[date, str], str] = {}
        self._adjusted: set[tuple[str, str]] = set()
        self._failures = 0
        self._failure: ObserverError | None = None
        self._refused_before = producer.refused
        self.result = Result()

    async def run(self, archives: Sequence[BarArchive]) -> Result:
        """Fetch what is missing, with every archive at once.

        Raises:
            ProviderError: none of many symbols in a row got an answer.
            StoreFailedError: the disk or the writer takes no more.
        """
        first = self._asked.days.first.isoformat()
        known = await asyncio.to_thread(self._reader.share_adjustments, first, self._this_day())
        self._adjusted = {(symbol, each.session_date) for symbol, found in known.items() for each in found}
        waiting = deque(self._asked.symbols)
        try:
            async with asyncio.TaskGroup() as tasks:
                for archive in archives:
                    for _ in range(SYMBOLS_AT_ONCE):
                        tasks.create_task(self._work_on(archive, waiting))
        finally:
            self._producer.publish(*self._quarantine.finish(self._clock.now_ns()))
        if self._failure is not None:
            raise self._failure
        return self.result

    async def _work_on(self, archive: BarArchive, waiting: deque[str]) -> None:
        """Fetch waiting symbols. After a failure every worker finishes its symbol and takes no other one."""
        try:
            await self._work(archive, waiting)
        except ObserverError as error:  # the group must not see it: 3.11's forgets a cancellation beside an error
            self._failure = self._failure or error
            waiting.clear()

    async def _work(self, archive: BarArchive, waiting: deque[str]) -> None:
        while waiting:
            symbol = waiting.popleft()
            try:
                await self._fetch(archive, symbol)
            except ProviderError as error:
                self.result.failed[symbol] = str(error)
                self._failures += 1
                if self._failures >= _FAILURES_MAX:
                    raise
            self.result.symbols += 1
            self._report(self.result)

    async def _fetch(self, archive: BarArchive, symbol: str) -> None:
        stored = await asyncio.to_thread(stored_of, self._reader, symbol, self._asked)
        needs = stored.needs(self._asked, self._reach)
        volumes = dict(stored.volumes)
        for span in needs.daily:
            volumes |= await self._fetch_daily(archive, symbol, span, stored.bars)
        if not self._asked.minutes:
            return
        wanted = missing_days(self._asked.days, volumes, stored.fetched)
        days = [day for day in wanted if day >= self._asked.minutes_first]
        self.result.unreached += len(wanted) - len(days)
        await self._wait()
        session_day = self._asked.session_day
        # A run can go on past midnight: then the day is one of the past.
        if session_day in days and session_day.isoformat() == self._this_day():
            days.remove(session_day)
            of_session = await archive.session_minutes(symbol, self._clock.now_ns(), PRIORITY)
            await self._take_minutes(symbol, of_session, volumes, is_session_day=True)
        if days:
            left = len(days)
            async for day in archive.past_days(symbol, days, PRIORITY):
                left -= 1
                await self._take_minutes(symbol, day, volumes)
                await self._wait()
            self.result.unreached += left

    async def _fetch_daily(
        self, archive: BarArchive, symbol: str, span: Span, stored: Mapping[str, DailyBar]
    ) -> Mapping[date, float]:
        """The volumes of the span's daily bars, which are published."""
        await self._wait()
        reached = min(span.last + timedelta(days=OVERLAP_DAYS), self._asked.days.last)
        page = await archive.daily_page(symbol, span.first, reached, PRIORITY)
        bars = [self._daily_bar(symbol, bar) for bar in page.bars]
        in_span = [bar for bar in bars if bar.session_date <= span.last.isoformat()]
        new = [bar for bar in in_span if not _is_same(bar, stored.get(bar.session_date))]
        fetched = BarsFetched(
            self._provider,
            symbol,
            span.last.isoformat(),
            span.first.isoformat(),
            "daily",
            outcome="unproved" if in_span else "nothing",
            bars=len(in_span),
            unreadable=len(page.unreadable),
            volume=sum(bar.volume for bar in in_span),
            daily_volume=None,
            calls=1,
            received_ns=self._clock.now_ns(),
            venue=venue_of(symbol, self._main_venue),
        )
        self.result.daily_bars += len(new)
        changes = self._changes(symbol, span, bars, [bar.base_price for bar in page.bars])
        await self._publish([*self._quarantined(page.unreadable), *new, *changes, fetched], fetched)
        return {date.fromisoformat(bar.session_date): bar.volume for bar in in_span}

    def _changes(
        self, symbol: str, span: Span, bars: Sequence[DailyBar], bases: Sequence[float | None]
    ) -> Sequence[SharesAdjusted]:
        """The changes of shares behind each bar of the span that are not stored. Only the main venue's base prices show
        them: elsewhere a base price is the main venue's close.
        """
        if symbol != stock_of(symbol):
            return ()
        found = [
            adjustment(before, bar.session_date, base, self._this_day())
            for (before, bar), base in zip(pairwise(bars), bases[1:], strict=True)
            if before.session_date <= span.last.isoformat() and (symbol, bar.session_date) not in self._adjusted
        ]
        return [each for each in found if each is not None]

    async def _take_minutes(
        self, symbol: str, day: MinuteDay, volumes: Mapping[date, float], *, is_session_day: bool = False
    ) -> None:
        """Publish a day's minute bars, and whether they have the volume of its daily bar."""
        now_ns, session_date = self._clock.now_ns(), day.day.isoformat()
        venue, volume = venue_of(symbol, self._main_venue), sum(bar.volume for bar in day.bars)
        daily_volume = volumes.get(day.day)
        source: Literal["session_day", "past_day"] = "session_day" if is_session_day else "past_day"
        bars = [
            MinuteBarFetched(
                self._provider,
                symbol,
                session_date,
                bar.start_ns,
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                bar.volume,
                bar.value,
                source,
                now_ns,
                venue,
            )
            for bar in day.bars
        ]
        fetched = BarsFetched(
            self._provider,
            symbol,
            session_date,
            session_date,
            "minutes",
            outcome=outcome_of(len(bars), volume, len(day.unreadable), daily_volume),
            bars=len(bars),
            unreadable=len(day.unreadable),
            volume=volume,
            daily_volume=daily_volume,
            calls=day.calls,
            received_ns=now_ns,
            venue=venue,
        )
        self.result.minute_bars += len(bars)
        self.result.minute_days += 1
        self.result.outcomes[fetched.outcome] += 1
        if fetched.outcome in ("differs", "nothing"):
            self.result.differing.append(fetched)
        await self._publish([*self._quarantined(day.unreadable), *bars, fetched], fetched)

    async def _publish(self, events: Sequence[Event], fetched: BarsFetched) -> None:
        self._producer.publish_together(events)
        if self._producer.refused > self._refused_before:
            raise StoreFailedError("the disk takes no more: free some, and run the command again")
        self._failures = 0
        self.result.calls += fetched.calls
        self.result.unreadable += fetched.unreadable
        self._report(self.result)
        if self._producer.unacknowledged > _UNSTORED_MAX and not await self._producer.drain(_STORED_S):
            raise StoreFailedError(f"the writer stores nothing: {self._producer.unacknowledged:,} events wait for it")

    def _quarantined(self, rows: Sequence[UnreadableRow]) -> Sequence[Event]:
        now_ns, source = self._clock.now_ns(), f"{self._provider} backfill"
        items = (InputQuarantined(source, now_ns, row.reason, row.content) for row in rows)
        return [each for item in items for each in self._quarantine.take(item, now_ns)]

    def _daily_bar(self, symbol: str, bar: Bar) -> DailyBar:
        day, venue = local_datetime(bar.start_ns).date(), venue_of(symbol, self._main_venue)
        if (day, venue) not in self._sessions:
            self._sessions[day, venue] = sessions_held(self._today.plan_of(day).sessions, venue)
        return daily_bar_of(self._provider, symbol, bar, venue, self._sessions[day, venue])

    def _this_day(self) -> str:
        return local_datetime(self._clock.now_ns()).date().isoformat()


class StoredBars(msgspec.Struct, frozen=True):
    """What is stored of a symbol's bars: daily bars by day, spans of them that were fetched, days of minute bars."""

    symbol: str
    bars: Mapping[str, DailyBar]
    covered: Sequence[Span]
    fetched: frozenset[date]

    @property
    def volumes(self) -> Mapping[date, float]:
        """The volumes of the daily bars."""
        return {date.fromisoformat(day): bar.volume for day, bar in self.bars.items()}

    def needs(self, asked: Asked, reach: BarReach) -> SymbolNeeds:
        """The missing bars."""
        volumes = self.volumes if asked.minutes else None
        days_per_call, minutes_first = reach.days_per_call, asked.minutes_first
        return needs_of(self.symbol, asked.days, self.covered, days_per_call, volumes, self.fetched, minutes_first)


def stored_of(reader: StoreReader, symbol: str, asked: Asked) -> StoredBars:
    """What is stored of a symbol's asked days."""
    first, last = asked.days.first.isoformat(), asked.days.last.isoformat()
    fetches = reader.bar_fetches(symbol, first)
    days = {each.session_date: each.outcome for each in fetches if each.kind == "minutes"}
    return StoredBars(
        symbol=symbol,
        bars=reader.bars_of_days(symbol, first, last),
        covered=[
            Span(date.fromisoformat(each.first_date), date.fromisoformat(each.session_date))
            for each in fetches
            if each.kind == "daily"
        ],
        fetched=frozenset(
            date.fromisoformat(day) for day, outcome in days.items() if outcome == "equal" or not asked.again
        ),
    )


def _is_same(bar: DailyBar, stored: DailyBar | None) -> bool:
    """Whether the stored bar says the same as the broker's."""
    if stored is None:
        return False
    values = [(each.open, each.high, each.low, each.close, each.volume) for each in (bar, stored)]
    return values[0] == values[1]
