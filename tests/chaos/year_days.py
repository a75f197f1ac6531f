"""Synthetic market days for tests.chaos.lake_year: rows of every kind, and walks of prices where there are many."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import islice

import msgspec

from bus.events import (
    ConnectionChanged,
    EtfValued,
    Event,
    ExpectedPrice,
    GapDetected,
    GapOpened,
    GapRecovered,
    NavObserved,
    OrderBook,
    QualityJudged,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    TapeJudged,
    TapePage,
    Trade,
    TradesConflated,
    TriggerEnded,
    TriggerFired,
    UniverseMember,
    VenueEligibility,
    VolumeRise,
)
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.store.kinds import KINDS
from tests.archive.stored import made_of, of_every_kind
from tests.builders import trade

MARKET = "kr_stocks"
FIRST_DAY = date(2026, 1, 2)
SYMBOLS = tuple(f"{5 + 10 * number:06}" for number in range(1, 42))  # as many as one account streams
OTHER_SYMBOL = "999990"  # of the one row of each kind that has nothing to do with the streamed symbols
SESSION_S = 23_400  # 09:00 to 15:30
RATIOS = {TradesConflated: 50, OrderBook: 50, ExpectedPrice: 100, NavObserved: 100, VolumeRise: 400}
"""One row of these kinds for so many trades."""
SNAPSHOT_RATIO = 10
COUNTS: Mapping[type[Event], int] = {
    **dict.fromkeys((TriggerFired, TriggerEnded, SlotExtended, SlotReleased, TapePage, TapeJudged), len(SYMBOLS)),
    **dict.fromkeys((GapOpened, GapDetected, GapRecovered), 5),
    SelectionAdvanced: 100,
    SweepCompleted: 23,
    ConnectionChanged: 10,
    VenueEligibility: 41,
    EtfValued: 10,
}
"""So many rows of these kinds a day, however many trades there are."""


def session_dates(days: int) -> Sequence[str]:
    """So many weekdays in a row, as ISO dates."""
    each = (FIRST_DAY + timedelta(days=ahead) for ahead in range(2 * days + 7))
    return [day.isoformat() for day in islice((day for day in each if day.weekday() < 5), days)]


def events_of(session_date: str, trades: int, kinds: Collection[str] = KINDS.keys()) -> list[Event]:
    """The day's events of these kinds in the order in which they come; the same for the same arguments."""
    prototypes = {type(event): _in_market(event) for event in of_every_kind(session_date, OTHER_SYMBOL, 1, kinds)}
    found = list(prototypes.values())
    for rank, symbol in enumerate(SYMBOLS, start=1):
        own = {UniverseMember: {"rank": rank}, SlotAssigned: {}, QualityJudged: {}}
        for event_type, values in own.items():
            if event_type in prototypes:
                found.append(msgspec.structs.replace(prototypes[event_type], symbol=symbol, **values))
    found += _traded(session_date, trades)
    for event_type, count in COUNTS.items():
        if event_type in prototypes:
            found += _repeated(event_type, session_date, count)
    beside = [(Snapshot, SNAPSHOT_RATIO), *RATIOS.items()]
    for event_type, ratio in beside:
        if event_type in prototypes:
            found += _spread(prototypes[event_type], session_date, trades // ratio)
    return found


def _repeated(event_type: type[Event], session_date: str, count: int) -> Iterator[Event]:
    """So many events of a kind, each of another symbol, and of a gap of its own where it belongs to one."""
    for number in range(count):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        event = _in_market(made_of(event_type, session_date, symbol, number + 2))
        is_of_gap = "gap_id" in event.__struct_fields__
        yield msgspec.structs.replace(event, gap_id=f"{session_date}-{number}") if is_of_gap else event


def _in_market(event: Event) -> Event:
    return msgspec.structs.replace(event, market=MARKET) if hasattr(event, "market") else event


def _traded(session_date: str, count: int) -> Iterator[Trade]:
    """Trades of all symbols in turn, each symbol's price and volume a walk of its own."""
    rng = random.Random(session_date)
    opens_ns = local_ns(date.fromisoformat(session_date), 9)
    prices = {symbol: float(rng.randrange(5_000, 300_000, 100)) for symbol in SYMBOLS}
    volumes = dict.fromkeys(SYMBOLS, 0.0)
    numbers = dict.fromkeys(SYMBOLS, 0)
    for number in range(count):
        symbol = rng.choice(SYMBOLS)
        volume = float(rng.choice((1, 1, 2, 5, 10, 10, 30, 100, 1_000)))
        prices[symbol] += rng.choice((-100, 0, 0, 0, 100))
        volumes[symbol] += volume
        numbers[symbol] += 1
        at_ns = opens_ns + number * SESSION_S * NS_PER_S // count // 1_000_000 * 1_000_000
        yield trade(
            symbol=symbol,
            session_date=session_date,
            exchange_time_ns=at_ns // NS_PER_S * NS_PER_S,
            receive_time_ns=at_ns + rng.randrange(5_000_000, 60_000_000),
            price=prices[symbol],
            volume=volume,
            cumulative_volume=volumes[symbol],
            cumulative_trades=numbers[symbol],
            side=rng.choice(("buy", "sell")),
            bid=prices[symbol] - 100,
            ask=prices[symbol],
            session="regular",
            venue="KRX",
        )


def _spread(prototype: Event, session_date: str, count: int) -> Iterator[Event]:
    """So many events of one kind over the session, over all symbols."""
    opens_ns = local_ns(date.fromisoformat(session_date), 9)
    times = [name for name in prototype.__struct_fields__ if name.endswith("_ns")]
    for number in range(count):
        at_ns = opens_ns + number * SESSION_S * NS_PER_S // count
        symbol = SYMBOLS[number % len(SYMBOLS)]
        yield msgspec.structs.replace(prototype, symbol=symbol, **dict.fromkeys(times, at_ns))
