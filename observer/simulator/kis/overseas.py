"""A few made-up listings abroad and what KIS answers about them: quote, detail, days, product. Pure.

Prices go with a slow wave around the day before's close, with the exchange's decimals; there is no tape of trades.
Numbers are as the real host pads them: prices with four decimals, rates with a sign in six places.
"""

import math
from itertools import pairwise
from typing import Final

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.kis.answers import (
    OVERSEAS_DAILY_SUMMARY,
    OVERSEAS_DAY,
    OVERSEAS_DETAIL,
    OVERSEAS_INFORMATION,
    OVERSEAS_QUOTE,
    Body,
    Query,
    Row,
    input_refusal,
    one_of,
    required,
    row,
)
from observer.simulator.kis.frames import sign_code
from observer.simulator.kis.listings import nothing_found
from observer.simulator.market.market import Market
from observer.simulator.market.plan import weekdays_before

DAYS_PER_CALL: Final = 100
_SHARES: Final = 1_000_000_000
_WON_PER_UNIT: Final = {"USD": 1_380.0, "HKD": 177.0, "CNY": 191.0, "JPY": 9.2, "VND": 0.054}


class OverseasExchange(msgspec.Struct, frozen=True):
    """An exchange by KIS's codes: `code` for prices, `order_code` for orders, `product_type` for search."""

    code: str
    order_code: str
    product_type: str
    currency: str
    country: str


class OverseasListing(msgspec.Struct, frozen=True):
    """One security abroad; `close` is the day before's, in the exchange's currency."""

    exchange: OverseasExchange
    symbol: str
    name: str
    close: float
    previous_volume: int


_NASDAQ: Final = OverseasExchange("NAS", "NASD", "512", "USD", "미국")
_NYSE: Final = OverseasExchange("NYS", "NYSE", "513", "USD", "미국")
_AMEX: Final = OverseasExchange("AMS", "AMEX", "529", "USD", "미국")
_HONG_KONG: Final = OverseasExchange("HKS", "SEHK", "501", "HKD", "홍콩")
_SHANGHAI: Final = OverseasExchange("SHS", "SHAA", "551", "CNY", "중국")
_SHENZHEN: Final = OverseasExchange("SZS", "SZAA", "552", "CNY", "중국")
_TOKYO: Final = OverseasExchange("TSE", "TKSE", "515", "JPY", "일본")
_HANOI: Final = OverseasExchange("HNX", "HASE", "507", "VND", "베트남")
_HO_CHI_MINH: Final = OverseasExchange("HSX", "VNSE", "508", "VND", "베트남")
EXCHANGES: Final = (*(_NASDAQ, _NYSE, _AMEX, _HONG_KONG, _SHANGHAI, _SHENZHEN, _TOKYO, _HANOI, _HO_CHI_MINH),)
LISTINGS: Final = (
    OverseasListing(_NASDAQ, "SIMA", "SIM ALPHA INC", 172.35, 48_000_000),
    OverseasListing(_NASDAQ, "SIMQ", "SIM 100 ETF", 401.12, 21_000_000),
    OverseasListing(_NYSE, "SIMB", "SIM BETA CORP", 58.4, 9_000_000),
    OverseasListing(_AMEX, "SIMC", "SIM GOLD ETF", 33.07, 3_000_000),
    OverseasListing(_HONG_KONG, "09701", "SIM HOLDINGS", 88.15, 12_000_000),
    OverseasListing(_SHANGHAI, "609701", "SIM STEEL", 14.52, 30_000_000),
    OverseasListing(_SHENZHEN, "009701", "SIM POWER", 27.9, 25_000_000),
    OverseasListing(_TOKYO, "9701", "SIM MOTOR", 2_310.0, 7_000_000),
    OverseasListing(_HANOI, "SMH", "SIM HANOI", 18_400.0, 1_000_000),
    OverseasListing(_HO_CHI_MINH, "SMV", "SIM VIETNAM", 61_200.0, 2_000_000),
)


class _Standing(msgspec.Struct, frozen=True):
    """A listing at a moment. The day opens at the close of the day before."""

    last: float
    high: float
    low: float
    volume: int
    value: float


def overseas_quote(market: Market, now_ns: int, query: Query) -> Body:
    """해외주식 현재체결가; a symbol that is not listed has blank values."""
    listing = _asked(query)
    if listing is None:
        return {"output": row(OVERSEAS_QUOTE, {})}
    standing = _standing(market, listing, now_ns)
    fields = {
        **_change(standing.last, listing.close),
        "rsym": _stream_key(listing),
        "zdiv": "4",
        "base": _price(listing.close),
        "pvol": str(listing.previous_volume),
        "last": _price(standing.last),
        "tvol": str(standing.volume),
        "tamt": f"{standing.value:.0f}",
        "ordy": "매수가능",
    }
    return {"output": row(OVERSEAS_QUOTE, fields)}


def overseas_detail(market: Market, now_ns: int, query: Query) -> Body:
    """해외주식 현재가상세; a symbol that is not listed has blank values."""
    listing = _asked(query)
    if listing is None:
        return {"output": row(OVERSEAS_DETAIL, {})}
    standing, currency = _standing(market, listing, now_ns), listing.exchange.currency
    won = _WON_PER_UNIT[currency]
    today = market.session_date.replace("-", "")
    fields = {
        "rsym": _stream_key(listing),
        "pvol": str(listing.previous_volume),
        "open": _price(listing.close),
        "high": _price(standing.high),
        "low": _price(standing.low),
        "last": _price(standing.last),
        "base": _price(listing.close),
        "tomv": f"{standing.last * _SHARES:.0f}",
        "pamt": f"{listing.previous_volume * listing.close:.0f}",
        "uplp": "0.0000",
        "dnlp": "0.0000",
        "perx": "10.00",
        "pbrx": "1.00",
        "h52p": _price(listing.close * 1.2),
        "h52d": today,
        "l52p": _price(listing.close * 0.8),
        "l52d": today,
        "epsx": f"{listing.close / 10:.2f}",
        "bpsx": f"{listing.close:.2f}",
        "shar": str(_SHARES),
        "mcap": "0",
        "curr": currency,
        "zdiv": "4",
        "vnit": "1",
        "t_xprc": f"{standing.last * won:.0f}",
        "p_xprc": f"{listing.close * won:.0f}",
        "t_xdif": f"{abs(standing.last - listing.close) * won:.0f}",
        "t_xrat": _change(standing.last, listing.close)["rate"],
        "t_xsgn": sign_code(standing.last - listing.close),
        "p_xdif": "0",
        "p_xrat": f"{0:+6.2f}",
        "p_xsng": "3",
        "t_rate": f"{won:.2f}",
        "p_rate": f"{won:.2f}",
        "e_ordyn": "매매 가능",
        "e_hogau": "0.0100",
        "e_icod": "",
        "e_parp": "0.0000",
        "tvol": str(standing.volume),
        "tamt": f"{standing.value:.0f}",
    }
    return {"output": row(OVERSEAS_DETAIL, fields)}


def overseas_days(market: Market, now_ns: int, query: Query) -> Body:
    """해외주식 기간별시세: at most 100 days before the session day, newest first, from BYMD (blank: the last) back."""
    del now_ns
    listing = _asked(query)
    one_of(query, "GUBN", ("0",))
    one_of(query, "MODP", ("0", "1"))
    if listing is None:
        return {"output1": row(OVERSEAS_DAILY_SUMMARY, {}), "output2": []}
    latest = query.get("BYMD", "") or market.session_date.replace("-", "")
    days = [day for day in weekdays_before(market.session_date, 2 * DAYS_PER_CALL) if day <= latest]
    rows = [_day_row(listing, day, before) for day, before in pairwise(days)][:DAYS_PER_CALL]
    summary = {"rsym": _stream_key(listing), "zdiv": "4", "nrec": str(len(rows))}
    return {"output1": row(OVERSEAS_DAILY_SUMMARY, summary), "output2": rows}


def overseas_information(market: Market, now_ns: int, query: Query) -> Body:
    """해외주식 상품기본정보. Raises Refusal (no such product: rt_cd 7)."""
    del now_ns
    kind, symbol = required(query, "PRDT_TYPE_CD"), required(query, "PDNO")
    found = (held for held in LISTINGS if (held.exchange.product_type, held.symbol) == (kind, symbol))
    listing = next(found, None)
    if listing is None:
        raise nothing_found()
    exchange = listing.exchange
    fields = {
        **dict.fromkeys(("prdt_eng_name", "ovrs_item_name", "prdt_name"), listing.name),
        "natn_name": exchange.country,
        "tr_mket_name": exchange.order_code,
        "ovrs_excg_cd": exchange.order_code,
        "ovrs_excg_name": exchange.order_code,
        "tr_crcy_cd": exchange.currency,
        "crcy_name": exchange.currency,
        "ovrs_stck_dvsn_cd": "03" if listing.name.endswith("ETF") else "01",
        **dict.fromkeys(("sll_unit_qty", "buy_unit_qty"), "1"),
        "lstg_stck_num": str(_SHARES),
        "lstg_dt": "20200102",
        "ovrs_stck_tr_stop_dvsn_cd": "01",
        "lstg_abol_item_yn": "N",
        "lstg_yn": "Y",
        "ovrs_now_pric1": f"{listing.close:.5f}",
        "last_rcvg_dtime": market.session_date.replace("-", "") + "080000",
    }
    return {"output": row(OVERSEAS_INFORMATION, fields)}


def _asked(query: Query) -> OverseasListing | None:
    if "AUTH" not in query:
        raise input_refusal("AUTH")
    code = one_of(query, "EXCD", tuple(exchange.code for exchange in EXCHANGES))
    symbol = required(query, "SYMB")
    return next((held for held in LISTINGS if (held.exchange.code, held.symbol) == (code, symbol)), None)


def _wave(listing: OverseasListing, minute: int) -> float:
    return listing.close * (1 + 0.01 * math.sin(minute / 37) + 0.004 * math.sin(minute / 5))


def _standing(market: Market, listing: OverseasListing, now_ns: int) -> _Standing:
    """The day abroad is taken to be the Korean one: it runs from midnight on, a volume of the usual day in all."""
    minute = min(24 * 60, max(0, (now_ns - market.midnight_ns) // (60 * NS_PER_S)))
    prices = [listing.close, *(_wave(listing, at) for at in range(1, minute + 1))]
    volume = listing.previous_volume * minute // (24 * 60)
    return _Standing(prices[-1], max(prices), min(prices), volume, volume * sum(prices) / len(prices))


def _close_of(listing: OverseasListing, day: str) -> float:
    return _wave(listing, int(day) * 389 % 24_000)


def _day_row(listing: OverseasListing, day: str, before: str) -> Row:
    close, close_before = _close_of(listing, day), _close_of(listing, before)
    volume = listing.previous_volume + int(day) % 97 * 1_000
    fields = {
        "xymd": day,
        "clos": _price(close),
        **_change(close, close_before),
        "open": _price(close_before),
        "high": _price(max(close, close_before) * 1.002),
        "low": _price(min(close, close_before) * 0.998),
        "tvol": str(volume),
        "tamt": f"{volume * close:.0f}",
        "pbid": _price(close - 0.01),
        "vbid": "100",
        "pask": _price(close + 0.01),
        "vask": "100",
    }
    return row(OVERSEAS_DAY, fields)


def _stream_key(listing: OverseasListing) -> str:
    return f"D{listing.exchange.code}{listing.symbol}"


def _price(value: float) -> str:
    return f"{value:.4f}"


def _change(price: float, before: float) -> Row:
    """Sign code, change without its sign, and the rate with it, padded to six places."""
    rate = 100 * (price - before) / before
    return {"sign": sign_code(price - before), "diff": _price(abs(price - before)), "rate": f"{rate:+6.2f}"}
