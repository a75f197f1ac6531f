"""The two sources of what can be traded: our database, and the broker asked about each symbol that we know of."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from observer.providers.interfaces import chunks
from observer.reference.tradable import SecuritySource, Tradable
from observer.store.listings import ListingReader

DATABASE: Final = "database"
BROKER: Final = "broker"
_CALLS_AT_ONCE: Final = 8  # the account's limit spaces them; more would only wait


class TradableInDatabase:
    """Satisfies `TradableSource`: what the master files said last. No broker is asked."""

    name: Final = DATABASE

    def __init__(self, reader: ListingReader) -> None:
        self._reader = reader

    async def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """None as long as no file of the exchange was taken in.

        Raises:
            StoreError: the database does not answer.
        """
        return await asyncio.to_thread(self._reader.tradable, exchange)


class TradableAtBroker:
    """Satisfies `TradableSource`: each security that anything but a master file told us of is asked for.

    One call a security: of the 6,500 in the US five minutes at 20 calls a second, and blind to what is new. So it is
    for an exchange of which we have no file.

    Args:
        reader: for the symbols.
        connected: opens the way to the broker; only when there is something to ask.
    """

    name: Final = BROKER

    def __init__(
        self, reader: ListingReader, connected: Callable[[], AbstractAsyncContextManager[SecuritySource]]
    ) -> None:
        self._reader = reader
        self._connected = connected

    async def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """None when we know no symbol of the exchange.

        Raises:
            ConfigError, ProviderError: the broker cannot be asked, or did not answer for one of them: part of a market
                would pass for all of it.
            StoreError: the database does not answer.
        """
        symbols = await asyncio.to_thread(self._reader.symbols_told_of, exchange)
        if not symbols:
            return None
        found: list[Tradable] = []
        async with self._connected() as broker:
            for portion in chunks(symbols, _CALLS_AT_ONCE):
                calls = (broker.security(exchange, symbol) for symbol in portion)
                answers = await asyncio.gather(*calls, return_exceptions=True)
                for answer in answers:
                    if isinstance(answer, BaseException):
                        raise answer
                    if answer is not None:
                        found.append(answer)
        return found
