"""KIS's REST client: runs any call of the table with the account's limiter, retries and paging.

The named methods are the Protocols of `brokers.broker`, `domestic`, `etf` and `listings.model`; a call without a method
is run by `fetch`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from observer.base.errors import BadRequestError, MalformedError
from observer.base.lines import stock_of
from observer.base.units import NS_PER_S
from observer.brokers.broker import Bar, PastTrade, Priority, Quote
from observer.brokers.domestic import DailyPage, MinuteDay, SessionDay, UnreadableRow, VenueTrading
from observer.brokers.etf import EtfQuote, NavDay
from observer.brokers.http import Page, Request, RestPipeline
from observer.brokers.kis import calls
from observer.brokers.kis.calls import QUOTES_PER_CALL, Arguments, BackByHour, Continued, KisCall
from observer.brokers.kis.decoder import content_of
from observer.brokers.kis.minute_days import MinuteDays
from observer.brokers.kis.schema import SINGLE_QUOTE
from observer.brokers.kis.times import date_text, date_text_of, midnight_ns, parse_date
from observer.brokers.kis.venues import NXT
from observer.brokers.time_and_sales import TradesPage
from observer.reference.listings.model import KOREA, NOT_TRADED, NOT_TRADED_GROUPS, Tradable

T = TypeVar("T", bound=msgspec.Struct)

# A page goes back at least a second, so a day of 6.5 trading hours can never need more pages than it has seconds.
_PAGES_BACK_MAX: Final = 24_000
_SINGLE_QUOTE: Final[KisCall[Quote]] = msgspec.structs.replace(calls.QUOTE_DETAIL, record=SINGLE_QUOTE)


class KisClient:
    """The calls of one account. Satisfies `RestClient`. Every method raises ProviderError: KIS did not answer, or
    refused.
    """

    def __init__(self, pipeline: RestPipeline, *, single_quotes: bool = False) -> None:
        """`single_quotes`: the host has no quotes of many symbols (docs/kis.md#paper-host)."""
        self._pipeline = pipeline
        self.quotes_per_call = 1 if single_quotes else QUOTES_PER_CALL

    # --- any call ---

    async def fetch(
        self,
        call: KisCall[T],
        arguments: Arguments,
        priority: Priority | None = None,
        is_enough: Callable[[Sequence[T]], bool] = lambda _page: False,
    ) -> Sequence[T]:
        """The rows of all pages a call needs, for the arguments of `KisCall.parameters`. Of pages back by the hour, the
        first one that `is_enough` is the last one.

        Raises:
            BadRequestError: KIS refuses, or does not have the exchange.
            MalformedError: an answer cannot be read, or the pages do not end.
            ProviderError: KIS did not answer.
        """
        rows: list[T] = []
        try:
            async with aclosing(self._pages(call, arguments, priority or call.priority)) as pages:
                async for page in pages:
                    rows += page
                    if is_enough(page):
                        break
        except BadRequestError as error:
            if call.not_found and error.code == call.not_found:
                return []
            raise
        match call.paging:
            case Continued():
                return _within_days(call, rows, arguments)
            case BackByHour() as paging:
                return _within_hours(call, paging, rows, arguments)
        return rows

    async def fetch_one(self, call: KisCall[T], arguments: Arguments) -> T | None:
        """The one row of an answer; None when KIS does not know what is asked for."""
        return next(iter(await self.fetch(call, arguments)), None)

    # --- quotes ---

    async def quotes(self, symbols: Sequence[str], priority: Priority = "bulk") -> Sequence[Quote]:
        """Quotes of at most `quotes_per_call` lines; unknown ones are absent from the answer. A single quote has no bid
        and no ask.

        The rows of an answer name the symbol and not the venue: lines of one stock go into calls of their own.
        """
        if self.quotes_per_call == 1:
            pages = [await self.fetch(_SINGLE_QUOTE, {"symbol": symbol}, priority) for symbol in symbols]
        else:
            groups = _each_stock_once(symbols)
            pages = [await self.fetch(calls.QUOTES, {"symbols": group}, priority) for group in groups]
        return [quote for page in pages for quote in page]

    async def is_halted(self, symbol: str) -> bool | None:
        """Whether dealing in the symbol is stopped, as its single quote says; None when KIS does not know it."""
        detail = await self.fetch_one(calls.QUOTE_DETAIL, {"symbol": symbol})
        return None if detail is None else detail.suspended

    # --- history ---

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        """Daily bars as traded, oldest first, both days included; at most 100, the newest."""
        return _bars_within(
            await self.fetch(calls.DAILY_BARS, {"symbol": symbol, "first": first, "last": last}), first, last
        )

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """Today's minute bars that start in [from, to], oldest first, each with its own value."""
        return await self.fetch(calls.MINUTE_BARS, {"symbol": symbol, "begin": from_ns, "end": to_ns})

    async def past_minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """The minute bars of one earlier Korean day that start in [from, to], oldest first, each with its own value."""
        return await self.fetch(calls.PAST_MINUTE_BARS, {"symbol": symbol, "begin": from_ns, "end": to_ns})

    async def trades_between(
        self, symbol: str, from_ns: int, to_ns: int, after_volume: float = 0.0, rows_max: int | None = None
    ) -> Sequence[PastTrade]:
        """Today's trades with an exchange time in [from, to] (whole seconds), oldest first, each once.

        A page is 30 trades and the call knows only seconds: of more than 30 trades in one second the oldest are not
        available. The sum of the volumes shows that they are missing. No further page follows one that reaches
        `after_volume`, or with which there are `rows_max` trades: pages repeat those of the second where they meet.
        """
        begin_ns = from_ns // NS_PER_S * NS_PER_S
        fetched: set[float] = set()

        def is_enough(page: Sequence[PastTrade]) -> bool:
            fetched.update(row.cumulative_volume for row in page if begin_ns <= row.exchange_time_ns <= to_ns)
            is_full = rows_max is not None and len(fetched) >= rows_max
            return is_full or any(row.cumulative_volume <= after_volume for row in page)

        arguments: Arguments = {"symbol": symbol, "begin": begin_ns, "end": to_ns}
        return await self.fetch(calls.TRADES, arguments, is_enough=is_enough)

    async def trades_page(self, symbol: str, until_ns: int, priority: Priority = "background") -> TradesPage:
        """As `TradePageSource`. KIS can answer with trades of the day before while today has none."""
        rows, unreadable = await self._read_apart(calls.TRADES, {"symbol": symbol, "end": until_ns}, priority)
        day_ns, end_ns = midnight_ns(date_text_of(until_ns)), until_ns // NS_PER_S * NS_PER_S + NS_PER_S
        of_today = [row for row in rows if day_ns <= row.exchange_time_ns < end_ns]
        if rows and not of_today:
            return TradesPage(())
        return TradesPage(of_today, unreadable, any(row.number == 0 for row in unreadable))  # KIS writes newest first

    # --- bars of many days ---

    async def daily_page(self, symbol: str, first: date, last: date, priority: Priority) -> DailyPage:
        """As `BarArchive`."""
        asked: Arguments = {"symbol": symbol, "first": first, "last": last}
        bars, unreadable = await self._read_apart(calls.DAILY_BARS, asked, priority)
        return DailyPage(_bars_within(bars, first, last), unreadable)

    async def past_days(self, symbol: str, days: Sequence[date], priority: Priority) -> AsyncIterator[MinuteDay]:
        """As `BarArchive`."""
        async for day in self._minute_days(calls.PAST_MINUTE_BARS, symbol, days, None, priority):
            yield day

    async def session_minutes(self, symbol: str, until_ns: int, priority: Priority) -> MinuteDay:
        """As `BarArchive`."""
        days = [parse_date(date_text_of(until_ns))]
        [found] = [each async for each in self._minute_days(calls.MINUTE_BARS, symbol, days, until_ns, priority)]
        return found

    async def _minute_days(
        self, call: KisCall[Bar], symbol: str, days: Sequence[date], until_ns: int | None, priority: Priority
    ) -> AsyncIterator[MinuteDay]:
        assert isinstance(call.paging, BackByHour)
        wanted = MinuteDays(days, call.paging.rows_per_page, until_ns)
        while (until_ns := wanted.until_ns) is not None:
            for day in wanted.take(*await self._read_apart(call, {"symbol": symbol, "end": until_ns}, priority)):
                yield day

    # --- ETFs, sessions, securities ---

    async def etf_quote(self, symbol: str) -> EtfQuote | None:
        """The ETF's quote; None when KIS does not know it as one."""
        return await self.fetch_one(calls.ETF_QUOTE, {"symbol": symbol})

    async def nav_days(self, symbol: str, first: date, last: date) -> Sequence[NavDay]:
        """Close and NAV of the days from `first` to `last`, both included, oldest first."""
        return await self.fetch(calls.NAV_DAYS, {"symbol": symbol, "first": first, "last": last})

    async def sessions(self, first: date, last: date) -> Sequence[SessionDay]:
        """The days from `first` to `last`, both included, oldest first, as far as KIS knows them; some 24 a request."""
        return await self.fetch(calls.SESSIONS, {"first": first, "last": last})

    async def security(self, exchange: str, symbol: str) -> Tradable | None:
        """The security, if its basic data at KIS say that it trades on that exchange; otherwise None."""
        if exchange in KOREA:
            stock = await self.fetch_one(calls.STOCK, {"symbol": symbol})
            return None if stock is None else tradable_in_korea(exchange, stock)
        instrument = await self.fetch_one(calls.OVERSEAS_INSTRUMENT, {"exchange": exchange, "symbol": symbol})
        return None if instrument is None else tradable_abroad(instrument)

    async def venue_eligibility(self, symbols: Sequence[str]) -> Sequence[VenueTrading]:
        """Whether each stock trades at NXT today, by its basic data (docs/kis.md#sessions-and-venues). Unknown symbols
        are absent. One call a symbol.
        """
        answers = [await self.fetch(calls.STOCK, {"symbol": symbol}, "bulk") for symbol in symbols]
        stocks = [stock for answer in answers for stock in answer]
        return [VenueTrading(each.symbol, NXT, each.on_nxt and not each.suspended_on_nxt) for each in stocks]

    # --- pages ---

    async def _page(
        self, call: KisCall[T], query: Mapping[str, str], priority: Priority, *, continued: bool = False
    ) -> Page[msgspec.Struct]:
        """One answer's body, and whether KIS says that another page follows."""
        request = Request(call.name, "GET", call.path, call.transaction, query, continued=continued)
        return await self._pipeline.call_page(request, priority, call.record.body_type)

    async def _read_apart(
        self, call: KisCall[T], arguments: Arguments, priority: Priority
    ) -> tuple[list[T], tuple[UnreadableRow, ...]]:
        """One page's rows, oldest first, and apart from them those that cannot be read."""
        page = await self._page(call, call.query_of(arguments), priority)
        rows, apart = call.record.read_apart(page.body, call.given(arguments))
        return rows, tuple(UnreadableRow(f"{call.name}: {error}", content_of(row), n) for n, error, row in apart)

    async def _pages(self, call: KisCall[T], arguments: Arguments, priority: Priority) -> AsyncGenerator[list[T]]:
        match call.paging:
            case None:
                page = await self._page(call, call.query_of(arguments), priority)
                yield call.read(page.body, call.given(arguments))
            case Continued() as paging:
                async for rows in self._pages_continued(call, paging, arguments, priority):
                    yield rows
            case BackByHour() as paging:
                async for rows in self._pages_back(call, paging, arguments, priority):
                    yield rows

    async def _pages_continued(
        self, call: KisCall[T], paging: Continued, arguments: Arguments, priority: Priority
    ) -> AsyncIterator[list[T]]:
        query, day_of = call.query_of(arguments), _order(call)
        for number in range(paging.pages_max):
            page = await self._page(call, query, priority, continued=number > 0)
            rows = call.read(page.body, call.given(arguments))
            yield rows
            if not page.more or (paging.oldest_first and any(day_of(row) >= arguments["last"] for row in rows)):
                return
            query |= {key.upper(): getattr(page.body, key) for key in paging.keys}
        # KIS repeats itself, or the call means more than it should.
        raise MalformedError(f"{call.name}: more than {paging.pages_max} pages", call=call.name)

    async def _pages_back(
        self, call: KisCall[T], paging: BackByHour, arguments: Arguments, priority: Priority
    ) -> AsyncIterator[list[T]]:
        """The pages at and before `end` until one reaches back before `begin`; rows may repeat.

        The next page starts in the second where this one ended, since a second can be spread over two pages; when that
        brings nothing earlier, a second before it.
        """
        begin_ns, end_ns = _span(arguments)
        cursor_ns = end_ns // NS_PER_S * NS_PER_S
        for _ in range(_PAGES_BACK_MAX):
            page = await self._page(call, call.query_of({**arguments, "end": cursor_ns}), priority)
            rows = call.read(page.body, call.given(arguments))
            yield rows
            if len(rows) < paging.rows_per_page:
                return
            oldest_ns = min(map(attrgetter(paging.time), rows))
            cursor_ns = oldest_ns if oldest_ns < cursor_ns else cursor_ns - NS_PER_S
            if cursor_ns < begin_ns - paging.lead_ns:
                return


def _order(call: KisCall[T]) -> Callable[[T], Any]:
    """The sort key and identity of a call's rows."""
    return attrgetter(call.record.order)


def _each_once(call: KisCall[T], rows: Sequence[T]) -> list[T]:
    """The rows of several pages in their order; of a repeated one the last."""
    by_order = {_order(call)(row): row for row in rows}
    return [by_order[order] for order in sorted(by_order)]


def _within_days(call: KisCall[T], rows: Sequence[T], arguments: Arguments) -> list[T]:
    """The rows from the first to the last day."""
    return [row for row in _each_once(call, rows) if arguments["first"] <= _order(call)(row) <= arguments["last"]]


def _within_hours(call: KisCall[T], paging: BackByHour, rows: Sequence[T], arguments: Arguments) -> list[T]:
    """The rows of the Korean day of `end` from `begin` to `end`."""
    (begin_ns, end_ns), time_of = _span(arguments), attrgetter(paging.time)
    day_ns = midnight_ns(date_text_of(end_ns))
    of_day = call.finish(_each_once(call, [row for row in rows if time_of(row) >= day_ns]))
    return [row for row in of_day if begin_ns <= time_of(row) <= end_ns]


def _span(arguments: Arguments) -> tuple[int, int]:
    begin_ns, end_ns = arguments["begin"], arguments["end"]
    assert isinstance(begin_ns, int)
    assert isinstance(end_ns, int)
    return begin_ns, end_ns


def _bars_within(bars: Sequence[Bar], first: date, last: date) -> Sequence[Bar]:
    """Those of the days: KIS can return the newest 100 whatever the range (docs/kis.md#daily-bars)."""
    first_ns, last_ns = midnight_ns(date_text(first)), midnight_ns(date_text(last))
    return [bar for bar in bars if first_ns <= bar.start_ns <= last_ns]


def _each_stock_once(lines: Sequence[str]) -> Sequence[Sequence[str]]:
    """The lines in as few groups as have no stock twice, one for all lines of a venue."""
    groups: list[dict[str, str]] = [{}]
    for line in lines:
        stock = stock_of(line)
        group = next((each for each in groups if stock not in each), None)
        if group is None:
            groups.append(group := {})
        group[stock] = line
    return [tuple(group.values()) for group in groups]


# --- tradable securities, by their basic data -------------------------------------------------------------------

# Our reading of the codes: 해외주식거래정지구분코드 01 is trading, everything else some stop; 해외주식구분코드 01
# share, 02 warrant, 03 ETF, 04 preferred share; 시장ID코드 STK KOSPI, KSQ KOSDAQ, KNX KONEX.
_MARKETS: Final[Mapping[str, str]] = {"STK": "KOSPI", "KSQ": "KOSDAQ", "KNX": "KONEX"}
_KINDS: Final[Mapping[str, str]] = {"01": "stock", "02": "warrant", "03": "fund", "04": "stock"}
_TRADING: Final = ("", "01")


def tradable_in_korea(exchange: str, stock: Any) -> Tradable | None:
    """The security, if it is listed on that exchange, neither delisted nor suspended, and of a kind that is traded.
    `stock` is a row of `schema.STOCK`.
    """
    if _MARKETS.get(stock.market) != exchange or stock.delisted_on is not None or stock.suspended:
        return None
    if stock.group in NOT_TRADED_GROUPS:
        return None
    return Tradable(exchange, stock.symbol, stock.name, stock.english_name, "KRW", "", stock.group)


def tradable_abroad(found: Any) -> Tradable | None:
    """The security, if it is listed, not stopped, and of a kind that is traded. `found` is a row of
    `schema.OVERSEAS_INSTRUMENT`.
    """
    kind = _KINDS.get(found.kind, "")
    if not found.listed or found.delisted or found.trading_stop not in _TRADING or kind in NOT_TRADED:
        return None
    return Tradable(found.exchange, found.symbol, found.name, found.english_name, found.currency, kind)
