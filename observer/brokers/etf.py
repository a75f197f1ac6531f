"""Provider data on ETFs, in our terms.

Two things are kept apart here that a requirement confuses: the *premium* (괴리율) is how far the price is from the net
asset value (NAV), negative for a discount; the *tracking error* (추적오차) how far the ETF's return strays from its
index's. Prices and NAVs are in the currency a share, rates percent. None is "the broker gives none".
"""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

import msgspec

from observer.reference.etf.model import EtfEntry


class EtfQuote(msgspec.Struct, frozen=True, kw_only=True):
    """An ETF's or ETN's price beside its NAV.

    `net_assets` is what the broker states perhaps in coarse units;
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
    net_assets: float | None
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


class NavDay(msgspec.Struct, frozen=True, kw_only=True):
    """An ETF's close and NAV on one day. `price_minus_nav` is in the currency, `premium_percent` the same as a rate."""

    symbol: str
    day: date
    close: float
    nav: float | None
    price_minus_nav: float | None
    premium_percent: float | None
    nav_change_percent: float | None
    volume: float


class EtfSource(Protocol):
    """The source of an ETF's price and NAV."""

    async def etf_quote(self, symbol: str) -> EtfQuote | None:
        """The ETF's quote; None when the broker does not know it as an ETF."""
        ...

    async def nav_days(self, symbol: str, first: date, last: date) -> Sequence[NavDay]:
        """Close and NAV of the days from `first` to `last`, both included, oldest first."""
        ...


class EtfListSource(Protocol):
    """The source of the list of ETFs, with the fields of each ETF."""

    @property
    def name(self) -> str:
        """As `[etf] sources` has it."""
        ...

    async def etf_list(self, last_session: date) -> Sequence[EtfEntry]:
        """The ETFs, in the source's order; `last_session` is the last finished one, for sources that go by days.

        Raises:
            ProviderError: the source did not answer, or refused.
            DataFileError: what it has cannot be read.
        """
        ...
