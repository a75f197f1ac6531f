"""A broker that sends what no broker should: bodies that inflate, files of line feeds, redirects, floods of garbage.

Each runs beside the simulated broker and takes one of its addresses. `reached` says what it got or did beside the harm
to storage and memory, which the caller judges.
"""

import contextlib
import gzip
import io
import logging
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.chaos.attacked_system import AttackedSystem, Settings, size_bytes
from tests.chaos.inapplicable import InapplicableError

MIB = 2**20
BOMB_BYTES, LINES_BYTES = 400 * MIB, 8 * MIB
FLOOD_FRAMES, FRAME_BYTES = 4_000, 16_384
GROWTH_BYTES_MAX = 16 * MIB
ASKED_S_MAX, WATCHED_S = 60.0, 10.0


# The attacked system leaves connections in the middle of anything. What these servers' libraries log is no outcome.
_SILENT = logging.getLogger("hostile broker")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class HostileBroker:
    """Its address takes the place of one of the configuration's; what happened so far."""

    def __init__(self, changes: Mapping[str, Settings]) -> None:
        self.changes = changes
        self.asked = threading.Event()
        self.over = threading.Event()
        self.secrets: list[str] = []
        self.bytes_max: int | None = None

    def reached(self, attacked: AttackedSystem) -> str:
        """Wait until it was asked and has answered; what it reached."""
        before_bytes = size_bytes(attacked.folder)
        deadline_s = time.monotonic() + ASKED_S_MAX
        while not self.asked.wait(1) and time.monotonic() < deadline_s:
            attacked.system.remember()
        if not self.asked.is_set():
            raise InapplicableError(f"this version did not ask the address within {ASKED_S_MAX:.0f} s")
        self.over.wait(WATCHED_S)
        attacked.stores_within(WATCHED_S)
        grown_bytes = size_bytes(attacked.folder) - before_bytes
        if self.bytes_max is not None and grown_bytes > self.bytes_max:
            return f"{FLOOD_FRAMES:,} frames grew the files by {grown_bytes // MIB} MB"
        return self.secrets[0] if self.secrets else ""


@contextlib.contextmanager
def answering(key: str, answer: Callable[[BaseHTTPRequestHandler, HostileBroker], None]) -> Iterator[HostileBroker]:
    """An HTTP server in the place of this address of the broker."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        broker: ClassVar[HostileBroker]

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self, self.broker)
            self.broker.asked.set()

        do_POST = do_HEAD = do_GET  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), OSError):
                super().handle_error(request, client_address)

    with Server(("127.0.0.1", 0), Handler) as server:
        scheme = "ws" if key == "stream_url" else "http"
        Handler.broker = HostileBroker({"kis": {key: f"{scheme}://127.0.0.1:{server.server_port}"}})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Handler.broker
        finally:
            server.shutdown()


def _send(handler: BaseHTTPRequestHandler, content: bytes, headers: Mapping[str, str]) -> None:
    handler.send_response(200)
    for name, value in {**headers, "Content-Length": str(len(content))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


def bomb() -> AbstractContextManager[HostileBroker]:
    """Each REST answer is some hundred KB that inflate."""
    body = gzip.compress(bytes(BOMB_BYTES), 1)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return answering("rest_url", lambda handler, _: _send(handler, body, headers))


def line_feeds() -> AbstractContextManager[HostileBroker]:
    """Each master file is a zip of line feeds."""

    def answer(handler: BaseHTTPRequestHandler, _: HostileBroker) -> None:
        name = handler.path.rpartition("/")[2].removesuffix(".zip")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, b"\n" * LINES_BYTES)
        _send(handler, packed.getvalue(), {"Content-Type": "application/zip"})

    return answering("files_url", answer)


@contextlib.contextmanager
def redirect() -> Iterator[HostileBroker]:
    """The stream's host sends the client to another one, which takes what it is sent."""
    broker: HostileBroker

    def take(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            if "approval_key" in str(connection.recv(5)):
                broker.secrets.append("the approval key was sent to another host")
                broker.over.set()

    with serve(take, "127.0.0.1", 0, logger=_SILENT) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        port = other.socket.getsockname()[1]

        def answer(handler: BaseHTTPRequestHandler, _: HostileBroker) -> None:
            handler.send_response(302)
            handler.send_header("Location", f"ws://127.0.0.1:{port}/tryitout")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with answering("stream_url", answer) as broker:
            yield broker
        other.shutdown()


@contextlib.contextmanager
def flood() -> Iterator[HostileBroker]:
    """The stream carries frames that no version can read, as fast as they are taken."""

    def send(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            connection.recv(30)
            broker.asked.set()
            for number in range(FLOOD_FRAMES):
                connection.send(f"0|H0STCNT0|001|{number:08}".ljust(FRAME_BYTES, "x"))
            broker.over.set()
            connection.recv(60)

    with serve(send, "127.0.0.1", 0, logger=_SILENT) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        broker = HostileBroker({"kis": {"stream_url": f"ws://127.0.0.1:{server.socket.getsockname()[1]}/tryitout"}})
        broker.bytes_max = GROWTH_BYTES_MAX
        yield broker
        server.shutdown()


BROKER_ATTACKS: Mapping[str, Callable[[], AbstractContextManager[HostileBroker]]] = {
    f"REST body that inflates to {BOMB_BYTES // MIB} MB": bomb,
    f"master file of {LINES_BYTES // MIB} MB of line feeds": line_feeds,
    "stream that redirects to another host": redirect,
    f"flood of {FLOOD_FRAMES:,} unreadable frames of 16 KB": flood,
}
