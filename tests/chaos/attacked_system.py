"""A system of any checkout that `tests.chaos.attacks` attacks, and what shows from outside how it does.

It speaks with the system as a stranger does: the checkout's own command, bytes on its sockets, its database file and
/proc. Nothing of the checkout is imported, so old commits can be attacked.
"""

import contextlib
import itertools
import os
import struct
import subprocess
import sys
import threading
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import psutil
import tomli_w
import zmq

from observer.base.local_time import local_ns
from observer.demo.configuration import DAY
from tests.bus.test_bus_curve import free_addresses
from tests.waiting import until
from tests.whole.running import System

STARTS_S_MAX = 180.0
STORES_S_MAX = 60.0
MIB = 2**20
encode = msgspec.msgpack.encode

Role = Literal["collector", "reader"]
Settings = dict[str, Any]


class Checkout:
    """A folder with Observer's sources and a virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.program = str(self.folder / ".venv" / "bin" / "observer")

    def has(self, file: str, text: str) -> bool:
        """Whether the source file is there and holds the text."""
        path = self.folder / file
        return path.exists() and text in path.read_text()

    @property
    def has_roles(self) -> bool:
        """Whether keys have roles; before, one key was for all clients."""
        return (self.folder / "bus" / "roles.py").exists()

    def hello(self, producer: str, streams: Sequence[str]) -> bytes:
        """A producer's hello as this version reads it."""
        is_list = self.has("bus/delivery.py", "streams: Sequence[str]\n")
        return encode(["hello", producer, list(streams) if is_list else dict.fromkeys(streams, 0)])

    def run(self, *arguments: object, within_s: float = 60.0) -> "subprocess.CompletedProcess[bytes]":
        """A command; one that does not end is killed, and has status -9."""
        with subprocess.Popen(
            [self.program, *map(str, arguments)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as running:
            try:
                out, errors = running.communicate(timeout=within_s)
            except subprocess.TimeoutExpired:
                killed(running.pid)
                out, errors = running.communicate()
            return subprocess.CompletedProcess(arguments, running.returncode, out, errors)


def killed(pid: int) -> None:
    """Kill a process of ours and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def head(stream: str, count: int) -> bytes:
    """The head of a batch that begins with the stream's first event (`bus.codec`)."""
    return struct.pack("<16sQIH", bytes.fromhex(stream), 1, count, 2)


class AttackedSystem:
    """`observer run` of a checkout in the hours of trading, with its sockets on the network and keys for strangers."""

    def __init__(self, checkout: Checkout, folder: Path, changes: Mapping[str, Settings]) -> None:
        self.checkout = checkout
        self.folder = folder / "d"
        self.configuration = self.folder / "observer.toml"
        self._make_configuration(changes)
        self._make_keys()
        clock = f"scaled:{local_ns(DAY, 10)}:{time.monotonic_ns()}:1.0"
        self.system = System(
            self.folder,
            *("run", "--config", self.configuration),
            environment={"OBSERVER_CLOCK": clock},
            program=checkout.program,
        )
        self._numbers = itertools.count(1)
        self._context = zmq.Context()

    def _make_configuration(self, changes: Mapping[str, Settings]) -> None:
        """That of a demo, which is interrupted at once."""
        arguments = ("demo", "--json", "--symbols", 50, "--folder", self.folder)
        demo = System(self.folder, *arguments, program=self.checkout.program)
        try:
            demo.until((self.folder / "data" / "logs").exists, "a configuration")
            demo.interrupt()
        finally:
            demo.clear_away()
        for path in (self.folder / "data").glob("observer.db*"):
            path.unlink()
        self.settings: Settings = tomllib.loads(self.configuration.read_text())
        feed = "batch_feed" if self.checkout.has("bus/endpoints.py", '"batch_feed"') else "tap"
        free = free_addresses()
        addresses = {"ingest": free.ingest, "feed": free.feed, feed: free.batch_feed, "control": free.control}
        self.settings["run"]["endpoints"] = addresses
        for section, keys in changes.items():
            self.settings[section] = {**self.settings.get(section, {}), **keys}
        self.configuration.write_text(tomli_w.dumps(self.settings))

    def _make_keys(self) -> None:
        done = [self.checkout.run("keys", "make", "--config", self.configuration)]
        for role in ("collector", "reader"):
            runtime = self.folder.parent / role
            runtime.mkdir(0o700)
            arguments = ("keys", "add", role, "--role", role, "--out", runtime / "keys", "--config", self.configuration)
            if self.checkout.has_roles:
                done.append(self.checkout.run(*arguments))
            else:
                (runtime / "keys").symlink_to(self.folder / "run" / "keys")
            settings = {**self.settings, "run": {**self.settings["run"], "runtime": str(runtime)}}
            (self.folder.parent / f"{role}.toml").write_text(tomli_w.dumps(settings))
            (self.folder.parent / f"{role}.toml").chmod(0o600)
        assert not any(each.returncode for each in done), done

    def configuration_of(self, role: Role) -> Path:
        """The configuration of another machine, whose key has this role."""
        return self.folder.parent / f"{role}.toml"

    @contextlib.contextmanager
    def client(self, socket: str, role: Role, kind: int = zmq.DEALER) -> Iterator["zmq.Socket[bytes]"]:
        """A socket that is connected with the key of this role."""
        keys = self.folder.parent / role / "keys"
        with self._context.socket(kind) as client:
            for option in (zmq.LINGER, zmq.SNDHWM, zmq.RCVHWM):
                client.setsockopt(option, 0)
            client.curve_serverkey = (keys / "server.public").read_bytes().strip()
            client.curve_publickey = (keys / "client.public").read_bytes().strip()
            client.curve_secretkey = (keys / "client.secret").read_bytes().strip()
            client.connect(self.settings["run"]["endpoints"][socket])
            yield client

    def port(self, socket: str) -> int:
        """Of a socket on the network."""
        return int(self.settings["run"]["endpoints"][socket].rpartition(":")[2])

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.system.process, *self.system.process.children(recursive=True)]
        return []

    def writer(self) -> int:
        """The pid of the writer, as the database has it."""
        return until(lambda: self.system.pids().get("core-writer", 0), "the writer runs")

    def stores_within(self, seconds: float) -> float | None:
        """Machine seconds until a good producer's trade, sent again and again, is in the database; None: it is not."""
        began_s = time.monotonic()
        stream, symbol = uuid.uuid4().hex, f"PROBE{next(self._numbers)}"
        trade = ["trade", "kis", symbol, DAY.isoformat(), local_ns(DAY, 10), local_ns(DAY, 10)]
        batch = head(stream, 1) + encode([[*trade, 100.0, 1.0, 1.0, None, "buy", None, None]])
        query = f"SELECT count(*) FROM trades WHERE symbol = '{symbol}'"
        with self.client("ingest", "collector") as producer:
            while time.monotonic() - began_s < seconds and self.system.process.poll() is None:
                producer.send_multipart([b"H", self.checkout.hello("probe", [stream])])
                if producer.poll(1_000):
                    producer.recv()
                    producer.send_multipart([b"B", batch])
                    producer.poll(1_000)
                if self.system.rows(query) not in ([], [(0,)]):
                    return time.monotonic() - began_s
        return None

    def until_it_stores(self) -> None:
        """Wait for the start."""
        assert self.stores_within(STARTS_S_MAX) is not None, self.system.errors

    def close(self) -> None:
        """Stop it in order, and kill what is left."""
        self.system.clear_away()
        self._context.destroy(0)


@contextlib.contextmanager
def attacked(
    checkout: Checkout, folder: Path, changes: Mapping[str, Settings] | None = None
) -> Iterator[AttackedSystem]:
    """A system that stores; at the end no process of it is left."""
    folder.mkdir()
    under_attack = AttackedSystem(checkout, folder, changes or {})
    try:
        under_attack.until_it_stores()
        yield under_attack
    finally:
        under_attack.close()


class MemoryPeak:
    """The largest resident memory of one of the processes, in MB, that was seen while the block ran."""

    def __init__(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        self._processes = processes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mb = 0

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._see()

    def _see(self) -> None:
        for each in self._processes():
            with contextlib.suppress(psutil.Error):
                self.mb = max(self.mb, each.memory_info().rss // MIB)

    def __enter__(self) -> Self:
        self._see()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def own_checkout() -> Checkout:
    """The one whose Python runs this."""
    return Checkout(Path(sys.executable).parents[2])


def size_bytes(folder: Path) -> int:
    """Of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and os.access(path, os.R_OK))
