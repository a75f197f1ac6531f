"""The stream loop beyond one kind of record and one connection: kinds, keys, suspension, budget."""

import itertools

import pytest

from bus.events import MarketStateChanged, OrderBook
from observer.brokers.stream_settings import StreamSettings
from tests.brokers.kis_builders import PINGPONG, frame, record, reply
from tests.brokers.kis_records import fields_of
from tests.brokers.stream_scene import Broker, streaming
from tests.waiting import until_async


async def test_every_kind_of_record_is_subscribed_for_every_symbol_that_fits():
    async with streaming(capacity=5, records=("order_book", "trades")) as scene:
        assert scene.stream.capacity == 2
        scene.stream.want(["A", "B", "C"])
        await until_async(lambda: len(scene.broker.asked) == 4)
        assert scene.broker.asked == [("1", "A"), ("1", "B"), ("1", "A"), ("1", "B")]
        assert scene.broker.transactions == ["H0STCNT0", "H0STCNT0", "H0STASP0", "H0STASP0"]
        await scene.subscribed("A", "B")
        assert [what for what in scene.listener.received if what[0] == "registered"] == [
            ("registered", "A"),
            ("registered", "B"),
        ]


async def test_an_acknowledgement_of_another_kind_is_not_believed_for_trades():
    broker = Broker()
    broker.answers["1", "A"] = None
    async with streaming(broker, records=("trades", "order_book")) as scene:
        scene.stream.want(["A"])
        await until_async(lambda: broker.asked)
        await broker.sockets[0].send_str(reply("OPSP0000", "A", transaction="H0STASP0"))
        await broker.sockets[0].send_str(PINGPONG)
        await until_async(lambda: broker.other)  # so the one before was read, too
        assert scene.stream.subscribed == frozenset()


async def test_facts_are_handed_on_beside_trades():
    async with streaming() as scene:
        await scene.received("connected", 0)
        for transaction in ("H0STASP0", "H0STMKO0"):
            text = frame(fields_of(transaction), fields_of(transaction), transaction=transaction)
            await scene.broker.sockets[0].send_str(text)
        await until_async(lambda: len(scene.listener.facts) == 4)
        kinds = [type(fact) for fact in scene.listener.facts]
        assert kinds == [OrderBook, OrderBook, MarketStateChanged, MarketStateChanged]


@pytest.mark.parametrize("records", [("order_book",), ("trades", "trades"), ("trades", "nav", "order_book")])
def test_records_without_trades_or_twice_or_too_many_are_refused(records):
    with pytest.raises(ValueError, match="trades among them"):
        StreamSettings(url="ws://127.0.0.1:1/", provider="kis", account="main", capacity=2, records=records)


async def test_a_new_approval_key_closes_cleanly_and_registers_everything_again_at_once_in_order():
    # a pause of the slow beat would not be over within the deadline
    async with streaming(key_check_s=0.02, speed=1.0) as scene:
        scene.stream.want(["B", "A"])
        await scene.subscribed("A", "B")
        scene.credentials.number = 2
        await until_async(lambda: len(scene.broker.sockets) == 2)
        await scene.subscribed("A", "B")
        assert scene.broker.asked == [("1", "B"), ("1", "A"), ("2", "B"), ("2", "A"), ("1", "B"), ("1", "A")]
        assert scene.broker.keys == ["approval 1"] * 4 + ["approval 2"] * 2
        assert [(change.state, change.reason) for change in scene.listener.states] == [
            ("connected", ""),
            ("closed", "new approval key"),
            ("connected", ""),
        ]
        assert scene.listener.states[1].subscriptions == 2
        assert scene.listener.received.count(("unregistered", "A", "new approval key")) == 1
        await until_async(lambda: scene.broker.sockets[0].close_code == 1000)


async def test_a_new_access_token_leaves_the_stream_alone():
    async with streaming(key_check_s=0.02) as scene:
        scene.stream.want(["A"])
        await scene.subscribed("A")
        checks = scene.credentials.checks
        scene.credentials.approval, scene.credentials.number = "approval 1", 2
        await until_async(lambda: scene.credentials.checks >= checks + 3)
        assert len(scene.listener.states) == 1


async def test_a_connection_with_too_many_attempts_is_suspended_and_retried_slowly_until_data_flow():
    broker = Broker()
    broker.greeting = reply("OPSP8996", "", "ALREADY IN USE appkey", "(null)")
    async with streaming(broker, attempts_per_hour=5, slow_beat_market_s=1800.0, speed=10_000.0) as scene:
        states = scene.listener.states
        await until_async(lambda: [change.state for change in states].count("refused") == 5)
        reported = [change.state for change in states]
        assert reported[: reported.index("suspended")].count("refused") == 3  # of 5 an hour, 2 are the slow beat's
        assert reported.count("suspended") == 1
        slow = [change for change in states[reported.index("suspended") - 1 :] if change.state == "refused"]
        for earlier, later in itertools.pairwise(slow):
            assert later.changed_ns - earlier.changed_ns >= 1800 * 10**9
        broker.greeting = None
        scene.stream.want(["A"])
        await scene.subscribed("A")
        await broker.sockets[-1].send_str(frame(record()))
        await until_async(lambda: scene.listener.trades)


async def test_changes_beyond_the_limiter_wait_and_the_most_important_go_first():
    async with streaming(changes_per_minute=4, speed=100.0) as scene:
        before_ns = scene.broker.clock.now_ns()  # the budget counts from sending, which is before the broker hears it
        scene.stream.want(["A", "B", "C"])
        await scene.subscribed("A", "B", "C")  # the burst of a new connection
        scene.stream.want(["D", "B", "C"])
        await until_async(lambda: scene.stream.held_back_since_ns is not None)
        scene.stream.want(["E", "D", "B"])
        await scene.subscribed("E", "B", "D")
        assert scene.broker.asked[3:] == [("2", "A"), ("1", "E"), ("2", "C"), ("1", "D")]
        assert scene.broker.asked_ns[3] - before_ns >= 30 * 10**9
        assert scene.broker.asked_ns[6] - before_ns >= 60 * 10**9
        await until_async(lambda: scene.stream.held_back_since_ns is None)
