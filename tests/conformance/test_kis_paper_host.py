"""The host for practice: recognised by its name, swept symbol by symbol, and reported with what it lacks."""

import asyncio

import pytest

from observer.base.errors import BadRequestError
from observer.brokers.broker import Credentials, broker_named
from observer.brokers.kis import calls
from observer.brokers.kis.broker import KisRateLimit, KisSettings
from observer.brokers.kis.client import KisClient
from observer.brokers.settings import RestSettings
from tests.brokers.stand_ins import pipeline_at
from tests.simulator.simulator_client import APP_KEYS, at, running

PAPER_URL = "https://openapivts.koreainvestment.com:29443"


class Holding:
    """The simulator's token."""

    def __init__(self, token):
        self._credentials = Credentials("first", APP_KEYS["first"], token, "")

    async def current(self):
        return self._credentials

    async def reject(self, used):
        raise AssertionError(f"{used} is a good one")


def on_paper(test):
    async def run():
        async with running(at(10), symbols=120, paper=True) as client:
            parts = {"credentials": Holding(client.token), "clock": client.clock}
            settings = RestSettings(attempts_max=1)
            async with pipeline_at(client.simulator.rest_url, settings, **parts) as (pipeline, _):
                await test(client, KisClient(pipeline, single_quotes=True), client.clock)

    asyncio.run(run())


@pytest.mark.slow
def test_a_sweep_of_the_paper_host_asks_one_symbol_a_call_and_equals_the_market():
    async def test(client, kis, clock):
        assert kis.quotes_per_call == 1
        for symbol in (client.liveliest, "005930"):
            await clock.advance(1)
            [quote] = await kis.quotes([symbol])
            state = client.simulator.market.state_at(symbol, clock.now_ns())
            assert (quote.symbol, quote.price, quote.cumulative_volume) == (
                symbol,
                state.price,
                state.cumulative_volume,
            )
            assert (quote.bid, quote.ask) == (None, None)
        await clock.advance(1)
        assert await kis.quotes(["999999"]) == []

    on_paper(test)


def test_a_call_that_the_paper_host_lacks_is_refused_for_good_with_the_remedy():
    async def test(client, kis, clock):
        await clock.advance(1)
        with pytest.raises(BadRequestError, match=r"EGW00213.*rest_url") as refused:
            await kis.fetch(calls.QUOTES, {"symbols": [client.liveliest]})
        assert not refused.value.retry

    on_paper(test)


def test_the_paper_host_is_known_by_its_name_and_reported():
    real, paper = KisSettings(), KisSettings(rest_url=PAPER_URL)
    assert (real.is_paper, real.lacking, real.notice) == (False, frozenset(), "")
    assert (paper.is_paper, paper.lacking) == (True, {"sessions"})
    assert paper.lacking <= broker_named("kis").capabilities
    assert "1 call a second" in paper.notice
    assert paper.stream_url == "ws://ops.koreainvestment.com:31000/tryitout"
    assert KisSettings(rest_url=PAPER_URL, stream_url="ws://127.0.0.1:1").stream_url == "ws://127.0.0.1:1"
    assert KisSettings(rest_url="http://127.0.0.1:1", paper=True).is_paper
    assert not KisSettings(rest_url=PAPER_URL, paper=False).is_paper


def test_the_paper_hosts_rate_is_at_most_a_call_a_second():
    assert KisSettings(rest_url=PAPER_URL).rate_limit.calls_per_second == 1.0
    slower = KisRateLimit(calls_per_second=0.5)
    assert KisSettings(rest_url=PAPER_URL, rate_limit=slower).rate_limit == slower
    assert KisSettings().rate_limit == KisRateLimit(calls_per_second=18.0, calls_per_minute=1000.0)
