"""The processes that the campaign kills: producers and a writer, made of the real classes.

Every event carries its identity (producer, stream, sequence number, machine time), so that the judge can decide from
the rows alone whether each event is stored exactly once and in order.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

import bus.outbox
from bus.events import Trade
from bus.feed import FeedPublisher
from bus.ingest import Ingest, ingest_socket
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.errors import StoreError, StoreFailedError
from observer.store.writer import StoreWriter

SEGMENT_BYTES = 32 * 1024  # some 400 events: segments change, and are trimmed, all the time
TURN_S = 0.005
_PR_SET_PDEATHSIG = 1


class Scene(msgspec.Struct, frozen=True):
    """Where everything of a run is, and how much is offered."""

    folder: Path
    url: str
    events_a_second: int  # by each producer

    @property
    def ingest_address(self) -> str:
        return f"ipc://{self.folder}/ingest"

    def outbox(self, name: str) -> Path:
        return self.folder / "outbox" / name

    def ledger(self, name: str) -> Path:
        return self.folder / "ledger" / name

    def log(self, name: str) -> None:
        """Let this process write its warnings into the scene's log."""
        logging.basicConfig(
            filename=self.folder / "log", level=logging.WARNING, format=f"%(asctime)s {name} %(message)s"
        )


def set_up(folder: Path, url: str, events_a_second: int) -> Scene:
    """The folders, beside a database of the current schema without a row."""
    for name in ("outbox", "ledger"):
        (folder / name).mkdir()
    return Scene(folder, url, events_a_second)


def stamped(name: str, stream: str, number: int) -> Trade:
    """The `number`-th event of the stream: its content says where it belongs."""
    now_ns = time.monotonic_ns()
    return Trade(name, stream, "2026-11-18", now_ns, now_ns, 1.0, 1.0, float(number), number, "buy", None, None)


def die_with_parent() -> None:
    """End this process with its parent, also while stopped by SIGSTOP: a killed run leaves no process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def use_small_segments(size_bytes: int = SEGMENT_BYTES) -> None:
    setattr(bus.outbox, "SEGMENT_BYTES_MAX", size_bytes)  # noqa: B010  (a constant to everybody else)


def stop_on_sigterm() -> threading.Event:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    return stopping


class Ledger:
    """A producer's own note of what it published: one line a turn, written at once."""

    def __init__(self, scene: Scene, name: str, stream: str) -> None:
        self._stream = stream
        self._noted = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(scene.ledger(name), flags, 0o600)

    def note(self, last_sequence: int) -> None:
        if last_sequence > self._noted:
            self._noted = last_sequence
            os.write(self._descriptor, f"{self._stream} {last_sequence}\n".encode())


class Offer:
    """The load: so many events a second, whatever the process is able to do in between."""

    def __init__(self, name: str, stream: str, events_a_second: int) -> None:
        self._name = name
        self._stream = stream
        self._rate = events_a_second
        self._began_s = time.monotonic()
        self.count = 0

    def due(self) -> Sequence[Trade]:
        wanted = int((time.monotonic() - self._began_s) * self._rate)
        first, self.count = self.count + 1, max(self.count, wanted)
        return [stamped(self._name, self._stream, number) for number in range(first, self.count + 1)]

    def farewell(self) -> Trade:
        """One event more."""
        self.count += 1
        return stamped(self._name, self._stream, self.count)


def produce(scene: Scene, name: str, ready: Connection) -> None:
    """Publish until SIGTERM, then wait until all of it (and of this name's earlier lives) is committed. SIGUSR1, once
    it is ready, makes it compress its archive at once.
    """
    die_with_parent()
    use_small_segments()
    stopping = stop_on_sigterm()
    scene.log(name)
    outbox = Outbox(scene.outbox(name), name, uuid.uuid4().hex)
    asyncio.run(_produce(scene, name, outbox, stopping, ready))


async def _produce(scene: Scene, name: str, outbox: Outbox, stopping: threading.Event, ready: Connection) -> None:
    producer = Producer(outbox, scene.ingest_address)
    ledger, offer = Ledger(scene, name, outbox.stream), Offer(name, outbox.stream, scene.events_a_second)
    compress = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, compress.set)
    async with asyncio.TaskGroup() as tasks:
        work = (tasks.create_task(producer.run()), tasks.create_task(_compress(outbox, compress)))
        ready.send_bytes(b"ready")
        while not stopping.is_set():
            for event in offer.due():
                producer.publish(event)
            await asyncio.sleep(TURN_S)  # the pace of the load
            ledger.note(producer.published)
        producer.publish(offer.farewell())  # its acknowledgement shows that the writer answered this life
        while not await producer.drain(1.0):
            pass
        ledger.note(producer.published)
        for task in work:
            task.cancel()
    producer.close()


async def _compress(outbox: Outbox, wanted: asyncio.Event) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        with contextlib.suppress(FileNotFoundError):  # the campaign removed it
            while await asyncio.to_thread(outbox.tidy_archive, 0.0):  # no segment is too old then
                pass


def _opened(url: str) -> StoreWriter | None:
    """A writer; None while the database is being put back. A supervisor would start another process then."""
    try:
        writer = StoreWriter(url)
        writer.open()
    except StoreFailedError:
        return None
    return writer


def write(scene: Scene, ready: Connection) -> None:
    """Commit what comes until SIGTERM, and then what is still waiting."""
    die_with_parent()
    stopping = stop_on_sigterm()
    scene.log("writer")
    while (writer := _opened(scene.url)) is None:
        time.sleep(TURN_S)
    feed = FeedPublisher(f"ipc://{scene.folder}/feed")
    ingest = Ingest(ingest_socket(scene.ingest_address), writer, feed.publish, StoreError)
    ready.send_bytes(b"ready")
    ingest.run(stopping)
    feed.close()
    writer.close()
