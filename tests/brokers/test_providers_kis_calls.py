"""The KIS calls over real HTTP: venues, paging, and each row once. Their requests: test_providers_kis_contract."""

import asyncio
from contextlib import asynccontextmanager
from datetime import date

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from observer.base.clock import ManualClock
from observer.base.errors import BadRequestError, TokenThrottledError
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.brokers.domestic import VenueTrading
from observer.brokers.http import open_client
from observer.brokers.kis import calls
from observer.brokers.kis.broker import BROKER
from observer.brokers.kis.client import KisClient
from observer.brokers.kis.issuing import KisIssuing
from observer.brokers.settings import RestSettings
from tests.brokers.stand_ins import pipeline_to, serving
from tests.properties import examples

DAY = date(2026, 11, 20)
QUOTATIONS = "/uapi/domestic-stock/v1/quotations"
TRADES = "inquire-time-itemconclusion"
NINE = 9 * 3600
DIVISION, SYMBOL = "FID_COND_MRKT_DIV_CODE", "FID_INPUT_ISCD"


def hour_of(second):
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"


def at(second):
    return local_ns(DAY) + second * NS_PER_S


def asked(path, answer, ask, **client):
    """What `ask(client)` returns where one path is answered with what `answer(query)` returns; and the priorities."""

    async def handle(request):
        return web.json_response({"rt_cd": "0", "msg_cd": "MCA00000", **answer(request.query)})

    async def scenario():
        async with pipeline_to(web.get(f"{QUOTATIONS}/{path}", handle)) as (pipeline, rate_limiter):
            return await ask(KisClient(pipeline, **client)), rate_limiter.priorities

    return asyncio.run(scenario())


def newest(rows, query, row_of):
    """A page of KIS: of (second of the day, figure) the newest 30 at and before the hour, newest first."""
    known = [row for row in rows if hour_of(row[0]) <= query["FID_INPUT_HOUR_1"]]
    return {"output2": [row_of(*row) for row in sorted(known, key=lambda row: row[1], reverse=True)[:30]]}


def conclusion_pages(trades):
    """KIS's time-and-sales over (second of the day, cumulative volume) pairs."""

    def row_of(second, total):
        return {"stck_cntg_hour": hour_of(second), "stck_pbpr": "70000", "cnqn": "1", "acml_vol": str(total)}

    return lambda query: newest(trades, query, row_of)


def trades_between(trades, first, last, **bounds):
    found, priorities = asked(
        TRADES, conclusion_pages(trades), lambda rest: rest.trades_between("005930", at(first), at(last), **bounds)
    )
    return [trade.cumulative_volume for trade in found], priorities


# --- venues ----------------------------------------------------------------------------------------------------


def quoted(lines):
    """The quotes of these lines from a KIS that knows all of them, and the pairs of each call."""
    pairs = []

    def answer(query):
        numbers = range(1, sum(name.startswith(f"{SYMBOL}_") for name in query) + 1)
        pairs.append([(query[f"{DIVISION}_{n}"], query[f"{SYMBOL}_{n}"]) for n in numbers])
        volumes = {"J": "1000", "NX": "500"}
        return {
            "output": [
                {"inter_shrn_iscd": symbol, "inter2_prpr": "100", "acml_vol": volumes[division]}
                for division, symbol in reversed(pairs[-1])
            ]
        }

    return asked("intstock-multprice", answer, lambda rest: rest.quotes(lines))[0], pairs


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        (["005930", "000660.NXT"], [[("J", "005930"), ("NX", "000660")]]),
        (  # a row names the symbol alone: both lines of a stock are never in one call
            ["005930", "005930.NXT", "000660.NXT", "000660"],
            [[("J", "005930"), ("NX", "000660")], [("NX", "005930"), ("J", "000660")]],
        ),
    ],
)
def test_the_lines_of_a_call_each_have_the_division_code_of_their_venue(lines, pairs):
    quotes, asked_for = quoted(lines)
    assert asked_for == pairs
    expected = {line: ("NXT", 500.0) if line.endswith("NXT") else ("KRX", 1000.0) for line in lines}
    assert {quote.symbol: (quote.venue, quote.cumulative_volume) for quote in quotes} == expected


@examples(0.1)
@given(st.lists(st.sampled_from(["1", "2", "3", "4", "1.NXT", "2.NXT", "3.NXT"]), unique=True))
def test_every_line_is_quoted_once_in_at_most_two_calls_of_distinct_stocks(lines):
    quotes, calls = quoted(lines)
    assert sorted(quote.symbol for quote in quotes) == sorted(lines)
    assert len(calls) <= 2
    for pairs in calls:
        assert len({symbol for _, symbol in pairs}) == len(pairs)


@pytest.mark.parametrize(("line", "division", "venue"), [("005930", "J", "KRX"), ("005930.NXT", "NX", "NXT")])
@pytest.mark.parametrize(
    ("path", "ask"),
    [
        (TRADES, lambda rest, line: rest.trades_between(line, at(NINE), at(NINE + 9))),
        ("inquire-time-itemchartprice", lambda rest, line: rest.minute_bars(line, at(NINE), at(NINE + 9))),
        ("inquire-time-dailychartprice", lambda rest, line: rest.past_minute_bars(line, at(NINE), at(NINE + 9))),
        ("inquire-daily-itemchartprice", lambda rest, line: rest.daily_bars(line, DAY, DAY)),
    ],
)
def test_a_line_is_asked_of_its_venue_and_its_rows_say_so(path, ask, line, division, venue):
    seen = set()
    row = {"stck_bsop_date": "20261120", "stck_cntg_hour": "090000", "stck_prpr": "1", "cnqn": "1", "acml_vol": "1"}

    def answer(query):
        seen.add((query[DIVISION], query[SYMBOL]))
        return {"output2": [row]}

    [found], _ = asked(path, answer, lambda rest: ask(rest, line))
    assert seen == {(division, "005930")}
    assert (found.symbol, found.venue) == (line, venue)


def test_a_line_of_a_venue_that_kis_does_not_serve_is_refused_before_any_call():
    with pytest.raises(BadRequestError, match=r"005930.XYZ: KIS serves no venue 'XYZ'; there are KRX, NXT"):
        quoted(["005930.XYZ"])


def test_the_paper_host_is_asked_for_one_line_at_a_time():
    seen = []

    def answer(query):
        seen.append((query[DIVISION], query[SYMBOL]))
        return {"output": {"stck_shrn_iscd": "005930", "stck_prpr": "100"}}

    lines = ["005930", "005930.NXT"]
    quotes, _ = asked("inquire-price", answer, lambda rest: rest.quotes(lines), single_quotes=True)
    assert seen == [("J", "005930"), ("NX", "005930")]
    assert [(quote.symbol, quote.venue) for quote in quotes] == [("005930", "KRX"), ("005930.NXT", "NXT")]
    assert (quotes[0].price, quotes[0].bid, quotes[0].ask) == (100.0, None, None)


@pytest.mark.parametrize(
    ("tradable", "stopped", "trades"), [("Y", "N", True), ("Y", "Y", False), ("N", "N", False), ("", "", False)]
)
def test_a_stock_trades_at_nxt_where_its_basic_data_say_so_and_not_that_it_is_stopped(tradable, stopped, trades):
    flags = {"cptt_trad_tr_psbl_yn": tradable, "nxt_tr_stop_yn": stopped}
    found, priorities = asked(
        "search-stock-info",
        lambda query: {"output": {"pdno": query["PDNO"], **flags}},
        lambda rest: rest.venue_eligibility(["005930", "000660"]),
    )
    assert found == [VenueTrading("005930", "NXT", trades), VenueTrading("000660", "NXT", trades)]
    assert priorities == ["bulk"] * 2


# --- past trades and bars --------------------------------------------------------------------------------------


def test_past_trades_come_over_many_pages_oldest_first_each_once():
    trades = [(NINE + number // 3, number + 1) for number in range(200)]
    found, priorities = trades_between(trades, NINE, NINE + 100)
    assert found == [float(total) for _, total in trades]
    assert set(priorities) == {"urgent"}


def test_past_trades_are_cut_to_the_seconds_asked_for():
    trades = [(NINE + number, number + 1) for number in range(100)]
    assert trades_between(trades, NINE + 50, NINE + 52) == ([51.0, 52.0, 53.0], ["urgent"])
    assert trades_between([], NINE, NINE + 10) == ([], ["urgent"])


def test_a_second_with_more_trades_than_a_page_does_not_stop_the_way_back():
    trades = [(NINE, 1), *[(NINE + 1, 2 + number) for number in range(45)], (NINE + 2, 100)]
    found, _ = trades_between(trades, NINE, NINE + 2)
    assert (found[0], found[-1], len(found)) == (1.0, 100.0, 32)


@pytest.mark.parametrize(("count", "bounds", "pages"), [(100, {"after_volume": 60.0}, 2), (200, {"rows_max": 60}, 3)])
def test_the_way_back_ends_with_the_page_that_reaches_the_known_volume_or_has_enough_rows(count, bounds, pages):
    """Trades that two pages have count once."""
    trades = [(NINE + number, number + 1) for number in range(count)]
    found, priorities = trades_between(trades, NINE, NINE + count, **bounds)
    assert found[0] <= bounds.get("after_volume", count) + 1
    assert found[-1] == count
    assert len(found) >= bounds.get("rows_max", 0)
    assert len(priorities) == pages


@examples(0.3)
@given(st.lists(st.integers(0, 60), max_size=150), st.integers(0, 60), st.integers(0, 60))
def test_past_trades_are_exactly_those_of_the_interval(seconds, first, length):
    trades = [(NINE + second, number + 1) for number, second in enumerate(sorted(seconds))]
    crowded = any(seconds.count(second) > 29 for second in seconds)
    found, _ = trades_between(trades, NINE + first, NINE + first + length)
    expected = [float(total) for second, total in trades if first <= second - NINE <= first + length]
    assert found == expected or crowded


def test_minute_bars_are_paged_and_carry_their_own_value():
    minutes = [(NINE + 60 * minute, minute) for minute in range(100)]

    def row_of(second, minute):
        hour = {"stck_bsop_date": "20261120", "stck_cntg_hour": hour_of(second)}
        return {**hour, "stck_prpr": "1", "cntg_vol": "5", "acml_tr_pbmn": str((minute + 1) * 10)}

    bars, _ = asked(
        "inquire-time-itemchartprice",
        lambda query: newest(minutes, query, row_of),
        lambda rest: rest.minute_bars("005930", at(NINE + 600), at(NINE + 60 * 70)),
    )
    assert [bar.start_ns for bar in bars] == [at(NINE + 60 * minute) for minute in range(10, 71)]
    assert {bar.value for bar in bars} == {10.0}


def test_daily_bars_are_those_of_the_days_asked_for():
    rows = [{"stck_bsop_date": "20261119", "stck_clpr": "9"}, {"stck_bsop_date": "20261030"}, {}]
    [bar], _ = asked(
        "inquire-daily-itemchartprice",
        lambda _: {"output1": {}, "output2": rows},
        lambda rest: rest.daily_bars("005930", date(2026, 11, 1), DAY),
    )
    assert (bar.close, bar.start_ns) == (9.0, local_ns(date(2026, 11, 19)))


def trades_page(trades, second, change=lambda rows: None):
    def answer(query):
        found = conclusion_pages(trades)(query)
        change(found["output2"])
        return found

    return asked(TRADES, answer, lambda rest: rest.trades_page("005930", at(second)))


def test_a_page_of_trades_is_one_background_call_up_to_the_end_of_its_second():
    trades = [(NINE + number // 3, float(number + 1)) for number in range(100)]
    page, priorities = trades_page(trades, NINE + 20)
    assert BROKER.time_and_sales.page_trades == calls.TRADES.paging.rows_per_page == page.trades
    assert [row.cumulative_volume for row in page.rows] == [float(number) for number in range(34, 64)]
    assert priorities == ["background"]
    assert trades_page(trades, NINE - 1)[0].trades == 0, "a page of the day before is an empty one"


@pytest.mark.parametrize(("number", "is_newest"), [(0, True), (7, False)])
def test_an_unreadable_row_of_a_page_of_trades_stands_apart(number, is_newest):
    trades = [(NINE + number, float(number + 1)) for number in range(40)]
    page, _ = trades_page(trades, NINE + 100, lambda rows: rows[number].update(acml_vol="many"))
    assert (len(page.rows), page.trades, page.is_newest_unreadable) == (29, 30, is_newest)
    [row] = page.unreadable
    assert "acml_vol" in row.reason
    assert b"many" in row.content


# --- tokens ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def issuing(handle):
    async with (
        serving(web.post("/oauth2/{call}", handle)) as address,
        open_client(f"http://{address}", RestSettings()) as client,
    ):
        yield KisIssuing(client, ManualClock(local_ns(DAY, 8, 1)))


async def test_token_and_approval_key_are_asked_for_under_their_different_names():
    seen = []

    async def handle(request):
        seen.append(await request.json())
        if request.match_info["call"] == "tokenP":
            ends = {"access_token_token_expired": "2026-11-21 08:01:00"}
            return web.json_response({"access_token": "token", "token_type": "Bearer", "expires_in": 86400, **ends})
        return web.json_response({"approval_key": "approval"})

    async with issuing(handle) as kis_issuing:
        token, approval_key = await kis_issuing.issue_token("k", "s"), await kis_issuing.issue_approval_key("k", "s")
    life = (local_ns(DAY, 8, 1), local_ns(date(2026, 11, 21), 8, 1))
    assert (token.access_token, token.issued_ns, token.expires_ns, approval_key) == ("token", *life, "approval")
    assert seen == [
        {"grant_type": "client_credentials", "appkey": "k", "appsecret": "s"},
        {"grant_type": "client_credentials", "appkey": "k", "secretkey": "s"},
    ]


async def test_a_second_issue_within_the_minute_is_reported_apart():
    async def handle(request):
        return web.json_response({"error_code": "EGW00133", "error_description": "once a minute"}, status=403)

    async with issuing(handle) as kis_issuing:
        with pytest.raises(TokenThrottledError, match="once a minute"):
            await kis_issuing.issue_token("k", "s")
