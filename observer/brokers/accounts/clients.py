"""The clients of the configured accounts: REST calls and streams of each account at its broker.

A broker's calls need the credentials and rate limits of an account; this module joins both. It knows brokers through
`providers.broker` alone. A process loads a network library at its first use: a process that streams never loads the
REST client's library, and the other way round.
"""

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from bus.events import AllocationStrategy
from observer.base.clock import Clock
from observer.base.errors import DataFileError, ProviderError
from observer.brokers.accounts.failover import StreamOutages
from observer.brokers.accounts.health import Health, believed, is_alert_of_stream
from observer.brokers.accounts.health_file import HealthFile
from observer.brokers.accounts.keys import AccountKeys, keys_of
from observer.brokers.accounts.pool import AccountSettings, PoolSettings
from observer.brokers.accounts.shared_rate_limiter import SharedRateLimiter
from observer.brokers.accounts.token_cache import CachedCredentials, FixedCredentials, TokenStore
from observer.brokers.broker import (
    Bar,
    Broker,
    Capability,
    CredentialIssuer,
    Credentials,
    CredentialSource,
    MasterFileSource,
    PastTrade,
    Priority,
    Quote,
    RecordKind,
    StreamListener,
    broker_named,
)
from observer.brokers.raw import AccountRecorder, RawRecorder, raw_request_path
from observer.brokers.settings import BrokerSettings, RestSettings
from observer.brokers.time_and_sales import page_trades_of

if TYPE_CHECKING:
    from observer.brokers.domestic import VenueTrading
    from observer.brokers.rest import RestClient
    from observer.brokers.websocket import TradeStreamConnection

# Machine seconds that a call waits for a token. A renewal takes one second, or up to a minute after a recent attempt;
# where other accounts can take over, no call waits that minute.
_DEADLINE_ALONE_S: Final = 75.0
_DEADLINE_S: Final = 10.0
_PROBE_DEADLINE_S: Final = 5.0  # so that a check of the others, once a minute, is not held up


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the accounts' clients. `brokers` are the brokers' sections by name, `records` the kinds of records to
    stream of each symbol, `slots_max` the most symbols that one account streams, `runtime` the folder of tokens and
    limits.
    """

    runtime: Path
    pool: PoolSettings = PoolSettings()
    brokers: Mapping[str, BrokerSettings]
    records: tuple[RecordKind, ...] = ("trades",)
    slots_max: int

    def of(self, provider: str) -> BrokerSettings:
        return self.brokers[provider]


def capacity_of(settings: ClientSettings, account: AccountSettings) -> int:
    """The number of symbols that the account can stream."""
    return min(account.slots // len(settings.records), settings.slots_max)


class BrokerAccount:
    """One account of a broker, for one process; `priority` is its rank among the accounts (1 is first)."""

    def __init__(
        self,
        settings: ClientSettings,
        account: AccountSettings,
        keys: AccountKeys,
        clock: Clock,
        rng: Random,
        recorder: AccountRecorder,
    ) -> None:
        self.name = account.account_id
        self.priority = account.priority
        self.provider = account.provider
        self.broker: Broker = broker_named(account.provider)
        self.subscriptions = account.slots
        self.keys = keys
        folder = settings.runtime / "tokens"
        self.tokens = TokenStore(folder, self.name)
        self.health = HealthFile(folder, self.name)
        self._settings = settings
        self._account = account
        self._connection = settings.of(account.provider)
        self._clock = clock
        self._rng = rng
        self._recorder = recorder
        is_alone = len(settings.pool.accounts) == 1
        self._credentials = self._credentials_within(_DEADLINE_ALONE_S if is_alone else _DEADLINE_S)

    @property
    def capacity(self) -> int:
        """The number of symbols that it can stream."""
        return capacity_of(self._settings, self._account)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The calls that the broker offers at the account's hosts."""
        return self.broker.capabilities - self._connection.lacking

    def learned_limit(self) -> int | None:
        """The most calls in a second that the broker's refusals taught; None when the configured limit is in force."""
        with contextlib.closing(self._rate_limiter()) as rate_limiter:
            return rate_limiter.learned()

    def has_valid_token(self) -> bool:
        """Whether the token in force has not expired; always at a broker that issues none."""
        if self.broker.issuing is None:
            return True
        with contextlib.suppress(DataFileError):  # an unreadable record is no record
            record = self.tokens.read()
            return record is not None and record.expires_ns > self._clock.now_ns()
        return False

    def _credentials_within(self, deadline_s: float) -> CredentialSource:
        """Return the credentials of the account's calls. A call waits for a token, at most `deadline_s` machine
        seconds.
        """
        if self.broker.issuing is None:
            return FixedCredentials(Credentials(self.keys.app_key, self.keys.app_secret, "", ""))
        return CachedCredentials(store=self.tokens, keys=self.keys, clock=self._clock, deadline_s=deadline_s)

    @contextlib.asynccontextmanager
    async def rest(self) -> AsyncIterator["RestClient"]:
        """REST calls, sharing the account's limits with all other processes."""
        async with self._open_rest(self._connection.rest, self._credentials) as calls:
            yield calls

    @contextlib.asynccontextmanager
    async def probe(self) -> AsyncIterator["RestClient"]:
        """REST calls for health checks: one attempt each, and no long wait for another token."""
        settings = msgspec.structs.replace(self._connection.rest, attempts_max=1)
        async with self._open_rest(settings, self._credentials_within(_PROBE_DEADLINE_S)) as calls:
            yield calls

    @contextlib.asynccontextmanager
    async def _open_rest(self, settings: RestSettings, credentials: CredentialSource) -> AsyncIterator["RestClient"]:
        from observer.brokers.http import RestPipeline, open_client

        with contextlib.closing(self._rate_limiter()) as rate_limiter:
            async with open_client(self._connection.rest_url, settings) as client:
                pipeline = RestPipeline(
                    client=client,
                    dialect=self.broker.rest_dialect(),
                    rate_limiter=rate_limiter,
                    credentials=credentials,
                    clock=self._clock,
                    rng=self._rng,
                    settings=settings,
                    recorder=self._recorder,
                    account=self.name,
                )
                yield self.broker.rest(pipeline, self._connection)

    def _rate_limiter(self) -> SharedRateLimiter:
        """Return the limiter that all calls share: the account's, or the instance's where the broker counts by IP (two
        instances on one machine do not share it). A broker with several buckets needs a limiter for each;
        `RestPipeline` takes one.
        """
        [bucket] = self.broker.buckets
        assert bucket.scope != "account_call", "a limiter for each call is not built yet"
        file = self.name if bucket.scope == "account" else self.provider
        return SharedRateLimiter(self._settings.runtime / "rate_limit" / file, self._clock, self._connection.rate_limit)

    @contextlib.asynccontextmanager
    async def issuing(self) -> AsyncIterator[CredentialIssuer]:
        """The calls that issue tokens and approval keys; for the one process that does."""
        from observer.brokers.http import open_client

        assert self.broker.issuing is not None, f"{self.provider} issues no credentials"
        async with open_client(self._connection.rest_url, self._connection.rest) as client:
            yield self.broker.issuing(client, self._clock, self._recorder)

    def stream(self, listener: StreamListener) -> "TradeStreamConnection":
        """Return the account's one streaming connection. It does nothing until it runs."""
        from observer.brokers.stream_settings import StreamSettings
        from observer.brokers.websocket import TradeStreamConnection

        settings = StreamSettings(
            **msgspec.structs.asdict(self._connection.stream),
            url=self._connection.stream_url,
            provider=self.provider,
            account=self.name,
            capacity=self.subscriptions,
            traits=self.broker.stream,
            records=self._settings.records,
        )
        return TradeStreamConnection(
            settings=settings,
            open_dialect=self.broker.stream_dialect,
            credentials=self._credentials,
            listener=listener,
            clock=self._clock,
            rng=self._rng,
            recorder=self._recorder,
        )


class Brokers:
    """All configured accounts for one process, by priority (1 first). Their traffic is recorded under the name of the
    process while a raw capture is requested (`observer capture --raw`).

    Raises:
        MissingKeysError: an account has no usable keys; names the remedy.
    """

    def __init__(self, settings: ClientSettings, clock: Clock, rng: Random, process: str = "observer") -> None:
        recorders = {
            provider: RawRecorder(
                request=raw_request_path(settings.runtime),
                provider=provider,
                process=process,
                clock=clock,
                monotonic_s=time.monotonic,
            )
            for provider in {account.provider for account in settings.pool.accounts}
        }
        keys = {each.account: each for each in keys_of(settings.pool)}
        self.accounts: Sequence[BrokerAccount] = tuple(
            BrokerAccount(
                settings=settings,
                account=account,
                keys=keys[account.account_id],
                clock=clock,
                rng=rng,
                recorder=recorders[account.provider].of(account.account_id),
            )
            for account in settings.pool.by_priority
        )
        self.provider = settings.pool.provider
        broker = broker_named(self.provider)
        self.venue = broker.venue
        self.page_trades = page_trades_of(broker.time_and_sales)
        self.strategy: AllocationStrategy = settings.pool.allocation_strategy
        self._settings = settings
        self._clock = clock

    @property
    def notices(self) -> Sequence[str]:
        """What a start reports about the brokers' hosts."""
        found = {account.provider: self._settings.of(account.provider).notice for account in self.accounts}
        return [notice for notice in found.values() if notice]

    def is_outage_of_stream_alone(self, name: str) -> bool:
        """Whether the account's calls work, as far as known: then an outage of the stream concerns the stream alone."""
        return is_alert_of_stream(self.health_of(name))

    def health_of(self, name: str) -> Health | None:
        """The health of the last check; None without a recent check."""
        [account] = [account for account in self.accounts if account.name == name]
        interval_s = self._settings.pool.health_check_interval_seconds
        return believed(account.health.read(), interval_s, self._clock.now_ns())

    def closed(self, outages: StreamOutages, now_ns: int) -> frozenset[str]:
        """The accounts that cannot stream now, so that their symbols move to other accounts; none without failover."""
        if not self._settings.pool.failover_enabled:
            return frozenset()
        return outages.closed(now_ns)

    def usable(self, capability: Capability | None = None) -> Sequence[BrokerAccount]:
        """The accounts with healthy calls whose brokers offer the capability (None: any). When no such account is
        healthy, all accounts whose brokers offer it: trying is then the only option.

        Raises:
            ProviderError: no account's broker offers them.
        """
        offering = [each for each in self.accounts if capability is None or capability in each.capabilities]
        if not offering:
            brokers = ", ".join(sorted({each.provider for each in self.accounts}))
            hosts = "".join(f"; {each}" for each in self.notices)
            raise ProviderError(f"no broker of the accounts offers {capability}; there are: {brokers}{hosts}")
        health = {account.name: self.health_of(account.name) for account in offering}
        fit = [each for each in offering if (found := health[each.name]) is None or found.calls.fit]
        return fit or offering

    @contextlib.asynccontextmanager
    async def rest(self) -> AsyncIterator["RestOfAll"]:
        """REST calls of every account."""
        async with contextlib.AsyncExitStack() as stack:
            calls = {account.name: await stack.enter_async_context(account.rest()) for account in self.accounts}
            yield RestOfAll(self, calls)

    @contextlib.asynccontextmanager
    async def listing_files(self) -> AsyncIterator[MasterFileSource]:
        """The files of listings of the first account's broker."""
        async with listing_files(self.accounts[0].broker, self._settings.of(self.accounts[0].provider)) as files:
            yield files


@contextlib.asynccontextmanager
async def listing_files(broker: Broker, settings: BrokerSettings) -> AsyncIterator[MasterFileSource]:
    """A broker's host of listing files, which needs no account.

    Raises:
        DataFileError: the broker has none.
    """
    from observer.brokers.http import open_client

    if broker.listing_files is None:
        raise DataFileError(f"{broker.name} has no files of listings")
    async with open_client(settings.files_url, settings.rest) as client:
        yield broker.listing_files(client)


class RestOfAll:
    """REST calls of all accounts, while they are open. Satisfies `QuoteSource`, `HaltSource`, `HistorySource`,
    `PastBarSource` and `VenueSource`.

    Each call goes to the first healthy account, by priority, whose broker offers the call; the account regains its
    calls after it recovers. With `next`, the healthy accounts whose brokers offer calls about ETFs take turns, which
    adds up their rate limits.
    """

    def __init__(self, brokers: Brokers, calls: Mapping[str, "RestClient"]) -> None:
        self._brokers = brokers
        self._calls = calls
        self._turns = itertools.count()
        self.quotes_per_call = min(each.quotes_per_call for each in calls.values())

    def usable(self, capability: Capability) -> Mapping[BrokerAccount, "RestClient"]:
        """The usable accounts that offer these calls, first by priority first."""
        return {account: self._calls[account.name] for account in self._brokers.usable(capability)}

    def next(self) -> "RestClient":
        """The calls of the next account in turn."""
        usable = self._brokers.usable("etf")
        return self._calls[usable[next(self._turns) % len(usable)].name]

    @property
    def accounts(self) -> int:
        """The number of accounts that take turns now."""
        return len(self._brokers.usable("etf"))

    async def quotes(self, symbols: Sequence[str], priority: Priority = "bulk") -> Sequence[Quote]:
        return await self._first("quotes").quotes(symbols, priority)

    async def is_halted(self, symbol: str) -> bool | None:
        return await self._first("halts").is_halted(symbol)

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        return await self._first("bars").daily_bars(symbol, first, last)

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        return await self._first("bars").minute_bars(symbol, from_ns, to_ns)

    async def past_minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        return await self._first("bars").past_minute_bars(symbol, from_ns, to_ns)

    async def trades_between(
        self, symbol: str, from_ns: int, to_ns: int, after_volume: float = 0.0, rows_max: int | None = None
    ) -> Sequence[PastTrade]:
        return await self._first("trades").trades_between(symbol, from_ns, to_ns, after_volume, rows_max)

    async def venue_eligibility(self, symbols: Sequence[str]) -> Sequence["VenueTrading"]:
        return await self._first("securities").venue_eligibility(symbols)

    def _first(self, capability: Capability) -> "RestClient":
        return next(iter(self.usable(capability).values()))
