"""The volume of a symbol's latest minutes, and the usual volume of the same minutes. Pure.

The requirement's volume surge is about *recent* volume, while its condition compares the day so far, which stays true
until the close. So the day's ratio arms a surge, and the ratio of the latest minutes begins, renews and ends it.

The usual volume comes from the symbol's profile; without enough days, from its average day and the share of a day that
the universe itself trades in these minutes. A symbol without an average is compared with the average symbol's opening
(`observer.selection.context`).

A venue that pauses has another pace after its next opening: until a sweep shows it, the usual volume of these minutes
is unknown, and no surge begins. Where the universe does not trade at all, nothing is a surge.

Few trades in a short time reach a multiple of the usual without a cause. So a surge begins only where the volume is
evidence of a rate above the renewing multiple: trades of exponential sizes at random times sum up to a volume whose
square root, in mean trades, has the standard deviation 1/sqrt(2) at any rate (Anscombe's transformation).
"""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from observer.base.lines import line_of
from observer.base.units import NS_PER_S

SYMBOLS_MIN: Final = 20
"""Fewer symbols of the universe have no mean share of a day."""

OPENING_S: Final = 60.0
"""Market seconds after an opening in which the pace is that of the opening, not of the minutes that follow."""

_PACE_SYMBOLS: Final = 400  # of a larger universe about so many form its pace
_BUSIEST_LEFT_OUT: Final = 10  # one symbol in so many: surges must not raise what is usual


def certain_ratio(ratio: float, usual: float, trade_volume: float, deviations: float) -> float:
    """The ratio of a volume to the usual one, as sums of trades of this mean volume, less so many standard
    deviations.
    """
    return max(0.0, math.sqrt(ratio) - deviations * math.sqrt(trade_volume / usual / 2)) ** 2


def trades_needed(ratio: float, at_least: float, deviations: float) -> float:
    """The usual trades that an interval must have for this ratio to be certainly above the other."""
    return deviations**2 / 2 / (math.sqrt(ratio) - math.sqrt(at_least)) ** 2


def overflowing_trades(per_second: float, page_trades: int) -> float:
    """How many trades a second share it with `page_trades` later ones, at so many trades a second on average. The
    numbers of trades in a second are taken as geometric, since trades come in bursts: a mean of ten has 0.6 beyond 30.
    """
    return per_second * (per_second / (1 + per_second)) ** page_trades


class RecentVolume:
    """One symbol's cumulative volume at two moments, half a window or more apart. Any number of updates, at any
    intervals, costs a comparison each; `next_ns` is when `mark` is due.
    """

    __slots__ = ("_marked_ns", "_marked_volume", "_step_ns", "next_ns", "since_ns", "since_volume")

    def __init__(self, step_ns: int) -> None:
        self._step_ns = step_ns
        self.next_ns = 0
        self.since_ns: int | None = None  # the beginning of the latest minutes; None: not known yet
        self.since_volume = 0.0
        self._marked_ns: int | None = None
        self._marked_volume = 0.0

    def mark(self, at_ns: int, volume: float) -> None:
        """Begin the latest minutes anew, at the mark before."""
        self.begin(self._marked_ns, self._marked_volume, at_ns, volume)

    def begin(self, since_ns: int | None, since_volume: float, at_ns: int, volume: float) -> None:
        """Begin the latest minutes at another moment, and mark this one."""
        self.since_ns, self.since_volume = since_ns, since_volume
        self._marked_ns, self._marked_volume = at_ns, volume
        self.next_ns = at_ns + self._step_ns


class UniversePace:
    """The mean volume of the universe since the first known moment, as a share of an average day, at rising times.

    Within the sweep in which the market begins to trade nothing is known: an opening auction trades a large share at
    once, and some symbols were seen before it. No later moment is known by that sweep's pace, either.

    `openings_ns`: when the market begins to trade again after a pause, rising. The minutes after an opening have
    another pace than those before it, so they are known by a sweep after it only: one that comes less than OPENING_S
    later counts as the sweep of the opening.
    """

    def __init__(self, openings_ns: Sequence[int] = ()) -> None:
        self._openings_ns = openings_ns
        self._times_ns: list[int] = []
        self._shares: list[float] = []
        self._opened = 0  # the moment of the first trades; 0: they were before the first moment, or are still to come
        self._before: Mapping[str, float] = {}  # by symbol, at the last moment
        self._found: dict[int, float | None] = {}  # the shares at moments that were asked for
        self.last: tuple[int, int, float | None] = (-1, -1, None)
        """The last answer of `between` with its moments, which are those of most symbols of a sweep."""

    @property
    def is_formed(self) -> bool:
        """Whether it knows the share of any moment, so that the next sweep makes more of them known."""
        return bool(self._times_ns)

    def add(self, at_ns: int, shares: Mapping[str, float]) -> None:
        """Add the symbols' shares of their average days until this moment. The mean is that of the symbols that the
        last moment had too, without the busiest tenth; too few of them have none.
        """
        if len(shares) < SYMBOLS_MIN or (self._times_ns and at_ns <= self._times_ns[-1]):
            return
        is_opened = not any(self._before.values()) and any(shares.values())
        grown = sorted(share - self._before[symbol] for symbol, share in shares.items() if symbol in self._before)
        self._before = shares
        usual = grown[: len(grown) - len(grown) // _BUSIEST_LEFT_OUT]
        if len(usual) < SYMBOLS_MIN - SYMBOLS_MIN // _BUSIEST_LEFT_OUT:
            self._times_ns, self._shares, self._opened = [at_ns], [0.0], 0
        else:
            opening_ns = self._opening_before(at_ns)
            if opening_ns is not None:  # nothing was traded in the pause before it
                self._times_ns.append(opening_ns)
                self._shares.append(self._shares[-1])
            if is_opened or (opening_ns is not None and at_ns - opening_ns < OPENING_S * NS_PER_S):
                self._opened = len(self._times_ns)
            self._times_ns.append(at_ns)
            self._shares.append(self._shares[-1] + max(0.0, sum(usual) / len(usual)))
        self._found.clear()
        self.last = (-1, -1, None)

    def between(self, since_ns: int, to_ns: int) -> float | None:
        """The share of an average day between two moments; None where one of them is not known."""
        since, to = self._by(since_ns), self._by(to_ns)
        share = None if since is None or to is None else to - since
        self.last = since_ns, to_ns, share
        return share

    def _opening_before(self, at_ns: int) -> int | None:
        """The last opening after the last moment and before this one; None without one."""
        number = bisect_left(self._openings_ns, at_ns) - 1
        found = self._openings_ns[number] if number >= 0 else None
        return found if found is not None and found > self._times_ns[-1] else None

    def _by(self, at_ns: int) -> float | None:
        """The share until this moment: linear between two moments, and after the last at the latest pace, until the
        next opening; None before the first, and where only the sweep of the opening would show it.
        """
        try:
            return self._found[at_ns]
        except KeyError:
            found = self._found[at_ns] = self._interpolated(at_ns)
            return found

    def _interpolated(self, at_ns: int) -> float | None:
        times_ns, shares = self._times_ns, self._shares
        after = min(bisect_right(times_ns, at_ns), len(times_ns) - 1)
        if after < 1 or at_ns < times_ns[0] or (after == self._opened and at_ns > times_ns[after - 1]):
            return None
        if at_ns > times_ns[-1] and self._opening_before(at_ns) is not None:
            return None
        before_ns, before = times_ns[after - 1], shares[after - 1]
        return before + (shares[after] - before) * (at_ns - before_ns) / (times_ns[after] - before_ns)


class VenuePaces:
    """The universe's pace at each venue: venues have hours of their own, and other shares of their day in these.

    `samples` are the paces with the lines that form them, of all ranks. `openings_ns`: those of each venue, rising.
    """

    def __init__(self, lines: Sequence[str], openings_ns: Mapping[str, Sequence[int]]) -> None:
        by_venue: defaultdict[str, list[str]] = defaultdict(list)
        for line in lines:
            by_venue[line_of(line).venue].append(line)
        self._paces: defaultdict[str, UniversePace] = defaultdict(UniversePace)
        self._paces.update((venue, UniversePace(openings_ns.get(venue, ()))) for venue in by_venue)
        self.samples = [
            (self._paces[venue], found[:: max(1, len(found) // _PACE_SYMBOLS)]) for venue, found in by_venue.items()
        ]

    def of(self, line: str) -> UniversePace:
        """The pace of the line's venue."""
        return self._paces[line_of(line).venue]
