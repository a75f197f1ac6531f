"""The two sources of tradable securities: the database, and the broker asked about each known symbol."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from observer.brokers.broker import chunks
from observer.reference.listings.model import SecuritySource, Tradable
from observer.store.listings import ListingReader

DATABASE: Final = "database"
BROKER: Final = "broker"
_CALLS_AT_ONCE: Final = 8  # the account's rate limit spaces the calls; more would only wait


class TradableInDatabase:
    """Satisfies `TradableSource` from the stored listings of the master files. Calls no broker."""

    name: Final = DATABASE

    def __init__(self, reader: ListingReader) -> None:
        self._reader = reader

    async def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """The tradable securities; None before the exchange's first file is applied.

        Raises:
            StoreError: the database does not answer.
        """
        return await asyncio.to_thread(self._reader.tradable, exchange)


class TradableAtBroker:
    """Satisfies `TradableSource` by one broker call for each symbol known from elsewhere than a master file.

    The 6,500 symbols of the US take minutes at a broker's rate limit, and new symbols stay unknown. So it serves
    exchanges without a master file only.

    Args:
        reader: reads the symbols.
        connected: opens the connection to the broker; only when there is a symbol to ask about.
    """

    name: Final = BROKER

    def __init__(
        self, reader: ListingReader, connected: Callable[[], AbstractAsyncContextManager[SecuritySource]]
    ) -> None:
        self._reader = reader
        self._connected = connected

    async def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """The tradable securities; None without a known symbol of the exchange.

        Raises:
            ConfigError, ProviderError: the broker cannot be asked, or did not answer for one symbol: part of a market
                would pass for all of it.
            StoreError: the database does not answer.
        """
        symbols = await asyncio.to_thread(self._reader.symbols_reported, exchange)
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
