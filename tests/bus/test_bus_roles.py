"""Roles of keys on the network: each opens its sockets and requests and no other; orders are logged with a name."""

import asyncio
import logging
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.batch_feed import BatchFeedSubscriber
from bus.commands import (
    Done,
    Heartbeat,
    Ready,
    Refused,
    Reload,
    Report,
    RunJob,
    Shutdown,
    Start,
    StartCapture,
    Status,
    Stop,
    allows,
)
from bus.control import ControlClient, ControlTimeoutError
from bus.endpoints import BusError, Endpoints
from bus.events import Trade
from bus.feed import FeedSubscriber
from bus.keys import Client, MissingBusKeysError, add_client, clients, make_keys, remove_client
from bus.outbox import Outbox
from bus.producer import Producer
from bus.roles import ROLES
from tests.builders import trade
from tests.bus.test_bus_curve import free_addresses, serving
from tests.waiting import DEADLINE_S, until_async

STREAM: Final = "ab" * 16
ORDERS: Final = (Start("a"), Stop("a"), Shutdown(), Reload(), RunJob("universe"), StartCapture("/x"))


@pytest.fixture
def endpoints(tmp_path):
    made = Endpoints(tmp_path / "run", free_addresses())
    make_keys(made.keys_directory)
    return made


def machine_of(endpoints, folder, name, role):
    """The same addresses, as another machine with a key of this role has them."""
    other = Endpoints(folder / name, endpoints._tcp)
    add_client(endpoints.keys_directory, name, role, other.keys_directory)
    return other


async def ask(endpoints, request):
    client = ControlClient(endpoints.control)
    try:
        return await client.request(request, DEADLINE_S)
    finally:
        client.close()


@pytest.mark.parametrize(("role", "is_stored"), [("collector", True), ("reader", False), ("operator", True)])
async def test_only_collectors_and_operators_deliver_events(tmp_path, endpoints, role, is_stored, caplog):
    other = machine_of(endpoints, tmp_path, "desk", role)
    async with serving(endpoints) as servers:
        producer = Producer(Outbox(tmp_path / "outbox", "a", STREAM), other.ingest)
        task = asyncio.create_task(producer.run())
        producer.publish(trade())
        if is_stored:
            assert await producer.drain(DEADLINE_S)
        else:
            await until_async(lambda: "refused the reader desk on the network socket" in caplog.text)
        assert bool(servers.sink.stored) is is_stored
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        producer.close()


@pytest.mark.parametrize(("role", "is_sent"), [("collector", False), ("reader", True), ("operator", True)])
async def test_only_readers_and_operators_receive_the_feeds(tmp_path, endpoints, role, is_sent, caplog):
    other = machine_of(endpoints, tmp_path, "desk", role)
    async with serving(endpoints) as servers:
        readers = (FeedSubscriber(other.feed, [Trade]), BatchFeedSubscriber(other.batch_feed))
        for feed in (servers.feed, servers.batch_feed):
            if is_sent:
                await until_async(lambda feed=feed: len(feed._subscribers))
        if not is_sent:
            await until_async(lambda: "refused the collector desk on the network socket" in caplog.text)
            assert not len(servers.feed._subscribers)
            assert not len(servers.batch_feed._subscribers)
        for reader in readers:
            reader.close()


@pytest.mark.parametrize(
    ("role", "request_", "is_allowed"),
    [
        ("operator", Status(), True),
        ("operator", Shutdown(), True),
        ("operator", StartCapture("/x/y"), True),
        ("reader", Status(), True),
        ("reader", Shutdown(), False),
        ("reader", StartCapture("/x/y"), False),
        ("reader", Heartbeat("core-writer", 1, 0.0, 1), False),
        ("collector", Heartbeat("core-writer", 1, 0.0, 1), True),
        ("collector", Status(), False),
        ("collector", RunJob("universe"), False),
    ],
)
async def test_a_request_is_answered_for_its_roles_alone(tmp_path, endpoints, role, request_, is_allowed):
    other = machine_of(endpoints, tmp_path, "desk", role)
    async with serving(endpoints) as servers:
        reply = await ask(other, request_)
        assert servers.asked == is_allowed
        if is_allowed:
            assert reply == Done("all", "well")
        else:
            assert isinstance(reply, Refused)
            assert reply.code == "not_allowed"
            assert reply.message.endswith("use the key of an operator")


@given(role=st.sampled_from(ROLES), request_=st.sampled_from((*ORDERS, Status(), Ready("a", 1))))
def test_an_operator_may_ask_for_everything_and_the_others_give_no_order(role, request_):
    if role == "operator":
        assert allows(role, request_)
    elif not isinstance(request_, (*get_args(Report), Status)):
        assert not allows(role, request_)


async def test_an_order_is_logged_with_the_name_of_its_key(tmp_path, endpoints, caplog):
    caplog.set_level(logging.INFO, "bus.control")
    desk = machine_of(endpoints, tmp_path, "desk", "operator")
    async with serving(endpoints):
        await ask(desk, RunJob("universe", ["\x1b[2J"] * 200))
        await ask(endpoints, Stop("track-b"))
        await ask(desk, Status())
    first, second = (record.getMessage() for record in caplog.records if record.name == "bus.control")
    assert first.startswith("RunJob(job='universe'")
    assert first.endswith(" from operator desk")
    assert first.isprintable()
    assert len(first) < 600
    assert second == "Stop(process='track-b') from operator client"


async def test_an_order_over_the_local_socket_is_logged_with_its_user_and_process(tmp_path, caplog):
    caplog.set_level(logging.INFO, "bus.control")
    endpoints = Endpoints(tmp_path / "run")
    async with serving(endpoints):
        assert await ask(endpoints, Stop("track-b")) == Done("all", "well")
    sender = f"the local socket, uid {os.getuid()}, pid {os.getpid()}"
    assert f"Stop(process='track-b') from {sender}" in caplog.messages


# --- the list of clients -------------------------------------------------------------------------------------------


def test_the_key_folder_of_an_earlier_version_is_an_operators(endpoints):
    [own] = clients(endpoints.keys_directory)
    assert (own.name, own.role) == ("client", "operator")
    assert not (endpoints.keys_directory / "clients").exists()


async def test_a_removed_client_is_turned_away(tmp_path, endpoints):
    other = machine_of(endpoints, tmp_path, "desk", "operator")
    kept = machine_of(endpoints, tmp_path, "kept", "operator")
    remove_client(endpoints.keys_directory, "desk")
    async with serving(endpoints) as servers:
        client = ControlClient(other.control)
        with pytest.raises(ControlTimeoutError):
            await client.request(Shutdown(), 0.3)
        assert servers.asked == 0
        assert await ask(kept, Status()) == Done("all", "well")
        client.close()


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "a" * 33, "a\n"])
def test_a_name_that_is_none_is_refused(tmp_path, endpoints, name):
    with pytest.raises(BusError, match="is no name for a client"):
        add_client(endpoints.keys_directory, name, "reader", tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


def test_a_refused_addition_leaves_nothing(tmp_path, endpoints):
    for name, folder in (("client", tmp_path / "new"), ("desk", endpoints.keys_directory)):
        with pytest.raises(BusError):
            add_client(endpoints.keys_directory, name, "reader", folder)
    assert len(clients(endpoints.keys_directory)) == 1
    assert not (tmp_path / "new").exists()


def test_lines_that_are_none_admit_no_client_and_hide_no_other(tmp_path, endpoints):
    desk = add_client(endpoints.keys_directory, "desk", "reader", tmp_path / "desk")
    path = endpoints.keys_directory / "clients"
    path.write_bytes(b"\xff\n\ndesk admin x\nx operator " + b"y" * 39 + b"\n" + path.read_bytes())
    assert clients(endpoints.keys_directory)[1:] == [desk]


def test_changes_at_once_lose_no_client(tmp_path, endpoints):
    names = [f"desk{number}" for number in range(16)]

    def add(name):
        add_client(endpoints.keys_directory, name, "reader", tmp_path / name)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(add, names))
    assert sorted(client.name for client in clients(endpoints.keys_directory)[1:]) == sorted(names)


def test_comments_and_other_lines_stay_when_the_list_changes(tmp_path, endpoints):
    path = endpoints.keys_directory / "clients"
    add_client(endpoints.keys_directory, "desk", "reader", tmp_path / "desk")
    path.write_bytes(b"# of the second floor\n#desk moved\n\n" + path.read_bytes() + b"odd line\n")
    add_client(endpoints.keys_directory, "other", "reader", tmp_path / "other")
    remove_client(endpoints.keys_directory, "desk")
    lines = path.read_text().splitlines()
    assert lines[:4] == ["# of the second floor", "#desk moved", "", "odd line"]
    assert [line.split()[0] for line in lines[4:]] == ["other"]


def test_a_line_that_is_none_is_logged_once_until_it_changes(endpoints, caplog):
    path = endpoints.keys_directory / "clients"
    path.touch(0o600)
    for content in ("# a comment\nodd line\n", "# a comment\nodd line\n", "# a comment\nother line\n"):
        path.write_text(content)
        clients(endpoints.keys_directory)
        clients(endpoints.keys_directory)
    assert caplog.text.count("line 2") == 2
    assert "line 1" not in caplog.text


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o644), lambda path: (path.unlink(), path.mkdir())])
def test_with_a_list_that_others_may_read_or_that_is_none_only_this_machine_is_admitted(
    tmp_path, endpoints, spoil, caplog
):
    add_client(endpoints.keys_directory, "desk", "reader", tmp_path / "desk")
    spoil(endpoints.keys_directory / "clients")
    assert [client.name for client in clients(endpoints.keys_directory)] == ["client"]
    assert "only this machine's own client is admitted" in caplog.text
    with pytest.raises(MissingBusKeysError):
        add_client(endpoints.keys_directory, "other", "reader", tmp_path / "other")


@given(content=st.one_of(st.binary(max_size=300), st.text("deskrau operatin\n01", max_size=300).map(str.encode)))
def test_any_list_of_clients_is_read_and_admits_no_key_that_is_none(content):
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "keys"
        make_keys(directory)
        (directory / "clients").touch(0o600)
        (directory / "clients").write_bytes(content)
        for client in clients(directory):
            assert isinstance(client, Client)
            assert client.role in ROLES
            assert len(client.public) == 40
