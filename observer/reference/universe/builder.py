"""Fixes the universe of a day from listings, daily bars and eligibility. Decisions are `observer.selection`'s.

A committed universe stays unchanged all day. Bars and answers are stored as they arrive, so a killed process resumes
where it stopped. A day's own last snapshots replace the call for its bar the next morning.

A first start in the session has no time for a call for each stock: there a universe of the files is published at once,
and a second build with the history behind it. The first one stays in force; Track B takes the second one's averages
into the selection (`HistoryApplied`).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bus.commands import Refused
from bus.events import UniverseBuilt
from observer.base.errors import DataFileError, ProviderError
from observer.base.local_time import local_datetime
from observer.brokers.broker import Quote, chunks
from observer.calendar.phases import DayPlan, moment_of
from observer.reference.listings.model import Listing
from observer.reference.universe.eligibility import (
    KOREAN_STOCKS,
    UNIVERSE_WARNINGS,
    History,
    Universe,
    UniverseDay,
    build,
    exclusion_by_kind,
    history_of,
)
from observer.reference.universe.files import write_universe_file
from observer.reference.universe.further_lines import lines_at, with_further_lines
from observer.reference.universe.history import BARS_KEPT, FAILURES_MAX, DailyHistory, Past, StoredHistory
from observer.reference.universe.in_force import fixed_ns
from observer.reference.universe.parts import UniverseParts
from observer.reference.universe.venue_facts import VenueFacts

logger = logging.getLogger(__name__)

EXCHANGES: Final = ("KOSPI", "KOSDAQ")
FURTHER_BARS: Final = "further_bars"


class UniverseBuilder:
    """Builds the universe of each day, once."""

    def __init__(self, parts: UniverseParts) -> None:
        self._parts = parts
        self._main_venue = parts.venues.main
        self._history = DailyHistory(parts)
        self._facts = VenueFacts(parts)

    def begins_ns(self, plan: DayPlan) -> int:
        """The due time of a day's universe."""
        return moment_of(plan, self._parts.settings.generation_time)

    async def build(self, plan: DayPlan) -> None:
        """Build the day's universe unless it is stored already, with its history; then write its file."""
        if self._complete(plan) is None:
            await self._build(plan)
        await self._write_file(plan)

    async def build_now(self, plan: DayPlan) -> str | Refused:
        """Build the universe before its time, by an operator's order. A stored universe stays: the day's data were
        collected with it.
        """
        if not plan.trades:
            return Refused("not_now", f"{plan.day} is no trading day: it has no universe")
        if (there := self._complete(plan)) is not None:
            await self._write_file(plan)
            at = local_datetime(there.built_ns).strftime("%H:%M:%S")
            return Refused("not_now", f"the universe of {plan.day} was built at {at} and stays as it is all day")
        built = await self._build(plan)
        await self._write_file(plan)
        return f"{built.symbols} symbols out of {built.considered} listings"

    def _built(self, plan: DayPlan) -> UniverseBuilt | None:
        return self._parts.reader.universe_built(plan.day.isoformat(), KOREAN_STOCKS)

    def _complete(self, plan: DayPlan) -> UniverseBuilt | None:
        """The day's last build, unless it is one that was published before its history."""
        built = self._built(plan)
        if built is None or built.built_ns < fixed_ns(plan):
            return built
        members = self._parts.reader.universe(plan.day.isoformat(), KOREAN_STOCKS)
        without = [member.close_is_base for member in members if member.venue == self._main_venue]
        return None if sum(without) > FAILURES_MAX * len(without) else built

    async def _write_file(self, plan: DayPlan) -> None:
        """Write the file of the committed universe. A failed write costs the file only."""
        await self._parts.settled()
        try:
            write_universe_file(self._parts.reader, self._parts.folder, plan.day.isoformat(), KOREAN_STOCKS)
        except OSError as error:
            text = f"the file of the universe of {plan.day} cannot be written: {error}"
            self._parts.alerts.report("universe_file", "warning", text)
        else:
            self._parts.alerts.resolve("universe_file", f"the file of the universe of {plan.day} is written")

    async def _build(self, plan: DayPlan) -> UniverseBuilt:
        listings = await self._completed(await self._listings())
        known = await self._history.stored(plan.day)
        # Every possible member, at any price: a close from a file or a base price is a session old.
        candidates = [each.symbol for each in listings if exclusion_by_kind(each, self._parts.settings) is None]
        late = self._parts.clock.now_ns() >= fixed_ns(plan) and self._built(plan) is None
        if late and known.lacks_many(candidates):
            await self._publish(listings, candidates, known, calls=False)
            await self._write_file(plan)
            known = await self._history.stored(plan.day)
        return await self._publish(listings, candidates, known)

    async def _publish(
        self, listings: Sequence[Listing], candidates: Sequence[str], known: StoredHistory, *, calls: bool = True
    ) -> UniverseBuilt:
        """Publish a universe with its history; without calls, with what is stored of it."""
        pasts = await self._history.of_stocks(candidates, known, calls=calls)
        previous = known.previous.isoformat()
        day = UniverseDay(
            provider=self._parts.provider,
            market=KOREAN_STOCKS,
            session_date=known.day.isoformat(),
            previous_session_date=previous,
            built_ns=self._parts.clock.now_ns(),
            venue=self._main_venue,
        )
        universe = build(listings, _histories(pasts, previous), day, self._parts.settings)
        self._report(universe)
        universe = await self._with_further_lines(universe, pasts, known, calls=calls)
        built = universe.built
        self._parts.producer.publish_together([*universe.members, built])
        counts = built.symbols, built.considered
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(universe.excluded.items()))
        history = "" if calls else ", before its history"
        logger.info("universe of %d symbols out of %d listings%s; not: %s", *counts, history, left_out)
        return built

    async def _with_further_lines(
        self, universe: Universe, pasts: Mapping[str, Past], known: StoredHistory, *, calls: bool
    ) -> Universe:
        """The universe with its stocks' lines at the further venues."""
        trading = await self._facts.of_day([member.symbol for member in universe.members], known.day)
        lines = lines_at(universe.members, trading, self._main_venue)
        found, outage = await self._history.of_further_lines(list(lines), pasts, known, calls=calls)
        if outage is None:
            self._parts.alerts.resolve(
                FURTHER_BARS, f"the lines at further venues of {known.day} have their daily bars"
            )
        else:
            text = f"lines at further venues have no new daily bars on {known.day}: those that are stored count"
            self._parts.alerts.report(FURTHER_BARS, "warning", f"{text} ({outage})")
        histories = _histories(found, known.previous.isoformat())
        return with_further_lines(universe, lines, histories, self._main_venue)

    def _report(self, universe: Universe) -> None:
        """Report the build's warnings, and the end of those that an earlier build had."""
        for identity, warning in universe.warnings.items():
            self._parts.alerts.report(identity, "warning", warning)
        for identity in UNIVERSE_WARNINGS:
            if identity not in universe.warnings:
                self._parts.alerts.resolve(identity, f"the universe of {universe.built.session_date} is without it")

    async def _listings(self) -> Sequence[Listing]:
        """The listings of the last master files; an exchange without stored listings is checked first.

        Raises:
            DataFileError: a file is held or unreadable: the job is tried again later.
            ProviderError: a file cannot be downloaded.
        """
        for exchange in EXCHANGES:
            if not self._parts.reader.active_listings(exchange):
                await self._parts.bring_listings(exchange)
                await self._parts.settled()
        found = {exchange: self._parts.reader.active_listings(exchange) for exchange in EXCHANGES}
        if unknown := [exchange for exchange, listings in found.items() if not listings]:
            raise DataFileError(f"no listings of {' or '.join(unknown)} are known")
        return [listing for listings in found.values() for listing in listings.values()]

    async def _completed(self, listings: Sequence[Listing]) -> Sequence[Listing]:
        """The listings with missing values filled in: a base price from the broker's quote of the symbol, a
        capitalisation from the listed shares at the base price. Values of the files stay; a refusal by the broker
        leaves others unknown.
        """
        missing = [listing.symbol for listing in listings if listing.base_price is None]
        quotes: list[Quote] = []
        for portion in chunks(missing, self._parts.quotes.quotes_per_call):
            try:
                quotes += await self._parts.quotes.quotes(portion)
            except ProviderError as error:
                logger.warning("no quotes of %d symbols without a base price: %s", len(portion), error)
        closes = {quote.symbol: quote.previous_close for quote in quotes}
        return [_completed(listing, closes.get(listing.symbol)) for listing in listings]


def _histories(pasts: Mapping[str, Past], previous: str) -> Mapping[str, History]:
    """By line the history, as of the session `previous`."""
    return {line: history_of(past.bars[-BARS_KEPT:], previous, past.adjustments) for line, past in pasts.items()}


def _completed(listing: Listing, quoted_close: float | None) -> Listing:
    price, cap = listing.base_price, listing.market_cap
    if price is not None and cap is not None:
        return listing
    price = quoted_close if price is None else price
    if cap is None and price is not None and listing.listed_shares is not None:
        cap = price * listing.listed_shares
    return msgspec.structs.replace(listing, base_price=price, market_cap=cap)
