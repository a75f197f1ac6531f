"""The four sockets over TCP with CURVE: a client with a known key works as over IPC; any other gets no reply."""

import asyncio
import contextlib
import stat
import subprocess
import sys
import uuid

import pytest
import zmq
import zmq.asyncio

from bus import subscriptions
from bus.batch_feed import BatchFeedSubscriber, Began
from bus.codec import Batch
from bus.commands import Done, Status
from bus.control import ControlClient, ControlServer, ControlTimeoutError
from bus.curve import DOMAIN_BYTES_MAX
from bus.endpoints import BusError, Endpoints, TcpAddress, TcpEndpoints
from bus.events import Event, Trade
from bus.feed import FeedSubscriber
from bus.keys import MissingBusKeysError, key_pair, make_keys, public_key
from bus.outbox import Outbox
from bus.peers import NETWORK
from bus.producer import Producer
from bus.roles import ANY_ROLE
from bus.sockets import bind, connect
from tests.builders import trade
from tests.bus.wire import Writer
from tests.ports import own_port
from tests.waiting import DEADLINE_S, until, until_async

Socket = zmq.SyncSocket | zmq.asyncio.Socket

SOCKETS = ("ingest", "feed", "batch_feed", "control")


class Servers(Writer):
    """All four servers, as the writer and the supervisor bind them; `asked` counts what came to control."""

    def __init__(self, endpoints):
        super().__init__(endpoints)
        self.asked = 0
        self.control = ControlServer(endpoints.control, self._answer)

    async def _answer(self, _identity, _request):
        self.asked += 1
        return Done("all", "well")

    def close(self):
        self.stop()
        self.control.close()


class Clients:
    """One client of each socket, with what it heard."""

    def __init__(self, endpoints, folder):
        self.producer = Producer(Outbox(folder, "a", uuid.uuid4().hex), endpoints.ingest)
        self.feed = FeedSubscriber(endpoints.feed, [Trade])
        self.batch_feed = BatchFeedSubscriber(endpoints.batch_feed)
        self.control = ControlClient(endpoints.control)
        self.from_feed: list[Event] = []
        self.from_tap: list[Began | Batch] = []

    async def listen_to_feed(self):
        async for event in self.feed:
            self.from_feed.append(event)

    async def listen_to_tap(self):
        async for message in self.batch_feed:
            self.from_tap.append(message)

    def close(self):
        self.feed.close()
        self.batch_feed.close()
        self.control.close()
        self.producer.close()


def free_addresses():
    """Four ports of loopback that no other process has."""
    return TcpEndpoints(**{name: f"tcp://127.0.0.1:{own_port()}" for name in SOCKETS})


@pytest.fixture
def endpoints(tmp_path):
    made = Endpoints(tmp_path / "run", free_addresses())
    make_keys(made.keys_directory)
    return made


@pytest.fixture
def stranger(tmp_path, endpoints):
    """The same addresses and the true server's public key, with a pair of the stranger's own making."""
    made = Endpoints(tmp_path / "stranger", endpoints._tcp)
    make_keys(made.keys_directory)
    (made.keys_directory / "server.public").write_bytes(public_key(endpoints.keys_directory, "server"))
    return made


@contextlib.asynccontextmanager
async def serving(endpoints):
    servers = Servers(endpoints)
    task = asyncio.create_task(servers.control.serve())
    try:
        yield servers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(servers.close)


@contextlib.asynccontextmanager
async def using(endpoints, folder):
    clients = Clients(endpoints, folder)
    work = (clients.producer.run(), clients.listen_to_feed(), clients.listen_to_tap())
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield clients
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        clients.close()


async def assert_all_works(clients):
    """An event comes back from the feed and the batch feed, and control answers."""

    def received_after_publishing():
        clients.producer.publish(trade())
        return bool(clients.from_feed) and any(isinstance(message, Batch) for message in clients.from_tap)

    await until_async(received_after_publishing)  # a subscription takes a moment to arrive
    assert await clients.producer.drain(DEADLINE_S)
    assert await clients.control.request(Status(), DEADLINE_S) == Done("all", "well")


def assert_nothing_came(clients):
    assert clients.producer.unacknowledged
    assert clients.from_feed == []
    assert clients.from_tap == []


async def test_with_a_known_key_all_four_sockets_work_as_over_files(tmp_path, endpoints):
    async with serving(endpoints) as servers, using(endpoints, tmp_path / "outbox") as clients:
        await assert_all_works(clients)
    [stored] = servers.sink.stored.values()
    assert set(map(type, stored)) == {Trade}


async def test_a_reader_whose_key_is_refused_before_its_first_message_is_made(endpoints, stranger, monkeypatch):
    def connect_and_be_refused(socket, address, bytes_max):
        connect(socket, address, bytes_max)
        plain: zmq.SyncSocket = zmq.Socket.shadow(socket.underlying)
        until(lambda: not plain.poll(0, zmq.POLLOUT), "the writer refuses the key")

    monkeypatch.setattr(subscriptions, "connect", connect_and_be_refused)
    async with serving(endpoints):
        FeedSubscriber(stranger.feed, [Trade]).close()


async def test_a_client_with_an_unknown_key_receives_nothing_and_disturbs_no_other_client(
    tmp_path, endpoints, stranger
):
    async with serving(endpoints) as servers, using(stranger, tmp_path / "outbox-s") as unknown:
        before = NETWORK.refused
        unknown.producer.publish(trade(99))
        refused = asyncio.create_task(unknown.control.request(Status(), 1.0))
        async with using(endpoints, tmp_path / "outbox") as known:
            await assert_all_works(known)
            with pytest.raises(ControlTimeoutError):
                await refused
            await assert_all_works(known)
        assert_nothing_came(unknown)
        assert servers.asked == 2
        assert len(servers.sink.stored) == 1
        assert servers.ingest.peers.refused == 0
        assert NETWORK.refused > before


@contextlib.contextmanager
def bare(address):
    """A client socket without a key, made without the check that a key is set."""
    with zmq.asyncio.Context.instance().socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)
        yield socket


async def test_a_client_without_a_key_receives_nothing_and_disturbs_no_other_client(tmp_path, endpoints, caplog):
    async with serving(endpoints) as servers, using(endpoints, tmp_path / "outbox") as known:
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(bare(str(getattr(endpoints, name)))) for name in SOCKETS]
            for socket in sockets:
                socket.send_multipart([b"H", b"no hello"])  # never delivered: the socket never connects
            await assert_all_works(known)
            assert [await socket.poll(100) for socket in sockets] == [0, 0, 0, 0]
            await assert_all_works(known)
        assert servers.ingest.peers.refused == 0
        assert "refused" not in caplog.text


async def test_a_client_does_not_speak_to_a_server_with_another_key(tmp_path, endpoints, stranger):
    (stranger.keys_directory / "server.public").unlink()
    make_keys(tmp_path / "other")
    (tmp_path / "other" / "server.public").rename(stranger.keys_directory / "server.public")

    async with serving(endpoints) as servers:
        client = ControlClient(stranger.control)
        with pytest.raises(ControlTimeoutError, match="tcp://"):
            await client.request(Status(), 0.3)
        client.close()
        assert servers.asked == 0


async def test_a_server_refuses_a_client_whose_key_was_replaced(tmp_path, endpoints):
    old = ControlClient(endpoints.control)  # has read its key
    make_keys(tmp_path / "new")
    (tmp_path / "new" / "client.public").rename(endpoints.keys_directory / "client.public")
    async with serving(endpoints) as servers:
        with pytest.raises(ControlTimeoutError):
            await old.request(Status(), 0.3)
        assert servers.asked == 0
    old.close()


async def test_a_server_admits_no_client_while_its_key_file_cannot_be_read(endpoints):
    client = ControlClient(endpoints.control)
    async with serving(endpoints):
        (endpoints.keys_directory / "client.public").unlink()
        with pytest.raises(ControlTimeoutError):
            await client.request(Status(), 0.3)
    client.close()


async def test_two_servers_of_one_process_admit_each_its_own_clients(tmp_path, endpoints):
    other = Endpoints(tmp_path / "other-run", free_addresses())
    make_keys(other.keys_directory)

    async with serving(endpoints), serving(other):
        for each in (endpoints, other):
            client = ControlClient(each.control)
            assert await client.request(Status(), DEADLINE_S) == Done("all", "well")
            client.close()


def bind_any(socket, address):
    bind(socket, address, 1_000, ANY_ROLE)


def connect_any(socket, address):
    connect(socket, address, 1_000)


@pytest.mark.parametrize("use", [bind_any, connect_any])
def test_without_keys_neither_end_is_set_up_and_the_command_is_named(tmp_path, use):
    address = Endpoints(tmp_path / "run", free_addresses()).control
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    with pytest.raises(BusError, match="observer keys make"):
        use(socket, address)
    assert socket.closed


@pytest.mark.parametrize("use", [bind_any, connect_any])
def test_a_bare_tcp_address_is_refused(use):
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    with pytest.raises(BusError, match="no keys"):
        use(socket, "tcp://127.0.0.1:5561")
    assert socket.closed


def test_an_address_that_is_taken_is_an_error_of_ours(endpoints):
    first = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
    second = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
    bind_any(first, endpoints.control)
    with pytest.raises(BusError, match="cannot listen on tcp://"):
        bind_any(second, endpoints.control)
    first.close()


def test_a_key_directory_that_libzmq_cannot_name_is_refused():
    socket = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
    with pytest.raises(BusError, match="shorter"):
        bind_any(socket, TcpAddress("tcp://127.0.0.1:5561", "/" + "x" * DOMAIN_BYTES_MAX))


def test_keys_are_their_owners_alone_and_differ(endpoints):
    directory = endpoints.keys_directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = {path.name: path for path in directory.iterdir()}
    assert set(files) == {"server.public", "server.secret", "client.public", "client.secret"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert len({path.read_bytes() for path in files.values()}) == 4


def test_keys_are_never_overwritten(endpoints):
    before = key_pair(endpoints.keys_directory, "server")
    with pytest.raises(BusError, match="there already"):
        make_keys(endpoints.keys_directory)
    assert key_pair(endpoints.keys_directory, "server") == before
    assert [path.name for path in endpoints.runtime_directory.iterdir()] == ["keys"]


def test_the_text_of_a_pair_does_not_show_its_secret(endpoints):
    pair = key_pair(endpoints.keys_directory, "client")
    assert pair.secret.decode() not in f"{pair} {pair!r}"
    assert pair.public.decode() in str(pair)


def test_a_secret_that_others_may_read_is_refused(endpoints):
    (endpoints.keys_directory / "client.secret").chmod(0o640)
    with pytest.raises(MissingBusKeysError, match="chmod 600"):
        key_pair(endpoints.keys_directory, "client")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 41, b'"' * 40, b"\xff" * 40, b"#" * 40])
def test_a_file_that_holds_no_key_is_refused_and_not_quoted(endpoints, content):
    (endpoints.keys_directory / "client.secret").write_bytes(content)
    with pytest.raises(MissingBusKeysError, match="no key of 40 characters"):
        key_pair(endpoints.keys_directory, "client")


@pytest.mark.parametrize(
    "wrong",
    [
        "ipc:///tmp/x",
        "tcp://*:5561",
        "tcp://0.0.0.0:5561",
        "tcp://host:5561",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:70000",
        "tcp://127.0.0.1:5561/x",
        "tcp://127.0.0.1:5562",
        "",
    ],
)
def test_an_address_that_cannot_serve_both_ends_is_refused(wrong):
    right = {name: f"tcp://127.0.0.1:{port}" for port, name in enumerate(SOCKETS, 5561)}
    with pytest.raises(ValueError, match=r"ingest|same address"):
        TcpEndpoints(**{**right, "ingest": wrong})


def test_for_files_nothing_of_curve_is_loaded(tmp_path):
    code = (
        "import sys, zmq, pathlib, bus.feed, bus.batch_feed, bus.ingest, bus.control, bus.sender, bus.endpoints\n"
        "import observer.base.settings as settings\n"
        f"endpoints = settings.endpoints_of(settings.RunSettings(runtime={str(tmp_path / 'run')!r}))\n"
        "bus.feed.FeedPublisher(endpoints.feed).close()\n"
        "print([name for name in sys.modules if name in ('bus.curve', 'bus.keys') or name.startswith('zmq.auth')])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    assert ran.stdout.strip() == "[]"
