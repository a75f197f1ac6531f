"""A foreign client: python-kis from PyPI, with only its base addresses changed, works with the simulator."""

import asyncio
from datetime import date

import pytest

from observer.clock import ManualClock
from observer.local_time import local_ns
from observer.simulator.kis.simulator import Simulator
from tests.simulator.simulator_client import settings
from tests.waiting import until_async

pykis = pytest.importorskip("pykis", reason="python-kis is not installed (pip install python-kis: extra `judges`)")

# python-kis judges a token's expiry by the machine's own clock, so the day must not be over yet.
FUTURE_DAY = "2035-11-21"
APP_KEY, APP_SECRET = "K" * 36, "S" * 180


def test_python_kis_gets_a_token_a_quote_and_streamed_trades(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        # It knows the 46 documented fields only, and refuses the records of 47 that were seen in 2026.
        wire = {"session_date": FUTURE_DAY, "app_keys": {APP_KEY: APP_SECRET}, "trade_fields": 46}
        clock = ManualClock(local_ns(date.fromisoformat(FUTURE_DAY), 10))
        simulator = Simulator(settings(**wire), clock)
        await simulator.start()
        try:
            monkeypatch.setattr("pykis.kis.REAL_DOMAIN", simulator.rest_url)
            monkeypatch.setattr("pykis.client.websocket.WEBSOCKET_REAL_DOMAIN", simulator.stream_url)
            await judge(simulator, clock)
        finally:
            await simulator.stop()

    asyncio.run(test())


async def judge(simulator: Simulator, clock: ManualClock) -> None:
    market = simulator.market
    symbol = max((i.symbol for i in market.instruments), key=lambda s: len(market.tape(s)))
    kis = pykis.PyKis(id="judge", account="00000000-01", appkey=APP_KEY, secretkey=APP_SECRET)
    stock = await asyncio.to_thread(kis.stock, symbol)
    quote = await asyncio.to_thread(stock.quote)
    state = market.state_at(symbol, clock.now_ns())
    assert (int(quote.price), quote.volume) == (state.price, state.cumulative_volume)
    seen: list[tuple[int, int]] = []
    ticket = await asyncio.to_thread(
        stock.on, "price", lambda sender, e: seen.append((int(e.response.price), e.response.volume))
    )
    await until_async(lambda: simulator.counters().subscriptions, "its registration")
    await clock.advance(600)
    expected = [
        (trade.price, trade.cumulative_volume)
        for trade in market.offered(symbol)
        if state.cumulative_volume < trade.cumulative_volume and trade.exchange_time_ns <= clock.now_ns()
    ]
    await until_async(lambda: len(seen) >= len(expected), "all trades")
    await asyncio.to_thread(ticket.unsubscribe)
    await asyncio.to_thread(kis.websocket.disconnect)
    assert seen == expected
    assert expected
    assert simulator.counters().requests["tokenP"] == 1
