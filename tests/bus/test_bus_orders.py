"""Orders over the control socket: from the supervisor's ROUTER to one worker's DEALER, and the answer back."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import zmq
import zmq.asyncio

from bus.commands import Done, Drain, Pin, Ready, Refused, Reply, RunJob, Status
from bus.control import ORDER, ControlClient, ControlServer, ControlTimeoutError
from bus.endpoints import Endpoints
from tests.waiting import DEADLINE_S


class Supervisor:
    """A handler that learns who is behind the name of a process."""

    def __init__(self):
        self.identities: dict[str, bytes] = {}
        self.arrived = asyncio.Condition()

    async def __call__(self, identity, request):
        if isinstance(request, Ready):
            async with self.arrived:
                self.identities[request.process] = identity
                self.arrived.notify_all()
            return None
        return Done("", "done")

    async def identity_of(self, name):
        async with asyncio.timeout(DEADLINE_S), self.arrived:
            await self.arrived.wait_for(lambda: name in self.identities)
        return self.identities[name]


Scene = Callable[[ControlServer, Supervisor, ControlClient], Awaitable[None]]


def play(folder, scene):
    """A server, and a worker called "a" that has said that it is ready."""

    async def run():
        address = Endpoints(folder / "run").control
        supervisor = Supervisor()
        server = ControlServer(address, supervisor)
        serving = asyncio.create_task(server.serve())
        worker = ControlClient(address)
        await worker.send(Ready("a", 1))
        try:
            await scene(server, supervisor, worker)
        finally:
            worker.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            server.close()

    asyncio.run(run())


async def obedient(order):
    return Done("a", type(order).__name__)


@pytest.mark.parametrize("order", [Drain(), Drain("a"), RunJob("backup"), Pin("005930")])
def test_an_order_is_answered_by_the_worker_it_is_for(tmp_path, order):
    async def scene(server, supervisor, worker):
        worker.obey(obedient)
        reply = await server.order(await supervisor.identity_of("a"), order, DEADLINE_S)
        assert reply == Done("a", type(order).__name__)

    play(tmp_path, scene)


def test_orders_and_requests_of_the_same_worker_are_not_mixed_up(tmp_path):
    async def scene(server, supervisor, worker):
        worker.obey(obedient)
        identity = await supervisor.identity_of("a")
        orders = [server.order(identity, RunJob(str(number)), DEADLINE_S) for number in range(50)]
        requests = [worker.request(Status(), DEADLINE_S) for _ in range(50)]
        replies = await asyncio.gather(*orders, *requests)
        assert set(replies[:50]) == {Done("a", "RunJob")}
        assert set(replies[50:]) == {Done("", "done")}

    play(tmp_path, scene)


def test_an_order_without_an_answer_times_out_at_the_given_limit_and_its_late_answer_is_no_malformed_message(tmp_path):
    async def scene(server, supervisor, worker):
        release = asyncio.Event()

        async def late(order):
            await release.wait()
            return Done("a", "late")

        worker.obey(late)
        identity = await supervisor.identity_of("a")
        with pytest.raises(ControlTimeoutError, match=r"0\.05 s"):
            await server.order(identity, Drain(), 0.05)
        release.set()
        assert await server.order(identity, Drain(), DEADLINE_S) == Done("a", "late")
        assert server.refused == 0

    play(tmp_path, scene)


def test_a_worker_that_takes_no_orders_refuses_an_order(tmp_path):
    async def scene(server, supervisor, worker):
        await worker.request(Status(), DEADLINE_S)
        reply = await server.order(await supervisor.identity_of("a"), Drain(), DEADLINE_S)
        assert isinstance(reply, Refused)
        assert reply.code == "not_an_order"

    play(tmp_path, scene)


def test_a_mistake_in_an_order_is_a_refusal_and_the_worker_obeys_on(tmp_path):
    async def scene(server, supervisor, worker):
        async def clumsy(order):
            if isinstance(order, Pin):
                raise ZeroDivisionError
            return Done("a", "done")

        worker.obey(clumsy)
        identity = await supervisor.identity_of("a")
        reply = await server.order(identity, Pin("005930"), DEADLINE_S)
        assert isinstance(reply, Refused)
        assert reply.code == "internal"
        assert await server.order(identity, Drain(), DEADLINE_S) == Done("a", "done")

    play(tmp_path, scene)


def test_a_stranger_cannot_answer_for_a_worker(tmp_path):
    """A stranger that guesses the order's id gets `malformed`; the order stays pending."""

    async def scene(server, supervisor, worker):
        release = asyncio.Event()

        async def late(order):
            await release.wait()
            return Done("a", "the worker's own")

        worker.obey(late)
        ordered = asyncio.create_task(server.order(await supervisor.identity_of("a"), Drain(), DEADLINE_S))
        stranger = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.connect(f"ipc://{tmp_path}/run/control")
        forged = msgspec.msgpack.encode(Done("a", "forged"))
        await stranger.send_multipart([ORDER, (1).to_bytes(8, "big"), forged])
        refused = msgspec.msgpack.decode((await stranger.recv_multipart())[1], type=Reply)
        stranger.close()
        assert isinstance(refused, Refused)
        assert not ordered.done()
        release.set()
        assert await ordered == Done("a", "the worker's own")

    play(tmp_path, scene)
