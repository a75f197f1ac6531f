"""What ingest decides, message by message: a network in memory, and a clock that the test moves."""

import itertools
from collections.abc import Callable, Sequence

import msgspec
import pytest
import zmq

import bus.ingest
from bus.codec import BATCH_BYTES_MAX, pack
from bus.delivery import (
    BATCH,
    HELLO,
    HELLO_BYTES_MAX,
    LOST,
    Acknowledged,
    Delivered,
    Hello,
    Lost,
    Part,
    Rewind,
    Unknown,
    Welcome,
    decode_to_producer,
)
from bus.hellos import HELLO_EVERY_S, HELLOS_WAITING_MAX
from bus.ingest import (
    CREDIT_EVENTS,
    GROUP_BYTES_MAX,
    GROUP_EVENTS_MAX,
    PROCESSES_MAX,
    Ingest,
    Listeners,
    Machine,
    ingest_socket,
    retry_s,
)
from bus.peers import IGNORED_S
from tests.builders import trades
from tests.bus.epochs import Epochs
from tests.bus.router import MemoryRouter

A, B = "aa" * 16, "bb" * 16


class Sink(Epochs):
    """Counts the events of each stream; `refusing` are the names of calls that fail, one after another."""

    def __init__(self, **marks):
        self.marks = marks
        self.committed: list[Part] = []
        self.duplicates: list[tuple[str, int]] = []
        self.refusing: list[str] = []
        self.now_s: Callable[[], float] = lambda: 0.0
        self.tried_s: list[float] = []

    def _answers(self, call):
        if self.refusing and self.refusing[0] == call:
            raise OSError(f"{self.refusing.pop(0)} fails")

    def high_water_marks(self, streams):
        self._answers("high_water_marks")
        return {stream: self.marks.get(stream, 0) for stream in streams}

    def commit(self, batches):
        self.tried_s.append(self.now_s())
        self._answers("commit")
        for batch in batches:
            assert batch.first_sequence == self.marks.get(batch.stream, 0) + 1
            self.marks[batch.stream] = batch.last_sequence
            self.committed.append(batch)
        self._answers("the answer of a commit")

    def begin_epoch(self, reason):
        self._answers("begin_epoch")
        return super().begin_epoch(reason)

    def note_duplicates(self, stream, count):
        self._answers("note_duplicates")
        self.duplicates.append((stream, count))


class Network(MemoryRouter):
    """Messages that come at a second of the writer's clock, which a wait for them moves."""

    def __init__(self, writer):
        super().__init__()
        self.writer = writer
        self.coming: list[tuple[float, Sequence[bytes]]] = []

    def poll(self, timeout, /):
        if not self.received:
            self.writer.now_s += timeout / 1000
        while self.coming and self.coming[0][0] <= self.writer.now_s:
            self.received.append(self.coming.pop(0)[1])
        return super().poll(timeout)


class Writer:
    """An ingest, its clock, and what it reports. It is the `Stopping` that the ingest waits for, too."""

    def __init__(self, sink):
        self.now_s = 0.0
        sink.now_s = lambda: self.now_s
        self.stops_s = float("inf")
        self.slept_s: list[float] = []
        self.router = Network(self)
        self.lacking: list[int] = []
        self.outages: list[str | float] = []
        self.feed: list[Sequence[Delivered]] = []
        listeners = Listeners(self.outages.append, self.outages.append, self.lacking.append)
        self.backed_up: dict[str, int] = {}
        machine = Machine(lambda: self.now_s, lambda: 0.0)
        self.ingest = Ingest(
            self.router,
            sink,
            self.feed.append,
            OSError,
            listeners=listeners,
            backed_up=lambda: self.backed_up,
            machine=machine,
        )

    def is_set(self):
        return self.now_s >= self.stops_s

    def wait(self, timeout, /):
        self.slept_s.append(timeout)
        self.now_s += timeout
        return self.is_set()

    def hears(self, *messages):
        """The answers to messages that arrive together."""
        self.router.received += messages
        self.ingest.take_group(self)
        return self.answers()

    def answers(self):
        assert {route for route, _content in self.router.sent} <= {b"%d" % number for number in range(10_000)}
        answers = [decode_to_producer(content) for _route, content in self.router.sent]
        self.router.sent.clear()
        return answers


def hello(stream, acknowledged, epoch="", *, route=b"1"):
    return [route, HELLO, msgspec.msgpack.encode(Hello("producer", {stream: acknowledged}, epoch))]


def lost(stream, first_sequence, last_sequence, *, route=b"1"):
    return [route, LOST, msgspec.msgpack.encode(Lost(stream, first_sequence, last_sequence, "gone"))]


def batch(stream, first_sequence, count, *, route=b"1"):
    return [route, BATCH, pack(stream, first_sequence, trades(count))]


def test_what_a_database_lacks_is_reported_until_it_came_again_whatever_a_second_hello_acknowledges():
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
def test_claims_of_producers_begin_an_epoch_every_five_seconds_at_most(peers):
    sink = Sink()
    writer = Writer(sink)
    claims = [hello(f"{number:032x}", 7, route=b"%d" % number) for number in range(1, peers)]
    assert [type(each) for each in writer.hears(hello(A, 7, route=b"0"))] == [Welcome]
    writer.now_s = 1.0
    assert [type(each) for each in writer.hears(*claims[:5], hello(B, 0, "epoch 2", route=b"99"))] == [Welcome]
    assert writer.hears(*claims[5:], batch(B, 1, 2, route=b"99")) == [Acknowledged(B, 2, "epoch 2")]
    writer.now_s = 4.999
    assert writer.hears() == []
    assert sink.reasons == ("created", "it holds less than producer has delivered")
    writer.now_s = 5.0
    assert Unknown() in writer.hears()
    assert len(sink.reasons) == 3


def test_a_batch_is_committed_without_its_known_front_passed_on_as_it_came_and_counted():
    writer = Writer(sink := Sink(**{A: 3}))
    writer.backed_up = {A: 2, B: 7}
    assert writer.hears(hello(A, 3)) == [Welcome({A: 3}, CREDIT_EVENTS, "epoch 1", {A: 3}, {A: 2})]
    message = batch(A, 2, 4)
    assert writer.hears(message, batch(A, 1, 2)) == [Acknowledged(A, 5, "epoch 1")]
    taken = Delivered("producer", A, 4, trades(4)[2:], message[2])
    assert (sink.committed, writer.feed[-1]) == ([taken], [taken])
    assert sink.duplicates == [(A, 4)]
    assert writer.hears(batch(A, 6, 3)) == [Acknowledged(A, 8, "epoch 1")]
    assert (writer.ingest.committed_events, writer.ingest.commits, writer.ingest.duplicates) == (5, 2, 4)
    assert writer.lacking == [0], "a hello of what the database holds lacks nothing, and no commit says so again"


def test_lost_numbers_are_stated_without_their_known_front_and_with_their_producer():
    writer = Writer(sink := Sink(**{A: 3}))
    writer.hears(hello(A, 3))
    assert writer.hears(lost(A, 2, 5)) == [Acknowledged(A, 5, "epoch 1")]
    assert [(part.producer, part.first_sequence, part.last_sequence) for part in sink.committed] == [("producer", 4, 5)]
    assert sink.duplicates == [(A, 2)]
    assert writer.ingest.committed_events == 0


@pytest.mark.parametrize("message", [batch, lost])
def test_what_skips_ahead_or_belongs_to_an_unknown_stream_or_peer_is_not_taken(message):
    writer = Writer(sink := Sink(**{A: 3}))
    assert writer.hears(message(A, 4, 5)) == [Unknown()], "its producer said no hello"
    writer.hears(hello(A, 3))
    assert writer.hears(message(A, 5, 6)) == [Rewind(A, 3)]
    assert writer.hears(message(B, 1, 2)) == [Unknown()]
    assert not sink.committed
    assert not sink.duplicates


def test_duplicates_that_cannot_be_noted_are_noted_later(caplog):
    writer = Writer(sink := Sink(**{A: 3}))
    writer.hears(hello(A, 3))
    sink.refusing = ["note_duplicates"]
    writer.hears(batch(A, 1, 2))
    assert caplog.messages == ["cannot note 2 duplicates: note_duplicates fails"]
    writer.hears(batch(A, 3, 1))
    assert sink.duplicates == [(A, 3)]


def test_the_writer_works_until_its_stop_and_is_silent_while_the_database_leaves_it_without_an_answer():
    writer = Writer(sink := Sink())
    silences_s: list[float] = []

    def stands_still():
        writer.now_s += 3.0
        silences_s.append(writer.ingest.silent_s)
        return writer.now_s

    sink.now_s = stands_still
    writer.stops_s = 5.0
    writer.router.coming = [(0.0, hello(A, 0)), (0.1, hello(A, 0)), (1.0, batch(A, 1, 2)), (9.0, batch(A, 3, 1))]
    writer.ingest.run(writer)
    assert [type(each) for each in writer.answers()] == [Welcome, Welcome, Acknowledged]
    assert silences_s == [pytest.approx(3.0, abs=0.06)]
    assert writer.now_s == pytest.approx(5.0, abs=0.06)
    assert writer.feed.count(()) >= 30, "the feed goes on while nothing comes"
    assert writer.ingest.silent_s == 0.0, "no silence of a writer that does not work"


def test_each_attempt_at_a_commit_has_a_silence_of_its_own():
    writer = Writer(sink := Sink())
    silences_s: list[float] = []

    def stands_still():
        writer.now_s += 3.0
        silences_s.append(writer.ingest.silent_s)
        return writer.now_s

    sink.now_s, sink.refusing = stands_still, ["commit", "commit"]
    writer.stops_s = 12.0
    writer.router.coming = [(0.0, hello(A, 0)), (0.1, batch(A, 1, 2))]
    writer.ingest.run(writer)
    assert silences_s == [pytest.approx(3.0, abs=0.06)] * 3


NOTHING = [b"9", BATCH, b""]


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ([batch(A, 1, GROUP_EVENTS_MAX - 1), NOTHING, NOTHING], 1),
        ([batch(A, 1, GROUP_EVENTS_MAX - 2), NOTHING, NOTHING, NOTHING], 1),
        ([batch(A, 1, GROUP_EVENTS_MAX - 2), lost(A, GROUP_EVENTS_MAX - 1, GROUP_EVENTS_MAX + 7), NOTHING, NOTHING], 1),
        ([batch(A, 1, 1)] * (GROUP_EVENTS_MAX - 1) + [NOTHING, NOTHING], 1),
        ([[b"2", b"Z", bytes(GROUP_BYTES_MAX // 4)]] * 5, 1),
        ([[b"2", b"Z", bytes(GROUP_BYTES_MAX // 4 - 1)]] * 4 + [[b"2", b"Z", bytes(4)]] * 2, 1),
    ],
)
def test_a_group_ends_at_so_many_events_messages_or_bytes(messages, left):
    writer = Writer(Sink())
    writer.hears(hello(A, 0))
    writer.hears(*messages)
    assert len(writer.router.received) == left


REFUSED = [
    ([b"2", HELLO, bytes(HELLO_BYTES_MAX + 1)], f"a hello on the ingest socket: {HELLO_BYTES_MAX + 1:,} bytes are too"),
    ([b"2", HELLO, bytes(HELLO_BYTES_MAX)], "a hello on the ingest socket: "),
    ([b"1", BATCH, b"short"], "a batch on the ingest socket: "),
    ([b"1", LOST, b"short"], "a statement of losses on the ingest socket: "),
    ([b"2", b"Z", b""], "a message on the ingest socket: it is none of a producer; 1 refused so far"),
    ([b"2"], "a message on the ingest socket: it is none of a producer; 1 refused so far"),
]


@pytest.mark.parametrize(("message", "text"), REFUSED)
def test_a_peer_is_ignored_after_a_message_that_is_none_and_the_log_says_why(message, text, caplog):
    writer = Writer(Sink())
    writer.hears(hello(A, 0), hello(B, 0, route=b"2"))
    writer.now_s = HELLO_EVERY_S
    assert writer.hears(message) == []
    [said] = caplog.messages
    assert said.startswith(f"refused {text}")
    assert said.endswith("; 1 refused so far")
    assert ("too many for it" in said) == (len(message[-1]) > HELLO_BYTES_MAX)
    assert "None" not in said
    writer.now_s = 2 * HELLO_EVERY_S
    other = {b"1": b"2", b"2": b"1"}[message[0]]
    assert [type(each) for each in writer.hears(hello(A, 0, route=message[0]), hello(B, 0, route=other))] == [Welcome]


def test_a_hello_that_finds_too_many_waiting_is_refused(caplog):
    writer = Writer(Sink())
    writer.hears(*(hello(A, 0, route=b"%d" % number) for number in range(HELLOS_WAITING_MAX + 1)))
    assert caplog.messages == ["refused a hello on the ingest socket: too many wait for an answer; 1 refused so far"]


def test_of_too_many_peers_and_streams_those_that_said_hello_first_are_forgotten(
    monkeypatch,
):
    monkeypatch.setattr(bus.ingest, "PEERS_MAX", 2)
    writer = Writer(Sink())
    peers = [(A, b"1"), (B, b"2"), ("cc" * 16, b"3")]
    for number, (stream, route) in enumerate([*peers[:2], peers[0], peers[2]]):
        writer.now_s = float(number)
        writer.router.received.append([route, HELLO, msgspec.msgpack.encode(Hello(f"p{route!r}"[:2], {stream: 0}))])
        writer.hears()
    assert [writer.hears(batch(stream, 1, 1, route=route)) for stream, route in peers] == [
        [Acknowledged(A, 1, "epoch 1")],
        [Unknown()],
        [Acknowledged("cc" * 16, 1, "epoch 1")],
    ]
    monkeypatch.setattr(bus.ingest, "STREAMS_MAX", 2)
    assert writer.hears(batch(B, 1, 1, route=b"1")) == [Acknowledged(B, 1, "epoch 1")]
    assert writer.hears(batch(B, 2, 1, route=b"1")) == [Unknown()]


def test_a_commit_that_fails_is_tried_again_ever_more_slowly_while_the_feed_goes_on(
    caplog,
):
    writer = Writer(sink := Sink())
    writer.hears(hello(A, 0))
    writer.feed.clear()
    sink.refusing = ["commit"] * 7
    writer.hears(batch(A, 1, 2))
    waits_s = [later - earlier for earlier, later in itertools.pairwise(sink.tried_s)]
    assert waits_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5])
    assert max(writer.slept_s) == 0.05
    assert len(writer.feed) >= 8.1 / 0.05
    assert not any(writer.feed[:-1]), "it has nothing but its subscriptions to look at"
    assert writer.feed.count(()) == len(writer.feed) - 1
    assert writer.outages == ["commit fails", pytest.approx(8.1)]
    assert caplog.messages == [
        "the database takes no events, will be tried again: commit fails",
        "the database takes events again, after 8.1 s",
    ]
    assert sink.marks == {A: 2}


def test_a_group_that_the_database_refuses_at_the_stop_is_not_acknowledged():
    writer = Writer(sink := Sink())
    writer.hears(hello(A, 0))
    sink.refusing = ["commit"] * 7
    writer.stops_s = 0.2
    assert writer.hears(batch(A, 1, 2)) == []
    assert (writer.now_s, writer.ingest.commits, sink.marks) == (0.2, 0, {})


def test_a_last_group_that_the_database_refuses_is_not_acknowledged_and_the_writer_ends():
    writer = Writer(sink := Sink())
    writer.hears(hello(A, 0))
    writer.stops_s, sink.refusing = writer.now_s, ["commit"]
    writer.router.received.append(batch(A, 1, 2))
    writer.ingest.run(writer)
    assert writer.answers() == []
    assert (sink.tried_s, sink.marks) == ([0.0], {})


def test_a_stop_ends_the_work_while_the_database_refuses_a_group():
    writer = Writer(sink := Sink())
    writer.hears(hello(A, 0))
    writer.stops_s, sink.refusing = 1.0, ["commit"] * 9
    writer.router.coming = [(0.0, batch(A, 1, 2))]
    writer.ingest.run(writer)
    assert writer.answers() == []
    assert (writer.now_s, sink.marks) == (pytest.approx(1.0), {})


def test_a_commit_whose_answer_was_lost_is_acknowledged_and_not_repeated():
    writer = Writer(sink := Sink())
    writer.hears(hello(A, 0))
    sink.refusing = ["the answer of a commit", "high_water_marks"]
    assert writer.hears(batch(A, 1, 2)) == [Acknowledged(A, 2, "epoch 1")]
    assert len(sink.tried_s) == 1
    assert writer.outages == ["the answer of a commit fails", pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("marks", "answers"),
    [
        ({A: 3, B: 2}, [Rewind(A, 3), Rewind(B, 2)]),  # another writer stored an event
        ({A: 1, B: 2}, [Unknown()]),
    ],
)
def test_a_group_of_which_the_database_holds_something_else_is_given_up(marks, answers):
    writer = Writer(sink := Sink())
    writer.hears(hello(A, 0), hello(B, 0, route=b"2"))
    writer.hears(batch(A, 1, 2), batch(B, 1, 2, route=b"2"))
    sink.refusing = ["commit"]
    sink.marks = marks
    assert writer.hears(batch(A, 3, 2), batch(B, 3, 2, route=b"2"))[: len(answers)] == answers
    assert (writer.ingest.commits, sink.marks, len(sink.tried_s)) == (1, marks, 2)
    fall = ("it holds less than producer has delivered",)
    assert sink.reasons[1:] == (fall if Unknown() in answers else ())


def test_a_hello_that_the_database_leaves_unanswered_is_an_outage_and_the_next_one_is_answered():
    writer = Writer(sink := Sink())
    sink.refusing = ["high_water_marks"]
    assert writer.hears(hello(A, 0)) == []
    assert writer.outages == ["high_water_marks fails"]
    writer.now_s = 3.0
    assert [type(each) for each in writer.hears(hello(A, 0))] == [Welcome]
    assert writer.outages == ["high_water_marks fails", 3.0]
    assert writer.lacking == [0]


def test_of_a_producer_that_started_again_and_again_the_newest_processes_are_known():
    writer = Writer(Sink())
    streams = [f"{number:032x}" for number in range(PROCESSES_MAX + 2)]
    for number, stream in enumerate(streams):
        writer.hears(hello(stream, 0, route=b"%d" % number))
    answers = [writer.hears(batch(stream, 1, 1, route=b"%d" % number)) for number, stream in enumerate(streams)]
    assert answers[:2] == [[Unknown()]] * 2
    assert answers[2:] == [[Acknowledged(stream, 1, "epoch 1")] for stream in streams[2:]]


def test_a_fall_whose_epoch_cannot_be_noted_is_found_again_by_the_next_hello(caplog):
    writer = Writer(sink := Sink())
    writer.hears(hello(A, 0))
    writer.hears(batch(A, 1, 2))
    sink.marks = {}
    sink.refusing = ["commit", "begin_epoch"]
    assert writer.hears(batch(A, 3, 1)) == []
    assert writer.outages == ["commit fails", "begin_epoch fails"]
    assert writer.ingest.commits == 1
    assert writer.hears(batch(A, 3, 1)) == [Unknown()]
    writer.now_s += HELLO_EVERY_S
    writer.backed_up = {A: 2}
    assert writer.hears(hello(A, 2, "epoch 1")) == [Welcome({A: 0}, CREDIT_EVENTS, "epoch 2", {A: 0}, {A: 0})]
    assert sink.reasons[1:] == ("it holds less than producer has delivered",)
    assert (
        "the database went back: it holds less than producer has delivered; what it lacks is delivered again"
        in caplog.messages
    )
    assert writer.lacking[-1] == 2


def test_the_socket_bounds_its_queues_and_frames_and_waits_for_no_peer_when_it_is_closed(tmp_path):
    address = f"ipc://{tmp_path}/ingest"
    with ingest_socket(address) as socket:
        assert socket.getsockopt(zmq.TYPE) == zmq.ROUTER
        assert [socket.getsockopt(option) for option in (zmq.LINGER, zmq.RCVHWM, zmq.SNDHWM)] == [0, 16, 1_000]
        assert BATCH_BYTES_MAX <= socket.getsockopt(zmq.MAXMSGSIZE) < BATCH_BYTES_MAX + 1_024
        assert socket.getsockopt_string(zmq.LAST_ENDPOINT) == address


RETRIES = [
    (0, 0.0, 0.1),
    (0, 0.5, 0.15),
    (0, 1.0, 0.2),
    (1, 0.0, 0.2),
    (3, 1.0, 1.6),
    (4, 0.0, 1.6),
    (5, 0.0, 2.5),
    (9, 1.0, 5.0),
]


@pytest.mark.parametrize(("attempt", "share", "seconds"), RETRIES)
def test_a_wait_is_half_to_the_whole_of_a_fifth_of_a_second_doubled_up_to_five(attempt, share, seconds):
    assert retry_s(attempt, share) == pytest.approx(seconds)


def hello_of(producer, route, acknowledged):
    return [route, HELLO, msgspec.msgpack.encode(Hello(producer, acknowledged))]


def test_each_answer_goes_the_way_of_the_newest_hello_of_its_stream():
    writer = Writer(Sink(**{A: 1}))
    writer.ingest.take_group(writer)
    assert (writer.router.sent, writer.feed, writer.ingest.silent_s) == ([], [()], 0.0)

    def routes(*messages):
        writer.router.received += messages
        writer.ingest.take_group(writer)
        return [writer.router.sent.pop(0)[0] for _ in range(len(writer.router.sent))]

    assert routes(batch(A, 2, 1)) == [b"1"], "no hello"
    assert routes(hello_of("one", b"1", {A: 1}), hello_of("two", b"2", {B: 0})) == [b"1", b"2"]
    assert routes(batch(A, 2, 1), batch(B, 1, 1, route=b"2")) == [b"1", b"2"]
    assert routes(batch(A, 9, 1), lost(A, 9, 9), batch("cc" * 16, 1, 1, route=b"2")) == [b"1", b"1", b"2"]
    writer.now_s = 9.0
    assert routes(hello_of("one", b"3", {A: 2})) == [b"3"]
    assert routes(batch(A, 3, 1, route=b"3")) == [b"3"]


def test_of_several_streams_that_lack_events_the_sum_is_told_at_hellos_and_nought_when_all_came():
    writer = Writer(Sink(**{A: 3, B: 1}))
    writer.hears(hello_of("one", b"1", {A: 7, B: 3}))
    assert writer.lacking == [6]
    writer.hears(batch(A, 4, 4))
    writer.hears(batch(B, 2, 1))
    assert writer.lacking == [6], "an event of the second one is lacking"
    writer.hears(hello_of("two", b"2", {"cc" * 16: 0}))
    assert writer.lacking == [6, 1]
    writer.hears(batch(B, 3, 2))
    writer.hears(batch(B, 5, 1))
    assert writer.lacking == [6, 1, 0]


def test_a_fall_of_what_this_writer_committed_begins_an_epoch_at_once_whatever_was_claimed_before():
    writer = Writer(sink := Sink())
    writer.hears(hello_of("one", b"1", {A: 7}))
    writer.hears(hello_of("two", b"2", {B: 0}))
    writer.hears(batch(B, 1, 2, route=b"2"))
    sink.marks, writer.now_s = {}, 1.0
    answers = writer.hears(hello_of("three", b"3", {"cc" * 16: 0}))
    assert answers == [Unknown(), Unknown(), Welcome({"cc" * 16: 0}, CREDIT_EVENTS, "epoch 3", {"cc" * 16: 0}, {})]
    assert sink.reasons[1:] == tuple(f"it holds less than {name} has delivered" for name in ("one", "three"))


def test_what_arrived_before_a_fall_was_found_is_not_committed_and_its_producer_says_hello():
    writer = Writer(sink := Sink())
    writer.hears(hello_of("one", b"1", {A: 0}))
    assert [type(each) for each in writer.hears(batch(A, 1, 2), hello_of("two", b"2", {B: 7}))] == [Unknown, Welcome]
    assert (sink.committed, writer.ingest.commits) == ([], 0)
    assert writer.hears(batch(A, 1, 2)) == [Unknown()]


def test_a_fall_of_the_last_commit_is_found_by_a_refused_group_of_another_stream():
    writer = Writer(sink := Sink())
    writer.hears(hello_of("one", b"1", {A: 0}), hello_of("two", b"2", {B: 0}))
    writer.hears(batch(A, 1, 2))
    sink.marks, sink.refusing = {}, ["commit"]
    assert writer.hears(batch(B, 1, 2, route=b"2")) == [Unknown(), Unknown()]
    assert sink.reasons[1:] == ("it holds less than two has delivered",)
    assert sink.committed[1:] == []


def test_an_outage_is_told_once_for_each_error_in_a_row_and_its_length_counts_from_the_first_one():
    writer = Writer(sink := Sink())
    seen: list[bool] = [writer.ingest.is_in_outage]
    for number, call in enumerate(["high_water_marks", "high_water_marks", "begin_epoch", "high_water_marks", ""]):
        writer.now_s = 2.0 + number
        sink.refusing = [call] if call else []
        writer.hears(hello_of("one", b"1", {A: 1 if call == "begin_epoch" else 0}))
        seen.append(writer.ingest.is_in_outage)
    assert seen == [False, True, True, True, True, False]
    fails = [f"{call} fails" for call in ("high_water_marks", "begin_epoch", "high_water_marks")]
    assert writer.outages == [*fails, 4.0]
    writer.now_s, sink.refusing = 9.0, ["high_water_marks"]
    writer.hears(hello_of("one", b"1", {A: 0}))
    assert writer.outages == [*fails, 4.0, "high_water_marks fails"], "the next outage"


def test_a_hello_that_cannot_be_read_keeps_no_other_one_from_its_answer():
    writer = Writer(Sink())
    answers = writer.hears(hello_of("one", b"1", {A: 0}), [b"2", HELLO, b"short"], hello_of("three", b"3", {B: 0}))
    assert [list(each.high_water_marks) for each in answers if isinstance(each, Welcome)] == [[A], [B]]
    assert writer.ingest.peers.refused == 1


def test_the_duplicates_of_sixteen_streams_are_noted_after_a_group_and_a_failure_keeps_none_of_the_others():
    streams = [f"{number:032x}" for number in range(18)]
    writer = Writer(sink := Sink(**dict.fromkeys(streams, 5)))
    writer.hears(hello_of("one", b"1", dict.fromkeys(streams, 5)))
    sink.refusing = ["note_duplicates"]
    writer.hears(*(batch(stream, 1, 2) for stream in streams))
    assert sink.duplicates == [(stream, 2) for stream in streams[1:16]]
    writer.hears(batch(streams[0], 5, 1))
    assert sorted(sink.duplicates[15:]) == [(streams[0], 3), (streams[16], 2), (streams[17], 2)]
    writer.hears()
    assert len(sink.duplicates) == 18


def test_only_earlier_processes_of_the_same_producer_are_forgotten_and_a_stream_that_a_later_one_named_is_not():
    writer = Writer(Sink())
    own = [f"{number:032x}" for number in range(PROCESSES_MAX + 2)]
    for number, stream in enumerate(own):
        writer.hears(hello_of("one", b"%d" % number, {A: 0, stream: 2 if number == 0 else 0}))
        writer.now_s += HELLO_EVERY_S
        writer.hears(hello_of(f"other {number}", b"%d" % (100 + number), {f"{100 + number:032x}": 0}))
        writer.now_s += HELLO_EVERY_S
    assert writer.lacking[0] == 2
    assert writer.lacking[-1] == 0, "the stream of a forgotten process lacks nothing"
    newest = len(own) - 1
    assert writer.hears(batch(A, 1, 1, route=b"%d" % newest)) == [Acknowledged(A, 1, "epoch 2")]
    assert writer.hears(batch(own[0], 1, 1, route=b"%d" % newest)) == [Unknown()], "its process is forgotten"
    for number in range(len(own)):
        [answer] = writer.hears(batch(f"{100 + number:032x}", 1, 1, route=b"%d" % (100 + number)))
        assert isinstance(answer, Acknowledged)


def test_a_peer_that_sent_what_is_no_message_is_heard_again_after_a_while():
    writer = Writer(Sink())
    writer.hears(hello(A, 0), [b"1", b"Z", b""])
    for now_s, types in ((1.0, []), (IGNORED_S - 0.1, []), (IGNORED_S, [Acknowledged])):
        writer.now_s = now_s
        assert [type(each) for each in writer.hears(batch(A, 1, 1))] == types
