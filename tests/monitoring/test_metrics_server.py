"""The small HTTP server: what it answers, and what it does not."""

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.monitoring.metrics import server
from observer.monitoring.metrics.server import Answer, Server, text_answer
from tests.ports import own_port
from tests.waiting import DEADLINE_S, until_async


def fails():
    raise RuntimeError("a figure that cannot be made")


ROUTES = {"/metrics": lambda: text_answer(200, "figures"), "/fails": fails}


async def connection(port):
    """A connection, once the server listens."""

    async def attempt():
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return None

    found = None
    async with asyncio.timeout(DEADLINE_S):
        while found is None:
            found = await attempt()
            await asyncio.sleep(0)
    return found


def answers(*requests):
    """What the server sends to each of these requests, until it closes the connection."""

    async def scenario():
        port = own_port()
        serving = asyncio.create_task(Server(port, ROUTES).run())
        found = []
        for request in requests:
            reader, writer = await connection(port)
            writer.write(request)
            writer.write_eof()
            found.append(await reader.read())
            writer.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return found

    return asyncio.run(scenario())


def status_of(answer):
    return answer.split(b"\r\n")[0].decode()


def test_a_path_is_answered_with_its_content_and_the_connection_ends():
    [answer] = answers(b"GET /metrics?x=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == "HTTP/1.1 200 OK"
    assert b"Content-Length: 8" in head
    assert b"Connection: close" in head
    assert body == b"figures\n"


def test_a_head_request_gets_the_head_alone():
    [answer] = answers(b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 8" in answer


def test_what_is_no_request_for_a_path_is_refused_and_the_next_one_is_answered():
    good = b"GET /metrics HTTP/1.1\r\n\r\n"
    found = answers(
        *(b"POST /metrics HTTP/1.1\r\n\r\n", b"GET /other HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"),
        *(b"GET /fails HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"GET /met", good),
    )
    states = ["HTTP/1.1 405 Method Not Allowed", "HTTP/1.1 404 Not Found", "HTTP/1.1 400 Bad Request"]
    assert [status_of(each) for each in found] == [
        *states,
        "HTTP/1.1 503 Service Unavailable",
        "",
        "",
        "HTTP/1.1 200 OK",
    ]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Host: 127.0.0.1:9464", 200),
        (b"host: LOCALHOST", 200),
        (b"Host: rebound.example", 403),
        (b"Host: 127.0.0.1.example:9464", 403),
        (b"Host: 127.0.0.1\r\nOrigin: http://127.0.0.1", 403),
    ],
)
def test_a_page_in_a_browser_is_refused(header, status):
    assert Server(0, ROUTES).answer_to(b"GET /metrics HTTP/1.1\r\n" + header + b"\r\n\r\n").status == status


@given(st.binary(max_size=200))
def test_any_head_has_an_answer(head):
    assert Server(0, ROUTES).answer_to(head).status in (200, 400, 403, 404, 405, 503)


def test_a_client_that_sends_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S_MAX", 0.05)

    async def scenario():
        port = own_port()
        serving = asyncio.create_task(Server(port, ROUTES).run())
        reader, writer = await connection(port)
        content = await reader.read()
        writer.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return content

    assert asyncio.run(scenario()) == b""


def test_a_port_in_use_is_an_error():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(OSError, match="in use"):
            asyncio.run(Server(held.getsockname()[1], ROUTES).run())


def test_a_client_that_takes_nothing_is_dropped_with_what_waits_for_it(monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S_MAX", 0.05)
    large = Answer(200, "text/plain", b"x" * 30_000_000)

    async def scenario():
        port = own_port()
        serving = Server(port, {"/metrics": lambda: large})
        task = asyncio.create_task(serving.run())
        reader, writer = await connection(port)
        writer.transport.pause_reading()
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        await until_async(lambda: serving._open, "it is served")
        await until_async(lambda: not serving._open, "it is dropped")
        writer.transport.resume_reading()
        taken = 0
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(1 << 20):
                taken += len(part)
        writer.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return taken

    assert asyncio.run(scenario()) < len(large.content)
