"""KIS's REST calls as one table: name, path, TR id, query, paging, result (docs/kis.md#calls). Pure.

A new call is one entry of `CALLS` here and its answer in `schema.py`. `client.py` runs any entry, `replay.py` decodes
any recorded one, `observer kis call` offers all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final, Generic, TypeVar

import msgspec

from observer.base.errors import BadRequestError, MalformedError
from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE
from observer.brokers.broker import Priority
from observer.brokers.kis import schema
from observer.brokers.kis.decoder import Record
from observer.brokers.kis.times import date_text, date_text_of, hour_text_of
from observer.brokers.kis.venues import division_of, line_at

T = TypeVar("T", bound=msgspec.Struct)

Argument = str | int | date | Sequence[str]
Arguments = Mapping[str, Argument]
"""By parameter: symbol (a line's id where a venue can be asked for), exchange (our name); symbols; first and last as
dates; begin and end in UTC nanoseconds."""

QUOTES_PER_CALL: Final = 30

# --- queries -------------------------------------------------------------------------------------------------

# Our name of an exchange -> KIS's 상품유형코드.
_PRODUCT_TYPES: Final = {
    "NASD": "512",
    "NYSE": "513",
    "AMEX": "529",
    "SEHK": "501",
    "SHAA": "551",
    "SZAA": "552",
    "TKSE": "515",
    "HASE": "507",
    "VNSE": "508",
}


def _product_type(exchange: str) -> str:
    if exchange not in _PRODUCT_TYPES:
        raise BadRequestError(f"no exchange {exchange!r} at KIS; known are {', '.join(_PRODUCT_TYPES)}")
    return _PRODUCT_TYPES[exchange]


# A value of a query that the caller gives, as it stands in the table: its parameter, and how that is written.
_PLACES: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "{division}": ("symbol", division_of),
    "{stock}": ("symbol", stock_of),
    "{symbol}": ("symbol", str),
    "{product}": ("exchange", _product_type),
    "{first}": ("first", date_text),
    "{last}": ("last", date_text),
    "{date}": ("end", date_text_of),
    "{hour}": ("end", hour_text_of),
}
_TYPED_FIRST: Final = ("exchange", "symbol", "symbols", "first", "last", "begin", "end")
_DIVISION: Final = "FID_COND_MRKT_DIV_CODE"
_STOCK: Final = "FID_INPUT_ISCD"
_ONE: Final = f"{_DIVISION}={{division}} {_STOCK}={{stock}}"  # one line
_ONE_ETF: Final = f"{_DIVISION}=J {_STOCK}={{symbol}}"  # documented for J alone


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


Paging = Continued | BackByHour


# --- the table -----------------------------------------------------------------------------------------------


class KisCall(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One call. `query` has a word NAME=VALUE for each parameter of KIS, a value being one of `_PLACES` or what is
    always asked; `many` symbols have a pair each, numbered from 1.

    `not_found` is the code of KIS's refusal for what it does not know; `finish` changes the rows of all pages, oldest
    first.
    """

    name: str
    path: str
    transaction: str
    record: Record[T]
    query: str = ""
    many: bool = False
    paging: Paging | None = None
    priority: Priority = "normal"
    not_found: str = ""
    finish: Callable[[Sequence[T]], list[T]] = list

    @property
    def parameters(self) -> Sequence[str]:
        """The parameters that the caller passes, in the order of the command line."""
        names = {_PLACES[value][0] for value in self._words.values() if value in _PLACES}
        names |= {"symbols"} if self.many else set()
        if isinstance(self.paging, BackByHour):
            names.add("begin")
        elif isinstance(self.paging, Continued) and self.paging.oldest_first:
            names.add("last")
        return sorted(names, key=_TYPED_FIRST.index)

    @property
    def _words(self) -> dict[str, str]:
        pairs = (word.partition("=") for word in self.query.split())
        return {name: value for name, _, value in pairs}

    def query_of(self, arguments: Arguments) -> dict[str, str]:
        """The query of one request.

        Raises:
            BadRequestError: an exchange KIS does not have, or too many symbols for one call.
        """
        query = {}
        for name, value in self._words.items():
            parameter, write = _PLACES.get(value, ("", str))
            query[name] = write(arguments[parameter]) if parameter else value
        symbols = arguments["symbols"] if self.many else ()
        assert isinstance(symbols, Sequence)
        if len(symbols) > QUOTES_PER_CALL:
            raise BadRequestError(f"{self.name}: {len(symbols)} symbols where one call takes {QUOTES_PER_CALL}")
        for number, symbol in enumerate(symbols, start=1):
            query |= {f"{_DIVISION}_{number}": division_of(symbol), f"{_STOCK}_{number}": stock_of(symbol)}
        return query

    def given(self, arguments: Arguments) -> Mapping[str, object]:
        """The arguments of `Record.read` that the rows do not repeat; the day is that of `end`, of symbols the lines by
        stock.
        """
        found: dict[str, object] = dict(arguments)
        if isinstance(end := arguments.get("end"), int):
            found["day"] = date_text_of(end)
        if isinstance(symbols := arguments.get("symbols"), Sequence):
            found["symbols"] = {stock_of(symbol): symbol for symbol in symbols}
        return found

    def given_of(self, query: Mapping[str, str], time_ns: int) -> Mapping[str, object]:
        """As `given`, from a recorded query and the time of its answer, whose day stands in for one that is not in it.

        Raises:
            BadRequestError: the query names no exchange of KIS.
        """
        asked = {value: query.get(name, "") for name, value in self._words.items()}
        found: dict[str, object] = {"day": date_text_of(time_ns), "symbols": _lines_by_stock(query)}
        if "{product}" in asked:
            found["exchange"] = _exchange_of(asked["{product}"])
        if "{stock}" in asked:
            found["symbol"] = line_at(asked["{stock}"], asked["{division}"])
        elif "{symbol}" in asked:
            found["symbol"] = asked["{symbol}"]
        return found

    def read(self, body: msgspec.Struct, given: Mapping[str, object]) -> list[T]:
        """The rows of one page.

        Raises:
            MalformedError: a field cannot be read; the text names the field and the call.
        """
        try:
            return self.record.read(body, given)
        except MalformedError as error:
            raise MalformedError(f"{self.name}: {error}", call=self.name) from error


def _exchange_of(product_type: str) -> str:
    for exchange, code in _PRODUCT_TYPES.items():
        if code == product_type:
            return exchange
    raise BadRequestError(f"no exchange of KIS has the code {product_type!r}")


def _lines_by_stock(query: Mapping[str, str]) -> Mapping[str, str]:
    """The lines of the pairs of a recorded query for many symbols."""
    numbers = range(1, QUOTES_PER_CALL + 1)
    pairs = ((query.get(f"{_DIVISION}_{n}", ""), query.get(f"{_STOCK}_{n}", "")) for n in numbers)
    return {symbol: line_at(symbol, division) for division, symbol in pairs if symbol}


_STOCKS: Final = "/uapi/domestic-stock/v1/quotations"
_ETFS: Final = "/uapi/etfetn/v1/quotations"
_OVERSEAS: Final = "/uapi/overseas-price/v1/quotations"
_NOTHING_FOUND: Final = "KIOK0560"  # 조회할 내용이 없습니다: how the product calls say that there is no such product

QUOTES: Final = KisCall(
    name="quotes",
    path=f"{_STOCKS}/intstock-multprice",
    transaction="FHKST11300006",
    record=schema.QUOTE,
    many=True,
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
    query=f"{_ONE} FID_INPUT_DATE_1={{first}} FID_INPUT_DATE_2={{last}} FID_PERIOD_DIV_CODE=D FID_ORG_ADJ_PRC=1",
    priority="background",  # of a whole universe, at a first start in the session behind the sweeps
)
MINUTE_BARS: Final = KisCall(
    name="minute_bars",
    path=f"{_STOCKS}/inquire-time-itemchartprice",
    transaction="FHKST03010200",
    record=schema.MINUTE_BAR,
    query=f"{_ONE} FID_INPUT_HOUR_1={{hour}} FID_ETC_CLS_CODE= FID_PW_DATA_INCU_YN=N",
    paging=BackByHour("start_ns", rows_per_page=30, lead_ns=NS_PER_MINUTE),
    priority="urgent",
    finish=schema.with_own_values,
)
PAST_MINUTE_BARS: Final = KisCall(
    name="past_minute_bars",
    path=f"{_STOCKS}/inquire-time-dailychartprice",
    transaction="FHKST03010230",
    record=schema.MINUTE_BAR,
    # KIS's samples let earlier days follow; rows of those are left out (`client`).
    query=f"{_ONE} FID_INPUT_HOUR_1={{hour}} FID_INPUT_DATE_1={{date}} FID_PW_DATA_INCU_YN=Y FID_FAKE_TICK_INCU_YN=",
    paging=BackByHour("start_ns", rows_per_page=120, lead_ns=NS_PER_MINUTE),
    priority="urgent",
    finish=schema.with_own_values,
)
TRADES: Final = KisCall(
    name="trades",
    path=f"{_STOCKS}/inquire-time-itemconclusion",
    transaction="FHPST01060000",
    record=schema.PAST_TRADE,
    query=f"{_ONE} FID_INPUT_HOUR_1={{hour}}",
    paging=BackByHour("exchange_time_ns", rows_per_page=30),
    priority="urgent",
)
STOCK: Final = KisCall(
    name="stock_information",
    path=f"{_STOCKS}/search-stock-info",
    transaction="CTPF1002R",
    record=schema.STOCK,
    query="PRDT_TYPE_CD=300 PDNO={symbol}",  # 상품유형코드 of stocks, ETFs and ETNs
    not_found=_NOTHING_FOUND,
)
# KIS asks for one call a day: ask for few days, and keep the answer. A page is some three weeks; 40 of them are two
# years, beyond what KIS knows.
SESSIONS: Final = KisCall(
    name="sessions",
    path=f"{_STOCKS}/chk-holiday",
    transaction="CTCA0903R",
    record=schema.SESSION,
    query="BASS_DT={first} CTX_AREA_FK= CTX_AREA_NK=",
    paging=Continued(40, keys=("ctx_area_fk", "ctx_area_nk"), oldest_first=True),
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
NAV_DAYS: Final = KisCall(
    name="nav_days",
    path=f"{_ETFS}/nav-comparison-daily-trend",
    transaction="FHPST02440200",
    record=schema.NAV_DAY,
    query=f"{_ONE_ETF} FID_INPUT_DATE_1={{first}} FID_INPUT_DATE_2={{last}}",
    paging=Continued(50),  # of about 30 days or more
    priority="bulk",
)
OVERSEAS_INSTRUMENT: Final = KisCall(
    name="overseas_instrument",
    path=f"{_OVERSEAS}/search-info",
    transaction="CTPF1702R",
    record=schema.OVERSEAS_INSTRUMENT,
    query="PRDT_TYPE_CD={product} PDNO={symbol}",
    not_found=_NOTHING_FOUND,
)

CALLS: Final[Mapping[str, KisCall[Any]]] = {
    call.name: call for call in tuple(globals().values()) if isinstance(call, KisCall)
}
"""Every call by its name."""
