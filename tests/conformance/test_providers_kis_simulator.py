"""Two statements of the same reference: the client's calls, sent to the simulator, describe one consistent market."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import date, timedelta

import msgspec
import pytest

from observer.base.clock import ManualClock
from observer.base.local_time import local_datetime, local_ns
from observer.brokers.broker import Credentials
from observer.brokers.http import open_client
from observer.brokers.kis import calls
from observer.brokers.kis.client import KisClient
from observer.brokers.kis.issuing import KisIssuing
from observer.brokers.settings import RestSettings
from observer.simulator.kis.listings import LISTINGS
from observer.simulator.kis.simulator import Simulator
from observer.simulator.settings import SimulatorSettings
from tests.brokers.stand_ins import pipeline_at

DAY = date(2026, 11, 18)  # a Wednesday
NOW_NS = local_ns(DAY, 14)
SETTINGS = SimulatorSettings(
    seed=7, session_date=DAY.isoformat(), symbols=60, app_keys={"key": "secret"}, rest_limit_per_s=100_000
)
ABROAD = {"exchange": LISTINGS[0].exchange, "symbol": LISTINGS[0].symbol}


class Issued:
    """Credentials that the simulator issued."""

    def __init__(self, credentials):
        self._credentials = credentials

    async def current(self):
        return self._credentials

    async def reject(self, used):
        raise AssertionError(f"the simulator refused {used} at {time.monotonic()}")


@asynccontextmanager
async def pipeline_to_a_simulator(settings=SETTINGS, clock=None):
    clock = clock or ManualClock(NOW_NS)
    simulator = Simulator(settings, clock)
    await simulator.start()
    try:
        async with open_client(simulator.rest_url, RestSettings()) as client:
            issuing = KisIssuing(client, clock)
            token = await issuing.issue_token("key", "secret")
            approval_key = await issuing.issue_approval_key("key", "secret")
        credentials = Issued(Credentials("key", "secret", token.access_token, approval_key))
        settings = RestSettings(attempts_max=1)
        async with pipeline_at(simulator.rest_url, settings, credentials=credentials, clock=clock) as (pipeline, _):
            yield pipeline, simulator.market
    finally:
        await simulator.stop()


@pytest.fixture(scope="module")
def reported():
    """Runs a scenario against the one simulator of this file: a pipeline, and the market behind it."""
    with asyncio.Runner() as runner:
        simulator = pipeline_to_a_simulator()
        pipeline, market = runner.run(simulator.__aenter__())
        yield lambda scenario: runner.run(scenario(pipeline, market))
        runner.run(simulator.__aexit__(None, None, None))


def liveliest(market):
    return max((each.symbol for each in market.instruments), key=lambda symbol: len(market.tape(symbol)))


def a_etf(market):
    return next(each.symbol for each in market.instruments if each.group == "EF")


def test_the_client_reports_whether_a_symbol_is_halted():
    async def scenario():
        clock = ManualClock(local_ns(DAY, 8))
        async with pipeline_to_a_simulator(msgspec.structs.replace(SETTINGS, symbols=120), clock) as (pipeline, market):
            halts = {i.symbol: market.halts(i.symbol) for i in market.instruments}
            symbol, halt = next((s, h) for s in halts for h in halts[s] if h.reason == "disclosure")
            asked = []
            for moment_ns in (halt.start_ns - 1, halt.start_ns, halt.end_ns - 1, halt.end_ns):
                await clock.advance((moment_ns - clock.now_ns()) / 1e9)
                asked.append(await KisClient(pipeline).is_halted(symbol))
            return asked, await KisClient(pipeline).is_halted("999999")

    assert asyncio.run(scenario()) == ([False, True, True, False], None)


def test_a_symbols_detail_its_quote_and_its_trades_agree(reported):
    async def scenario(pipeline, market):
        symbol = liveliest(market)
        [quote] = await KisClient(pipeline).quotes([symbol])
        trades = await KisClient(pipeline).trades_between(symbol, NOW_NS - 3600 * 10**9, NOW_NS)
        detail = await KisClient(pipeline).fetch_one(calls.QUOTE_DETAIL, {"symbol": symbol})
        return quote, detail, trades

    quote, detail, trades = reported(scenario)
    for name in ("symbol", "price", "open", "high", "low", "upper_limit", "lower_limit", "cumulative_volume"):
        assert getattr(detail, name) == getattr(quote, name), name
    assert detail.price - detail.base_price == pytest.approx(detail.change)
    assert trades[-1].price == detail.price


def test_the_days_of_the_calendar_open_from_monday_to_friday(reported):
    first, last = date(2026, 11, 16), date(2026, 12, 31)
    days = reported(lambda pipeline, _: KisClient(pipeline).sessions(first, last))
    assert [session.day for session in days] == [first + timedelta(number) for number in range((last - first).days + 1)]
    assert not any(session.opens for session in days if session.day.weekday() > 4)
    assert next(session for session in days if session.day == DAY).opens


def test_the_stock_call_agrees_with_the_master_file(reported):
    async def scenario(pipeline, market):
        instrument = next(each for each in market.instruments if each.group == "ST")
        return instrument, await KisClient(pipeline).fetch_one(calls.STOCK, {"symbol": instrument.symbol})

    instrument, stock = reported(scenario)
    shares = instrument.listed_shares_thousands * 1_000
    assert (stock.isin, stock.group, stock.listed_shares) == (instrument.isin, instrument.group, shares)
    assert stock.listed_on.strftime("%Y%m%d") == instrument.listed_on


def both_venues(scenario):
    """The outcome of `scenario(client, market)` at a simulator of both venues."""

    async def played():
        settings = msgspec.structs.replace(SETTINGS, symbols=40, trades_times=0.2, venues=("KRX", "NXT"))
        clock = ManualClock(local_ns(DAY, 18))
        async with pipeline_to_a_simulator(settings, clock) as (pipeline, market):
            return await scenario(KisClient(pipeline), market)

    return asyncio.run(played())


def test_the_stocks_that_trade_at_nxt_are_those_that_the_market_trades_there():
    async def scenario(client, market):
        symbols = [each.symbol for each in market.instruments]
        return symbols, await client.venue_eligibility([*symbols, "999999"]), market

    symbols, found, market = both_venues(scenario)
    assert [(each.symbol, each.venue) for each in found] == [(symbol, "NXT") for symbol in symbols]
    trading = {each.symbol for each in found if each.trades}
    assert trading == {symbol for symbol in symbols if len(market.view("NXT").tape(symbol))}
    assert 0 < len(trading) < len(symbols)


def test_each_line_is_answered_with_the_quotes_trades_and_bars_of_its_venue():
    async def scenario(client, market):
        nxt = market.view("NXT")
        stock = max((each.symbol for each in nxt.instruments), key=lambda symbol: len(nxt.tape(symbol)))
        lines = {stock: market.view("KRX"), f"{stock}.NXT": nxt}
        quotes = {quote.symbol: quote for quote in await client.quotes([*lines])}
        for line, view in lines.items():
            tape, until_ns = view.tape(stock), local_ns(DAY, 18)
            volumes = [float(volume) for volume in tape.volume_after[: tape.count_until(until_ns)]]
            assert quotes[line].cumulative_volume == volumes[-1]
            trades = await client.trades_between(line, local_ns(DAY, 8), until_ns)
            assert [trade.cumulative_volume for trade in trades] == volumes
            minutes = await client.minute_bars(line, local_ns(DAY, 8), until_ns)
            assert sum(bar.volume for bar in minutes) == volumes[-1]
            [day] = await client.daily_bars(line, DAY, DAY)
            assert day.volume == volumes[-1]
            assert {each.symbol for each in (*trades, *minutes, day)} == {line}
            assert {each.venue for each in (*trades, *minutes, day, quotes[line])} == {view.name}

    both_venues(scenario)


def test_the_minutes_of_a_past_day_add_up_to_its_daily_bar(reported):
    async def scenario(pipeline, market):
        symbol, yesterday = liveliest(market), DAY - timedelta(1)
        [day] = await KisClient(pipeline).daily_bars(symbol, yesterday, yesterday)
        return day, await KisClient(pipeline).past_minute_bars(symbol, local_ns(yesterday), local_ns(yesterday, 23, 59))

    day, minutes = reported(scenario)
    assert {local_datetime(bar.start_ns).date() for bar in minutes} == {DAY - timedelta(1)}
    assert sum(bar.volume for bar in minutes) == day.volume
    assert max(bar.high for bar in minutes) == day.high
    assert minutes[-1].close == day.close


def test_an_etfs_premium_is_its_price_over_its_nav(reported):
    quote = reported(lambda pipeline, market: KisClient(pipeline).etf_quote(a_etf(market)))
    assert quote.premium_percent == pytest.approx((quote.price / quote.nav - 1) * 100, abs=0.02)


def test_the_nav_days_of_an_etf_cover_the_requested_range(reported):
    first, last = DAY - timedelta(90), DAY - timedelta(1)
    days = reported(lambda pipeline, market: KisClient(pipeline).nav_days(a_etf(market), first, last))
    assert len(days) > 40
    assert first <= days[0].day < days[-1].day <= last
    for each in days:
        assert each.premium_percent == pytest.approx((each.close / each.nav - 1) * 100, abs=0.02)


def test_a_security_abroad_is_reported_as_it_is_listed(reported):
    found = reported(lambda pipeline, _: KisClient(pipeline).fetch_one(calls.OVERSEAS_INSTRUMENT, ABROAD))
    assert (found.currency, found.name, found.listed) == (LISTINGS[0].currency, LISTINGS[0].name, True)


@pytest.mark.parametrize(
    ("call", "asked"),
    [
        (calls.QUOTE_DETAIL, {"symbol": "999999"}),
        (calls.ETF_QUOTE, {"symbol": "999999"}),
        (calls.OVERSEAS_INSTRUMENT, {"exchange": "NASD", "symbol": "NOSUCH"}),
        (calls.STOCK, {"symbol": "999999"}),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_call_for_an_unknown_symbol_returns_none(reported, call, asked):
    assert reported(lambda pipeline, _: KisClient(pipeline).fetch_one(call, asked)) is None
