"""One pipeline for every REST call of every broker: rate-limit token, send, classify, retry, count, decode.

What differs between brokers (headers, refusals, the sign of a further page) comes in as a `RestDialect`. Waiting before
another attempt is patience towards the broker and runs on market time; socket timeouts are machine seconds and belong
to the client.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import cache
from random import Random
from ssl import SSLContext
from typing import Final, Generic, Literal, Protocol, TypeVar

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from observer.base.clock import Clock
from observer.base.errors import ConfigError, ProviderError, RateExceededError, TokenExpiredError, TransportError
from observer.base.units import NS_PER_S
from observer.brokers.bodies import ACCEPTED, BodyReader, decode
from observer.brokers.broker import Credentials, CredentialSource, Priority, RateLimiter
from observer.brokers.raw import UNRECORDED, AccountRecorder
from observer.brokers.settings import PROXY_OF_ENVIRONMENT, RestSettings
from observer.monitoring.metrics.counters import COUNTERS

Result = TypeVar("Result")

# Of 20 calls a second, each answered within a second, at most 20 are on their way. They are opened as they are needed,
# so a broker that answers as it should sees two or three.
_CONNECTIONS_MAX: Final = 24
_CALL_TIMEOUTS: Final = 1.5  # a whole call: a host that sends a byte now and then must not hold it for ever


class Request(msgspec.Struct, frozen=True):
    """One call: its name in counts and errors, its URL, and the values that the dialect needs.

    `continued` asks for the page after the one that came with the same call.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    transaction: str = ""
    query: Mapping[str, str] = {}
    body: bytes = b""
    continued: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A successful answer before decoding. Names of headers are in lower case."""

    content: bytes
    headers: Mapping[str, str]


class Page(msgspec.Struct, Generic[Result], frozen=True):
    """One decoded answer, and whether the broker says that another page follows it."""

    body: Result
    more: bool


class RestDialect(Protocol):
    """A broker's headers, refusals and paging."""

    def headers(self, request: Request, credentials: Credentials) -> dict[str, str]:
        """The headers of a call with these credentials."""
        ...

    def classify(self, status: int, body: bytes) -> ProviderError | None:
        """The error that an answer is, None for a success."""
        ...

    def more(self, headers: Mapping[str, str]) -> bool:
        """Whether an answer with these headers (names in lower case) says that another page follows."""
        ...


def open_client(base_url: str, settings: RestSettings) -> httpx.AsyncClient:
    """A client with HTTP/1.1 keep-alive, which follows no redirect: no other host gets the keys. Through a proxy goes a
    tunnel, in which TLS ends at the host.

    Raises:
        ConfigError: the file of certificates cannot be read.
    """
    is_of_environment = settings.proxy == PROXY_OF_ENVIRONMENT
    return httpx.AsyncClient(
        base_url=base_url,
        headers={**ACCEPTED, **({"user-agent": settings.user_agent} if settings.user_agent else {})},
        follow_redirects=False,
        timeout=settings.timeout_s,
        limits=httpx.Limits(max_connections=_CONNECTIONS_MAX, max_keepalive_connections=_CONNECTIONS_MAX),
        verify=trusted_certificates(settings.certificates),
        trust_env=is_of_environment,
        proxy=None if is_of_environment else settings.proxy or None,
    )


@cache
def trusted_certificates(file: str = "") -> SSLContext:
    """The trusted certificates: the public ones, those of the system or of the file that SSL_CERT_FILE names, and those
    of this file. All clients of a process share one copy, as each would load its own.

    Raises:
        ConfigError: the file cannot be read.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if file:
        try:
            context.load_verify_locations(file)
        except OSError as error:  # SSLError is one
            raise ConfigError(f"certificates: {file}: {error.strerror or error}") from error
    return context


async def read_body(response: httpx.Response, call: str) -> bytes:
    """The unpacked body of an answer that is still to be read.

    Raises:
        MalformedError: it is larger than the bound, or of an encoding that was not asked for.
        TransportError: it cannot be unpacked.
        httpx.TransportError: the connection failed meanwhile.
    """
    reader = BodyReader(response.headers.get("content-encoding", ""), call)
    async for portion in response.aiter_raw():
        reader.add(portion)
    return reader.whole()


@contextlib.asynccontextmanager
async def ended_call(client: httpx.AsyncClient, call: str, within_s: float | None = None) -> AsyncIterator[None]:
    """A call, which ends within these machine seconds, by default one and a half of the client's time-outs (15 s),
    however it goes on.

    Raises:
        TransportError: it did not, or the connection failed.
    """
    within_s = within_s or _CALL_TIMEOUTS * (client.timeout.read or 0.0)
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError as error:
        raise TransportError(f"{call}: no end within {within_s:g} s", call=call) from error
    except httpx.TransportError as error:
        raise TransportError(f"{call}: {type(error).__name__} {error}".strip(), call=call) from error


async def send_once(
    client: httpx.AsyncClient,
    request: Request,
    headers: Mapping[str, str],
    dialect: RestDialect,
    recorder: AccountRecorder = UNRECORDED,
) -> Answer:
    """Send a request and return a successful answer; both are recorded as they are, refusals too.

    Raises:
        TransportError: no answer, or none that ends.
        MalformedError: a body that is too large, see `bodies`.
        ProviderError: whatever the dialect makes of the answer.
    """
    number = recorder.request(request.name, headers, request.query, request.body)
    async with (
        ended_call(client, request.name),
        client.stream(
            request.method,
            request.path,
            params=dict(request.query) or None,
            content=request.body or None,
            headers=dict(headers),
        ) as response,
    ):
        content = await read_body(response, request.name)
    status = response.status_code
    recorder.answer(number, request.name, status, response.headers, request.query, content)
    refusal = dialect.classify(status, content)
    if refusal is not None:
        refusal.call = request.name
        raise refusal
    return Answer(content, response.headers)


class RestPipeline(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one account. Any number of them may be on their way at once. Each is counted for the exporter by its
    outcome: `sent` for every attempt, `ok`, or the name of the error.
    """

    client: httpx.AsyncClient
    dialect: RestDialect
    rate_limiter: RateLimiter
    credentials: CredentialSource
    clock: Clock
    rng: Random
    settings: RestSettings
    recorder: AccountRecorder = UNRECORDED
    account: str = ""

    async def call_page(self, request: Request, priority: Priority, result_type: type[Result]) -> Page[Result]:
        """The decoded answer, after as many attempts as the settings allow, and whether the broker has another page:
        ask for it with `continued`.

        Raises:
            ProviderError: the error of the last attempt; at once when asking again cannot help.
        """
        retrying = AsyncRetrying(
            sleep=self.clock.sleep,
            stop=stop_after_attempt(self.settings.attempts_max),
            wait=self._delay_s,
            retry=retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retry),
            reraise=True,
        )
        page: Page[Result] = await retrying(self._attempt, request, priority, result_type)
        return page

    async def _attempt(self, request: Request, priority: Priority, result_type: type[Result]) -> Page[Result]:
        """One attempt, with what its failure means for the others who share the account."""
        used = await self.credentials.current()
        asked_ns = self.clock.now_ns()
        try:
            async with self.rate_limiter.acquire(priority):
                waited_s = (self.clock.now_ns() - asked_ns) / NS_PER_S
                COUNTERS.observe("observer_limiter_wait_seconds", self.account, priority, seconds=waited_s)
                self._count(request, "sent")
                headers = self.dialect.headers(request, used)
                answer = await send_once(self.client, request, headers, self.dialect, self.recorder)
            body = decode(answer.content, result_type, request.name)
        except ProviderError as error:
            self._count(request, type(error).__name__)
            if isinstance(error, TokenExpiredError):
                # Without another token asking again is no use, and all patience there is was spent on waiting for one.
                error.retry = await self.credentials.reject(used)
            raise
        self._count(request, "ok")
        return Page(body, self.dialect.more(answer.headers))

    def _count(self, request: Request, outcome: str) -> None:
        COUNTERS.add("observer_calls_total", self.account, request.name, outcome)

    def _delay_s(self, state: RetryCallState) -> float:
        """Market seconds before the next attempt: exponential back-off with jitter, uniform over [d/2, d].

        Zero after a rejected token: a new token is there already, and no other call waits for this one. Zero after "too
        many": the first repetition may go at once, and how long the next ones wait is the limiter's decision.
        """
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TokenExpiredError | RateExceededError):
            return 0.0
        doubled_s = self.settings.delay_initial_s * 2.0 ** (state.attempt_number - 1)
        return min(doubled_s, self.settings.delay_max_s) * self.rng.uniform(0.5, 1.0)
