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
    change,
    day_range,
    input_refusal,
    limits,
    nothing,
    one_of,
    percent,
    row,
    second_of_day,
    session_day,
    shares_of,
    time_text,
    totals,
)
from observer.simulator.kis.frames import resting_shares
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
    state = market.state_at(instrument.symbol, now_ns)
    halt = market.halt_at(instrument.symbol, now_ns)
    halted = is_halted(market, instrument, now_ns)
    traded_fields = {
        **quote_fields(instrument, state),
        "iscd_stat_cls_code": status_code(instrument, halted=halted),
        "temp_stop_yn": yes(halted or any(stop.runs_at(now_ns) for stop in market.stops_of(instrument))),
        "wghn_avrg_stck_prc": f"{_average(state):.2f}",
        "aspr_unit": str(tick_size(state.price)),
        "vol_tnrt": percent(state.cumulative_volume, shares_of(instrument)),
        "vi_cls_code": yes(halt is not None and halt.reason == "volatility"),
        "ovtm_vi_cls_code": "N",
    }
    return {
        "output": row(
            SINGLE_QUOTE, {**traded_fields, **_listing_fields(instrument), **_extremes(market, instrument, state)}
        )
    }


def quote_fields(instrument: Instrument, state: SimulatedState) -> Row:
    """What both single quotes have: price, change, volumes, the day's range, limits and flags of the listing."""
    return {
        "rprs_mrkt_kor_name": instrument.exchange,
        "stck_prpr": str(state.price),
        **change(instrument, state.price),
        **totals(state),
        "prdy_vrss_vol_rate": percent(state.cumulative_volume, instrument.previous_volume),
        **day_range(state),
        **limits(instrument),
        "stck_sdpr": str(instrument.base_price),
        "mrkt_warn_cls_code": "00",
        "sltr_yn": yes(instrument.settlement_trading),
    }


def is_halted(market: Market, instrument: Instrument, now_ns: int) -> bool:
    """Whether the symbol itself is halted: suspended all day, or by a disclosure."""
    halt = market.halt_at(instrument.symbol, now_ns)
    return market.is_suspended(instrument) or (halt is not None and halt.reason == "disclosure")


def yes(value: bool) -> str:
    """A flag as the wire has it."""
    return "Y" if value else "N"


def time_and_sales(market: Market, now_ns: int, query: Query) -> Body:
    """당일시간대별체결: 30 trades, newest first, at and before the second FID_INPUT_HOUR_1."""
    instrument = asked_instrument(market, query)
    until = second_of_day(query, "FID_INPUT_HOUR_1")
    if instrument is None:
        return {"output1": nothing(SALES_SUMMARY), "output2": []}
    end_ns = min(now_ns, market.midnight_ns + (until + 1) * NS_PER_S - 1)
    end = market.tape(instrument.symbol).count_until(end_ns)
    rows = _sales_rows(market, instrument, max(0, end - ROWS_PER_CALL), end)
    state = market.state_at(instrument.symbol, now_ns)
    summary = {
        "stck_prpr": str(state.price),
        **change(instrument, state.price),
        "acml_vol": str(state.cumulative_volume),
        "prdy_vol": str(instrument.previous_volume),
        "rprs_mrkt_kor_name": instrument.exchange,
    }
    return {"output1": row(SALES_SUMMARY, summary), "output2": rows}


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


def _average(state: SimulatedState) -> float:
    return state.cumulative_value / state.cumulative_volume if state.cumulative_volume else 0


def _listing_fields(instrument: Instrument) -> Row:
    """What the listing says, whatever is dealt: flags, limits, shares, and ratios of a company that earns a tenth."""
    base, shares = instrument.base_price, shares_of(instrument)
    lowest, highest = price_limits(base)
    return {
        "marg_rate": "40.00",
        "elw_pblc_yn": "N",
        "crdt_able_yn": "Y",
        "rstc_wdth_prc": str(highest - base if highest else lowest),
        "stck_fcam": str(_PAR_VALUE_KRW),
        "stck_sspr": str(base * 7 // 10),
        "hts_deal_qty_unit_val": "1",
        "cpfn": str(shares * _PAR_VALUE_KRW // 100_000_000),
        "lstn_stcn": str(shares),
        "hts_avls": str(instrument.market_cap_100m),
        "per": "10.00",
        "pbr": "1.00",
        "eps": f"{base / 10:.2f}",
        "bps": f"{base:.2f}",
        "stac_month": "12",
        "stck_shrn_iscd": instrument.symbol,
        "fcam_cnnm": f"{_PAR_VALUE_KRW:,} 원",
        "invt_caful_yn": "N",
        "short_over_yn": "N",
        "mang_issu_cls_code": yes(instrument.administrative),
    }


def _extremes(market: Market, instrument: Instrument, state: SimulatedState) -> Row:
    """Highest and lowest prices of 250 days, 52 weeks and the year, of the days that the market has kept, and today."""
    bars = market.daily_bars(instrument.symbol)
    highs = [(bar.high, bar.day) for bar in bars] + [(state.high or state.price, session_day(market))]
    lows = [(bar.low, bar.day) for bar in bars] + [(state.low or state.price, session_day(market))]
    (high_krw, high_day), (low_krw, low_day) = max(highs), min(lows)
    fields: Row = {}
    for high, low, rate in (
        ("d250_hgpr", "d250_lwpr", "{}_vrss_prpr_rate"),
        ("w52_hgpr", "w52_lwpr", "{}_vrss_prpr_ctrt"),
    ):
        fields |= {high: str(high_krw), f"{high}_date": high_day, low: str(low_krw), f"{low}_date": low_day}
        fields[rate.format(high)] = percent(state.price - high_krw, high_krw)
        fields[rate.format(low)] = percent(state.price - low_krw, low_krw)
    return fields


def _multi_quote_row(market: Market, instrument: Instrument, now_ns: int) -> Row:
    state = market.state_at(instrument.symbol, now_ns)
    lowest, highest = price_limits(instrument.base_price)
    moved = change(instrument, state.price)
    last_volume = market.tape(instrument.symbol).volume[state.trades - 1] if state.trades else 0
    best, total = resting_shares(last_volume)
    fields = {
        "kospi_kosdaq_cls_name": instrument.exchange,
        "hour_cls_code": "0",
        "inter_shrn_iscd": instrument.symbol,
        "inter_kor_isnm": instrument.name,
        "inter2_prpr": str(state.price),
        "inter2_prdy_vrss": moved["prdy_vrss"],
        "prdy_vrss_sign": moved["prdy_vrss_sign"],
        "prdy_ctrt": moved["prdy_ctrt"],
        **totals(state),
        "inter2_oprc": str(state.open),
        "inter2_hgpr": str(state.high),
        "inter2_lwpr": str(state.low),
        "inter2_llam": str(lowest),
        "inter2_mxpr": str(highest),
        "inter2_askp": str(state.ask),
        "inter2_bidp": str(state.bid),
        "seln_rsqn": str(best if state.ask else 0),
        "shnu_rsqn": str(best if state.bid else 0),
        "total_askp_rsqn": str(total),
        "total_bidp_rsqn": str(total),
        "inter2_prdy_clpr": str(instrument.base_price),
        "oprc_vrss_hgpr_rate": percent(state.high - state.open, state.open),
        "inter2_sdpr": str(instrument.base_price),
    }
    return row(MULTI_QUOTE, fields)


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
            changed = changes[price] = change(instrument, price)
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
    assert not rows or tuple(rows[0]) == SALES_ROW
    return rows
