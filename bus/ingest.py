"""The writer's end of the ingest socket: receive, drop what is known, commit in groups, acknowledge, pass on.

One thread runs it, so that a slow disk never stops the process's heartbeat. A group is everything that arrived during
the last commit, up to a limit: when idle an event is committed at once, under load a commit carries thousands.

A group that the database refuses is kept and tried again, ever more slowly: producers keep what is under way, and send
nothing twice. Should the database hold less than it acknowledged, a new epoch begins (`bus.delivery`).

No message ends the writer: what cannot be read is counted and its sender ignored for a while (`bus.peers`).
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec
import zmq

from bus.codec import BATCH_BYTES_MAX, decode_events, unpack
from bus.decoding import DecodeError
from bus.delivery import (
    BATCH,
    HELLO,
    HELLO_BYTES_MAX,
    LOST,
    Acknowledged,
    Delivered,
    Hello,
    Part,
    Receiver,
    Rewind,
    ToProducer,
    Unknown,
    Welcome,
    decode_hello,
    decode_lost,
    last_sequences,
    outcome_of,
)
from bus.endpoints import Address
from bus.hellos import WaitingHellos
from bus.peers import Peers
from bus.roles import COLLECTORS
from bus.sockets import bind, received

logger = logging.getLogger(__name__)

GROUP_EVENTS_MAX: Final = 20_000  # a commit of this many takes some tens of milliseconds
# What one producer may have under way: a group that is being committed, and the next one, so that neither end waits for
# the other. It bounds the memory of both.
CREDIT_EVENTS: Final = 2 * GROUP_EVENTS_MAX
GROUP_BYTES_MAX: Final = 64 * 1024 * 1024  # a group of the largest events is smaller
# libzmq's queues, in messages of one peer. A producer whose answer is dropped hears of a later commit, or says hello.
# The largest frames of one peer that wait to be read are 16 times BATCH_BYTES_MAX; the rest waits at the producer.
_RECEIVED_MAX: Final = 16
_ANSWERS_MAX: Final = 1_000
_NOTES_A_GROUP: Final = 16  # of duplicates, each a transaction
PEERS_MAX: Final = 10_000  # that said hello; of more the earliest are forgotten, and say hello again
STREAMS_MAX: Final = 50_000  # likewise
PROCESSES_MAX: Final = 4  # likewise of one producer: each start is a new peer, and its hello names what it goes on with
CLAIMED_EPOCH_EVERY_S: Final = 5.0  # machine seconds between two that begin only because a producer says so
_POLL_MS: Final = 50  # how soon a request to stop is noticed
# Machine seconds between attempts while the database refuses: doubled each time, and a random half to whole of that.
RETRY_S: Final = 0.2
RETRY_S_MAX: Final = 5.0
_DOUBLINGS_MAX: Final = 5

_encoder: Final = msgspec.msgpack.Encoder()
# Names no stream: only the last commit of the writer itself is compared with the database then.
_SILENT: Final = Hello("nothing", {})
_KINDS: Final = {BATCH: "a batch", HELLO: "a hello", LOST: "a statement of losses"}


def retry_s(attempt: int, share: float) -> float:
    """The wait before an attempt, the first being 0; `share` is uniform over [0, 1)."""
    return min(RETRY_S * 2.0**attempt, RETRY_S_MAX) * (1 + share) / 2


class Sink(Protocol):
    """Where committed events go. An error of `Ingest`'s `retry_on` means: the outcome is unknown, ask again later."""

    def high_water_marks(self, streams: Sequence[str]) -> Mapping[str, int]:
        """The last committed number of each stream; 0 for one that is not known."""
        ...

    def commit(self, batches: Sequence[Part]) -> object:
        """Store the events, the lost numbers and the new high-water marks of their streams in one transaction."""
        ...

    def epoch(self) -> str:
        """The epoch of the database."""
        ...

    def begin_epoch(self, reason: str) -> str:
        """The database went back: note a new epoch, and return it."""
        ...

    def note_duplicates(self, stream: str, count: int) -> None:
        """So many more events of the stream came again and were dropped."""
        ...


class Router(Protocol):
    """The part of a ROUTER socket that `Ingest` uses. The first frame of a message is the route of its producer."""

    def poll(self, timeout: int, /) -> int:
        """Whether a message waits, after at most so many machine milliseconds."""
        ...

    def recv_multipart(self, flags: int, /, *, copy: Literal[False]) -> Sequence[zmq.Frame]:
        """The next message.

        Raises:
            zmq.Again: none waits.
        """
        ...

    def send_multipart(self, msg_parts: Sequence[bytes], /) -> object:
        """Send a message, or drop it for a route that is gone."""
        ...

    def close(self) -> None:
        """Take no more messages."""
        ...


class Stopping(Protocol):
    """The part of a `threading.Event` that the writer waits for."""

    def is_set(self) -> bool:
        """Whether the writer is to stop."""
        ...

    def wait(self, timeout: float, /) -> bool:
        """Wait for that, for at most so many machine seconds; whether the writer is to stop."""
        ...


class Listeners(msgspec.Struct, frozen=True):
    """Who hears of the database's troubles.

    `outage` is called with the error when the database does not take events or answer, and when the error changes;
    `recovered` with the outage's length in machine seconds; `lacking` with the number of events that a database which
    went back lacks and producers deliver again: after each hello, and with 0 once nothing is lacking any more.
    """

    outage: Callable[[str], None] = lambda _text: None
    recovered: Callable[[float], None] = lambda _seconds: None
    lacking: Callable[[int], None] = lambda _events: None


class Machine(msgspec.Struct, frozen=True):
    """What the machine gives: time, chance and memory. `monotonic_s` counts seconds, `share` is uniform over [0, 1)."""

    monotonic_s: Callable[[], float] = time.monotonic
    share: Callable[[], float] = random.Random().random
    credit_events: int = CREDIT_EVENTS


def ingest_socket(address: Address) -> zmq.SyncSocket:
    """The socket that producers connect to.

    Raises:
        BusError: it cannot be bound, or keys are missing.
    """
    socket: zmq.SyncSocket = zmq.Context.instance().socket(zmq.ROUTER)
    socket.linger, socket.rcvhwm, socket.sndhwm = 0, _RECEIVED_MAX, _ANSWERS_MAX
    bind(socket, address, BATCH_BYTES_MAX, COLLECTORS)
    return socket


class Ingest:
    """Takes messages of a router into a `Sink` and answers them.

    Args:
        router: `ingest_socket`.
        sink: the database.
        on_committed: called with each group after its commit and acknowledgement (the feed); while idle, called with
            an empty group some twenty times a second, so that the feed reads new subscriptions.
        retry_on: the errors of the sink that pass.
        listeners: hear of the database's troubles.
        backed_up: the numbers that two verified backups hold, by stream.
        machine: time, chance and memory.
    """

    def __init__(
        self,
        router: Router,
        sink: Sink,
        on_committed: Callable[[Sequence[Delivered]], None],
        retry_on: type[Exception],
        *,
        listeners: Listeners = Listeners(),  # noqa: B008 - frozen
        backed_up: Callable[[], Mapping[str, int]] = dict,
        machine: Machine = Machine(),  # noqa: B008 - frozen
    ) -> None:
        self._router = router
        self._sink = sink
        self._on_committed = on_committed
        self._retry_on = retry_on
        self._listeners = listeners
        self._backed_up = backed_up
        self._machine = machine
        self._turned_s: float | None = None  # when the thread last was between two calls of the sink; None: not at work
        self._outage_since_s: float | None = None
        self._outage_text = ""
        self._receiver = Receiver()
        self.peers = Peers("ingest", machine.monotonic_s)
        self._hellos = WaitingHellos()
        self._producers: dict[bytes, str] = {}  # the producer by route, in the order of their last hellos
        self._routes: dict[str, bytes] = {}
        self._has_greeted = False  # since the earlier processes were last forgotten
        self._claims_from_s = 0.0
        self._group: list[Part] = []
        self._newest: Mapping[str, int] = {}  # the last commit's numbers: a database that went back lacks them
        self._lacking: dict[str, tuple[int, int]] = {}  # streams that are delivered again: mark, and the mark to reach
        self._duplicates: Counter[str] = Counter()
        self.committed_events = 0
        self.commits = 0

    @property
    def duplicates(self) -> int:
        """The number of repeated events that were dropped."""
        return self._receiver.duplicates

    @property
    def is_in_outage(self) -> bool:
        """Whether the database refuses events and `on_outage` was called."""
        return self._outage_since_s is not None

    @property
    def silent_s(self) -> float:
        """For how many machine seconds the database has left a question or a commit without an answer, at most; from
        any thread.
        """
        turned_s = self._turned_s
        return 0.0 if turned_s is None else self._machine.monotonic_s() - turned_s

    def run(self, stopping: Stopping) -> None:
        """Work until `stopping` is set, take one last group of what is waiting then, and close the socket.

        Later senders get no answer and keep their events.
        """
        try:
            while not stopping.is_set():
                self._turned_s = self._machine.monotonic_s()
                if self._router.poll(_POLL_MS) or self._hellos:
                    self.take_group(stopping)
                else:
                    self._on_committed(())
            self.take_group(stopping)
        finally:
            self._turned_s = None
            self._router.close()

    def take_group(self, stopping: Stopping) -> None:
        """Take what waits, answer the hellos that are due, and commit; `run` repeats this."""
        self._receive_group()
        if self._hellos:
            self._greet_waiting()
        self._commit_group(stopping)
        self._note_duplicates()
        self._forget_earliest()

    def _receive_group(self) -> None:
        events = size_bytes = 0
        while events < GROUP_EVENTS_MAX and size_bytes < GROUP_BYTES_MAX:
            try:
                frames = received(self._router.recv_multipart(zmq.NOBLOCK, copy=False))
            except zmq.Again:
                return
            events += max(1, self._take(frames))  # a message without events takes its time, too
            size_bytes += len(frames[-1])

    def _take(self, frames: Sequence[bytes]) -> int:
        """Handle one message. Returns the number of events that joined the group."""
        if self.peers.is_ignored(frames[0]):
            return 0
        try:
            match frames:
                case [route, kind, content] if kind == HELLO and len(content) > HELLO_BYTES_MAX:  # it is not kept
                    self.peers.ignore(route, _KINDS[HELLO], f"{len(content):,} bytes are too many for it")
                case [route, kind, content] if kind == HELLO:
                    if not self._hellos.keep(route, content):
                        self.peers.refuse("a hello", "too many wait for an answer")
                case [route, kind, _] if kind in _KINDS and route not in self._producers:
                    self._send(route, Unknown())
                case [route, kind, content] if kind == BATCH:
                    return self._take_batch(route, content)
                case [route, kind, content] if kind == LOST:
                    return self._take_lost(route, content)
                case _:
                    self.peers.ignore(frames[0], "a message", "it is none of a producer")
        except DecodeError as error:
            self.peers.ignore(frames[0], _KINDS[frames[1]], error)
        return 0

    def _take_batch(self, route: bytes, content: bytes) -> int:
        batch = unpack(content)
        events = self._admit(route, batch.stream, batch.first_sequence, batch.count)
        if not events:
            return 0
        skip = batch.count - events
        delivered = decode_events(batch)[skip:]
        first_sequence = batch.first_sequence + skip
        self._group.append(Delivered(self._producers[route], batch.stream, first_sequence, delivered, content))
        return events

    def _take_lost(self, route: bytes, content: bytes) -> int:
        lost = decode_lost(content)
        if taken := self._admit(route, lost.stream, lost.first_sequence, lost.count):
            first_sequence = lost.last_sequence + 1 - taken
            producer = self._producers[route]
            self._group.append(msgspec.structs.replace(lost, first_sequence=first_sequence, producer=producer))
        return 1

    def _admit(self, route: bytes, stream: str, first_sequence: int, count: int) -> int:
        """Return how many numbers to take, counted back from the last number of the batch."""
        if not self._receiver.knows(stream):
            self._send(route, Unknown())
            return 0
        admission = self._receiver.admit(stream, first_sequence, count)
        if admission.decision == "ahead":
            self._send(route, Rewind(stream, self._receiver.admitted_mark(stream)))
            return 0
        known = count if admission.decision == "duplicate" else admission.skip
        if known:
            self._duplicates[stream] += known
        return count - known

    def _greet_waiting(self) -> None:
        now_s = self._machine.monotonic_s()
        for route, content in self._hellos.take_due(now_s):
            try:
                self._greet(route, content, now_s)
            except DecodeError as error:
                self.peers.ignore(route, _KINDS[HELLO], error)

    def _greet(self, route: bytes, content: bytes, now_s: float) -> None:
        hello = decode_hello(content)
        try:
            known = self._sink.high_water_marks(list({**hello.acknowledged, **self._newest}))
            self._receiver.epoch = self._receiver.epoch or self._sink.epoch()
            if self._receiver.has_gone_back(hello, known):
                if now_s < self._claims_from_s and not self._receiver.has_gone_back(_SILENT, known):
                    self._hellos.keep(route, content, self._claims_from_s)
                    return
                self._claims_from_s = now_s + CLAIMED_EPOCH_EVERY_S
                self._begin_epoch(f"it holds less than {hello.producer} has delivered")
            self._welcome(route, hello, known)
        except self._retry_on as error:  # no answer: the producer says hello again
            self._database_failed(str(error))
        else:
            self._database_answers()

    def _forget_earliest(self) -> None:
        """Bound the memory of peers and streams: forget the oldest. Called while no event waits for a commit."""
        self._forget_superseded()
        while len(self._producers) > PEERS_MAX:
            del self._producers[next(iter(self._producers))]
        while len(self._routes) > STREAMS_MAX:
            self._forget_stream(next(iter(self._routes)))

    def _forget_superseded(self) -> None:
        """Forget the earlier processes of each producer, and each stream that no later hello of the producer named."""
        if not self._has_greeted:
            return
        self._has_greeted = False
        by_name: dict[str, list[bytes]] = {}
        for route, producer in self._producers.items():
            by_name.setdefault(producer, []).append(route)
        gone = {route for routes in by_name.values() for route in routes[:-PROCESSES_MAX]}
        if gone:
            for route in gone:
                del self._producers[route]
            for stream in [stream for stream, route in self._routes.items() if route in gone]:
                self._forget_stream(stream)

    def _forget_stream(self, stream: str) -> None:
        del self._routes[stream]
        self._receiver.forget(stream)
        self._lacking.pop(stream, None)  # the next hello states it again

    def _welcome(self, route: bytes, hello: Hello, known: Mapping[str, int]) -> None:
        marks = {stream: known[stream] for stream in hello.acknowledged}
        self._producers.pop(route, None)
        self._producers[route] = hello.producer
        self._has_greeted = True
        for stream in marks:
            self._routes.pop(stream, None)
            self._routes[stream] = route
        self._receiver.greeted(marks)
        for stream, mark in marks.items():
            _, reached = self._lacking.get(stream, (0, 0))
            self._lacking[stream] = mark, max(reached, hello.acknowledged[stream])
        self._report_lacking()
        taken = {stream: self._receiver.admitted_mark(stream) for stream in marks}
        safe = self._backed_up()
        # A database below a package is about to be delivered to: the archive must keep that.
        backed_up = {stream: min(safe[stream], mark) for stream, mark in marks.items() if stream in safe}
        self._send(route, Welcome(marks, self._machine.credit_events, self._receiver.epoch, taken, backed_up))

    def _report_lacking(self) -> None:
        self._lacking = {stream: each for stream, each in self._lacking.items() if each[0] < each[1]}
        self._listeners.lacking(sum(reached - mark for mark, reached in self._lacking.values()))

    def _begin_epoch(self, reason: str) -> None:
        """Handle a database that went back: forget all admitted numbers, and ask every producer for a new hello."""
        logger.critical("the database went back: %s; what it lacks is delivered again", reason)
        self._receiver.began_epoch(self._sink.begin_epoch(reason))
        self._group.clear()
        self._newest = {}
        for route in self._producers:
            self._send(route, Unknown())
        self._producers.clear()

    def _commit_group(self, stopping: Stopping) -> None:
        if not self._group:
            self._on_committed(())
            return
        group, self._group = self._group, []
        if not self._has_committed(group, stopping):
            return
        self.commits += 1
        self._newest = last_sequences(group)
        for stream, last_sequence in self._newest.items():
            self._receiver.committed(stream, last_sequence)
            self._send(self._routes[stream], Acknowledged(stream, last_sequence, self._receiver.epoch))
        if self._lacking:
            self._advance_lacking()
        delivered = [part for part in group if isinstance(part, Delivered)]
        self.committed_events += sum(len(batch.events) for batch in delivered)
        self._on_committed(delivered)

    def _advance_lacking(self) -> None:
        for stream in self._lacking.keys() & self._newest.keys():
            self._lacking[stream] = self._newest[stream], self._lacking[stream][1]
        if all(mark >= reached for mark, reached in self._lacking.values()):
            self._report_lacking()

    def _has_committed(self, group: Sequence[Part], stopping: Stopping) -> bool:
        """Commit the group, however long the database refuses it. Returns False when the group must not be committed
        any more: the database holds other numbers than expected, or the writer stops.
        """
        attempt = 0
        while True:
            try:
                self._sink.commit(group)
            except self._retry_on as error:
                self._database_failed(str(error))
            else:
                self._database_answers()
                return True
            marks: Mapping[str, int] | None = None
            while marks is None:
                if self._waits(retry_s(attempt, self._machine.share()), stopping):
                    return False
                attempt = min(attempt + 1, _DOUBLINGS_MAX)
                marks = self._marks_after_failure({**last_sequences(group), **self._newest})
            match outcome_of(group, marks, self._newest):
                case "stored":  # the connection was lost during the commit
                    self._database_answers()
                    return True
                case "refused":
                    continue
                case "went back":
                    self._start_epoch_again(f"it holds less than {group[0].producer} has delivered")
                case "other":
                    for rewind in self._receiver.rolled_back({part.stream: marks[part.stream] for part in group}):
                        self._send(self._routes[rewind.stream], rewind)
            return False

    def _waits(self, seconds: float, stopping: Stopping) -> bool:
        """Wait while the feed goes on. Returns True when the writer stops."""
        ends_s = self._machine.monotonic_s() + seconds
        while (left_s := ends_s - (now_s := self._machine.monotonic_s())) > 0:
            self._turned_s = now_s
            if stopping.wait(min(left_s, _POLL_MS / 1000)):
                return True
            self._on_committed(())
        return stopping.is_set()

    def _marks_after_failure(self, streams: Iterable[str]) -> Mapping[str, int] | None:
        try:
            return self._sink.high_water_marks(sorted(streams))
        except self._retry_on:
            return None

    def _start_epoch_again(self, reason: str) -> None:
        try:
            self._begin_epoch(reason)
        except self._retry_on as error:  # the producers' next hello finds it again
            self._database_failed(str(error))
            self._receiver.began_epoch(self._receiver.epoch)
            self._producers.clear()

    def _database_failed(self, text: str) -> None:
        if self._outage_since_s is None:
            self._outage_since_s = self._machine.monotonic_s()
        elif text == self._outage_text:
            return
        logger.error("the database takes no events, will be tried again: %s", text)
        self._outage_text = text
        self._listeners.outage(text)

    def _database_answers(self) -> None:
        if self._outage_since_s is not None:
            seconds, self._outage_since_s = self._machine.monotonic_s() - self._outage_since_s, None
            logger.warning("the database takes events again, after %.1f s", seconds)
            self._listeners.recovered(seconds)

    def _note_duplicates(self) -> None:
        """Report duplicates after the commit, when the stream is known. Reports that fail or exceed the limit follow
        later.
        """
        for stream, count in list(self._duplicates.items())[:_NOTES_A_GROUP]:
            try:
                self._sink.note_duplicates(stream, count)
            except self._retry_on as error:
                logger.error("cannot note %d duplicates: %s", count, error)
            else:
                del self._duplicates[stream]

    def _send(self, route: bytes, message: ToProducer) -> None:
        self._router.send_multipart([route, _encoder.encode(message)])
