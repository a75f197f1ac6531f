"""The control socket over a real ROUTER and DEALER, and the directory it lives in."""

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import zmq
import zmq.asyncio

from bus.commands import (
    Done,
    Heartbeat,
    ProcessStatus,
    Ready,
    Refused,
    Reply,
    Request,
    Restart,
    Shutdown,
    Start,
    Status,
    StatusReply,
    Stop,
    Stopping,
    UnderWay,
)
from bus.control import (
    ID_BYTES_MAX,
    IN_FLIGHT_MAX,
    REQUEST_BYTES_MAX,
    ControlClient,
    ControlServer,
    ControlTimeoutError,
)
from bus.endpoints import BusError, Endpoints, is_served
from tests.waiting import DEADLINE_S


class Recorder:
    """A handler that keeps what it was asked and answers Done, or waits where the test says so."""

    def __init__(self):
        self.requests: list[Request] = []
        self.release = asyncio.Event()
        self.arrived = asyncio.Condition()

    async def __call__(self, identity, request):
        async with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()
        match request:
            case Heartbeat():
                return None
            case Stop():
                await self.release.wait()
            case Shutdown():
                raise ZeroDivisionError
        return Done(getattr(request, "process", ""), "done")

    async def received(self, count):
        async with asyncio.timeout(DEADLINE_S), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)


Scene = Callable[[ControlServer, ControlClient, Recorder], Awaitable[None]]


def play(folder, scene):
    async def run():
        address = Endpoints(folder / "run").control
        recorder = Recorder()
        server = ControlServer(address, recorder)
        serving = asyncio.create_task(server.serve())
        client = ControlClient(address)
        try:
            await scene(server, client, recorder)
        finally:
            client.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            server.close()

    asyncio.run(run())


async def raw_exchange(folder, frames):
    """Send frames as they are and return the frames that come back."""
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"ipc://{folder}/run/control")
    try:
        await socket.send_multipart(frames)
        async with asyncio.timeout(DEADLINE_S):
            return list(await socket.recv_multipart())
    finally:
        socket.close()


@pytest.mark.parametrize(
    "request_",
    [
        Ready("writer", 12),
        Heartbeat("writer", 12, 0.001, 7),
        Stopping("writer", 12),
        Status(),
        Start("writer"),
        Stop("writer"),
        Restart("writer"),
        Shutdown(),
    ],
)
def test_every_request_survives_the_wire(request_):
    encoded = msgspec.msgpack.encode(request_)
    assert msgspec.msgpack.decode(encoded, type=Request) == request_


def test_every_reply_survives_the_wire():
    status = StatusReply([ProcessStatus("writer", "RUNNING", pid=12)], "IDLE", 1, 2, 3.0)
    for reply in (status, Done("writer", "x"), UnderWay("x"), Refused("busy", "x")):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=Reply) == reply


def test_a_request_is_answered(tmp_path):
    async def scene(_server, client, recorder):
        assert await client.request(Restart("writer"), DEADLINE_S) == Done("writer", "done")
        assert recorder.requests == [Restart("writer")]

    play(tmp_path, scene)


def test_a_request_that_takes_long_delays_no_other_even_of_the_same_client(tmp_path):
    async def scene(_server, client, recorder):
        slow = asyncio.create_task(client.request(Stop("writer"), DEADLINE_S))
        await recorder.received(1)
        assert await client.request(Start("web"), DEADLINE_S) == Done("web", "done")
        assert not slow.done()
        recorder.release.set()
        assert await slow == Done("writer", "done")

    play(tmp_path, scene)


def test_a_message_that_is_only_sent_is_handled_and_not_answered(tmp_path):
    async def scene(_server, client, recorder):
        await client.send(Heartbeat("writer", 12, 0.0, 1))
        await recorder.received(1)
        assert await client.request(Status(), DEADLINE_S) == Done("", "done")

    play(tmp_path, scene)


async def test_a_client_may_connect_and_send_before_the_server_is_there(tmp_path):
    address = Endpoints(tmp_path / "run").control
    client = ControlClient(address)
    asked = asyncio.create_task(client.request(Status(), DEADLINE_S))
    await asyncio.sleep(0)
    server = ControlServer(address, Recorder())
    serving = asyncio.create_task(server.serve())
    assert await asked == Done("", "done")
    client.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    server.close()


async def test_without_an_answer_the_deadline_is_an_error_that_names_the_address(tmp_path):
    client = ControlClient(Endpoints(tmp_path / "run").control)
    with pytest.raises(ControlTimeoutError, match="control"):
        await client.request(Status(), 0.05)
    client.close()


def test_a_handler_that_fails_is_a_refusal_and_the_server_goes_on(tmp_path):
    async def scene(_server, client, _recorder):
        reply = await client.request(Shutdown(), DEADLINE_S)
        assert isinstance(reply, Refused)
        assert reply.code == "internal"
        assert await client.request(Status(), DEADLINE_S) == Done("", "done")

    play(tmp_path, scene)


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"only one frame"],
        [b"id", b""],
        [b"id", b"\xc1"],
        [b"id", msgspec.msgpack.encode({"type": "status"}), b"a third"],
        [b"x" * (ID_BYTES_MAX + 1), msgspec.msgpack.encode({"type": "status"})],
        [b"id", msgspec.msgpack.encode({"type": "format_disk"})],
        [b"id", msgspec.msgpack.encode({"type": "stop"})],
        [b"id", msgspec.msgpack.encode({"type": "stop", "process": 7})],
        [b"id", msgspec.msgpack.encode({"type": "stop", "process": ""})],
        [b"id", msgspec.msgpack.encode({"type": "ready", "process": "writer", "pid": -1})],
        [b"id", b"\x82\xa4type\xa4stop\xa7process\xa2\xff\xfe"],
    ],
)
def test_a_malformed_request_is_refused_logged_and_reaches_no_handler(tmp_path, frames, caplog):
    async def scene(server, _client, recorder):
        request_id, body = await raw_exchange(tmp_path, frames)
        assert server.refused == 1
        reply = msgspec.msgpack.decode(body, type=Reply)
        assert isinstance(reply, Refused)
        assert reply.code == "malformed"
        assert request_id in (b"", b"id")
        assert recorder.requests == []
        assert "refused a malformed request" in caplog.text

    play(tmp_path, scene)


def test_a_message_larger_than_any_request_ends_that_connection_and_no_other(tmp_path):
    async def scene(_server, client, recorder):
        flooder = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        flooder.setsockopt(zmq.LINGER, 0)
        flooder.connect(f"ipc://{tmp_path}/run/control")
        await flooder.send_multipart([b"id", b"x" * (REQUEST_BYTES_MAX + 1)])
        assert await client.request(Status(), DEADLINE_S) == Done("", "done")
        assert recorder.requests == [Status()]
        flooder.close()

    play(tmp_path, scene)


def test_more_requests_than_can_be_under_way_are_refused_as_busy(tmp_path):
    async def scene(_server, client, recorder):
        asked = [asyncio.create_task(client.request(Stop("writer"), DEADLINE_S)) for _ in range(IN_FLIGHT_MAX)]
        await recorder.received(IN_FLIGHT_MAX)
        reply = await client.request(Status(), DEADLINE_S)
        assert isinstance(reply, Refused)
        assert reply.code == "busy"
        recorder.release.set()
        assert set(await asyncio.gather(*asked)) == {Done("writer", "done")}

    play(tmp_path, scene)


def test_directory_and_socket_are_their_owners_alone(tmp_path):
    async def scene(_server, _client, _recorder):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "run" / "control").stat().st_mode) == 0o600

    play(tmp_path, scene)


def test_a_socket_is_served_until_its_server_ends_in_order_or_not(tmp_path):
    address = Endpoints(tmp_path / "run").control

    async def scene(_server, _client, _recorder):
        assert is_served(address)

    assert not is_served(address)
    play(tmp_path, scene)
    assert not (tmp_path / "run/control").exists(), "an orderly end takes the file away"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(f"{tmp_path}/run/control")
        killed.listen(0)
        assert [is_served(address) for _ in range(3)] == [True, True, True], "full is served"
    assert (tmp_path / "run/control").exists()
    assert not is_served(address)


def test_the_three_sockets_are_files_of_the_runtime_directory(tmp_path):
    endpoints = Endpoints(tmp_path / "run")
    addresses = {endpoints.ingest, endpoints.feed, endpoints.control}
    assert addresses == {f"ipc://{tmp_path}/run/{name}" for name in ("ingest", "feed", "control")}


def test_a_directory_that_others_may_enter_is_refused_with_the_command_that_closes_it(tmp_path):
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o750)
    with pytest.raises(BusError, match=f"chmod 700 {wide}"):
        Endpoints(wide)
    assert stat.S_IMODE(wide.stat().st_mode) == 0o750


def test_a_link_to_a_directory_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(BusError, match="link"):
        Endpoints(tmp_path / "link")


def test_a_file_at_the_path_of_the_runtime_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BusError, match="choose another"):
        Endpoints(tmp_path / "file")


def test_a_path_that_no_socket_can_have_is_refused_before_anything_is_made(tmp_path):
    long = tmp_path / ("x" * 100)
    with pytest.raises(BusError, match="shorter path"):
        Endpoints(long)
    assert not long.exists()


def test_an_address_where_nothing_can_listen_is_an_error_of_the_bus():
    with pytest.raises(BusError, match="cannot listen"):
        ControlServer("ipc:///nowhere/at/all/control", Recorder())
