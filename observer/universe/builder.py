"""Fixes the universe of a day from listings, daily bars and eligibility. Decisions are `observer.selection`'s.

A committed universe stays unchanged all day. Bars are stored as they arrive, so a killed process resumes where it
stopped. A day's own last snapshots replace the call for its bar the next morning.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bus.commands import Refused
from bus.events import DailyBar, SharesAdjusted, UniverseBuilt
from observer.alerts.process import Alerts
from observer.calendar.phases import DayPlan, moment_of
from observer.calendar.service import TradingDayService
from observer.clock import Clock
from observer.errors import DataFileError, ProviderError
from observer.listings.model import Listing
from observer.local_time import local_datetime
from observer.providers.broker import Bar, HistorySource, Quote, QuoteSource, chunks
from observer.selection.indicators import adjustment, base_price
from observer.selection.settings import UniverseSettings
from observer.store.reader import StoreReader
from observer.universe.closing import closing_bars
from observer.universe.eligibility import (
    KOREAN_STOCKS,
    UNIVERSE_WARNINGS,
    Universe,
    UniverseDay,
    build,
    exclusion_by_kind,
    history_of,
)
from observer.universe.files import write_universe_file

if TYPE_CHECKING:
    from bus.producer import Producer

logger = logging.getLogger(__name__)

EXCHANGES: Final = ("KOSPI", "KOSDAQ")
HISTORY_DAYS: Final = 45  # calendar days that hold the sessions of the longest average (20) and one more
BARS_KEPT: Final = 21
CALLS_AT_ONCE: Final = 8
FAILURES_MAX: Final = 0.02  # more symbols without an answer than this share are an outage, not oddities


class Sessions(msgspec.Struct, frozen=True):
    """The two sessions before a day: the last one with its closing window (UTC ns), and the date of the one before."""

    previous: date
    closing_window_ns: tuple[int, int]
    before_previous: date


class Past(msgspec.Struct, frozen=True):
    """A symbol's stored sessions: its bars, oldest first, and the changes of its number of shares in the same time."""

    bars: Sequence[DailyBar]
    adjustments: Sequence[SharesAdjusted] = ()


class OwnBar(msgspec.Struct, frozen=True):
    """The previous session from Track A's last snapshot: the bar, and the base price of its limits."""

    bar: DailyBar
    base_price: float | None


class UniverseBuilder:
    """Builds the universe of each day, once.

    Args:
        provider: the broker of the listings and bars.
        settings: the eligibility settings.
        today: the plans of today and of earlier days.
        folder: the folder of the universe files.
        clock: market time.
        producer: publishes the facts.
        history: fetches daily bars.
        quotes: fetches the base prices that the master files lack.
        reader: reads stored data.
        bring_listings: checks an exchange's master file, when its listings are missing.
        settled: returns when all published facts are committed.
        alerts: of the process.
    """

    def __init__(
        self,
        *,
        provider: str,
        settings: UniverseSettings,
        today: TradingDayService,
        folder: Path,
        clock: Clock,
        producer: "Producer",
        history: HistorySource,
        quotes: QuoteSource,
        reader: StoreReader,
        bring_listings: Callable[[str], Awaitable[None]],
        settled: Callable[[], Awaitable[None]],
        alerts: Alerts,
    ) -> None:
        self._provider = provider
        self._settings = settings
        self._today = today
        self._folder = folder
        self._clock = clock
        self._producer = producer
        self._history = history
        self._quotes = quotes
        self._reader = reader
        self._bring_listings = bring_listings
        self._settled = settled
        self._alerts = alerts

    def begins_ns(self, plan: DayPlan) -> int:
        """The due time of a day's universe."""
        return moment_of(plan, self._settings.generation_time)

    async def build(self, plan: DayPlan) -> None:
        """Build the day's universe unless it is stored already; then write its file."""
        if self._built(plan) is None:
            await self._build(plan)
        await self._write_file(plan)

    async def build_now(self, plan: DayPlan) -> str | Refused:
        """Build the universe before its time, by an operator's order. A stored universe stays: the day's data were
        collected with it.
        """
        if not plan.trades:
            return Refused("not_now", f"{plan.day} is no trading day: it has no universe")
        if (there := self._built(plan)) is not None:
            await self._write_file(plan)
            at = local_datetime(there.built_ns).strftime("%H:%M:%S")
            return Refused("not_now", f"the universe of {plan.day} was built at {at} and stays as it is all day")
        built = await self._build(plan)
        await self._write_file(plan)
        return f"{built.symbols} symbols out of {built.considered} listings"

    def _built(self, plan: DayPlan) -> UniverseBuilt | None:
        return self._reader.universe_built(plan.day.isoformat(), KOREAN_STOCKS)

    async def _write_file(self, plan: DayPlan) -> None:
        """Write the file of the committed universe. A failed write costs the file only."""
        await self._settled()
        try:
            write_universe_file(self._reader, self._folder, plan.day.isoformat(), KOREAN_STOCKS)
        except OSError as error:
            text = f"the file of the universe of {plan.day} cannot be written: {error}"
            self._alerts.report("universe_file", "warning", text)
        else:
            self._alerts.resolve("universe_file", f"the file of the universe of {plan.day} is written")

    async def _build(self, plan: DayPlan) -> UniverseBuilt:
        listings = await self._completed(await self._listings())
        sessions = _sessions_before(self._today, plan.day)
        # Every possible member, at any price: a close from a file or a base price is a session old.
        candidates = [each.symbol for each in listings if exclusion_by_kind(each, self._settings) is None]
        pasts = await self._pasts(candidates, sessions, plan.day)
        previous = sessions.previous.isoformat()
        day = UniverseDay(self._provider, KOREAN_STOCKS, plan.day.isoformat(), previous, self._clock.now_ns())
        histories = {
            symbol: history_of(past.bars[-BARS_KEPT:], previous, past.adjustments) for symbol, past in pasts.items()
        }
        universe = build(listings, histories, day, self._settings)
        self._report(universe)
        built = universe.built
        self._producer.publish_together([*universe.members, built])
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(universe.excluded.items()))
        logger.info("universe of %d symbols out of %d listings; not: %s", built.symbols, built.considered, left_out)
        return built

    def _report(self, universe: Universe) -> None:
        """Report the build's warnings, and the end of those that an earlier build had."""
        for identity, warning in universe.warnings.items():
            self._alerts.report(identity, "warning", warning)
        for identity in UNIVERSE_WARNINGS:
            if identity not in universe.warnings:
                self._alerts.resolve(identity, f"the universe of {universe.built.session_date} is without it")

    async def _listings(self) -> Sequence[Listing]:
        """The listings of the last master files; an exchange without stored listings is checked first.

        Raises:
            DataFileError: a file is held or unreadable: the job is tried again later.
            ProviderError: a file cannot be downloaded.
        """
        for exchange in EXCHANGES:
            if not self._reader.active_listings(exchange):
                await self._bring_listings(exchange)
                await self._settled()
        found = {exchange: self._reader.active_listings(exchange) for exchange in EXCHANGES}
        if unknown := [exchange for exchange, listings in found.items() if not listings]:
            raise DataFileError(f"no listings of {' or '.join(unknown)} are known")
        return [listing for listings in found.values() for listing in listings.values()]

    async def _completed(self, listings: Sequence[Listing]) -> Sequence[Listing]:
        """The listings, completed from the broker's quotes; a refusal by the broker leaves them incomplete."""
        missing = _without_price(listings)
        quotes: list[Quote] = []
        for portion in chunks(missing, self._quotes.quotes_per_call):
            try:
                quotes += await self._quotes.quotes(portion)
            except ProviderError as error:
                logger.warning("no quotes of %d symbols without a base price: %s", len(portion), error)
        return _completed(listings, quotes)

    async def _pasts(self, symbols: Sequence[str], sessions: Sessions, day: date) -> Mapping[str, Past]:
        """Every symbol's sessions up to the previous one: the stored bars, and the missing ones from Track A's
        snapshots or by a call.

        Raises:
            ProviderError: too many symbols got no answer: a universe without history would be crippled all day, so the
                job is tried again; fetched bars are stored, and only the rest is asked for.
        """
        since = (sessions.previous - timedelta(days=HISTORY_DAYS)).isoformat()
        stored = await asyncio.to_thread(self._reader.daily_bars, BARS_KEPT)
        adjusted = await asyncio.to_thread(self._reader.share_adjustments, since, day.isoformat())
        own = await asyncio.to_thread(self._own_bars, sessions)
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        failures: list[ProviderError] = []

        async def complete(symbol: str) -> tuple[str, Past]:
            past = Past(stored.get(symbol, []), adjusted.get(symbol, []))
            known_until = past.bars[-1].session_date if past.bars else ""
            if known_until >= sessions.previous.isoformat():
                return symbol, past
            if symbol in own and known_until >= sessions.before_previous.isoformat():
                found = own[symbol]
                return symbol, self._kept(past, [found.bar], [(past.bars[-1], found.bar, found.base_price)], day)
            async with at_once:
                try:
                    return symbol, await self._fetched(symbol, past, sessions.previous, day)
                except ProviderError as error:
                    logger.warning("no daily bars of %s: %s", symbol, error)
                    failures.append(error)
                    return symbol, past

        pasts = dict(await asyncio.gather(*[complete(symbol) for symbol in symbols]))
        outages = [error for error in failures if error.retry]
        if len(outages) > FAILURES_MAX * len(symbols):
            raise outages[0]
        return pasts

    def _own_bars(self, sessions: Sessions) -> Mapping[str, OwnBar]:
        """The previous session's bars from Track A's last snapshots."""
        session_date = sessions.previous.isoformat()
        snapshots = self._reader.snapshots(session_date, *sessions.closing_window_ns)
        bars = closing_bars(snapshots, session_date, sessions.closing_window_ns)
        bases = {each.symbol: base_price(each.upper_limit, each.lower_limit) for each in snapshots}
        return {symbol: OwnBar(bar, bases[symbol]) for symbol, bar in bars.items()}

    async def _fetched(self, symbol: str, past: Past, previous: date, day: date) -> Past:
        """The symbol's sessions, completed from the broker.

        Raises:
            ProviderError: the broker has no bars, or does not answer.
        """
        after = past.bars[-1].session_date if past.bars else ""
        reported = await self._history.daily_bars(symbol, previous - timedelta(days=HISTORY_DAYS), previous)
        bars = [_daily_bar(self._provider, bar) for bar in reported]
        changes = [
            (before, bar, each.base_price) for (before, bar), each in zip(pairwise(bars), reported[1:], strict=True)
        ]
        new = [bar for bar in bars if bar.session_date > after]
        return self._kept(past, new, [change for change in changes if change[1].session_date > after], day)

    def _kept(
        self,
        past: Past,
        new: Sequence[DailyBar],
        changes: Sequence[tuple[DailyBar, DailyBar, float | None]],
        day: date,
    ) -> Past:
        """The sessions with the new bars; publishes the bars with the changes of the number of shares. A change between
        two bars has the later one's base price.
        """
        found = (adjustment(before, bar.session_date, base, day.isoformat()) for before, bar, base in changes)
        adjustments = [each for each in found if each is not None]
        for each in adjustments:
            prices = (each.base_price, each.previous_close)
            logger.info("%s: other shares since %s, %g for %g", each.symbol, each.session_date, *prices)
        if new:
            self._producer.publish_together([*new, *adjustments])
        return Past([*past.bars, *new], [*past.adjustments, *adjustments])


def _sessions_before(today: TradingDayService, day: date) -> Sessions:
    before_previous, previous = today.sessions_before(day, 2)
    return Sessions(previous.day, previous.closing_window_ns, before_previous.day)


def _daily_bar(provider: str, bar: Bar) -> DailyBar:
    day = local_datetime(bar.start_ns).date().isoformat()
    found = DailyBar(provider, bar.symbol, day, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.value)
    if bar.volume > 0:
        return found
    return msgspec.structs.replace(found, open=None, high=None, low=None)  # a broker states zeros


def _without_price(listings: Iterable[Listing]) -> Sequence[str]:
    """The symbols without a base price in the files: those to request a quote for."""
    return [listing.symbol for listing in listings if listing.base_price is None]


def _completed(listings: Iterable[Listing], quotes: Iterable[Quote]) -> Sequence[Listing]:
    """The listings with missing values filled in: a base price from the symbol's quote, a capitalisation from the
    listed shares at the base price. Values of the files stay; other missing values stay unknown.
    """
    closes = {quote.symbol: quote.previous_close for quote in quotes}
    return [_completed_listing(listing, closes) for listing in listings]


def _completed_listing(listing: Listing, closes: Mapping[str, float | None]) -> Listing:
    price, cap = listing.base_price, listing.market_cap
    if price is not None and cap is not None:
        return listing
    if price is None:
        price = closes.get(listing.symbol)
    if cap is None and price is not None and listing.listed_shares is not None:
        cap = price * listing.listed_shares
    return msgspec.structs.replace(listing, base_price=price, market_cap=cap)
