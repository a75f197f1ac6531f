"""The door to Yahoo, by way of yfinance: pages of its screener, and profiles of single symbols.

Every request that yfinance sends, also those for its cookie and crumb, waits for the same token bucket. Its own retries
are off; ours are here, and a circuit breaker ends it all when Yahoo has stopped answering.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final, TypeVar

import msgspec
import pybreaker
import yfinance
from curl_cffi.curl import CURL_WRITEFUNC_ERROR
from curl_cffi.requests import Session
from curl_cffi.requests.exceptions import HTTPError, RequestException
from peewee import PeeweeException
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from yfinance.config import YfConfig
from yfinance.data import YfData
from yfinance.exceptions import YFException, YFRateLimitError

from observer.base.clock import Clock
from observer.base.errors import (
    BadRequestError,
    DataFileError,
    MaintenanceError,
    MalformedError,
    ProviderError,
    RateExceededError,
    TransportError,
)
from observer.base.text import plain_text
from observer.base.units import NS_PER_S
from observer.brokers.bodies import BODY_BYTES_MAX

logger = logging.getLogger(__name__)

PAGE_SIZE: Final = 250  # the most that the screener gives
_PROFILES: Final = "/v10/finance/quoteSummary/"
_PROFILE_URL: Final = f"https://query2.finance.yahoo.com{_PROFILES}"
_NOT_FOUND: Final = 404
_SERVER_ERRORS: Final = range(500, 600)
_REFUSALS: Final = frozenset({401, 403, 429})  # Yahoo answers too many requests with any of these
_JITTER_SHARE: Final = 0.25

Result = TypeVar("Result")


class TokenBucket:
    """At most `burst` tokens at once, refilled at `rate_per_s` of market time. First come, first served.

    For one process alone: the brokers' limits, which processes share, are `observer.brokers.accounts.limiter`'s.
    """

    def __init__(self, clock: Clock, *, rate_per_s: float, burst: int = 1) -> None:
        self._clock = clock
        self._interval_ns = round(NS_PER_S / rate_per_s)
        self._burst = burst
        self._full_ns = 0  # when the bucket is full again without further requests
        self.granted = 0

    async def take(self) -> None:
        """Return when this request may be sent."""
        now_ns = self._clock.now_ns()
        self._full_ns = max(self._full_ns, now_ns) + self._interval_ns
        self.granted += 1
        await self._clock.sleep_until(self._full_ns - self._burst * self._interval_ns)


class YahooSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Rate, retries and circuit breaker of requests to Yahoo: one request a second; retries after 5,
    10 and 20 seconds, each up to a quarter longer; after five failures in a row, no request for `breaker_reset_s`
    machine seconds.

    `address` replaces Yahoo's host, with unchanged paths; empty: Yahoo.
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


class YahooProfile(msgspec.Struct, frozen=True):
    """What Yahoo says of one company; both empty where it says nothing."""

    sector: str = ""
    industry: str = ""


class _Body:
    """Gathers an answer's unpacked portions; the request ends with an error when there are too many of them."""

    def __init__(self) -> None:
        self.content = bytearray()

    def take(self, portion: bytes) -> int:
        """Keep the portion; returns its length, or what makes curl end the request."""
        if len(self.content) + len(portion) > BODY_BYTES_MAX:
            return CURL_WRITEFUNC_ERROR
        self.content += portion
        return len(portion)


class _PacedSession(Session):  # type: ignore[type-arg]  # generic in its annotations only
    """yfinance's kind of session, in which every request waits for its token first."""

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
        body = _Body()
        response = super().request(
            method, url, *args, **{**options, "timeout": self._timeout_s, "content_callback": body.take}
        )
        response.content = bytes(body.content)
        if response.status_code == _NOT_FOUND and _PROFILES in url:  # the host of its cookies answers 404, too
            response.raise_for_status()
        return response


class YahooClient:
    """The one way to Yahoo: one call at a time, its requests in step, its failures distinguished.

    Args:
        clock: market time, for the pace and the pauses.
        chance: for the jitter.
        settings: see there.
        cookies: yfinance's folder for its cookie; made if it is not there.
    """

    def __init__(self, clock: Clock, rng: Random, settings: YahooSettings, cookies: Path) -> None:
        self._clock = clock
        self._rng = rng
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
        self._last_failure = ""
        cookies.mkdir(parents=True, exist_ok=True)
        yfinance.cache.set_cache_location(str(cookies.resolve()))
        YfConfig.network.retries = 0
        self._session = _PacedSession(self._wait_for_token, settings.address, settings.timeout_s)
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

        name = f"screener {exchange} {sector}"
        return _shaped(name, await self._ask(name, ask), ScreenerPage)

    async def profile(self, symbol: str) -> YahooProfile | None:
        """Yahoo's profile of a symbol; None for an unknown symbol.

        Raises:
            ProviderError: see `_ask`.
        """

        def ask() -> object:
            wanted = {"modules": "assetProfile", "formatted": "false", "symbol": symbol}
            return YfData(session=self._session).get_raw_json(_PROFILE_URL + symbol, params=wanted)

        name = f"profile {symbol}"
        try:
            answer = _shaped(name, await self._ask(name, ask), _ProfileAnswer)
        except _NotFoundError:
            return None
        results = answer.quote_summary.result
        if not results:
            return None
        said = results[0].profile or _AssetProfile()
        return YahooProfile(plain_text(said.sector or ""), plain_text(said.industry or ""))

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
        except ProviderError as error:
            self._last_failure = str(error)
            raise
        except pybreaker.CircuitBreakerError as error:
            failures = f"failed {self._settings.failures_max} times in a row, last {self._last_failure},"
            text = f"{name}: Yahoo {failures} and is left alone"
            raise CircuitOpenError(text, call=name) from error

    def _wait_for_token(self) -> None:
        """Called in the thread in which yfinance sends."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._bucket.take(), self._loop).result()

    def _delay_s(self, state: RetryCallState) -> float:
        doubled_s = self._settings.retry_delay_s * 2.0 ** (state.attempt_number - 1)
        return doubled_s * self._rng.uniform(1.0, 1.0 + _JITTER_SHARE)

    def _count_retry(self, state: RetryCallState) -> None:
        self.retries += 1
        logger.info("Yahoo is asked again: %s", state.outcome.exception() if state.outcome else "")


class _NotFoundError(ProviderError):
    """Yahoo does not know the symbol; an answer, not a failure."""


class _AssetProfile(msgspec.Struct, frozen=True):
    sector: str | None = None
    industry: str | None = None


class _ProfileResult(msgspec.Struct, frozen=True, rename={"profile": "assetProfile"}):
    profile: _AssetProfile | None = None


class _ProfileResults(msgspec.Struct, frozen=True):
    result: list[_ProfileResult] | None = None


class _ProfileAnswer(msgspec.Struct, frozen=True, rename={"quote_summary": "quoteSummary"}):
    quote_summary: _ProfileResults


def _translated(name: str, ask: Callable[[], object]) -> object:
    """Run the call; translate yfinance's and curl's errors into ours."""
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
    except (YFException, LookupError, TypeError, ValueError, RecursionError) as error:
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


def _shaped(name: str, answer: object, shape: type[Result]) -> Result:
    try:
        return msgspec.convert(answer, shape)
    except ValueError as error:  # of another shape, or a text that is no UTF-8
        raise MalformedError(f"{name}: {error}", call=name) from error
