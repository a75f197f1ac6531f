"""Which stocks trade at which venue beside the main one: read once a day from the venue's list, stored as a fact of
that day for each stock.

The broker's list of a venue is one download; only a stock that the list names as stopped is asked about by a call.
Facts of a day are stored for every stock, whether or not they changed: the day's universe was built from them. When a
list cannot be read, the last known fact of a few weekdays counts, with an alert: lists of venues change rarely, so an
old fact is nearly always right.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

from bus.events import VenueEligibility
from observer.base.errors import DataFileError, ProviderError
from observer.reference.listings.model import Listing
from observer.reference.universe.in_force import oldest_fallback
from observer.reference.universe.parts import UniverseParts

logger = logging.getLogger(__name__)

ALERT: Final = "venue_eligibility"
_NAMED: Final = 5
_LEFT_MAX: Final = 0.2  # of the stocks that traded at a venue by its last list: more that are gone are a broken list
_KNOWN_MIN: Final = 20  # a venue with fewer known stocks is not judged by that share
_NO_ANSWER: Final = (ProviderError, DataFileError)


class VenueFacts:
    """The eligibility of stocks at the venues of the universe beside the main one."""

    def __init__(self, parts: UniverseParts) -> None:
        self._parts = parts
        self._venues = parts.venues

    async def of_day(self, stocks: Sequence[str], day: date) -> Mapping[str, frozenset[str]]:
        """By venue, in the order of the settings, which of the stocks trade there on the day. Reads the list of a venue
        for which a stock has no fact of that day; without the list the last known fact counts, with an alert.
        """
        oldest = oldest_fallback(day, self._venues.eligibility_weekdays_max).isoformat()
        stored = await asyncio.to_thread(self._parts.reader.venue_eligibility, oldest, day.isoformat())
        wanted = set(stocks)
        last = {(each.symbol, each.venue): each for each in stored if each.symbol in wanted}
        texts: list[str] = []
        for venue in self._venues.further:
            missing = [stock for stock in stocks if not _is_of_day(last.get((stock, venue)), day)]
            if not missing:
                continue
            try:
                records = await self._records(venue, [each for each in last.values() if each.venue == venue])
            except _NO_ANSWER as error:
                texts.append(self._without_list(venue, error, [s for s in missing if (s, venue) not in last]))
                continue
            stopped = [stock for stock in missing if stock in records and records[stock].suspended]
            trading, unanswered = await self._asked(venue, stopped)
            if unanswered:
                named = f"{', '.join(unanswered[:_NAMED])}{' ...' if len(unanswered) > _NAMED else ''}"
                texts.append(f"{len(unanswered)} stocks that {venue}'s list names as stopped got no answer: {named}")
            answered = [stock for stock in missing if stock not in unanswered]
            trading |= records.keys() - stopped
            facts = [self._fact(day, stock, venue, trades=stock in trading) for stock in answered]
            if facts:
                self._parts.producer.publish_together(facts)
            last.update({(each.symbol, venue): each for each in facts})
        self._report(texts, day)
        found = _trading(last.values(), self._venues.further)
        counts = ", ".join(f"{len(symbols)} at {venue}" for venue, symbols in found.items())
        logger.info("of %d stocks trade on %s: %s", len(stocks), day, counts or "none beside the main venue")
        return found

    async def _records(self, venue: str, known: Sequence[VenueEligibility]) -> Mapping[str, Listing]:
        """The records of a venue's list by symbol.

        Raises:
            ProviderError, DataFileError: it cannot be read, or it lacks too many of the stocks that traded there by the
                last known facts: such a list is cut or of another day.
        """
        records = {each.symbol: each for each in await self._parts.listed(venue)}
        traded = [each.symbol for each in known if each.trades]
        left = sum(symbol not in records for symbol in traded)
        if len(traded) >= _KNOWN_MIN and left > _LEFT_MAX * len(traded):
            raise DataFileError(f"it has {len(records)} records and lacks {left} of {len(traded)} stocks known there")
        return records

    async def _asked(self, venue: str, stopped: Sequence[str]) -> tuple[set[str], Sequence[str]]:
        """Of the stocks that the list names as stopped, those that trade by the broker's call, and those without an
        answer, whose last known fact counts.
        """
        trading: set[str] = set()
        unanswered: list[str] = []
        for stock in stopped:
            try:
                answers = await self._parts.trading.venue_eligibility([stock])
            except ProviderError as error:
                logger.warning("%s: no answer about %s, which its list names as stopped: %s", venue, stock, error)
                unanswered.append(stock)
            else:
                trading |= {each.symbol for each in answers if each.venue == venue and each.trades}
        return trading, unanswered

    def _fact(self, day: date, stock: str, venue: str, *, trades: bool) -> VenueEligibility:
        return VenueEligibility(
            provider=self._parts.provider,
            session_date=day.isoformat(),
            symbol=stock,
            venue=venue,
            trades=trades,
            observed_ns=self._parts.clock.now_ns(),
        )

    def _without_list(self, venue: str, error: Exception, without: Sequence[str]) -> str:
        """What the alert says of a venue whose list cannot be read; `without` are the stocks without a known fact."""
        limit = f"{self._venues.eligibility_weekdays_max} weekdays (universe.eligibility_weekdays_max)"
        text = f"the list of {venue} cannot be read ({error}); the last known one of up to {limit} counts"
        if without:
            more = " ..." if len(without) > _NAMED else ""
            text += (
                f"; {len(without)} stocks without one have the main venue alone: {', '.join(without[:_NAMED])}{more}"
            )
        return text

    def _report(self, texts: Sequence[str], day: date) -> None:
        if texts:
            self._parts.alerts.report(ALERT, "warning", "; ".join(texts))
        else:
            self._parts.alerts.resolve(ALERT, f"the venues of all stocks of {day} are known")


def _is_of_day(fact: VenueEligibility | None, day: date) -> bool:
    return fact is not None and fact.session_date == day.isoformat()


def _trading(facts: Iterable[VenueEligibility], venues: Sequence[str]) -> Mapping[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for each in facts:
        if each.trades:
            found[each.venue].add(each.symbol)
    return {venue: frozenset(found[venue]) for venue in venues}
