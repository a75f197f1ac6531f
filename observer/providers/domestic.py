"""What we ask of a provider about Korean symbols and sessions beside quotes and history, in our words.

Prices and values are won, rates are percent, volumes are shares. None is "the broker gives none", never zero.
"""

from collections.abc import Sequence
from datetime import date
from typing import Literal, Protocol

import msgspec

from observer.providers.interfaces import Bar


class QuoteDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the single quote tells of a symbol. `change` is against the base price.

    `sector` is the broker's Korean name; `foreign_limit_used_percent` how much of the foreigners' limit they hold;
    `market_warning` the exchange's code (00 none, 01 caution, 02 warning, 03 risk), empty when it is not told.
    """

    symbol: str
    price: float
    base_price: float | None
    open: float | None
    high: float | None
    low: float | None
    upper_limit: float | None
    lower_limit: float | None
    average_price: float | None
    change: float
    change_percent: float
    cumulative_volume: float
    cumulative_value: float
    listed_shares: int | None
    market_cap_krw: float | None
    tick_size: float | None
    par_value: float | None
    price_earnings_ratio: float | None
    price_book_ratio: float | None
    earnings_per_share: float | None
    book_value_per_share: float | None
    high_52_weeks: float | None
    high_52_weeks_on: date | None
    low_52_weeks: float | None
    low_52_weeks_on: date | None
    foreign_limit_used_percent: float | None
    foreign_shares: int | None
    sector: str
    market_warning: str
    suspended: bool
    under_administration: bool
    in_liquidation: bool
    overheated: bool
    interrupted: bool


class LatestTrade(msgspec.Struct, frozen=True, gc=False):
    """One of the newest trades, to the second. `strength_percent`: bought over sold volume of the day so far."""

    symbol: str
    exchange_time_ns: int
    price: float
    volume: float
    strength_percent: float | None


class SessionDay(msgspec.Struct, frozen=True):
    """What the broker says of one Korean day.

    `opens` alone tells whether the exchange trades: a Saturday can be the broker's `trading_day` (observed).
    """

    day: date
    opens: bool
    business_day: bool
    trading_day: bool
    settlement_day: bool


class StockInformation(msgspec.Struct, frozen=True, kw_only=True):
    """What is registered of a domestic security. Codes are the exchange's own, empty when there are none.

    `group` is the security group (ST, EF, EN ...); `tracking_multiple` an ETF's multiple of its index's return;
    `creation_unit_shares` the shares of one creation unit of an ETF; `on_nxt`: traded on the alternative venue too.
    """

    symbol: str
    isin: str
    name: str
    english_name: str
    market: str
    group: str
    listed_shares: int | None
    capital_krw: float | None
    par_value: float | None
    issue_price: float | None
    listed_on: date | None
    delisted_on: date | None
    sector_large: str
    sector_medium: str
    sector_small: str
    industry: str
    in_kospi200: bool
    suspended: bool
    under_administration: bool
    tracking_multiple: float | None
    creation_unit_shares: int | None
    on_nxt: bool
    suspended_on_nxt: bool


class ProductInformation(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's own record of a product. Codes are the broker's, empty when there are none."""

    product: str
    isin: str
    short_code: str
    sale_state: str
    risk_grade: str
    classification: str
    sold_from: date | None
    sold_until: date | None
    registered_on: date | None


InterruptionKind = Literal["static", "dynamic", "both", "unknown"]


class VolatilityInterruption(msgspec.Struct, frozen=True, kw_only=True):
    """One volatility interruption (VI): what was traded at `trigger_price` was too far from a reference price.

    `released_ns` is None while it lasts. Deviations are from the static and the dynamic reference.
    """

    symbol: str
    name: str
    kind: InterruptionKind
    triggered_ns: int
    released_ns: int | None
    trigger_price: float | None
    static_reference_price: float | None
    static_deviation_percent: float | None
    dynamic_reference_price: float | None
    dynamic_deviation_percent: float | None
    count_today: int | None


class RankedByVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the ranking by today's volume. `rank` counts from 1."""

    rank: int
    symbol: str
    name: str
    price: float
    change_percent: float
    cumulative_volume: float
    cumulative_value: float
    previous_volume: float
    average_volume: float
    volume_increase_percent: float | None
    turnover_percent: float | None
    listed_shares: int | None


class RankedByMarketCap(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the ranking by market capitalisation. `rank` counts from 1."""

    rank: int
    symbol: str
    name: str
    price: float
    change_percent: float
    cumulative_volume: float
    listed_shares: int | None
    market_cap_krw: float | None
    market_share_percent: float | None


class PastBarSource(Protocol):
    """Minute bars of earlier days."""

    async def past_minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """The minute bars of one Korean day that start in [from, to], oldest first."""
        ...


class SymbolSource(Protocol):
    """What one symbol is doing, in detail."""

    async def quote_detail(self, symbol: str) -> QuoteDetail | None:
        """The symbol's quote with all that belongs to it; None when the broker does not know it."""
        ...

    async def latest_trades(self, symbol: str, day: date) -> Sequence[LatestTrade]:
        """The newest trades (about 30) of the session of `day`, oldest first."""
        ...


class SessionSource(Protocol):
    """The broker's calendar. It asks to be asked once a day."""

    async def sessions(self, first: date, last: date) -> Sequence[SessionDay]:
        """The days from `first` to `last`, both included, as far as the broker knows them."""
        ...


class InstrumentSource(Protocol):
    """What a security is."""

    async def stock_information(self, symbol: str) -> StockInformation | None:
        """The registered facts of a domestic security; None when the broker does not know it."""
        ...

    async def product_information(self, symbol: str) -> ProductInformation | None:
        """The broker's record of a domestic security as its product; None when it has none."""
        ...


class MarketSource(Protocol):
    """What stands out in the whole market."""

    async def volatility_interruptions(self, day: date) -> Sequence[VolatilityInterruption]:
        """The volatility interruptions of a day, in the broker's order."""
        ...

    async def ranking_by_volume(self) -> Sequence[RankedByVolume]:
        """The symbols with the largest volume of today, first the largest; about 30."""
        ...

    async def ranking_by_market_cap(self) -> Sequence[RankedByMarketCap]:
        """The symbols with the largest market capitalisation, first the largest; about 30."""
        ...
