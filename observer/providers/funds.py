"""What we ask of a provider about exchange-traded funds, in our words.

Two things are kept apart here that a requirement confuses: the *premium* (괴리율) is how far the price is from the net
asset value (NAV), negative for a discount; the *tracking error* (추적오차) how far the fund's return strays from its
index's. Prices and NAVs are won a share, rates percent. None is "the broker gives none".
"""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

import msgspec

from observer.reference.etf import FundEntry


class FundQuote(msgspec.Struct, frozen=True, kw_only=True):
    """An ETF's or ETN's price beside its NAV.

    `net_assets_krw` is what the broker states in units of hundred million won (observed), so it is that coarse;
    `tracking_multiple` is the multiple of the index's return that is aimed at (2, -1 ...); `dividend_cycle` and
    `classification` are the broker's Korean texts, empty when there are none.
    """

    symbol: str
    price: float
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    upper_limit: float | None
    lower_limit: float | None
    change_percent: float
    cumulative_volume: float
    nav: float | None
    nav_change: float | None
    nav_change_percent: float | None
    previous_nav: float | None
    premium_percent: float | None
    tracking_error_percent: float | None
    tracking_multiple: float | None
    net_assets_krw: float | None
    listed_shares: int | None
    circulating_shares: int | None
    creation_unit_shares: int | None
    component_count: int | None
    year_high: float | None
    year_high_on: date | None
    year_low: float | None
    year_low_on: date | None
    foreign_shares: int | None
    foreign_percent: float | None
    liquidity_provider_percent: float | None
    listed_on: date | None
    matures_on: date | None
    currency: str
    dividend_cycle: str
    classification: str
    sector: str
    issuer: str


class NavComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Price and NAV of one fund at one moment, each with its open, high and low of the day."""

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
    nav: float | None
    nav_open: float | None
    nav_high: float | None
    nav_low: float | None
    nav_change: float | None
    nav_change_percent: float | None
    previous_nav: float | None


class NavDay(msgspec.Struct, frozen=True, kw_only=True):
    """A fund's close and NAV on one day. `price_minus_nav` is won, `premium_percent` the same as a rate."""

    symbol: str
    day: date
    close: float
    nav: float | None
    price_minus_nav: float | None
    premium_percent: float | None
    nav_change_percent: float | None
    volume: float


class NavMinute(msgspec.Struct, frozen=True, kw_only=True):
    """A fund's price and NAV at the end of one period within a day; `volume` is the period's."""

    symbol: str
    time_ns: int
    price: float
    nav: float | None
    price_minus_nav: float | None
    premium_percent: float | None
    nav_change_percent: float | None
    volume: float
    cumulative_volume: float


class FundComponent(msgspec.Struct, frozen=True, kw_only=True):
    """One security in a fund. `valuation_krw` is its worth within one creation unit, `weight_percent` its share."""

    symbol: str
    name: str
    price: float | None
    market_cap_krw: float | None
    valuation_krw: float | None
    weight_percent: float | None


class FundHoldings(msgspec.Struct, frozen=True, kw_only=True):
    """What a fund holds. The broker lists only the largest (about 30, observed): `component_count` says of how many."""

    symbol: str
    nav: float | None
    net_assets_krw: float | None
    creation_unit_shares: int | None
    component_count: int | None
    components: tuple[FundComponent, ...]


class FundSource(Protocol):
    """Where an ETF's price, NAV and holdings come from."""

    async def fund_quote(self, symbol: str) -> FundQuote | None:
        """The fund's quote; None when the broker does not know it as a fund."""
        ...

    async def nav_comparison(self, symbol: str) -> NavComparison | None:
        """Price and NAV now; None when the broker does not know the fund."""
        ...

    async def nav_days(self, symbol: str, first: date, last: date) -> Sequence[NavDay]:
        """Close and NAV of the days from `first` to `last`, both included, oldest first."""
        ...

    async def nav_minutes(self, symbol: str, day: date, period_s: int = 60) -> Sequence[NavMinute]:
        """Price and NAV by periods of so many seconds of the session of `day` (today's), oldest first."""
        ...

    async def fund_holdings(self, symbol: str) -> FundHoldings | None:
        """What the fund holds now; None when the broker does not know it."""
        ...


class FundListSource(Protocol):
    """Where the list of funds comes from: which there are, and what it tells of each."""

    @property
    def name(self) -> str:
        """As `[funds] sources` has it."""
        ...

    async def fund_list(self, last_session: date) -> Sequence[FundEntry]:
        """The funds, in the source's order; `last_session` is the last finished one, for sources that go by days.

        Raises:
            ProviderError: the source did not answer, or refused.
            DataFileError: what it has cannot be read.
        """
        ...
