"""The writer's ends of the sockets with a database in memory, and a producer, for the tests of the bus."""

import contextlib
import threading
import uuid
from collections import Counter

from bus.batch_feed import BatchFeedPublisher
from bus.delivery import Delivered
from bus.endpoints import Endpoints
from bus.feed import FeedPublisher
from bus.ingest import Ingest, ingest_socket
from bus.outbox import Outbox
from bus.producer import delivering
from tests.bus.epochs import Epochs
from tests.waiting import DEADLINE_S


class SinkUnavailableError(OSError):
    """The database refuses for a while."""


class Memory(Epochs):
    """A sink that keeps its events in order per stream and refuses on request, and from `ends_at` events on."""

    def __init__(self, ends_at=None):
        self.stored: dict[str, list[object]] = {}
        self.duplicates: Counter[str] = Counter()
        self.commits = self.questions = self.refusals = self.commit_then_refuse = 0
        self._ends_at = ends_at

    @property
    def marks(self):
        return {stream: len(events) for stream, events in self.stored.items()}

    def high_water_marks(self, streams):
        self.questions += 1
        return {stream: len(self.stored.get(stream, [])) for stream in streams}

    def commit(self, batches):
        if self.refusals:
            self.refusals -= 1
            raise SinkUnavailableError
        if self._ends_at is not None and sum(self.marks.values()) >= self._ends_at:
            raise SinkUnavailableError
        if any(part.first_sequence > len(self.stored.get(part.stream, [])) + 1 for part in batches[:1]):
            raise SinkUnavailableError
        for batch in batches:
            events = self.stored.setdefault(batch.stream, [])
            assert batch.first_sequence == len(events) + 1
            events.extend(batch.events if isinstance(batch, Delivered) else [batch] * batch.count)
        self.commits += 1
        if self.commit_then_refuse:
            self.commit_then_refuse -= 1
            raise SinkUnavailableError

    def note_duplicates(self, stream, count):
        self.duplicates[stream] += count


class Writer:
    """An ingest with its thread and both feeds, as in the core writer."""

    def __init__(self, endpoints, sink=None, **options):
        self.endpoints = endpoints
        self.sink = sink or Memory()
        self.feed = FeedPublisher(endpoints.feed)
        self.batch_feed = BatchFeedPublisher(endpoints.batch_feed)
        router = ingest_socket(endpoints.ingest)
        self.ingest = Ingest(router, self.sink, self._report, SinkUnavailableError, **options)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.ingest.run, args=[self._stopping])
        self._thread.start()

    def _report(self, group):
        self.feed.publish(group)
        self.batch_feed.publish(group)

    def stop(self):
        self._stopping.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        self.feed.close()
        self.batch_feed.close()


@contextlib.contextmanager
def writing(folder, sink=None, **options):
    """A writer whose sockets are files of the folder."""
    writer = Writer(Endpoints(folder), sink, **options)
    try:
        yield writer
    finally:
        writer.stop()


def producer(folder, name="a", stream=None):
    """A producer that delivers to the writer of the folder while the block runs."""
    outbox = Outbox(folder / f"outbox-{name}", name, stream or uuid.uuid4().hex)
    return delivering(outbox, Endpoints(folder).ingest)
