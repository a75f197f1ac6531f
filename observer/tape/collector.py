"""Fetches a day's tape: asks what the planner says, evenly spaced and below every other call, and stores the trades.

The database says which volumes Track B has evaluated and which lines have slots; the feed only signals news. Trades and
the page that brought them are published as one batch, and a new process begins with the stored pages: after a kill a
page is fetched again only if it was not stored yet.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Final, ParamSpec, TypeVar

import msgspec
from msgspec.structs import replace

from bus.endpoints import Address
from bus.events import (
    Fact,
    SelectionAdvanced,
    SlotAssigned,
    SlotsClosed,
    SlotsOpened,
    Snapshot,
    TapePage,
    TapeProgressed,
    UniverseEvaluated,
    VolumeRise,
)
from bus.feed import FeedSubscriber
from bus.producer import Producer
from observer.accounts.clients import RestOfAll
from observer.alerts.process import Alerts
from observer.calendar.phases import DayPlan
from observer.clock import Clock
from observer.errors import ProviderError, StoreError
from observer.lines import venue_of
from observer.providers.broker import PastTrade
from observer.providers.time_and_sales import TradePageSource
from observer.store.reader import StoreReader
from observer.streaming.sweep_times import session_of
from observer.tape.answers import breaks_of, judged, new_trades, page_of, restore, span_of
from observer.tape.chain import Span
from observer.tape.learning import Learning, claims_of
from observer.tape.planner import Page, TapePlanner, Visit
from observer.tape.settings import TapeSettings
from observer.units import NS_PER_S

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger(__name__)

VISITS_PER_ACCOUNT: Final = 8  # at once: the pace is the setting's; this only hides the answers' latency
CHECK_AGAIN_S: Final = 2.0  # machine seconds between checks of the database, in case the feed lost a message
CLOSED_AFTER_NS: Final = 60 * NS_PER_S  # after the last sweep: it is evaluated, and what streamed is stored
JUDGED_BEFORE_NS: Final = 120 * NS_PER_S  # before midnight, when today's trades are gone
OFFER_AGAIN_NS: Final = 60 * NS_PER_S  # after the close, between visits of a line that waits for a gap or an answer
PROGRESS_S: Final = 60.0
REPORTS_AT_ONCE: Final = 500  # of one batch
_UNREAD: Final = "tape_unread"
_REFUSED: Final = "tape_refused"


class TapeParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the tape works with. `calls_per_second` is the limit of one account, `page_trades` the broker's page."""

    settings: TapeSettings
    provider: str
    page_trades: int
    calls_per_second: float
    rest: RestOfAll
    reader: StoreReader
    producer: Producer
    feed_address: Address
    clock: Clock
    alerts: Alerts


class TapeDay:
    """The tape of one day, by one process."""

    def __init__(self, parts: TapeParts, plan: DayPlan) -> None:
        self.planner = TapePlanner(parts.page_trades)
        self._parts = parts
        self._plan = plan
        self._day = plan.day.isoformat()
        self._learning = Learning(self.planner, parts.settings.lines, parts.settings.preroll_s, parts.clock.now_ns())
        self._news, self._wakes = asyncio.Event(), asyncio.Event()
        self._next_ns = 0
        self._visits = 0
        self._put_off: set[str] = set()
        self._is_closed = False
        self._is_streaming = False  # after the close: a line has a slot, whose last trades may still come
        self._ended: set[str] = set()  # lines whose whole day is asked
        self._offer_ns = 0
        self._calls = 0
        self._fetched: Counter[str] = Counter()

    async def run(self) -> None:
        """Fetch until everything is held or the day ends, and judge every line. Nothing is asked of a day whose tape is
        done.
        """
        if not await self._resume():
            return
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._follow_feed()),
                tasks.create_task(self._learn_now_and_then()),
                tasks.create_task(self._report_now_and_then()),
                *(tasks.create_task(self._visit_lines(number)) for number in range(self._visitors)),
            ]
            await self._done()
            for task in running:
                task.cancel()
        await self._judge()

    @property
    def _visitors(self) -> int:
        return VISITS_PER_ACCOUNT * max(1, len(self._clients))

    @property
    def _clients(self) -> Sequence[TradePageSource]:
        return list(self._parts.rest.usable("trades").values())

    # --- what is known ---

    async def _resume(self) -> bool:
        """Continue with the stored pages. False: the day's tape is done."""
        reader = self._parts.reader
        progress = await self._read(reader.tape_progress, self._day)
        if progress is not None and progress.is_done:
            return False
        pages = await self._read(reader.tape_pages, self._day)
        restore(self.planner, pages)
        self._calls = len(pages)
        for page in pages:
            self._fetched[page.symbol] += page.stored
        return True

    async def _read(self, query: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """A query's answer; waits while the database gives none."""
        while True:
            try:
                found = await asyncio.to_thread(query, *arguments, **named)
            except StoreError as error:
                self._parts.alerts.report(_UNREAD, "warning", f"the tape waits for the database: {error}")
                await asyncio.sleep(CHECK_AGAIN_S)
            else:
                self._parts.alerts.resolve(_UNREAD, "the database answers")
                return found

    async def _follow_feed(self) -> None:
        kinds: list[type[Fact]] = [SlotAssigned, SelectionAdvanced]
        feed = FeedSubscriber(self._parts.feed_address, kinds, self._parts.alerts.feed_lost)
        try:
            async for event in feed:
                if isinstance(event, SlotAssigned) or (
                    isinstance(event, SelectionAdvanced)
                    and isinstance(event.step, UniverseEvaluated | SlotsClosed | SlotsOpened)
                ):
                    self._news.set()
        finally:
            feed.close()

    async def _learn_now_and_then(self) -> None:
        """Take in new volumes and slots, at news and now and then; after the last sweep the day is closed."""
        while True:
            await self._learn()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), CHECK_AGAIN_S)
            self._news.clear()

    async def _learn(self) -> None:
        now_ns, reader = self._parts.clock.now_ns(), self._parts.reader
        since_ns = self._learning.read_until_ns
        evaluated_ns = await self._read(reader.evaluated_until_ns, self._day)
        claims = claims_of(await self._read(reader.slot_history, self._day))
        volumes: list[Snapshot | VolumeRise] = [*await self._read(reader.snapshots, self._day, since_ns, now_ns + 1)]
        volumes += await self._read(reader.volume_rises, self._day, since_ns - 1)
        volumes.sort(key=attrgetter("receive_time_ns"))
        self._learning.learn(volumes, claims, evaluated_ns, now_ns)
        if now_ns >= self._closes_ns:
            self._close(now_ns, {symbol for symbol, spans in claims.items() if spans[-1].to_ns >= now_ns})
        self._wake()

    @property
    def _closes_ns(self) -> int:
        return max(self._plan.track_a_stop_ns, self._plan.trades_to_ns) + CLOSED_AFTER_NS

    def _close(self, now_ns: int, streaming: Collection[str]) -> None:
        """Ask whole days, but not of lines that still have a slot: Track B ends it and states what the stream lacks."""
        ended = {symbol: volume for symbol, volume in self._learning.last.items() if symbol not in streaming}
        if not self._is_closed or ended.keys() - self._ended:
            self.planner.close(ended, now_ns // NS_PER_S)
            self._ended |= ended.keys()
            self._is_closed = True
        self._is_streaming = bool(streaming)
        if now_ns >= self._offer_ns:
            self._offer_ns = now_ns + OFFER_AGAIN_NS
            for symbol in self._put_off:
                self.planner.offer(symbol)
            self._put_off.clear()

    def _wake(self) -> None:
        self._wakes.set()
        self._wakes = asyncio.Event()

    # --- fetching ---

    async def _visit_lines(self, number: int) -> None:
        while True:
            wakes = self._wakes
            if (visit := self.planner.take()) is None:
                await wakes.wait()
                continue
            self._visits += 1
            try:
                await self._visit(visit, number)
            finally:
                self._visits -= 1
                self.planner.end(visit, again=visit.symbol not in self._put_off)
            if self._is_closed and not self._visits:
                self._wake()

    async def _visit(self, visit: Visit, number: int) -> None:
        self._put_off.discard(visit.symbol)
        if visit.chain.is_streamed and not await self._take_streamed(visit):
            self._put_off.add(visit.symbol)
            return
        while (second := self.planner.ask(visit)) is not None:
            try:
                rows = await self._page(visit.symbol, second, number)
                if not rows:  # there are trades, so an empty answer is believed when it comes twice
                    rows = await self._page(visit.symbol, second, number)
            except ProviderError as error:
                self._parts.alerts.report(_REFUSED, "warning", f"the tape cannot fetch trades: {error}")
                self._put_off.add(visit.symbol)
                return
            self._parts.alerts.settle(_REFUSED, "trades are fetched again")
            self._take(visit, second, rows)
            if self.planner.has_first and not visit.is_first:
                return

    async def _page(self, symbol: str, second: int, number: int) -> Sequence[PastTrade]:
        await self._turn()
        clients = self._clients
        return await clients[number % len(clients)].trades_page(symbol, second * NS_PER_S)

    async def _take_streamed(self, visit: Visit) -> bool:
        """Take in what is stored of a line that had a slot. False while a gap of it may still be filled."""
        reader, symbol = self._parts.reader, visit.symbol
        if any(story.is_open for story in await self._read(reader.gaps, self._day, symbol)):
            return False
        if any(cut.is_open for cut in await self._read(reader.openings, self._day) if cut.opened.symbol == symbol):
            return False
        for span in await self._read(reader.held_spans, symbol, self._day):
            begin_s, end_s = span.from_ns // NS_PER_S, span.to_ns // NS_PER_S
            visit.chain.hold(Span(max(0.0, span.after_volume), span.upto_volume, begin_s, end_s))
        return True

    async def _turn(self) -> None:
        """Wait for the next of the evenly spaced calls."""
        now_ns = self._parts.clock.now_ns()
        at_ns = max(now_ns, self._next_ns)
        self._next_ns = at_ns + round(NS_PER_S / self._calls_per_second)
        await self._parts.clock.sleep_until(at_ns)

    @property
    def _calls_per_second(self) -> float:
        return self._parts.settings.share_of_limit * self._parts.calls_per_second * max(1, len(self._clients))

    def _take(self, visit: Visit, second: int, rows: Sequence[PastTrade]) -> None:
        """Publish what a page brought."""
        page, now_ns = page_of(rows), self._parts.clock.now_ns()
        taken = self.planner.page(visit, second, page, breaks_of(rows))
        venue = venue_of(visit.symbol, self._plan.venue)
        found = new_trades(
            *(rows, taken),
            provider=self._parts.provider,
            symbol=visit.symbol,
            session_date=self._day,
            received_ns=now_ns,
        )
        sessions = self._plan.sessions
        trades = [replace(each, session=session_of(sessions, each.venue, each.exchange_time_ns)) for each in found]
        at_ns = second * NS_PER_S
        held = Page(0, 0.0, 0.0, second, second) if page is None else page
        fetched = TapePage(
            provider=self._parts.provider,
            symbol=visit.symbol,
            session_date=self._day,
            fetched_ns=now_ns,
            asked_ns=at_ns,
            trades=len(rows),
            stored=len(trades),
            volume=sum(each.volume for each in trades),
            after_volume=held.after_volume,
            upto_volume=min(held.upto_volume, visit.chain.limit),
            from_ns=held.from_s * NS_PER_S,
            to_ns=held.to_s * NS_PER_S,
            unreachable=tuple(map(span_of, taken.lost)),
            venue=venue,
        )
        self._calls += 1
        self._fetched[visit.symbol] += len(trades)
        self._parts.producer.publish_together([*trades, fetched])

    # --- reporting ---

    async def _done(self) -> None:
        """Wait until nothing is left to ask, or the day ends."""
        last_ns = self._plan.ends_ns - JUDGED_BEFORE_NS
        while self._parts.clock.now_ns() < last_ns:
            wakes = self._wakes
            is_waiting = self._is_streaming or self._visits or self._put_off
            if self._is_closed and not is_waiting and not self.planner.has_work:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wakes.wait(), CHECK_AGAIN_S)

    async def _report_now_and_then(self) -> None:
        while True:
            self._parts.producer.publish(self._progress(is_done=False))
            await self._parts.clock.sleep(PROGRESS_S)

    def _progress(self, *, is_done: bool) -> TapeProgressed:
        chains, missing = self.planner.chains, 0.0
        held = lost = volume = 0.0
        complete = spans = seconds = 0
        for chain in chains.values():
            unknown = sum(1 for _ in chain.unknown)
            missing += self.planner.missing_trades(chain)
            volume += chain.limit
            held += max(0.0, chain.held_volume)
            lost += chain.lost_volume
            spans += unknown
            seconds += len({span.to_s for span in chain.lost})
            complete += not unknown and not chain.lost_volume
        calls = missing / self._parts.page_trades
        return TapeProgressed(
            provider=self._parts.provider,
            session_date=self._day,
            progressed_ns=self._parts.clock.now_ns(),
            lines=len(chains),
            complete_lines=complete,
            calls=self._calls,
            trades=self._fetched.total(),
            day_volume=volume,
            held_volume=held,
            unreachable_volume=lost,
            unreachable_seconds=seconds,
            unknown_spans=spans,
            seconds_left=calls / self._calls_per_second if chains else None,
            is_done=is_done,
        )

    async def _judge(self) -> None:
        """Publish the report on every line's whole day, and that the day's tape is done. A process that began just
        before the day's end has learned nothing yet.
        """
        await self._learn()
        self.planner.close(self._learning.last, self._parts.clock.now_ns() // NS_PER_S)
        await self._take_all_streamed()
        self._parts.alerts.resolve(_REFUSED, "the day's tape is done")
        with_bars = await self._read(self._parts.reader.lines_with_minute_bars, self._day)
        now_ns = self._parts.clock.now_ns()
        reports = [
            judged(
                chain,
                provider=self._parts.provider,
                symbol=symbol,
                session_date=self._day,
                judged_ns=now_ns,
                venue=venue_of(symbol, self._plan.venue),
                fetched_trades=self._fetched[symbol],
                has_minute_bars=symbol in with_bars,
            )
            for symbol, chain in sorted(self.planner.chains.items())
        ]
        for first in range(0, len(reports), REPORTS_AT_ONCE):
            self._parts.producer.publish(*reports[first : first + REPORTS_AT_ONCE])
            self._parts.producer.flush()
        self._parts.producer.publish(self._progress(is_done=True))
        counts = Counter(each.quality for each in reports)
        logger.info(
            "%s: the tape is done: calls=%d trades=%d %s", self._day, self._calls, self._fetched.total(), counts
        )

    async def _take_all_streamed(self) -> None:
        """Take in what is stored of the lines that had slots and were not visited since."""
        for symbol, chain in self.planner.chains.items():
            if chain.is_streamed:
                for span in await self._read(self._parts.reader.held_spans, symbol, self._day):
                    begin_s, end_s = span.from_ns // NS_PER_S, span.to_ns // NS_PER_S
                    chain.hold(Span(max(0.0, span.after_volume), span.upto_volume, begin_s, end_s))
