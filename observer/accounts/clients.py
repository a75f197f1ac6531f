"""The configured broker's accounts, put together: the only place where providers meet accounts.

A provider's calls need permits and credentials, an account has them, and neither room knows the other; here the
configuration joins them for whoever wants to call. A process loads a network library with its first use of it: the one
that streams never has the REST client's, and the other way round.
"""

import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from observer import logs
from observer.accounts.health import Health, believed
from observer.accounts.health_file import HealthFile
from observer.accounts.keys import AccountKeys, read_keys
from observer.accounts.permits import SharedPermits
from observer.accounts.pool import AccountSettings
from observer.accounts.token_cache import CachedCredentials, TokenStore
from observer.clock import Clock
from observer.config import Settings
from observer.errors import DataFileError
from observer.providers.interfaces import Bar, Credentials, Lane, PastTrade, Quote, StreamListener
from observer.providers.raw_recorder import AccountRecorder, RawRecorder
from observer.providers.raw_wish import wish_path
from observer.providers.settings import RestSettings
from observer.selection.places import AllocationStrategy

if TYPE_CHECKING:
    from observer.providers.http import RestPipeline
    from observer.providers.kis.calls import KisIssuing, KisRest
    from observer.providers.kis.doors import KisFunds, KisSessions
    from observer.providers.kis.files import KisMasterFiles
    from observer.providers.kis.tradable import KisSecurities
    from observer.providers.websocket import TradeStreamConnection

PROVIDER: Final = "kis"
# Machine seconds that a call waits for a token. A renewal takes one, where none was tried within the last minute; where
# others can take over, nobody waits that minute out.
_DEADLINE_ALONE_S: Final = 75.0
_DEADLINE_S: Final = 10.0
_PROBE_DEADLINE_S: Final = 5.0  # so that a check of the others, once a minute, is not held up
PROBE_SYMBOL: Final = "005930"  # Samsung Electronics: asked for where whether it answers at all is what counts


def capacity_of(settings: Settings, account: AccountSettings) -> int:
    """How many symbols the account can stream."""
    places = account.max_slots // len(settings.track_b.records)
    return min(places, settings.selection.slots.max_slots)


class BrokerAccount:
    """One account of the configured broker, for one process.

    `capacity` is how many symbols it can stream, `priority` its place among the accounts (1 is first).
    """

    def __init__(
        self,
        settings: Settings,
        account: AccountSettings,
        keys: AccountKeys,
        clock: Clock,
        chance: Random,
        recorder: AccountRecorder,
    ) -> None:
        self.name = account.account_id
        self.priority = account.priority
        self.registrations = account.max_slots
        self.capacity = capacity_of(settings, account)
        self.keys = keys
        folder = Path(settings.run.runtime) / "tokens"
        self.tokens = TokenStore(folder, self.name)
        self.health = HealthFile(folder, self.name)
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._recorder = recorder
        is_alone = len(settings.pool.accounts) == 1
        self._credentials = self._cached_credentials(_DEADLINE_ALONE_S if is_alone else _DEADLINE_S)

    def has_valid_token(self) -> bool:
        """Whether the token in force lives."""
        with contextlib.suppress(DataFileError):  # an unreadable record is no record
            record = self.tokens.read()
            return record is not None and record.expires_ns > self._clock.now_ns()
        return False

    def _cached_credentials(self, deadline_s: float) -> CachedCredentials[Credentials]:
        return CachedCredentials(
            store=self.tokens, keys=self.keys, clock=self._clock, build=Credentials, deadline_s=deadline_s
        )

    @contextlib.asynccontextmanager
    async def rest(self) -> AsyncIterator["KisRest"]:
        """REST calls, sharing the account's permits with all other processes."""
        from observer.providers.kis.calls import KisRest

        async with self._open_pipeline(self._settings.kis.rest, self._credentials) as pipeline:
            yield KisRest(pipeline)

    @contextlib.asynccontextmanager
    async def funds(self) -> AsyncIterator["KisFunds"]:
        """Calls about funds, sharing the account's permits likewise."""
        from observer.providers.kis.doors import KisFunds

        async with self._open_pipeline(self._settings.kis.rest, self._credentials) as pipeline:
            yield KisFunds(pipeline)

    @contextlib.asynccontextmanager
    async def securities(self) -> AsyncIterator["KisSecurities"]:
        """What is registered of single securities, sharing the account's permits likewise."""
        from observer.providers.kis.tradable import KisSecurities

        async with self._open_pipeline(self._settings.kis.rest, self._credentials) as pipeline:
            yield KisSecurities(pipeline)

    @contextlib.asynccontextmanager
    async def sessions(self) -> AsyncIterator["KisSessions"]:
        """The broker's own calendar, sharing the account's permits likewise."""
        from observer.providers.kis.doors import KisSessions

        async with self._open_pipeline(self._settings.kis.rest, self._credentials) as pipeline:
            yield KisSessions(pipeline)

    @contextlib.asynccontextmanager
    async def probe(self) -> AsyncIterator["KisRest"]:
        """REST calls without patience: one attempt each, and no long wait for another token. For health checks."""
        settings = msgspec.structs.replace(self._settings.kis.rest, attempts_max=1)
        from observer.providers.kis.calls import KisRest

        async with self._open_pipeline(settings, self._cached_credentials(_PROBE_DEADLINE_S)) as pipeline:
            yield KisRest(pipeline)

    @contextlib.asynccontextmanager
    async def _open_pipeline(
        self, settings: RestSettings, credentials: CachedCredentials[Credentials]
    ) -> AsyncIterator["RestPipeline"]:
        from observer.providers.http import RestPipeline, open_client
        from observer.providers.kis.calls import KisRestDialect

        permits_path = Path(self._settings.run.runtime) / "permits" / self.name
        permits = SharedPermits(permits_path, self._clock, self._settings.kis.permits)
        async with open_client(self._settings.kis.rest_url, settings) as client:
            pipeline = RestPipeline(
                client=client,
                dialect=KisRestDialect(),
                permits=permits,
                credentials=credentials,
                clock=self._clock,
                chance=self._chance,
                settings=settings,
                recorder=self._recorder,
            )
            try:
                yield pipeline
            finally:
                permits.close()

    @contextlib.asynccontextmanager
    async def issuing(self) -> AsyncIterator["KisIssuing"]:
        """The calls that issue tokens and approval keys; for the one process that does."""
        from observer.providers.http import open_client
        from observer.providers.kis.calls import KisIssuing

        async with open_client(self._settings.kis.rest_url, self._settings.kis.rest) as client:
            yield KisIssuing(client, self._clock, self._recorder)

    def stream(self, listener: StreamListener) -> "TradeStreamConnection":
        """The account's one streaming connection; it does nothing until it is run."""
        from observer.providers.kis.session import KisSession
        from observer.providers.websocket import StreamSettings, TradeStreamConnection

        limits = self._settings.kis.stream
        settings = StreamSettings(
            url=self._settings.kis.stream_url,
            provider=PROVIDER,
            account=self.name,
            capacity=self.registrations,
            records=self._settings.track_b.records,
            silence_s=limits.silence_s,
            attempts_per_hour=limits.attempts_per_hour,
            slow_beat_market_s=limits.slow_beat_market_s,
            changes_per_minute=limits.changes_per_minute,
        )
        return TradeStreamConnection(
            settings=settings,
            open_dialect=lambda credentials: KisSession(credentials.approval_key),
            credentials=self._credentials,
            listener=listener,
            clock=self._clock,
            chance=self._chance,
            recorder=self._recorder,
        )


class Brokers:
    """All configured accounts, for one process, first by priority first. What it and they say to each other is recorded
    under the name of the process while somebody wants that (`observer capture --raw`).

    Raises:
        MissingKeysError: an account has no usable keys; says what to do.
    """

    def __init__(self, settings: Settings, clock: Clock, chance: Random, process: str = "observer") -> None:
        recorder = RawRecorder(
            wish=wish_path(Path(settings.run.runtime)),
            provider=PROVIDER,
            process=process,
            clock=clock,
            monotonic_s=time.monotonic,
        )
        keys = {each.account: each for each in keys_of(settings)}
        self.accounts: Sequence[BrokerAccount] = tuple(
            BrokerAccount(settings, account, keys[account.account_id], clock, chance, recorder.of(account.account_id))
            for account in settings.pool.by_priority
        )
        self.strategy: AllocationStrategy = settings.pool.allocation_strategy
        self.failover = settings.pool.failover_enabled
        self._settings = settings
        self._clock = clock

    def is_healthy(self, name: str) -> bool:
        """Whether calls and stream of the account are fit; one that nobody judged of late is taken to be."""
        health = self.health_of(name)
        return health is None or health.healthy

    def health_of(self, name: str) -> Health | None:
        """The last judgement of the account; None when there is none, or an old one only."""
        [account] = [account for account in self.accounts if account.name == name]
        interval_s = self._settings.pool.health_check_interval_seconds
        return believed(account.health.read(), interval_s, self._clock.now_ns())

    def usable(self) -> Sequence[BrokerAccount]:
        """The accounts whose calls are fit; all of them when none is, since then trying is all that is left."""
        health = [self.health_of(account.name) for account in self.accounts]
        fit = [
            account for account, found in zip(self.accounts, health, strict=True) if found is None or found.calls.fit
        ]
        return fit or self.accounts

    @contextlib.asynccontextmanager
    async def rest(self) -> AsyncIterator["RestOfAll"]:
        """REST calls of every account."""
        async with contextlib.AsyncExitStack() as stack:
            calls = {account.name: await stack.enter_async_context(account.rest()) for account in self.accounts}
            yield RestOfAll(self, calls)

    @contextlib.asynccontextmanager
    async def funds(self) -> AsyncIterator["FundsOfAll"]:
        """Calls about funds of every account."""
        async with contextlib.AsyncExitStack() as stack:
            calls = {account.name: await stack.enter_async_context(account.funds()) for account in self.accounts}
            yield FundsOfAll(self, calls)

    @contextlib.asynccontextmanager
    async def master_files(self) -> AsyncIterator["KisMasterFiles"]:
        """The download host of the master files."""
        from observer.providers.http import open_client
        from observer.providers.kis.files import KisMasterFiles

        async with open_client(self._settings.kis.files_url, self._settings.kis.rest) as client:
            yield KisMasterFiles(client)


class RestOfAll:
    """REST calls of every account, while they are open. Satisfies `QuoteSource`, `HaltSource`, `HistorySource` and
    `PastBarSource`.

    Each call goes to the first usable account by priority: another one when that falls ill, and back when it heals.
    """

    def __init__(self, brokers: Brokers, calls: Mapping[str, "KisRest"]) -> None:
        self._brokers = brokers
        self._calls = calls
        self.quotes_per_call = min(each.quotes_per_call for each in calls.values())

    def usable(self) -> Mapping[str, "KisRest"]:
        """The calls of the usable accounts by their names, first by priority first."""
        return {account.name: self._calls[account.name] for account in self._brokers.usable()}

    async def quotes(self, symbols: Sequence[str], lane: Lane = "bulk") -> Sequence[Quote]:
        """As `QuoteSource`."""
        return await self._first().quotes(symbols, lane)

    async def is_halted(self, symbol: str) -> bool | None:
        """As `HaltSource`."""
        return await self._first().is_halted(symbol)

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        """As `HistorySource`."""
        return await self._first().daily_bars(symbol, first, last)

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """As `HistorySource`."""
        return await self._first().minute_bars(symbol, from_ns, to_ns)

    async def past_minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """As `PastBarSource`."""
        return await self._first().past_minute_bars(symbol, from_ns, to_ns)

    async def trades_between(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[PastTrade]:
        """As `HistorySource`."""
        return await self._first().trades_between(symbol, from_ns, to_ns)

    def _first(self) -> "KisRest":
        return next(iter(self.usable().values()))


class FundsOfAll:
    """Calls about funds of every account, while they are open.

    The usable accounts take turns: a thousand funds are asked for, and each account brings its own calls a second.
    """

    def __init__(self, brokers: Brokers, calls: Mapping[str, "KisFunds"]) -> None:
        self._brokers = brokers
        self._calls = calls
        self._turns = itertools.count()

    def next(self) -> "KisFunds":
        """The calls of the usable account whose turn it is."""
        usable = self._brokers.usable()
        return self._calls[usable[next(self._turns) % len(usable)].name]

    @property
    def accounts(self) -> int:
        """How many take turns now."""
        return len(self._brokers.usable())


def keys_of(settings: Settings) -> Sequence[AccountKeys]:
    """The keys of all accounts; from now on they are concealed in this process's log.

    Raises:
        MissingKeysError: some are missing; says what to do.
    """
    found = read_keys(settings.pool.accounts, os.environ)
    for keys in found:
        logs.conceal(keys.app_key)
        logs.conceal(keys.app_secret)
    return found
