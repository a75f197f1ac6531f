"""Builders for the selection tests."""

import msgspec

from bus.events import AccountSlots, MarketStateChanged, Snapshot, UniverseMember
from observer.selection.selector import NOTHING_EARLIER, Selector
from observer.selection.settings import DaySettings, SelectionSettings
from observer.selection.slot_projection import SlotProjection
from observer.selection.triggers import Candidate

MEMBER = UniverseMember(
    provider="kis",
    market="kr_stocks",
    session_date="2026-11-18",
    rank=1,
    symbol="005930",
    name="Samsung",
    exchange="KOSPI",
    market_cap=1e12,
    previous_close=10_000.0,
    average_volume_20d=1_000.0,
    average_true_range_14d=100.0,
)

SEEN = Snapshot(
    provider="kis",
    symbol="A",
    session_date="2026-11-18",
    sweep=1,
    receive_time_ns=0,
    price=10_000.0,
    open=10_000.0,
    high=10_000.0,
    low=10_000.0,
    previous_close=10_000.0,
    upper_limit=13_000.0,
    lower_limit=7_000.0,
    bid=None,
    ask=None,
    cumulative_volume=0.0,
    cumulative_value=0.0,
)


def member(symbol="005930", **changes):
    """A member whose capitalisation adds 1.2 to every score."""
    return msgspec.structs.replace(MEMBER, symbol=symbol, **changes)


def members(*symbols):
    """The first is the largest."""
    return [member(symbol, rank=rank, market_cap=1e13 / rank) for rank, symbol in enumerate(symbols, start=1)]


def candidate(
    symbol,
    score=15.0,
    kind="volume_surge",
    *,
    expires_ns=1_000,
    market_cap=1e12,
):
    """A candidate of this score."""
    return Candidate(symbol, kind, score, expires_ns, market_cap, 0.5, 3.4, 3.0, 1_000.0)


def filler(symbol, score=2.0):
    """A candidate of the trigger kind `market_cap`."""
    return candidate(symbol, score, "market_cap", expires_ns=None)


def pinned(symbol, score=11.0):
    """A pinned candidate."""
    return candidate(symbol, score, "manual", expires_ns=None)


def seen(symbol, volume=0.0, **changes):
    """Track A's snapshot of a symbol: nothing unusual."""
    return msgspec.structs.replace(SEEN, symbol=symbol, cumulative_volume=volume, **changes)


def swept(market, symbol, volume=0.0, **changes):
    """Apply Track A's snapshot of a symbol."""
    market.update_snapshot(seen(symbol, volume, **changes))


def state(symbol, *, halted, reported_ns=0):
    """The exchange's state of a symbol."""
    return MarketStateChanged("kis", symbol, reported_ns, halted, "", "", "", "", "", "", "", "", "")


def all_of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def left(events):
    """What an earlier process published, as a resuming one reads it."""
    reported = SlotProjection()
    for event in events:
        reported.apply(event)
    return reported


def selector_of(members, accounts, settings=SelectionSettings(), earlier=NOTHING_EARLIER, **day):
    """A day's selector of accounts with so many slots."""
    slots = tuple(AccountSlots(account, count) for account, count in accounts.items())
    return Selector(members, DaySettings(selection=settings, accounts=slots, **day), earlier)
