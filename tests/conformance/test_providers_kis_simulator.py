"""Two witnesses of the same reference: the provider's doors, asked of the simulator, tell one consistent market."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import date, timedelta
from random import Random

import msgspec
import pytest

from observer.clock import ManualClock, kst_datetime, kst_ns
from observer.providers.http import RestPipeline, open_client
from observer.providers.interfaces import Credentials
from observer.providers.kis.calls import KisIssuing, KisRest, KisRestDialect
from observer.providers.kis.doors import KisFunds, KisInstruments, KisMarket, KisOverseas, KisSessions, KisSymbols
from observer.providers.settings import RestSettings
from observer.simulator.overseas import LISTINGS
from observer.simulator.settings import SimulatorSettings
from observer.simulator.simulator import Simulator
from tests.providers.stand_ins import OpenPermits

DAY = date(2026, 11, 18)  # a Wednesday
NOW_NS = kst_ns(DAY, 14)
SETTINGS = SimulatorSettings(
    seed=7, session_date=DAY.isoformat(), symbols=60, app_keys={"key": "secret"}, rest_limit_per_s=100_000
)
ABROAD = (LISTINGS[0].exchange.order_code, LISTINGS[0].symbol)


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
            pipeline = RestPipeline(
                client=client,
                dialect=KisRestDialect(),
                permits=OpenPermits(),
                credentials=Issued(Credentials("key", "secret", token.access_token, approval_key)),
                clock=clock,
                chance=Random(1),
                settings=RestSettings(attempts_max=1),
            )
            yield pipeline, simulator.market
    finally:
        await simulator.stop()


@pytest.fixture(scope="module")
def told():
    """Runs a scenario against the one simulator of this file: a pipeline, and the market behind it."""
    with asyncio.Runner() as runner:
        simulator = pipeline_to_a_simulator()
        pipeline, market = runner.run(simulator.__aenter__())
        yield lambda scenario: runner.run(scenario(pipeline, market))
        runner.run(simulator.__aexit__(None, None, None))


def liveliest(market):
    return max((each.symbol for each in market.instruments), key=lambda symbol: len(market.tape(symbol)))


def a_fund(market):
    return next(each.symbol for each in market.instruments if each.group == "EF")


def test_who_is_halted_can_be_asked():
    async def scenario():
        clock = ManualClock(kst_ns(DAY, 8))
        async with pipeline_to_a_simulator(msgspec.structs.replace(SETTINGS, symbols=120), clock) as (pipeline, market):
            halts = {i.symbol: market.halts(i.symbol) for i in market.instruments}
            symbol, halt = next((s, h) for s in halts for h in halts[s] if h.reason == "disclosure")
            asked = []
            for moment_ns in (halt.start_ns - 1, halt.start_ns, halt.end_ns - 1, halt.end_ns):
                await clock.advance((moment_ns - clock.now_ns()) / 1e9)
                asked.append(await KisRest(pipeline).is_halted(symbol))
            return asked, await KisRest(pipeline).is_halted("999999")

    assert asyncio.run(scenario()) == ([False, True, True, False], None)


def test_a_symbols_detail_its_quote_and_its_trades_agree(told):
    async def scenario(pipeline, market):
        symbol = liveliest(market)
        [quote] = await KisRest(pipeline).quotes([symbol])
        trades = await KisRest(pipeline).trades_between(symbol, NOW_NS - 3600 * 10**9, NOW_NS)
        door = KisSymbols(pipeline)
        return quote, await door.quote_detail(symbol), await door.latest_trades(symbol, DAY), trades

    quote, detail, latest, trades = told(scenario)
    for name in ("symbol", "price", "open", "high", "low", "upper_limit", "lower_limit", "cumulative_volume"):
        assert getattr(detail, name) == getattr(quote, name), name
    assert detail.price - detail.base_price == pytest.approx(detail.change)
    assert latest[-1].price == detail.price
    assert [trade.exchange_time_ns for trade in latest] == sorted(trade.exchange_time_ns for trade in latest)
    newest = [(trade.exchange_time_ns, trade.price, trade.volume) for trade in latest[-5:]]
    assert newest == [(trade.exchange_time_ns, trade.price, trade.volume) for trade in trades[-5:]]


def test_the_days_of_the_calendar_open_from_monday_to_friday(told):
    first, last = date(2026, 11, 16), date(2026, 12, 31)
    days = told(lambda pipeline, _: KisSessions(pipeline).sessions(first, last))
    assert [session.day for session in days] == [first + timedelta(number) for number in range((last - first).days + 1)]
    assert not any(session.opens for session in days if session.day.weekday() > 4)
    assert next(session for session in days if session.day == DAY).opens


def test_a_stock_is_what_the_master_file_says(told):
    async def scenario(pipeline, market):
        instrument = next(each for each in market.instruments if each.group == "ST")
        door = KisInstruments(pipeline)
        symbol = instrument.symbol
        return instrument, await door.stock_information(symbol), await door.product_information(symbol)

    instrument, stock, product = told(scenario)
    assert (stock.isin, stock.group, stock.listed_shares) == (
        instrument.isin,
        instrument.group,
        instrument.listed_shares_thousands * 1_000,
    )
    assert stock.listed_on.strftime("%Y%m%d") == instrument.listed_on
    assert product.isin == instrument.isin


def test_rankings_fall_from_the_first_place(told):
    async def scenario(pipeline, _):
        door = KisMarket(pipeline)
        return await door.ranking_by_volume(), await door.ranking_by_market_cap()

    by_volume, by_market_cap = told(scenario)
    assert [place.rank for place in by_volume] == list(range(1, len(by_volume) + 1))
    volumes = [place.cumulative_volume for place in by_volume]
    capitalisations = [place.market_cap_krw for place in by_market_cap]
    assert volumes == sorted(volumes, reverse=True)
    assert capitalisations == sorted(capitalisations, reverse=True)
    assert len(by_volume) == len(by_market_cap) == 30


def test_interruptions_are_of_today_and_end_after_they_began(told):
    interruptions = told(lambda pipeline, _: KisMarket(pipeline).volatility_interruptions(DAY))
    for each in interruptions:
        assert kst_datetime(each.triggered_ns).date() == DAY
        assert each.released_ns is None or each.released_ns > each.triggered_ns
        assert each.kind != "unknown"


def test_the_minutes_of_a_past_day_add_up_to_its_daily_bar(told):
    async def scenario(pipeline, market):
        symbol, yesterday = liveliest(market), DAY - timedelta(1)
        [day] = await KisRest(pipeline).daily_bars(symbol, yesterday, yesterday)
        return day, await KisRest(pipeline).past_minute_bars(symbol, kst_ns(yesterday), kst_ns(yesterday, 23, 59))

    day, minutes = told(scenario)
    assert {kst_datetime(bar.start_ns).date() for bar in minutes} == {DAY - timedelta(1)}
    assert sum(bar.volume for bar in minutes) == day.volume
    assert max(bar.high for bar in minutes) == day.high
    assert minutes[-1].close == day.close


def test_a_funds_premium_is_its_price_over_its_nav(told):
    async def scenario(pipeline, market):
        door, symbol = KisFunds(pipeline), a_fund(market)
        quote, comparison = await door.fund_quote(symbol), await door.nav_comparison(symbol)
        return quote, comparison, await door.nav_minutes(symbol, DAY), await door.fund_holdings(symbol)

    quote, comparison, minutes, holdings = told(scenario)
    assert quote.premium_percent == pytest.approx((quote.price / quote.nav - 1) * 100, abs=0.02)
    assert (comparison.price, comparison.nav) == (quote.price, quote.nav)
    assert (minutes[-1].price, minutes[-1].nav) == (quote.price, quote.nav)
    assert holdings.component_count >= len(holdings.components) > 0
    assert 0 < sum(component.weight_percent for component in holdings.components) <= 100.5


def test_a_funds_days_are_those_asked_for(told):
    first, last = DAY - timedelta(90), DAY - timedelta(1)
    days = told(lambda pipeline, market: KisFunds(pipeline).nav_days(a_fund(market), first, last))
    assert len(days) > 40
    assert first <= days[0].day < days[-1].day <= last
    for each in days:
        assert each.premium_percent == pytest.approx((each.close / each.nav - 1) * 100, abs=0.02)


def test_a_security_abroad_is_told_alike_by_all_its_calls(told):
    async def scenario(pipeline, _):
        door = KisOverseas(pipeline)
        bars = await door.overseas_daily_bars(*ABROAD, DAY - timedelta(250), DAY)
        detail, instrument = await door.overseas_quote_detail(*ABROAD), await door.overseas_instrument(*ABROAD)
        return await door.overseas_quote(*ABROAD), detail, bars, instrument

    quote, detail, bars, instrument = told(scenario)
    assert (detail.price, detail.previous_close) == (quote.price, quote.previous_close)
    assert len(bars) > 150  # two pages
    assert [bar.day for bar in bars] == sorted({bar.day for bar in bars})
    assert instrument.currency == detail.currency == LISTINGS[0].exchange.currency
    assert instrument.listed


@pytest.mark.parametrize(
    "ask",
    [
        lambda pipeline: KisSymbols(pipeline).quote_detail("999999"),
        lambda pipeline: KisFunds(pipeline).fund_quote("999999"),
        lambda pipeline: KisFunds(pipeline).fund_holdings("999999"),
        lambda pipeline: KisOverseas(pipeline).overseas_quote("NASD", "NOSUCH"),
        lambda pipeline: KisOverseas(pipeline).overseas_instrument("NASD", "NOSUCH"),
        lambda pipeline: KisInstruments(pipeline).stock_information("999999"),
        lambda pipeline: KisInstruments(pipeline).product_information("999999"),
    ],
    ids=["quote", "fund", "holdings", "abroad", "instrument", "stock", "product"],
)
def test_what_the_broker_does_not_know_is_nothing(told, ask):
    assert told(lambda pipeline, _: ask(pipeline)) is None
