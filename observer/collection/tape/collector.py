"""Fetches a day's tape: asks what the planner says, evenly spaced and below every other call, and stores the trades.

The database says which volumes Track B has evaluated and which lines have slots; the feed only signals news. Trades and
the page that brought them are published as one batch, and a new process begins with the stored pages: after a kill a
page is fetched again only if it was not stored yet.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from bus.events import (
    Fact,
    GapEmpty,
    GapRecovered,
    GapUnrecoverable,
    SelectionAdvanced,
    SlotAssigned,
    SlotsClosed,
    SlotsOpened,
    UniverseEvaluated,
)
from bus.feed import FeedSubscriber
from observer.base.errors import MalformedError, ProviderError
from observer.base.lines import venue_of
from observer.base.units import NS_PER_S
from observer.brokers.time_and_sales import TradePageSource, TradesPage
from observer.calendar.phases import DayPlan
from observer.collection.tape.answers import restore
from observer.collection.tape.learning import Learning
from observer.collection.tape.output import TapeOutput, TapeParts
from observer.collection.tape.planner import TapePlanner, Visit
from observer.collection.tape.stored import SILENT_NS, StoredDay, windows
from observer.gaps.intervals import VOLUME_NOISE

VISITS_PER_ACCOUNT: Final = 8  # at once: the pace is the setting's; this only hides the answers' latency
CHECK_AGAIN_S: Final = 2.0  # machine seconds between checks of the database, in case the feed lost a message
CLOSED_AFTER_NS: Final = 60 * NS_PER_S  # from the last volume to the second that is asked: clocks may differ
JUDGED_BEFORE_NS: Final = 120 * NS_PER_S  # before midnight, when today's trades are gone
OFFER_AGAIN_NS: Final = 60 * NS_PER_S  # between visits of a line that waits for a gap, an answer or the disk
REFUSALS_MAX: Final = 3  # of a line after the close, which the broker would repeat; then it is not waited for
PROGRESS_S: Final = 60.0
_REFUSED: Final = "tape_refused"
_GAP_ENDS: Final = (GapEmpty, GapRecovered, GapUnrecoverable)


class TapeDay:
    """Collects the tape of one day, within one process."""

    def __init__(self, parts: TapeParts, plan: DayPlan) -> None:
        self.planner = TapePlanner(parts.page_trades)
        self._parts = parts
        self._plan = plan
        self._day = plan.day.isoformat()
        self._stored = StoredDay(parts.reader, parts.alerts, self._day, parts.clock.now_ns())
        self._output = TapeOutput(parts, plan)
        self._learning = Learning(self.planner, parts.settings.lines, parts.settings.preroll_s, parts.clock.now_ns())
        self._news, self._wakes = asyncio.Event(), asyncio.Event()
        self._next_ns = 0
        self._visits = 0
        self._put_off: set[str] = set()
        self._refused: dict[str, int] = {}  # lines without an answer, and how often for good after the close
        self._prerolls: dict[str, int] = {}  # put off: by line, back to which second
        sweeps, lines = parts.sweeps(plan), parts.settings.lines
        swept = ((venue, sweep.begins_ns) for sweep in sweeps for venue in sweep.venues)
        self._last_sweeps = {venue: begins_ns for venue, begins_ns in swept if not lines or venue in lines}
        self._last_sweep_ns = max(self._last_sweeps.values(), default=plan.track_a_stop_ns)
        self._closed_s = 0  # whole days are asked: the second of the newest of their volumes
        self._is_closed = False
        self._offer_ns = 0

    async def run(self) -> None:
        """Fetch until everything is held or the day ends, and judge every line. Nothing is asked of a day whose tape is
        done.
        """
        if not await self._resume():
            return
        await self._learn()
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
        if await self._stored.is_done():
            return False
        async for pages in self._stored.pages():
            await asyncio.to_thread(restore, self.planner, pages)
            self._output.count(pages)
        return True

    async def _follow_feed(self) -> None:
        kinds: list[type[Fact]] = [SlotAssigned, SelectionAdvanced, *_GAP_ENDS]
        feed = FeedSubscriber(self._parts.feed_address, kinds, self._parts.alerts.feed_lost)
        try:
            async for event in feed:
                match event:
                    case SelectionAdvanced(step=UniverseEvaluated() | SlotsClosed() | SlotsOpened()) | SlotAssigned():
                        self._news.set()
                    case GapEmpty() | GapRecovered() | GapUnrecoverable() if self._prerolls:
                        self._news.set()
        finally:
            feed.close()

    async def _learn_now_and_then(self) -> None:
        """Read new volumes and slots at the feed's news and at intervals. Close the day after the last sweep."""
        while True:
            await self._learn()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_AGAIN_S):
                    await self._news.wait()
            self._news.clear()

    async def _learn(self) -> None:
        now_ns, since_ns = self._parts.clock.now_ns(), self._learning.read_until_ns
        await self._stored.refresh(now_ns)
        claims, evaluated_ns = self._stored.claims, self._stored.evaluated_ns
        for begin_ns, end_ns in windows(since_ns, now_ns + 1, self._plan.track_a_start_ns):
            volumes = await self._stored.volumes(begin_ns, end_ns)
            self._learning.learn(volumes, claims, evaluated_ns, end_ns - 1)
        if self._is_over(now_ns):
            self._close()
        await self._offer_again(now_ns)
        self._wake()

    async def _offer_again(self, now_ns: int) -> None:
        """Offer the postponed lines: pre-rolls as soon as no gap is open, refused and other lines at intervals."""
        is_due = now_ns >= self._offer_ns
        for symbol in list(self._prerolls):
            if (is_due or symbol not in self._refused) and not await self._stored.has_open_gap(symbol):
                self.planner.first(symbol, self._prerolls.pop(symbol))
        if is_due:
            self._offer_ns = now_ns + OFFER_AGAIN_NS
            for symbol in self._put_off:
                self.planner.offer(symbol)
            self._put_off.clear()

    def _is_over(self, now_ns: int) -> bool:
        """Whether the day's last volumes and the streamed part of them are known. Track A repeats a missed last sweep
        within an interval. Trades of a Track B that died unclosed may still come.
        """
        swept, begins_ns = self._stored.swept, self._last_sweep_ns
        is_late = now_ns >= begins_ns + round(self._parts.sweep_interval_s * NS_PER_S) + SILENT_NS
        is_swept = is_late or (swept is not None and swept.started_ns >= begins_ns)
        is_streamed = self._stored.is_over or self._stored.is_silent
        return is_swept and is_streamed and now_ns >= max(begins_ns, self._learning.last_s * NS_PER_S) + CLOSED_AFTER_NS

    def _close(self) -> None:
        """Ask each line's whole day, and again after newer volumes."""
        if not self._is_closed or self._closed_s != self._learning.last_s:
            self._closed_s = self._learning.last_s
            self.planner.close(self._learning.last, self._closed_s + CLOSED_AFTER_NS // NS_PER_S)
            self._is_closed = True

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
            is_whole = False
            try:
                is_whole = await self._visit(visit, number)
            finally:
                self._visits -= 1
                self.planner.end(visit, again=is_whole)
                if not is_whole:
                    self._put_visit_off(visit)
            if self._is_closed and not self._visits:
                self._wake()

    def _put_visit_off(self, visit: Visit) -> None:
        self._put_off.add(visit.symbol)
        if visit.is_first:
            self._prerolls[visit.symbol] = min(visit.since_s, self._prerolls.get(visit.symbol, visit.since_s))

    async def _visit(self, visit: Visit, number: int) -> bool:
        """Fetch the line's pages and publish their trades. False: the line waits for a gap, an answer, the disk, or a
        database that went back.
        """
        self._put_off.discard(visit.symbol)
        if visit.chain.is_streamed:
            if await self._stored.has_open_gap(visit.symbol):
                return False
            await self._stored.take_streamed(visit.symbol, visit.chain)
            if not self._stored.is_silent and await self._stored.is_behind():  # asked last: it had everything above
                return False
        while (second := self.planner.ask(visit)) is not None:
            try:
                page = await self._answer(visit, second, number)
            except ProviderError as error:
                self._note_refused(visit.symbol, error)
                return False
            self._note_answered(visit.symbol)
            if not self._output.take(self.planner, visit, second, page):
                self._next_ns = self._parts.clock.now_ns() + OFFER_AGAIN_NS  # calls until then would be for nothing
                return False
            if not visit.is_first and (self.planner.has_first or self.planner.waits_first(visit.symbol)):
                return True
        self._note_answered(visit.symbol)  # a refused line can have nothing left to ask
        return True

    def _note_refused(self, symbol: str, error: ProviderError) -> None:
        """Note a refusal. Failures of the network or the broker never count as final: a repetition can help."""
        is_for_good = self._is_closed and not error.retry
        self._refused[symbol] = self._refused.get(symbol, 0) + is_for_good
        self._parts.alerts.report(_REFUSED, "warning", f"the tape cannot fetch trades: {error}")

    def _note_answered(self, symbol: str) -> None:
        self._refused.pop(symbol, None)
        if not self._refused:
            self._parts.alerts.settle(_REFUSED, "trades are fetched again")

    async def _answer(self, visit: Visit, second: int, number: int) -> TradesPage:
        """Return the page of this second. A short page above unknown trades would write these trades off, so it counts
        only when it comes twice.

        Raises:
            ProviderError: no answer, or no row of a full page can be read.
        """
        page = await self._page(visit.symbol, second, number)
        if self._writes_off(visit, page):
            page = max(await self._page(visit.symbol, second, number), page, key=lambda each: each.trades)
        if not page.rows and page.trades >= self._parts.page_trades:
            self._output.quarantine(page.unreadable)
            raise MalformedError(page.unreadable[0].reason)
        return page

    def _writes_off(self, visit: Visit, page: TradesPage) -> bool:
        """Whether the broker returns nothing below the page, where trades of the line are unknown."""
        if page.trades >= self._parts.page_trades:
            return False
        begin = page.rows[0].cumulative_volume - page.rows[0].volume if page.rows else visit.span.upto_volume
        return any(span.after_volume < begin - VOLUME_NOISE for span, _ in visit.chain.unknown)

    async def _page(self, symbol: str, second: int, number: int) -> TradesPage:
        await self._turn()
        clients = self._clients
        return await clients[number % len(clients)].trades_page(symbol, second * NS_PER_S)

    async def _turn(self) -> None:
        """Wait for the next of the evenly spaced calls."""
        now_ns = self._parts.clock.now_ns()
        at_ns = max(now_ns, self._next_ns)
        self._next_ns = at_ns + round(NS_PER_S / self._calls_per_second)
        await self._parts.clock.sleep_until(at_ns)

    @property
    def _calls_per_second(self) -> float:
        return self._parts.calls_per_second * max(1, len(self._clients))

    # --- reporting ---

    async def _done(self) -> None:
        """Wait until no line is left to ask, or the day ends. Lines with a final refusal are not waited for: their
        missing spans are judged as unknown.
        """
        last_ns = self._plan.ends_ns - JUDGED_BEFORE_NS
        while self._parts.clock.now_ns() < last_ns:
            wakes = self._wakes
            is_put_off = any(self._refused.get(symbol, 0) < REFUSALS_MAX for symbol in self._put_off)
            is_waiting = self._visits or is_put_off
            if self._is_closed and not is_waiting and not self.planner.has_work:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_AGAIN_S):
                    await wakes.wait()

    async def _report_now_and_then(self) -> None:
        while True:
            self._parts.producer.publish(self._output.progress(self.planner, self._calls_per_second))
            await self._parts.clock.sleep(PROGRESS_S)

    async def _judge(self) -> None:
        """Publish the report on every line's whole day, and the end of the day's tape. A process that began just before
        the day's end has learned nothing yet.
        """
        await self._learn()
        self._close()
        for symbol, chain in self.planner.chains.items():
            if chain.is_streamed:  # not all were visited since
                await self._stored.take_streamed(symbol, chain)
        self._parts.alerts.resolve(_REFUSED, "the day's tape is done")
        with_bars = await self._stored.lines_with_minute_bars()
        unswept = {symbol for symbol in self.planner.chains if self._is_unswept(symbol)}
        await self._output.judge(self.planner, with_bars, unswept, self._calls_per_second)

    def _is_unswept(self, symbol: str) -> bool:
        """Whether the last sweep of the line's venue has no volume of the line: more may have been traded."""
        begins_ns = self._last_sweeps.get(venue_of(symbol, self._plan.venue), 0)
        return self._learning.last_ns.get(symbol, 0) < begins_ns
