"""Bars as a picture in the terminal: candles, volumes below them, and a mark under each bar that lacks trades. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

HEIGHT: Final = 16
_RISING, _FALLING, _WICK = "┃", "░", "│"
_VOLUMES: Final = " ▁▂▃▄▅▆▇█"
_LACKING: Final = "?"
_VOLUME: Final = "volume "
_LABEL: Final = 6  # columns between two times below the picture


class Candle(msgspec.Struct, frozen=True):
    """A bar: its time as a text, its prices and volume, and whether every trade of it is known."""

    time: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    complete: bool


def plotted(candles: Sequence[Candle], width: int, height: int = HEIGHT) -> Iterator[str]:
    """The lines of the picture, at most `width` columns wide; several bars share a column where there are more."""
    top, bottom = max(each.high for each in candles), min(each.low for each in candles)
    labels = [f"{_price(top - (top - bottom) * row / (height - 1))} " for row in range(height)]
    margin = max(len(_VOLUME), *map(len, labels))
    columns = fitted(candles, max(width - margin, 1))
    step = (top - bottom) / (height - 1)

    def row_of(price: float) -> int:
        return round((top - price) / step) if step else 0

    for row, label in enumerate(labels):
        yield (label.rjust(margin) + "".join(_letter(each, row, row_of) for each in columns)).rstrip()
    largest = max(each.volume for each in columns)
    levels = len(_VOLUMES) - 1
    heights = (round(levels * each.volume / largest) if largest else 0 for each in columns)
    yield (_VOLUME.rjust(margin) + "".join(_VOLUMES[each] for each in heights)).rstrip()
    if not all(each.complete for each in columns):
        marks = "".join(" " if each.complete else _LACKING for each in columns)
        yield ("".rjust(margin) + marks).rstrip()
    yield "".rjust(margin) + _times(columns)
    if not all(each.complete for each in columns):
        yield f"{_LACKING} not proved to have every trade"


def fitted(candles: Sequence[Candle], columns: int) -> Sequence[Candle]:
    """The bars, as many neighbours joined as it takes to have at most so many."""
    together = -(-len(candles) // columns)
    groups = [candles[at : at + together] for at in range(0, len(candles), together)]
    return [
        Candle(
            group[0].time,
            group[0].open,
            max(each.high for each in group),
            min(each.low for each in group),
            group[-1].close,
            sum(each.volume for each in group),
            all(each.complete for each in group),
        )
        for group in groups
    ]


def _letter(candle: Candle, row: int, row_of: Callable[[float], int]) -> str:
    first, last = sorted((row_of(candle.open), row_of(candle.close)))
    if first <= row <= last:
        return _RISING if candle.close >= candle.open else _FALLING
    return _WICK if row_of(candle.high) <= row <= row_of(candle.low) else " "


def _times(columns: Sequence[Candle]) -> str:
    found = ""
    for at, each in enumerate(columns):
        if at >= len(found) + (_LABEL if found else 0) and at + len(each.time) <= max(len(columns), len(each.time)):
            found = found.ljust(at) + each.time
    return found


def _price(price: float) -> str:
    return f"{price:,.0f}" if price >= 100 else f"{price:,.4g}"
