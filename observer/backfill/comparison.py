"""Official minute bars beside bars made of the stored trades of a symbol's day. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import get_args

import msgspec

from bus.events import MinuteBarFetched, MinuteDifference, MinuteDiffers, Trade, TradesConflated
from observer.gaps.intervals import VOLUME_NOISE
from observer.units import NS_PER_MINUTE


class MinuteShape(msgspec.Struct, frozen=True):
    """A minute's prices and volume."""

    open: float
    high: float
    low: float
    close: float
    volume: float


class Comparison(msgspec.Struct, frozen=True):
    """The counts of `BarsChecked`, and its differences in order of time."""

    minutes: int
    equal: int
    other_volume: int
    other_prices: int
    without_trades: int
    without_bar: int
    official_volume: float
    stored_volume: float
    differences: tuple[MinuteDifference, ...]


def bars_of_trades(trades: Iterable[Trade], conflated: Iterable[TradesConflated] = ()) -> Mapping[int, MinuteShape]:
    """The minutes of one symbol's stored trades, by begin (UTC ns). A trade that is stored twice counts once: two that
    lead to one volume of the day by one volume at one time. Trades of one time are in the order of the day's volume. A
    conflated row counts in the minute in which it begins.
    """
    once = {(each.exchange_time_ns, each.cumulative_volume, each.volume): each for each in trades}
    pieces = [(*key[:2], MinuteShape(*(each.price,) * 4, each.volume)) for key, each in once.items()]
    pieces += [
        (each.from_ns, each.cumulative_volume, MinuteShape(each.open, each.high, each.low, each.close, each.volume))
        for each in conflated
    ]
    by_minute: defaultdict[int, list[MinuteShape]] = defaultdict(list)
    for at_ns, _, shape in sorted(pieces, key=lambda piece: piece[:2]):
        by_minute[at_ns // NS_PER_MINUTE * NS_PER_MINUTE].append(shape)
    return {start_ns: _joined(shapes) for start_ns, shapes in by_minute.items()}


def official_bars(rows: Iterable[MinuteBarFetched]) -> Mapping[int, MinuteShape]:
    """The minutes of one symbol's fetched bars, by begin, the later row of a minute; those without a trade left out."""
    return {
        each.minute_start_ns: MinuteShape(each.open, each.high, each.low, each.close, each.volume)
        for each in sorted(rows, key=lambda row: row.received_ns)
        if each.volume > 0
    }


def compared(official: Mapping[int, MinuteShape], stored: Mapping[int, MinuteShape]) -> Comparison:
    """Each minute of either side once, under one word."""
    differences = [
        MinuteDifference(start_ns, word, *(_volume(side.get(start_ns)) for side in (official, stored)))
        for start_ns in sorted(official.keys() | stored.keys())
        if (word := _difference(official.get(start_ns), stored.get(start_ns))) is not None
    ]
    count = {word: sum(each.differs == word for each in differences) for word in get_args(MinuteDiffers)}
    minutes = len(official.keys() | stored.keys())
    return Comparison(
        minutes=minutes,
        equal=minutes - len(differences),
        other_volume=count["volume"],
        other_prices=count["prices"],
        without_trades=count["without_trades"],
        without_bar=count["without_bar"],
        official_volume=sum(each.volume for each in official.values()),
        stored_volume=sum(each.volume for each in stored.values()),
        differences=tuple(each for each in differences if each.differs != "without_trades"),
    )


def _difference(official: MinuteShape | None, stored: MinuteShape | None) -> MinuteDiffers | None:
    if stored is None:
        return "without_trades"
    if official is None:
        return "without_bar"
    if abs(official.volume - stored.volume) > VOLUME_NOISE:
        return "volume"
    same = msgspec.structs.replace(stored, volume=official.volume) == official
    return None if same else "prices"


def _volume(shape: MinuteShape | None) -> float | None:
    return None if shape is None else shape.volume


def _joined(shapes: list[MinuteShape]) -> MinuteShape:
    return MinuteShape(
        shapes[0].open,
        max(each.high for each in shapes),
        min(each.low for each in shapes),
        shapes[-1].close,
        sum(each.volume for each in shapes),
    )
