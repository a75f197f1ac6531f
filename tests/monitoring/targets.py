"""A target of alerts on loopback: an HTTP server that keeps what it is sent, and can refuse or hang."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import DEADLINE_S

SECRET = "sosecretpathofthistarget"


class Target:
    """What came, in order; `status` is the answer, and while `hangs` is set there is none before `released`."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.attempts = 0
        self.status = 200
        self.hangs = threading.Event()
        self.released = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/{SECRET}"

    @property
    def text(self) -> str:
        return "\n".join(f"{each['title']}\n{each['message']}" for each in self.messages)

    def receive(self, path: str, content: bytes) -> int:
        self.attempts += 1
        if self.hangs.is_set():
            self.released.wait(DEADLINE_S)
            return 503
        if self.status == 200:
            self.paths.append(path)
            self.messages.append(json.loads(content))
        return self.status


@contextlib.contextmanager
def listening() -> Iterator[Target]:
    """A target that listens while the block runs."""
    target = Target()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = target.receive(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            with contextlib.suppress(OSError):  # its client was killed
                self.send_response(status)
                self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    target.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield target
    finally:
        target.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
