"""The tape's events: each page in one batch with its new trades, the progress, and the reports on the day."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from bus.endpoints import Address
from bus.events import Event, InputQuarantined, TapeJudged, TapePage, TapeProgressed
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.lines import venue_of
from observer.brokers.accounts.clients import RestOfAll
from observer.brokers.domestic import UnreadableRow
from observer.brokers.quarantine import InputQuarantine
from observer.brokers.time_and_sales import TradesPage
from observer.calendar.phases import DayPlan
from observer.collection.sweep_times import Sweep, session_of
from observer.collection.tape.answers import (
    Fetched,
    TapeLine,
    breaks_of,
    judged,
    new_trades,
    page_of,
    stored_page,
    unreadable_end,
)
from observer.collection.tape.planner import TapePlanner, Visit
from observer.collection.tape.settings import TapeSettings
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

WRITE_AGAIN_S: Final = 10.0  # seconds between attempts while the disk takes no report
REPORTS_AT_ONCE: Final = 500  # of one batch
SPANS_AT_ONCE: Final = 20_000  # in its reports: some 2 MB of the 8 that a batch may have
_UNWRITTEN: Final = "tape_unwritten"


class TapeParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the tape works with. `calls_per_second` is the tape's pace in one account, `page_trades` the
    broker's page; `sweeps` returns Track A's of a day, which are `sweep_interval_s` apart.
    """

    settings: TapeSettings
    provider: str
    page_trades: int
    calls_per_second: float
    sweeps: Callable[[DayPlan], Sequence[Sweep]]
    sweep_interval_s: float
    rest: RestOfAll
    reader: StoreReader
    producer: Producer
    feed_address: Address
    clock: Clock
    alerts: Alerts


class TapeOutput:
    """Publishes the events of one day of the tape, within one process."""

    def __init__(self, parts: TapeParts, plan: DayPlan) -> None:
        self._parts = parts
        self._plan = plan
        self._day = plan.day.isoformat()
        self._quarantine = InputQuarantine()
        self._calls = 0
        self._fetched: Counter[str] = Counter()

    def count(self, pages: Iterable[TapePage]) -> None:
        for page in pages:
            self._calls += 1
            self._fetched[page.symbol] += page.stored

    def take(self, planner: TapePlanner, visit: Visit, second: int, answer: TradesPage) -> bool:
        """Publish the answer for a second of the visit, and let the planner hold it. False: the disk does not take it,
        and nothing of it is held.
        """
        rows, chain, before = answer.rows, visit.chain, visit.chain.copy()
        page, now_ns = page_of(rows, len(answer.unreadable)), self._parts.clock.now_ns()
        breaks = breaks_of(rows)
        if answer.is_newest_unreadable:
            breaks.append(unreadable_end(rows, visit.span.upto_volume, second))
        taken = planner.page(visit, second, page, breaks)
        line = self._line(visit.symbol)
        trades = [
            replace(each, session=session_of(self._plan.sessions, each.venue, each.exchange_time_ns))
            for each in new_trades(rows, taken, line, now_ns)
        ]
        answered = Fetched(second, now_ns, page, len(answer.unreadable))
        fetched = stored_page(line, answered, taken, trades, chain.limit)
        if not self._is_written([*self._quarantined(answer.unreadable), *trades, fetched]):
            chain.put_back(before)
            return False
        self.count([fetched])
        return True

    def _line(self, symbol: str) -> TapeLine:
        return TapeLine(self._parts.provider, symbol, self._day, venue_of(symbol, self._plan.venue))

    def quarantine(self, rows: Sequence[UnreadableRow]) -> None:
        """Publish rows of a page that has no readable one."""
        self._parts.producer.publish(*self._quarantined(rows))

    def progress(self, planner: TapePlanner, calls_per_second: float, *, is_done: bool = False) -> TapeProgressed:
        """Make the statement of the day's progress so far. Its trades left take what these calls can bring at most."""
        chains, missing = planner.chains, 0.0
        held = lost = volume = 0.0
        complete = spans = seconds = 0
        for chain in chains.values():
            unknown = sum(1 for _ in chain.unknown)
            missing += planner.missing_trades(chain)
            volume += chain.limit
            held += max(0.0, chain.held_volume)
            lost += chain.lost_volume
            spans += unknown
            seconds += len({span.to_s for span in chain.lost})
            complete += not unknown and not chain.lost_volume
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
            seconds_left=missing / (self._parts.page_trades * calls_per_second) if chains else None,
            is_done=is_done,
        )

    async def judge(
        self, planner: TapePlanner, with_bars: Collection[str], unswept: Collection[str], calls_per_second: float
    ) -> None:
        """Publish the report on every line, and that the day's tape is done. `unswept` lines have no known volume of
        the whole day.
        """
        now_ns = self._parts.clock.now_ns()
        self._parts.producer.publish(*self._quarantine.finish(now_ns))
        reports = [
            judged(
                self._line(symbol),
                chain,
                now_ns,
                self._fetched[symbol],
                has_minute_bars=symbol in with_bars,
                is_swept=symbol not in unswept,
            )
            for symbol, chain in sorted(planner.chains.items())
        ]
        complete = sum(each.quality == "complete" for each in reports)
        done = replace(self.progress(planner, calls_per_second, is_done=True), complete_lines=complete)
        parts: list[Sequence[Event]] = [*in_batches(reports), [done]]
        for part in parts:
            while not self._is_written(part):
                await self._parts.clock.sleep(WRITE_AGAIN_S)
        self._parts.alerts.resolve(_UNWRITTEN, "the day's tape is done")
        counts = Counter(each.quality for each in reports)
        logger.info(
            "%s: the tape is done: calls=%d trades=%d %s", self._day, self._calls, self._fetched.total(), counts
        )

    def _quarantined(self, rows: Sequence[UnreadableRow]) -> Sequence[InputQuarantined]:
        """Make the quarantine events of unreadable rows."""
        now_ns, source = self._parts.clock.now_ns(), f"{self._parts.provider} tape"
        items = (InputQuarantined(source, now_ns, row.reason, row.content) for row in rows)
        return [each for item in items for each in self._quarantine.take(item, now_ns)]

    def _is_written(self, events: Sequence[Event]) -> bool:
        """Publish the events as one batch. Returns whether the disk took it."""
        if not self._parts.producer.offer_together(events):
            text = "the disk takes nothing of the tape, which is fetched again later: free some space"
            self._parts.alerts.report(_UNWRITTEN, "critical", text)
            return False
        self._parts.alerts.settle(_UNWRITTEN, "the disk takes the tape again")
        return True


def in_batches(reports: Sequence[TapeJudged]) -> Sequence[Sequence[TapeJudged]]:
    """The reports in order, in parts of at most REPORTS_AT_ONCE reports and SPANS_AT_ONCE spans; a report with more
    spans is a part of its own.
    """
    parts: list[list[TapeJudged]] = []
    spans = 0
    for each in reports:
        own = len(each.unreachable) + len(each.unknown)
        spans += own
        if not parts or spans > SPANS_AT_ONCE or len(parts[-1]) == REPORTS_AT_ONCE:
            parts.append([])
            spans = own
        parts[-1].append(each)
    return parts
