"""The bodies of the quotation calls: what KIS answers, from the market and a moment. Pure.

All values are strings, as on the wire. Field names are stated here and in the provider, on purpose twice. Only trades
at or before the moment are visible.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from observer.simulator.frames import change_fields, strength_percent
from observer.simulator.gate import Refusal
from observer.simulator.history import DayBar
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market, MarketState, hhmmss
from observer.simulator.tape import NS_PER_S
from observer.simulator.ticks import price_limits_krw, tick_krw

Row = dict[str, str]
Body = dict[str, Row | list[Row]]

QUOTES_PER_CALL: Final = 30
ROWS_PER_CALL: Final = 30
DAYS_PER_CALL: Final = 100
_HOLIDAY_ROWS: Final = 24
_SATURDAY: Final = 5
_LATEST: Final = "235959"


def multi_quote(market: Market, now_ns: int, query: Mapping[str, str]) -> Body:
    """관심종목 멀티 시세: up to 30 symbols, FID_INPUT_ISCD_1 to _30; unknown ones are left out."""
    rows: list[Row] = []
    for number in range(1, QUOTES_PER_CALL + 1):
        symbol = query.get(f"FID_INPUT_ISCD_{number}", "")
        if not symbol:
            break
        required(query, f"FID_COND_MRKT_DIV_CODE_{number}")
        instrument = market.instrument(symbol)
        if instrument is not None:
            rows.append(_multi_quote_row(instrument, market.state_at(symbol, now_ns)))
    if not rows:
        required(query, "FID_INPUT_ISCD_1")
    return {"output": rows}


def single_quote(market: Market, now_ns: int, query: Mapping[str, str]) -> Body:
    """주식현재가 시세."""
    instrument = _instrument(market, query)
    state = market.state_at(instrument.symbol, now_ns)
    base_krw = instrument.base_price_krw
    average_krw = state.cumulative_value_krw / state.cumulative_volume if state.cumulative_volume else 0
    output = {
        "iscd_stat_cls_code": "58" if instrument.suspended else "51" if instrument.administrative else "55",
        "rprs_mrkt_kor_name": instrument.exchange,
        "temp_stop_yn": "Y" if instrument.suspended else "N",
        **_change(instrument, state.price_krw),
        "stck_prpr": str(state.price_krw),
        "acml_tr_pbmn": str(state.cumulative_value_krw),
        "acml_vol": str(state.cumulative_volume),
        "prdy_vrss_vol_rate": _percent(state.cumulative_volume, instrument.previous_volume),
        **_range(state),
        **_limits(base_krw),
        "stck_sdpr": str(base_krw),
        "wghn_avrg_stck_prc": f"{average_krw:.2f}",
        "aspr_unit": str(tick_krw(state.price_krw)),
        "lstn_stcn": str(instrument.listed_shares_thousands * 1_000),
        "hts_avls": str(instrument.market_cap_100m_krw),
        "vol_tnrt": _percent(state.cumulative_volume, instrument.listed_shares_thousands * 1_000),
        "stck_shrn_iscd": instrument.symbol,
        "sltr_yn": "Y" if instrument.settlement_trading else "N",
        "mang_issu_cls_code": "Y" if instrument.administrative else "N",
    }
    return {"output": output}


def daily_bars(market: Market, now_ns: int, query: Mapping[str, str]) -> Body:
    """기간별시세, days only: at most 100 rows, newest first; the session day is there once it is over.

    Raises:
        Refusal: a parameter is missing, or another period than D is asked for.
    """
    instrument = _instrument(market, query)
    first, last = required(query, "FID_INPUT_DATE_1"), required(query, "FID_INPUT_DATE_2")
    required(query, "FID_ORG_ADJ_PRC")
    if required(query, "FID_PERIOD_DIV_CODE") != "D":
        raise input_refusal("FID_PERIOD_DIV_CODE")
    bars = [*_finished_day(market, instrument.symbol, now_ns), *market.daily_bars(instrument.symbol)]
    # The change of a day is against the close before it; the oldest bar has none and shows no change.
    closes_before = [*(bar.close_krw for bar in bars[1:]), *(bar.open_krw for bar in bars[-1:])]
    rows = [_day_row(bar, before) for bar, before in zip(bars, closes_before, strict=True) if first <= bar.day <= last]
    return {"output1": _summary(market, instrument, now_ns), "output2": rows[:DAYS_PER_CALL]}


def minute_bars(market: Market, now_ns: int, query: Mapping[str, str]) -> Body:
    """당일분봉: at most 30 minutes with trades, newest first, from FID_INPUT_HOUR_1 backwards."""
    instrument = _instrument(market, query)
    until = _second_of_day(required(query, "FID_INPUT_HOUR_1"), "FID_INPUT_HOUR_1")
    day = market.session_date.replace("-", "")
    rows = [
        {
            "stck_bsop_date": day,
            "stck_cntg_hour": bar.start_hhmmss,
            "stck_prpr": str(bar.close_krw),
            "stck_oprc": str(bar.open_krw),
            "stck_hgpr": str(bar.high_krw),
            "stck_lwpr": str(bar.low_krw),
            "cntg_vol": str(bar.volume),
            "acml_tr_pbmn": str(bar.value_after_krw),
        }
        for bar in market.minute_bars(instrument.symbol, now_ns, until // 60, ROWS_PER_CALL)
    ]
    return {"output1": _summary(market, instrument, now_ns), "output2": rows}


def time_and_sales(market: Market, now_ns: int, query: Mapping[str, str]) -> Body:
    """당일시간대별체결: 30 trades, newest first, at and before the second FID_INPUT_HOUR_1."""
    instrument = _instrument(market, query)
    until = _second_of_day(required(query, "FID_INPUT_HOUR_1"), "FID_INPUT_HOUR_1")
    end_ns = min(now_ns, market.midnight_ns + (until + 1) * NS_PER_S - 1)
    rows: list[Row] = []
    for place in _newest_places(market, instrument.symbol, end_ns):
        state = market.state_after(instrument.symbol, place + 1)
        trade = _trade_row(market, instrument, place)
        rows.append(
            {
                "stck_cntg_hour": trade["stck_cntg_hour"],
                "stck_pbpr": str(state.price_krw),
                **_change(instrument, state.price_krw),
                "askp": str(state.ask_krw),
                "bidp": str(state.bid_krw),
                "tday_rltv": trade["tday_rltv"],
                "acml_vol": str(state.cumulative_volume),
                "cnqn": trade["cntg_vol"],
            }
        )
    summary = _summary(market, instrument, now_ns) | {"rprs_mrkt_kor_name": instrument.exchange}
    return {"output1": summary, "output2": rows}


def latest_trades(market: Market, now_ns: int, query: Mapping[str, str]) -> Body:
    """주식현재가 체결: the latest 30 trades, newest first."""
    instrument = _instrument(market, query)
    places = _newest_places(market, instrument.symbol, now_ns)
    return {"output": [_trade_row(market, instrument, place) for place in places]}


def holidays(market: Market, now_ns: int, query: Mapping[str, str]) -> Body:
    """국내휴장일조회: 24 days from BASS_DT; weekdays are open, and so is the session day."""
    del now_ns
    text = required(query, "BASS_DT")
    try:
        first = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise input_refusal("BASS_DT") from None
    days = [first + timedelta(days=offset) for offset in range(_HOLIDAY_ROWS)]
    return {"output": [_holiday_row(day, session_date=market.session_date) for day in days]}


def required(query: Mapping[str, str], name: str) -> str:
    """A parameter that has to be there. Raises Refusal."""
    value = query.get(name, "")
    if not value:
        raise input_refusal(name)
    return value


def input_refusal(name: str) -> Refusal:
    """The refusal of a parameter that is missing or cannot be read."""
    return Refusal("OPSQ2001", f"ERROR INPUT FIELD NOT FOUND [{name}]", 200)


def _instrument(market: Market, query: Mapping[str, str]) -> Instrument:
    required(query, "FID_COND_MRKT_DIV_CODE")
    instrument = market.instrument(required(query, "FID_INPUT_ISCD"))
    if instrument is None:
        raise input_refusal("FID_INPUT_ISCD")
    return instrument


def _second_of_day(text: str, name: str) -> int:
    if len(text) != len(_LATEST) or not text.isdigit() or text > _LATEST:
        raise input_refusal(name)
    return int(text[:2]) * 3600 + int(text[2:4]) * 60 + int(text[4:])


def _newest_places(market: Market, symbol: str, end_ns: int) -> range:
    end = market.tape(symbol).count_until(end_ns)
    return range(end - 1, max(end - ROWS_PER_CALL, 0) - 1, -1)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:.2f}"


def _change(instrument: Instrument, price_krw: int) -> Row:
    sign, difference, percent = change_fields(instrument, price_krw)
    return {"prdy_vrss": difference, "prdy_vrss_sign": sign, "prdy_ctrt": percent}


def _range(state: MarketState) -> Row:
    return {"stck_oprc": str(state.open_krw), "stck_hgpr": str(state.high_krw), "stck_lwpr": str(state.low_krw)}


def _limits(base_krw: int) -> Row:
    lowest_krw, highest_krw = price_limits_krw(base_krw)
    return {"stck_mxpr": str(highest_krw), "stck_llam": str(lowest_krw)}


def _multi_quote_row(instrument: Instrument, state: MarketState) -> Row:
    limits = _limits(instrument.base_price_krw)
    return {
        "kospi_kosdaq_cls_name": instrument.exchange,
        "mrkt_trtm_cls_name": "",
        "hour_cls_code": "0",
        "inter_shrn_iscd": instrument.symbol,
        "inter_kor_isnm": instrument.name,
        "inter2_prpr": str(state.price_krw),
        "inter2_prdy_vrss": str(state.price_krw - instrument.base_price_krw),
        **{name: text for name, text in _change(instrument, state.price_krw).items() if name != "prdy_vrss"},
        "acml_vol": str(state.cumulative_volume),
        "inter2_oprc": str(state.open_krw),
        "inter2_hgpr": str(state.high_krw),
        "inter2_lwpr": str(state.low_krw),
        "inter2_llam": limits["stck_llam"],
        "inter2_mxpr": limits["stck_mxpr"],
        "inter2_askp": str(state.ask_krw),
        "inter2_bidp": str(state.bid_krw),
        "acml_tr_pbmn": str(state.cumulative_value_krw),
        "inter2_prdy_clpr": str(instrument.base_price_krw),
        "oprc_vrss_hgpr_rate": _percent(state.high_krw - state.open_krw, state.open_krw),
        "inter2_sdpr": str(instrument.base_price_krw),
    }


def _summary(market: Market, instrument: Instrument, now_ns: int) -> Row:
    state = market.state_at(instrument.symbol, now_ns)
    return {
        **_change(instrument, state.price_krw),
        "stck_prdy_clpr": str(instrument.base_price_krw),
        "acml_vol": str(state.cumulative_volume),
        "acml_tr_pbmn": str(state.cumulative_value_krw),
        "hts_kor_isnm": instrument.name,
        "stck_prpr": str(state.price_krw),
        "stck_shrn_iscd": instrument.symbol,
        "prdy_vol": str(instrument.previous_volume),
        **_limits(instrument.base_price_krw),
        **_range(state),
    }


def _trade_row(market: Market, instrument: Instrument, place: int) -> Row:
    tape = market.tape(instrument.symbol)
    price_krw = tape.price_krw[place]
    return {
        "stck_cntg_hour": hhmmss((tape.time_ns[place] - market.midnight_ns) // NS_PER_S),
        "stck_prpr": str(price_krw),
        **_change(instrument, price_krw),
        "cntg_vol": str(tape.volume[place]),
        "tday_rltv": f"{strength_percent(tape, place):.2f}",
    }


def _finished_day(market: Market, symbol: str, now_ns: int) -> list[DayBar]:
    """The session day's own bar, once the closing cross is done."""
    if now_ns < market.close_ns:
        return []
    state = market.state_at(symbol, now_ns)
    if state.trades == 0:
        return []
    day = market.session_date.replace("-", "")
    prices = (state.open_krw, state.high_krw, state.low_krw, state.price_krw)
    return [DayBar(day, *prices, state.cumulative_volume, state.cumulative_value_krw)]


def _day_row(bar: DayBar, close_before_krw: int) -> Row:
    difference_krw = bar.close_krw - close_before_krw
    return {
        "stck_bsop_date": bar.day,
        "stck_clpr": str(bar.close_krw),
        "stck_oprc": str(bar.open_krw),
        "stck_hgpr": str(bar.high_krw),
        "stck_lwpr": str(bar.low_krw),
        "acml_vol": str(bar.volume),
        "acml_tr_pbmn": str(bar.value_krw),
        "flng_cls_code": "00",
        "prtt_rate": "0.00",
        "mod_yn": "N",
        "prdy_vrss_sign": "2" if difference_krw > 0 else "5" if difference_krw < 0 else "3",
        "prdy_vrss": str(difference_krw),
        "revl_issu_reas": "",
    }


def _holiday_row(day: date, *, session_date: str) -> Row:
    opened = "Y" if day.weekday() < _SATURDAY or day.isoformat() == session_date else "N"
    return {
        "bass_dt": day.strftime("%Y%m%d"),
        # KIS counts from Sunday = 01.
        "wday_dvsn_cd": f"{day.isoweekday() % 7 + 1:02d}",
        "bzdy_yn": opened,
        "tr_day_yn": opened,
        "opnd_yn": opened,
        "sttl_day_yn": opened,
    }
