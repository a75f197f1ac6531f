"""Records of the stream's trades: a trade as the text that KIS sends for it (H0STCNT0 and its sisters). Pure.

The order of the fields is stated here and, on purpose, a second time in the provider: a table shared by both would
hide the very mistake that the simulator exists to find. 46 fields are documented; the 47th, since September 2026, is
MARKET_CLS_CODE. Further ones are blank: fields are appended without notice and a client has to live with it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from observer.base.units import NS_PER_S
from observer.simulator.kis.venues import market_class
from observer.simulator.market.instruments import Instrument, price_limits
from observer.simulator.market.market import Market, SimulatedState, hhmmss
from observer.simulator.market.tape import DayTape, share_of_day

TRADE_FIELDS: Final = 46  # documented; what is appended beyond them is of the year
_RESTING_SHARES: Final = 1_000
_LEVELS: Final = 10


def data_frame(tr_id: str, records: Sequence[str]) -> str:
    """One frame: plain, whose records they are, how many, the records."""
    return f"0|{tr_id}|{len(records):03d}|{'^'.join(records)}"


def sign_code(difference: float, *, at_limit: bool = False) -> str:
    """PRDY_VRSS_SIGN: 1 upper limit, 2 up, 3 unchanged, 4 lower limit, 5 down."""
    if difference > 0:
        return "1" if at_limit else "2"
    if difference < 0:
        return "4" if at_limit else "5"
    return "3"


def change_fields(instrument: Instrument, price: int) -> tuple[str, str, str]:
    """Sign code, change against the base price (signed) and the change in percent."""
    base = instrument.base_price
    difference = price - base
    sign = sign_code(difference, at_limit=price in price_limits(base))
    return sign, str(difference), f"{100 * difference / base if base else 0:.2f}"


def strength_percent(tape: DayTape, index: int) -> float:
    """CTTR: bought volume per sold volume, in percent; 0 while nothing was sold."""
    sold = tape.sell_volume[index]
    return 100 * tape.buy_volume[index] / sold if sold else 0.0


def resting_shares(last_volume: int) -> tuple[int, int]:
    """Shares that wait at the best price and in all after a trade of this size: the book's first level and total."""
    best = _RESTING_SHARES + last_volume
    return best, best * _LEVELS


class Timeline:
    """A symbol's records of one kind with their times, oldest first, numbered from 0. This one has none."""

    def __init__(self, times_ns: Sequence[int] = ()) -> None:
        self._times_ns = times_ns

    def count_until(self, moment_ns: int) -> int:
        """How many records there are at or before a moment."""
        return bisect_right(self._times_ns, moment_ns)

    def time_ns(self, index: int) -> int:
        """When a record is due."""
        return self._times_ns[index]

    def record(self, index: int) -> str:
        """The fields of a record, joined by `^`."""
        raise IndexError(index)


class TapeTimeline(Timeline):
    """Records of which each trade of a tape has one."""

    def __init__(self, tape: DayTape) -> None:
        super().__init__(tape.time_ns)
        self._tape = tape

    def count_until(self, moment_ns: int) -> int:
        """As `Timeline`, the tape's own way."""
        return self._tape.count_until(moment_ns)


class TradeTimeline(TapeTimeline):
    """A symbol's trades as records. What many trades share (a price's change, when a high was made) is kept as text:
    a client is sent 20,000 records a second.
    """

    def __init__(self, market: Market, instrument: Instrument, fields: int) -> None:
        super().__init__(market.tape(instrument.symbol))
        self._market = market
        self._instrument = instrument
        self._appended = fields - TRADE_FIELDS
        self._day = market.session_date.replace("-", "")
        self._shares = instrument.listed_shares_thousands * 1_000
        self._changes: dict[int, str] = {}
        self._high_made: dict[int, str] = {}
        self._low_made: dict[int, str] = {}
        self._open_made = self._clock_text(0) if len(self._tape) else ""

    def record(self, index: int) -> str:
        """The `index`-th trade (from 0): the 46 documented fields, and what is appended to them."""
        price = self._tape.price[index]
        change = self._changes.get(price)
        if change is None:
            change = self._changes[price] = "^".join(change_fields(self._instrument, price))
        state = self._market.state_after(self._instrument.symbol, index + 1)
        session = market_class(self._market, self._tape.time_ns[index])
        appended = f"^{session}{'^' * (self._appended - 1)}" if self._appended else ""
        return (
            f"{self._instrument.symbol}^{self._clock_text(index)}^{price}^{change}^{self._prices(index, state)}"
            f"^{self._counts(index)}^{self._extremes(index)}^{self._book(index, state, session)}{appended}"
        )

    def _clock_text(self, index: int) -> str:
        return hhmmss((self._tape.time_ns[index] - self._market.midnight_ns) // NS_PER_S)

    def _prices(self, index: int, state: SimulatedState) -> str:
        """Fields 6 to 14: weighted average, open, high, low, ask, bid, volumes, value."""
        tape = self._tape
        total, value = state.cumulative_volume, state.cumulative_value
        return (
            f"{value / total:.2f}^{state.open}^{state.high}^{state.low}"
            f"^{state.ask}^{state.bid}^{tape.volume[index]}^{total}^{value}"
        )

    def _counts(self, index: int) -> str:
        """Fields 15 to 23: trades sold, bought and net, strength, volumes sold and bought, side, rates."""
        tape, previous = self._tape, self._instrument.previous_volume
        bought, total, bought_volume = tape.buys[index], tape.volume_after[index], tape.buy_volume[index]
        sold = index + 1 - bought
        return (
            f"{sold}^{bought}^{bought - sold}^{strength_percent(tape, index):.2f}"
            f"^{tape.sell_volume[index]}^{bought_volume}^{tape.side[index]}"
            f"^{bought_volume / total:.2f}^{100 * total / previous if previous else 0:.2f}"
        )

    def _extremes(self, index: int) -> str:
        """Fields 24 to 32: when the open, high and low were made, and the price against each."""
        tape = self._tape
        price, high, low = tape.price[index], tape.high[index], tape.low[index]
        high_made, low_made = self._high_made.get(high), self._low_made.get(low)
        if high_made is None:
            high_index = bisect_left(tape.high, high, 0, index + 1)
            high_made = self._high_made[high] = self._clock_text(high_index)
        if low_made is None:
            low_index = bisect_left(tape.low, -low, 0, index + 1, key=int.__neg__)
            low_made = self._low_made[low] = self._clock_text(low_index)
        from_open, from_high, from_low = price - tape.price[0], price - high, price - low
        return (
            f"{self._open_made}^{sign_code(from_open)}^{from_open}^{high_made}^{sign_code(from_high)}^{from_high}"
            f"^{low_made}^{sign_code(from_low)}^{from_low}"
        )

    def _book(self, index: int, state: SimulatedState, session: str) -> str:
        """Fields 33 to 45: date, session codes, resting orders, turnover, yesterday by now, interruption price."""
        tape = self._tape
        since_open_s = (tape.time_ns[index] - self._market.open_ns) / NS_PER_S
        by_now = round(self._instrument.previous_volume * share_of_day(since_open_s))
        best, total = resting_shares(tape.volume[index])
        traded = tape.volume_after[index]
        return (
            f"{self._day}^{session}0^N^{best if state.ask else 0}^{best if state.bid else 0}^{total}^{total}"
            f"^{100 * traded / self._shares if self._shares else 0:.2f}"
            f"^{by_now}^{100 * traded / by_now if by_now else 0:.2f}^0^^{tape.price[0]}"
        )
