"""A day of real shape: thousands of symbols and millions of trades, made in windows as they are asked for. Pure.

Activity follows a power law over the ranks by turnover; the minutes have the day's U, chance and surges, and the first
and last ten seconds of the continuous trading have bursts, with BURST_TRADES in one second for the busiest symbol.
Trades come in clusters. There are no halts, and the KRX is the only venue.

The trades are made as they are read (`market.lazy_tape`): a quote, a page or a record makes one window or two of its
own symbol, and none of another.

Imported only where the settings ask for such a day: the NumPy that it needs comes with pandas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from observer.base.units import NS_PER_S
from observer.simulator.market.instruments import Instrument, RngSource, as_etf, tick_size
from observer.simulator.market.lazy_tape import BURST_S, MINUTE_PIECES, PIECES, LazyTape, Numbers, Shape, Windows
from observer.simulator.market.market import Market, MinuteBar, minute_bar
from observer.simulator.market.plan import HISTORY_DAYS, MarketPlan, cross_size, plan_of
from observer.simulator.market.tape import (
    EMPTY_TAPE,
    MINUTES,
    OPEN_S,
    VOLUME_BY_MINUTE,
    DayTape,
)

BURST_TRADES: Final = 200
_ETF_SHARE: Final = 1_100 / 3_700
_RANK_POWER: Final = 1.5
_RANK_OFFSET: Final = 0.016  # of the listings: flattens the head
_BURST_DECAY: Final = 0.7
_BURST_POWER: Final = 0.8
_MOST_OF_DAY: Final = 20  # a second's burst is at most this part of the symbol's day
_WIDEST_RANGE: Final = 0.08  # of the base price on either side: no interruption, no limit
_MOVES_MOST: Final = 0.5
_SURGE_DECAY_MIN: Final = 20.0
_SURGE_MOST: Final = 0.3  # a surge makes no symbol's day longer than this part of the busiest one's
_WEIGHTS: Final = np.diff(np.array((0.0, *VOLUME_BY_MINUTE)))


def with_etfs(instruments: Sequence[Instrument]) -> tuple[Instrument, ...]:
    """The listings with as large a share of ETFs as the Korean market has; the newest listing stays a share."""
    wanted = round(len(instruments) * _ETF_SHARE) - sum(each.etf for each in instruments)
    plain = [
        index
        for index, each in enumerate(instruments[:-1])
        if each.ordinary and each.trades and not (each.administrative or each.settlement_trading or each.split)
    ]
    chosen = {plain[len(plain) * number // wanted] for number in range(min(wanted, len(plain)))}
    return tuple(as_etf(each) if index in chosen else each for index, each in enumerate(instruments))


class RealDayMarket(Market):
    """One day of real shape with about `day_trades` trades in all, a function of the seed."""

    def __init__(
        self,
        seed: int,
        session_date: str,
        instruments: Sequence[Instrument],
        rng: RngSource,
        day_trades: int,
        opens_s: int = OPEN_S,
        history_days: int = HISTORY_DAYS,
    ) -> None:
        """`opens_s` and `history_days` are those of every market."""
        super().__init__(seed, session_date, instruments, rng, opens_s, history_days=history_days)
        self.windows = Windows()
        self._lazy: dict[str, DayTape] = {}
        drawn = {each.symbol: self._drawn_plan(each) for each in self.instruments}
        weights = {each.symbol: self._weight(each, drawn[each.symbol]) for each in self.instruments if each.trades}
        times = day_trades / sum(weights.values())
        self._counts = {symbol: max(2, round(weight * times)) for symbol, weight in weights.items()}
        self._busiest = max(self._counts.values())
        for instrument in self.instruments:
            plan = drawn[instrument.symbol]
            usual = max(1, round(self._counts.get(instrument.symbol, 1) / _day_times(plan)))
            volume = max(instrument.previous_volume, usual)
            self._plans[instrument.symbol] = msgspec.structs.replace(plan, usual_trades=usual, usual_volume=volume)

    def tape(self, symbol: str) -> DayTape:
        """The symbol's day; its trades are made as they are read. Raises KeyError for a symbol that is not listed."""
        tape = self._lazy.get(symbol)
        if tape is None:
            instrument = self._by_symbol[symbol]
            tape = self._lazy[symbol] = self._lazy_tape(instrument) if instrument.trades else EMPTY_TAPE
        return tape

    def minute_bars(self, symbol: str, now_ns: int, until_minute: int, count: int) -> list[MinuteBar]:
        """As every market's; the minutes' edges are known without their trades."""
        tape = self.tape(symbol)
        minute_ns = 60 * NS_PER_S
        end = tape.count_until(min(now_ns, self.midnight_ns + (until_minute + 1) * minute_ns - 1))
        bars: list[MinuteBar] = []
        while end > 0 and len(bars) < count:
            minute = (tape.time_ns[end - 1] - self.midnight_ns) // minute_ns
            start = tape.count_until(self.midnight_ns + minute * minute_ns - 1)
            bars.append(minute_bar(tape, start, end, minute))
            end = start
        return bars

    def offered_digest(self) -> str:
        """SHA-256 over the trades of all symbols in the order of their codes."""
        digest = hashlib.sha256()
        for symbol in sorted(self._by_symbol):
            digest.update(f"{symbol}:{len(self.tape(symbol))};".encode())
            for columns in self.columns(symbol):
                for name in ("time_ns", "price", "volume", "side"):
                    digest.update(columns[name].tobytes())
        return digest.hexdigest()

    def columns(self, symbol: str) -> Iterator[Mapping[str, Numbers]]:
        """The symbol's trades window by window, oldest first, in columns by the names of a tape's."""
        tape = self.tape(symbol)
        if isinstance(tape, LazyTape):
            yield from tape.windows()

    def _drawn_plan(self, instrument: Instrument) -> MarketPlan:
        generator = self._rng(f"plan/{self.session_date}/{instrument.symbol}")
        plan = plan_of(instrument, self._rank[instrument.symbol], len(self.instruments), generator)
        return msgspec.structs.replace(plan, bursts=(), lock=None, disclosure_s=None)

    def _weight(self, instrument: Instrument, plan: MarketPlan) -> float:
        offset = 1 + _RANK_OFFSET * len(self.instruments)
        by_rank: float = (self._rank[instrument.symbol] + offset) ** -_RANK_POWER
        of_busiest: float = offset**-_RANK_POWER * _SURGE_MOST
        return min(by_rank * _day_times(plan), max(by_rank, of_busiest))

    def _lazy_tape(self, instrument: Instrument) -> DayTape:
        symbol = instrument.symbol
        count = self._counts[symbol]
        peak = min(count // _MOST_OF_DAY, round(BURST_TRADES * (count / self._busiest) ** _BURST_POWER))
        key = self._rng(f"real day/{self.session_date}/{symbol}").getrandbits(96)
        shape = _shape_of(self.plan(symbol), instrument.base_price, count, peak, key)
        return LazyTape(symbol, shape, self.open_ns, self.windows)


def _day_times(plan: MarketPlan) -> float:
    """The day's trades for one of a usual day."""
    return plan.activity if plan.surge is None else plan.surge.times


def _shape_of(plan: MarketPlan, base: int, count: int, peak: int, key: int) -> Shape:
    mean = plan.usual_volume / plan.usual_trades
    half = min(base * _WIDEST_RANGE, plan.true_range * plan.range_times / 2)
    step = tick_size(int(base + half))
    lowest = max(step, -(-int(base - half) // step) * step)
    steps = max(1, (int(base + half) - lowest) // step)
    return Shape(
        key=key,
        counts=_counts(plan, count, peak, key),
        mean_volume=mean,
        cross_volume=max(1, round(mean * cross_size(plan))),
        lowest=lowest,
        step=step,
        steps=steps,
        first=min(steps, max(0, (base - lowest) // step)),
        moves=min(_MOVES_MOST, 2 * steps * steps / count),
    )


def _counts(plan: MarketPlan, count: int, peak: int, key: int) -> Numbers:
    """The trades of each piece; the first and the last trade are the crosses."""
    counts = np.zeros(len(PIECES), dtype=np.int64)
    burst = (peak * _BURST_DECAY ** np.arange(BURST_S)).astype(np.int64)
    counts[:BURST_S] = burst
    counts[-1 - BURST_S : -1] = burst[::-1]
    counts[0], counts[-1] = max(1, burst[0]), 1
    draws = np.random.Generator(np.random.PCG64(key))
    weights = _WEIGHTS * (0.7 - 0.3 * np.log1p(-draws.random(MINUTES)))
    if plan.surge is not None:
        since = np.arange(MINUTES) - plan.surge.start_s / 60
        extra = np.where(since >= 0, np.exp(-np.abs(since) / _SURGE_DECAY_MIN), 0.0)
        weights /= weights.sum()
        weights += extra / max(extra.sum(), 1e-9) * (plan.surge.times - plan.activity) / plan.activity
    edges = np.cumsum(weights)
    rest = max(0, count - int(counts.sum()))
    minutes = np.searchsorted(edges / edges[-1], draws.random(rest), side="right")
    counts[MINUTE_PIECES] += np.bincount(minutes.clip(0, MINUTES - 1), minlength=MINUTES)
    return counts
