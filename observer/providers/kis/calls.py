"""KIS's REST calls: a table of path, TR id and result type, and the doors of `interfaces` built on it.

A new call is one line in the table and one method. Field names are in `bodies.py`, limits and retries in `http.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final, Generic, TypeVar

import httpx
import msgspec

from observer.clock import Clock
from observer.errors import ProviderError
from observer.providers.http import Request, RestPipeline, decode, send_once
from observer.providers.interfaces import Bar, Credentials, Lane, PastTrade, Quote
from observer.providers.kis import bodies
from observer.providers.kis.moments import NS_PER_S, date_text, date_text_of, hour_text_of, midnight_ns

Body = TypeVar("Body")
Timed = TypeVar("Timed")

QUOTES_PER_CALL: Final = 30
DAILY_BARS_MAX: Final = 100
_ROWS_PER_PAGE: Final = 30
_KRX: Final = "J"
# A page goes back at least a second, so a day of 6.5 trading hours can never need more pages than it has seconds.
_PAGES_MAX: Final = 24_000
_MINUTE_NS: Final = 60 * NS_PER_S


class KisCall(msgspec.Struct, Generic[Body], frozen=True):
    """One line of the table: name in counts and errors, path, TR id, type of the body."""

    name: str
    path: str
    transaction: str
    body_type: type[Body]


_QUOTATIONS: Final = "/uapi/domestic-stock/v1/quotations"
QUOTES: Final = KisCall("quotes", f"{_QUOTATIONS}/intstock-multprice", "FHKST11300006", bodies.QuotesBody)
DAILY_BARS: Final = KisCall(
    "daily_bars", f"{_QUOTATIONS}/inquire-daily-itemchartprice", "FHKST03010100", bodies.DailyBody
)
MINUTE_BARS: Final = KisCall(
    "minute_bars", f"{_QUOTATIONS}/inquire-time-itemchartprice", "FHKST03010200", bodies.MinuteBody
)
TRADES: Final = KisCall("trades", f"{_QUOTATIONS}/inquire-time-itemconclusion", "FHPST01060000", bodies.ConclusionsBody)
TOKEN: Final = KisCall("issue_token", "/oauth2/tokenP", "", bodies.TokenBody)
APPROVAL: Final = KisCall("issue_approval_key", "/oauth2/Approval", "", bodies.ApprovalBody)


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
        """See `bodies.classify`."""
        return bodies.classify(status, body)

    def more(self, headers: Mapping[str, str]) -> bool:
        """`tr_cont` F or M means another page; D, E or nothing means the end (kis-api.md, section 2)."""
        return headers.get("tr_cont", "").strip() in ("F", "M")


class KisIssuing:
    """Issues tokens and approval keys. Without retries: when to ask again is for `accounts.tokens` to say."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._dialect = KisRestDialect()

    async def issue_token(self, app_key: str, app_secret: str) -> bodies.IssuedToken:
        """A token; within six hours of the last issue the same one again.

        Raises:
            TokenThrottledError: the last issue was less than a minute ago.
            ProviderError: no answer, or a refusal.
        """
        body = await self._post(TOKEN, {"appkey": app_key, "appsecret": app_secret})
        return bodies.issued_token(body, self._clock.now_ns())

    async def issue_approval_key(self, app_key: str, app_secret: str) -> str:
        """The key that opens a stream.

        Raises:
            ProviderError: no answer, or a refusal.
        """
        # The secret has another name here than in the token call.
        body = await self._post(APPROVAL, {"appkey": app_key, "secretkey": app_secret})
        return body.approval_key

    async def _post(self, call: KisCall[Body], keys: Mapping[str, str]) -> Body:
        content = msgspec.json.encode({"grant_type": "client_credentials", **keys})
        request = Request(name=call.name, method="POST", path=call.path, body=content)
        answer = await send_once(self._client, request, {"content-type": "application/json"}, self._dialect)
        return decode(answer.content, call.body_type, call.name)


class KisRest:
    """Quotes, bars and past trades of the KRX. Satisfies `QuoteSource` and `HistorySource`."""

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
        return bodies.quotes_of(await self._get(QUOTES, query, lane))

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        """Daily bars as traded, oldest first, both days included; at most 100, the newest.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        query = {
            **_one_symbol(symbol),
            "FID_INPUT_DATE_1": date_text(first),
            "FID_INPUT_DATE_2": date_text(last),
            "FID_PERIOD_DIV_CODE": "D",
            "FID_ORG_ADJ_PRC": "1",
        }
        return bodies.daily_bars_of(await self._get(DAILY_BARS, query, "normal"), symbol)[-DAILY_BARS_MAX:]

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """Today's minute bars that start in [from, to], oldest first, each with its own value.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        # One minute more than asked for: the value of a minute is the difference to the one before it.
        bars = await self._page_back(
            MINUTE_BARS,
            {**_one_symbol(symbol), "FID_ETC_CLS_CODE": "", "FID_PW_DATA_INCU_YN": "N"},
            from_ns - _MINUTE_NS,
            to_ns,
            lambda body: [(bar.start_ns, bar) for bar in bodies.minute_bars_of(body, symbol)],
        )
        today_ns = midnight_ns(date_text_of(to_ns))
        by_start = {bar.start_ns: bar for bar in bars if bar.start_ns >= today_ns}
        own = bodies.with_own_values([by_start[start] for start in sorted(by_start)])
        return [bar for bar in own if from_ns <= bar.start_ns <= to_ns]

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
            _one_symbol(symbol),
            first_ns,
            to_ns,
            lambda body: [(past.exchange_time_ns, past) for past in bodies.past_trades_of(body, symbol, day_text)],
        )
        # The day's volume after a trade names it, also when it came with two pages.
        by_volume = {past.cumulative_volume: past for past in trades if first_ns <= past.exchange_time_ns <= to_ns}
        return [by_volume[volume] for volume in sorted(by_volume)]

    async def _page_back(
        self,
        call: KisCall[Body],
        query: Mapping[str, str],
        from_ns: int,
        to_ns: int,
        read: Callable[[Body], Sequence[tuple[int, Timed]]],
    ) -> list[Timed]:
        """All rows of the pages at and before `to_ns` until one reaches back before `from_ns`; with repetitions.

        The next page starts in the second where this one ended, since a second can be spread over two pages; when that
        brings nothing earlier, a second before it.
        """
        found: list[Timed] = []
        cursor_ns = to_ns // NS_PER_S * NS_PER_S
        for _ in range(_PAGES_MAX):
            hour = {"FID_INPUT_HOUR_1": hour_text_of(cursor_ns)}
            page = read(await self._get(call, {**query, **hour}, "urgent"))
            found.extend(row for _, row in page)
            if len(page) < _ROWS_PER_PAGE:
                break
            oldest_ns = min(moment for moment, _ in page)
            cursor_ns = oldest_ns if oldest_ns < cursor_ns else cursor_ns - NS_PER_S
            if cursor_ns < from_ns:
                break
        return found

    async def _get(self, call: KisCall[Body], query: Mapping[str, str], lane: Lane) -> Body:
        request = Request(call.name, "GET", call.path, call.transaction, query)
        return await self._pipeline.call(request, lane, call.body_type)


def _one_symbol(symbol: str) -> dict[str, str]:
    return {"FID_COND_MRKT_DIV_CODE": _KRX, "FID_INPUT_ISCD": symbol}
