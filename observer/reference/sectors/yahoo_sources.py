"""Yahoo's sectors as sources: whole markets by its screener, and single symbols for what is left.

One query for each exchange and sector, 250 symbols a call: the rows do not hold the sector, the query names it. That is
100 to 200 calls for all markets; single look-ups would be some 40,000. Yahoo's sectors are Morningstar's, mapped by
name.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from itertools import product
from typing import Final, TypeVar

from observer.base.clock import Clock
from observer.base.errors import DataFileError, MalformedError, ProviderError
from observer.reference.sectors.answer_cache import AnswerCache
from observer.reference.sectors.model import VOCABULARIES, Finding, Region, SectorSourceName, Security, sector_in
from observer.reference.sectors.yahoo import CircuitOpenError, YahooClient, YahooProfile
from observer.reference.sectors.yahoo_symbols import SCREENED_EXCHANGES, yahoo_symbol

logger = logging.getLogger(__name__)

CONFIDENCE: Final = 0.9  # the same words as GICS, drawn a little otherwise: declared, not measured
_PAGES_MAX: Final = 200  # 50,000 symbols of one sector on one exchange: no market is that large

Result = TypeVar("Result")


class UnansweredError(ProviderError):
    """Some queries had no usable answer; the text gives their number. All other queries were made."""


class _Failures:
    """The unanswered queries of one run; they do not stop later queries."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    async def outlived(self, answer: Awaitable[Result]) -> Result | None:
        """The answer; None where there is none.

        Raises:
            CircuitOpenError: there will be none to any other question either.
        """
        try:
            return await answer
        except CircuitOpenError:
            raise
        except ProviderError as error:
            logger.warning("left out: %s", error)
            self._texts.append(str(error))
            return None

    def require_none(self) -> None:
        """Raises UnansweredError if there was one."""
        if self._texts:
            raise UnansweredError(f"no answer to {len(self._texts)} of its questions, first {self._texts[0]}")


class _Yahoo:
    """What both sources ask, and the cache of its answers."""

    def __init__(self, client: YahooClient, cache: AnswerCache, clock: Clock) -> None:
        self._client = client
        self._cache = cache
        self._clock = clock


class YahooScreener(_Yahoo):
    """The screener as a `SectorSource`: queries whole exchanges, and returns findings for the wanted securities."""

    name: SectorSourceName = "yahoo_screener"

    async def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:
        """A portion for each exchange and sector.

        Raises:
            CircuitOpenError: Yahoo does not answer any more.
            UnansweredError: in the end, if it had no answer to some.
        """
        by_symbol = {symbol: security for security in wanted if (symbol := yahoo_symbol(security)) is not None}
        if not by_symbol:
            return
        failures = _Failures()
        for exchange, word in product(SCREENED_EXCHANGES[region], VOCABULARIES["yahoo"]):
            listed = await failures.outlived(self._listed(exchange, word)) or ()
            sector = sector_in("yahoo", word)
            found = [
                Finding(by_symbol[symbol], self.name, sector, CONFIDENCE, word)
                for symbol in listed
                if symbol in by_symbol
            ]
            if found:
                yield found
        failures.require_none()

    async def _listed(self, exchange: str, sector: str) -> Sequence[str]:
        question = f"screener/{exchange}/{sector}"
        known = self._cache.get(question, self._clock.now_ns())
        if known is not None:
            return known
        symbols: dict[str, None] = {}
        seen = 0
        for _ in range(_PAGES_MAX):
            page = await self._client.screen(exchange, sector, seen)
            symbols.update((quote.symbol, None) for quote in page.quotes)
            seen += len(page.quotes)
            if seen >= page.total or not page.quotes:
                break
        if seen < page.total:
            raise MalformedError(f"the screener gave {seen} of {page.total} symbols of {exchange} {sector}")
        self._cache.put(question, tuple(symbols), self._clock.now_ns())
        return tuple(symbols)


class YahooProfiles(_Yahoo):
    """Single look-ups as a `SectorSource`: the last resort, and the only one whose "not found" is an answer."""

    name: SectorSourceName = "yahoo_profile"

    async def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:  # noqa: ARG002 - as the Protocol
        """One security at a time; without a sector where Yahoo knows none, or does not cover the exchange.

        Raises:
            CircuitOpenError: Yahoo does not answer any more.
            UnansweredError: in the end, if it had no answer to some.
        """
        failures = _Failures()
        for security in wanted:
            symbol = yahoo_symbol(security)
            profile = await failures.outlived(self._profile(symbol)) if symbol else YahooProfile()
            if profile is not None:
                yield [self._finding(security, profile)]
        failures.require_none()

    def _finding(self, security: Security, profile: YahooProfile) -> Finding:
        try:
            sector = sector_in("yahoo", profile.sector) if profile.sector else None
        except DataFileError:
            logger.warning("Yahoo has a new sector: %r, of %s", profile.sector, security.symbol)
            sector = None
        confidence = CONFIDENCE if sector else 0.0
        return Finding(security, self.name, sector, confidence, profile.sector, profile.industry)

    async def _profile(self, symbol: str) -> YahooProfile:
        """Yahoo's profile of a symbol, perhaps from today's cache; empty for an unknown symbol."""
        question = f"profile/{symbol}"
        known = self._cache.get(question, self._clock.now_ns())
        if known is not None:
            return YahooProfile(*known)
        profile = await self._client.profile(symbol)
        words = (profile.sector, profile.industry) if profile else ()
        self._cache.put(question, words, self._clock.now_ns())
        return profile or YahooProfile()
