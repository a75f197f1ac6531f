"""The KIS calls, asked over real HTTP: paths, headers, paging, and each row once."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import date
from random import Random

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from observer.base.clock import ManualClock, ScaledClock
from observer.base.errors import BadRequestError, TokenThrottledError
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.brokers.domestic import VenueTrading
from observer.brokers.http import RestPipeline, open_client
from observer.brokers.kis import calls
from observer.brokers.kis.broker import BROKER
from observer.brokers.kis.client import KisClient
from observer.brokers.kis.envelope import KisRestDialect
from observer.brokers.kis.issuing import KisIssuing
from observer.brokers.settings import RestSettings
from tests.brokers.stand_ins import OpenRateLimiter, RenewingCredentials, serving
from tests.properties import examples

DAY = date(2026, 11, 20)
QUOTATIONS = "/uapi/domestic-stock/v1/quotations"


@asynccontextmanager
async def kis(path, answer):
    """A `KisClient` whose calls to one path are answered with what `answer(query, headers)` returns."""
    rate_limiter = OpenRateLimiter()

    async def handle(request):
        return web.json_response({"rt_cd": "0", "msg_cd": "MCA00000", **answer(request.query, request.headers)})

    async with (
        serving(web.get(f"{QUOTATIONS}/{path}", handle)) as address,
        open_client(f"http://{address}", RestSettings()) as client,
    ):
        pipeline = RestPipeline(
            client=client,
            dialect=KisRestDialect(),
            rate_limiter=rate_limiter,
            credentials=RenewingCredentials(),
            clock=ScaledClock(10**18, time.monotonic_ns(), 10_000.0),
            rng=Random(1),
            settings=RestSettings(),
        )
        yield KisClient(pipeline), rate_limiter


def hour_of(second):
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"


def at(second):
    return local_ns(DAY) + second * NS_PER_S


def conclusion_pages(trades):
    """KIS's time-and-sales over (second of the day, cumulative volume) pairs: 30 a page, newest first."""

    def answer(query, headers):
        rows = [row for row in trades if hour_of(row[0]) <= query["FID_INPUT_HOUR_1"]]
        newest = sorted(rows, key=lambda row: row[1], reverse=True)[:30]
        return {
            "output2": [
                {"stck_cntg_hour": hour_of(second), "stck_pbpr": "70000", "cnqn": "1", "acml_vol": str(total)}
                for second, total in newest
            ]
        }

    return answer


def trades_between(trades, first, last, **bounds):
    async def scenario():
        async with kis("inquire-time-itemconclusion", conclusion_pages(trades)) as (rest, rate_limiter):
            found = await rest.trades_between("005930", at(first), at(last), **bounds)
            return [trade.cumulative_volume for trade in found], rate_limiter.priorities

    return asyncio.run(scenario())


NINE = 9 * 3600


def test_quotes_ask_for_all_symbols_in_one_call():
    seen = {}

    def answer(query, headers):
        seen.update(query)
        seen["tr_id"], seen["bearer"] = headers["tr_id"], headers["authorization"]
        return {"output": [{"inter_shrn_iscd": "000660", "inter2_prpr": "100"}]}

    async def scenario():
        async with kis("intstock-multprice", answer) as (rest, rate_limiter):
            return await rest.quotes(["005930", "000660"]), rate_limiter.priorities

    quotes, priorities = asyncio.run(scenario())
    assert [quote.symbol for quote in quotes] == ["000660"]
    assert priorities == ["bulk"]
    assert seen == {
        "FID_COND_MRKT_DIV_CODE_1": "J",
        "FID_INPUT_ISCD_1": "005930",
        "FID_COND_MRKT_DIV_CODE_2": "J",
        "FID_INPUT_ISCD_2": "000660",
        "tr_id": "FHKST11300006",
        "bearer": "Bearer token 1",
    }


def quoted(lines):
    """The quotes of these lines from a KIS that knows all of them, and the pairs of each call."""
    calls = []

    def answer(query, headers):
        count = sum(name.startswith("FID_INPUT_ISCD_") for name in query)
        numbers = range(1, count + 1)
        calls.append([(query[f"FID_COND_MRKT_DIV_CODE_{n}"], query[f"FID_INPUT_ISCD_{n}"]) for n in numbers])
        volumes = {"J": "1000", "NX": "500"}
        return {
            "output": [
                {"inter_shrn_iscd": symbol, "inter2_prpr": "100", "acml_vol": volumes[division]}
                for division, symbol in reversed(calls[-1])
            ]
        }

    async def scenario():
        async with kis("intstock-multprice", answer) as (rest, _):
            return await rest.quotes(lines)

    return asyncio.run(scenario()), calls


def test_the_lines_of_a_call_each_have_the_division_code_of_their_venue():
    quotes, calls = quoted(["005930", "000660.NXT"])
    assert calls == [[("J", "005930"), ("NX", "000660")]]
    assert {(quote.symbol, quote.venue, quote.cumulative_volume) for quote in quotes} == {
        ("005930", "KRX", 1000.0),
        ("000660.NXT", "NXT", 500.0),
    }


def test_both_lines_of_a_stock_are_never_mistaken_since_a_row_names_the_symbol_alone():
    quotes, calls = quoted(["005930", "005930.NXT", "000660.NXT", "000660"])
    assert calls == [[("J", "005930"), ("NX", "000660")], [("NX", "005930"), ("J", "000660")]]
    assert {quote.symbol: (quote.venue, quote.cumulative_volume) for quote in quotes} == {
        "005930": ("KRX", 1000.0),
        "005930.NXT": ("NXT", 500.0),
        "000660": ("KRX", 1000.0),
        "000660.NXT": ("NXT", 500.0),
    }


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
        ("inquire-time-itemconclusion", lambda rest, line: rest.trades_between(line, at(NINE), at(NINE + 9))),
        ("inquire-time-itemchartprice", lambda rest, line: rest.minute_bars(line, at(NINE), at(NINE + 9))),
        ("inquire-time-dailychartprice", lambda rest, line: rest.past_minute_bars(line, at(NINE), at(NINE + 9))),
        ("inquire-daily-itemchartprice", lambda rest, line: rest.daily_bars(line, DAY, DAY)),
    ],
)
def test_a_line_is_asked_of_its_venue_and_its_rows_say_so(path, ask, line, division, venue):
    seen = []
    row = {"stck_bsop_date": "20261120", "stck_cntg_hour": "090000", "stck_prpr": "1", "cnqn": "1", "acml_vol": "1"}

    def answer(query, headers):
        seen.append((query["FID_COND_MRKT_DIV_CODE"], query["FID_INPUT_ISCD"]))
        return {"output2": [row]}

    async def scenario():
        async with kis(path, answer) as (rest, _):
            return await ask(rest, line)

    [found] = asyncio.run(scenario())
    assert set(seen) == {(division, "005930")}
    assert (found.symbol, found.venue) == (line, venue)


def test_a_line_of_a_venue_that_kis_does_not_serve_is_refused_before_any_call():
    with pytest.raises(BadRequestError, match=r"005930.XYZ: KIS serves no venue 'XYZ'; there are KRX, NXT"):
        quoted(["005930.XYZ"])


def test_the_paper_host_is_asked_for_one_line_at_a_time():
    seen = []

    def answer(query, headers):
        seen.append((query["FID_COND_MRKT_DIV_CODE"], query["FID_INPUT_ISCD"]))
        return {"output": {"stck_shrn_iscd": "005930", "stck_prpr": "100"}}

    async def scenario():
        async with kis("inquire-price", answer) as (rest, _):
            return await KisClient(rest._pipeline, single_quotes=True).quotes(["005930", "005930.NXT"])

    quotes = asyncio.run(scenario())
    assert seen == [("J", "005930"), ("NX", "005930")]
    assert [(quote.symbol, quote.venue) for quote in quotes] == [("005930", "KRX"), ("005930.NXT", "NXT")]


@pytest.mark.parametrize(
    ("tradable", "stopped", "trades"), [("Y", "N", True), ("Y", "Y", False), ("N", "N", False), ("", "", False)]
)
def test_a_stock_trades_at_nxt_where_its_basic_data_say_so_and_not_that_it_is_stopped(tradable, stopped, trades):
    def answer(query, headers):
        return {"output": {"pdno": query["PDNO"], "cptt_trad_tr_psbl_yn": tradable, "nxt_tr_stop_yn": stopped}}

    async def scenario():
        async with kis("search-stock-info", answer) as (rest, rate_limiter):
            return await rest.venue_eligibility(["005930", "000660"]), rate_limiter.priorities

    found, priorities = asyncio.run(scenario())
    assert found == [VenueTrading("005930", "NXT", trades), VenueTrading("000660", "NXT", trades)]
    assert priorities == ["bulk"] * 2


def test_past_trades_come_over_many_pages_oldest_first_each_once():
    trades = [(NINE + number // 3, number + 1) for number in range(200)]
    found, priorities = trades_between(trades, NINE, NINE + 100)
    assert found == [float(total) for _, total in trades]
    assert set(priorities) == {"urgent"}


def test_past_trades_are_cut_to_the_seconds_asked_for():
    trades = [(NINE + number, number + 1) for number in range(100)]
    found, priorities = trades_between(trades, NINE + 50, NINE + 52)
    assert found == [51.0, 52.0, 53.0]
    assert len(priorities) == 1


def test_a_second_with_more_trades_than_a_page_does_not_stop_the_way_back():
    trades = [(NINE, 1), *[(NINE + 1, 2 + number) for number in range(45)], (NINE + 2, 100)]
    found, _ = trades_between(trades, NINE, NINE + 2)
    assert found[0] == 1.0
    assert found[-1] == 100.0
    assert len(found) == 32


def test_the_way_back_ends_with_the_page_that_reaches_the_known_volume():
    trades = [(NINE + number, number + 1) for number in range(100)]
    found, priorities = trades_between(trades, NINE, NINE + 100, after_volume=60.0)
    assert found[0] <= 61
    assert found[-1] == 100
    assert len(priorities) == 2


def test_the_way_back_ends_with_the_page_that_has_enough_rows():
    trades = [(NINE + number, number + 1) for number in range(200)]
    found, priorities = trades_between(trades, NINE, NINE + 200, rows_max=60)
    assert len(found) >= 60, "trades that two pages have count once"
    assert found[-1] == 200
    assert len(priorities) == 3


def test_a_symbol_without_trades_has_none():
    assert trades_between([], NINE, NINE + 10) == ([], ["urgent"])


@examples(0.3)
@given(st.lists(st.integers(0, 60), max_size=150), st.integers(0, 60), st.integers(0, 60))
def test_past_trades_are_exactly_those_of_the_interval(seconds, first, length):
    trades = [(NINE + second, number + 1) for number, second in enumerate(sorted(seconds))]
    crowded = any(seconds.count(second) > 29 for second in seconds)
    found, _ = trades_between(trades, NINE + first, NINE + first + length)
    expected = [float(total) for second, total in trades if first <= second - NINE <= first + length]
    assert found == expected or crowded


def test_minute_bars_are_paged_and_carry_their_own_value():
    def answer(query, headers):
        minutes = [m for m in range(100) if hour_of(NINE + 60 * m) <= query["FID_INPUT_HOUR_1"]]
        return {
            "output2": [
                {
                    "stck_bsop_date": "20261120",
                    "stck_cntg_hour": hour_of(NINE + 60 * minute),
                    "stck_prpr": "1",
                    "cntg_vol": "5",
                    "acml_tr_pbmn": str((minute + 1) * 10),
                }
                for minute in sorted(minutes, reverse=True)[:30]
            ]
        }

    async def scenario():
        async with kis("inquire-time-itemchartprice", answer) as (rest, _):
            return await rest.minute_bars("005930", at(NINE + 600), at(NINE + 60 * 70))

    bars = asyncio.run(scenario())
    assert [bar.start_ns for bar in bars] == [at(NINE + 60 * minute) for minute in range(10, 71)]
    assert {bar.value for bar in bars} == {10.0}


def test_daily_bars_are_asked_for_as_traded():
    seen = {}

    def answer(query, headers):
        seen.update(query)
        return {
            "output1": {},
            "output2": [{"stck_bsop_date": "20261119", "stck_clpr": "9"}, {"stck_bsop_date": "20261030"}, {}],
        }

    async def scenario():
        async with kis("inquire-daily-itemchartprice", answer) as (rest, _):
            return await rest.daily_bars("005930", date(2026, 11, 1), DAY)

    (bar,) = asyncio.run(scenario())
    assert (bar.close, bar.start_ns) == (9.0, local_ns(date(2026, 11, 19)))
    assert (seen["FID_INPUT_DATE_1"], seen["FID_INPUT_DATE_2"]) == ("20261101", "20261120")
    assert (seen["FID_ORG_ADJ_PRC"], seen["FID_PERIOD_DIV_CODE"]) == ("1", "D")


@asynccontextmanager
async def issuing(handle):
    async with (
        serving(web.post("/oauth2/{call}", handle)) as address,
        open_client(f"http://{address}", RestSettings()) as client,
    ):
        yield KisIssuing(client, ManualClock(local_ns(DAY, 8, 1)))


def test_token_and_approval_key_are_asked_for_under_their_different_names():
    seen = []

    async def handle(request):
        seen.append(await request.json())
        if request.match_info["call"] == "tokenP":
            ends = {"access_token_token_expired": "2026-11-21 08:01:00"}
            return web.json_response({"access_token": "token", "token_type": "Bearer", "expires_in": 86400, **ends})
        return web.json_response({"approval_key": "approval"})

    async def scenario():
        async with issuing(handle) as kis_issuing:
            return await kis_issuing.issue_token("k", "s"), await kis_issuing.issue_approval_key("k", "s")

    token, approval_key = asyncio.run(scenario())
    assert (token.access_token, token.issued_ns, token.expires_ns, approval_key) == (
        "token",
        local_ns(DAY, 8, 1),
        local_ns(date(2026, 11, 21), 8, 1),
        "approval",
    )
    assert seen == [
        {"grant_type": "client_credentials", "appkey": "k", "appsecret": "s"},
        {"grant_type": "client_credentials", "appkey": "k", "secretkey": "s"},
    ]


def test_a_second_issue_within_the_minute_is_reported_apart():
    async def handle(request):
        return web.json_response({"error_code": "EGW00133", "error_description": "once a minute"}, status=403)

    async def scenario():
        async with issuing(handle) as kis_issuing:
            await kis_issuing.issue_token("k", "s")

    with pytest.raises(TokenThrottledError, match="once a minute"):
        asyncio.run(scenario())


def test_a_page_of_trades_is_one_background_call_up_to_the_end_of_its_second():
    trades = [(NINE + number // 3, float(number + 1)) for number in range(100)]

    async def scenario():
        async with kis("inquire-time-itemconclusion", conclusion_pages(trades)) as (rest, rate_limiter):
            page = await rest.trades_page("005930", at(NINE + 20))
            before = await rest.trades_page("005930", at(NINE - 1))
            return page, before, rate_limiter.priorities

    page, before, priorities = asyncio.run(scenario())
    assert BROKER.time_and_sales.page_trades == calls.TRADES.paging.rows_per_page == page.trades
    assert [row.cumulative_volume for row in page.rows] == [float(number) for number in range(34, 64)]
    assert before.trades == 0
    assert priorities == ["background"] * 2


@pytest.mark.parametrize(("number", "is_newest"), [(0, True), (7, False)])
def test_an_unreadable_row_of_a_page_of_trades_stands_apart(number, is_newest):
    trades = [(NINE + number, float(number + 1)) for number in range(40)]

    def answer(query, headers):
        found = conclusion_pages(trades)(query, headers)
        found["output2"][number]["acml_vol"] = "many"
        return found

    async def scenario():
        async with kis("inquire-time-itemconclusion", answer) as (rest, _):
            return await rest.trades_page("005930", at(NINE + 100))

    page = asyncio.run(scenario())
    assert (len(page.rows), page.trades, page.is_newest_unreadable) == (29, 30, is_newest)
    [row] = page.unreadable
    assert "acml_vol" in row.reason
    assert b"many" in row.content


def test_a_page_of_the_day_before_is_an_empty_one():
    at_nine = [(NINE, 1.0)]

    async def scenario():
        async with kis("inquire-time-itemconclusion", conclusion_pages(at_nine)) as (rest, _):
            return await rest.trades_page("005930", at(NINE - 1))

    assert asyncio.run(scenario()).trades == 0
