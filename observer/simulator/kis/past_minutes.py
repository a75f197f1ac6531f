"""The minutes of past days, made from their bars. Pure.

Of a day with sessions before or after the regular one a part of the volume is in these, every ten minutes, at the day's
opening or closing price. Together the minutes of a day are its bar, and those of both venues the consolidated ones.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from observer.simulator.market.instruments import Instrument, rounded_down
from observer.simulator.market.market import Market, MinuteBar, hhmmss
from observer.simulator.market.plan import DayBar
from observer.simulator.market.sessions import Session, SessionName, Venue, sessions_on
from observer.simulator.market.tape import CLOSE_S, MINUTES, OPEN_S, VOLUME_BY_MINUTE

_OPEN_MINUTE: Final = OPEN_S // 60
_CLOSE_MINUTE: Final = CLOSE_S // 60
_PART_BEFORE_CROSS: Final = 0.97
_STEP_S: Final = 600
_PARTS: Final[dict[tuple[Venue, SessionName], float]] = {
    ("KRX", "after"): 0.03,
    ("NXT", "pre"): 0.12,
    ("NXT", "after"): 0.21,
}


def past_minutes(market: Market, instrument: Instrument) -> Iterator[tuple[str, list[MinuteBar]]]:
    """The past days of a symbol in a view of the market, newest first, each with its minutes, oldest first."""
    bars = market.daily_bars(instrument.symbol)
    if not market.whole_day:
        yield from ((bar.day, minutes_of(bar)) for bar in bars)
        return
    if market.name != "consolidated":
        yield from ((bar.day, _venue_minutes(bar, market.name, instrument)) for bar in bars)
        return
    krx, nxt = (market.view(venue).daily_bars(instrument.symbol) for venue in ("KRX", "NXT"))
    beside = {bar.day: bar for bar in nxt}
    for bar in krx:
        other = beside.get(bar.day)
        minutes = [] if other is None else _venue_minutes(other, "NXT", instrument)
        yield bar.day, _together(_venue_minutes(bar, "KRX", instrument), minutes)


def minutes_of(bar: DayBar) -> list[MinuteBar]:
    """A past day by the minute, oldest first: from the open to the low, the high and the close. Together the minutes
    are the day's bar; a day of very few shares was dealt in its closing cross alone.
    """
    closing = hhmmss(_CLOSE_MINUTE * 60)
    if bar.volume < 2 * MINUTES:
        prices = (bar.open, bar.high, bar.low, bar.close)
        return [MinuteBar(closing, *prices, bar.volume, bar.value)]
    edges = _edges(bar)
    traded = [int(bar.volume * part / VOLUME_BY_MINUTE[-1] * _PART_BEFORE_CROSS) for part in (0.0, *VOLUME_BY_MINUTE)]
    bars: list[MinuteBar] = []
    for minute in range(MINUTES):
        start_krw, end_krw = edges[minute : minute + 2]
        volume = traded[minute + 1] - traded[minute]
        value = bar.value * traded[minute + 1] // bar.volume
        start = hhmmss((_OPEN_MINUTE + minute) * 60)
        prices = (start_krw, max(start_krw, end_krw), min(start_krw, end_krw), end_krw)
        bars.append(MinuteBar(start, *prices, volume, value))
    at_close = (bar.close, bar.close, bar.close, bar.close)
    return [*bars, MinuteBar(closing, *at_close, bar.volume - traded[-1], bar.value)]


def _edges(bar: DayBar) -> list[int]:
    """The price at each minute's edge: the corners as they are, prices on the grid between them."""
    third = MINUTES // 3
    corners = ((0, bar.open), (third, bar.low), (2 * third, bar.high), (MINUTES, bar.close))
    edges: list[int] = []
    for (start, start_krw), (end, end_krw) in pairwise(corners):
        width = end_krw - start_krw
        inner = (rounded_down(start_krw + width * step // (end - start)) for step in range(1, end - start))
        edges += [start_krw, *inner]
    return [*edges, bar.close]


def _venue_minutes(bar: DayBar, venue: Venue, instrument: Instrument) -> list[MinuteBar]:
    """The minutes of a venue's bar, the early and late sessions of its day among them."""
    day = date.fromisoformat(bar.day).isoformat()
    held = [
        (session, int(bar.volume * _PARTS[venue, session.name]))
        for session in sessions_on(day, OPEN_S, venue)
        if (venue, session.name) in _PARTS and (session.etps or not instrument.etp)
    ]
    regular_volume = bar.volume - sum(volume for _, volume in held)
    regular = minutes_of(msgspec.structs.replace(bar, volume=regular_volume, value=_part(bar, regular_volume)))
    flat = {session.name: _flat(session, volume, bar) for session, volume in held}
    return _with_running_value([*flat.get("pre", ()), *regular, *flat.get("after", ())], bar)


def _flat(session: Session, volume: int, bar: DayBar) -> list[MinuteBar]:
    """A session's volume at one price, in equal parts; the values after them are filled in later."""
    price = bar.open if session.name == "pre" else bar.close
    # From the second minute on: that of the closing cross, with which NXT's late session begins, has its bar already.
    starts = range(session.start_s + 60, session.end_s, _STEP_S)
    done = [volume * number // len(starts) for number in range(len(starts) + 1)]
    parts = ((start, after - before) for start, (before, after) in zip(starts, pairwise(done), strict=True))
    return [MinuteBar(hhmmss(start), price, price, price, price, part, 0) for start, part in parts if part]


def _part(bar: DayBar, volume: int) -> int:
    return bar.value * volume // max(1, bar.volume)


def _with_running_value(minutes: Sequence[MinuteBar], bar: DayBar) -> list[MinuteBar]:
    running = accumulate(minute.volume for minute in minutes)
    return [
        msgspec.structs.replace(minute, value_after=_part(bar, done))
        for minute, done in zip(minutes, running, strict=True)
    ]


def _together(krx: Sequence[MinuteBar], nxt: Sequence[MinuteBar]) -> list[MinuteBar]:
    """The minutes of two venues, of the minute that both have one."""
    by_start = [{minute.start_hhmmss: minute for minute in minutes} for minutes in (krx, nxt)]
    values, bars = [0, 0], list[MinuteBar]()
    for start in sorted(by_start[0].keys() | by_start[1].keys()):
        of_venues = [by_start[venue][start] for venue in (0, 1) if start in by_start[venue]]
        for venue in (0, 1):
            values[venue] = by_start[venue][start].value_after if start in by_start[venue] else values[venue]
        first, last = of_venues[0], of_venues[-1]
        high, low = max(minute.high for minute in of_venues), min(minute.low for minute in of_venues)
        volume = sum(minute.volume for minute in of_venues)
        bars.append(MinuteBar(start, first.open, high, low, last.close, volume, sum(values)))
    return bars
