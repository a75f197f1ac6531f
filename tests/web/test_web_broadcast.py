"""The live state for many clients: encoded once, at once for a new one, and a client that does not read is dropped."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from observer.web.broadcast import Broadcast, LiveResponse
from observer.web.model import State
from tests.waiting import until_async
from tests.web.states import state


class Client:
    """A client's end of an answer; it takes so many messages and then none."""

    def __init__(self, takes: int = 1_000) -> None:
        self.bodies: list[bytes] = []
        self._takes = takes
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        if len(self.bodies) >= self._takes:
            await asyncio.Event().wait()
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}


class States:
    """States as a test gives them."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[State] = asyncio.Queue()

    def give(self, headline: str) -> None:
        self._given.put_nowait(state(headline))

    async def __aiter__(self) -> AsyncIterator[State]:
        while True:
            yield await self._given.get()


async def follow(broadcast: Broadcast, client: Client) -> None:
    await LiveResponse(broadcast)({}, client.receive, client.send)  # type: ignore[arg-type]


def test_all_clients_get_the_same_bytes_and_a_new_one_the_current_state_at_once() -> None:
    async def scenario() -> None:
        broadcast, states = Broadcast(), States()
        running = asyncio.create_task(broadcast.run(states))
        first = [Client() for _ in range(10)]
        tasks = [asyncio.create_task(follow(broadcast, client)) for client in first]
        states.give("one")
        await until_async(lambda: all(client.bodies for client in first), "the first event")
        states.give("two")
        await until_async(lambda: all(len(client.bodies) == 2 for client in first), "the second event")
        assert len({id(client.bodies[1]) for client in first}) == 1
        late = Client()
        tasks.append(asyncio.create_task(follow(broadcast, late)))
        await until_async(lambda: late.bodies, "the current event")
        assert late.bodies[0] == b"retry: 1000\n\n" + first[0].bodies[1]
        assert b"id: 2\nevent: state\ndata: {" in late.bodies[0]
        assert broadcast.clients == 11
        running.cancel()
        await asyncio.gather(*tasks)  # the answers end with the states
        assert first[0].bodies[-1] == b""
        assert broadcast.clients == 0

    asyncio.run(scenario())


def test_a_client_that_takes_nothing_is_dropped_and_the_others_go_on() -> None:
    async def scenario() -> None:
        broadcast, states = Broadcast(slow_s=0.05), States()
        running = asyncio.create_task(broadcast.run(states))
        slow, quick = Client(takes=1), Client()
        slow_task, quick_task = (asyncio.create_task(follow(broadcast, client)) for client in (slow, quick))
        states.give("one")
        await until_async(lambda: slow.bodies and quick.bodies, "the first event")
        states.give("two")
        await asyncio.wait_for(slow_task, 60)
        states.give("three")
        await until_async(lambda: len(quick.bodies) == 3, "the third event")
        assert (len(slow.bodies), broadcast.clients) == (1, 1)
        quick.left.set()
        await asyncio.wait_for(quick_task, 60)
        assert broadcast.clients == 0
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
