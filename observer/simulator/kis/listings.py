"""What is listed, ranked, interrupted and open, as KIS answers it. Pure."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Final

from observer.simulator.kis.answers import (
    CAP_RANK,
    HOLIDAY,
    INTERRUPTION,
    PRODUCT_INFORMATION,
    STOCK_INFORMATION,
    VOLUME_RANK,
    AnswerPage,
    Body,
    Query,
    Row,
    change,
    input_refusal,
    one_of,
    percent,
    required,
    row,
    session_day,
    shares_of,
    time_text,
)
from observer.simulator.kis.authentication import Refusal
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market

RANKS: Final = 30
HOLIDAYS_PER_PAGE: Final = 24
# So far the calendar reaches from the day asked about; two pages and a half.
HOLIDAYS_AHEAD: Final = 60
STOCKS: Final = "300"  # PRDT_TYPE_CD of domestic stocks, ETFs, ETNs and ELWs
_CONTEXT_WIDTH: Final = 20
_SATURDAY: Final = 5
_MARKETS: Final = {"0": ("KOSPI", "KOSDAQ"), "K": ("KOSPI",), "Q": ("KOSDAQ",)}


def volume_rank(market: Market, now_ns: int, query: Query) -> Body:
    """거래량순위: the 30 symbols of most volume so far, the first one first."""
    one_of(query, "FID_COND_MRKT_DIV_CODE", ("J", "NX", "UN"))
    one_of(query, "FID_COND_SCR_DIV_CODE", ("20171",))
    ranked = _ranked(market, lambda listed: market.state_at(listed.symbol, now_ns).cumulative_volume)
    return {"output": [_volume_rank_row(market, listed, now_ns, rank) for rank, listed in enumerate(ranked, start=1)]}


def market_cap_rank(market: Market, now_ns: int, query: Query) -> Body:
    """시가총액 상위: the 30 largest symbols at their latest prices, the largest first."""
    one_of(query, "FID_COND_MRKT_DIV_CODE", ("J",))
    one_of(query, "FID_COND_SCR_DIV_CODE", ("20174",))

    def value(listed: Instrument) -> int:
        return market.state_at(listed.symbol, now_ns).price * shares_of(listed)

    whole = sum(map(value, market.instruments))
    rows = []
    for rank, listed in enumerate(_ranked(market, value), start=1):
        state = market.state_at(listed.symbol, now_ns)
        fields = {
            "mksc_shrn_iscd": listed.symbol,
            "data_rank": str(rank),
            "hts_kor_isnm": listed.name,
            "stck_prpr": str(state.price),
            **change(listed, state.price),
            "acml_vol": str(state.cumulative_volume),
            "lstn_stcn": str(shares_of(listed)),
            "stck_avls": str(value(listed) // 100_000_000),
            "mrkt_whol_avls_rlim": percent(value(listed), whole),
        }
        rows.append(row(CAP_RANK, fields))
    return {"output": rows}


def interruptions(market: Market, now_ns: int, query: Query) -> Body:
    """VI 현황: the volatility interruptions of the session day so far, the latest first."""
    exchanges = _MARKETS[one_of(query, "FID_MRKT_CLS_CODE", tuple(_MARKETS))]
    one_of(query, "FID_COND_SCR_DIV_CODE", ("20139",))
    symbol = query.get("FID_INPUT_ISCD", "")
    if required(query, "FID_INPUT_DATE_1") != session_day(market):
        return {"output": []}
    listed = [i for i in market.instruments if i.exchange in exchanges and symbol in ("", i.symbol)]
    rows = [found for instrument in listed for found in _interruption_rows(market, instrument, now_ns)]
    rows.sort(key=lambda found: (found["cntg_vi_hour"], found["mksc_shrn_iscd"]), reverse=True)
    return {"output": rows}


def holidays(market: Market, now_ns: int, query: Query) -> AnswerPage:
    """국내휴장일조회: 60 days from BASS_DT, 24 a page; weekdays are open, and so is the session day.

    CTX_AREA_NK of a page is the first day of the next one, CTX_AREA_FK the day that was asked about.
    """
    del now_ns
    asked = query.get("CTX_AREA_FK", "").strip() or required(query, "BASS_DT")
    first = _date(asked, "BASS_DT")
    start = _date(query.get("CTX_AREA_NK", "").strip() or asked, "CTX_AREA_NK")
    end = first + timedelta(days=HOLIDAYS_AHEAD)
    if not first <= start < end:
        raise input_refusal("CTX_AREA_NK")
    days = [start + timedelta(days=offset) for offset in range(min(HOLIDAYS_PER_PAGE, (end - start).days))]
    following = days[-1] + timedelta(days=1)
    more = following < end
    body: Body = {
        "ctx_area_nk": (following.strftime("%Y%m%d") if more else "").ljust(_CONTEXT_WIDTH),
        "ctx_area_fk": asked.ljust(_CONTEXT_WIDTH),
        "output": [_holiday_row(day, session_date=market.session_date) for day in days],
    }
    return AnswerPage(body, (start - first).days // HOLIDAYS_PER_PAGE + 1, more)


def stock_information(market: Market, now_ns: int, query: Query) -> Body:
    """주식기본조회. Raises Refusal (no such product: rt_cd 7)."""
    instrument = _product(market, query)
    closing = market.state_at(instrument.symbol, market.close_ns)
    listed_on = {"KOSPI": "scts_mket_lstg_dt", "KOSDAQ": "kosdaq_mket_lstg_dt"}[instrument.exchange]
    etf = instrument.group == "EF"
    fields = {
        **dict.fromkeys(("prdt_name", "prdt_name120", "prdt_abrv_name"), instrument.name),
        "pdno": instrument.symbol.rjust(12, "0"),
        "prdt_type_cd": STOCKS,
        "mket_id_cd": "STK" if instrument.exchange == "KOSPI" else "KSQ",
        "scty_grp_id_cd": instrument.group,
        "excg_dvsn_cd": "02" if instrument.exchange == "KOSPI" else "03",
        "setl_mmdd": "1231",
        "lstg_stqt": str(shares_of(instrument)),
        "papr": "5000",
        "kospi200_item_yn": "N",
        listed_on: instrument.listed_on,
        "etf_dvsn_cd": "1" if etf else "",
        "stck_kind_cd": "201" if instrument.preferred else "101",
        "etf_cu_qty": "50000" if etf else "0",
        "std_pdno": instrument.isin,
        "tr_stop_yn": "Y" if instrument.suspended else "N",
        "admn_item_yn": "Y" if instrument.administrative else "N",
        "thdt_clpr": str(closing.price) if now_ns >= market.close_ns else "0",
        "bfdy_clpr": str(instrument.base_price),
        "clpr_chng_dt": session_day(market),
        "elec_scty_yn": "Y",
        "etf_chas_erng_rt_dbnb": "1.000000" if etf else "0.000000",
        **_nxt_fields(market, instrument),
    }
    return {"output": row(STOCK_INFORMATION, fields)}


def product_information(market: Market, now_ns: int, query: Query) -> Body:
    """상품기본조회. Raises Refusal (no such product: rt_cd 7)."""
    del now_ns
    instrument = _product(market, query)
    fields = {
        "pdno": instrument.symbol.rjust(12, "0"),
        "prdt_type_cd": STOCKS,
        "std_pdno": instrument.isin,
        "shtn_pdno": instrument.symbol,
        "prdt_clsf_cd": f"{instrument.group}1",
        "sale_strt_dt": instrument.listed_on,
        "sale_end_dt": "99991231",
        "frst_erlm_dt": instrument.listed_on,
    }
    names = ("prdt_name", "prdt_name120", "prdt_abrv_name", "prdt_eng_name", "prdt_eng_name120", "prdt_eng_abrv_name")
    return {"output": dict.fromkeys(names, instrument.name) | row(PRODUCT_INFORMATION, fields)}


def _nxt_fields(market: Market, instrument: Instrument) -> Row:
    """Whether NXT trades a share, and whether it has stopped; a market of the KRX alone has no NXT to ask."""
    listing = market.nxt_listing(instrument.symbol)
    traded = listing is not None if market.whole_day else instrument.ordinary
    stopped = instrument.suspended if listing is None else listing.stopped
    return {"cptt_trad_tr_psbl_yn": "Y" if traded else "N", "nxt_tr_stop_yn": "Y" if stopped else "N"}


def nothing_found() -> Refusal:
    """The answer to a question about a product that there is not."""
    return Refusal("KIOK0560", "조회할 내용이 없습니다", 200, return_code="7")


def _product(market: Market, query: Query) -> Instrument:
    kind, instrument = required(query, "PRDT_TYPE_CD"), market.instrument(required(query, "PDNO"))
    if kind != STOCKS or instrument is None:
        raise nothing_found()
    return instrument


def _ranked(market: Market, key: Callable[[Instrument], int]) -> list[Instrument]:
    return sorted(market.instruments, key=lambda listed: (-key(listed), listed.symbol))[:RANKS]


def _volume_rank_row(market: Market, listed: Instrument, now_ns: int, rank: int) -> Row:
    state = market.state_at(listed.symbol, now_ns)
    usual = market.plan(listed.symbol).usual_volume
    fields = {
        "hts_kor_isnm": listed.name,
        "mksc_shrn_iscd": listed.symbol,
        "data_rank": str(rank),
        "stck_prpr": str(state.price),
        **change(listed, state.price),
        "acml_vol": str(state.cumulative_volume),
        "prdy_vol": str(listed.previous_volume),
        "lstn_stcn": str(shares_of(listed)),
        "avrg_vol": str(usual),
        "n_befr_clpr_vrss_prpr_rate": change(listed, state.price)["prdy_ctrt"],
        "vol_inrt": percent(state.cumulative_volume, listed.previous_volume),
        "vol_tnrt": percent(state.cumulative_volume, shares_of(listed)),
        "nday_vol_tnrt": percent(usual, shares_of(listed)),
        "avrg_tr_pbmn": str(usual * listed.base_price),
        "tr_pbmn_tnrt": percent(state.cumulative_value, shares_of(listed) * listed.base_price),
        "nday_tr_pbmn_tnrt": percent(usual, shares_of(listed)),
        "acml_tr_pbmn": str(state.cumulative_value),
    }
    return row(VOLUME_RANK, fields)


def _interruption_rows(market: Market, instrument: Instrument, now_ns: int) -> Iterator[Row]:
    """The static interruptions of a symbol so far, each with the price at which dealing stopped."""
    found = [halt for halt in market.halts(instrument.symbol) if halt.reason == "volatility"]
    for number, halt in enumerate(found, start=1):
        if halt.start_ns > now_ns:
            return
        price = market.state_at(instrument.symbol, halt.start_ns).price
        over = halt.end_ns <= now_ns
        fields = {
            "hts_kor_isnm": instrument.name,
            "mksc_shrn_iscd": instrument.symbol,
            "vi_cls_code": "N" if over else "Y",
            "bsop_date": session_day(market),
            "cntg_vi_hour": time_text(market, halt.start_ns),
            "vi_cncl_hour": time_text(market, halt.end_ns) if over else "000000",
            "vi_kind_code": "1",
            "vi_prc": str(price),
            "vi_stnd_prc": str(halt.reference),
            "vi_dprt": percent(price - halt.reference, halt.reference),
            "vi_dmc_stnd_prc": "0",
            "vi_dmc_dprt": "0.00",
            "vi_count": str(number),
        }
        yield row(INTERRUPTION, fields)


def _date(text: str, name: str) -> date:
    if len(text) != len("YYYYMMDD") or not (text.isascii() and text.isdigit()):
        raise input_refusal(name)
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise input_refusal(name) from None


def _holiday_row(day: date, *, session_date: str) -> Row:
    opened = "Y" if day.weekday() < _SATURDAY or day.isoformat() == session_date else "N"
    fields = {
        "bass_dt": day.strftime("%Y%m%d"),
        # KIS counts from Sunday = 01.
        "wday_dvsn_cd": f"{day.isoweekday() % 7 + 1:02d}",
        **dict.fromkeys(("bzdy_yn", "tr_day_yn", "opnd_yn", "sttl_day_yn"), opened),
    }
    return row(HOLIDAY, fields)
