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
    shown,
    yes,
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
    closing, etf = market.state_at(instrument.symbol, market.close_ns), instrument.group == "EF"
    kospi = instrument.exchange == "KOSPI"
    figures = shown(market, instrument, now_ns) | _nxt_figures(market, instrument)
    figures |= {
        "product": instrument.symbol.rjust(12, "0"),
        "market": "STK" if kospi else "KSQ",
        "division": "02" if kospi else "03",
        "in_kospi": instrument.listed_on if kospi else "",
        "in_kosdaq": "" if kospi else instrument.listed_on,
        "is_etf": "1" if etf else "",
        "kind": "201" if instrument.preferred else "101",
        "unit": "50000" if etf else "0",
        "close": closing.price if now_ns >= market.close_ns else 0,
        "day": session_day(market),
        "multiple": "1.000000" if etf else "0.000000",
    }
    return {"output": row(STOCK_INFORMATION, figures)}


def product_information(market: Market, now_ns: int, query: Query) -> Body:
    """상품기본조회. Raises Refusal (no such product: rt_cd 7)."""
    del now_ns
    instrument = _product(market, query)
    names = ("prdt_name", "prdt_name120", "prdt_abrv_name", "prdt_eng_name", "prdt_eng_name120", "prdt_eng_abrv_name")
    figures = {"listed": instrument, "product": instrument.symbol.rjust(12, "0")}
    return {"output": dict.fromkeys(names, instrument.name) | row(PRODUCT_INFORMATION, figures)}


def _nxt_figures(market: Market, instrument: Instrument) -> Row:
    """Whether NXT trades a share, and whether it has stopped; a market of the KRX alone has no NXT to ask."""
    listing = market.nxt_listing(instrument.symbol)
    traded = listing is not None if market.whole_day else instrument.ordinary
    stopped = instrument.suspended if listing is None else listing.stopped
    return {"at_nxt": yes(traded), "stopped_at_nxt": yes(stopped)}


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
    kind = "03" if listing.name.endswith("ETF") else "01"
    figures = {"listing": listing, "kind": kind, "close": float(listing.close), "day": session_day(market)}
    return {"output": row(OVERSEAS_INFORMATION, figures)}


def _date(text: str, name: str) -> date:
    if len(text) != len("YYYYMMDD") or not (text.isascii() and text.isdigit()):
        raise input_refusal(name)
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise input_refusal(name) from None


def _holiday_row(day: date, *, session_date: str) -> Row:
    opened = yes(day.weekday() < _SATURDAY or day.isoformat() == session_date)
    # KIS counts from Sunday = 01.
    return row(HOLIDAY, {"day": day, "weekday": day.isoweekday() % 7 + 1, "opened": opened})
