"""The second venue and the hours after the close: which shares NXT trades, and their trades there. Pure; chance is
passed in.

NXT trades about 610 of the larger shares. Its prices are those of the KRX while both trade, give or take a price step;
before the opening they start from the base price, after the close from the close. Its value is half of that of the
KRX's stocks (October 2025), or as set, and a third of it is outside the regular session. A halt or an interruption at
the KRX stops NXT, too, and one auction trade ends it there as well (as since 2026-09-14).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.market.instruments import Instrument, RngSource, price_limits, rounded_down, tick_size
from observer.simulator.market.plan import DayBar
from observer.simulator.market.sessions import Session, SessionName
from observer.simulator.market.tape import BUY, EMPTY_TAPE, SELL, UNKNOWN, DayTape, MarketStop, Tape
from observer.simulator.market.trade_generation import Columns, collected, sizes_around, with_stops

if TYPE_CHECKING:
    from random import Random

NXT_LISTINGS: Final = 610
_LISTED_SHARE: Final = 0.24  # 610 of about 2,500 ordinary shares: a smaller market has as large a part
_STOPPED_SHARE: Final = 0.03
_NEVER_STOPPED: Final = 10  # the largest are much of the venue's value
NXT_VALUE_RATIO: Final = 0.5
_LARGEST_RATIO: Final = 1.5
_TRADES_BY_SESSION: Final[Mapping[SessionName, float]] = {"pre": 0.12, "regular": 0.67, "after": 0.21}
_SPREAD_S: Final = 60  # NXT's trades come up to a minute after trades of the KRX: in a burst they are not as dense
_AFTER_SHARE: Final = 0.031  # measured on the largest share on 2026-09-15
_NXT_SINCE: Final = "20250304"


class NxtListing(msgspec.Struct, frozen=True):
    """A share that NXT trades. `ratio`: its volume there for one share of the KRX's. `stopped`: not on this day."""

    ratio: float
    stopped: bool


def nxt_listings(
    instruments: Sequence[Instrument], volumes: Mapping[str, float], value_ratio: float, rng: RngSource
) -> Mapping[str, NxtListing]:
    """The shares that NXT trades, by symbol: the larger ones, as chance orders those of similar size.

    `volumes` are the day's expected volumes of the KRX until its close; NXT's value there is `value_ratio` of that of
    the KRX's stocks, its after-market included.
    """
    generator = rng("nxt")
    size = {i.symbol: i.market_cap_100m * generator.uniform(0.5, 1.5) for i in instruments if i.ordinary}
    eligible = [
        i for i in instruments if i.ordinary and i.previous_volume and not (i.administrative or i.settlement_trading)
    ]
    count = min(NXT_LISTINGS, max(1, round(len(size) * _LISTED_SHARE)))
    chosen = sorted(eligible, key=lambda i: (-size[i.symbol], i.symbol))[:count]
    draws = [generator.random() for _ in chosen]
    stopped = {
        i.symbol: not i.trades or (rank >= _NEVER_STOPPED and draw < _STOPPED_SHARE)
        for rank, (i, draw) in enumerate(zip(chosen, draws, strict=True))
    }
    popularity = {i.symbol: generator.uniform(0.7, 1.3) for i in chosen}
    whole = sum(volumes[i.symbol] * i.base_price for i in instruments if i.trades and not i.etp) * (1 + _AFTER_SHARE)
    traded = (volumes[i.symbol] * i.base_price * popularity[i.symbol] for i in chosen if not stopped[i.symbol])
    ratio = min(_LARGEST_RATIO, value_ratio * whole / max(1, sum(traded)))
    return {i.symbol: NxtListing(ratio * popularity[i.symbol], stopped[i.symbol]) for i in chosen}


def with_after_market(day: Columns, base_price: int, session: Session, midnight_ns: int, generator: Random) -> Columns:
    """The KRX's regular day and its after-market, whose trades have no documented side."""
    share = _AFTER_SHARE * generator.uniform(0.5, 1.5)
    count = max(1, round(len(day.time_ns) * share))
    rng, length_ns = generator.random, (session.end_s - session.start_s) * NS_PER_S
    # Most come at the begin.
    times = sorted(midnight_ns + session.start_s * NS_PER_S + int(rng() ** 2 * length_ns) for _ in range(count))
    return Columns(
        day.time_ns + times,
        day.price + _walk(day.price[-1], base_price, count, generator),
        day.volume + sizes_around(sum(day.volume) * share / count, count, generator),
        day.side + bytes((UNKNOWN,)) * count,
        day.halts,
    )


def nxt_day(
    krx: Columns,
    base_price: int,
    ratio: float,
    sessions: Sequence[Session],
    midnight_ns: int,
    generator: Random,
    stops: Sequence[MarketStop] = (),
) -> Tape:
    """A symbol's day at NXT beside its regular day at the KRX, `stops` of both included; empty on a day without NXT."""
    if not sessions:
        return EMPTY_TAPE
    count = max(len(sessions), round(len(krx.time_ns) * ratio))
    weights = [_TRADES_BY_SESSION[each.name] for each in sessions]
    chosen = generator.choices(sessions, weights, k=count)
    times, prices = list[int](), list[int]()
    for session in sessions:
        of_session = sorted(_times_in(session, krx, chosen.count(session), midnight_ns, generator))
        times += of_session
        if session.name == "regular":
            prices += _prices_beside(krx, base_price, of_session, generator)
        else:
            start = base_price if session.name == "pre" else krx.price[-1]
            prices += _walk(start, base_price, len(of_session), generator)
    volumes = sizes_around(sum(krx.volume) * ratio / count, count, generator)
    sides = generator.choices((BUY, SELL), k=count)
    day = _with_halts(Columns(times, prices, volumes, bytes(sides), krx.halts), krx)
    return Tape(*with_stops(day, stops))


def merged(krx: DayTape, nxt: DayTape) -> DayTape:
    """The trades of both venues in the order of time; at the same nanosecond the KRX's first."""
    if not len(nxt):
        return krx
    times = [*krx.time_ns, *nxt.time_ns]
    order = sorted(range(len(times)), key=times.__getitem__)
    prices, volumes, sides = [*krx.price, *nxt.price], [*krx.volume, *nxt.volume], bytes(krx.side) + bytes(nxt.side)
    columns = ([column[index] for index in order] for column in (times, prices, volumes, sides))
    time_ns, price, volume, side = columns
    return Tape(time_ns, price, volume, bytes(side), krx.halts)


def nxt_bars(krx: Sequence[DayBar], ratio: float, generator: Random) -> tuple[DayBar, ...]:
    """NXT's bars beside the KRX's of the same days, none from before NXT: the same prices, its own volumes."""
    bars = []
    for bar in krx:
        volume = max(1, round(bar.volume * ratio * generator.uniform(0.8, 1.2)))
        if bar.day >= _NXT_SINCE:
            bars.append(msgspec.structs.replace(bar, volume=volume, value=bar.value * volume // max(1, bar.volume)))
    return tuple(bars)


def both_bars(krx: Sequence[DayBar], nxt: Sequence[DayBar]) -> tuple[DayBar, ...]:
    """The bars of both venues together, where they are of the same days with the same prices."""
    beside = {bar.day: bar for bar in nxt}
    return tuple(_added(bar, beside.get(bar.day)) for bar in krx)


def _added(bar: DayBar, other: DayBar | None) -> DayBar:
    if other is None:
        return bar
    return msgspec.structs.replace(bar, volume=bar.volume + other.volume, value=bar.value + other.value)


def _times_in(session: Session, krx: Columns, count: int, midnight_ns: int, generator: Random) -> list[int]:
    """Times strictly inside a session, unsorted: in the regular one near trades of the KRX, else at random."""
    start_ns = midnight_ns + session.start_s * NS_PER_S
    length_ns = (session.end_s - session.start_s) * NS_PER_S
    rng = generator.random
    if session.name != "regular":
        return [start_ns + 1 + int(rng() * (length_ns - 1)) for _ in range(count)]
    near = generator.choices(krx.time_ns, k=count)
    return [start_ns + (time_ns - start_ns + int(rng() * _SPREAD_S * NS_PER_S)) % length_ns for time_ns in near]


def _walk(start: int, base_price: int, count: int, generator: Random) -> list[int]:
    """So many prices that go up or down a price step at a time from the first one, inside the day's limits."""
    bounded, step = _inside_limits(base_price), tick_size(start)
    return [bounded(start + moved * step) for moved in accumulate(generator.choices((-1, 0, 0, 1), k=count))]


def _prices_beside(krx: Columns, base_price: int, times: Sequence[int], generator: Random) -> list[int]:
    """The KRX's last price at each time, some a price step off; its first price before it has traded."""
    bounded = _inside_limits(base_price)
    last = [krx.price[max(0, bisect_right(krx.time_ns, time_ns) - 1)] for time_ns in times]
    return [
        bounded(price + moved * tick_size(price))
        for price, moved in zip(last, generator.choices((-1, 0, 0, 1), k=len(last)), strict=True)
    ]


def _inside_limits(base_price: int) -> Callable[[int], int]:
    lowest, highest = price_limits(base_price)
    return lambda price: min(highest, max(lowest, rounded_down(price)))


def _with_halts(nxt: Columns, krx: Columns) -> Columns:
    """The day at NXT with the KRX's halts in it: what was ordered in one is dealt in one auction trade at its end."""
    for halt in nxt.halts:
        first, end = (bisect_right(nxt.time_ns, moment - 1) for moment in (halt.start_ns, halt.end_ns))
        if end > first:
            nxt = collected(nxt, first, end, halt.end_ns, krx.price[bisect_right(krx.time_ns, halt.end_ns) - 1])
    return nxt
