"""KIS's doors beside quotes and history: symbols, sessions, instruments, the market, funds, other countries.

One class a door, each on the pipeline of one account. The calls are in `calls.py`, what answers mean in the bodies.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Final

import msgspec

from observer.errors import BadRequestError, MalformedError
from observer.providers.domestic import (
    LatestTrade,
    ProductInformation,
    QuoteDetail,
    RankedByMarketCap,
    RankedByVolume,
    SessionDay,
    StockInformation,
    VolatilityInterruption,
)
from observer.providers.funds import FundHoldings, FundQuote, NavComparison, NavDay, NavMinute
from observer.providers.http import RestPipeline
from observer.providers.kis import calls, funds, market, overseas, symbols
from observer.providers.kis.calls import Body, KisCall, continuation_keys, fetch, fetch_pages, one_symbol
from observer.providers.kis.moments import date_text
from observer.providers.overseas import OverseasBar, OverseasInstrument, OverseasQuote, OverseasQuoteDetail

_SESSION_PAGES_MAX: Final = 40  # a page is some three weeks; two years ahead is beyond what KIS knows
_INTERRUPTION_PAGES_MAX: Final = 100  # of about 30: a day of panic has some thousand interruptions
_NAV_PAGES_MAX: Final = 50  # of about 30 days or more
_OVERSEAS_PAGES_MAX: Final = 100  # of 100 days: forty years
_DOMESTIC_PRODUCT: Final = "300"  # 상품유형코드 of stocks, ETFs and ETNs
_NAV_MINUTES_MARKET: Final = "E"  # this one call wants E where the others want J
_NOTHING_FOUND: Final = "KIOK0560"  # 조회할 내용이 없습니다: how the product calls say that there is no such product
_ONE_DAY: Final = timedelta(days=1)


class KisSymbols:
    """Satisfies `SymbolSource`."""

    def __init__(self, pipeline: RestPipeline) -> None:
        self._pipeline = pipeline

    async def quote_detail(self, symbol: str) -> QuoteDetail | None:
        """The symbol's quote with all that belongs to it; None when KIS does not know it.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        return symbols.quote_detail_of(await fetch(self._pipeline, calls.QUOTE_DETAIL, one_symbol(symbol)))

    async def latest_trades(self, symbol: str, day: date) -> Sequence[LatestTrade]:
        """The newest 30 trades of the session of `day`, oldest first. Rows have no date: the day is the caller's word.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        body = await fetch(self._pipeline, calls.LATEST_TRADES, one_symbol(symbol))
        return symbols.latest_trades_of(body, symbol, date_text(day))


class KisSessions:
    """Satisfies `SessionSource`. KIS asks for one call a day: ask for few days, and keep the answer."""

    def __init__(self, pipeline: RestPipeline) -> None:
        self._pipeline = pipeline

    async def sessions(self, first: date, last: date) -> Sequence[SessionDay]:
        """The days from `first` to `last`, both included, oldest first, as far as KIS knows them; some 24 a request.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {"BASS_DT": date_text(first), "CTX_AREA_FK": "", "CTX_AREA_NK": ""}
        by_day: dict[date, SessionDay] = {}
        pages = fetch_pages(
            self._pipeline, calls.SESSIONS, query, pages_max=_SESSION_PAGES_MAX, keys_of=continuation_keys
        )
        async for body in pages:
            by_day.update((session.day, session) for session in market.sessions_of(body))
            if any(day >= last for day in by_day):
                break
        return [by_day[day] for day in sorted(by_day) if first <= day <= last]


class KisInstruments:
    """Satisfies `InstrumentSource`."""

    def __init__(self, pipeline: RestPipeline) -> None:
        self._pipeline = pipeline

    async def stock_information(self, symbol: str) -> StockInformation | None:
        """The registered facts of a domestic security; None when KIS does not know it.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        body = await _fetch_product(self._pipeline, calls.STOCK, _DOMESTIC_PRODUCT, symbol)
        return None if body is None else symbols.stock_information_of(body, symbol)

    async def product_information(self, symbol: str) -> ProductInformation | None:
        """KIS's record of a domestic security as its product; None when it has none.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        body = await _fetch_product(self._pipeline, calls.PRODUCT, _DOMESTIC_PRODUCT, symbol)
        return None if body is None else symbols.product_information_of(body)


class KisMarket:
    """Satisfies `MarketSource`. The numbers of screens (화면 분류) and of selections are KIS's own: all, everything."""

    def __init__(self, pipeline: RestPipeline) -> None:
        self._pipeline = pipeline

    async def volatility_interruptions(self, day: date) -> Sequence[VolatilityInterruption]:
        """All volatility interruptions of a day, static and dynamic, up and down, in KIS's order.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {
            "FID_DIV_CLS_CODE": "0",
            "FID_COND_SCR_DIV_CODE": "20139",
            "FID_MRKT_CLS_CODE": "0",
            "FID_INPUT_ISCD": "",
            "FID_RANK_SORT_CLS_CODE": "0",
            "FID_INPUT_DATE_1": date_text(day),
            "FID_TRGT_CLS_CODE": "",
            "FID_TRGT_EXLS_CLS_CODE": "",
        }
        found: list[VolatilityInterruption] = []
        async for body in fetch_pages(self._pipeline, calls.INTERRUPTIONS, query, pages_max=_INTERRUPTION_PAGES_MAX):
            found += market.interruptions_of(body)
        return found

    async def ranking_by_volume(self) -> Sequence[RankedByVolume]:
        """The 30 symbols of the KRX with the largest volume of today, first the largest.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {
            "FID_COND_MRKT_DIV_CODE": "J",
            "FID_COND_SCR_DIV_CODE": "20171",
            "FID_INPUT_ISCD": "0000",
            "FID_DIV_CLS_CODE": "0",
            "FID_BLNG_CLS_CODE": "0",
            "FID_TRGT_CLS_CODE": "111111111",
            "FID_TRGT_EXLS_CLS_CODE": "0000000000",
            "FID_INPUT_PRICE_1": "",
            "FID_INPUT_PRICE_2": "",
            "FID_VOL_CNT": "",
            "FID_INPUT_DATE_1": "",
        }
        return market.ranking_by_volume_of(await fetch(self._pipeline, calls.VOLUME_RANK, query))

    async def ranking_by_market_cap(self) -> Sequence[RankedByMarketCap]:
        """The 30 symbols of the KRX with the largest capitalisation, first the largest.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {
            "fid_cond_mrkt_div_code": "J",
            "fid_cond_scr_div_code": "20174",
            "fid_div_cls_code": "0",
            "fid_input_iscd": "0000",
            "fid_trgt_cls_code": "0",
            "fid_trgt_exls_cls_code": "0",
            "fid_input_price_1": "",
            "fid_input_price_2": "",
            "fid_vol_cnt": "",
        }
        return market.ranking_by_market_cap_of(await fetch(self._pipeline, calls.MARKET_CAP_RANK, query))


class KisFunds:
    """Satisfies `FundSource`. What is asked of every fund is bulk: a job may run while the market is open."""

    def __init__(self, pipeline: RestPipeline) -> None:
        self._pipeline = pipeline

    async def fund_quote(self, symbol: str) -> FundQuote | None:
        """The fund's quote; None when KIS does not know it as a fund.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        return funds.fund_quote_of(await fetch(self._pipeline, calls.FUND_QUOTE, one_symbol(symbol), "bulk"), symbol)

    async def nav_comparison(self, symbol: str) -> NavComparison | None:
        """Price and NAV now; None when KIS does not know the fund.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        return funds.nav_comparison_of(await fetch(self._pipeline, calls.NAV_COMPARISON, one_symbol(symbol)), symbol)

    async def nav_days(self, symbol: str, first: date, last: date) -> Sequence[NavDay]:
        """Close and NAV of the days from `first` to `last`, both included, oldest first.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        days = {"FID_INPUT_DATE_1": date_text(first), "FID_INPUT_DATE_2": date_text(last)}
        query = {**one_symbol(symbol), **days}
        by_day: dict[date, NavDay] = {}
        pages = fetch_pages(self._pipeline, calls.NAV_DAYS, query, pages_max=_NAV_PAGES_MAX, lane="bulk")
        async for body in pages:
            by_day.update((nav_day.day, nav_day) for nav_day in funds.nav_days_of(body, symbol))
        return [by_day[day] for day in sorted(by_day) if first <= day <= last]

    async def nav_minutes(self, symbol: str, day: date, period_s: int = 60) -> Sequence[NavMinute]:
        """Price and NAV by periods of so many seconds (60, 180 ... 7,200), oldest first, of the session of `day`.

        KIS gives today's or the last session's and names no date: the day is the caller's word.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {
            "FID_COND_MRKT_DIV_CODE": _NAV_MINUTES_MARKET,
            "FID_INPUT_ISCD": symbol,
            "FID_HOUR_CLS_CODE": str(period_s),
        }
        return funds.nav_minutes_of(await fetch(self._pipeline, calls.NAV_MINUTES, query), symbol, date_text(day))

    async def fund_holdings(self, symbol: str) -> FundHoldings | None:
        """What the fund holds now, as much of it as KIS lists; None when KIS does not know it.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {**one_symbol(symbol), "FID_COND_SCR_DIV_CODE": "11216"}
        return funds.fund_holdings_of(await fetch(self._pipeline, calls.FUND_HOLDINGS, query), symbol)


class _Exchange(msgspec.Struct, frozen=True):
    """How KIS's calls name an exchange: the price calls (거래소코드), and the product calls (상품유형코드)."""

    quotes: str
    product: str


_EXCHANGES: Final = {
    "NASD": _Exchange("NAS", "512"),
    "NYSE": _Exchange("NYS", "513"),
    "AMEX": _Exchange("AMS", "529"),
    "SEHK": _Exchange("HKS", "501"),
    "SHAA": _Exchange("SHS", "551"),
    "SZAA": _Exchange("SZS", "552"),
    "TKSE": _Exchange("TSE", "515"),
    "HASE": _Exchange("HNX", "507"),
    "VNSE": _Exchange("HSX", "508"),
}


class KisOverseas:
    """Satisfies `OverseasSource`. Exchanges are named as in `observer.providers.overseas`."""

    def __init__(self, pipeline: RestPipeline) -> None:
        self._pipeline = pipeline

    async def overseas_quote(self, exchange: str, symbol: str) -> OverseasQuote | None:
        """The price now (delayed where KIS has no live rights); None when KIS does not know the security.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        body = await fetch(self._pipeline, calls.OVERSEAS_QUOTE, _security(exchange, symbol))
        return overseas.overseas_quote_of(body, exchange, symbol)

    async def overseas_quote_detail(self, exchange: str, symbol: str) -> OverseasQuoteDetail | None:
        """The detailed quote; None when KIS does not know the security.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        body = await fetch(self._pipeline, calls.OVERSEAS_QUOTE_DETAIL, _security(exchange, symbol))
        return overseas.overseas_quote_detail_of(body, exchange, symbol)

    async def overseas_daily_bars(self, exchange: str, symbol: str, first: date, last: date) -> Sequence[OverseasBar]:
        """Daily bars as traded from `first` to `last`, both included, oldest first; 100 a request.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        by_day: dict[date, OverseasBar] = {}
        async for page in self._bars_back(exchange, symbol, last):
            by_day.update((bar.day, bar) for bar in page)
            if page[0].day <= first:
                break
        return [by_day[day] for day in sorted(by_day) if first <= day <= last]

    async def _bars_back(self, exchange: str, symbol: str, last: date) -> AsyncIterator[Sequence[OverseasBar]]:
        """Pages of bars, each oldest first and ending before the one that came before it, until one is empty."""
        for _ in range(_OVERSEAS_PAGES_MAX):
            query = {**_security(exchange, symbol), "GUBN": "0", "BYMD": date_text(last), "MODP": "0"}
            body = await fetch(self._pipeline, calls.OVERSEAS_DAILY_BARS, query)
            page = [bar for bar in overseas.overseas_bars_of(body, exchange, symbol) if bar.day <= last]
            if not page:
                return
            yield page
            last = page[0].day - _ONE_DAY
        name = calls.OVERSEAS_DAILY_BARS.name
        raise MalformedError(f"{name}: more than {_OVERSEAS_PAGES_MAX} pages", call=name)

    async def overseas_instrument(self, exchange: str, symbol: str) -> OverseasInstrument | None:
        """The registered facts; None when KIS does not know the security.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        product_type = _exchange(exchange).product
        body = await _fetch_product(self._pipeline, calls.OVERSEAS_INSTRUMENT, product_type, symbol)
        return None if body is None else overseas.overseas_instrument_of(body, exchange, symbol)


def _exchange(name: str) -> _Exchange:
    if name not in _EXCHANGES:
        raise BadRequestError(f"no exchange {name!r} at KIS; known are {', '.join(_EXCHANGES)}")
    return _EXCHANGES[name]


def exchange_named(code: str) -> str:
    """Our name of the exchange that KIS's calls name so, by 거래소코드 or by 상품유형코드.

    Raises:
        BadRequestError: there is none.
    """
    for name, exchange in _EXCHANGES.items():
        if code in (exchange.quotes, exchange.product):
            return name
    raise BadRequestError(f"no exchange of KIS has the code {code!r}")


def _security(exchange: str, symbol: str) -> dict[str, str]:
    return {"AUTH": "", "EXCD": _exchange(exchange).quotes, "SYMB": symbol}


async def _fetch_product(pipeline: RestPipeline, call: KisCall[Body], product_type: str, symbol: str) -> Body | None:
    """A product call's answer; None when KIS says that there is nothing of that kind and number."""
    try:
        return await fetch(pipeline, call, {"PRDT_TYPE_CD": product_type, "PDNO": symbol})
    except BadRequestError as error:
        if error.code == _NOTHING_FOUND:
            return None
        raise
