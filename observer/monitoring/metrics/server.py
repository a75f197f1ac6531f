"""A small HTTP server on loopback: GET of a few paths, one answer a connection."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

logger = logging.getLogger(__name__)

ADDRESS: Final = "127.0.0.1"
REQUEST_S_MAX: Final = 5.0  # machine seconds for a request to arrive and its answer to leave
REQUEST_BYTES_MAX: Final = 8_192
HOSTS: Final = (b"127.0.0.1", b"localhost")  # a page in a browser may reach loopback by another name
CONNECTIONS_MAX: Final = 16  # further ones are refused: the host has other work
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request: status, media type, content."""

    status: int
    media_type: str
    content: bytes


Route = Callable[[], Answer]


def text_answer(status: int, text: str) -> Answer:
    """A line of text."""
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class Server:
    """Answers GET requests of these paths while `run` runs. What is no such request gets an error and no more."""

    def __init__(self, port: int, routes: Mapping[str, Route]) -> None:
        self._port = port
        self._routes = routes
        self._open = 0

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            OSError: the port is in use.
        """
        server = await asyncio.start_server(self._serve, ADDRESS, self._port, limit=REQUEST_BYTES_MAX)
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_S_MAX):
                    await self._answer(reader, writer)
        except TimeoutError:
            writer.transport.abort()  # closing would wait for a client that takes nothing
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went, or sends what is no request: it gets no answer
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        answer = self.answer_to(head)
        is_head = head.startswith(b"HEAD ")
        writer.write(
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
            f"Content-Type: {answer.media_type}\r\nContent-Length: {len(answer.content)}\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write(b"" if is_head else answer.content)
        await writer.drain()

    def answer_to(self, head: bytes) -> Answer:
        """The answer to a request with this head."""
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return text_answer(400, "this is no HTTP request")
        if not _is_local(head):
            return text_answer(403, "only for programs of this machine: no Origin, and a Host of loopback")
        if method not in (b"GET", b"HEAD"):
            return text_answer(405, "only GET")
        route = self._routes.get(target.partition(b"?")[0].decode(errors="replace"))
        if route is None:
            return text_answer(404, f"there are {', '.join(self._routes)}")
        try:
            return route()
        except Exception:  # a figure that cannot be made must not end the host
            logger.exception("no answer to a request of the exporter")
            return text_answer(503, "see the log")


def _is_local(head: bytes) -> bool:
    """Whether a request is no browser page's: it states no Origin, and a host of loopback, if any."""
    headers = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    hosts = [value.strip().partition(b":")[0] for name, _, value in headers if name == b"host"]
    return all(host in HOSTS for host in hosts) and all(name != b"origin" for name, _, _ in headers)
