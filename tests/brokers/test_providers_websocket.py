"""The stream loop, against a real WebSocket server that plays KIS."""

import asyncio
import itertools

import pytest

from observer.brokers.connection_end import CONNECTION_LOST
from observer.brokers.dialect import StreamTraits
from tests.brokers.kis_builders import PINGPONG, frame, record, reply
from tests.brokers.stream_scene import Broker, streaming
from tests.waiting import DEADLINE_S, until_async


async def test_the_loop_connects_without_any_subscription():
    async with streaming() as scene:
        await scene.received("connected", 0)
        assert scene.broker.asked == []


async def test_wanted_symbols_are_subscribed_in_order_of_importance_up_to_the_capacity():
    async with streaming() as scene:
        scene.stream.want(["C", "A", "B", "D"])
        await scene.subscribed("A", "B", "C")
        assert scene.broker.asked == [("1", "C"), ("1", "A"), ("1", "B")]
        assert scene.broker.keys == ["approval 1"] * 3


async def test_a_removal_goes_before_the_subscription_that_needs_its_slot():
    async with streaming() as scene:
        scene.stream.want(["A", "B", "C"])
        await scene.subscribed("A", "B", "C")
        scene.stream.want(["D", "C"])
        await scene.subscribed("C", "D")
        assert scene.broker.asked[3:] == [("2", "A"), ("1", "D"), ("2", "B")]
        assert ("unregistered", "A", "removed") in scene.listener.received


async def test_a_symbol_that_was_refused_for_a_passing_reason_is_asked_for_again_without_hammering():
    async with streaming(refusal_market_s=60.0, speed=300.0) as scene:
        scene.broker.answers["1", "B"] = "OPSP0007"
        scene.stream.want(["A", "B"])
        await scene.received("unregistered", "B", "refused: OPSP0007 why")
        await until_async(lambda: scene.broker.asked.count(("1", "B")) == 2)
        del scene.broker.answers["1", "B"]
        await scene.subscribed("A", "B")
        of_b = [moment for ask, moment in zip(scene.broker.asked, scene.broker.asked_ns, strict=True) if ask[1] == "B"]
        assert of_b[1] - of_b[0] >= 30 * 10**9


async def test_a_refused_symbol_is_not_subscribed_and_not_asked_again_until_there_is_room():
    broker = Broker()
    broker.answers["1", "B"] = "OPSP0008"
    async with streaming(broker, refusal_market_s=1e6) as scene:
        scene.stream.want(["A", "B"])
        await scene.received("unregistered", "B", "refused: OPSP0008 why")
        scene.stream.want(["A", "B"])
        scene.stream.want(["A", "B", "C"])
        await scene.subscribed("A", "C")
        assert broker.asked.count(("1", "B")) == 1
        del broker.answers["1", "B"]
        scene.stream.want(["A", "B"])
        await scene.subscribed("A", "B")


async def test_a_lost_acknowledgement_is_asked_for_again():
    broker = Broker()
    broker.answers["1", "A"] = None
    async with streaming(broker, acknowledgement_s=0.2) as scene:
        scene.stream.want(["A"])
        await until_async(lambda: ("1", "A") in broker.asked)
        assert scene.stream.subscribed == frozenset()
        broker.answers["1", "A"] = "OPSP0002"
        await scene.subscribed("A")
        assert len(broker.sockets) == 1


async def test_a_broker_that_never_answers_loses_the_connection():
    broker = Broker()
    broker.answers["1", "A"] = None
    async with streaming(broker, acknowledgement_s=0.02) as scene:
        scene.stream.want(["A"])
        await until_async(lambda: len(broker.sockets) == 2)
        assert broker.asked[:3] == [("1", "A")] * 3
        assert "no answer to register trades of A" in scene.listener.states[1].reason


async def test_the_trades_of_a_frame_are_handed_on_together():
    async with streaming() as scene:
        scene.stream.want(["A"])
        await scene.subscribed("A")
        await scene.broker.sockets[0].send_str(frame(record("000001"), record("000002")))
        await until_async(lambda: scene.listener.trades)
        assert scene.listener.trades == [["000001", "000002"]]


async def test_a_broken_frame_is_quarantined_and_its_whole_records_are_handed_on():
    async with streaming() as scene:
        await scene.received("connected", 0)
        await scene.broker.sockets[0].send_str(frame(record(), record(price="?")))
        await scene.broker.sockets[0].send_str("?")
        await until_async(lambda: sum(what[0] == "quarantine" for what in scene.listener.received) == 2)
        assert scene.listener.trades == [["005930"]]


async def test_a_keep_alive_is_answered_with_its_own_text():
    async with streaming() as scene:
        await scene.received("connected", 0)
        await scene.broker.sockets[0].send_str(PINGPONG)
        await until_async(lambda: scene.broker.other == [PINGPONG])


async def test_a_lost_connection_is_reported_before_its_subscriptions_and_all_come_back_in_order():
    async with streaming() as scene:
        scene.stream.want(["B", "A"])
        await scene.subscribed("A", "B")
        scene.broker.sockets[0]._writer.transport.abort()
        await until_async(lambda: len(scene.broker.sockets) == 2)
        await scene.subscribed("A", "B")
        assert scene.listener.received == [
            ("connected", 0),
            ("registered", "B"),
            ("registered", "A"),
            ("lost", 2),
            ("unregistered", "B", "connection lost"),
            ("unregistered", "A", "connection lost"),
            ("connected", 0),
            ("registered", "B"),
            ("registered", "A"),
        ]
        assert scene.listener.lost_since_ns == {"A": None, "B": None}, "now"


async def test_a_request_that_was_not_answered_when_the_connection_broke_is_lost_with_it():
    broker = Broker()
    broker.answers["1", "B"] = None
    async with streaming(broker) as scene:
        scene.stream.want(["A", "B", "C"])
        await until_async(lambda: ("1", "B") in broker.asked)
        broker.sockets[0]._writer.transport.abort()
        await scene.received("unregistered", "B", CONNECTION_LOST)
        assert scene.listener.requested[:2] == [("subscription", "A"), ("subscription", "B")]
        assert scene.listener.received[:5] == [
            ("connected", 0),
            ("registered", "A"),
            ("lost", 1),
            ("unregistered", "A", CONNECTION_LOST),
            ("unregistered", "B", CONNECTION_LOST),
        ]


async def test_a_request_that_the_broker_answers_by_ending_the_session_is_not_lost():
    broker = Broker()
    broker.answers["1", "A"] = "OPSP8996"
    async with streaming(broker) as scene:
        scene.stream.want(["A"])
        await scene.received("refused", 0)
        assert scene.listener.requested == [("subscription", "A")]
        await until_async(lambda: len(broker.sockets) == 2)
        assert not [what for what in scene.listener.received if what[0] == "unregistered"]


async def test_silence_of_any_kind_beyond_the_limit_is_a_lost_connection():
    async with streaming(silence_s=0.1) as scene:
        await until_async(lambda: len(scene.broker.sockets) == 2)
        assert scene.listener.states[1].state == "lost"
        assert "silent" in scene.listener.states[1].reason
        lost_since_ns = scene.listener.lost_since_ns
        assert all(0 < since_ns <= scene.listener.states[1].changed_ns for since_ns in lost_since_ns.values())


async def test_a_key_in_use_is_waited_out_and_not_hammered():
    broker = Broker()
    broker.greeting = reply("OPSP8996", "", "ALREADY IN USE appkey", "(null)")
    async with streaming(broker) as scene:
        await until_async(lambda: len(scene.listener.states) >= 8)
        refusals = [change for change in scene.listener.states if change.state == "refused"]
        assert "OPSP8996" in refusals[0].reason
        pauses_s = [(later.changed_ns - earlier.changed_ns) / 1e9 for earlier, later in itertools.pairwise(refusals)]
        assert all(pause_s >= least_s for pause_s, least_s in zip(pauses_s, (1, 2, 5), strict=False))
        assert scene.credentials.rejected == []


async def test_a_refused_approval_key_is_replaced_before_the_next_connection():
    broker = Broker()
    broker.greeting = reply("OPSP0011", "", "invalid approval : NOT FOUND")
    async with streaming(broker) as scene:
        scene.stream.want(["A"])
        await until_async(lambda: scene.credentials.rejected[:1] == ["token 1"])
        broker.greeting = None
        await scene.subscribed("A")
        assert broker.keys[-1] != "approval 1"


async def test_an_unreachable_host_is_reported_refused_and_retried():
    async with streaming(url="ws://127.0.0.1:1/") as scene:
        await until_async(lambda: len(scene.listener.states) >= 3)
        assert {change.state for change in scene.listener.states} == {"refused"}


async def test_a_cancelled_loop_removes_every_subscription_and_closes():
    async with streaming() as scene:
        scene.stream.want(["A", "B"])
        await scene.subscribed("A", "B")
        scene.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scene.task
        assert scene.broker.asked[2:] == [("2", "A"), ("2", "B")]
        assert scene.listener.requested[2:] == [("removal", "A"), ("removal", "B")]
        assert scene.stream.subscribed == frozenset()
        assert scene.listener.received[-1] == ("closed", 2)
        await until_async(lambda: scene.broker.sockets[0].close_code == 1000)


async def test_a_broker_that_answers_nothing_delays_the_end_no_longer_than_its_limit_and_costs_the_subscription():
    broker = Broker()
    broker.answers["2", "A"] = None
    async with streaming(broker, close_s=0.1) as scene:
        scene.stream.want(["A"])
        await scene.subscribed("A")
        scene.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(scene.task, DEADLINE_S)
        assert ("unregistered", "A", CONNECTION_LOST) in scene.listener.received


async def test_a_listener_that_fails_ends_the_loop_with_its_error_and_leaves_no_connection():
    async with streaming() as scene:
        scene.listener.on_trades = lambda trades: 1 // 0
        await scene.received("connected", 0)
        await scene.broker.sockets[0].send_str(frame(record()))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(scene.task, DEADLINE_S)
        await until_async(lambda: scene.broker.sockets[0].closed)


async def test_where_no_subscription_is_acknowledged_it_counts_once_it_is_sent():
    silent = Broker()
    silent.answers = {(kind, symbol): None for kind in "12" for symbol in "AB"}
    async with streaming(silent, traits=StreamTraits(acknowledges=False)) as scene:
        scene.stream.want(["A", "B"])
        await scene.subscribed("A", "B")
        await until_async(lambda: scene.broker.asked == [("1", "A"), ("1", "B")])


async def test_where_no_removal_is_acknowledged_the_end_waits_for_none():
    silent = Broker()
    silent.answers = {(kind, symbol): None for kind in "12" for symbol in "AB"}
    async with streaming(silent, close_s=60.0, traits=StreamTraits(acknowledges=False)) as scene:
        scene.stream.want(["A", "B"])
        await scene.subscribed("A", "B")
        scene.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(scene.task, DEADLINE_S)
        assert ("2", "A") in silent.asked
        assert ("unregistered", "B", "stopped") in scene.listener.received


async def test_a_keep_alive_of_our_own_is_sent_again_and_again():
    async with streaming(traits=StreamTraits(keep_alive='"PING"', keep_alive_s=0.02)) as scene:
        await until_async(lambda: len(scene.broker.other) >= 3)
        assert set(scene.broker.other) == {'"PING"'}
