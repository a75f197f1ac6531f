"""The simulated market: every listing, every trade of the day, and what was known at any moment of it.

Pure and deterministic: an answer depends on the seed, the session day, the listings and the moment asked about, never
on when or in which order it is asked. Chance is passed in; there is no clock, file or socket here.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from observer.simulator.dealing import make_tape
from observer.simulator.halts import Halt
from observer.simulator.history import HISTORY_DAYS, DayBar, past_bars
from observer.simulator.instruments import ChanceSource, Instrument
from observer.simulator.plan import DayPlan, busier, plan_of
from observer.simulator.tape import (
    AUCTION,
    BUY,
    CLOSE_S,
    EMPTY_TAPE,
    NS_PER_S,
    OPEN_S,
    SELL,
    Tape,
    midnight_ns,
)
from observer.simulator.ticks import price_limits_krw, tick_krw

Side = Literal["buy", "sell", "auction"]
_SIDES: Final[dict[int, Side]] = {BUY: "buy", SELL: "sell", AUCTION: "auction"}


class OfferedTrade(msgspec.Struct, frozen=True, gc=False):
    """One trade that the market offers. `exchange_hhmmss` is what the wire shows of `exchange_time_ns`.

    `cumulative_*` are the day's figures after this trade; sells and buys together count every trade.
    """

    symbol: str
    session_date: str
    exchange_hhmmss: str
    exchange_time_ns: int
    price_krw: int
    volume: int
    cumulative_volume: int
    cumulative_sells: int
    cumulative_buys: int
    side: Side


class MarketState(msgspec.Struct, frozen=True, gc=False):
    """A symbol as it stood at a moment. Before the first trade the price is the base price and `trades` is 0."""

    trades: int
    price_krw: int
    open_krw: int
    high_krw: int
    low_krw: int
    bid_krw: int
    ask_krw: int
    cumulative_volume: int
    cumulative_value_krw: int


class MinuteBar(msgspec.Struct, frozen=True, gc=False):
    """The trades of one minute; `start_hhmmss` ends in 00, `value_after_krw` is the day's value after it."""

    start_hhmmss: str
    open_krw: int
    high_krw: int
    low_krw: int
    close_krw: int
    volume: int
    value_after_krw: int


class Market:
    """One day of one seeded market. Days of symbols are made when they are first asked for, and kept."""

    def __init__(
        self,
        seed: int,
        session_date: str,
        instruments: Sequence[Instrument],
        chance: ChanceSource,
        opens_s: int = OPEN_S,
        trades_times: float = 1.0,
        history_days: int = HISTORY_DAYS,
    ) -> None:
        """The day opens at `opens_s` seconds after midnight KST, 09:00 but on days like the university entrance exam's
        (10:00 to 16:30), and closes six and a half hours later. `trades_times` multiplies how often symbols trade;
        before the day there were `history_days` sessions.
        """
        self._opens_s = opens_s
        self._trades_times = trades_times
        self._history_days = history_days
        self.seed = seed
        self.session_date = session_date
        self.instruments = tuple(instruments)
        self.midnight_ns = midnight_ns(session_date)
        self._chance = chance
        self._by_symbol = {instrument.symbol: instrument for instrument in instruments}
        self._rank = {symbol: rank for rank, symbol in enumerate(_by_turnover(instruments))}
        self._tapes: dict[str, Tape] = {}
        self._plans: dict[str, DayPlan] = {}

    @property
    def open_ns(self) -> int:
        """When the opening cross is dealt: 09:00:00 KST of the session day, later on an exam day."""
        return self.midnight_ns + self._opens_s * NS_PER_S

    @property
    def close_ns(self) -> int:
        """When the closing cross is dealt: six and a half hours after the opening, 15:30:00 KST on most days."""
        return self.open_ns + (CLOSE_S - OPEN_S) * NS_PER_S

    def instrument(self, symbol: str) -> Instrument | None:
        """The listing of a symbol; None when there is none."""
        return self._by_symbol.get(symbol)

    def plan(self, symbol: str) -> DayPlan:
        """What the symbol is going to do. Raises KeyError for a symbol that is not listed."""
        plan = self._plans.get(symbol)
        if plan is None:
            generator = self._chance(f"plan/{self.session_date}/{symbol}")
            plan = plan_of(self._by_symbol[symbol], self._rank[symbol], len(self.instruments), generator)
            plan = busier(plan, self._trades_times)
            self._plans[symbol] = plan
        return plan

    def tape(self, symbol: str) -> Tape:
        """The whole day of a symbol, the future too. Raises KeyError for a symbol that is not listed."""
        tape = self._tapes.get(symbol)
        if tape is None:
            tape = self._tapes[symbol] = self._made_tape(self._by_symbol[symbol])
        return tape

    def halts(self, symbol: str) -> tuple[Halt, ...]:
        """When dealing in the symbol stops during the day, in the order of time."""
        return self.tape(symbol).halts

    def halt_at(self, symbol: str, now_ns: int) -> Halt | None:
        """The halt that runs at a moment; None when there is none. A symbol that is suspended all day has no halts."""
        return next((halt for halt in self.halts(symbol) if halt.start_ns <= now_ns < halt.end_ns), None)

    def state_at(self, symbol: str, now_ns: int) -> MarketState:
        """How the symbol stands after all its trades at or before a moment."""
        tape = self.tape(symbol)
        return self.state_after(symbol, tape.count_until(now_ns))

    def state_after(self, symbol: str, trades: int) -> MarketState:
        """How the symbol stands after its first so many trades."""
        base_krw = self._by_symbol[symbol].base_price_krw
        if trades == 0:
            return MarketState(0, base_krw, 0, 0, 0, *_quotes(base_krw, base_krw, BUY), 0, 0)
        tape, last = self.tape(symbol), trades - 1
        price_krw = tape.price_krw[last]
        return MarketState(
            trades,
            price_krw,
            tape.price_krw[0],
            tape.high_krw[last],
            tape.low_krw[last],
            *_quotes(price_krw, base_krw, tape.side[last]),
            tape.volume_after[last],
            tape.value_krw[last],
        )

    def minute_bars(self, symbol: str, now_ns: int, until_minute: int, count: int) -> list[MinuteBar]:
        """The newest minutes with trades, at most `count`, newest first; minutes counted from midnight KST.

        The minute that runs at `now_ns` shows its trades so far; `until_minute` is the latest to be shown.
        """
        tape = self.tape(symbol)
        minute_ns = 60 * NS_PER_S
        end = tape.count_until(min(now_ns, self.midnight_ns + (until_minute + 1) * minute_ns - 1))
        bars: list[MinuteBar] = []
        while end > 0 and len(bars) < count:
            minute = (tape.time_ns[end - 1] - self.midnight_ns) // minute_ns
            start = bisect_left(tape.time_ns, self.midnight_ns + minute * minute_ns, 0, end)
            bars.append(_minute_bar(tape, start, end, minute))
            end = start
        return bars

    def daily_bars(self, symbol: str, *, adjusted: bool = True) -> tuple[DayBar, ...]:
        """Bars of the weekdays before the session day, newest first; none from before the listing.

        Of a symbol that is split on the session day they are in shares of after it, or as traded then.
        """
        generator = self._chance(f"history/{self.session_date}/{symbol}")
        bars = past_bars(self._by_symbol[symbol], self.plan(symbol), self.session_date, self._history_days, generator)
        ratio = self.plan(symbol).split_ratio
        return bars if adjusted or ratio == 1 else tuple(_before_split(bar, ratio) for bar in bars)

    def offered(self, symbol: str) -> Iterator[OfferedTrade]:
        """Every trade of a symbol's day, oldest first."""
        tape = self.tape(symbol)
        for place in range(len(tape)):
            time_ns = tape.time_ns[place]
            yield OfferedTrade(
                symbol=symbol,
                session_date=self.session_date,
                exchange_hhmmss=hhmmss((time_ns - self.midnight_ns) // NS_PER_S),
                exchange_time_ns=time_ns,
                price_krw=tape.price_krw[place],
                volume=tape.volume[place],
                cumulative_volume=tape.volume_after[place],
                cumulative_sells=place + 1 - tape.buys[place],
                cumulative_buys=tape.buys[place],
                side=_SIDES[tape.side[place]],
            )

    def offered_digest(self) -> str:
        """SHA-256 over the trades of all symbols in the order of their codes (columns in this machine's byte order)."""
        digest = hashlib.sha256()
        for symbol in sorted(self._by_symbol):
            tape = self.tape(symbol)
            digest.update(f"{symbol}:{len(tape)};".encode())
            for column in (tape.time_ns, tape.price_krw, tape.volume, tape.side):
                digest.update(column)
        return digest.hexdigest()

    def _made_tape(self, instrument: Instrument) -> Tape:
        if not instrument.trades:
            return EMPTY_TAPE
        generator = self._chance(f"tape/{self.session_date}/{instrument.symbol}")
        return make_tape(self.plan(instrument.symbol), instrument.base_price_krw, self.open_ns, generator)


def hhmmss(second_of_day: int) -> str:
    """A second of the day as the wire writes it."""
    return f"{second_of_day // 3600:02d}{second_of_day // 60 % 60:02d}{second_of_day % 60:02d}"


def _by_turnover(instruments: Sequence[Instrument]) -> list[str]:
    """Symbols by yesterday's value traded, the largest first."""

    def key(instrument: Instrument) -> tuple[int, str]:
        return -instrument.previous_volume * instrument.base_price_krw, instrument.symbol

    return [instrument.symbol for instrument in sorted(instruments, key=key)]


def _quotes(price_krw: int, base_krw: int, side: int) -> tuple[int, int]:
    """Best bid and ask around a trade: a buyer paid the ask, a seller took the bid; 0 beyond the day's limits.

    At the upper limit there are buyers only, at the lower one sellers only.
    """
    lowest_krw, highest_krw = price_limits_krw(base_krw)
    if price_krw == highest_krw:
        return price_krw, 0
    if price_krw == lowest_krw:
        return 0, price_krw
    if side == SELL:
        ask_krw = price_krw + tick_krw(price_krw)
        return price_krw, ask_krw if ask_krw <= highest_krw else 0
    bid_krw = price_krw - tick_krw(price_krw - 1)
    return bid_krw if bid_krw >= lowest_krw else 0, price_krw


def _minute_bar(tape: Tape, start: int, end: int, minute: int) -> MinuteBar:
    prices = tape.price_krw[start:end]
    volume = sum(tape.volume[start:end])
    return MinuteBar(
        hhmmss(minute * 60), prices[0], max(prices), min(prices), prices[-1], volume, tape.value_krw[end - 1]
    )


def _before_split(bar: DayBar, ratio: int) -> DayBar:
    prices_krw = (bar.open_krw * ratio, bar.high_krw * ratio, bar.low_krw * ratio, bar.close_krw * ratio)
    return DayBar(bar.day, *prices_krw, max(1, bar.volume // ratio), bar.value_krw)
