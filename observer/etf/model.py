"""Exchange-traded funds: what is known of one, and what comes of a day's list. Pure.

Two things are kept apart that requirement 002 confuses: the *premium* (괴리율) is how far the price is from the net
asset value (NAV), the *tracking error* (추적오차) how far the NAV's returns stray from their index's (design.md 6.11).
"""

import msgspec


class FundEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one source, or all of them together, tells of one fund. None is "not told"; `symbol` is the key.

    `group` is KIS's 그룹코드: EF for an ETF, EN for an ETN. `leverage` is the multiple of the index's return aimed at;
    `expense_ratio_percent` percent a year (0.15 is 0.15 %); shares are whole shares; `listed_on` an ISO date.
    """

    symbol: str
    name: str | None = None
    group: str | None = None
    isin: str | None = None
    full_name: str | None = None
    english_name: str | None = None
    issuer: str | None = None
    index_name: str | None = None
    index_provider: str | None = None
    region: str | None = None
    asset_class: str | None = None
    replication: str | None = None
    tax_type: str | None = None
    leverage: float | None = None
    expense_ratio_percent: float | None = None
    listed_shares: float | None = None
    creation_unit_shares: float | None = None
    listed_on: str | None = None


class Fund(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one fund: its state in the last list, its last value, its last measures, its last range.

    What was not found yet is None. `active` is false for one that left the list; times are UTC nanoseconds.
    """

    symbol: str
    name: str
    group: str
    isin: str | None
    full_name: str | None
    english_name: str | None
    issuer: str | None
    index_name: str | None
    index_provider: str | None
    region: str | None
    asset_class: str | None
    replication: str | None
    tax_type: str | None
    leverage: float | None
    expense_ratio_percent: float | None
    listed_shares: float | None
    creation_unit_shares: float | None
    listed_on: str | None
    sources: str
    active: bool
    first_seen_ns: int
    listed_ns: int
    valued_ns: int | None = None
    price: float | None = None
    nav: float | None = None
    premium_percent: float | None = None
    aum_krw: float | None = None
    net_assets_krw: float | None = None
    stated_tracking_error_percent: float | None = None
    component_count: int | None = None
    measured_ns: int | None = None
    nav_days: int | None = None
    premium_20d_percent: float | None = None
    premium_60d_percent: float | None = None
    premium_120d_percent: float | None = None
    premium_250d_percent: float | None = None
    tracking_error_20d_percent: float | None = None
    tracking_error_60d_percent: float | None = None
    tracking_error_120d_percent: float | None = None
    tracking_error_250d_percent: float | None = None
    found_ns: int | None = None
    highest_close_52w: float | None = None
    lowest_close_52w: float | None = None
