"""Yahoo's sectors by way of yfinance: whole markets by its screener, and single symbols for what is left.

One query for each exchange and sector, 250 symbols a call: the rows do not hold the sector, it is known from the query
(upbit-kiwoom.md section 4). That is 100 to 200 calls for all markets; single look-ups would be some 40,000. Yahoo's
sectors are Morningstar's, mapped by name.

Every request that yfinance sends, also those for its cookie and crumb, waits for the same token bucket. Its own retries
are off; ours are here, and a circuit breaker ends it all when Yahoo has stopped answering.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final, TypeVar

import msgspec
import pybreaker
import yfinance
from curl_cffi.requests import Session
from curl_cffi.requests.exceptions import HTTPError, RequestException
from peewee import PeeweeException
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from yfinance.config import YfConfig
from yfinance.data import YfData
from yfinance.exceptions import YFException, YFRateLimitError

from observer.clock import Clock
from observer.errors import (
    BadRequestError,
    DataFileError,
    MaintenanceError,
    MalformedError,
    ProviderError,
    RateExceededError,
    TransportError,
)
from observer.providers.answer_cache import AnswerCache
from observer.providers.token_bucket import TokenBucket
from observer.providers.yahoo_symbols import SCREENED_EXCHANGES, yahoo_symbol
from observer.reference.sectors import VOCABULARIES, Finding, Region, SectorSourceName, Security, sector_in

logger = logging.getLogger(__name__)

PAGE_SIZE: Final = 250  # the most that the screener gives
CONFIDENCE: Final = 0.9  # the same words as GICS, drawn a little otherwise: declared, not measured
_PROFILES: Final = "/v10/finance/quoteSummary/"
_PROFILE_URL: Final = f"https://query2.finance.yahoo.com{_PROFILES}"
_NOT_FOUND: Final = 404
_SERVER_ERRORS: Final = range(500, 600)
_REFUSALS: Final = frozenset({401, 403, 429})  # Yahoo refuses who asks too much in each of these ways
_JITTER_SHARE: Final = 0.25
_PAGES_MAX: Final = 200  # 50,000 symbols of one sector on one exchange: no market is that large

Result = TypeVar("Result")


class YahooSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How Yahoo is asked (requirement 003): one request a second; after a failure again, after 5, 10 and 20 seconds and
    up to a quarter more; after five failures in a row not at all, for `breaker_reset_s` machine seconds.

    `address` gets the requests in Yahoo's place, their paths unchanged; empty: Yahoo.
    """

    rate_per_s: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    retries_max: Annotated[int, msgspec.Meta(ge=0)] = 3
    retry_delay_s: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    failures_max: Annotated[int, msgspec.Meta(ge=1)] = 5
    breaker_reset_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    address: str = ""


class CircuitOpenError(ProviderError):
    """Yahoo has failed too often in a row and is left alone for a while."""


class ScreenedQuote(msgspec.Struct, frozen=True):
    """A row of the screener, as far as it is read."""

    symbol: str


class ScreenerPage(msgspec.Struct, frozen=True):
    """One answer of the screener: `total` is of all pages."""

    total: int
    quotes: list[ScreenedQuote]


class Profile(msgspec.Struct, frozen=True):
    """What Yahoo says of one company; both empty where it says nothing."""

    sector: str = ""
    industry: str = ""


class _PacedSession(Session):  # type: ignore[type-arg]
    """yfinance's kind of session, in which every request waits for its permit first."""

    def __init__(self, wait: Callable[[], None], address: str, timeout_s: float) -> None:
        super().__init__(impersonate="chrome")
        self._wait = wait
        self._address = address.rstrip("/")
        self._timeout_s = timeout_s

    def request(self, method: Any, url: str, *args: Any, **options: Any) -> Any:
        """Send, in the caller's turn.

        Raises:
            HTTPError: Yahoo does not know the symbol. yfinance would take that for a bad cookie, fetch another one and
                ask again: seven requests instead of two for each of them, against a stand-in.
        """
        self._wait()
        if self._address:
            url = f"{self._address}/{url.split('/', 3)[3] if url.count('/') > 2 else ''}"
        response = super().request(method, url, *args, **{**options, "timeout": self._timeout_s})
        if response.status_code == _NOT_FOUND and _PROFILES in url:  # the host of its cookies answers 404, too
            response.raise_for_status()
        return response


class YahooDoor:
    """The one way to Yahoo: one call at a time, its requests in step, its failures told apart.

    Args:
        clock: market time, for the pace and the pauses.
        chance: for the jitter.
        settings: see there.
        cookies: yfinance's folder for its cookie; made if it is not there.
    """

    def __init__(self, clock: Clock, chance: Random, settings: YahooSettings, cookies: Path) -> None:
        self._clock = clock
        self._chance = chance
        self._settings = settings
        self._bucket = TokenBucket(clock, rate_per_s=settings.rate_per_s)
        self._turn = asyncio.Lock()
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=settings.failures_max,
            reset_timeout=settings.breaker_reset_s,
            exclude=[lambda error: isinstance(error, _NotFoundError)],
            throw_new_error_on_trip=False,
        )
        self.retries = 0
        cookies.mkdir(parents=True, exist_ok=True)
        yfinance.cache.set_cache_location(str(cookies.resolve()))
        YfConfig.network.retries = 0
        self._session = _PacedSession(self._wait_for_permit, settings.address, settings.timeout_s)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def requests(self) -> int:
        """Requests that were sent, of yfinance's own accord too."""
        return self._bucket.granted

    async def screen(self, exchange: str, sector: str, offset: int) -> ScreenerPage:
        """The companies of one exchange and sector, in Yahoo's words, from that place on, ordered by symbol.

        Raises:
            ProviderError: see `_ask`.
        """

        def ask() -> object:
            both = [yfinance.EquityQuery("eq", pair) for pair in (["exchange", exchange], ["sector", sector])]
            return yfinance.screen(
                yfinance.EquityQuery("and", both),
                offset=offset,
                size=PAGE_SIZE,
                sortField="ticker",
                sortAsc=True,
                session=self._session,
            )

        return _shaped(await self._ask(f"screener {exchange} {sector}", ask), ScreenerPage)

    async def profile(self, symbol: str) -> Profile | None:
        """What Yahoo says of a symbol; None when it does not know it.

        Raises:
            ProviderError: see `_ask`.
        """

        def ask() -> object:
            wanted = {"modules": "assetProfile", "formatted": "false", "symbol": symbol}
            return YfData(session=self._session).get_raw_json(_PROFILE_URL + symbol, params=wanted)

        try:
            answer = _shaped(await self._ask(f"profile {symbol}", ask), _ProfileAnswer)
        except _NotFoundError:
            return None
        results = answer.quote_summary.result
        return results[0].profile if results else None

    async def _ask(self, name: str, ask: Callable[[], object]) -> object:
        """One answer, after as many attempts as the settings allow.

        Raises:
            CircuitOpenError: Yahoo is left alone now; nothing was sent.
            ProviderError: the last attempt's.
        """
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=stop_after_attempt(self._settings.retries_max + 1),
            wait=self._delay_s,
            retry=retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retry),
            before_sleep=self._count_retry,
            reraise=True,
        )
        async with self._turn:
            self._loop = asyncio.get_running_loop()
            answer: object = await retrying(self._attempt, name, ask)
            return answer

    async def _attempt(self, name: str, ask: Callable[[], object]) -> object:
        try:
            return await asyncio.to_thread(self._breaker.call, _translated, name, ask)
        except pybreaker.CircuitBreakerError as error:
            text = f"{name}: Yahoo failed {self._settings.failures_max} times in a row and is left alone"
            raise CircuitOpenError(text, call=name) from error

    def _wait_for_permit(self) -> None:
        """Called in the thread in which yfinance sends."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._bucket.take(), self._loop).result()

    def _delay_s(self, state: RetryCallState) -> float:
        doubled_s = self._settings.retry_delay_s * 2.0 ** (state.attempt_number - 1)
        return doubled_s * self._chance.uniform(1.0, 1.0 + _JITTER_SHARE)

    def _count_retry(self, state: RetryCallState) -> None:
        self.retries += 1
        logger.info("Yahoo is asked again: %s", state.outcome.exception() if state.outcome else "")


class _NotFoundError(ProviderError):
    """Yahoo does not know the symbol; an answer, not a failure."""


class _ProfileResult(msgspec.Struct, frozen=True, rename={"profile": "assetProfile"}):
    profile: Profile = Profile()


class _ProfileResults(msgspec.Struct, frozen=True):
    result: list[_ProfileResult] | None = None


class _ProfileAnswer(msgspec.Struct, frozen=True, rename={"quote_summary": "quoteSummary"}):
    quote_summary: _ProfileResults


def _translated(name: str, ask: Callable[[], object]) -> object:
    """The call with yfinance's and curl's errors as ours."""
    try:
        return ask()
    except YFRateLimitError as error:
        raise RateExceededError(f"{name}: too many requests", call=name, code="429") from error
    except HTTPError as error:
        raise _refusal(name, error) from error
    except RequestException as error:
        raise TransportError(f"{name}: {type(error).__name__} {error}".strip(), call=name) from error
    except PeeweeException as error:
        raise DataFileError(f"yfinance cannot use its file of cookies: {error}") from error
    except (YFException, KeyError, IndexError, TypeError, ValueError) as error:
        raise MalformedError(f"{name}: {type(error).__name__} {error}", call=name) from error


def _refusal(name: str, error: HTTPError) -> ProviderError:
    status = error.response.status_code if error.response is not None else 0
    kind: type[ProviderError] = BadRequestError
    if status == _NOT_FOUND:
        kind = _NotFoundError
    elif status in _REFUSALS:
        kind = RateExceededError
    elif status in _SERVER_ERRORS:
        kind = MaintenanceError
    return kind(f"{name}: HTTP {status}", call=name, code=str(status))


def _shaped(answer: object, shape: type[Result]) -> Result:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise MalformedError(f"Yahoo: {error}") from error


class YahooScreener:
    """The screener as a `SectorSource`: asks for whole exchanges, and tells of those that are wanted."""

    name: SectorSourceName = "yahoo_screener"

    def __init__(self, door: YahooDoor, cache: AnswerCache, clock: Clock) -> None:
        self._door = door
        self._cache = cache
        self._clock = clock

    async def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:
        """A portion for each exchange and sector.

        Raises:
            ProviderError: Yahoo does not answer.
        """
        by_symbol = {symbol: security for security in wanted if (symbol := yahoo_symbol(security)) is not None}
        if not by_symbol:
            return
        for exchange in SCREENED_EXCHANGES[region]:
            for word in VOCABULARIES["yahoo"]:
                listed = await self._listed(exchange, word)
                sector = sector_in("yahoo", word)
                found = [
                    Finding(by_symbol[symbol], self.name, sector, CONFIDENCE, word)
                    for symbol in listed
                    if symbol in by_symbol
                ]
                if found:
                    yield found

    async def _listed(self, exchange: str, sector: str) -> Sequence[str]:
        question = f"screener/{exchange}/{sector}"
        known = self._cache.get(question, self._clock.now_ns())
        if known is not None:
            return known
        symbols: dict[str, None] = {}
        seen = 0
        for _ in range(_PAGES_MAX):
            page = await self._door.screen(exchange, sector, seen)
            symbols.update((quote.symbol, None) for quote in page.quotes)
            seen += len(page.quotes)
            if seen >= page.total or not page.quotes:
                break
        if seen < page.total:
            raise MalformedError(f"the screener gave {seen} of {page.total} symbols of {exchange} {sector}")
        self._cache.put(question, tuple(symbols), self._clock.now_ns())
        return tuple(symbols)


class YahooProfiles:
    """Single look-ups as a `SectorSource`: the last resort, and the only one whose "not found" is an answer."""

    name: SectorSourceName = "yahoo_profile"

    def __init__(self, door: YahooDoor, cache: AnswerCache, clock: Clock) -> None:
        self._door = door
        self._cache = cache
        self._clock = clock

    async def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:  # noqa: ARG002
        """One security at a time; without a sector where Yahoo knows none, or does not cover the exchange.

        Raises:
            ProviderError: Yahoo does not answer.
        """
        for security in wanted:
            symbol = yahoo_symbol(security)
            profile = await self._profile(symbol) if symbol else None
            yield [self._finding(security, profile or Profile())]

    def _finding(self, security: Security, profile: Profile) -> Finding:
        try:
            sector = sector_in("yahoo", profile.sector) if profile.sector else None
        except DataFileError:
            logger.warning("Yahoo has a new sector: %r, of %s", profile.sector, security.symbol)
            sector = None
        confidence = CONFIDENCE if sector else 0.0
        return Finding(security, self.name, sector, confidence, profile.sector, profile.industry)

    async def _profile(self, symbol: str) -> Profile | None:
        question = f"profile/{symbol}"
        known = self._cache.get(question, self._clock.now_ns())
        if known is not None:
            return Profile(*known)
        profile = await self._door.profile(symbol)
        words = (profile.sector, profile.industry) if profile else ()
        self._cache.put(question, words, self._clock.now_ns())
        return profile
