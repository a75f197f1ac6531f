"""A stream connection at a real WebSocket server that plays KIS, for tests of the loop."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from random import Random

from aiohttp import WSMsgType, web

from observer.base.clock import ScaledClock
from observer.brokers.kis.session import KisSession
from observer.brokers.stream_settings import StreamSettings
from observer.brokers.websocket import TradeStreamConnection
from tests.brokers.kis_builders import reply
from tests.brokers.stand_ins import RenewingCredentials, serving
from tests.waiting import until_async


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
        self.received = []
        self.trades = []
        self.facts = []
        self.states = []
        self.lost_since_ns = {}
        self.requested = []

    def on_trades(self, trades):
        self.trades.append([trade.symbol for trade in trades])

    def on_facts(self, facts):
        self.facts.extend(facts)

    def on_requested(self, symbol, *, removal=False):
        self.requested.append(("removal" if removal else "subscription", symbol))

    def on_subscribed(self, symbol):
        self.received.append(("registered", symbol))

    def on_unsubscribed(self, symbol, reason, since_ns=None):
        self.received.append(("unregistered", symbol, reason))
        self.lost_since_ns[symbol] = since_ns

    def on_connection(self, change):
        self.received.append((change.state, change.subscriptions))
        self.states.append(change)

    def on_quarantine(self, item, unread):
        self.received.append(("quarantine", item.reason))


class Scene:
    def __init__(self, broker, listener, stream, credentials, task):
        self.broker = broker
        self.listener = listener
        self.stream = stream
        self.credentials = credentials
        self.task = task

    async def subscribed(self, *symbols):
        await until_async(lambda: self.stream.subscribed == set(symbols))

    async def received(self, *what):
        await until_async(lambda: what in self.listener.received)


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
            "acknowledgement_s": 30.0,
            "silence_s": 30.0,
            "close_s": 10.0,
            **changes,
        }
        stream = TradeStreamConnection(
            settings=StreamSettings(**settings),
            open_dialect=lambda used: KisSession(used.approval_key),
            credentials=credentials,
            listener=listener,
            clock=clock,
            rng=Random(1),
        )
        task = asyncio.create_task(stream.run())
        try:
            yield Scene(broker, listener, stream, credentials, task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
