"""The live state for many clients: encoded once, whole for a new one, and then what changed."""

import asyncio

from observer.web.broadcast import Broadcast, LiveResponse
from tests.waiting import until_async
from tests.web.states import States


class Client:
    """A client's end of an answer."""

    def __init__(self):
        self.bodies: list[bytes] = []
        self.left = asyncio.Event()

    async def send(self, message):
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}


async def follow(broadcast, client):
    await LiveResponse(broadcast)({}, client.receive, client.send)  # type: ignore[arg-type]


async def test_all_clients_get_the_same_change_and_a_new_one_the_current_state_at_once():
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
    assert b"id: 1\nevent: state\ndata: {" in first[0].bodies[0]
    assert first[0].bodies[1] == b'id: 2\nevent: change\ndata: {"headline":["two"]}\n\n'
    assert late.bodies[0] == b"retry: 1000\n\nid: 2\nevent: state\ndata: " + broadcast.json + b"\n\n"
    assert broadcast.clients == 11
    running.cancel()
    await asyncio.gather(*tasks)  # the answers end with the states
    assert first[0].bodies[-1] == b""
    assert broadcast.clients == 0


async def test_a_client_that_missed_a_state_gets_a_whole_one():
    broadcast, states = Broadcast(), States()
    running = asyncio.create_task(broadcast.run(states))
    for text in ("one", "two", "three"):
        states.give(text)
        await until_async(lambda text=text: text.encode() in broadcast.json, "the state")
    found = [await broadcast.next_event(seen) for seen in (0, 1, 2)]
    running.cancel()
    kinds = [event.split(b"\n")[1] for _, event in filter(None, found)]
    assert kinds == [b"event: state", b"event: state", b"event: change"]
