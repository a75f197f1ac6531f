"""Decides the universe of one session before the market opens. See docs/requirement.md."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from bus.events import DailyBar, SharesAdjusted, UniverseBuilt, UniverseMember
from observer.calendar.venues import KRX
from observer.reference.listings.model import (
    BENEFICIARY_CERTIFICATE_GROUP,
    ETF_GROUP,
    ETN_GROUP,
    FOREIGN_ETF_GROUP,
    NOT_TRADED_GROUPS,
    Listing,
)
from observer.selection.indicators import (
    AVERAGE_VOLUME_DAYS,
    average_true_range,
    average_volume,
    in_latest_shares,
    true_ranges,
)
from observer.selection.settings import UniverseSettings

KOREAN_STOCKS: Final = KRX.market
NAMED_IN_WARNING: Final = 5

Exclusion = Literal[
    "not_a_share", "suspended", "administrative", "etf", "etn", "spac", "preferred", "no_close", "low_close"
]

UniverseWarning = Literal["universe_small", "universe_unvalued"]
"""What is doubtful in a universe; also the identity of its alert."""
UNIVERSE_WARNINGS: Final[tuple[UniverseWarning, ...]] = get_args(UniverseWarning)

_ETF_GROUPS: Final = frozenset({ETF_GROUP, FOREIGN_ETF_GROUP})
_NO_SHARES: Final = frozenset({*NOT_TRADED_GROUPS, BENEFICIARY_CERTIFICATE_GROUP})


class History(msgspec.Struct, frozen=True):
    """A symbol's last days: close of the previous session (None: it has no bar), average daily volume in shares, ATR as
    a price; the number of bars and of ranges in the averages, and of those bars that are from own sweeps; which
    sessions the volumes of those bars hold.
    """

    previous_close: float | None
    average_volume_20d: float | None
    average_true_range_14d: float | None
    volume_days: int = 0
    true_range_days: int = 0
    days_from_sweeps: int = 0
    average_sessions: str = ""


class UniverseDay(msgspec.Struct, frozen=True):
    """A universe's session and market, the time of its build (UTC ns), and the venue of its listings."""

    provider: str
    market: str
    session_date: str
    previous_session_date: str
    built_ns: int
    venue: str = ""


class Universe(msgspec.Struct, frozen=True):
    """The members by rank (1 first), the build's parameters, the exclusions counted by reason, and the
    warnings with their texts.
    """

    members: tuple[UniverseMember, ...]
    built: UniverseBuilt
    excluded: Mapping[Exclusion, int]
    warnings: Mapping[UniverseWarning, str]


NO_HISTORY: Final = History(None, None, None)


def history_of(bars: Sequence[DailyBar], previous_session: str, adjustments: Sequence[SharesAdjusted] = ()) -> History:
    """A symbol's history from its daily bars, oldest first and as traded, in shares after its `adjustments`.

    A last bar of an older session than the previous one counts in the averages, but not as the close. Where the volumes
    of the averaged bars do not all hold the same sessions, `average_sessions` names each kind, with commas. They are
    not converted to one kind: no call returns a past day's volume by session, and an after-market adds some 3 % to a
    large stock's day at the main venue (as measured in September 2026), less than 20 days' volumes vary. At venues
    where it adds a third all bars hold the whole day (`observer.reference.universe.closing`).
    """
    days = [in_latest_shares(bar, adjustments) for bar in bars] if adjustments else bars
    close = days[-1].close if days and days[-1].session_date == previous_session else None
    averaged = days[-AVERAGE_VOLUME_DAYS:]
    return History(
        previous_close=close,
        average_volume_20d=average_volume(days),
        average_true_range_14d=average_true_range(days),
        volume_days=len(averaged),
        true_range_days=len(true_ranges(days)),
        days_from_sweeps=sum(bar.source == "sweep" for bar in averaged),
        average_sessions=_sessions_of(averaged),
    )


def _sessions_of(bars: Sequence[DailyBar]) -> str:
    found = {bar.sessions for bar in bars} - {""}
    if found and any(not bar.sessions for bar in bars):
        found.add("unknown")
    return ", ".join(sorted(found))


def exclusion_by_kind(security: Listing, settings: UniverseSettings) -> Exclusion | None:
    """The first reason, apart from the price, that excludes a listing; None when there is none."""
    reasons: tuple[tuple[Exclusion, bool], ...] = (
        ("not_a_share", security.group in _NO_SHARES),
        ("etf", settings.exclude_etf and security.group in _ETF_GROUPS),
        ("etn", settings.exclude_etn and security.group == ETN_GROUP),
        ("spac", settings.exclude_spac and security.spac),
        ("preferred", settings.exclude_preferred and security.preferred),
        ("suspended", settings.exclude_suspended and security.suspended),
        ("administrative", settings.exclude_managed and security.administrative),
    )
    return next((reason for reason, holds in reasons if holds), None)


def exclusion(security: Listing, previous_close: float | None, settings: UniverseSettings) -> Exclusion | None:
    """The first reason that excludes a listing with this close of the previous session; None for a member."""
    if (reason := exclusion_by_kind(security, settings)) is not None:
        return reason
    if previous_close is None:
        return "no_close"
    return "low_close" if previous_close < settings.min_close_price else None


def build(
    securities: Iterable[Listing], histories: Mapping[str, History], day: UniverseDay, settings: UniverseSettings
) -> Universe:
    """Build the universe: the eligible listings by market capitalisation, largest first, then by symbol.

    A listing without a bar of the previous session (it could not be fetched, or the listing is new) is judged by its
    base price, which the exchange sets to the previous close unless there was a corporate action. A missing
    capitalisation counts as 0 and raises a warning (docs/requirement.md), as do fewer than `min_symbol_count`
    members; neither is an error.
    """
    chosen: list[tuple[Listing, float]] = []
    excluded: Counter[Exclusion] = Counter()
    for security in securities:
        close = judged_close(security, histories.get(security.symbol, NO_HISTORY).previous_close)
        reason = exclusion(security, close, settings)
        if reason is None and close is not None:
            chosen.append((security, close))
        elif reason is not None:
            excluded[reason] += 1
    chosen.sort(key=lambda item: (-(item[0].market_cap or 0.0), item[0].symbol))
    members = tuple(
        _member(rank, security, close, histories.get(security.symbol, NO_HISTORY), day)
        for rank, (security, close) in enumerate(chosen, start=1)
    )
    built = UniverseBuilt(
        provider=day.provider,
        market=day.market,
        session_date=day.session_date,
        previous_session_date=day.previous_session_date,
        built_ns=day.built_ns,
        symbols=len(members),
        considered=len(members) + excluded.total(),
        minimum_close=settings.min_close_price,
    )
    return Universe(members, built, excluded, dict(_warnings(chosen, settings)))


def judged_close(security: Listing, close: float | None) -> float | None:
    """The price for eligibility: the close of the previous session, or the exchange's base price without a bar of that
    session.
    """
    return security.base_price if close is None else close


def _warnings(
    chosen: Sequence[tuple[Listing, float]], settings: UniverseSettings
) -> Iterator[tuple[UniverseWarning, str]]:
    if len(chosen) < settings.min_symbol_count:
        yield "universe_small", f"only {len(chosen)} stocks in the universe, under {settings.min_symbol_count}"
    unknown = [security.symbol for security, _ in chosen if security.market_cap is None]
    if unknown:
        few = ", ".join(unknown[:NAMED_IN_WARNING])
        more = " ..." if len(unknown) > NAMED_IN_WARNING else ""
        text = f"{len(unknown)} symbols without market capitalisation, which counts as 0: {few}{more}"
        yield "universe_unvalued", text


def _member(rank: int, security: Listing, close: float, history: History, day: UniverseDay) -> UniverseMember:
    return UniverseMember(
        provider=day.provider,
        market=day.market,
        session_date=day.session_date,
        rank=rank,
        symbol=security.symbol,
        name=security.name,
        exchange=security.exchange,
        market_cap=security.market_cap or 0.0,
        previous_close=close,
        average_volume_20d=history.average_volume_20d,
        average_true_range_14d=history.average_true_range_14d,
        close_is_base=history.previous_close is None,
        average_volume_days=history.volume_days,
        average_true_range_days=history.true_range_days,
        days_from_sweeps=history.days_from_sweeps,
        venue=day.venue,
        average_sessions=history.average_sessions,
    )
