"""What is listed and open, as KIS answers it. Pure."""

from datetime import date, timedelta
from typing import Final, NamedTuple

from observer.simulator.kis.answers import (
    HOLIDAY,
    OVERSEAS_INFORMATION,
    PRODUCT_INFORMATION,
    STOCK_INFORMATION,
    AnswerPage,
    Body,
    Query,
    Row,
    input_refusal,
    required,
    row,
    session_day,
    shares_of,
)
from observer.simulator.kis.authentication import Refusal
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market

HOLIDAYS_PER_PAGE: Final = 24
# So far the calendar reaches from the day asked about; two pages and a half.
HOLIDAYS_AHEAD: Final = 60
STOCKS: Final = "300"  # PRDT_TYPE_CD of domestic stocks, ETFs, ETNs and ELWs
_CONTEXT_WIDTH: Final = 20
_SATURDAY: Final = 5


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


class OverseasListing(NamedTuple):
    """One security abroad; `close` is the day before's, in the exchange's currency."""

    product_type: str
    exchange: str
    currency: str
    country: str
    symbol: str
    close: str
    name: str


LISTINGS: Final = [
    OverseasListing(*line.split(maxsplit=6))
    for line in """
    512  NASD  USD  미국    SIMA    172.35   SIM ALPHA INC
    512  NASD  USD  미국    SIMQ    401.12   SIM 100 ETF
    513  NYSE  USD  미국    SIMB    58.4     SIM BETA CORP
    529  AMEX  USD  미국    SIMC    33.07    SIM GOLD ETF
    501  SEHK  HKD  홍콩    09701   88.15    SIM HOLDINGS
    551  SHAA  CNY  중국    609701  14.52    SIM STEEL
    552  SZAA  CNY  중국    009701  27.9     SIM POWER
    515  TKSE  JPY  일본    9701    2310.0   SIM MOTOR
    507  HASE  VND  베트남  SMH     18400.0  SIM HANOI
    508  VNSE  VND  베트남  SMV     61200.0  SIM VIETNAM
    """.strip().splitlines()
]


def overseas_information(market: Market, now_ns: int, query: Query) -> Body:
    """해외주식 상품기본정보. Raises Refusal (no such product: rt_cd 7)."""
    del now_ns
    kind, symbol = required(query, "PRDT_TYPE_CD"), required(query, "PDNO")
    listing = next((each for each in LISTINGS if (each.product_type, each.symbol) == (kind, symbol)), None)
    if listing is None:
        raise nothing_found()
    fields = {
        **dict.fromkeys(("prdt_eng_name", "ovrs_item_name", "prdt_name"), listing.name),
        "natn_name": listing.country,
        **dict.fromkeys(("tr_mket_name", "ovrs_excg_cd", "ovrs_excg_name"), listing.exchange),
        **dict.fromkeys(("tr_crcy_cd", "crcy_name"), listing.currency),
        "ovrs_stck_dvsn_cd": "03" if listing.name.endswith("ETF") else "01",
        **dict.fromkeys(("sll_unit_qty", "buy_unit_qty"), "1"),
        "lstg_stck_num": "1000000000",
        "lstg_dt": "20200102",
        "ovrs_stck_tr_stop_dvsn_cd": "01",
        "lstg_abol_item_yn": "N",
        "lstg_yn": "Y",
        "ovrs_now_pric1": f"{float(listing.close):.5f}",
        "last_rcvg_dtime": session_day(market) + "080000",
    }
    return {"output": row(OVERSEAS_INFORMATION, fields)}


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
