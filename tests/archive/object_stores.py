"""A real S3 server on loopback (moto's, a process of its own), and a gate in front of it that fails as networks do."""

import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import boto3
import httpx

from observer.archive.object_store import ObjectStore, StoreKeys
from tests.waiting import until

REGION: Final = "us-east-1"
KEYS: Final = StoreKeys("AKIA-of-a-test-alone", "a-secret-of-a-test-alone")
_ANSWER: Final = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Mode = Literal["open", "failing", "cutting"]


class S3Server:
    """A running server. Its content is in its memory."""

    def __init__(self, endpoint: str, process: subprocess.Popen[bytes]) -> None:
        self.endpoint = endpoint
        self.process = process

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    def client(self, service: str = "s3", keys: StoreKeys = KEYS) -> Any:
        """A client of another library than the lake's."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
        )

    def make_bucket(self, name: str) -> str:
        """Make a bucket and return the URL of a prefix in it."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}/lake"

    def require_keys(self) -> None:
        """From now on refuse keys that the server did not give."""
        assert httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=b"0").status_code == 200


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server on a free port, killed at the end."""
    with tempfile.TemporaryFile() as log:
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(words, stdout=log, stderr=log)

        def address() -> str:
            assert process.poll() is None, "the server ended"
            log.seek(0)
            found = re.search(rb"http://127\.0\.0\.1:\d+", log.read())
            return found.group().decode() if found else ""

        try:
            yield S3Server(until(address, "the server's address"), process)
        finally:
            process.kill()
            process.wait()


def store_at(url: str, endpoint: str, keys: StoreKeys = KEYS) -> ObjectStore:
    return ObjectStore(url, endpoint, REGION, keys)


def objects_of(server: S3Server, url: str) -> Mapping[str, bytes]:
    """The content of every object below a URL, by name, read by another library."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    names = [each["Key"] for page in pages for each in page.get("Contents", [])]
    return {
        name.removeprefix(f"{prefix}/"): client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names
    }


def fetch(server: S3Server, url: str, folder: Path) -> Path:
    """Copy every object below a URL into a folder, as any tool does."""
    for name, content in objects_of(server, url).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


class Gate:
    """Passes connections on to a server; or answers 500, or cuts each, after some bytes of requests; or is stopped."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._mode: Mode = "open"
        self._left = 0
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self.endpoint = f"http://127.0.0.1:{self._address[1]}"
        self.turned_away = 0
        self._begin()

    def set(self, mode: Mode, left: int = 0) -> None:
        """Behave so from now on, or when so many bytes more have passed."""
        self._mode, self._left = mode, left

    def stop(self) -> None:
        """Connections are refused."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in tuple(self._connections):
            _end(each)

    def start(self) -> None:
        """Connections are accepted again, at the same address."""
        self._listener = socket.create_server(self._address)
        self._begin()

    def _begin(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as server:
            self._connections |= {client, server}
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            while content := client.recv(65_536):
                self._left -= len(content)
                if self._mode != "open" and self._left <= 0:
                    self.turned_away += 1
                    if self._mode == "failing":
                        client.sendall(_ANSWER)
                    _end(client)
                    _end(server)
                    return
                server.sendall(content)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    _end(target)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
