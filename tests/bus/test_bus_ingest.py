"""What ingest decides, message by message: a network in memory, and a clock that the test moves."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from bus.codec import pack
from bus.delivery import BATCH, HELLO, Acknowledged, Delivered, Hello, Part, ToProducer, Unknown, Welcome
from bus.hellos import HELLO_EVERY_S
from bus.ingest import Ingest, Listeners, Machine
from bus.messages import decode_to_producer
from tests.builders import trades
from tests.bus.epochs import Epochs
from tests.bus.router import MemoryRouter

A, B = "aa" * 16, "bb" * 16


class Sink(Epochs):
    """Counts the events of each stream."""

    def __init__(self, **marks: int) -> None:
        self.marks = marks

    def high_water_marks(self, streams: Sequence[str]) -> Mapping[str, int]:
        return {stream: self.marks.get(stream, 0) for stream in streams}

    def commit(self, batches: Sequence[Part]) -> None:
        for batch in batches:
            assert isinstance(batch, Delivered)
            assert batch.first_sequence == self.marks.get(batch.stream, 0) + 1
            self.marks[batch.stream] = batch.last_sequence

    def note_duplicates(self, stream: str, count: int) -> None:
        """Not looked at here."""


class Never:
    """No request to stop."""

    def is_set(self) -> bool:
        return False

    def wait(self, _timeout: float, /) -> bool:
        return False


class Writer:
    """An ingest, its clock, and the numbers of lacking events that it reported."""

    def __init__(self, sink: Sink) -> None:
        self.now_s = 0.0
        self.router = MemoryRouter()
        self.lacking: list[int] = []
        listeners = Listeners(lacking=self.lacking.append)
        machine = Machine(lambda: self.now_s)
        self.ingest = Ingest(self.router, sink, lambda _group: None, OSError, listeners=listeners, machine=machine)

    def hears(self, *messages: Sequence[bytes]) -> list[ToProducer]:
        """The answers to messages that arrive together."""
        self.router.received += messages
        self.ingest.take_group(Never())
        answers = [decode_to_producer(content) for _route, content in self.router.sent]
        self.router.sent.clear()
        return answers


def hello(stream: str, acknowledged: int, epoch: str = "", *, route: bytes = b"1") -> Sequence[bytes]:
    return [route, HELLO, msgspec.msgpack.encode(Hello("producer", {stream: acknowledged}, epoch))]


def batch(stream: str, first_sequence: int, count: int, *, route: bytes = b"1") -> Sequence[bytes]:
    return [route, BATCH, pack(stream, first_sequence, trades(count))]


def test_what_a_database_lacks_is_reported_until_it_came_again_whatever_a_second_hello_acknowledges() -> None:
    writer = Writer(Sink(**{A: 3}))
    [welcome] = writer.hears(hello(A, 7))
    assert isinstance(welcome, Welcome)
    writer.now_s += HELLO_EVERY_S
    writer.hears(hello(A, 3, "epoch 2"))
    writer.hears(batch(A, 4, 3))
    assert writer.lacking == [4, 4]
    writer.hears(batch(A, 7, 1))
    assert writer.lacking == [4, 4, 0]


@pytest.mark.parametrize("peers", [2, 20])
def test_claims_of_producers_begin_an_epoch_every_five_seconds_at_most(peers: int) -> None:
    sink = Sink()
    writer = Writer(sink)
    claims = [hello(f"{number:032x}", 7, route=b"%d" % number) for number in range(1, peers)]
    assert [type(each) for each in writer.hears(hello(A, 7, route=b"0"))] == [Welcome]
    writer.now_s = 1.0
    assert [type(each) for each in writer.hears(*claims[:5], hello(B, 0, "epoch 2", route=b"good"))] == [Welcome]
    assert writer.hears(*claims[5:], batch(B, 1, 2, route=b"good")) == [Acknowledged(B, 2, "epoch 2")]
    writer.now_s = 4.999
    assert writer.hears() == []
    assert sink.reasons == ("created", "it holds less than producer has delivered")
    writer.now_s = 5.0
    assert Unknown() in writer.hears()
    assert len(sink.reasons) == 3
