"""The simulated market: every listing, every trade of the day, and the market's state at any moment.

Pure and deterministic: an answer depends on the seed, the session day, the listings and the queried moment, never on
the time or order of queries. The rng is passed in; there is no clock, file or socket here.

A market of the KRX alone ends with its closing cross. With NXT beside it the day is whole: the KRX has its
after-market, and `view` shows the KRX, NXT or both together as a market of its own, with its own trades and running
figures.
"""

from __future__ import annotations

import copy
import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.market.instruments import Instrument, RngSource, price_limits, tick_size
from observer.simulator.market.plan import HISTORY_DAYS, DayBar, MarketPlan, busier, expected_volume, past_bars, plan_of
from observer.simulator.market.sessions import Session, SessionName, Venue, session_at, sessions_on
from observer.simulator.market.tape import (
    AUCTION,
    BUY,
    CLOSE_S,
    EMPTY_TAPE,
    OPEN_S,
    SELL,
    UNKNOWN,
    DayTape,
    Halt,
    MarketStop,
    Tape,
    midnight_ns,
)
from observer.simulator.market.trade_generation import Columns, regular_day, with_stops
from observer.simulator.market.venues import (
    NXT_VALUE_RATIO,
    NxtListing,
    both_bars,
    merged,
    nxt_bars,
    nxt_day,
    nxt_listings,
    with_after_market,
)

Side = Literal["buy", "sell", "auction", "unknown"]
View = Literal["KRX", "NXT", "consolidated"]
_SIDES: Final[dict[int, Side]] = {BUY: "buy", SELL: "sell", AUCTION: "auction", UNKNOWN: "unknown"}


class OfferedTrade(msgspec.Struct, frozen=True, gc=False):
    """One trade that the market offers. `exchange_hhmmss` is what the wire shows of `exchange_time_ns`.

    `cumulative_*` are the venue's figures of the day after this trade; sells and buys together count every trade.
    """

    symbol: str
    session_date: str
    exchange_hhmmss: str
    exchange_time_ns: int
    price: int
    volume: int
    cumulative_volume: int
    cumulative_sells: int
    cumulative_buys: int
    side: Side
    venue: Venue
    session: SessionName


class SimulatedState(msgspec.Struct, frozen=True, gc=False):
    """A symbol's state at a moment. Before the first trade the price is the base price and `trades` is 0."""

    trades: int
    price: int
    open: int
    high: int
    low: int
    bid: int
    ask: int
    cumulative_volume: int
    cumulative_value: int


class MinuteBar(msgspec.Struct, frozen=True, gc=False):
    """The trades of one minute; `start_hhmmss` ends in 00, `value_after` is the day's value after it."""

    start_hhmmss: str
    open: int
    high: int
    low: int
    close: int
    volume: int
    value_after: int


class Market:
    """One day of one seeded market. Days of symbols are made when they are first asked for, and kept."""

    def __init__(
        self,
        seed: int,
        session_date: str,
        instruments: Sequence[Instrument],
        rng: RngSource,
        opens_s: int = OPEN_S,
        trades_times: float = 1.0,
        history_days: int = HISTORY_DAYS,
        venues: Sequence[Venue] = ("KRX",),
        stops: Sequence[MarketStop] = (),
        nxt_value_ratio: float = NXT_VALUE_RATIO,
    ) -> None:
        """The day opens at `opens_s` seconds after local midnight, 09:00 but on days like the university entrance
        exam's (10:00 to 16:30), and closes six and a half hours later. `trades_times` multiplies how often symbols
        trade; before the day there were `history_days` sessions. `venues`: the KRX until its close, or both venues.
        `stops` stop both in the continuous trading. `nxt_value_ratio` is NXT's value for 1 of the KRX's stocks.
        """
        self.name: View = "KRX"
        self.whole_day = "NXT" in venues
        self._opens_s = opens_s
        self._trades_times = trades_times
        self._history_days = history_days
        self.seed = seed
        self.session_date = session_date
        self.instruments = tuple(instruments)
        self.midnight_ns = midnight_ns(session_date)
        self.stops = tuple(sorted(stops, key=lambda stop: stop.start_ns))
        self._rng = rng
        self._by_symbol = {instrument.symbol: instrument for instrument in instruments}
        self._rank = {symbol: rank for rank, symbol in enumerate(_by_turnover(instruments))}
        self._tapes: dict[View, dict[str, DayTape]] = {"KRX": {}, "NXT": {}, "consolidated": {}}
        self._plans: dict[str, MarketPlan] = {}
        self._sessions: dict[Venue, tuple[Session, ...]] = {
            venue: sessions_on(session_date, opens_s, venue) for venue in venues
        }
        self._nxt: Mapping[str, NxtListing] = self._nxt_listings(nxt_value_ratio) if self.whole_day else {}
        self._views: dict[View, Market] = {"KRX": self}

    def view(self, name: View) -> Market:
        """The day as one venue shows it, or both together. A market of the KRX alone shows its own day under each name.

        NXT lists what it trades and no more; both together list all.
        """
        if not self.whole_day:
            return self
        shown = self._views.get(name)
        if shown is None:
            shown = self._views[name] = copy.copy(self)
            shown.name = name
            if name == "NXT":
                shown.instruments = tuple(i for i in self.instruments if i.symbol in self._nxt)
        return shown

    def sessions(self, venue: Venue) -> tuple[Session, ...]:
        """The sessions of a venue of this market on this day, in their order."""
        return self._sessions[venue]

    @property
    def venues(self) -> tuple[Venue, ...]:
        """The venues of this market, in their order."""
        return tuple(self._sessions)

    def nxt_listing(self, symbol: str) -> NxtListing | None:
        """How NXT trades a symbol; None where it does not, and in a market of the KRX alone."""
        return self._nxt.get(symbol)

    def is_suspended(self, instrument: Instrument) -> bool:
        """Whether a listing is not traded in this view all day though it is listed there."""
        listing = self._nxt.get(instrument.symbol)
        return instrument.suspended or (self.name == "NXT" and listing is not None and listing.stopped)

    @property
    def open_ns(self) -> int:
        """When the opening cross is dealt: 09:00:00 local time of the session day, later on an exam day."""
        return self.midnight_ns + self._opens_s * NS_PER_S

    @property
    def close_ns(self) -> int:
        """When the closing cross is dealt: six and a half hours after the opening, 15:30:00 local time on most days."""
        return self.open_ns + (CLOSE_S - OPEN_S) * NS_PER_S

    def instrument(self, symbol: str) -> Instrument | None:
        """The listing of a symbol, if there is one."""
        return None if self.name == "NXT" and symbol not in self._nxt else self._by_symbol.get(symbol)

    def plan(self, symbol: str) -> MarketPlan:
        """The symbol's plan of the day. Raises KeyError for a symbol that is not listed."""
        plan = self._plans.get(symbol)
        if plan is None:
            generator = self._rng(f"plan/{self.session_date}/{symbol}")
            plan = plan_of(self._by_symbol[symbol], self._rank[symbol], len(self.instruments), generator)
            plan = busier(plan, self._trades_times)
            self._plans[symbol] = plan
        return plan

    def tape(self, symbol: str) -> DayTape:
        """The whole day of a symbol, the future too. Raises KeyError for a symbol that is not listed."""
        tapes = self._tapes[self.name]
        tape = tapes.get(symbol)
        if tape is None:
            tape = tapes[symbol] = self._made_tape(self._by_symbol[symbol])
        return tape

    def halts(self, symbol: str) -> tuple[Halt, ...]:
        """The symbol's halts of the day, in the order of time."""
        return self.tape(symbol).halts

    def halt_at(self, symbol: str, now_ns: int) -> Halt | None:
        """The halt at a moment; None when there is none. A symbol that is suspended all day has no halts."""
        return next((halt for halt in self.halts(symbol) if halt.start_ns <= now_ns < halt.end_ns), None)

    def stops_of(self, instrument: Instrument) -> tuple[MarketStop, ...]:
        """The stops of the market that a listing is traded in."""
        return tuple(stop for stop in self.stops if instrument.exchange in stop.exchanges)

    def state_at(self, symbol: str, now_ns: int) -> SimulatedState:
        """The symbol's state after all its trades at or before a moment."""
        tape = self.tape(symbol)
        return self.state_after(symbol, tape.count_until(now_ns))

    def state_after(self, symbol: str, trades: int) -> SimulatedState:
        """The symbol's state after so many trades."""
        base = self._by_symbol[symbol].base_price
        if trades == 0:
            return SimulatedState(0, base, 0, 0, 0, *quotes(base, base, BUY), 0, 0)
        tape, last = self.tape(symbol), trades - 1
        price = tape.price[last]
        return SimulatedState(
            trades,
            price,
            tape.price[0],
            tape.high[last],
            tape.low[last],
            *quotes(price, base, tape.side[last]),
            tape.volume_after[last],
            tape.value[last],
        )

    def minute_bars(self, symbol: str, now_ns: int, until_minute: int, count: int) -> list[MinuteBar]:
        """The newest minutes with trades, at most `count`, newest first; minutes counted from local midnight.

        The minute that runs at `now_ns` shows its trades so far; `until_minute` is the latest to be shown.
        """
        tape = self.tape(symbol)
        minute_ns = 60 * NS_PER_S
        end = tape.count_until(min(now_ns, self.midnight_ns + (until_minute + 1) * minute_ns - 1))
        bars: list[MinuteBar] = []
        while end > 0 and len(bars) < count:
            minute = (tape.time_ns[end - 1] - self.midnight_ns) // minute_ns
            start = bisect_left(tape.time_ns, self.midnight_ns + minute * minute_ns, 0, end)
            bars.append(minute_bar(tape, start, end, minute))
            end = start
        return bars

    def daily_bars(self, symbol: str, *, adjusted: bool = True) -> tuple[DayBar, ...]:
        """Bars of the session days before the session day, newest first; none from before the listing.

        Of a symbol that is split on the session day they are in shares of after it, or as traded then. Both venues
        together have the KRX's prices.
        """
        if self.name == "consolidated":
            return both_bars(*(self.view(of).daily_bars(symbol, adjusted=adjusted) for of in ("KRX", "NXT")))
        if self.name == "NXT":
            krx, listing = self.view("KRX").daily_bars(symbol, adjusted=adjusted), self._nxt.get(symbol)
            beside = self._rng(f"nxt history/{self.session_date}/{symbol}")
            return () if listing is None else nxt_bars(krx, listing.ratio, beside)
        generator = self._rng(f"history/{self.session_date}/{symbol}")
        bars = past_bars(self._by_symbol[symbol], self.plan(symbol), self.session_date, self._history_days, generator)
        ratio = self.plan(symbol).split_ratio
        return bars if adjusted or ratio == 1 else tuple(_before_split(bar, ratio) for bar in bars)

    def offered(self, symbol: str) -> Iterator[OfferedTrade]:
        """Every trade of a symbol's day, oldest first; venue by venue where there are two."""
        for venue in self._sessions:
            yield from self.view(venue).offered_here(symbol, venue)

    def offered_here(self, symbol: str, venue: Venue) -> Iterator[OfferedTrade]:
        """Every trade of a symbol in this view, which is the one of `venue`."""
        tape, sessions = self.tape(symbol), self._sessions[venue]
        for index in range(len(tape)):
            time_ns = tape.time_ns[index]
            session = session_at(sessions, (time_ns - self.midnight_ns) / NS_PER_S)
            assert session is not None, f"{symbol} trades at {time_ns}, outside every session of {venue}"
            yield OfferedTrade(
                symbol=symbol,
                session_date=self.session_date,
                exchange_hhmmss=hhmmss((time_ns - self.midnight_ns) // NS_PER_S),
                exchange_time_ns=time_ns,
                price=tape.price[index],
                volume=tape.volume[index],
                cumulative_volume=tape.volume_after[index],
                cumulative_sells=index + 1 - tape.buys[index],
                cumulative_buys=tape.buys[index],
                side=_SIDES[tape.side[index]],
                venue=venue,
                session=session,
            )

    def offered_digest(self) -> str:
        """SHA-256 over the trades of all symbols in the order of their codes (columns in this machine's byte order),
        venue by venue.
        """
        digest = hashlib.sha256()
        for venue in self._sessions:
            for symbol in sorted(self._by_symbol):
                tape = self.view(venue).tape(symbol)
                assert isinstance(tape, Tape)
                digest.update(f"{symbol}:{len(tape)};".encode())
                for column in (tape.time_ns, tape.price, tape.volume, tape.side):
                    digest.update(column)
        return digest.hexdigest()

    def _nxt_listings(self, value_ratio: float) -> Mapping[str, NxtListing]:
        volumes = {i.symbol: expected_volume(self.plan(i.symbol)) for i in self.instruments if i.trades}
        return nxt_listings(self.instruments, volumes, value_ratio, self._rng)

    def _made_tape(self, instrument: Instrument) -> DayTape:
        if not instrument.trades:
            return EMPTY_TAPE
        match self.name:
            case "KRX":
                return Tape(*self._krx_day(instrument))
            case "NXT":
                return self._nxt_tape(instrument)
            case "consolidated":
                return merged(*(self.view(of).tape(instrument.symbol) for of in ("KRX", "NXT")))

    def _krx_day(self, instrument: Instrument) -> Columns:
        generator = self._rng(f"tape/{self.session_date}/{instrument.symbol}")
        day = regular_day(self.plan(instrument.symbol), instrument.base_price, self.open_ns, generator)
        day = with_stops(day, self.stops_of(instrument))
        after = next((each for each in self._sessions["KRX"] if each.name == "after"), None)
        is_over = any(stop.closes for stop in self.stops_of(instrument))
        if not self.whole_day or after is None or is_over or (instrument.etp and not after.etps):
            return day
        generator = self._rng(f"after/{self.session_date}/{instrument.symbol}")
        return with_after_market(day, instrument.base_price, after, self.midnight_ns, generator)

    def _nxt_tape(self, instrument: Instrument) -> Tape:
        listing = self._nxt.get(instrument.symbol)
        if listing is None or listing.stopped:
            return EMPTY_TAPE
        tape = self.view("KRX").tape(instrument.symbol)
        end = tape.count_until(self.close_ns)
        krx = Columns(
            list(tape.time_ns[:end]),
            list(tape.price[:end]),
            list(tape.volume[:end]),
            bytes(tape.side[:end]),
            tape.halts,
        )
        generator = self._rng(f"nxt/{self.session_date}/{instrument.symbol}")
        base, sessions = instrument.base_price, self._sessions["NXT"]
        return nxt_day(krx, base, listing.ratio, sessions, self.midnight_ns, generator, self.stops_of(instrument))


def hhmmss(second_of_day: int) -> str:
    """A second of the day as the wire writes it."""
    return f"{second_of_day // 3600:02d}{second_of_day // 60 % 60:02d}{second_of_day % 60:02d}"


def _by_turnover(instruments: Sequence[Instrument]) -> list[str]:
    """Symbols by yesterday's value traded, the largest first."""

    def key(instrument: Instrument) -> tuple[int, str]:
        return -instrument.previous_volume * instrument.base_price, instrument.symbol

    return [instrument.symbol for instrument in sorted(instruments, key=key)]


def quotes(price: int, base: int, side: int) -> tuple[int, int]:
    """Best bid and ask around a trade: a buyer paid the ask, a seller took the bid; 0 beyond the day's limits."""
    lowest, highest = price_limits(base)
    if price == highest:
        return price, 0
    if price == lowest:
        return 0, price
    if side == SELL:
        ask = price + tick_size(price)
        return price, ask if ask <= highest else 0
    bid = price - tick_size(price - 1)
    return bid if bid >= lowest else 0, price


def minute_bar(tape: DayTape, start: int, end: int, minute: int) -> MinuteBar:
    """The bar of the trades from number `start` until before `end`, which are those of a minute of the day."""
    prices, volume, value = tape.price[start:end], sum(tape.volume[start:end]), tape.value[end - 1]
    return MinuteBar(hhmmss(minute * 60), prices[0], max(prices), min(prices), prices[-1], volume, value)


def _before_split(bar: DayBar, ratio: int) -> DayBar:
    prices = (bar.open * ratio, bar.high * ratio, bar.low * ratio, bar.close * ratio)
    return DayBar(bar.day, *prices, max(1, bar.volume // ratio), bar.value)
