"""Bars as a picture in the terminal: candles, volumes below them, and a mark under each bar that lacks trades. Pure."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import Final

import msgspec

HEIGHT: Final = 16
_RISING, _FALLING, _WICK = "┃", "░", "│"
_VOLUMES: Final = " ▁▂▃▄▅▆▇█"
_LACKING: Final = "?"
_VOLUME: Final = "volume "
_LABEL: Final = 6  # columns between two times below the picture
_STEPS: Final = ((1.0, 1), (2.0, 1), (2.5, 2), (5.0, 1))  # prices between two rows, and rows from label to label
_DIGITS: Final = 6  # of a price after its point


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
    """The lines of the picture: at most `width` columns, and `height` rows of prices. Several bars share a column where
    there are more.
    """
    step, every = _step(candles, height)
    top = _multiple(ceil, max(each.high for each in candles), step)
    bottom = _multiple(floor, min(each.low for each in candles), step)
    prices = range(top, bottom - 1, -1)  # of the rows, in steps
    labels = [f"{step * price:,.10g} " if price % every == 0 else "" for price in prices]
    margin = max(len(_VOLUME), *map(len, labels))
    columns = fitted(candles, max(width - margin, 1))

    def row_of(price: float) -> int:
        return top - round(price / step)

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


def _step(candles: Sequence[Candle], height: int) -> tuple[float, int]:
    """Price between two rows, and rows from label to label: labels are round, and never closer than two prices of the
    bars, so that each label is a price that can exist.
    """
    all_prices = (price for each in candles for price in (each.open, each.high, each.low, each.close))
    prices = sorted({round(price, _DIGITS) for price in all_prices})
    if len(prices) == 1:
        return prices[0], 1
    least = min(later - earlier for earlier, later in pairwise(prices))
    exponent = floor(log10(least))
    while True:
        for size, every in _STEPS:
            step = size * 10.0**exponent
            rows = _multiple(ceil, prices[-1], step) - _multiple(floor, prices[0], step) + 1
            if round(step * every - least, _DIGITS) >= 0 and rows <= height:
                return step, every
        exponent += 1


def _multiple(rounded: Callable[[float], int], price: float, step: float) -> int:
    """How many steps a price is, rounded; binary fractions do not count."""
    return rounded(round(price / step, _DIGITS))
