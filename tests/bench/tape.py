"""The planner of the tape against a made-up day of the real market's size: no sockets, no database, a virtual clock.

The market is a function of its seed: a power law of activity over the lines, bursts at the opening and the close, and
seconds with up to 200 trades. Each line is swept every ten minutes; a call takes its turn at the broker's limit times
the share, at most at what the limiter leaves to the lowest priority. Lines with a slot are streamed all day and never
asked: those whose seconds lose the most. Without slots all trades are the tape's.

Of a second with more trades than a page, the older ones are only in a page that is asked within that second.
`polled_lines` is how many lines such calls complete at most, if it is known beforehand which lines and seconds those
are: each second has the calls of the limit.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from observer.brokers.accounts.limiter import background_pace
from observer.brokers.settings import RateLimitSettings
from observer.collection.tape.planner import Page, TapePlanner, Visit
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress

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
    """One share of the limit, and the pace of the calls that it allows: what was held until midnight, and when it was
    done (local time, empty: not).

    `held_percent` is of all trades, streamed ones included, `reachable_percent` of those that are streamed or on some
    page; `calls_of_floor` is the number of calls over that of full pages and one a line, for the trades fetched.
    `places` are those of the calls' pages by what filled them: *new* trades; trades that the page before had, which
    ends in the *same_second*; those *held* since an earlier visit; those *above_limit*, later than what was evaluated;
    or none (*short*: the line's day begins).
    """

    share: float
    calls_per_second: float
    held_percent: float
    reachable_percent: float
    complete_percent: float
    calls: int
    calls_of_floor: float
    done_at: str
    planner_bytes: int
    places: Mapping[str, int]


class TapeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `python -m tests.bench tape`. `unreachable` trades share a second with a page of later ones, on one
    of the `crowded_lines`, and are not `streamed`; calls within those seconds would complete `polled_lines` of the
    lines at most. `pages` are the calls if each line is visited once, after the close. The limits are those of an
    account.
    """

    machine: Machine
    lines: int
    trades: int
    slots: int
    streamed: int
    unreachable: int
    crowded_lines: int
    polled_lines: int
    pages: int
    pages_of_floor: float
    calls_per_second: float
    calls_per_minute: float
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

    def crowded_seconds(self) -> dict[int, int]:
        """The seconds with more trades than a page, and their numbers."""
        seconds, counts = np.unique(self.seconds, return_counts=True)
        return {int(second): int(count) for second, count in zip(seconds, counts, strict=True) if count > PAGE_TRADES}

    @property
    def unreachable(self) -> int:
        """Trades that no page has."""
        return sum(count - PAGE_TRADES for count in self.crowded_seconds().values())

    @property
    def pages(self) -> int:
        """The calls of one visit after the close."""
        calls, end = 0, len(self.seconds)
        while end > 0:
            calls += 1
            second = int(self.seconds[max(0, end - PAGE_TRADES)])
            upto = int(np.searchsorted(self.seconds, second, "right"))
            end = upto if end > PAGE_TRADES and upto < end else int(np.searchsorted(self.seconds, second, "left"))
        return calls

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
    limit: RateLimitSettings,
    accounts: int,
    slots: int,
    report: ReportProgress,
) -> TapeResult:
    """Plan the whole day once for each share, beside so many slots, with accounts of this limit."""
    market = made_up_market(trades, lines, seed=7)
    total = sum(len(line.seconds) for line in market.values())
    streamed = sum(len(market.pop(symbol).seconds) for symbol in most_crowded(market, slots))
    crowded = [seconds for line in market.values() if (seconds := line.crowded_seconds())]
    found: list[TapeShare] = []
    for number, share in enumerate(shares):
        report(f"share {share}: {number + 1} of {len(shares)}")
        pace = background_pace(limit, share) * accounts
        found.append(_Day(market, pace).run(share, slots, streamed))
    fetched = sum(len(line.seconds) - line.unreachable for line in market.values())
    pages = sum(line.pages for line in market.values())
    return TapeResult(
        machine=this_machine(folder),
        lines=lines,
        trades=total,
        slots=slots,
        streamed=streamed,
        unreachable=total - streamed - fetched,
        crowded_lines=len(crowded),
        polled_lines=polled_lines(crowded, limit.calls_per_second * accounts),
        pages=pages,
        pages_of_floor=pages / (fetched / PAGE_TRADES + len(market)),
        calls_per_second=limit.calls_per_second,
        calls_per_minute=limit.calls_per_minute or 0.0,
        accounts=accounts,
        shares=tuple(found),
    )


def most_crowded(market: Mapping[str, MadeUpLine], slots: int) -> Sequence[str]:
    """The lines that lose the most trades to crowded seconds, so many of them."""
    return sorted(market, key=lambda symbol: (-market[symbol].unreachable, symbol))[:slots]


def polled_lines(crowded: Sequence[Mapping[int, int]], calls_per_second: float) -> int:
    """How many of these lines calls within their crowded seconds complete: a page each that is missing, the lines with
    the fewest such seconds first.
    """
    left, complete = dict[int, float](), 0
    for seconds in sorted(crowded, key=len):
        needed = {second: ceil(count / PAGE_TRADES) - 1 for second, count in seconds.items()}
        if all(left.get(second, calls_per_second) >= calls for second, calls in needed.items()):
            complete += 1
            left |= {second: left.get(second, calls_per_second) - calls for second, calls in needed.items()}
    return complete


class _Day:
    """One day at so many calls a second. `market` are the lines without a slot."""

    def __init__(self, market: Mapping[str, MadeUpLine], calls_per_second: float) -> None:
        self._market = market
        self._planner = TapePlanner(PAGE_TRADES)
        self._spacing_s = 1 / calls_per_second
        self._now_s = float(_OPENS_S)
        self._swept_s = _OPENS_S
        self._is_closed = False
        self._calls = 0
        self._fetched = 0
        self._bytes = 0
        self._places = Counter[str]()

    def run(self, share: float, slots: int, streamed: int) -> TapeShare:
        """Fetch until everything is held or midnight comes; so many trades are streamed beside it, of `slots` lines."""
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
        asked = sum(len(line.seconds) for line in self._market.values())
        reachable = asked - sum(line.unreachable for line in self._market.values())
        held = streamed + self._fetched
        is_done = self._now_s < end_s
        return TapeShare(
            share=share,
            calls_per_second=1 / self._spacing_s,
            held_percent=100 * held / (streamed + asked),
            reachable_percent=100 * held / (streamed + reachable),
            complete_percent=100 * (complete + slots) / (len(self._market) + slots),
            calls=self._calls,
            calls_of_floor=self._calls / floor,
            done_at=f"{int(self._now_s) // 3600:02}:{int(self._now_s) // 60 % 60:02}" if is_done else "",
            planner_bytes=self._bytes,
            places=dict(self._places),
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
        before: Page | None = None
        while self._now_s < end_s and (second := self._planner.ask(visit)) is not None:
            self._now_s += self._spacing_s
            self._calls += 1
            page, limit = line.page(second), visit.chain.limit
            taken = self._planner.page(visit, second, page)
            new = sum(line.trades_in(after, upto) for after, upto in taken.new)
            self._fetched += new
            self._places.update(_places(line, page, before, limit, new))
            before = page
        self._planner.end(visit)


def _places(line: MadeUpLine, page: Page | None, before: Page | None, limit: float, new: int) -> Mapping[str, int]:
    """What filled the places of a page with so many new trades; `before` is the visit's page before it."""
    if page is None:
        return {"short": PAGE_TRADES}
    above_from = min(max(limit, page.after_volume), page.upto_volume)
    had_from = min(max(page.after_volume, before.after_volume), above_from) if before else above_from
    above, same_second = line.trades_in(above_from, page.upto_volume), line.trades_in(had_from, above_from)
    held = page.trades - new - above - same_second
    short = PAGE_TRADES - page.trades
    return {"new": new, "same_second": same_second, "held": held, "above_limit": above, "short": short}


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
