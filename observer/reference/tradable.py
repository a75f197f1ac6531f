"""What can be traded on an exchange, and who may know it. Sources are asked in turn; the first that knows answers.

Our database knows every exchange whose master file was ever taken in. A broker that is asked about one security after
the other is for the others: it can say nothing of a security that nobody names.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from observer.errors import ConfigError, DataFileError, ProviderError

NOT_TRADED: Final = ("index", "warrant")  # kinds of securities
# In Korea the group tells: warrants on other securities (ELW), warrants and rights to subscribe (신주인수권증권, 증서).
NOT_TRADED_GROUPS: Final = ("EW", "SW", "SR")


class Tradable(msgspec.Struct, frozen=True, gc=False):
    """A security that can be traded: what a scan of a market needs of each, as in `Listing`."""

    exchange: str
    symbol: str
    name: str
    english_name: str
    currency: str
    security_type: str
    group: str = ""
    sector_code: str = ""
    realtime_symbol: str = ""


class SecuritySource(Protocol):
    """A broker that is asked about one security."""

    async def security(self, exchange: str, symbol: str) -> Tradable | None:
        """The security; None when it is not known there, not listed any more, suspended, or of a kind not traded.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        ...


class TradableSource(Protocol):
    """Somebody who may know what can be traded."""

    @property
    def name(self) -> str:
        """What its answers are marked with."""
        ...

    async def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """What can be traded on an exchange now, by symbol; None when it knows nothing of the exchange.

        Raises:
            ConfigError, DataFileError, ProviderError: it cannot be asked; says why.
        """
        ...


class TradableAnswer(msgspec.Struct, frozen=True):
    """What can be traded on one exchange, and who said so; no `source` where nobody could, with the `reason`."""

    exchange: str
    source: str
    reason: str
    securities: Sequence[Tradable]


async def first_answer(exchange: str, sources: Sequence[TradableSource]) -> TradableAnswer:
    """Of the first source that knows the exchange. None is an answer too: an exchange more or less ends no scan."""
    reasons = []
    for source in sources:
        try:
            found = await source.tradable(exchange)
        except (ConfigError, DataFileError, ProviderError) as error:
            reasons.append(f"{source.name}: {error}")
            continue
        if found is not None:
            return TradableAnswer(exchange, source.name, "; ".join(reasons), found)
        reasons.append(f"{source.name}: knows nothing of it")
    return TradableAnswer(exchange, "", "; ".join(reasons), ())
