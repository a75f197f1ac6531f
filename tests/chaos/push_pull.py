"""The negative control: the same load over PUSH/PULL, as many would build it. The judge must find what this loses.

Producers append to the same outbox (so that the judge knows the truth), then push and forget. The other end commits
what it pulls. No side numbers, acknowledges or repeats a message.
"""

import contextlib
import sqlite3
import time
import uuid
from multiprocessing.connection import Connection

import zmq
from msgspec.structs import astuple
from sqlalchemy import make_url

from bus.codec import decode_events, unpack
from bus.events import Trade
from bus.outbox import Outbox
from bus.segments import Packed
from tests.chaos.actors import TURN_S, Ledger, Offer, Scene, die_with_parent, stop_on_sigterm, use_small_segments
from tests.store.writable import with_writable_trades

_COLUMNS = 2 + len(Trade.__struct_fields__)  # stream and sequence, and the fields of a trade


def push(scene: Scene, name: str, ready: Connection) -> None:
    """Publish until SIGTERM."""
    die_with_parent()
    use_small_segments()
    stopping = stop_on_sigterm()
    outbox = Outbox(scene.outbox(name), name, uuid.uuid4().hex)
    ledger, offer = Ledger(scene, name, outbox.stream), Offer(name, outbox.stream, scene.events_a_second)
    socket: zmq.SyncSocket = zmq.Context.instance().socket(zmq.PUSH)
    socket.connect(scene.ingest_address)
    ready.send_bytes(b"ready")
    while not stopping.is_set():
        if events := offer.due():
            first = outbox.last_sequence + 1
            outbox.append(events)
            packed = outbox.batch_at(outbox.stream, first)
            assert isinstance(packed, Packed)
            with contextlib.suppress(zmq.Again):
                socket.send(name.encode() + b"|" + packed.content, zmq.NOBLOCK)
            ledger.note(outbox.last_sequence)
        time.sleep(TURN_S)  # the pace of the load
    socket.close(linger=5_000)
    zmq.Context.instance().term()
    outbox.close(delivered=False)


def pull(scene: Scene, ready: Connection) -> None:
    """Commit what comes until SIGTERM, and then what is still waiting."""
    die_with_parent()
    stopping = stop_on_sigterm()
    socket: zmq.SyncSocket = zmq.Context.instance().socket(zmq.PULL)
    socket.bind(scene.ingest_address)
    ready.send_bytes(b"ready")
    with contextlib.closing(sqlite3.connect(str(make_url(scene.url).database))) as database:
        with_writable_trades(database)
        while not stopping.is_set() or socket.poll(100):
            if socket.poll(50):
                _store(database, socket.recv())


def _store(database: sqlite3.Connection, message: bytes) -> None:
    name, _, packed = message.partition(b"|")
    batch = unpack(packed)
    with database:
        database.execute(
            "INSERT OR IGNORE INTO streams (uid, producer, high_water_mark, duplicates) VALUES (?, ?, 0, 0)",
            (batch.stream, name.decode()),
        )
        [stream_id] = database.execute("SELECT id FROM streams WHERE uid = ?", (batch.stream,)).fetchone()
        positions = ((stream_id, sequence) for sequence in range(batch.first_sequence, batch.last_sequence + 1))
        rows = [(*position, *astuple(event)) for position, event in zip(positions, decode_events(batch), strict=True)]
        database.executemany(f"INSERT INTO trades VALUES ({', '.join('?' * _COLUMNS)})", rows)
