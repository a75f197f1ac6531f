"""The configured broker, put together: the only place where providers meet accounts.

A provider's calls need permits and credentials, an account has them, and neither room knows the other; here the
configuration joins them for whoever wants to call. A process loads a network library with its first use of it: the one
that streams never has the REST client's, and the other way round.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from observer import logs
from observer.accounts.keys import AccountKeys, read_keys
from observer.accounts.permits import SharedPermits
from observer.accounts.token_cache import CachedCredentials, TokenStore
from observer.clock import Clock
from observer.config import Settings
from observer.providers.interfaces import Credentials, StreamListener

if TYPE_CHECKING:
    from observer.providers.kis.calls import KisIssuing, KisRest
    from observer.providers.kis.files import KisMasterFiles
    from observer.providers.websocket import TradeStreamConnection

PROVIDER: Final = "kis"
PROBE_SYMBOL: Final = "005930"  # Samsung Electronics: asked for where whether it answers at all is what counts


class BrokerAccount:
    """The configured account of the configured broker, for one process.

    Raises:
        MissingKeysError: there are no usable keys; says what to do.
    """

    def __init__(self, settings: Settings, clock: Clock, chance: Random) -> None:
        self.name = settings.account.name
        self.keys = keys_of(settings)
        self.tokens = TokenStore(Path(settings.run.runtime) / "tokens", self.name)
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._credentials = CachedCredentials(store=self.tokens, keys=self.keys, clock=clock, build=Credentials)

    @contextlib.asynccontextmanager
    async def rest(self) -> AsyncIterator["KisRest"]:
        """REST calls, sharing the account's permits with all other processes."""
        from observer.providers.http import RestPipeline, open_client
        from observer.providers.kis.calls import KisRest, KisRestDialect

        settings = self._settings.kis
        permits_path = Path(self._settings.run.runtime) / "permits" / self.name
        permits = SharedPermits(permits_path, self._clock, settings.permits)
        async with open_client(settings.rest_url, settings.rest) as client:
            pipeline = RestPipeline(
                client=client,
                dialect=KisRestDialect(),
                permits=permits,
                credentials=self._credentials,
                clock=self._clock,
                chance=self._chance,
                settings=settings.rest,
            )
            try:
                yield KisRest(pipeline)
            finally:
                permits.close()

    @contextlib.asynccontextmanager
    async def issuing(self) -> AsyncIterator["KisIssuing"]:
        """The calls that issue tokens and approval keys; for the one process that does."""
        from observer.providers.http import open_client
        from observer.providers.kis.calls import KisIssuing

        async with open_client(self._settings.kis.rest_url, self._settings.kis.rest) as client:
            yield KisIssuing(client, self._clock)

    @contextlib.asynccontextmanager
    async def master_files(self) -> AsyncIterator["KisMasterFiles"]:
        """The download host of the master files."""
        from observer.providers.http import open_client
        from observer.providers.kis.files import KisMasterFiles

        async with open_client(self._settings.kis.files_url, self._settings.kis.rest) as client:
            yield KisMasterFiles(client)

    def stream(self, listener: StreamListener) -> "TradeStreamConnection":
        """The account's one streaming connection; it does nothing until it is run."""
        from observer.providers.kis.session import KisSession
        from observer.providers.websocket import StreamSettings, TradeStreamConnection

        settings = StreamSettings(
            url=self._settings.kis.stream_url,
            provider=PROVIDER,
            account=self.name,
            capacity=self._settings.selection.slots.max_slots,
            silence_s=self._settings.kis.stream_silence_s,
        )
        return TradeStreamConnection(
            settings=settings,
            open_dialect=lambda credentials: KisSession(credentials.approval_key),
            credentials=self._credentials,
            listener=listener,
            clock=self._clock,
            chance=self._chance,
        )


def keys_of(settings: Settings) -> AccountKeys:
    """The account's keys; from now on they are concealed in this process's log.

    Raises:
        MissingKeysError: there are none; says what to do.
    """
    [keys] = read_keys([settings.account], os.environ)
    logs.conceal(keys.app_key)
    logs.conceal(keys.app_secret)
    return keys
