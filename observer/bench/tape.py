"""The planner of the tape against a made-up day of the real market's size: no sockets, no database, a virtual clock.

The market is a function of its seed: a power law of activity over the lines, bursts at the opening and the close, and
seconds with up to 200 trades. Each line is swept every ten minutes; a call takes its turn at the broker's limit times
the share; nothing is streamed, so every trade is the tape's.
"""

import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from observer.bench.machine import Machine, this_machine
from observer.bench.path import ReportProgress
from observer.tape.planner import Page, TapePlanner, Visit

PAGE_TRADES: Final = 30
_OPENS_S, _CLOSES_S, _MIDNIGHT_S = 9 * 3600, 15 * 3600 + 1800, 24 * 3600
_SWEEP_S: Final = 600
_EVALUATED_AFTER_S: Final = 10
_CLOSED_AFTER_S: Final = 600  # from the close to the last sweep's evaluation
_JUDGED_BEFORE_S: Final = 120  # before midnight
_BEFORE_FIRST: Final = 10  # activity falls as 1 / (rank + this): the busiest line has some 1.5 % of the trades
_BURST_SHARES: Final = (0.08, 0.05)  # of a line's trades around the opening and the close, beside continuous trading
_BURST_S: Final = 300.0  # their mean distance
_BURST_TRADES: Final = 200  # in one second of the busiest lines, at the opening and at the close


class TapeShare(msgspec.Struct, frozen=True, kw_only=True):
    """One share of the limit: what was fetched until midnight, and when it was done (local time, empty: not).

    `fetched_percent` is of all trades, `reachable_percent` of those that some page has; `calls_of_floor` is the number
    of calls over that of full pages and one a line, for the trades fetched.
    """

    share: float
    fetched_percent: float
    reachable_percent: float
    complete_percent: float
    calls: int
    calls_of_floor: float
    done_at: str
    planner_bytes: int


class TapeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `observer bench tape`. `unreachable` trades share a second with a page of later ones."""

    machine: Machine
    lines: int
    trades: int
    unreachable: int
    calls_per_second: float
    accounts: int
    shares: tuple[TapeShare, ...]


class MadeUpLine:
    """One line's trades: the second of each, and the day's volume after each."""

    __slots__ = ("seconds", "volumes")

    def __init__(self, rng: np.random.Generator, trades: int, burst: int) -> None:
        first, last = (round(trades * share) for share in _BURST_SHARES)
        seconds = np.concatenate(
            (
                _OPENS_S + rng.exponential(_BURST_S, first),
                _CLOSES_S - rng.exponential(_BURST_S, last),
                _crowded(rng, trades - first - last),
                np.full(burst, _OPENS_S),
                np.full(burst, _CLOSES_S),
            )
        )
        self.seconds: NDArray[np.int32] = np.sort(np.clip(seconds, _OPENS_S, _CLOSES_S)).astype(np.int32)
        sizes = 1 + rng.geometric(0.02, len(self.seconds))
        self.volumes: NDArray[np.float64] = np.concatenate(((0.0,), np.cumsum(sizes, dtype=np.float64)))

    @property
    def unreachable(self) -> int:
        """Trades that no page has."""
        _, counts = np.unique(self.seconds, return_counts=True)
        return int(np.maximum(counts - PAGE_TRADES, 0).sum())

    def volume_at(self, second: int) -> float:
        """The day's volume at the end of a second."""
        return float(self.volumes[np.searchsorted(self.seconds, second, "right")])

    def page(self, second: int) -> Page | None:
        """The newest trades up to the end of a second."""
        end = int(np.searchsorted(self.seconds, second, "right"))
        begin = max(0, end - PAGE_TRADES)
        if begin == end:
            return None
        volumes, seconds = self.volumes, self.seconds
        return Page(end - begin, float(volumes[begin]), float(volumes[end]), int(seconds[begin]), int(seconds[end - 1]))

    def trades_in(self, after: float, upto: float) -> int:
        """The number of trades with a cumulative volume in (after, upto]."""
        return int(np.searchsorted(self.volumes, upto, "right") - np.searchsorted(self.volumes, after, "right"))


def _crowded(rng: np.random.Generator, trades: int) -> NDArray[np.float64]:
    """Seconds of continuous trading: an order meets several others, so trades share seconds."""
    moments = rng.uniform(_OPENS_S, _CLOSES_S, ceil(trades / 2.5) or 1)
    return np.asarray(moments[rng.integers(0, len(moments), trades)], dtype=np.float64)


def made_up_market(trades: int, lines: int, seed: int) -> dict[str, MadeUpLine]:
    """The lines by symbol, the busiest first."""
    rng = np.random.default_rng(seed)
    weights = 1 / (_BEFORE_FIRST + np.arange(1, lines + 1, dtype=np.float64))
    counts = np.maximum(1, np.round(trades * weights / weights.sum())).astype(int)
    bursts = np.minimum(_BURST_TRADES, np.round(_BURST_TRADES * weights / weights[min(20, lines - 1)])).astype(int)
    return {
        f"{number:06}": MadeUpLine(rng, int(count), int(burst))
        for number, (count, burst) in enumerate(zip(counts, bursts, strict=True))
    }


async def measure_tape(
    folder: Path,
    trades: int,
    lines: int,
    shares: Sequence[float],
    calls_per_second: float,
    accounts: int,
    report: ReportProgress,
) -> TapeResult:
    """Plan the whole day once for each share."""
    market = made_up_market(trades, lines, seed=7)
    unreachable = sum(line.unreachable for line in market.values())
    total = sum(len(line.seconds) for line in market.values())
    found: list[TapeShare] = []
    for number, share in enumerate(shares):
        report(f"share {share}: {number + 1} of {len(shares)}")
        found.append(_Day(market, share * calls_per_second * accounts).run(share, total, unreachable))
    return TapeResult(
        machine=this_machine(folder),
        lines=lines,
        trades=total,
        unreachable=unreachable,
        calls_per_second=calls_per_second,
        accounts=accounts,
        shares=tuple(found),
    )


class _Day:
    """One day at so many calls a second."""

    def __init__(self, market: dict[str, MadeUpLine], calls_per_second: float) -> None:
        self._market = market
        self._planner = TapePlanner(PAGE_TRADES)
        self._spacing_s = 1 / calls_per_second
        self._now_s = float(_OPENS_S)
        self._swept_s = _OPENS_S
        self._is_closed = False
        self._calls = 0
        self._fetched = 0
        self._bytes = 0

    def run(self, share: float, total: int, unreachable: int) -> TapeShare:
        """Fetch until everything is held or midnight comes."""
        end_s = _MIDNIGHT_S - _JUDGED_BEFORE_S
        while self._now_s < end_s:
            self._sweep()
            if (visit := self._planner.take()) is not None:
                self._visit(visit, end_s)
            elif self._is_closed:
                break
            else:
                self._now_s = self._next_sweep_s
        chains = self._planner.chains.values()
        complete = sum(not chain.missing_volume and not chain.lost_volume for chain in chains)
        floor = self._fetched / PAGE_TRADES + len(chains)
        is_done = self._now_s < end_s
        return TapeShare(
            share=share,
            fetched_percent=100 * self._fetched / total,
            reachable_percent=100 * self._fetched / (total - unreachable),
            complete_percent=100 * complete / len(chains),
            calls=self._calls,
            calls_of_floor=self._calls / floor,
            done_at=f"{int(self._now_s) // 3600:02}:{int(self._now_s) // 60 % 60:02}" if is_done else "",
            planner_bytes=self._bytes,
        )

    @property
    def _next_sweep_s(self) -> float:
        return float(min(self._swept_s + _SWEEP_S, _CLOSES_S + _CLOSED_AFTER_S) + _EVALUATED_AFTER_S)

    def _sweep(self) -> None:
        """Take in the sweeps that were evaluated by now."""
        while not self._is_closed and self._now_s >= self._next_sweep_s:
            self._swept_s = min(self._swept_s + _SWEEP_S, _CLOSES_S + _CLOSED_AFTER_S)
            volumes = {symbol: line.volume_at(self._swept_s) for symbol, line in self._market.items()}
            for symbol, volume in volumes.items():
                self._planner.learn(symbol, volume, self._swept_s, volume * 10_000)
            if self._swept_s >= _CLOSES_S + _CLOSED_AFTER_S:
                self._planner.close(volumes, self._swept_s + 1)
                self._is_closed = True
            if self._is_closed or self._swept_s % 3600 == 0:
                self._bytes = max(self._bytes, size_of(self._planner))

    def _visit(self, visit: Visit, end_s: float) -> None:
        line = self._market[visit.symbol]
        while self._now_s < end_s and (second := self._planner.ask(visit)) is not None:
            self._now_s += self._spacing_s
            self._calls += 1
            for after, upto in self._planner.page(visit, second, line.page(second)).new:
                self._fetched += line.trades_in(after, upto)
        self._planner.end(visit)


def size_of(planner: TapePlanner) -> int:
    """The bytes of a planner's objects."""
    seen, total = set[int](), 0
    rest: list[object] = [planner.__dict__]
    while rest:
        each = rest.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        if isinstance(each, dict):
            rest += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set):
            rest += list(each)
        else:
            rest += [getattr(each, name) for name in getattr(type(each), "__slots__", ()) if name != "__weakref__"]
    return total
