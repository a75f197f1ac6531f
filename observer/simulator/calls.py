"""The quotation calls: path, TR id, the query that each must have, and what makes the body. Pure.

kis-api.md, section 8, has them in the same order.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from observer.simulator import bars, fund_quotations, listings, overseas, quotations
from observer.simulator.answers import Body, Page, Query, input_refusal
from observer.simulator.market import Market

_STOCK: Final = "/uapi/domestic-stock/v1/quotations"
_RANKING: Final = "/uapi/domestic-stock/v1/ranking"
_FUND: Final = "/uapi/etfetn/v1/quotations"
_ABROAD: Final = "/uapi/overseas-price/v1/quotations"
_SYMBOL: Final = ("FID_COND_MRKT_DIV_CODE", "FID_INPUT_ISCD")
_PRODUCT: Final = ("PDNO", "PRDT_TYPE_CD")
_OVERSEAS: Final = ("AUTH", "EXCD", "SYMB")
_DATES: Final = ("FID_INPUT_DATE_1", "FID_INPUT_DATE_2")
_SCREEN: Final = ("FID_COND_SCR_DIV_CODE", "FID_DIV_CLS_CODE", "FID_TRGT_CLS_CODE", "FID_TRGT_EXLS_CLS_CODE")
_PRICES: Final = ("FID_INPUT_PRICE_1", "FID_INPUT_PRICE_2", "FID_VOL_CNT")


class QuotationCall(msgspec.Struct, frozen=True):
    """One call. `query` are the parameters that have to be there, be they blank."""

    path: str
    tr_id: str
    query: tuple[str, ...]
    body_of: Callable[[Market, int, Query], Body | Page]


CALLS: Final = (
    QuotationCall(f"{_STOCK}/inquire-price", "FHKST01010100", _SYMBOL, quotations.single_quote),
    QuotationCall(f"{_STOCK}/intstock-multprice", "FHKST11300006", (), quotations.multi_quote),
    QuotationCall(
        f"{_STOCK}/inquire-daily-itemchartprice",
        "FHKST03010100",
        (*_SYMBOL, *_DATES, "FID_PERIOD_DIV_CODE", "FID_ORG_ADJ_PRC"),
        bars.daily_bars,
    ),
    QuotationCall(
        f"{_STOCK}/inquire-time-itemchartprice",
        "FHKST03010200",
        (*_SYMBOL, "FID_INPUT_HOUR_1", "FID_PW_DATA_INCU_YN", "FID_ETC_CLS_CODE"),
        bars.minute_bars,
    ),
    QuotationCall(
        f"{_STOCK}/inquire-time-dailychartprice",
        "FHKST03010230",
        (*_SYMBOL, "FID_INPUT_HOUR_1", "FID_INPUT_DATE_1", "FID_PW_DATA_INCU_YN", "FID_FAKE_TICK_INCU_YN"),
        bars.past_minute_bars,
    ),
    QuotationCall(
        f"{_STOCK}/inquire-time-itemconclusion",
        "FHPST01060000",
        (*_SYMBOL, "FID_INPUT_HOUR_1"),
        quotations.time_and_sales,
    ),
    QuotationCall(f"{_STOCK}/inquire-ccnl", "FHKST01010300", _SYMBOL, quotations.latest_trades),
    QuotationCall(
        f"{_STOCK}/inquire-vi-status",
        "FHPST01390000",
        (*_SCREEN, "FID_MRKT_CLS_CODE", "FID_INPUT_ISCD", "FID_RANK_SORT_CLS_CODE", "FID_INPUT_DATE_1"),
        listings.interruptions,
    ),
    QuotationCall(f"{_STOCK}/chk-holiday", "CTCA0903R", ("BASS_DT", "CTX_AREA_FK", "CTX_AREA_NK"), listings.holidays),
    QuotationCall(
        f"{_STOCK}/volume-rank",
        "FHPST01710000",
        (*_SYMBOL, *_SCREEN, "FID_BLNG_CLS_CODE", *_PRICES, "FID_INPUT_DATE_1"),
        listings.volume_rank,
    ),
    QuotationCall(
        f"{_RANKING}/market-cap",
        "FHPST01740000",
        tuple(name.lower() for name in (*_SYMBOL, *_SCREEN, *_PRICES)),
        listings.market_cap_rank,
    ),
    QuotationCall(f"{_STOCK}/search-stock-info", "CTPF1002R", _PRODUCT, listings.stock_information),
    QuotationCall(f"{_STOCK}/search-info", "CTPF1604R", _PRODUCT, listings.product_information),
    QuotationCall(f"{_FUND}/inquire-price", "FHPST02400000", _SYMBOL, fund_quotations.fund_quote),
    QuotationCall(f"{_FUND}/nav-comparison-trend", "FHPST02440000", _SYMBOL, fund_quotations.nav_trend),
    QuotationCall(
        f"{_FUND}/nav-comparison-daily-trend", "FHPST02440200", (*_SYMBOL, *_DATES), fund_quotations.nav_by_day
    ),
    QuotationCall(
        f"{_FUND}/nav-comparison-time-trend",
        "FHPST02440100",
        (*_SYMBOL, "FID_HOUR_CLS_CODE"),
        fund_quotations.nav_by_minute,
    ),
    QuotationCall(
        f"{_FUND}/inquire-component-stock-price",
        "FHKST121600C0",
        (*_SYMBOL, "FID_COND_SCR_DIV_CODE"),
        fund_quotations.fund_components,
    ),
    QuotationCall(f"{_ABROAD}/price", "HHDFS00000300", _OVERSEAS, overseas.overseas_quote),
    QuotationCall(f"{_ABROAD}/price-detail", "HHDFS76200200", _OVERSEAS, overseas.overseas_detail),
    QuotationCall(
        f"{_ABROAD}/dailyprice", "HHDFS76240000", (*_OVERSEAS, "GUBN", "BYMD", "MODP"), overseas.overseas_days
    ),
    QuotationCall(f"{_ABROAD}/search-info", "CTPF1702R", _PRODUCT, overseas.overseas_information),
)


def answer_of(call: QuotationCall, market: Market, now_ns: int, query: Query) -> Page:
    """The answer to a call. Raises Refusal (a parameter is missing or cannot be read, no such product)."""
    for name in call.query:
        if name not in query:
            raise input_refusal(name)
    body = call.body_of(market, now_ns, query)
    return body if isinstance(body, Page) else Page(body, 1, more=False)
