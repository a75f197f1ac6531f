"""The rows of the data part of the HTTP API, as its OpenAPI document describes them.

They state the columns of `observer.research`; a test compares them. Null says that a value is not known or does not
apply (docs/research.md).
"""

from datetime import date, datetime

import msgspec


class ListingRow(msgspec.Struct, frozen=True):
    """An instrument, with the change that its master file showed last."""

    symbol: str
    exchange: str
    name: str
    english_name: str
    isin: str
    kind: str
    currency: str
    market_cap: float | None
    listed_shares: float | None
    listed_on: date | None
    suspended: bool | None
    administrative: bool | None
    preferred: bool | None
    spac: bool | None
    change: str
    changed: datetime


class LifetimeRow(msgspec.Struct, frozen=True):
    """Whether a symbol was listed on a day (listed, not listed, unknown), since when, and how that is known."""

    symbol: str
    on: date
    status: str
    since: date | None
    exchange: str
    name: str
    evidence: str


class UniverseRow(msgspec.Struct, frozen=True):
    """A member of the universe of a day."""

    day: date
    rank: int
    symbol: str
    venue: str
    name: str
    exchange: str
    market_cap: float | None
    previous_close: float | None
    average_volume_20d: float | None
    average_true_range_14d: float | None


class QualityRow(msgspec.Struct, frozen=True):
    """The quality report of a symbol's day."""

    day: date
    symbol: str
    venue: str | None
    slots_quality: str | None
    day_quality: str | None
    volume_share: float | None
    time_share: float | None
    seconds: float | None
    streamed_trades: int | None
    streamed_volume: float | None
    recovered_volume: float | None
    conflated_volume: float | None
    missing_volume: float | None
    missing_at_most: float | None
    day_volume: float | None
    gaps: int | None
    gaps_open: int | None
    detail: str | None
    judged: datetime | None
    completeness: str | None
    held_volume: float | None
    unreachable_seconds: int | None
    unknown_volume: float | None
    tape_judged: datetime | None


class GapRow(msgspec.Struct, frozen=True):
    """A gap of the market data stream with its outcome."""

    day: date
    symbol: str
    venue: str | None
    since: datetime | None
    until: datetime | None
    detected: datetime
    reason: str
    missing_volume: float | None
    missing_trades: int | None
    outcome: str
    source: str | None
    complete: bool | None
    recovered_volume: float | None
    recovered_rows: int | None
    closed: datetime | None
    lost_reason: str | None
    gap_id: str


class SlotRow(msgspec.Struct, frozen=True):
    """A time in which a symbol had a slot."""

    since: datetime
    until: datetime | None
    slot: str
    symbol: str
    venue: str | None
    trigger: str
    score: float | None
    reason: str
    replaced: str | None
    replaced_venue: str | None
    release_reason: str | None
    replaced_by: str | None
    replaced_by_venue: str | None


class TriggerRow(msgspec.Struct, frozen=True):
    """A trigger that fired."""

    time: datetime
    symbol: str
    venue: str | None
    kind: str
    measure: float | None
    threshold: float | None
    reference: float | None
    strength: float | None
    score: float | None
    severity: str | None
    basis: str | None
    held_until: datetime | None
    until: datetime | None


class TradeRow(msgspec.Struct, frozen=True):
    """A trade."""

    time: datetime
    symbol: str
    venue: str
    session: str | None
    price: float
    volume: float
    side: str | None
    bid: float | None
    ask: float | None
    source: str
    quality: str | None
    cumulative_volume: float | None
    received: datetime


class BarRow(msgspec.Struct, frozen=True):
    """A bar; `complete` says that no trade of it is missing."""

    time: datetime
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int | None
    filled: float | None
    complete: bool
    unreachable_seconds: int | None
    unknown_volume: float | None


class DailyRow(msgspec.Struct, frozen=True):
    """A daily bar of a line."""

    day: date
    symbol: str
    venue: str | None
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float | None
    vwap: float | None
    source: str | None
    sessions: str | None


class EtfPremiumRow(msgspec.Struct, frozen=True):
    """Close, net asset value and premium (percent) of an ETF's day."""

    day: date
    symbol: str
    close: float | None
    nav: float | None
    premium_percent: float | None
    volume: float | None
    index_close: float | None
