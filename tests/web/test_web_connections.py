"""The server's connections over real sockets: stalled, idle and unfinished ones end, and a new request is answered."""

import asyncio
import contextlib
import json
import socket

import httpx
import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from observer.monitoring.metrics.counters import COUNTERS
from observer.web.broadcast import CLIENTS_MAX
from observer.web.connections import Bounds, Connection, Connections
from observer.web.server import BOUNDS
from tests.folders import short_folder
from tests.waiting import DEADLINE_S, until_async
from tests.web.running import filled, page

LONG = "x" * 200_000
FOLLOW = b"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PAGE = b"GET /page/main.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def settings():
    with short_folder() as folder:
        yield filled(folder)


def dropped(reason):
    found = [each for each in COUNTERS.samples() if each.metric == "observer_page_connections_dropped_total"]
    return sum(each.value for each in found if each.labels == (reason,))


async def is_ended(connection):
    """Whether the server ended it, after all that it sent."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while await loop.sock_recv(connection, 65_536):
            pass
    return True


async def test_streams_that_take_nothing_are_dropped_and_the_next_one_is_served(settings):
    before = dropped("reading")
    async with page(settings, Bounds(reading_s=0.5)) as found, contextlib.AsyncExitStack() as stack:
        found.states.give(LONG)
        await until_async(lambda: found.broadcast.json, "the first state")
        for _ in range(CLIENTS_MAX):
            stalled = stack.enter_context(contextlib.closing(await found.connection(4_096)))
            await asyncio.get_running_loop().sock_sendall(stalled, FOLLOW)
        await until_async(lambda: found.broadcast.clients == CLIENTS_MAX, "the streams")
        refused = await found.asked("/api/live")
        assert (refused.status_code, "follow the state" in refused.json()["error"]) == (503, True)

        def are_dropped():
            found.states.give(LONG)
            return found.broadcast.clients == 0

        await until_async(are_dropped, "the stalled streams")
        assert dropped("reading") == before + CLIENTS_MAX
        async with (
            httpx.AsyncClient(timeout=DEADLINE_S) as client,
            client.stream("GET", f"http://127.0.0.1:{found.port}/api/live") as answer,
        ):
            assert (await anext(answer.aiter_lines()), found.broadcast.clients) == ("retry: 1000", 1)


async def test_a_stream_that_is_read_stays_while_others_are_dropped(settings):
    async with page(settings, Bounds(reading_s=0.2)) as found:
        found.states.give(LONG)
        await until_async(lambda: found.broadcast.json, "the first state")
        with contextlib.closing(await found.connection(4_096)) as stalled:
            await asyncio.get_running_loop().sock_sendall(stalled, FOLLOW)
            async with (
                httpx.AsyncClient(timeout=DEADLINE_S) as client,
                client.stream("GET", f"http://127.0.0.1:{found.port}/api/live") as answer,
            ):
                lines = answer.aiter_lines()
                await until_async(lambda: found.broadcast.clients == 2, "both streams")
                while found.broadcast.clients == 2:
                    found.states.give(LONG)
                    while not (await anext(lines)).startswith("data: "):
                        pass
                found.states.give("the end")
                data = ""
                while "the end" not in data:
                    data = await anext(lines)
                assert json.loads(data.removeprefix("data: "))["headline"] in ("the end", ["the end"]), (
                    "whole or a change"
                )


async def _app(_scope, _receive, _send):
    """Answers nothing."""


@pytest.mark.parametrize("closing", [False, True])
async def test_a_client_that_takes_some_of_a_large_answer_does_not_count_as_one_that_takes_nothing(closing):
    loop = asyncio.get_running_loop()
    config = Config(_app, ws="none", lifespan="off")
    connection = Connection(Connections(Bounds()), config=config, server_state=ServerState(), app_state={})
    server, client = socket.socketpair()
    client.setblocking(False)
    with contextlib.closing(client):
        transport, _ = await loop.connect_accepted_socket(lambda: connection, server)
        transport.write(b"x" * 8_000_000)
        if closing:
            transport.close()
        assert (connection.waits_for(1.0), connection.since_s) == ("reading", 1.0)
        assert (connection.waits_for(9.0), connection.since_s) == ("reading", 1.0), "it takes nothing"
        left_bytes = transport.get_write_buffer_size()
        while transport.get_write_buffer_size() == left_bytes:
            await loop.sock_recv(client, 65_536)
        assert (connection.waits_for(10.0), connection.since_s) == ("reading", 10.0), "it takes some"
        transport.abort()


async def test_with_as_many_idle_connections_as_may_be_a_new_request_is_answered(settings):
    before = dropped("displaced")
    async with page(settings) as found, contextlib.AsyncExitStack() as stack:
        idle = [
            stack.enter_context(contextlib.closing(await found.connection())) for _ in range(BOUNDS.connections_max)
        ]
        assert (await found.asked("/page/main.js")).status_code == 200
        assert dropped("displaced") == before + 1
        ends = [asyncio.create_task(is_ended(each)) for each in idle]
        await until_async(lambda: any(each.done() for each in ends), "the end of one")
        assert [number for number, each in enumerate(ends) if each.done()] == [0]
        for each in ends:
            each.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def test_a_connection_without_a_whole_request_ends(settings):
    bounds = Bounds(request_s=0.3)
    order = b"POST /api/orders/pin HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"
    unfinished = (b"", b"GET / HT", PAGE[:-2] + b"X-More: 1", order)

    before = dropped("request")
    async with page(settings, bounds) as found, contextlib.AsyncExitStack() as stack:
        for sent in unfinished:
            connection = stack.enter_context(contextlib.closing(await found.connection()))
            await asyncio.get_running_loop().sock_sendall(connection, sent)
            async with asyncio.timeout(DEADLINE_S):
                assert await is_ended(connection)
        assert dropped("request") == before + len(unfinished)


async def test_an_idle_connection_ends_a_short_time_after_its_answer(settings):
    async with page(settings, Bounds(keep_alive_s=1, request_s=600)) as found:
        with contextlib.closing(await found.connection()) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, PAGE)
            async with asyncio.timeout(DEADLINE_S):
                assert await is_ended(connection)


async def test_where_the_server_has_to_answer_all_connections_one_more_hears_so(settings):
    async with page(settings, Bounds(connections_max=2)) as found, httpx.AsyncClient(timeout=DEADLINE_S) as client:
        found.states.give("a state")
        await until_async(lambda: found.broadcast.json, "the first state")
        address = f"http://127.0.0.1:{found.port}/api/live"
        async with client.stream("GET", address), client.stream("GET", address):
            await until_async(lambda: found.broadcast.clients == 2, "the streams")
            refused = await found.asked("/page/main.js")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json() == {"error": "all connections are busy: ask again in a second"}


@pytest.mark.parametrize("sent", [b"no http at all\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000])
async def test_what_is_no_request_is_refused_in_the_form_of_all_refusals(settings, sent):
    async with page(settings) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        writer.write(sent)
        async with asyncio.timeout(DEADLINE_S):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")
        assert b"x-content-type-options: nosniff" in head
        assert json.loads(body)["error"].startswith("no HTTP request")
