"""KIS's REST calls as one table: name, path, TR id, query, paging, result (docs/kis.md#calls). Pure.

A new call is one entry of `CALLS` here and its answer in `schema.py`. `client.py` runs any entry, `replay.py` decodes
any recorded one, `observer kis call` offers all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final, Generic, TypeVar

import msgspec

from observer.base.errors import BadRequestError, MalformedError
from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE
from observer.brokers.broker import Bar, Priority
from observer.brokers.kis import schema
from observer.brokers.kis.decoder import Record
from observer.brokers.kis.times import date_text, date_text_of, hour_text_of
from observer.brokers.kis.venues import division_of, line_at

T = TypeVar("T", bound=msgspec.Struct)

Argument = str | int | date | Sequence[str]
Arguments = Mapping[str, Argument]
"""By parameter: symbol (a line's id where a venue can be asked for), exchange (our name) and period_s; symbols; first,
last and day as dates; begin and end in UTC nanoseconds."""

QUOTES_PER_CALL: Final = 30
_NUMBERS: Final = range(1, QUOTES_PER_CALL + 1)


# --- queries -------------------------------------------------------------------------------------------------


class Parameter(msgspec.Struct, frozen=True):
    """A value of the query that the caller gives: how it is written to KIS, and read back from a recorded query, with
    the texts of the keys `beside` it.
    """

    name: str
    write: Callable[..., str] = str
    read: Callable[..., str] = str
    default: Argument | None = None
    beside: tuple[str, ...] = ()


_TYPED_FIRST: Final = ("exchange", "symbol", "symbols", "first", "last", "day", "begin", "end")


class _Exchange(msgspec.Struct, frozen=True):
    """KIS's names of an exchange: in the price calls (거래소코드), and in the product calls (상품유형코드)."""

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


def _exchange(name: str) -> _Exchange:
    if name not in _EXCHANGES:
        raise BadRequestError(f"no exchange {name!r} at KIS; known are {', '.join(_EXCHANGES)}")
    return _EXCHANGES[name]


def _exchange_named(code: str) -> str:
    """Our name of an exchange, by 거래소코드 or 상품유형코드.

    Raises:
        BadRequestError: there is none.
    """
    for name, exchange in _EXCHANGES.items():
        if code in (exchange.quotes, exchange.product):
            return name
    raise BadRequestError(f"no exchange of KIS has the code {code!r}")


Query = Mapping[str, str | Parameter]

_KRX: Final = "J"
_SYMBOL: Final = Parameter("symbol")
_FIRST: Final = Parameter("first", date_text)
_LAST: Final = Parameter("last", date_text)
_END_HOUR: Final = Parameter("end", hour_text_of)
_DIVISION: Final = "FID_COND_MRKT_DIV_CODE"
# One line: the division code and the stock's symbol together.
_ONE: Final[Query] = {
    _DIVISION: Parameter("symbol", division_of),
    "FID_INPUT_ISCD": Parameter("symbol", stock_of, line_at, beside=(_DIVISION,)),
}
_ONE_ETF: Final[Query] = {_DIVISION: _KRX, "FID_INPUT_ISCD": _SYMBOL}  # documented for J alone
_ONE_ABROAD: Final[Query] = {
    "AUTH": "",
    "EXCD": Parameter("exchange", lambda name: _exchange(name).quotes, _exchange_named),
    "SYMB": _SYMBOL,
}
_DOMESTIC_PRODUCT: Final[Query] = {"PRDT_TYPE_CD": "300", "PDNO": _SYMBOL}  # 상품유형코드 of stocks, ETFs and ETNs


# --- paging --------------------------------------------------------------------------------------------------


class Continued(msgspec.Struct, frozen=True):
    """Further pages while the header `tr_cont` says so. `keys` are fields of a page that the next query repeats, in
    capitals. `oldest_first`: pages go forwards in time, and none is needed behind the `last` day.
    """

    pages_max: int
    keys: tuple[str, ...] = ()
    oldest_first: bool = False


class BackByHour(msgspec.Struct, frozen=True):
    """Pages go back from `end` to `begin` within a day; `time` is the attribute that says when a row was.

    `lead_ns` is how much more than asked for is fetched: the value of a minute is the difference to the minute before.
    """

    time: str
    rows_per_page: int
    lead_ns: int = 0


class BackByDay(msgspec.Struct, frozen=True):
    """Pages go back from the `last` day to the `first` one."""

    pages_max: int


Paging = Continued | BackByHour | BackByDay


# --- the table -----------------------------------------------------------------------------------------------


class KisCall(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One call. A `#` in the query's names stands for the number of a symbol, from 1.

    `not_found` is the code of KIS's refusal for what it does not know; `finish` changes the rows of all pages, oldest
    first.
    """

    name: str
    path: str
    transaction: str
    record: Record[T]
    query: Query
    paging: Paging | None = None
    priority: Priority = "normal"
    not_found: str = ""
    finish: Callable[[Sequence[T]], list[T]] = list

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters that the caller passes, in the order of the command line."""
        found = [each for each in self.query.values() if isinstance(each, Parameter)]
        if isinstance(self.paging, BackByHour):
            found = [*found, Parameter("begin")]
        elif isinstance(self.paging, BackByDay):
            found = [*found, Parameter("first")]
        elif isinstance(self.paging, Continued) and self.paging.oldest_first:
            found = [*found, Parameter("last")]
        named = {each.name: each for each in found}
        if "end" not in named:  # its day is that of the rows
            named |= {name: Parameter(name) for name in self.record.given - named.keys()}
        return {name: named[name] for name in sorted(named, key=(*_TYPED_FIRST, *named).index)}

    def query_of(self, arguments: Arguments) -> dict[str, str]:
        """The query of one request.

        Raises:
            BadRequestError: an exchange KIS does not have, or too many symbols for one call.
        """
        numbered = {key: value for key, value in self.query.items() if "#" in key}
        query = {key: _written(value, arguments) for key, value in self.query.items() if key not in numbered}
        symbols = arguments.get("symbols", ())
        assert isinstance(symbols, Sequence)
        if len(symbols) > QUOTES_PER_CALL:
            raise BadRequestError(f"{self.name}: {len(symbols)} symbols where one call takes {QUOTES_PER_CALL}")
        for number, symbol in enumerate(symbols, start=1):
            for key, value in numbered.items():
                query[key.replace("#", str(number))] = value if isinstance(value, str) else value.write(symbol)
        return query

    def given(self, arguments: Arguments) -> Mapping[str, object]:
        """The arguments of `Record.read` that the rows do not repeat; the day is that of `end` where there is one, of
        symbols the lines by stock.
        """
        found: dict[str, object] = {name: arguments[name] for name in self.record.given - {"day", "symbols"}}
        if "symbols" in self.record.given:
            symbols = arguments["symbols"]
            assert isinstance(symbols, Sequence)
            found["symbols"] = {stock_of(symbol): symbol for symbol in symbols}
        if "day" in self.record.given:
            end, day = arguments.get("end"), arguments.get("day")
            if isinstance(end, int):
                day_text = date_text_of(end)
            else:
                assert isinstance(day, date)
                day_text = date_text(day)
            found["day"] = day_text
        return found

    def given_of(self, query: Mapping[str, str], time_ns: int) -> Mapping[str, object]:
        """As `given`, from a recorded query and the time of its answer, whose day stands in for one that is not in it.

        Raises:
            BadRequestError: the query names no exchange of KIS.
        """
        found: dict[str, object] = {
            value.name: value.read(query.get(key, ""), *(query.get(each, "") for each in value.beside))
            for key, value in self.query.items()
            if isinstance(value, Parameter) and "#" not in key
        }
        return {**found, "symbols": _lines_by_stock(query), "day": date_text_of(time_ns)}

    def read(self, body: msgspec.Struct, given: Mapping[str, object]) -> list[T]:
        """The rows of one page.

        Raises:
            MalformedError: a field cannot be read; the text names the field and the call.
        """
        try:
            return self.record.read(body, given)
        except MalformedError as error:
            raise MalformedError(f"{self.name}: {error}", call=self.name) from error


def _lines_by_stock(query: Mapping[str, str]) -> Mapping[str, str]:
    """The lines of the pairs of a recorded query for many symbols."""
    pairs = ((query.get(f"{_DIVISION}_{n}", ""), query.get(f"FID_INPUT_ISCD_{n}", "")) for n in _NUMBERS)
    return {symbol: line_at(symbol, division) for division, symbol in pairs if symbol}


def _written(value: str | Parameter, arguments: Arguments) -> str:
    return value if isinstance(value, str) else value.write(arguments.get(value.name, value.default))


_STOCKS: Final = "/uapi/domestic-stock/v1/quotations"
_ETFS: Final = "/uapi/etfetn/v1/quotations"
_OVERSEAS: Final = "/uapi/overseas-price/v1/quotations"
_NOTHING_FOUND: Final = "KIOK0560"  # 조회할 내용이 없습니다: how the product calls say that there is no such product

QUOTES: Final = KisCall(
    name="quotes",
    path=f"{_STOCKS}/intstock-multprice",
    transaction="FHKST11300006",
    record=schema.QUOTE,
    query={f"{_DIVISION}_#": Parameter("symbols", division_of), "FID_INPUT_ISCD_#": Parameter("symbols", stock_of)},
    priority="bulk",
)
QUOTE_DETAIL: Final = KisCall(
    name="quote_detail",
    path=f"{_STOCKS}/inquire-price",
    transaction="FHKST01010100",
    record=schema.QUOTE_DETAIL,
    query=_ONE,
)
DAILY_BARS: Final = KisCall(
    name="daily_bars",
    path=f"{_STOCKS}/inquire-daily-itemchartprice",
    transaction="FHKST03010100",
    record=schema.DAILY_BAR,
    # FID_ORG_ADJ_PRC 1: as traded, 0 would be adjusted
    query={
        **_ONE,
        "FID_INPUT_DATE_1": _FIRST,
        "FID_INPUT_DATE_2": _LAST,
        "FID_PERIOD_DIV_CODE": "D",
        "FID_ORG_ADJ_PRC": "1",
    },
    priority="background",  # of a whole universe, at a first start in the session behind the sweeps
)
MINUTE_BARS: Final[KisCall[Bar]] = KisCall(
    name="minute_bars",
    path=f"{_STOCKS}/inquire-time-itemchartprice",
    transaction="FHKST03010200",
    record=schema.MINUTE_BAR,
    query={**_ONE, "FID_INPUT_HOUR_1": _END_HOUR, "FID_ETC_CLS_CODE": "", "FID_PW_DATA_INCU_YN": "N"},
    paging=BackByHour("start_ns", rows_per_page=30, lead_ns=NS_PER_MINUTE),
    priority="urgent",
    finish=schema.with_own_values,
)
PAST_MINUTE_BARS: Final[KisCall[Bar]] = KisCall(
    name="past_minute_bars",
    path=f"{_STOCKS}/inquire-time-dailychartprice",
    transaction="FHKST03010230",
    record=schema.MINUTE_BAR,
    # KIS's samples let earlier days follow; rows of those are left out (`client`).
    query={
        **_ONE,
        "FID_INPUT_HOUR_1": _END_HOUR,
        "FID_INPUT_DATE_1": Parameter("end", date_text_of),
        "FID_PW_DATA_INCU_YN": "Y",
        "FID_FAKE_TICK_INCU_YN": "",
    },
    paging=BackByHour("start_ns", rows_per_page=120, lead_ns=NS_PER_MINUTE),
    priority="urgent",
    finish=schema.with_own_values,
)
TRADES: Final = KisCall(
    name="trades",
    path=f"{_STOCKS}/inquire-time-itemconclusion",
    transaction="FHPST01060000",
    record=schema.PAST_TRADE,
    query={**_ONE, "FID_INPUT_HOUR_1": _END_HOUR},
    paging=BackByHour("exchange_time_ns", rows_per_page=30),
    priority="urgent",
)
LATEST_TRADES: Final = KisCall(
    name="latest_trades",
    path=f"{_STOCKS}/inquire-ccnl",
    transaction="FHKST01010300",
    record=schema.LATEST_TRADE,
    query=_ONE,
)
STOCK: Final = KisCall(
    name="stock_information",
    path=f"{_STOCKS}/search-stock-info",
    transaction="CTPF1002R",
    record=schema.STOCK,
    query=_DOMESTIC_PRODUCT,
    not_found=_NOTHING_FOUND,
)
PRODUCT: Final = KisCall(
    name="product_information",
    path=f"{_STOCKS}/search-info",
    transaction="CTPF1604R",
    record=schema.PRODUCT,
    query=_DOMESTIC_PRODUCT,
    not_found=_NOTHING_FOUND,
)
# KIS asks for one call a day: ask for few days, and keep the answer. A page is some three weeks; 40 of them are two
# years, beyond what KIS knows.
SESSIONS: Final = KisCall(
    name="sessions",
    path=f"{_STOCKS}/chk-holiday",
    transaction="CTCA0903R",
    record=schema.SESSION,
    query={"BASS_DT": _FIRST, "CTX_AREA_FK": "", "CTX_AREA_NK": ""},
    paging=Continued(40, keys=("ctx_area_fk", "ctx_area_nk"), oldest_first=True),
)
# The numbers of screens (화면 분류) and of selections are KIS's own: all symbols, every kind. A day of panic has some
# thousand interruptions, a page about 30.
INTERRUPTIONS: Final = KisCall(
    name="volatility_interruptions",
    path=f"{_STOCKS}/inquire-vi-status",
    transaction="FHPST01390000",
    record=schema.INTERRUPTION,
    query={
        "FID_DIV_CLS_CODE": "0",
        "FID_COND_SCR_DIV_CODE": "20139",
        "FID_MRKT_CLS_CODE": "0",
        "FID_INPUT_ISCD": "",
        "FID_RANK_SORT_CLS_CODE": "0",
        "FID_INPUT_DATE_1": Parameter("day", date_text),
        "FID_TRGT_CLS_CODE": "",
        "FID_TRGT_EXLS_CLS_CODE": "",
    },
    paging=Continued(100),
)
VOLUME_RANK: Final = KisCall(
    name="ranking_by_volume",
    path=f"{_STOCKS}/volume-rank",
    transaction="FHPST01710000",
    record=schema.VOLUME_RANK,
    query={
        "FID_COND_MRKT_DIV_CODE": _KRX,
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
    },
)
MARKET_CAP_RANK: Final = KisCall(
    name="ranking_by_market_cap",
    path="/uapi/domestic-stock/v1/ranking/market-cap",
    transaction="FHPST01740000",
    record=schema.MARKET_CAP_RANK,
    query={
        "fid_cond_mrkt_div_code": _KRX,
        "fid_cond_scr_div_code": "20174",
        "fid_div_cls_code": "0",
        "fid_input_iscd": "0000",
        "fid_trgt_cls_code": "0",
        "fid_trgt_exls_cls_code": "0",
        "fid_input_price_1": "",
        "fid_input_price_2": "",
        "fid_vol_cnt": "",
    },
)
# What is asked of every ETF is bulk: a job may run while the market is open.
ETF_QUOTE: Final = KisCall(
    name="etf_quote",
    path=f"{_ETFS}/inquire-price",
    transaction="FHPST02400000",
    record=schema.ETF_QUOTE,
    query=_ONE_ETF,
    priority="bulk",
)
NAV_COMPARISON: Final = KisCall(
    name="nav_comparison",
    path=f"{_ETFS}/nav-comparison-trend",
    transaction="FHPST02440000",
    record=schema.NAV_COMPARISON,
    query=_ONE_ETF,
)
NAV_DAYS: Final = KisCall(
    name="nav_days",
    path=f"{_ETFS}/nav-comparison-daily-trend",
    transaction="FHPST02440200",
    record=schema.NAV_DAY,
    query={**_ONE_ETF, "FID_INPUT_DATE_1": _FIRST, "FID_INPUT_DATE_2": _LAST},
    paging=Continued(50),  # of about 30 days or more
    priority="bulk",
)
# Periods of 60, 180 ... 7,200 seconds of today's or the last session, whose date the rows do not name. This one call
# wants the market E where the others want J.
NAV_MINUTES: Final = KisCall(
    name="nav_minutes",
    path=f"{_ETFS}/nav-comparison-time-trend",
    transaction="FHPST02440100",
    record=schema.NAV_MINUTE,
    query={
        "FID_COND_MRKT_DIV_CODE": "E",
        "FID_INPUT_ISCD": _SYMBOL,
        "FID_HOUR_CLS_CODE": Parameter("period_s", default=60),
    },
)
ETF_HOLDINGS: Final = KisCall(
    name="etf_holdings",
    path=f"{_ETFS}/inquire-component-stock-price",
    transaction="FHKST121600C0",
    record=schema.ETF_HOLDINGS,
    query={**_ONE_ETF, "FID_COND_SCR_DIV_CODE": "11216"},
)
OVERSEAS_QUOTE: Final = KisCall(
    name="overseas_quote",
    path=f"{_OVERSEAS}/price",
    transaction="HHDFS00000300",
    record=schema.OVERSEAS_QUOTE,
    query=_ONE_ABROAD,
)
OVERSEAS_QUOTE_DETAIL: Final = KisCall(
    name="overseas_quote_detail",
    path=f"{_OVERSEAS}/price-detail",
    transaction="HHDFS76200200",
    record=schema.OVERSEAS_QUOTE_DETAIL,
    query=_ONE_ABROAD,
)
OVERSEAS_DAILY_BARS: Final = KisCall(
    name="overseas_daily_bars",
    path=f"{_OVERSEAS}/dailyprice",
    transaction="HHDFS76240000",
    record=schema.OVERSEAS_BAR,
    query={**_ONE_ABROAD, "GUBN": "0", "BYMD": _LAST, "MODP": "0"},  # by days, as traded
    paging=BackByDay(100),  # of 100 days: forty years
)
OVERSEAS_INSTRUMENT: Final = KisCall(
    name="overseas_instrument",
    path=f"{_OVERSEAS}/search-info",
    transaction="CTPF1702R",
    record=schema.OVERSEAS_INSTRUMENT,
    query={
        "PRDT_TYPE_CD": Parameter("exchange", lambda name: _exchange(name).product, _exchange_named),
        "PDNO": _SYMBOL,
    },
    not_found=_NOTHING_FOUND,
)

CALLS: Final[Mapping[str, KisCall[msgspec.Struct]]] = {
    call.name: call for call in tuple(globals().values()) if isinstance(call, KisCall)
}
"""Every call by its name."""
