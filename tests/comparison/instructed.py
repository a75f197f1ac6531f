"""The programs whose instructions `tests.comparison.instructions` counts; each runs on the code of any checkout.

    python instructed.py prepare FOLDER COUNT     make an empty database and the batches of COUNT trades in FOLDER
    python instructed.py PROGRAM FOLDER COUNT     run one of the programs on COUNT trades in the prepared FOLDER

It imports nothing of `tests`: the checkout's `bus` and `observer` are taken from PYTHONPATH.
"""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import zmq

from bus.batch_feed import BatchFeedPublisher
from bus.codec import pack
from bus.delivery import BATCH, HELLO, Acknowledged, Delivered, Hello, ToProducer, Welcome
from bus.endpoints import Endpoints
from bus.feed import FeedPublisher
from bus.ingest import Ingest
from bus.outbox import Outbox
from bus.producer import Producer
from observer.bench.frames import made_frames
from observer.bench.trades import lots, trade
from observer.errors import StoreError
from observer.providers.kis.frames import parse_trades
from observer.store.engine import migrate
from observer.store.writer import StoreWriter

BATCH_EVENTS: Final = 500
RECEIVED_NS: Final = 1_790_000_000_000_000_000
STREAM: Final = "0123456789abcdef" * 2

_decoder: Final = msgspec.msgpack.Decoder(ToProducer)
_encoder: Final = msgspec.msgpack.Encoder()


class SignallingOutbox(Outbox):
    """An outbox that states when everything in it is acknowledged."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "source", STREAM)
        self.emptied = asyncio.Event()

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        super().acknowledge(stream, high_water_mark)
        if high_water_mark == self.last_sequence:
            self.emptied.set()


def prepare(folder: Path, count: int) -> None:
    migrate(_url(folder))
    (folder / "batches").mkdir()
    for number, lot in enumerate(lots(count, BATCH_EVENTS)):
        content = pack(STREAM, number * BATCH_EVENTS + 1, lot)
        (folder / "batches" / f"{number:06}").write_bytes(content)


def ingest(folder: Path, count: int) -> None:
    """The writer takes batches of 500 trades, each committed and acknowledged before the next one comes."""
    names = sorted((folder / "batches").iterdir())[: count // BATCH_EVENTS]
    with _writer(folder) as endpoints:
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoints.ingest)
        socket.send_multipart([HELLO, _encoder.encode(Hello("source", {STREAM: 0}))])
        assert isinstance(_decoder.decode(socket.recv()), Welcome)
        for number, name in enumerate(names, start=1):
            socket.send_multipart([BATCH, name.read_bytes()])
            answer = _decoder.decode(socket.recv())
            assert isinstance(answer, Acknowledged)
            assert answer.high_water_mark == number * BATCH_EVENTS
        socket.close()


def latency(folder: Path, count: int) -> None:
    """One trade after the other from `publish` to its acknowledgement: producer, outbox, socket, writer, commit."""
    with _writer(folder) as endpoints:
        asyncio.run(_publish_each(folder, endpoints, count))


def frames_of_1(_folder: Path, count: int) -> None:
    """Frames of one trade, by far the commonest, become events."""
    _parse(made_frames(1, count), count)


def frames_of_4(_folder: Path, count: int) -> None:
    """Frames of four trades become events."""
    _parse(made_frames(4, count // 4), count)


PROGRAMS: Final[Mapping[str, Callable[[Path, int], None]]] = {
    "prepare": prepare,
    "ingest": ingest,
    "latency": latency,
    "frames_of_1": frames_of_1,
    "frames_of_4": frames_of_4,
}


async def _publish_each(folder: Path, endpoints: Endpoints, count: int) -> None:
    outbox = SignallingOutbox(folder / "outbox")
    producer = Producer(outbox, endpoints.ingest)
    delivery = asyncio.create_task(producer.run())
    for number in range(1, count + 1):
        outbox.emptied.clear()
        producer.publish(trade(number))
        await outbox.emptied.wait()
    delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)
    producer.close()


def _parse(frames: Sequence[bytes], count: int) -> None:
    read = 0
    for frame in frames:
        trades, unreadable = parse_trades(frame, RECEIVED_NS)
        assert unreadable is None
        read += len(trades)
    assert read == count


@contextmanager
def _writer(folder: Path) -> Iterator[Endpoints]:
    """What the core writer runs on one thread, on a database in the folder."""
    endpoints = Endpoints(folder / "run")
    writer = StoreWriter(_url(folder))
    writer.open()
    feed, batch_feed = FeedPublisher(endpoints.feed), BatchFeedPublisher(endpoints.batch_feed)

    def committed(group: Sequence[Delivered]) -> None:
        feed.publish(group)
        batch_feed.publish(group)
        writer.renew_ownership()

    ingesting = Ingest(endpoints.ingest, writer, committed, StoreError)
    stopping = threading.Event()
    thread = threading.Thread(target=ingesting.run, args=(stopping,))
    thread.start()
    try:
        yield endpoints
    finally:
        stopping.set()
        thread.join()
        feed.close()
        batch_feed.close()
        writer.close()


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'observer.db'}"


if __name__ == "__main__":
    gc.disable()  # when it runs depends on how much was made before; the writer collects once in 100,000 objects
    _, program, path, size = sys.argv
    PROGRAMS[program](Path(path), int(size))
