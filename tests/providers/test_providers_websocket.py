"""What the stream loop promises, against a real WebSocket server that plays KIS."""

import asyncio
import itertools
import json
import time
from contextlib import asynccontextmanager
from random import Random

import pytest
from aiohttp import WSMsgType, web

from bus.events import MarketStateChanged, OrderBook
from observer.clock import ScaledClock
from observer.providers.kis.session import KisSession
from observer.providers.websocket import StreamSettings, TradeStreamConnection
from tests.providers.kis_builders import PINGPONG, frame, record, reply
from tests.providers.kis_records import fields_of
from tests.providers.stand_ins import RenewingCredentials, serving, until


class Broker:
    """Acknowledges what is asked, unless `answers` says otherwise for (kind, symbol)."""

    def __init__(self):
        self.sockets = []
        self.asked = []
        self.transactions = []
        self.asked_ns = []
        self.clock = None
        self.keys = []
        self.other = []
        self.answers = {}
        self.greeting = None

    async def handle(self, request):
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.sockets.append(socket)
        if self.greeting is not None:
            await socket.send_str(self.greeting)
            await socket.close()
            return socket
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self.answer(socket, message.data)
        return socket

    async def answer(self, socket, text):
        request = json.loads(text)
        if "body" not in request:
            self.other.append(text)
            return
        kind, symbol = request["header"]["tr_type"], request["body"]["input"]["tr_key"]
        transaction = request["body"]["input"]["tr_id"]
        self.asked.append((kind, symbol))
        self.transactions.append(transaction)
        self.asked_ns.append(self.clock.now_ns())
        self.keys.append(request["header"]["approval_key"])
        code = self.answers.get((kind, symbol), "OPSP0000" if kind == "1" else "OPSP0001")
        if code is not None:
            await socket.send_str(reply(code, symbol, text="why", transaction=transaction))


class Listener:
    """Writes down everything in its order."""

    def __init__(self):
        self.heard = []
        self.trades = []
        self.facts = []
        self.states = []

    def on_trades(self, trades):
        self.trades.append([trade.symbol for trade in trades])

    def on_facts(self, facts):
        self.facts.extend(facts)

    def on_registered(self, symbol):
        self.heard.append(("registered", symbol))

    def on_unregistered(self, symbol, reason):
        self.heard.append(("unregistered", symbol, reason))

    def on_connection(self, change):
        self.heard.append((change.state, change.registrations))
        self.states.append(change)

    def on_quarantine(self, item):
        self.heard.append(("quarantine", item.reason))


class Scene:
    def __init__(self, broker, listener, stream, credentials, task):
        self.broker = broker
        self.listener = listener
        self.stream = stream
        self.credentials = credentials
        self.task = task

    async def registered(self, *symbols):
        await until(lambda: self.stream.registered == set(symbols))

    async def heard(self, *what):
        await until(lambda: what in self.listener.heard)


@asynccontextmanager
async def streaming(broker=None, speed=1_000.0, **changes):
    broker = broker or Broker()
    broker.clock = clock = ScaledClock(10**18, time.monotonic_ns(), speed)
    listener, credentials = Listener(), RenewingCredentials()
    async with serving(web.get("/tryitout", broker.handle)) as address:
        settings = {
            "url": f"ws://{address}/tryitout",
            "provider": "kis",
            "account": "main",
            "capacity": 3,
            "acknowledgement_s": 0.1,
            "silence_s": 5.0,
            "close_s": 1.0,
            **changes,
        }
        stream = TradeStreamConnection(
            settings=StreamSettings(**settings),
            open_dialect=lambda used: KisSession(used.approval_key),
            credentials=credentials,
            listener=listener,
            clock=clock,
            chance=Random(1),
        )
        task = asyncio.create_task(stream.run())
        try:
            yield Scene(broker, listener, stream, credentials, task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def played(play, broker=None, **changes):
    async def scenario():
        async with streaming(broker, **changes) as scene:
            await play(scene)

    asyncio.run(scenario())


def test_it_connects_without_any_registration():
    async def play(scene):
        await scene.heard("connected", 0)
        assert scene.broker.asked == []

    played(play)


def test_what_is_wanted_is_registered_in_order_of_importance_up_to_the_capacity():
    async def play(scene):
        scene.stream.want(["C", "A", "B", "D"])
        await scene.registered("A", "B", "C")
        assert scene.broker.asked == [("1", "C"), ("1", "A"), ("1", "B")]
        assert scene.broker.keys == ["approval 1"] * 3

    played(play)


def test_a_removal_goes_before_the_registration_that_needs_its_place():
    async def play(scene):
        scene.stream.want(["A", "B", "C"])
        await scene.registered("A", "B", "C")
        scene.stream.want(["D", "C"])
        await scene.registered("C", "D")
        assert scene.broker.asked[3:] == [("2", "A"), ("1", "D"), ("2", "B")]
        assert ("unregistered", "A", "removed") in scene.listener.heard

    played(play)


def test_a_refused_symbol_is_not_registered_and_not_asked_again_until_there_is_room():
    broker = Broker()
    broker.answers["1", "B"] = "OPSP0008"

    async def play(scene):
        scene.stream.want(["A", "B"])
        await scene.heard("unregistered", "B", "refused: OPSP0008 why")
        scene.stream.want(["A", "B"])
        scene.stream.want(["A", "B", "C"])
        await scene.registered("A", "C")
        assert broker.asked.count(("1", "B")) == 1
        del broker.answers["1", "B"]
        scene.stream.want(["A", "B"])
        await scene.registered("A", "B")

    played(play, broker)


def test_a_lost_acknowledgement_is_asked_for_again():
    broker = Broker()
    broker.answers["1", "A"] = None

    async def play(scene):
        scene.stream.want(["A"])
        await until(lambda: ("1", "A") in broker.asked)
        assert scene.stream.registered == frozenset()
        broker.answers["1", "A"] = "OPSP0002"
        await scene.registered("A")
        assert len(broker.sockets) == 1

    played(play, broker)


def test_a_broker_that_never_answers_loses_the_connection():
    broker = Broker()
    broker.answers["1", "A"] = None

    async def play(scene):
        scene.stream.want(["A"])
        await until(lambda: len(broker.sockets) == 2)
        assert broker.asked[:3] == [("1", "A")] * 3
        assert "no answer to register trades of A" in scene.listener.states[1].reason

    played(play, broker, acknowledgement_s=0.02)


def test_the_trades_of_a_frame_are_handed_on_together():
    async def play(scene):
        scene.stream.want(["A"])
        await scene.registered("A")
        await scene.broker.sockets[0].send_str(frame(record("000001"), record("000002")))
        await until(lambda: scene.listener.trades)
        assert scene.listener.trades == [["000001", "000002"]]

    played(play)


def test_a_broken_frame_is_quarantined_and_its_whole_records_are_handed_on():
    async def play(scene):
        await scene.heard("connected", 0)
        await scene.broker.sockets[0].send_str(frame(record(), record(price="?")))
        await scene.broker.sockets[0].send_str("?")
        await until(lambda: sum(what[0] == "quarantine" for what in scene.listener.heard) == 2)
        assert scene.listener.trades == [["005930"]]

    played(play)


def test_a_keep_alive_is_answered_with_its_own_text():
    async def play(scene):
        await scene.heard("connected", 0)
        await scene.broker.sockets[0].send_str(PINGPONG)
        await until(lambda: scene.broker.other == [PINGPONG])

    played(play)


def test_a_lost_connection_is_told_before_its_registrations_and_all_come_back_in_order():
    async def play(scene):
        scene.stream.want(["B", "A"])
        await scene.registered("A", "B")
        scene.broker.sockets[0]._writer.transport.abort()
        await until(lambda: len(scene.broker.sockets) == 2)
        await scene.registered("A", "B")
        assert scene.listener.heard == [
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

    played(play)


def test_silence_of_any_kind_beyond_the_limit_is_a_lost_connection():
    async def play(scene):
        await until(lambda: len(scene.broker.sockets) == 2)
        assert scene.listener.states[1].state == "lost"
        assert "silent" in scene.listener.states[1].reason

    played(play, silence_s=0.1)


def test_a_key_in_use_is_waited_out_and_not_hammered():
    broker = Broker()
    broker.greeting = reply("OPSP8996", "", "ALREADY IN USE appkey", "(null)")

    async def play(scene):
        await until(lambda: len(scene.listener.states) >= 8)
        refusals = [change for change in scene.listener.states if change.state == "refused"]
        assert "OPSP8996" in refusals[0].reason
        pauses_s = [(later.changed_ns - earlier.changed_ns) / 1e9 for earlier, later in itertools.pairwise(refusals)]
        assert all(pause_s >= least_s for pause_s, least_s in zip(pauses_s, (1, 2, 5), strict=False))
        assert scene.credentials.rejected == []

    played(play, broker)


def test_a_refused_approval_key_is_replaced_before_the_next_connection():
    broker = Broker()
    broker.greeting = reply("OPSP0011", "", "invalid approval : NOT FOUND")

    async def play(scene):
        scene.stream.want(["A"])
        await until(lambda: scene.credentials.rejected == ["token 1"])
        broker.greeting = None
        await scene.registered("A")
        assert broker.keys[-1] != "approval 1"

    played(play, broker)


def test_nobody_there_is_reported_and_tried_again():
    async def play(scene):
        await until(lambda: len(scene.listener.states) >= 3)
        assert {change.state for change in scene.listener.states} == {"refused"}

    played(play, url="ws://127.0.0.1:1/")


def test_when_cancelled_it_removes_every_registration_and_closes():
    async def play(scene):
        scene.stream.want(["A", "B"])
        await scene.registered("A", "B")
        scene.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scene.task
        assert scene.broker.asked[2:] == [("2", "A"), ("2", "B")]
        assert scene.stream.registered == frozenset()
        assert scene.listener.heard[-1] == ("closed", 2)
        await until(lambda: scene.broker.sockets[0].close_code == 1000)

    played(play)


def test_a_broker_that_answers_nothing_delays_the_end_no_longer_than_its_limit():
    broker = Broker()
    broker.answers["2", "A"] = None

    async def play(scene):
        scene.stream.want(["A"])
        await scene.registered("A")
        scene.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(scene.task, 5.0)
        assert ("unregistered", "A", "closed") in scene.listener.heard

    played(play, broker, close_s=0.1)


def test_a_listener_that_fails_ends_the_loop_with_its_error_and_leaves_no_connection():
    async def play(scene):
        scene.listener.on_trades = lambda trades: 1 // 0
        await scene.heard("connected", 0)
        await scene.broker.sockets[0].send_str(frame(record()))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(scene.task, 5.0)
        await until(lambda: scene.broker.sockets[0].closed)

    played(play)


def test_every_kind_of_record_is_registered_for_every_symbol_that_fits():
    async def play(scene):
        assert scene.stream.capacity == 2
        scene.stream.want(["A", "B", "C"])
        await until(lambda: len(scene.broker.asked) == 4)
        assert scene.broker.asked == [("1", "A"), ("1", "B"), ("1", "A"), ("1", "B")]
        assert scene.broker.transactions == ["H0STCNT0", "H0STCNT0", "H0STASP0", "H0STASP0"]
        await scene.registered("A", "B")
        assert [what for what in scene.listener.heard if what[0] == "registered"] == [
            ("registered", "A"),
            ("registered", "B"),
        ]

    played(play, capacity=5, records=("order_book", "trades"))


def test_an_acknowledgement_of_another_kind_is_not_believed_for_trades():
    broker = Broker()
    broker.answers["1", "A"] = None

    async def play(scene):
        scene.stream.want(["A"])
        await until(lambda: broker.asked)
        await broker.sockets[0].send_str(reply("OPSP0000", "A", transaction="H0STASP0"))
        await broker.sockets[0].send_str(PINGPONG)
        await until(lambda: broker.other)  # so the one before was read, too
        assert scene.stream.registered == frozenset()

    played(play, broker, records=("trades", "order_book"))


def test_facts_are_handed_on_beside_trades():
    async def play(scene):
        await scene.heard("connected", 0)
        for transaction in ("H0STASP0", "H0STMKO0"):
            text = frame(fields_of(transaction), fields_of(transaction), transaction=transaction)
            await scene.broker.sockets[0].send_str(text)
        await until(lambda: len(scene.listener.facts) == 4)
        kinds = [type(fact) for fact in scene.listener.facts]
        assert kinds == [OrderBook, OrderBook, MarketStateChanged, MarketStateChanged]

    played(play)


@pytest.mark.parametrize("records", [("order_book",), ("trades", "trades"), ("trades", "nav", "order_book")])
def test_records_without_trades_or_twice_or_too_many_are_refused(records):
    with pytest.raises(ValueError, match="trades among them"):
        StreamSettings(url="ws://127.0.0.1:1/", provider="kis", account="main", capacity=2, records=records)


def test_a_new_approval_key_closes_cleanly_and_registers_everything_again_at_once_in_order():
    async def play(scene):
        scene.stream.want(["B", "A"])
        await scene.registered("A", "B")
        scene.credentials.number = 2
        await until(lambda: len(scene.broker.sockets) == 2)
        await scene.registered("A", "B")
        assert scene.broker.asked == [("1", "B"), ("1", "A"), ("2", "B"), ("2", "A"), ("1", "B"), ("1", "A")]
        assert scene.broker.keys == ["approval 1"] * 4 + ["approval 2"] * 2
        assert [(change.state, change.reason) for change in scene.listener.states] == [
            ("connected", ""),
            ("closed", "new approval key"),
            ("connected", ""),
        ]
        assert scene.listener.states[1].registrations == 2
        await until(lambda: scene.broker.sockets[0].close_code == 1000)
        pause_ns = scene.listener.states[2].changed_ns - scene.listener.states[1].changed_ns
        assert pause_ns < 600 * 10**9  # 0.6 machine seconds at this clock's speed: no pause, but a loaded machine

    played(play, key_look_s=0.02)


def test_a_new_access_token_leaves_the_stream_alone():
    async def play(scene):
        scene.stream.want(["A"])
        await scene.registered("A")
        looks = scene.credentials.looks
        scene.credentials.approval, scene.credentials.number = "approval 1", 2
        await until(lambda: scene.credentials.looks >= looks + 3)
        assert len(scene.listener.states) == 1

    played(play, key_look_s=0.02)


def test_after_too_many_attempts_it_is_suspended_and_tried_on_the_slow_beat_until_data_flow():
    broker = Broker()
    broker.greeting = reply("OPSP8996", "", "ALREADY IN USE appkey", "(null)")

    async def play(scene):
        states = scene.listener.states
        await until(lambda: [change.state for change in states].count("refused") == 5)
        told = [change.state for change in states]
        assert told[: told.index("suspended")].count("refused") == 3  # of 5 an hour, 2 are the slow beat's
        assert told.count("suspended") == 1
        slow = [change for change in states[told.index("suspended") - 1 :] if change.state == "refused"]
        for earlier, later in itertools.pairwise(slow):
            assert later.changed_ns - earlier.changed_ns >= 1800 * 10**9
        broker.greeting = None
        scene.stream.want(["A"])
        await scene.registered("A")
        await broker.sockets[-1].send_str(frame(record()))
        await until(lambda: scene.listener.trades)

    played(play, broker, attempts_per_hour=5, slow_beat_market_s=1800.0, speed=10_000.0)


def test_changes_beyond_the_budget_wait_and_the_most_important_go_first():
    async def play(scene):
        scene.stream.want(["A", "B", "C"])
        await scene.registered("A", "B", "C")  # the burst of a new connection
        scene.stream.want(["D", "B", "C"])  # one change is left of four: the removal that makes room
        await scene.registered("B", "C")
        scene.stream.want(["E", "D", "B"])
        await scene.registered("E", "B", "D")
        assert scene.broker.asked[3:] == [("2", "A"), ("1", "E"), ("2", "C"), ("1", "D")]
        waited_ns = scene.broker.asked_ns[4] - scene.broker.asked_ns[0]
        assert waited_ns >= 60 * 10**9

    played(play, changes_per_minute=4, speed=100.0)
