"""What we ask of a provider about securities of other countries, in our words.

Prices and values are in the security's own currency, rates percent, days the exchange's own. An exchange is named as
the broker's account calls do: NASD, NYSE, AMEX, SEHK (Hong Kong), SHAA (Shanghai), SZAA (Shenzhen), TKSE (Tokyo),
HASE (Hanoi), VNSE (Ho Chi Minh City). None is "the broker gives none".
"""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

import msgspec


class OverseasQuote(msgspec.Struct, frozen=True, kw_only=True):
    """A security's price now. `decimal_places` is how many of the price are meant."""

    exchange: str
    symbol: str
    price: float
    previous_close: float | None
    change: float
    change_percent: float
    previous_volume: float
    cumulative_volume: float
    cumulative_value: float
    decimal_places: int | None


class OverseasQuoteDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that the broker's detailed quote tells. `fx_rate` is won for one unit of the currency, today's."""

    exchange: str
    symbol: str
    price: float
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    upper_limit: float | None
    lower_limit: float | None
    cumulative_volume: float
    cumulative_value: float
    previous_volume: float
    market_cap: float | None
    listed_shares: float | None
    high_52_weeks: float | None
    high_52_weeks_on: date | None
    low_52_weeks: float | None
    low_52_weeks_on: date | None
    price_earnings_ratio: float | None
    price_book_ratio: float | None
    earnings_per_share: float | None
    book_value_per_share: float | None
    price_krw: float | None
    fx_rate: float | None
    currency: str
    sector: str
    fund_kind: str


class OverseasBar(msgspec.Struct, frozen=True, gc=False):
    """One day of a security as traded; `day` is the exchange's."""

    exchange: str
    symbol: str
    day: date
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float


class OverseasInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """What is registered of a security abroad. Codes are the broker's, empty when there are none.

    `isin` is the standard number; `tracking_multiple` is of an ETP; `replaces` the product's number before it changed.
    """

    exchange: str
    symbol: str
    isin: str
    name: str
    english_name: str
    country: str
    market: str
    currency: str
    kind: str
    classification: str
    listed: bool
    delisted: bool
    listed_on: date | None
    delisted_on: date | None
    listed_shares: float | None
    par_value: float | None
    trading_stop: str
    tracking_multiple: float | None
    sedol: str
    bloomberg_ticker: str
    lei: str
    replaces: str


class OverseasSource(Protocol):
    """Where quotes, history and registered facts of other countries come from."""

    async def overseas_quote(self, exchange: str, symbol: str) -> OverseasQuote | None:
        """The price now; None when the broker does not know the security."""
        ...

    async def overseas_quote_detail(self, exchange: str, symbol: str) -> OverseasQuoteDetail | None:
        """The detailed quote; None when the broker does not know the security."""
        ...

    async def overseas_daily_bars(self, exchange: str, symbol: str, first: date, last: date) -> Sequence[OverseasBar]:
        """Daily bars as traded from `first` to `last`, both included, oldest first."""
        ...

    async def overseas_instrument(self, exchange: str, symbol: str) -> OverseasInstrument | None:
        """The registered facts; None when the broker does not know the security."""
        ...
