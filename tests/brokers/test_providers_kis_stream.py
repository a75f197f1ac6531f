"""The stream client against the simulated broker, which knows nothing of its tables: all kinds of records, limits."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

from bus.events import ExpectedPrice, MarketStateChanged, NavObserved, OrderBook
from observer.brokers.broker import Credentials
from observer.brokers.kis.session import KisSession
from observer.brokers.stream_settings import StreamSettings
from observer.brokers.websocket import TradeStreamConnection
from tests.simulator.simulator_client import at, running
from tests.simulator.test_simulator_venue_streams import BOTH, traded_by_both
from tests.waiting import until_async

EVERY_KIND = ("trades", "order_book", "expected_price", "market_state", "nav")


class Received:
    """Keeps what came."""

    def __init__(self):
        self.trades, self.facts, self.broken, self.states, self.gone = [], [], [], [], []

    def on_trades(self, trades):
        self.trades += trades

    def on_facts(self, facts):
        self.facts += facts

    def on_requested(self, symbol, *, removal=False):
        pass

    def on_subscribed(self, symbol):
        pass

    def on_unsubscribed(self, symbol, reason, since_ns=None):
        self.gone.append((symbol, reason))

    def on_connection(self, change):
        self.states.append(change.state)

    def on_quarantine(self, item, unread):
        self.broken.append(item)

    def of(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]


class ApprovalKey:
    """Credentials of one account: only its approval key is of use here."""

    def __init__(self, approval_key):
        self._credentials = Credentials("first", "", "", approval_key)

    async def current(self):
        return self._credentials

    async def reject(self, used, part):
        raise AssertionError(f"{part} is a good one")


@asynccontextmanager
async def streaming(start_ns, simulator=None, **changes):
    async with running(start_ns, **(simulator or {})) as client:
        received = Received()
        url = client.simulator.stream_url + "/tryitout"
        stream = TradeStreamConnection(
            settings=StreamSettings(**{"url": url, "provider": "kis", "account": "main", "capacity": 41, **changes}),
            open_dialect=lambda used: KisSession(used.approval_key),
            credentials=ApprovalKey(await client.approval()),
            listener=received,
            clock=client.clock,
            rng=Random(1),
        )
        task = asyncio.create_task(stream.run())
        try:
            yield client, stream, received
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_every_kind_of_record_of_the_simulated_broker_is_read():
    async with streaming(at(8, 59), records=EVERY_KIND, simulator={"symbols": 60}) as (client, stream, received):
        etf = next(each.symbol for each in client.simulator.market.instruments if each.group == "EF")
        stream.want([client.liveliest, etf])
        kinds = (OrderBook, ExpectedPrice, MarketStateChanged, NavObserved)
        await until_async(lambda: client.simulator.counters().registrations == 2 * len(EVERY_KIND))
        assert stream.subscribed == {client.liveliest, etf}
        await client.move_to(at(8, 59, 30))
        await until_async(lambda: bool(received.of(ExpectedPrice)))
        await client.move_to(at(9, 2))
        await until_async(lambda: received.trades and all(received.of(kind) for kind in kinds))
        assert received.broken == []
        assert {nav.symbol for nav in received.of(NavObserved)} == {etf}
        assert all(
            book.bid_1 is None or book.ask_1 is None or book.bid_1 < book.ask_1 for book in received.of(OrderBook)
        )
        assert {fact.session_date for fact in received.of(OrderBook)} == {"2026-11-18"}


async def test_a_halt_and_its_end_are_reported_from_trade_records_without_losing_trades():
    async with streaming(at(9), simulator={"symbols": 120}) as (client, stream, received):
        market = client.simulator.market
        halts = {each.symbol: market.halts(each.symbol) for each in market.instruments}
        symbol, halt = next((name, h) for name in halts for h in halts[name] if h.reason == "disclosure")
        await client.move_to(halt.start_ns - 60 * 10**9)
        stream.want([symbol])
        await until_async(lambda: stream.subscribed == {symbol})
        await client.move_to(halt.start_ns)
        await until_async(lambda: [state.halted for state in received.of(MarketStateChanged)] == [True])
        await client.move_to(halt.end_ns + 60 * 10**9)
        await until_async(lambda: [state.halted for state in received.of(MarketStateChanged)] == [True, False])
        assert received.broken == []
        tape = market.tape(symbol)
        first = tape.count_until(halt.start_ns - 60 * 10**9)
        expected = tape.volume_after[first : tape.count_until(halt.end_ns + 60 * 10**9)]
        assert [trade.cumulative_volume for trade in received.trades] == list(expected)


async def test_the_volumes_of_streamed_trades_follow_on_each_other():
    async with streaming(at(9, 30)) as (client, stream, received):
        stream.want([client.liveliest])
        await until_async(lambda: bool(stream.subscribed))
        await client.move_to(at(10))
        await until_async(lambda: len(received.trades) > 100)
        for earlier, later in pairwise(received.trades):
            assert later.cumulative_volume == earlier.cumulative_volume + later.volume
            assert later.cumulative_trades == earlier.cumulative_trades + 1


async def test_both_lines_of_a_stock_are_streamed_on_one_connection_each_with_the_trades_of_its_venue():
    async with streaming(at(7, 50), records=EVERY_KIND, simulator={"venues": BOTH}) as (client, stream, received):
        market = client.simulator.market
        stock = traded_by_both(market)
        lines = {stock: "KRX", f"{stock}.NXT": "NXT"}
        kinds = (OrderBook, MarketStateChanged)
        stream.want(lines)
        await until_async(lambda: client.simulator.counters().registrations == 2 * len(EVERY_KIND) - 1)
        assert stream.subscribed == lines.keys()
        await client.move_to(at(20, 1))
        offered = list(market.offered(stock))
        await until_async(lambda: len(received.trades) == len(offered))
        await until_async(lambda: {state.symbol for state in received.of(MarketStateChanged)} == lines.keys())
        assert received.broken == []
        for line, venue in lines.items():
            streamed = [trade for trade in received.trades if trade.symbol == line]
            assert [(t.price, t.volume, t.cumulative_volume) for t in streamed] == [
                (t.price, t.volume, t.cumulative_volume) for t in offered if t.venue == venue
            ]
            facts = [fact for kind in kinds for fact in received.of(kind) if fact.symbol == line]
            assert {type(fact) for fact in facts} == set(kinds)
            assert {each.venue for each in (*streamed, *facts)} == {venue}
        assert not received.gone


async def test_a_symbol_beyond_the_limit_of_the_broker_is_reported_refused_and_not_subscribed():
    async with streaming(at(9, 30), simulator={"registrations_limit": 3}) as (client, stream, received):
        symbols = [each.symbol for each in client.simulator.market.instruments[:4]]
        stream.want(symbols)
        await until_async(lambda: bool(received.gone))
        assert stream.subscribed == set(symbols[:3])
        assert received.gone[0][0] == symbols[3]
        assert "OPSP0008" in received.gone[0][1]
        assert client.simulator.counters().refusals["OPSP0008"] == 1


async def test_a_full_set_of_slots_is_exchanged_without_a_refusal():
    unbounded = 10**11  # changes a minute: the clock stands still
    options = {"simulator": {"registrations_limit": 3}, "capacity": 3, "changes_per_minute": unbounded}
    async with streaming(at(9, 30), **options) as (client, stream, _):
        symbols = [each.symbol for each in client.simulator.market.instruments]
        assert stream.capacity == 3
        stream.want(symbols[:3])
        await until_async(lambda: stream.subscribed == set(symbols[:3]))
        stream.want(symbols[3:6])
        await until_async(lambda: stream.subscribed == set(symbols[3:6]))
        assert not client.simulator.counters().refusals
