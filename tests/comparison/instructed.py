"""The programs whose instructions `tests.comparison.instructions` counts, each checkout its own.

    python instructed.py prepare FOLDER     make an empty database and the batches of the trades in FOLDER
    python instructed.py measure FOLDER     run each program there, with marks for callgrind around the measured part

The modules are the checkout's, by PYTHONPATH.
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import zmq

from bus.batch_feed import BatchFeedPublisher
from bus.codec import pack
from bus.delivery import BATCH, HELLO, Acknowledged, Delivered, Hello, ToProducer, Welcome
from bus.endpoints import Endpoints
from bus.feed import FeedPublisher
from bus.ingest import Ingest, ingest_socket
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.errors import StoreError
from observer.brokers.kis.frames import parse_trades
from observer.store.engine import migrate
from observer.store.writer import StoreWriter
from tests.bench.frames import made_frames
from tests.bench.trades import lots, trade

BATCH_EVENTS: Final = 500
RECEIVED_NS: Final = 1_790_000_000_000_000_000
STREAM: Final = "0123456789abcdef" * 2

_decoder: Final[msgspec.msgpack.Decoder[ToProducer]] = msgspec.msgpack.Decoder(ToProducer)
_encoder: Final = msgspec.msgpack.Encoder()


class SignallingOutbox(Outbox):
    """An outbox that states when everything in it is acknowledged."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "source", STREAM[::-1])
        self.emptied = asyncio.Event()

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        super().acknowledge(stream, high_water_mark)
        if high_water_mark == self.last_sequence:
            self.emptied.set()


def prepare(folder: Path) -> None:
    migrate(_url(folder))
    (folder / "batches").mkdir()
    for number, lot in enumerate(lots(2 * TRADES["ingest"], BATCH_EVENTS)):
        content = pack(STREAM, number * BATCH_EVENTS + 1, lot)
        (folder / "batches" / f"{number:06}").write_bytes(content)


def measure(folder: Path) -> None:
    """Run each program twice, the first time to warm it up."""
    for name, begin in PROGRAMS.items():
        with begin(folder) as run:
            run(TRADES[name])
            mark()
            run(TRADES[name])
            mark()


def mark() -> None:
    """A call of the one function at which callgrind writes its counts down and begins anew (a setting of the run)."""
    os.getpriority(os.PRIO_PROCESS, 0)


@contextmanager
def ingest(folder: Path) -> Iterator[Callable[[int], None]]:
    """The writer takes batches of 500 trades, each committed and acknowledged before the next one comes."""
    names, sent = iter(sorted((folder / "batches").iterdir())), 0
    with _writer(folder) as endpoints, zmq.Context.instance().socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(str(endpoints.ingest))
        socket.send_multipart([HELLO, _encoder.encode(Hello("source", {STREAM: 0}))])
        assert isinstance(_decoder.decode(socket.recv()), Welcome)

        def run(count: int) -> None:
            nonlocal sent
            for _ in range(count // BATCH_EVENTS):
                socket.send_multipart([BATCH, next(names).read_bytes()])
                sent += BATCH_EVENTS
                answer = _decoder.decode(socket.recv())
                assert isinstance(answer, Acknowledged)
                assert answer.high_water_mark == sent

        yield run


@contextmanager
def latency(folder: Path) -> Iterator[Callable[[int], None]]:
    """One trade after the other from `publish` to its acknowledgement: producer, outbox, socket, writer, commit."""
    with _writer(folder) as endpoints, asyncio.Runner() as runner:
        outbox = SignallingOutbox(folder / "outbox")
        producer: Producer
        delivery: asyncio.Task[None]

        async def begin() -> None:
            nonlocal producer, delivery
            producer = Producer(outbox, endpoints.ingest)
            delivery = asyncio.create_task(producer.run())

        async def publish_each(count: int) -> None:
            for number in range(1, count + 1):
                outbox.emptied.clear()
                producer.publish(trade(number))
                await outbox.emptied.wait()

        async def end() -> None:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            producer.close()

        runner.run(begin())
        yield lambda count: runner.run(publish_each(count))
        runner.run(end())


@contextmanager
def frames_of_1(_folder: Path) -> Iterator[Callable[[int], None]]:
    """Frames of one trade, by far the commonest, become events."""
    frames = made_frames(1, TRADES["frames_of_1"])
    yield lambda count: _parse(frames, count)


@contextmanager
def frames_of_4(_folder: Path) -> Iterator[Callable[[int], None]]:
    """Frames of four trades become events."""
    frames = made_frames(4, TRADES["frames_of_4"] // 4)
    yield lambda count: _parse(frames, count)


TRADES: Final = {"ingest": 10_000, "latency": 300, "frames_of_1": 10_000, "frames_of_4": 10_000}
PROGRAMS: Final[Mapping[str, Callable[[Path], AbstractContextManager[Callable[[int], None]]]]] = {
    "ingest": ingest,
    "latency": latency,
    "frames_of_1": frames_of_1,
    "frames_of_4": frames_of_4,
}


def _parse(frames: Sequence[bytes], count: int) -> None:
    read = 0
    for frame in frames:
        trades, _, unreadable = parse_trades(frame, RECEIVED_NS)
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

    ingesting = Ingest(ingest_socket(endpoints.ingest), writer, committed, StoreError)
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
    {"prepare": prepare, "measure": measure}[sys.argv[1]](Path(sys.argv[2]))
