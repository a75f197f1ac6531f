"""KIS's REST calls: a table of path, TR id and result type, how they are asked, and the doors for quotes and history.

A new call is one line in the table and one method. Field names are in the files of the bodies (`bodies`, `symbols`,
`market`, `funds`, `overseas`), limits and retries in `http.py`, the other doors in `doors.py`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date
from typing import Final, Generic, Protocol, TypeVar

import httpx
import msgspec

from observer.clock import Clock
from observer.errors import MalformedError, ProviderError
from observer.providers.http import Request, RestPipeline, decode, send_once
from observer.providers.interfaces import Bar, Credentials, Lane, PastTrade, Quote
from observer.providers.kis import bodies, envelope, funds, issued, market, overseas, symbols
from observer.providers.kis.moments import NS_PER_S, date_text, date_text_of, hour_text_of, midnight_ns
from observer.providers.raw import UNRECORDED, CallRecorder

Body = TypeVar("Body")
Timed = TypeVar("Timed")

QUOTES_PER_CALL: Final = 30
DAILY_BARS_MAX: Final = 100
_ROWS_PER_PAGE: Final = 30
_PAST_MINUTES_PER_PAGE: Final = 120
_KRX: Final = "J"
# A page goes back at least a second, so a day of 6.5 trading hours can never need more pages than it has seconds.
_PAGES_BACK_MAX: Final = 24_000
_MINUTE_NS: Final = 60 * NS_PER_S


class KisCall(msgspec.Struct, Generic[Body], frozen=True):
    """One line of the table: name in counts and errors, path, TR id, type of the body."""

    name: str
    path: str
    transaction: str
    body_type: type[Body]


_STOCKS: Final = "/uapi/domestic-stock/v1/quotations"
_FUNDS: Final = "/uapi/etfetn/v1/quotations"
_OVERSEAS: Final = "/uapi/overseas-price/v1/quotations"

TOKEN: Final = KisCall("issue_token", "/oauth2/tokenP", "", issued.TokenBody)
APPROVAL: Final = KisCall("issue_approval_key", "/oauth2/Approval", "", issued.ApprovalBody)

QUOTES: Final = KisCall("quotes", f"{_STOCKS}/intstock-multprice", "FHKST11300006", bodies.QuotesBody)
DAILY_BARS: Final = KisCall("daily_bars", f"{_STOCKS}/inquire-daily-itemchartprice", "FHKST03010100", bodies.DailyBody)
MINUTE_BARS: Final = KisCall(
    "minute_bars", f"{_STOCKS}/inquire-time-itemchartprice", "FHKST03010200", bodies.MinuteBody
)
PAST_MINUTE_BARS: Final = KisCall(
    "past_minute_bars", f"{_STOCKS}/inquire-time-dailychartprice", "FHKST03010230", bodies.MinuteBody
)
TRADES: Final = KisCall("trades", f"{_STOCKS}/inquire-time-itemconclusion", "FHPST01060000", bodies.ConclusionsBody)

QUOTE_DETAIL: Final = KisCall("quote_detail", f"{_STOCKS}/inquire-price", "FHKST01010100", symbols.DetailBody)
LATEST_TRADES: Final = KisCall("latest_trades", f"{_STOCKS}/inquire-ccnl", "FHKST01010300", symbols.LatestBody)
STOCK: Final = KisCall("stock_information", f"{_STOCKS}/search-stock-info", "CTPF1002R", symbols.StockBody)
PRODUCT: Final = KisCall("product_information", f"{_STOCKS}/search-info", "CTPF1604R", symbols.ProductBody)

SESSIONS: Final = KisCall("sessions", f"{_STOCKS}/chk-holiday", "CTCA0903R", market.SessionsBody)
INTERRUPTIONS: Final = KisCall(
    "volatility_interruptions", f"{_STOCKS}/inquire-vi-status", "FHPST01390000", market.InterruptionsBody
)
VOLUME_RANK: Final = KisCall("ranking_by_volume", f"{_STOCKS}/volume-rank", "FHPST01710000", market.VolumeRankBody)
MARKET_CAP_RANK: Final = KisCall(
    "ranking_by_market_cap", "/uapi/domestic-stock/v1/ranking/market-cap", "FHPST01740000", market.MarketCapRankBody
)

FUND_QUOTE: Final = KisCall("fund_quote", f"{_FUNDS}/inquire-price", "FHPST02400000", funds.FundBody)
NAV_COMPARISON: Final = KisCall(
    "nav_comparison", f"{_FUNDS}/nav-comparison-trend", "FHPST02440000", funds.NavComparisonBody
)
NAV_DAYS: Final = KisCall("nav_days", f"{_FUNDS}/nav-comparison-daily-trend", "FHPST02440200", funds.NavDaysBody)
NAV_MINUTES: Final = KisCall(
    "nav_minutes", f"{_FUNDS}/nav-comparison-time-trend", "FHPST02440100", funds.NavMinutesBody
)
FUND_HOLDINGS: Final = KisCall(
    "fund_holdings", f"{_FUNDS}/inquire-component-stock-price", "FHKST121600C0", funds.HoldingsBody
)

OVERSEAS_QUOTE: Final = KisCall("overseas_quote", f"{_OVERSEAS}/price", "HHDFS00000300", overseas.OverseasQuoteBody)
OVERSEAS_QUOTE_DETAIL: Final = KisCall(
    "overseas_quote_detail", f"{_OVERSEAS}/price-detail", "HHDFS76200200", overseas.OverseasDetailBody
)
OVERSEAS_DAILY_BARS: Final = KisCall(
    "overseas_daily_bars", f"{_OVERSEAS}/dailyprice", "HHDFS76240000", overseas.OverseasBarsBody
)
OVERSEAS_INSTRUMENT: Final = KisCall(
    "overseas_instrument", f"{_OVERSEAS}/search-info", "CTPF1702R", overseas.OverseasInstrumentBody
)


class KisRestDialect:
    """KIS's headers and refusals. Satisfies `RestDialect`."""

    def headers(self, request: Request, credentials: Credentials) -> dict[str, str]:
        """The headers of every call with a bearer (kis-api.md, section 2)."""
        return {
            "content-type": "application/json; charset=utf-8",
            "authorization": f"Bearer {credentials.access_token}",
            "appkey": credentials.app_key,
            "appsecret": credentials.app_secret,
            "tr_id": request.transaction,
            "custtype": "P",
            "tr_cont": "N" if request.continued else "",
        }

    def classify(self, status: int, body: bytes) -> ProviderError | None:
        """See `envelope.classify`."""
        return envelope.classify(status, body)

    def more(self, headers: Mapping[str, str]) -> bool:
        """`tr_cont` F or M means another page; D, E or nothing means the end (kis-api.md, section 2)."""
        return headers.get("tr_cont", "").strip() in ("F", "M")


class KisIssuing:
    """Issues tokens and approval keys. Without retries: when to ask again is for `accounts.tokens` to say."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock, recorder: CallRecorder = UNRECORDED) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._dialect = KisRestDialect()

    async def issue_token(self, app_key: str, app_secret: str) -> issued.IssuedToken:
        """A token; within six hours of the last issue the same one again.

        Raises:
            TokenThrottledError: the last issue was less than a minute ago.
            ProviderError: no answer, or a refusal.
        """
        body = await self._post(TOKEN, {"appkey": app_key, "appsecret": app_secret})
        return issued.issued_token(body, self._clock.now_ns())

    async def issue_approval_key(self, app_key: str, app_secret: str) -> str:
        """The key that opens a stream.

        Raises:
            ProviderError: no answer, or a refusal.
        """
        # The secret has another name here than in the token call.
        body = await self._post(APPROVAL, {"appkey": app_key, "secretkey": app_secret})
        return issued.issued_approval_key(body)

    async def _post(self, call: KisCall[Body], keys: Mapping[str, str]) -> Body:
        content = msgspec.json.encode({"grant_type": "client_credentials", **keys})
        request = Request(name=call.name, method="POST", path=call.path, body=content)
        headers = {"content-type": "application/json"}
        answer = await send_once(self._client, request, headers, self._dialect, self._recorder)
        return decode(answer.content, call.body_type, call.name)


class ContinuedBody(Protocol):
    """A body with the keys that KIS wants back to give the page after it (`CTX_AREA_FK`, `CTX_AREA_NK`)."""

    ctx_area_fk: str
    ctx_area_nk: str


async def fetch(pipeline: RestPipeline, call: KisCall[Body], query: Mapping[str, str], lane: Lane = "normal") -> Body:
    """The one answer of a call.

    Raises:
        ProviderError: the broker did not answer, or refused.
    """
    return await pipeline.call(_request(call, query), lane, call.body_type)


async def fetch_pages(
    pipeline: RestPipeline,
    call: KisCall[Body],
    query: Mapping[str, str],
    *,
    pages_max: int,
    keys_of: Callable[[Body], Mapping[str, str]] | None = None,
    lane: Lane = "normal",
) -> AsyncIterator[Body]:
    """The pages of a call, each asked for when it is wanted, until KIS says that none follows.

    `keys_of` gives what of a page goes into the query of the next one, for the calls that want that.

    Raises:
        MalformedError: KIS goes on after `pages_max` pages: it repeats itself, or the call means more than it should.
        ProviderError: the broker did not answer, or refused.
    """
    continued = False
    for _ in range(pages_max):
        page = await pipeline.call_page(_request(call, query, continued=continued), lane, call.body_type)
        yield page.body
        if not page.more:
            return
        continued = True
        if keys_of is not None:
            query = {**query, **keys_of(page.body)}
    raise MalformedError(f"{call.name}: more than {pages_max} pages", call=call.name)


def continuation_keys(body: ContinuedBody) -> Mapping[str, str]:
    """The keys of a page as the query of the next one names them."""
    return {"CTX_AREA_FK": body.ctx_area_fk, "CTX_AREA_NK": body.ctx_area_nk}


def one_symbol(symbol: str) -> dict[str, str]:
    """The two query fields by which most calls name a symbol of the KRX."""
    return {"FID_COND_MRKT_DIV_CODE": _KRX, "FID_INPUT_ISCD": symbol}


def _request(call: KisCall[Body], query: Mapping[str, str], *, continued: bool = False) -> Request:
    return Request(call.name, "GET", call.path, call.transaction, query, continued=continued)


class KisRest:
    """Quotes, bars and past trades of the KRX. Satisfies `QuoteSource`, `HaltSource`, `HistorySource` and
    `PastBarSource`.
    """

    def __init__(self, pipeline: RestPipeline) -> None:
        self._pipeline = pipeline
        self.quotes_per_call = QUOTES_PER_CALL

    async def quotes(self, symbols: Sequence[str], lane: Lane = "bulk") -> Sequence[Quote]:
        """Quotes of at most 30 symbols in one call; unknown symbols are absent from the answer.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        assert 0 < len(symbols) <= QUOTES_PER_CALL
        query: dict[str, str] = {}
        for number, symbol in enumerate(symbols, start=1):
            query[f"FID_COND_MRKT_DIV_CODE_{number}"] = _KRX
            query[f"FID_INPUT_ISCD_{number}"] = symbol
        return bodies.quotes_of(await fetch(self._pipeline, QUOTES, query, lane))

    async def is_halted(self, symbol: str) -> bool | None:
        """Whether dealing in the symbol is stopped, as its single quote says; None when KIS does not know it.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        detail = symbols.quote_detail_of(await fetch(self._pipeline, QUOTE_DETAIL, one_symbol(symbol)))
        return None if detail is None else detail.suspended

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        """Daily bars as traded, oldest first, both days included; at most 100, the newest.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {
            **one_symbol(symbol),
            "FID_INPUT_DATE_1": date_text(first),
            "FID_INPUT_DATE_2": date_text(last),
            "FID_PERIOD_DIV_CODE": "D",
            "FID_ORG_ADJ_PRC": "1",
        }
        return bodies.daily_bars_of(await fetch(self._pipeline, DAILY_BARS, query), symbol)[-DAILY_BARS_MAX:]

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """Today's minute bars that start in [from, to], oldest first, each with its own value.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {"FID_ETC_CLS_CODE": "", "FID_PW_DATA_INCU_YN": "N"}
        return await self._minutes(MINUTE_BARS, symbol, query, from_ns, to_ns, _ROWS_PER_PAGE)

    async def past_minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """The minute bars of one earlier Korean day that start in [from, to], oldest first, each with its own value.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        # KIS's samples let earlier days follow; what belongs to them is left out here.
        query = {"FID_INPUT_DATE_1": date_text_of(to_ns), "FID_PW_DATA_INCU_YN": "Y", "FID_FAKE_TICK_INCU_YN": ""}
        return await self._minutes(PAST_MINUTE_BARS, symbol, query, from_ns, to_ns, _PAST_MINUTES_PER_PAGE)

    async def trades_between(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[PastTrade]:
        """Today's trades with an exchange time in [from, to] (whole seconds), oldest first, each once.

        A page is 30 trades and the call knows only seconds: of more than 30 trades in one second the oldest cannot be
        had. Whoever adds up the volumes sees that they are missing.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        first_ns, day_text = from_ns // NS_PER_S * NS_PER_S, date_text_of(to_ns)
        trades = await self._page_back(
            TRADES,
            one_symbol(symbol),
            first_ns,
            to_ns,
            lambda body: [(past.exchange_time_ns, past) for past in bodies.past_trades_of(body, symbol, day_text)],
        )
        # The day's volume after a trade names it, also when it came with two pages.
        by_volume = {past.cumulative_volume: past for past in trades if first_ns <= past.exchange_time_ns <= to_ns}
        return [by_volume[volume] for volume in sorted(by_volume)]

    async def _minutes(
        self,
        call: KisCall[bodies.MinuteBody],
        symbol: str,
        query: Mapping[str, str],
        from_ns: int,
        to_ns: int,
        rows_per_page: int,
    ) -> Sequence[Bar]:
        # One minute more than asked for: the value of a minute is the difference to the one before it.
        bars = await self._page_back(
            call,
            {**one_symbol(symbol), **query},
            from_ns - _MINUTE_NS,
            to_ns,
            lambda body: [(bar.start_ns, bar) for bar in bodies.minute_bars_of(body, symbol)],
            rows_per_page,
        )
        midnight = midnight_ns(date_text_of(to_ns))
        by_start = {bar.start_ns: bar for bar in bars if bar.start_ns >= midnight}
        own = bodies.with_own_values([by_start[start] for start in sorted(by_start)])
        return [bar for bar in own if from_ns <= bar.start_ns <= to_ns]

    async def _page_back(
        self,
        call: KisCall[Body],
        query: Mapping[str, str],
        from_ns: int,
        to_ns: int,
        read: Callable[[Body], Sequence[tuple[int, Timed]]],
        rows_per_page: int = _ROWS_PER_PAGE,
    ) -> list[Timed]:
        """All rows of the pages at and before `to_ns` until one reaches back before `from_ns`; with repetitions.

        The next page starts in the second where this one ended, since a second can be spread over two pages; when that
        brings nothing earlier, a second before it.
        """
        found: list[Timed] = []
        cursor_ns = to_ns // NS_PER_S * NS_PER_S
        for _ in range(_PAGES_BACK_MAX):
            hour = {"FID_INPUT_HOUR_1": hour_text_of(cursor_ns)}
            page = read(await fetch(self._pipeline, call, {**query, **hour}, "urgent"))
            found.extend(row for _, row in page)
            if len(page) < rows_per_page:
                break
            oldest_ns = min(moment for moment, _ in page)
            cursor_ns = oldest_ns if oldest_ns < cursor_ns else cursor_ns - NS_PER_S
            if cursor_ns < from_ns:
                break
        return found
