"""An outage of the database costs no event and hardly any event is sent twice, on both databases.

What was sent is read from the wire, in front of the writer; what is stored from the database.
"""

import asyncio
import contextlib
import socket
import sqlite3
import threading
import uuid

import psycopg
import pytest
import zmq
from sqlalchemy import make_url

from bus.codec import unpack
from bus.delivery import BATCH, HELLO
from bus.ingest import Ingest, ingest_socket
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.errors import StoreError
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.store.raw import query
from tests.waiting import DEADLINE_S, until_async

EVENTS = 9_000
HELLOS = 3  # of an outage: each forgets what is under way
SENT_SHARE_MAX = 1.1


class Wire:
    """Passes messages between one producer and the writer, and counts those of the producer."""

    def __init__(self, folder):
        self.address = f"ipc://{folder}/wire"
        self.events = 0
        self.hellos = 0
        context = zmq.Context.instance()
        self._front, self._back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        for each in (self._front, self._back):
            each.setsockopt(zmq.LINGER, 0)
            each.set_hwm(0)
        self._front.bind(self.address)
        self._back.connect(f"ipc://{folder}/ingest")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._pass_on)
        self._thread.start()

    def _pass_on(self):
        route, poller = b"", zmq.Poller()
        for each in (self._front, self._back):
            poller.register(each, zmq.POLLIN)
        while not self._stopping.is_set():
            ready = dict(poller.poll(50))
            if self._front in ready:
                route, *frames = self._front.recv_multipart()
                self.events += unpack(frames[1]).count if frames[0] == BATCH else 0
                self.hellos += frames[0] == HELLO
                self._back.send_multipart(frames)
            if self._back in ready:
                self._front.send_multipart([route, *self._back.recv_multipart()])

    def close(self):
        self._stopping.set()
        self._thread.join()
        self._front.close()
        self._back.close()


class Line:
    """A TCP port that leads to the PostgreSQL server, until it is cut."""

    def __init__(self, host, port):
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.is_cut = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client, _ = self._listening.accept()
                if self.is_cut:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

    def cut(self):
        self.is_cut = True
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.cut()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._open:
            each.close()


def _copy(source, sink):
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def refusing(url):
    """The database refuses every commit: SQLite's file is locked, PostgreSQL's disk is full."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(make_url(url).database or "", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            yield
            lock.execute("ROLLBACK")
        return
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$"
        )
        connection.execute("CREATE TRIGGER refuse BEFORE UPDATE ON streams EXECUTE FUNCTION refuse()")
        try:
            yield
        finally:  # the schema is that of the next test
            connection.execute("DROP FUNCTION refuse CASCADE")


@contextlib.contextmanager
def cutting(line):
    """The writer's connection is lost, and none comes about."""
    line.cut()
    yield
    line.is_cut = False


@contextlib.contextmanager
def writing(folder, url):
    writer = StoreWriter(url)
    writer.open()
    ingest = Ingest(ingest_socket(f"ipc://{folder}/ingest"), writer, lambda _group: None, StoreError)
    stopping = threading.Event()
    thread = threading.Thread(target=ingest.run, args=[stopping])
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        writer.close()


async def outlive(folder, wire, outage):
    """Publish before, in and after an outage that lasts for HELLOS hellos."""
    producer = Producer(Outbox(folder / "outbox", "track-b", uuid.uuid4().hex), wire.address)
    delivering = asyncio.create_task(producer.run())
    third = EVENTS // 3
    producer.publish(*trades(third))
    assert await producer.drain(DEADLINE_S)
    # Only in the outage is the producer's patience short: a busy machine is silent for a moment, too.
    with outage, pytest.MonkeyPatch.context() as patches:
        patches.setattr("bus.sender.SILENCE_S", 0.1)
        before = wire.hellos
        for first in range(third + 1, 2 * third + 1, 100):
            producer.publish(*trades(100, first))
            await asyncio.sleep(0)
        await until_async(lambda: wire.hellos >= before + HELLOS, "the writer is silent")
    producer.publish(*trades(third, 2 * third + 1))
    assert await producer.drain(DEADLINE_S)
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)
    producer.close()


def require_bound(url, wire):
    assert query(url, "SELECT count(*), count(DISTINCT sequence), max(sequence) FROM trades") == [(EVENTS,) * 3]
    assert EVENTS <= wire.events <= EVENTS * SENT_SHARE_MAX


@pytest.fixture
def wire(tmp_path, monkeypatch):
    monkeypatch.setattr("bus.sender.SILENCE_S", 1.0)
    made = Wire(tmp_path)
    yield made
    made.close()


def test_while_commits_are_refused_hardly_an_event_is_sent_twice(tmp_path, wire, database_url):
    with writing(tmp_path, database_url):
        asyncio.run(outlive(tmp_path, wire, refusing(database_url)))
    require_bound(database_url, wire)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_while_the_connection_is_lost_hardly_an_event_is_sent_twice(tmp_path, wire, database_url):
    address = make_url(database_url)
    with contextlib.closing(Line(address.host or "127.0.0.1", address.port or 5432)) as line:
        by_line = address.set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        with writing(tmp_path, by_line):
            asyncio.run(outlive(tmp_path, wire, cutting(line)))
    require_bound(database_url, wire)
