"""Official minute bars beside bars made of the stored trades of a symbol's day. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import get_args

import msgspec

from bus.events import BarsChecked, BarsFetched, MinuteBarFetched, MinuteDifference, MinuteDiffers, Trade
from observer.base.units import NS_PER_MINUTE
from observer.gaps.intervals import VOLUME_NOISE, UnheldRow


class MinuteShape(msgspec.Struct, frozen=True):
    """A minute's prices and volume."""

    open: float
    high: float
    low: float
    close: float
    volume: float


def bars_of_trades(trades: Iterable[Trade], conflated: Iterable[UnheldRow] = ()) -> Mapping[int, MinuteShape]:
    """The minutes of one symbol's stored trades, by begin (UTC ns). A trade that is stored twice counts once: two that
    lead to one volume of the day by one volume at one time. Trades of one time are in the order of the day's volume. A
    conflated row counts in the minute in which it begins, with the shares that no stored trade has.
    """
    once = {(each.exchange_time_ns, each.cumulative_volume, each.volume): each for each in trades}
    pieces = [
        UnheldRow(at_ns, at_ns, total - volume, total, *(each.price,) * 4, volume, 1)
        for (at_ns, total, volume), each in once.items()
    ]
    by_minute: defaultdict[int, list[UnheldRow]] = defaultdict(list)
    for piece in sorted([*pieces, *conflated], key=attrgetter("from_ns", "after_volume", "upto_volume")):
        by_minute[piece.from_ns // NS_PER_MINUTE * NS_PER_MINUTE].append(piece)
    return {start_ns: _joined(of_minute) for start_ns, of_minute in by_minute.items()}


def official_bars(rows: Iterable[MinuteBarFetched]) -> Mapping[int, MinuteShape]:
    """The minutes of one symbol's fetched bars, by begin, the later row of a minute; those without a trade left out."""
    return {
        each.minute_start_ns: MinuteShape(each.open, each.high, each.low, each.close, each.volume)
        for each in sorted(rows, key=lambda row: row.received_ns)
        if each.volume > 0
    }


def compared(
    fetch: BarsFetched, checked_ns: int, official: Mapping[int, MinuteShape], stored: Mapping[int, MinuteShape]
) -> BarsChecked:
    """Each minute of either side once, under one word; `fetch` brought the official ones."""
    differences = [
        MinuteDifference(start_ns, word, *(_volume(side.get(start_ns)) for side in (official, stored)))
        for start_ns in sorted(official.keys() | stored.keys())
        if (word := _difference(official.get(start_ns), stored.get(start_ns))) is not None
    ]
    count = {word: sum(each.differs == word for each in differences) for word in get_args(MinuteDiffers)}
    minutes = len(official.keys() | stored.keys())
    return BarsChecked(
        fetch.provider,
        fetch.symbol,
        fetch.session_date,
        checked_ns,
        minutes=minutes,
        equal=minutes - len(differences),
        other_volume=count["volume"],
        other_prices=count["prices"],
        without_trades=count["without_trades"],
        without_bar=count["without_bar"],
        official_volume=sum(each.volume for each in official.values()),
        stored_volume=sum(each.volume for each in stored.values()),
        differences=tuple(each for each in differences if each.differs != "without_trades"),
        venue=fetch.venue,
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


def _joined(pieces: list[UnheldRow]) -> MinuteShape:
    return MinuteShape(
        pieces[0].open,
        max(each.high for each in pieces),
        min(each.low for each in pieces),
        max(pieces, key=attrgetter("to_ns", "upto_volume")).close,
        sum(each.volume for each in pieces),
    )
