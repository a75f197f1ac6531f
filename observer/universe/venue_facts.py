"""Which stocks trade at which venue beside the main one: asked once a day, stored as a fact of that day for each stock.

Facts are stored as they arrive, so a killed process asks only for the rest, and each day's rows say what that day's
universe was built from, whether or not they changed. A stock without an answer has the last known fact of a few
weekdays, with an alert: the lists of venues change rarely, so an old answer is nearly always right.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

from bus.events import VenueEligibility
from observer.alerts.process import Alerts
from observer.clock import Clock
from observer.errors import ProviderError
from observer.providers.domestic import VenueSource
from observer.store.reader import StoreReader
from observer.universe.in_force import oldest_fallback
from observer.universe.settings import UniverseVenues

if TYPE_CHECKING:
    from bus.producer import Producer

logger = logging.getLogger(__name__)

ALERT: Final = "venue_eligibility"
CALLS_AT_ONCE: Final = 8
_OUTAGE: Final = 20  # so many failures: the host does not answer, and further calls would only delay the universe
_NAMED: Final = 5


class VenueFacts:
    """The eligibility of stocks at the venues of the universe beside the main one.

    Args:
        venues: those of the universe, and how old a fact may be.
        provider: the broker that states the facts.
        source: the broker's call.
        reader: reads stored facts.
        producer: publishes new ones.
        clock: market time.
        alerts: of the process.
    """

    def __init__(
        self,
        venues: UniverseVenues,
        provider: str,
        *,
        source: VenueSource,
        reader: StoreReader,
        producer: "Producer",
        clock: Clock,
        alerts: Alerts,
    ) -> None:
        self._venues = venues
        self._provider = provider
        self._source = source
        self._reader = reader
        self._producer = producer
        self._clock = clock
        self._alerts = alerts

    async def of_day(self, stocks: Sequence[str], day: date) -> Mapping[str, frozenset[str]]:
        """By venue, in the order of the settings, which of the stocks trade there on the day. Asks for those without a
        fact of that day; without an answer the last known fact counts, and an alert is reported.
        """
        if not self._venues.further:
            self._alerts.resolve(ALERT, "the universe has lines of the main venue alone")
            return {}
        oldest = oldest_fallback(day, self._venues.eligibility_weekdays_max).isoformat()
        stored = await asyncio.to_thread(self._reader.venue_eligibility, oldest, day.isoformat())
        wanted = set(stocks)
        last = {(each.symbol, each.venue): each for each in stored if each.symbol in wanted}
        answered = {each.symbol for each in last.values() if each.session_date == day.isoformat()}
        missing = [stock for stock in stocks if stock not in answered]
        if missing:
            logger.info("asking at which venues %d of %d stocks trade on %s", len(missing), len(stocks), day)
        found, failures = await self._asked(missing, day)
        known = [each for each in last.values() if each.symbol in answered or each.symbol in failures]
        self._report(failures, {each.symbol for each in known}, day)
        trading = _trading([*known, *found], self._venues.further)
        counts = ", ".join(f"{len(symbols)} at {venue}" for venue, symbols in trading.items())
        logger.info("of %d stocks trade on %s: %s; %d asked", len(stocks), day, counts, len(missing) - len(failures))
        return trading

    async def _asked(
        self, stocks: Sequence[str], day: date
    ) -> tuple[Sequence[VenueEligibility], Mapping[str, ProviderError | None]]:
        """The new facts, published, and the stocks without an answer with their errors; None: not asked any more."""
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        found: list[VenueEligibility] = []
        failures: dict[str, ProviderError | None] = {}

        async def ask(stock: str) -> None:
            async with at_once:
                if sum(error is not None and error.retry for error in failures.values()) >= _OUTAGE:
                    failures[stock] = None
                    return
                try:
                    answers = await self._source.venue_eligibility([stock])
                except ProviderError as error:
                    failures[stock] = error
                    return
            facts = [
                VenueEligibility(
                    *(self._provider, day.isoformat(), each.symbol, each.venue, each.trades, self._clock.now_ns())
                )
                for each in answers
                if each.symbol == stock and each.venue in self._venues.further
            ]
            if facts:
                self._producer.publish_together(facts)
            found.extend(facts)

        await asyncio.gather(*(ask(stock) for stock in stocks))
        return found, failures

    def _report(self, failures: Mapping[str, ProviderError | None], known: Container[str], day: date) -> None:
        if not failures:
            self._alerts.resolve(ALERT, f"the venues of all stocks of {day} are known")
            return
        reason = next((error for error in failures.values() if error is not None), "")
        without = [stock for stock in failures if stock not in known]
        text = f"{len(failures)} stocks got no answer at which venues they trade on {day} ({reason})"
        limit = f"{self._venues.eligibility_weekdays_max} weekdays (universe.eligibility_weekdays_max)"
        text += f"; {len(failures) - len(without)} have their last known answer of up to {limit}"
        if without:
            more = " ..." if len(without) > _NAMED else ""
            text += f"; {len(without)} without one have the main venue alone: {', '.join(without[:_NAMED])}{more}"
        self._alerts.report(ALERT, "warning", text)


def _trading(facts: Iterable[VenueEligibility], venues: Sequence[str]) -> Mapping[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for each in facts:
        if each.trades:
            found[each.venue].add(each.symbol)
    return {venue: frozenset(found[venue]) for venue in venues}
