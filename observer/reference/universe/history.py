"""The daily bars of the universe's lines: those that are stored, and the missing ones, which are stored as they arrive.

A missing bar of the previous session comes from the day's own last snapshots where these suffice (`universe.closing`),
else from the broker, by a call for the line's own venue. Changes of the number of shares are found at the main venue
and hold for all lines of the stock: at another venue a session's base price is the main venue's close, not its own.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

import msgspec

from bus.events import DailyBar, SharesAdjusted
from observer.base.errors import ProviderError
from observer.base.lines import stock_of, venue_of
from observer.base.local_time import local_datetime
from observer.brokers.broker import Bar
from observer.calendar.phases import DayPlan
from observer.reference.universe.closing import closing_bars, daily_bar_of, day_ends, sessions_held
from observer.reference.universe.parts import UniverseParts
from observer.selection.indicators import adjustment, base_price

logger = logging.getLogger(__name__)

HISTORY_DAYS: Final = 45  # calendar days that hold the sessions of the longest average (20) and one more
BARS_KEPT: Final = 21
CALLS_AT_ONCE: Final = 8
FAILURES_MAX: Final = 0.02  # more symbols without an answer than this share are an outage, not oddities

Changes = Sequence[tuple[DailyBar, DailyBar, float | None]]
"""Neighbouring bars of a line, and the base price of the later one."""


class Past(msgspec.Struct, frozen=True):
    """A line's stored sessions: its bars, oldest first, and the changes of its number of shares in the same time."""

    bars: Sequence[DailyBar]
    adjustments: Sequence[SharesAdjusted] = ()


class OwnBar(msgspec.Struct, frozen=True):
    """The previous session from Track A's last snapshots: the bar, and the base price of its limits."""

    bar: DailyBar
    base_price: float | None


class StoredHistory(msgspec.Struct, frozen=True):
    """What is stored before a day: by line bars, changes of shares, and the previous session's bars from sweeps."""

    day: date
    previous: date
    before_previous: date
    bars: Mapping[str, Sequence[DailyBar]]
    adjustments: Mapping[str, Sequence[SharesAdjusted]]
    own: Mapping[str, OwnBar]

    def past(self, line: str) -> Past:
        """The line's."""
        return Past(self.bars.get(line, []), self.adjustments.get(line, []))

    def has_all_of(self, line: str) -> bool:
        """Whether the line's bar of the previous session is stored."""
        return self._until(line) >= self.previous.isoformat()

    def has_own_of(self, line: str) -> bool:
        """Whether sweeps have the only bar that is missing."""
        return line in self.own and self._until(line) >= self.before_previous.isoformat()

    def lacks_many(self, lines: Sequence[str]) -> bool:
        """Whether so many of the lines need a call that an outage of these calls would fail a build."""
        needing = sum(not self.has_all_of(line) and not self.has_own_of(line) for line in lines)
        return needing > FAILURES_MAX * len(lines)

    def _until(self, line: str) -> str:
        bars = self.bars.get(line)
        return bars[-1].session_date if bars else ""


class DailyHistory:
    """The sessions before one day."""

    def __init__(self, parts: UniverseParts) -> None:
        self._parts = parts
        self._main_venue = parts.venues.main
        self._plans: dict[date, DayPlan] = {}

    async def stored(self, day: date) -> StoredHistory:
        """What is stored before the day."""
        before_previous, previous = self._parts.today.sessions_before(day, 2)
        since = (previous.day - timedelta(days=HISTORY_DAYS)).isoformat()
        return StoredHistory(
            day=day,
            previous=previous.day,
            before_previous=before_previous.day,
            bars=await asyncio.to_thread(self._parts.reader.daily_bars, BARS_KEPT),
            adjustments=await asyncio.to_thread(self._parts.reader.share_adjustments, since, day.isoformat()),
            own=await asyncio.to_thread(self._own_bars, previous),
        )

    async def of_stocks(
        self, symbols: Sequence[str], known: StoredHistory, *, calls: bool = True
    ) -> Mapping[str, Past]:
        """The sessions of the stocks' main lines up to the one before the day; without calls those that are stored.

        Raises:
            ProviderError: too many lines got no answer: a universe without history would be crippled all day, so the
                job is tried again; fetched bars are stored, and only the rest is asked for.
        """
        pasts, outage = await self._completed(symbols, known, {}, calls=calls)
        if outage is not None:
            raise outage
        return pasts

    async def of_further_lines(
        self, lines: Sequence[str], stocks: Mapping[str, Past], known: StoredHistory, *, calls: bool = True
    ) -> tuple[Mapping[str, Past], ProviderError | None]:
        """The sessions of these stocks' lines at other venues, likewise. With too many lines without an answer also the
        error: the main venue's lines do not wait for another venue's bars.
        """
        of_stocks = {line: stocks[stock_of(line)].adjustments for line in lines}
        return await self._completed(lines, known, of_stocks, calls=calls)

    async def _completed(
        self,
        lines: Sequence[str],
        known: StoredHistory,
        of_stocks: Mapping[str, Sequence[SharesAdjusted]],
        *,
        calls: bool,
    ) -> tuple[Mapping[str, Past], ProviderError | None]:
        """The sessions of lines, for further ones with the changes that their stocks have; and the error, once too many
        calls failed with one that a later attempt may not have. No further call is made then.
        """
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        outages: list[ProviderError] = []
        tolerated = FAILURES_MAX * len(lines)

        async def complete(line: str) -> tuple[str, Past]:
            past = known.past(line)
            if line in of_stocks:
                past = self._with_changes_of_stock(line, past, of_stocks[line])
            if known.has_all_of(line):
                return line, past
            if known.has_own_of(line):
                found = known.own[line]
                changes = [] if line in of_stocks else [(past.bars[-1], found.bar, found.base_price)]
                return line, self._kept(past, [found.bar], changes, known.day)
            if not calls:
                return line, past
            async with at_once:
                if len(outages) > tolerated:
                    return line, past
                try:
                    return line, await self._fetched(line, past, known, is_stock=line not in of_stocks)
                except ProviderError as error:
                    logger.warning("no daily bars of %s: %s", line, error)
                    outages.extend([error] if error.retry else [])
                    return line, past

        pasts = dict(await asyncio.gather(*[complete(line) for line in lines]))
        return pasts, outages[0] if len(outages) > tolerated else None

    def _own_bars(self, previous: DayPlan) -> Mapping[str, OwnBar]:
        """The previous session's bars from Track A's last snapshots."""
        session_date, ends = previous.day.isoformat(), day_ends(previous.sessions)
        closings = [end.closing_ns for end in ends.values() if end.closing_ns is not None]
        finished_ns = min((end.ends_ns for end in ends.values()), default=previous.ends_ns)
        spans = [*((from_ns, min(to_ns, finished_ns)) for from_ns, to_ns in closings), (finished_ns, previous.ends_ns)]
        snapshots = [each for span in spans for each in self._parts.reader.snapshots(session_date, *span)]
        bars = closing_bars(snapshots, session_date, ends, self._main_venue)
        bases = {each.symbol: base_price(each.upper_limit, each.lower_limit) for each in snapshots}
        return {line: OwnBar(bar, bases[line]) for line, bar in bars.items()}

    async def _fetched(self, line: str, past: Past, known: StoredHistory, *, is_stock: bool) -> Past:
        """The line's sessions, completed from the broker.

        Raises:
            ProviderError: the broker has no bars, or does not answer.
        """
        after = past.bars[-1].session_date if past.bars else ""
        reported = await self._parts.history.daily_bars(
            line, known.previous - timedelta(days=HISTORY_DAYS), known.previous
        )
        bars = [self._daily_bar(line, bar) for bar in reported]
        changes = [
            (before, bar, each.base_price)
            for (before, bar), each in zip(pairwise(bars), reported[1:], strict=True)
            if is_stock and bar.session_date > after
        ]
        return self._kept(past, [bar for bar in bars if bar.session_date > after], changes, known.day)

    def _daily_bar(self, line: str, bar: Bar) -> DailyBar:
        day = local_datetime(bar.start_ns).date()
        venue = venue_of(line, self._main_venue)
        plan = self._plans.get(day) or self._plans.setdefault(day, self._parts.today.plan_of(day))
        return daily_bar_of(self._parts.provider, line, bar, venue, sessions_held(plan.sessions, venue))

    def _with_changes_of_stock(self, line: str, past: Past, changes: Sequence[SharesAdjusted]) -> Past:
        """The line's sessions with the changes of its stock; publishes those that are new."""
        known = {each.session_date for each in past.adjustments}
        new = [msgspec.structs.replace(each, symbol=line) for each in changes if each.session_date not in known]
        if new:
            self._parts.producer.publish_together(new)
        return Past(past.bars, sorted([*past.adjustments, *new], key=lambda each: each.session_date))

    def _kept(self, past: Past, new: Sequence[DailyBar], changes: Changes, day: date) -> Past:
        """The sessions with the new bars; publishes the bars with the changes of the number of shares. A change between
        two bars has the later one's base price.
        """
        found = (adjustment(before, bar.session_date, base, day.isoformat()) for before, bar, base in changes)
        adjustments = [each for each in found if each is not None]
        for each in adjustments:
            prices = (each.base_price, each.previous_close)
            logger.info("%s: other shares since %s, %g for %g", each.symbol, each.session_date, *prices)
        if new:
            self._parts.producer.publish_together([*new, *adjustments])
        return Past([*past.bars, *new], [*past.adjustments, *adjustments])
