"""One symbol's day of real shape, whose trades are made in windows as they are read. Pure.

A day is cut into pieces of time (seconds of the bursts, minutes, the closing cross) with a number of trades each.
Consecutive pieces with about WINDOW_TRADES trades are a window, which is made alone from the symbol's key and the sums
of the day before it. Those sums are made with the tape, and kept; of the windows only the latest are kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from observer.base.units import NS_PER_S
from observer.simulator.market.tape import AUCTION, BUY, CLOSE_S, CONTINUOUS_S, MINUTES, OPEN_S, SELL, Halt

Numbers = NDArray[np.int64]

WINDOW_TRADES: Final = 512
_WINDOWS_KEPT: Final = 512  # of 512 trades with 80 bytes: about 20 MB
_CLUSTERS: Final = 0.6  # of the trades begin a cluster, the others follow within moments
_CLUSTER_S: Final = 0.2
_GOLDEN: Final = 0.6180339887498949
BURST_S: Final = 10

# The pieces of a day, in seconds after the opening: ten of a second, the minutes, ten of a second, the closing cross.
_CROSS_S: Final = CLOSE_S - OPEN_S
PIECES: Final = np.array(
    [
        *range(BURST_S),
        BURST_S,
        *range(60, CONTINUOUS_S - BURST_S, 60),
        *range(CONTINUOUS_S - BURST_S, CONTINUOUS_S),
        _CROSS_S,
    ],
    dtype=np.int64,
)
_LENGTHS: Final = np.append(np.diff(PIECES), 1)
_LENGTHS[-2] = 1  # nothing is dealt in the closing auction
MINUTE_PIECES: Final = slice(BURST_S, BURST_S + MINUTES)


class Shape(msgspec.Struct, frozen=True):
    """What a symbol's windows are made of. `counts` are the trades of each piece; prices are `lowest + n * step` with n
    up to `steps`, from `first` on; each trade moves with the probability `moves`.
    """

    key: int
    counts: Numbers
    mean_volume: float
    cross_volume: int
    lowest: int
    step: int
    steps: int
    first: int
    moves: float


class _Window(msgspec.Struct, frozen=True, gc=False):
    """The trades from number `first` until before `end`, in columns."""

    first: int
    end: int
    columns: Mapping[str, Numbers]


class Windows:
    """The latest used windows of all symbols, and the last one with its tape."""

    def __init__(self) -> None:
        self.latest: tuple[LazyTape | None, _Window] = (None, _Window(0, 0, {}))
        self._kept: OrderedDict[tuple[str, int], _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, tape: LazyTape, number: int) -> _Window:
        """A window of a tape, made if it is not kept."""
        key = (tape.symbol, number)
        window = self._kept.get(key)
        if window is None:
            window = self._kept[key] = tape.made(number)
            if len(self._kept) > _WINDOWS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        self.latest = (tape, window)
        return window


class LazyTape:
    """A symbol's day whose trades are made in windows. Satisfies `DayTape`."""

    def __init__(self, symbol: str, shape: Shape, open_ns: int, windows: Windows) -> None:
        self.symbol = symbol
        self._shape = shape
        self._open_ns = open_ns
        self._windows = windows
        ends = np.cumsum(shape.counts)
        self._len = int(ends[-1])
        # A window ends with the piece that fills it.
        full = np.searchsorted(ends, np.arange(WINDOW_TRADES, self._len, WINDOW_TRADES)) + 1
        inner = np.unique(full[full < len(PIECES)])
        self._pieces: list[int] = [0, *(int(piece) for piece in inner), len(PIECES)]
        self._firsts: list[int] = [0, *(int(ends[piece - 1]) for piece in inner)]
        self._starts_ns: list[int] = [open_ns + int(PIECES[piece]) * NS_PER_S for piece in self._pieces[:-1]]
        # Before each window: the place on the price grid, volume, value, high, low, buys, volumes bought and sold.
        self._before: list[tuple[int, ...]] = [(shape.first, 0, 0, 0, 0, 0, 0, 0)]
        for number in range(len(self._firsts)):
            last = {name: int(column[-1]) for name, column in self.made(number).columns.items()}
            place = (last["price"] - shape.lowest) // shape.step
            sums = (last[name] for name in ("volume_after", "value", "high", "low", "buys", "buy_volume"))
            self._before.append((place, *sums, last["sell_volume"]))
        self.time_ns, self.price, self.volume = (_Column(self, name) for name in ("time_ns", "price", "volume"))
        self.side, self.buys = _Column(self, "side"), _Column(self, "buys")
        self.volume_after, self.value = _Column(self, "volume_after"), _Column(self, "value")
        self.high, self.low = _Column(self, "high"), _Column(self, "low")
        self.buy_volume, self.sell_volume = _Column(self, "buy_volume"), _Column(self, "sell_volume")

    def __len__(self) -> int:
        return self._len

    @property
    def halts(self) -> tuple[Halt, ...]:
        """There are none."""
        return ()

    def count_until(self, moment_ns: int) -> int:
        """How many trades have happened at or before a moment."""
        number = bisect_right(self._starts_ns, moment_ns) - 1
        if number < 0:
            return 0
        window = self._windows.get(self, number)
        return window.first + int(window.columns["time_ns"].searchsorted(moment_ns, side="right"))

    def at(self, index: int) -> _Window:
        """The window that has the `index`-th trade (from 0)."""
        tape, window = self._windows.latest
        if tape is self and window.first <= index < window.end:
            return window
        return self._windows.get(self, bisect_right(self._firsts, index) - 1)

    def windows(self) -> Iterator[Mapping[str, Numbers]]:
        """The columns of all windows, oldest first; none of them is kept."""
        return (self.made(number).columns for number in range(len(self._firsts)))

    def made(self, number: int) -> _Window:
        """Make a window."""
        shape, (first, end) = self._shape, self._pieces[number : number + 2]
        counts = shape.counts[first:end]
        place, volume, value, high, low, buys, buy_volume, sell_volume = self._before[number]
        draws = np.random.Generator(np.random.PCG64((shape.key << 16) + number + 1)).random((5, int(counts.sum())))
        time_ns = self._times(first, counts, draws[0], draws[1])
        walk = np.where(draws[2] < shape.moves / 2, -1, np.where(draws[2] >= 1 - shape.moves / 2, 1, 0))
        side = np.where(draws[3] < 0.5, SELL, BUY)
        drawn = -np.log1p(-draws[4])
        sizes = 1 + ((shape.mean_volume - 1) * drawn * drawn / 2).astype(np.int64)
        for at_end, index in ((first == 0, 0), (end == len(PIECES), -1)):
            if at_end:
                side[index], sizes[index] = AUCTION, shape.cross_volume
        if first == 0:
            time_ns[0], walk[0] = self._open_ns, 0
        folded = (place + walk.cumsum()) % (2 * shape.steps)
        price = shape.lowest + shape.step * np.where(folded > shape.steps, 2 * shape.steps - folded, folded)
        columns = {
            "time_ns": time_ns,
            "price": price,
            "volume": sizes,
            "side": side,
            "volume_after": volume + sizes.cumsum(),
            "value": value + (price * sizes).cumsum(),
            "high": np.maximum.accumulate(np.maximum(price, high)),
            "low": np.minimum.accumulate(np.minimum(price, low) if low else price),
            "buys": buys + (side != SELL).cumsum(),
            "buy_volume": buy_volume + (sizes * (side == BUY)).cumsum(),
            "sell_volume": sell_volume + (sizes * (side == SELL)).cumsum(),
        }
        return _Window(self._firsts[number], self._firsts[number] + len(price), columns)

    def _times(self, first: int, counts: Numbers, draws: NDArray[np.float64], late: NDArray[np.float64]) -> Numbers:
        """Ascending times: in each piece the draws choose among clusters, and trades follow a cluster's begin."""
        pieces = np.repeat(np.arange(first, first + len(counts)), counts)
        lengths = _LENGTHS[pieces]
        clusters = np.maximum(1, (_CLUSTERS * np.repeat(counts, counts)).astype(np.int64))
        begins = (draws * clusters).astype(np.int64) * _GOLDEN + pieces * 0.37
        parts = (begins - np.log1p(-late) * _CLUSTER_S / lengths) % 1.0
        offsets = (parts * lengths * NS_PER_S).astype(np.int64)
        offsets[pieces == len(PIECES) - 1] = 0  # the closing cross
        return np.sort(self._open_ns + PIECES[pieces] * NS_PER_S + offsets)


class _Column(Sequence[int]):
    """One quantity of a lazy tape, by the trade's number."""

    def __init__(self, tape: LazyTape, name: str) -> None:
        self._tape = tape
        self._name = name

    def __len__(self) -> int:
        return len(self._tape)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self._tape))
            return self._between(start, stop)[::step] if step > 0 else [self[each] for each in range(start, stop, step)]
        if index < 0:
            index += len(self._tape)
        if not 0 <= index < len(self._tape):
            raise IndexError(index)
        window = self._tape.at(index)
        return window.columns[self._name].item(index - window.first)

    def _between(self, start: int, stop: int) -> list[int]:
        found: list[int] = []
        while start < stop:
            window = self._tape.at(start)
            found += window.columns[self._name][start - window.first : stop - window.first].tolist()
            start = window.end
        return found
