"""A relay between Track B and the simulated broker; records the requests in order."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from observer.brokers.kis.frames import TRADE_TRANSACTIONS
from tests.waiting import DEADLINE_S

REGISTER = "1"


class Wire:
    """Relays every message between a client of `url` and the broker."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self.url = ""
        self.subscriptions: list[list[str]] = []  # the symbols whose trades each connection subscribed

    async def relay(self, caller: ServerConnection) -> None:
        async with connect(self._broker_url, ping_interval=None, compression=None) as broker:
            asked: list[str] = []
            self.subscriptions.append(asked)
            back = asyncio.create_task(self._answer(broker, caller))
            with contextlib.suppress(ConnectionClosed):
                async for message in caller:
                    self._note(message, asked)
                    await broker.send(message)
            back.cancel()

    async def _answer(self, broker: object, caller: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in broker:
                await caller.send(message)
        await caller.close()

    @staticmethod
    def _note(message: str | bytes, asked: list[str]) -> None:
        request = json.loads(message)
        if request["header"].get("tr_type") != REGISTER:  # a keep-alive comes back as it was: it has no body
            return
        line = request["body"]["input"]
        if line["tr_id"].encode() in TRADE_TRANSACTIONS:
            asked.append(line["tr_key"])


@contextlib.contextmanager
def tapped(broker_url: str) -> Iterator[Wire]:
    """A wire that is open while the block runs."""
    wire = Wire(broker_url)
    opened = threading.Event()
    loop = asyncio.new_event_loop()
    closing = asyncio.Event()

    async def relay() -> None:
        async with serve(wire.relay, "127.0.0.1", 0, ping_interval=None, compression=None) as server:
            wire.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/tryitout"
            opened.set()
            await closing.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(relay(),))
    thread.start()
    assert opened.wait(DEADLINE_S)
    try:
        yield wire
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join()
        loop.close()
