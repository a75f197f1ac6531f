"""The writer's end of the ingest socket: receive, drop what is known, commit in groups, acknowledge, pass on.

One thread runs it, so that a slow disk never stops the process's heartbeat. A group is everything that arrived during
the last commit, up to a limit: when idle an event is committed at once, under load a commit carries thousands.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import zmq

from bus.codec import Batch, BatchError, decode_events, unpack
from bus.delivery import BATCH, HELLO, Acknowledged, Delivered, Hello, Receiver, Rewind, ToProducer, Unknown, Welcome
from bus.endpoints import Address
from bus.sockets import bind

logger = logging.getLogger(__name__)

GROUP_EVENTS_MAX: Final = 20_000  # a commit of this many takes some tens of milliseconds
# What one producer may have under way: a group that is being committed, and the next one, so that neither end waits for
# the other. It bounds the memory of both.
CREDIT_EVENTS: Final = 2 * GROUP_EVENTS_MAX
_POLL_MS: Final = 50  # how soon a request to stop is noticed
_RETRY_S: Final = 0.2  # machine seconds between attempts while the database refuses

_encoder: Final = msgspec.msgpack.Encoder()
_hello_decoder: Final = msgspec.msgpack.Decoder(Hello)


class Sink(Protocol):
    """Where committed events go. An error of `Ingest`'s `retry_on` means: the outcome is unknown, ask again later."""

    def high_water_marks(self, streams: Sequence[str]) -> Mapping[str, int]:
        """The last committed number of each stream; 0 for one that is not known."""
        ...

    def commit(self, batches: Sequence[Delivered]) -> object:
        """Store the events and the new high-water marks of their streams in one transaction."""
        ...

    def note_duplicates(self, stream: str, count: int) -> None:
        """So many more events of the stream came again and were dropped."""
        ...


class Ingest:
    """Runs one ROUTER socket in front of a `Sink`.

    Args:
        address: where producers connect.
        sink: the database.
        on_committed: called with each group after its commit and acknowledgement (the feed); while idle, called with
            an empty group some twenty times a second, so that the feed reads new subscriptions.
        retry_on: the errors of the sink that pass.
    """

    def __init__(
        self,
        address: Address,
        sink: Sink,
        on_committed: Callable[[Sequence[Delivered]], None],
        retry_on: type[Exception],
    ) -> None:
        self._socket: zmq.SyncSocket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.set_hwm(0)  # bounded by the producers' credit
        bind(self._socket, address)
        self._sink = sink
        self._on_committed = on_committed
        self._retry_on = retry_on
        self._receiver = Receiver()
        self._producers: dict[bytes, str] = {}
        self._routes: dict[str, bytes] = {}
        self._group: list[Delivered] = []
        self._duplicates: Counter[str] = Counter()
        self.committed_events = 0
        self.commits = 0
        self.malformed = 0
        self.turns = 0

    @property
    def duplicates(self) -> int:
        """Events that came again and were dropped."""
        return self._receiver.duplicates

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set, take one last group of what is waiting then, and close the socket.

        Later senders get no answer and keep their events.
        """
        try:
            while not stopping.is_set():
                self.turns += 1
                if self._socket.poll(_POLL_MS):
                    self._take_group(stopping)
                else:
                    self._on_committed(())
            self._take_group(stopping)
        finally:
            self._socket.close()

    def _take_group(self, stopping: threading.Event) -> None:
        self._receive_group()
        self._commit_group(stopping)
        self._note_duplicates()

    def _receive_group(self) -> None:
        events = 0
        while events < GROUP_EVENTS_MAX:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            events += self._take(frames)

    def _take(self, frames: Sequence[bytes]) -> int:
        """Handle one message; the number of events taken from it into the group."""
        match frames:
            case [route, kind, content] if kind == BATCH:
                return self._take_batch(route, content)
            case [route, kind, content] if kind == HELLO:
                self._greet(route, content)
            case _:
                self.malformed += 1
        return 0

    def _take_batch(self, route: bytes, content: bytes) -> int:
        if route not in self._producers:
            self._send(route, Unknown())
            return 0
        try:
            batch = unpack(content)
        except BatchError:
            self.malformed += 1
            return 0
        if not self._receiver.knows(batch.stream):
            self._send(route, Unknown())
            return 0
        return self._admit(route, batch, content)

    def _admit(self, route: bytes, batch: Batch, packed: bytes) -> int:
        admission = self._receiver.admit(batch.stream, batch.first_sequence, batch.count)
        if admission.decision == "ahead":
            self._send(route, Rewind(batch.stream, self._receiver.admitted_mark(batch.stream)))
        if admission.decision != "take":
            self._duplicates[batch.stream] += batch.count if admission.decision == "duplicate" else 0
            return 0
        self._duplicates[batch.stream] += admission.skip
        events = decode_events(batch)[admission.skip :]
        first_sequence = batch.first_sequence + admission.skip
        self._group.append(Delivered(self._producers[route], batch.stream, first_sequence, events, packed))
        return len(events)

    def _greet(self, route: bytes, content: bytes) -> None:
        try:
            hello = _hello_decoder.decode(content)
            marks = self._sink.high_water_marks(hello.streams)
        except msgspec.MsgspecError:
            self.malformed += 1
            return
        except self._retry_on as error:  # no answer: the producer says hello again
            logger.error("cannot read high-water marks: %s", error)
            return
        self._producers[route] = hello.producer
        self._routes |= dict.fromkeys(hello.streams, route)
        self._receiver.greeted(marks)
        self._send(route, Welcome(marks, CREDIT_EVENTS))

    def _commit_group(self, stopping: threading.Event) -> None:
        if not self._group:
            return
        group, self._group = self._group, []
        try:
            self._sink.commit(group)
        except self._retry_on as error:
            logger.error("commit failed, will be tried again: %s", error)
            self._roll_back(group, stopping)
            return
        self.commits += 1
        for stream, last_sequence in _last_sequences(group).items():
            self._send(self._routes[stream], Acknowledged(stream, last_sequence))
        self._pass_on(group)

    def _pass_on(self, group: Sequence[Delivered]) -> None:
        self.committed_events += sum(len(batch.events) for batch in group)
        self._on_committed(group)

    def _note_duplicates(self) -> None:
        """Report duplicates after the commit, once the stream is known; those of a failed attempt go with the next
        report.
        """
        for stream, count in [item for item in self._duplicates.items() if item[1]]:
            try:
                self._sink.note_duplicates(stream, count)
            except self._retry_on as error:
                logger.error("cannot note %d duplicates: %s", count, error)
            else:
                del self._duplicates[stream]

    def _roll_back(self, group: Sequence[Delivered], stopping: threading.Event) -> None:
        """Read the marks from the database until it answers, and let the producers continue from them. A group that was
        committed nevertheless (the connection was lost during the commit) is passed on like any other.
        """
        ends = _last_sequences(group)
        while not stopping.wait(_RETRY_S):
            try:
                marks = self._sink.high_water_marks(sorted(ends))
            except self._retry_on:
                continue
            for rewind in self._receiver.rolled_back(marks):
                self._send(self._routes[rewind.stream], rewind)
            if all(marks[stream] >= end for stream, end in ends.items()):
                self._pass_on(group)
            return

    def _send(self, route: bytes, message: ToProducer) -> None:
        """Send a message; the socket drops it for a producer that is gone, whose successor says hello."""
        self._socket.send_multipart([route, _encoder.encode(message)])


def _last_sequences(group: Sequence[Delivered]) -> Mapping[str, int]:
    return {batch.stream: batch.first_sequence + len(batch.events) - 1 for batch in group}
