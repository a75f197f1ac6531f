"""Records of the stream: a trade as the text that KIS sends for it (H0STCNT0). Pure.

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

TRADE_TR_ID: Final = "H0STCNT0"
_RESTING_SHARES: Final = 1_000


def data_frame(records: Sequence[str]) -> str:
    """One frame: plain, trades, the number of records, the records."""
    return f"0|{TRADE_TR_ID}|{len(records):03d}|{'^'.join(records)}"


def trade_record(market: Market, symbol: str, place: int) -> str:
    """The `place`-th trade of a symbol's day (from 0) as the 47 fields of a record, joined by `^`."""
    instrument = market.instrument(symbol)
    if instrument is None:
        raise KeyError(symbol)
    tape = market.tape(symbol)
    state = market.state_after(symbol, place + 1)
    fields = [
        *_price_fields(instrument, tape, state, place, _clock_text(market, tape, place)),
        *_count_fields(instrument, tape, place),
        *_extreme_fields(market, tape, state, place),
        *_book_fields(market, instrument, tape, state, place),
    ]
    return "^".join(fields)


def sign_code(difference: int, *, at_limit: bool = False) -> str:
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


def _clock_text(market: Market, tape: Tape, place: int) -> str:
    return hhmmss((tape.time_ns[place] - market.midnight_ns) // NS_PER_S)


def _price_fields(
    instrument: Instrument, tape: Tape, state: MarketState, place: int, time_text: str
) -> tuple[str, ...]:
    """Fields 0 to 14: symbol, time, price, change, weighted average, open, high, low, ask, bid, volumes, value."""
    return (
        instrument.symbol,
        time_text,
        str(state.price_krw),
        *change_fields(instrument, state.price_krw),
        f"{state.cumulative_value_krw / state.cumulative_volume:.2f}",
        str(state.open_krw),
        str(state.high_krw),
        str(state.low_krw),
        str(state.ask_krw),
        str(state.bid_krw),
        str(tape.volume[place]),
        str(state.cumulative_volume),
        str(state.cumulative_value_krw),
    )


def _count_fields(instrument: Instrument, tape: Tape, place: int) -> tuple[str, ...]:
    """Fields 15 to 23: trades sold, bought and net, strength, volumes sold and bought, side, rates."""
    bought, sold, total = tape.buys[place], place + 1 - tape.buys[place], tape.volume_after[place]
    previous = instrument.previous_volume
    return (
        str(sold),
        str(bought),
        str(bought - sold),
        f"{strength_percent(tape, place):.2f}",
        str(tape.sell_volume[place]),
        str(tape.buy_volume[place]),
        str(tape.side[place]),
        f"{tape.buy_volume[place] / total:.2f}",
        f"{100 * total / previous if previous else 0:.2f}",
    )


def _extreme_fields(market: Market, tape: Tape, state: MarketState, place: int) -> tuple[str, ...]:
    """Fields 24 to 32: when the open, high and low were made, and the price against each."""
    highest_place = bisect_left(tape.high_krw, state.high_krw, 0, place + 1)
    lowest_place = bisect_left(tape.low_krw, -state.low_krw, 0, place + 1, key=int.__neg__)
    fields: list[str] = []
    for made_at, against_krw in ((0, state.open_krw), (highest_place, state.high_krw), (lowest_place, state.low_krw)):
        difference_krw = state.price_krw - against_krw
        fields += (_clock_text(market, tape, made_at), sign_code(difference_krw), str(difference_krw))
    return tuple(fields)


def _book_fields(market: Market, instrument: Instrument, tape: Tape, state: MarketState, place: int) -> tuple[str, ...]:
    """Fields 33 to 46: date, session codes, resting orders, turnover, yesterday by now, interruption price, and the
    appended one.
    """
    since_open_s = (tape.time_ns[place] - market.open_ns) / NS_PER_S
    by_now = round(instrument.previous_volume * share_of_day(since_open_s))
    shares = instrument.listed_shares_thousands * 1_000
    resting = _RESTING_SHARES + tape.volume[place]
    return (
        market.session_date.replace("-", ""),
        "20",
        "N",
        str(resting if state.ask_krw else 0),
        str(resting if state.bid_krw else 0),
        str(resting * 10),
        str(resting * 10),
        f"{100 * state.cumulative_volume / shares if shares else 0:.2f}",
        str(by_now),
        f"{100 * state.cumulative_volume / by_now if by_now else 0:.2f}",
        "0",
        "",
        str(state.open_krw),
        "2",
    )
