"""Records of the stream's trades: a trade as the text that KIS sends for it (H0STCNT0 and its sisters). Pure.

The order of the fields is stated here and, on purpose, a second time in the provider: a table shared by both would
hide the very mistake that the simulator exists to find. 46 fields are documented; a 47th was observed in 2026 and is
sent, because fields are appended without notice and a client has to live with it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from observer.simulator.instruments import Instrument
from observer.simulator.market import Market, MarketState, hhmmss
from observer.simulator.tape import NS_PER_S, Tape, share_of_day
from observer.simulator.ticks import price_limits_krw

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


def change_fields(instrument: Instrument, price_krw: int) -> tuple[str, str, str]:
    """Sign code, change against the base price (signed) and the change in percent."""
    base_krw = instrument.base_price_krw
    difference_krw = price_krw - base_krw
    sign = sign_code(difference_krw, at_limit=price_krw in price_limits_krw(base_krw))
    return sign, str(difference_krw), f"{100 * difference_krw / base_krw if base_krw else 0:.2f}"


def strength_percent(tape: Tape, place: int) -> float:
    """CTTR: bought volume per sold volume, in percent; 0 while nothing was sold."""
    sold = tape.sell_volume[place]
    return 100 * tape.buy_volume[place] / sold if sold else 0.0


def resting_shares(last_volume: int) -> tuple[int, int]:
    """Shares that wait at the best price and in all after a trade of this size: the book's first level and total."""
    best = _RESTING_SHARES + last_volume
    return best, best * _LEVELS


class TradeTimeline:
    """A symbol's trades as records. What many trades share (a price's change, when a high was made) is kept as text:
    a client is sent 20,000 records a second.
    """

    def __init__(self, market: Market, instrument: Instrument, fields: int) -> None:
        self._market = market
        self._instrument = instrument
        self._tape = market.tape(instrument.symbol)
        self._appended = ("^2" + "^" * (fields - TRADE_FIELDS - 1)) if fields > TRADE_FIELDS else ""
        self._day = market.session_date.replace("-", "")
        self._shares = instrument.listed_shares_thousands * 1_000
        self._changes: dict[int, str] = {}
        self._high_made: dict[int, str] = {}
        self._low_made: dict[int, str] = {}
        self._open_made = self._clock_text(0) if len(self._tape) else ""

    def count_until(self, moment_ns: int) -> int:
        """How many trades have happened at or before a moment."""
        return self._tape.count_until(moment_ns)

    def time_ns(self, place: int) -> int:
        """When the `place`-th trade happened."""
        return self._tape.time_ns[place]

    def record(self, place: int) -> str:
        """The `place`-th trade (from 0): the 46 documented fields, and what is appended to them."""
        price_krw = self._tape.price_krw[place]
        change = self._changes.get(price_krw)
        if change is None:
            change = self._changes[price_krw] = "^".join(change_fields(self._instrument, price_krw))
        state = self._market.state_after(self._instrument.symbol, place + 1)
        return (
            f"{self._instrument.symbol}^{self._clock_text(place)}^{price_krw}^{change}^{self._prices(place, state)}"
            f"^{self._counts(place)}^{self._extremes(place)}^{self._book(place, state)}{self._appended}"
        )

    def _clock_text(self, place: int) -> str:
        return hhmmss((self._tape.time_ns[place] - self._market.midnight_ns) // NS_PER_S)

    def _prices(self, place: int, state: MarketState) -> str:
        """Fields 6 to 14: weighted average, open, high, low, ask, bid, volumes, value."""
        tape = self._tape
        total, value_krw = state.cumulative_volume, state.cumulative_value_krw
        return (
            f"{value_krw / total:.2f}^{state.open_krw}^{state.high_krw}^{state.low_krw}"
            f"^{state.ask_krw}^{state.bid_krw}^{tape.volume[place]}^{total}^{value_krw}"
        )

    def _counts(self, place: int) -> str:
        """Fields 15 to 23: trades sold, bought and net, strength, volumes sold and bought, side, rates."""
        tape, previous = self._tape, self._instrument.previous_volume
        bought, total, bought_volume = tape.buys[place], tape.volume_after[place], tape.buy_volume[place]
        sold = place + 1 - bought
        return (
            f"{sold}^{bought}^{bought - sold}^{strength_percent(tape, place):.2f}"
            f"^{tape.sell_volume[place]}^{bought_volume}^{tape.side[place]}"
            f"^{bought_volume / total:.2f}^{100 * total / previous if previous else 0:.2f}"
        )

    def _extremes(self, place: int) -> str:
        """Fields 24 to 32: when the open, high and low were made, and the price against each."""
        tape = self._tape
        price_krw, high_krw, low_krw = tape.price_krw[place], tape.high_krw[place], tape.low_krw[place]
        high_made, low_made = self._high_made.get(high_krw), self._low_made.get(low_krw)
        if high_made is None:
            high_place = bisect_left(tape.high_krw, high_krw, 0, place + 1)
            high_made = self._high_made[high_krw] = self._clock_text(high_place)
        if low_made is None:
            low_place = bisect_left(tape.low_krw, -low_krw, 0, place + 1, key=int.__neg__)
            low_made = self._low_made[low_krw] = self._clock_text(low_place)
        from_open, from_high, from_low = price_krw - tape.price_krw[0], price_krw - high_krw, price_krw - low_krw
        return (
            f"{self._open_made}^{sign_code(from_open)}^{from_open}^{high_made}^{sign_code(from_high)}^{from_high}"
            f"^{low_made}^{sign_code(from_low)}^{from_low}"
        )

    def _book(self, place: int, state: MarketState) -> str:
        """Fields 33 to 45: date, session codes, resting orders, turnover, yesterday by now, interruption price."""
        tape = self._tape
        since_open_s = (tape.time_ns[place] - self._market.open_ns) / NS_PER_S
        by_now = round(self._instrument.previous_volume * share_of_day(since_open_s))
        best, total = resting_shares(tape.volume[place])
        traded = tape.volume_after[place]
        return (
            f"{self._day}^20^N^{best if state.ask_krw else 0}^{best if state.bid_krw else 0}^{total}^{total}"
            f"^{100 * traded / self._shares if self._shares else 0:.2f}"
            f"^{by_now}^{100 * traded / by_now if by_now else 0:.2f}^0^^{tape.price_krw[0]}"
        )
