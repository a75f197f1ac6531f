"""Requests to the supervisor over its control socket: valid ones and refused ones."""

import asyncio
import os
from random import Random

import msgspec
import pytest
import zmq
import zmq.asyncio

from bus.commands import (
    Done,
    Heartbeat,
    Ready,
    Refused,
    Reply,
    Restart,
    Shutdown,
    Start,
    Status,
    StatusReply,
    Stop,
    Stopping,
    UnderWay,
)
from bus.control import ControlClient
from observer.supervisor.instance import AlreadyRunningError
from tests.supervisor.scenes import (
    IGNORES_SIGTERM,
    LIVES,
    kill,
    quiet,
    running,
    speaker,
    supervised,
    supervisor_of,
)
from tests.waiting import DEADLINE_S, until_async


async def test_the_status_reports_every_process_and_the_market(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a"), quiet(tmp_path, "b", order=1)]) as scene:
        await scene.supervisor.start("a")
        await until_async(lambda: scene.supervisor.status().processes[0].rss_bytes, "figures")
        status = await scene.client.request(Status(), DEADLINE_S)
        assert isinstance(status, StatusReply)
        assert (status.phase, status.market_time_ns) == ("IDLE", 1_795_000_000_000_000_000)
        assert status.supervisor_pid == os.getpid()
        a, b = status.processes
        assert (a.name, a.state, a.pid) == ("a", "RUNNING", scene.pid("a"))
        assert None not in (a.uptime_s, a.cpu_percent, a.rss_bytes, a.open_files, a.threads)
        assert (b.name, b.state, b.pid, b.uptime_s, b.rss_bytes) == ("b", "STOPPED", None, None, None)


async def test_start_restart_and_stop_are_answered_when_they_are_done(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a")]) as scene:
        assert isinstance(await scene.client.request(Start("a"), DEADLINE_S), Done)
        first = scene.pid("a")
        assert isinstance(await scene.client.request(Restart("a"), DEADLINE_S), Done)
        assert scene.pid("a") != first
        assert await scene.client.request(Stop("a"), DEADLINE_S) == Done("a", "stopped: SIGTERM")
        assert scene.pids() == {"a": None}


async def test_a_command_that_takes_longer_than_a_second_is_reported_under_way_and_completes(tmp_path, monkeypatch):
    monkeypatch.setattr("observer.supervisor.supervisor.ANSWER_WITHIN_S", 0.1)

    children = [quiet(tmp_path, "a", IGNORES_SIGTERM + LIVES, stop_grace_s=600.0)]
    async with running(tmp_path, children) as scene:
        await until_async(lambda: "ignores SIGTERM" in scene.log("a"))
        assert isinstance(await scene.client.request(Stop("a"), DEADLINE_S), UnderWay)
        assert scene.changes.states("a")[-1] == "STOPPING"
        kill(scene.pid("a"))
        await scene.changes.until("a", "STOPPED")


async def test_an_unknown_process_name_is_refused_with_the_existing_names(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a"), quiet(tmp_path, "b")]) as scene:
        reply = await scene.client.request(Restart("c"), DEADLINE_S)
        assert reply == Refused("unknown_process", "no process is named 'c'; there are a, b")


async def test_a_shutdown_stops_everything(tmp_path):
    supervisor, changes = supervisor_of(tmp_path, [quiet(tmp_path, "a")])
    running = asyncio.create_task(supervisor.run_until(asyncio.Event()))
    await changes.until("a", "RUNNING")
    assert await _ask(tmp_path, Shutdown()) == UnderWay("stopping everything")
    await running
    assert changes.states("a")[-1] == "STOPPED"


async def _ask(folder, request):
    client = ControlClient(f"ipc://{folder}/run/control")
    try:
        return await client.request(request, DEADLINE_S)
    finally:
        client.close()


async def test_nothing_is_started_any_more_while_everything_is_being_stopped(tmp_path):
    children = [quiet(tmp_path, "a", IGNORES_SIGTERM + LIVES, stop_grace_s=0.5), quiet(tmp_path, "b", order=1)]
    async with running(tmp_path, children) as scene:
        await until_async(lambda: "ignores SIGTERM" in scene.log("a"))
        stopping = asyncio.create_task(scene.supervisor.stop_all())
        await scene.changes.until("a", "STOPPING")
        reply = await scene.client.request(Start("b"), DEADLINE_S)
        assert isinstance(reply, Refused)
        assert reply.code == "shutting_down"
        await stopping


@pytest.mark.parametrize(
    "message", [Ready("a", 4_000_000), Heartbeat("a", 4_000_000, 0.0, 1), Stopping("a", 4_000_000)]
)
async def test_a_message_from_a_process_with_an_unknown_pid_is_refused(tmp_path, message):
    async with supervised(tmp_path, [speaker(tmp_path, "a", "unready")]) as scene:
        starting = asyncio.create_task(scene.supervisor.start("a"))
        await scene.changes.until("a", "STARTING")
        reply = await scene.client.request(message, DEADLINE_S)
        assert isinstance(reply, Refused)
        assert reply.code == "not_supervised"
        assert scene.changes.states("a") == ["STARTING"]
        await scene.supervisor.stop("a")
        await starting


async def test_garbage_is_refused_and_changes_nothing(tmp_path):
    """Random bytes, and requests with bytes changed at random; those that stay valid name no known process."""

    rng = Random(3)
    seeds = [msgspec.msgpack.encode(request) for request in (Stop("zz"), Restart("zz"), Heartbeat("zz", 9, 0.0, 1))]
    async with running(tmp_path, [quiet(tmp_path, "a"), quiet(tmp_path, "b")]) as scene:
        before = scene.pids(), len(scene.changes.all)
        socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"ipc://{tmp_path}/run/control")
        for _ in range(500):
            await socket.send_multipart(_garbage(rng, seeds))
            reply = msgspec.msgpack.decode((await socket.recv_multipart())[1], type=Reply)
            assert isinstance(reply, Refused)
        socket.close()
        assert (scene.pids(), len(scene.changes.all)) == before


def _garbage(rng, seeds):
    if rng.random() < 0.3:
        return [rng.randbytes(rng.randrange(40)) for _ in range(rng.randrange(1, 4))]
    body = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(1, 4)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return [b"id", bytes(body)]


async def test_a_second_supervisor_is_refused_and_the_first_stays_reachable(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, "a")]) as scene:
        second, _ = supervisor_of(tmp_path, [quiet(tmp_path, "a")])
        with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}"):
            await second.run_until(asyncio.Event())
        assert isinstance(await scene.client.request(Status(), DEADLINE_S), StatusReply)
        assert scene.changes.states("a") == ["STARTING", "RUNNING"]
