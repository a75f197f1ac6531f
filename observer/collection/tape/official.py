"""Fetches the official minute bars of a day's lines when its tape is done, and compares them with the stored trades.

They are an independent check of the tape, and stand in for the trades of lines whose tape is not complete. Calls have
the lowest priority of all, and end before midnight: the bars of a past day are fetched by `observer backfill`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from observer.base.errors import ProviderError, StoreError
from observer.brokers.domestic import BarReach
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.collection.backfill.checking import check_of
from observer.collection.backfill.fetching import Asked, Backfill
from observer.collection.backfill.plan import Span
from observer.collection.tape.collector import JUDGED_BEFORE_NS
from observer.collection.tape.official_lines import Day, day_of
from observer.collection.tape.output import TapeParts

logger = logging.getLogger(__name__)

LINES_AT_ONCE: Final = 100  # fetched before they are compared: some 70 s of calls
TRIES_MAX: Final = 3  # of a line that alone gets no answer
RETRY_S: Final = 60.0  # market seconds
STORED_S: Final = 600.0  # machine seconds for the writer to take what is published
_UNFETCHED: Final = "official_bars_unfetched"


async def fetch_official_bars(
    parts: TapeParts, reach: BarReach | None, today: TradingDayService, plan: DayPlan
) -> None:
    """Fetch and compare until every line of the day is done or the day ends; nothing where `[tape] official_bars` is
    off or the broker has no bars.
    """
    if reach is None or not parts.settings.official_bars:
        return
    until_ns = plan.ends_ns - JUDGED_BEFORE_NS
    work = asyncio.create_task(_OfficialDay(parts, reach, today, plan).run())
    late = asyncio.create_task(parts.clock.sleep_until(until_ns))
    try:
        await asyncio.wait([work, late], return_when=asyncio.FIRST_COMPLETED)
    finally:
        late.cancel()
        work.cancel()
        await asyncio.wait([work])
    if not work.cancelled():
        work.result()
    parts.alerts.resolve(_UNFETCHED, "the day's official bars are done, or the day is over")


class _OfficialDay:
    """Fetches a day's official bars within one process. Each step first reads what is stored, so no bar is fetched
    twice.
    """

    def __init__(self, parts: TapeParts, reach: BarReach, today: TradingDayService, plan: DayPlan) -> None:
        self._parts = parts
        self._reach = reach
        self._today = today
        self._plan = plan
        self._tries = Counter[str]()  # that ended
        self._begun = Counter[str]()  # also those that failed as a whole
        self._compared: set[str] = set()

    async def run(self) -> None:
        """Fetch and compare what is missing."""
        while True:
            try:
                day = await self._read()
                await self._compare(day)
                left = sorted(day.unfetched, key=self._begun.__getitem__)
                lines = [line for line in left if self._tries[line] < TRIES_MAX][:LINES_AT_ONCE]
                if not lines:
                    break
                self._begun.update(lines)  # after a failure other lines come first
                failed = await self._fetch(lines)
            except (ProviderError, StoreError) as error:
                await self._wait_after(str(error))
                continue
            self._tries.update(lines)
            if not failed:
                self._parts.alerts.settle(_UNFETCHED, "official bars are fetched")
            elif len(failed) == len(lines):
                await self._wait_after(next(iter(failed.values())))
        logger.info("%s: official bars are done: %s", self._plan.day, day.progress())

    async def _wait_after(self, failure: str) -> None:
        self._parts.alerts.report(_UNFETCHED, "warning", f"the day's official bars are not fetched: {failure}")
        await self._parts.clock.sleep(RETRY_S)

    async def _read(self) -> Day:
        """Read the stored state after all published events are stored."""
        while not await self._parts.producer.drain(STORED_S):
            logger.info("waiting for %d events to be stored", self._parts.producer.unacknowledged)
        return await asyncio.to_thread(self._stored)

    def _stored(self) -> Day:
        reader, session_date = self._parts.reader, self._plan.day.isoformat()
        fetches, checks = reader.minute_fetches(session_date), reader.bar_checks(session_date)
        return day_of(reader.tape_reports(session_date), fetches, checks)

    async def _compare(self, day: Day) -> None:
        parts, now_ns = self._parts, self._parts.clock.now_ns()
        parts.producer.publish(*(replace(each, quality="minute_bars", judged_ns=now_ns) for each in day.outdated))
        for fetch in day.unchecked:
            if fetch.symbol not in self._compared:
                found = await asyncio.to_thread(check_of, parts.reader, fetch, parts.clock.now_ns())
                parts.producer.publish(*([] if found is None else [found]))
                self._compared.add(fetch.symbol)

    async def _fetch(self, lines: Sequence[str]) -> Mapping[str, str]:
        """Fetch the lines. Returns the lines without an answer, with the reason."""
        parts, day = self._parts, self._plan.day
        backfill = Backfill(
            Asked(symbols=lines, days=Span(day, day), minutes=True, minutes_first=day, session_day=day),
            self._reach,
            provider=parts.provider,
            main_venue=self._plan.venue,
            reader=parts.reader,
            producer=parts.producer,
            today=self._today,
            clock=parts.clock,
            wait=_at_once,
        )
        result = await backfill.run(list(parts.rest.usable("bars").values()))
        return result.failed


async def _at_once() -> None:
    """Allow calls at once: the tape is done."""
