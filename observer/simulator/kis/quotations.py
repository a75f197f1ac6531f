"""Quotes and trades of a symbol as KIS answers them, from the market and a moment. Pure.

All values are strings, as on the wire. Field names are stated here and in the provider, on purpose twice. Only trades
at or before the moment are visible. A symbol that is not listed is answered with zeros and without rows.
"""

from typing import Final

from observer.base.units import NS_PER_S
from observer.simulator.kis.answers import (
    MULTI_QUOTE,
    SALES_ROW,
    SALES_SUMMARY,
    SINGLE_QUOTE,
    VENUES,
    Body,
    Query,
    Row,
    asked_instrument,
    input_refusal,
    nothing,
    one_of,
    percent,
    row,
    second_of_day,
    session_day,
    shares_of,
    shown,
    time_text,
    yes,
)
from observer.simulator.kis.frames import change_fields, resting_shares
from observer.simulator.kis.records import status_code
from observer.simulator.kis.venues import DIVISION, view_of
from observer.simulator.market.instruments import Instrument, price_limits, tick_size
from observer.simulator.market.market import Market, SimulatedState, quotes
from observer.simulator.market.plan import DayBar

QUOTES_PER_CALL: Final = 30
ROWS_PER_CALL: Final = 30
_PAR_VALUE_KRW: Final = 5_000


def multi_quote(market: Market, now_ns: int, query: Query) -> Body:
    """관심종목 멀티 시세: up to 30 symbols, FID_INPUT_ISCD_1 to _30; unknown ones are left out."""
    rows: list[Row] = []
    asked = 0
    for number in range(1, QUOTES_PER_CALL + 1):
        symbol = query.get(f"FID_INPUT_ISCD_{number}", "")
        if not symbol:
            break
        asked += 1
        shown = view_of(market, one_of(query, f"{DIVISION}_{number}", VENUES))
        instrument = shown.instrument(symbol)
        if instrument is not None:
            rows.append(_multi_quote_row(shown, instrument, now_ns))
    if asked == 0:
        raise input_refusal("FID_INPUT_ISCD_1")
    if f"FID_INPUT_ISCD_{QUOTES_PER_CALL + 1}" in query:
        raise input_refusal(f"FID_INPUT_ISCD_{QUOTES_PER_CALL + 1}")
    return {"output": rows}


def single_quote(market: Market, now_ns: int, query: Query) -> Body:
    """주식현재가 시세."""
    instrument = asked_instrument(market, query)
    if instrument is None:
        return {"output": nothing(SINGLE_QUOTE)}
    figures, halt = shown(market, instrument, now_ns), market.halt_at(instrument.symbol, now_ns)
    state, base, halted = (
        market.state_at(instrument.symbol, now_ns),
        instrument.base_price,
        is_halted(market, instrument, now_ns),
    )
    lowest, highest = price_limits(base)
    figures |= _extremes(market, instrument, state) | {
        "status": status_code(instrument, halted=halted),
        "stopped": yes(halted or any(stop.runs_at(now_ns) for stop in market.stops_of(instrument))),
        "interrupted": yes(halt is not None and halt.reason == "volatility"),
        "average": state.cumulative_value / state.cumulative_volume if state.cumulative_volume else 0,
        "tick": tick_size(state.price),
        "width": highest - base if highest else lowest,
        "capital": shares_of(instrument) * _PAR_VALUE_KRW // 100_000_000,
        "par": f"{_PAR_VALUE_KRW:,} 원",
        "eps": base / 10,
    }
    return {"output": row(SINGLE_QUOTE, figures)}


def is_halted(market: Market, instrument: Instrument, now_ns: int) -> bool:
    """Whether the symbol itself is halted: suspended all day, or by a disclosure."""
    halt = market.halt_at(instrument.symbol, now_ns)
    return market.is_suspended(instrument) or (halt is not None and halt.reason == "disclosure")


def time_and_sales(market: Market, now_ns: int, query: Query) -> Body:
    """당일시간대별체결: 30 trades, newest first, at and before the second FID_INPUT_HOUR_1."""
    instrument = asked_instrument(market, query)
    until = second_of_day(query, "FID_INPUT_HOUR_1")
    if instrument is None:
        return {"output1": nothing(SALES_SUMMARY), "output2": []}
    end_ns = min(now_ns, market.midnight_ns + (until + 1) * NS_PER_S - 1)
    end = market.tape(instrument.symbol).count_until(end_ns)
    rows = _sales_rows(market, instrument, max(0, end - ROWS_PER_CALL), end)
    return {"output1": row(SALES_SUMMARY, shown(market, instrument, now_ns)), "output2": rows}


def finished_day(market: Market, symbol: str, now_ns: int) -> list[DayBar]:
    """The session day's own bar, once the closing cross is done: its close stays, its volume grows after hours."""
    if now_ns < market.close_ns:
        return []
    state = market.state_at(symbol, now_ns)
    if state.trades == 0:
        return []
    closing = market.state_at(symbol, market.close_ns)
    prices = (state.open, state.high, state.low, closing.price if closing.trades else state.price)
    return [DayBar(session_day(market), *prices, state.cumulative_volume, state.cumulative_value)]


def _extremes(market: Market, instrument: Instrument, state: SimulatedState) -> dict[str, object]:
    """Highest and lowest price of the days that the market has kept, and today, with their days."""
    bars = market.daily_bars(instrument.symbol)
    high = max([(bar.high, bar.day) for bar in bars] + [(state.high or state.price, session_day(market))])
    low = min([(bar.low, bar.day) for bar in bars] + [(state.low or state.price, session_day(market))])
    rates = (percent(state.price - krw, krw) for krw in (high[0], low[0]))
    return dict(zip(("high", "low", "from_high", "from_low"), (high, low, *rates), strict=True))


def _multi_quote_row(market: Market, instrument: Instrument, now_ns: int) -> Row:
    state = market.state_at(instrument.symbol, now_ns)
    last_volume = market.tape(instrument.symbol).volume[state.trades - 1] if state.trades else 0
    best, total = resting_shares(last_volume)
    figures = shown(market, instrument, now_ns) | {
        "at_ask": best if state.ask else 0,
        "at_bid": best if state.bid else 0,
        "total": total,
        "rise": percent(state.high - state.open, state.open),
    }
    return row(MULTI_QUOTE, figures)


def _sales_rows(market: Market, instrument: Instrument, first: int, end: int) -> list[Row]:
    """The trades from number `first` until before `end`, newest first: column by column, as a tape asks for many."""
    tape, base = market.tape(instrument.symbol), instrument.base_price
    bought, sold = tape.buy_volume[first:end], tape.sell_volume[first:end]
    columns = (tape.time_ns, tape.price, tape.volume, tape.side, tape.volume_after)
    trades = zip(*(column[first:end] for column in columns), bought, sold, strict=True)
    rows, changes = list[Row](), dict[int, Row]()
    for time_ns, price, volume, side, volume_after, bought_volume, sold_volume in trades:
        changed = changes.get(price)
        if changed is None:
            sign, difference, rate = change_fields(instrument, price)
            changed = changes[price] = {"prdy_vrss": difference, "prdy_vrss_sign": sign, "prdy_ctrt": rate}
        bid, ask = quotes(price, base, side)
        strength = 100 * bought_volume / sold_volume if sold_volume else 0.0
        rows.append(
            {
                "stck_cntg_hour": time_text(market, time_ns),
                "stck_prpr": str(price),
                **changed,
                "askp": str(ask),
                "bidp": str(bid),
                "tday_rltv": f"{strength:.2f}",
                "acml_vol": str(volume_after),
                "cnqn": str(volume),
            }
        )
    rows.reverse()
    assert not rows or tuple(rows[0]) == SALES_ROW.names
    return rows
