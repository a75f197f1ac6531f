"""Delivery under every kind of loss: each appended event is stored exactly once and in order, per stream."""

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bus.delivery import Acknowledged, Hello, Receiver, Rewind, Sender, StreamProgress, ToProducer, Welcome

CREDIT = 7
Batch = tuple[str, int, int, bool]  # stream, first number, count, whether the numbers are lost


def test_exactly_the_next_number_is_taken() -> None:
    receiver = Receiver()
    receiver.greeted({"s": 10})
    assert receiver.admit("s", 11, 3).decision == "take"
    assert receiver.admit("s", 12, 2).decision == "duplicate"
    assert receiver.admit("s", 16, 1).decision == "ahead"
    assert receiver.admit("s", 14, 2).decision == "take"


def test_a_batch_that_begins_before_the_mark_is_taken_without_its_known_front() -> None:
    receiver = Receiver()
    receiver.greeted({"s": 10})
    admission = receiver.admit("s", 9, 4)
    assert (admission.decision, admission.skip) == ("take", 2)
    assert receiver.duplicates == 2


def test_a_rewind_is_no_acknowledgement() -> None:
    """The writer can still lose uncommitted events. Found by the state machine below."""
    sender = Sender([StreamProgress("s", appended=3)])
    sender.welcomed(Welcome({"s": 0}, credit=100))
    sender.sent("s", 3)
    sender.rewound("s", 1)
    assert sender.next_to_send() == ("s", 2)
    assert sender.unacknowledged == 3


def test_nothing_is_sent_before_the_welcome_nor_beyond_the_credit() -> None:
    sender = Sender([StreamProgress("s", appended=5)])
    assert sender.next_to_send() is None
    sender.welcomed(Welcome({"s": 0}, credit=2))
    assert sender.next_to_send() == ("s", 1)
    sender.sent("s", 2)
    assert sender.next_to_send() is None
    sender.acknowledged(Acknowledged("s", 2))
    assert sender.next_to_send() == ("s", 3)


def test_earlier_streams_are_delivered_before_the_current_one_and_then_forgotten() -> None:
    sender = Sender([StreamProgress("old", appended=2), StreamProgress("new", appended=1)])
    sender.welcomed(Welcome({"old": 0, "new": 0}, credit=100))
    assert sender.next_to_send() == ("old", 1)
    sender.sent("old", 2)
    assert sender.next_to_send() == ("new", 1)
    sender.acknowledged(Acknowledged("old", 2))
    assert sender.finished() == ["old"]
    assert list(sender.hello("producer", {}).acknowledged) == ["new"]


def test_a_mark_beyond_the_last_appended_event_counts_as_complete() -> None:
    """The outbox lost its tail after the writer committed it: the old stream counts as complete."""
    sender = Sender([StreamProgress("old", appended=3), StreamProgress("new")])
    sender.welcomed(Welcome({"old": 8, "new": 0}, credit=100))
    assert sender.next_to_send() is None
    assert sender.finished() == ["old"]


def test_a_welcome_of_another_epoch_takes_the_sender_back() -> None:
    sender = Sender([StreamProgress("s", appended=5)])
    sender.welcomed(Welcome({"s": 5}, credit=100, epoch="one"))
    assert not sender.unacknowledged
    back = Welcome({"s": 2}, credit=100, epoch="two")
    assert sender.fallen(back, {}) == {"s": 2}
    sender.revived("s", 5, 2)
    sender.welcomed(back)
    assert sender.next_to_send() == ("s", 3)


def test_an_archived_stream_that_the_database_lost_is_delivered_before_the_current_one() -> None:
    sender = Sender([StreamProgress("new", appended=1)])
    welcome = Welcome({"old": 1, "new": 0}, credit=100, epoch="one")
    assert sender.fallen(welcome, {"old": 4}) == {"old": 1}
    sender.revived("old", 4, 1)
    sender.welcomed(welcome)
    assert sender.next_to_send() == ("old", 2)


def test_streams_that_the_database_lost_are_delivered_in_the_order_of_their_openings() -> None:
    sender = Sender([StreamProgress("rest", appended=3), StreamProgress("new", appended=1)])
    sender.welcomed(Welcome({"rest": 2, "new": 0}, credit=100, epoch="one"))
    welcome = Welcome({"first": 1, "second": 0, "rest": 0, "new": 0}, credit=100, epoch="two")
    for stream, mark in reversed(list(sender.fallen(welcome, {"first": 4, "second": 2}).items())):
        sender.revived(stream, {"first": 4, "second": 2, "rest": 3}[stream], mark)
    sender.welcomed(welcome)
    sent = []
    while position := sender.next_to_send():
        sender.sent(*position)
        sent.append(position)
    assert [stream for stream, _ in sent] == ["first"] * 3 + ["second"] * 2 + ["rest"] * 3 + ["new"]


def test_an_acknowledgement_of_an_earlier_epoch_changes_nothing() -> None:
    sender = Sender([StreamProgress("s", appended=5)])
    sender.welcomed(Welcome({"s": 1}, credit=100, epoch="two"))
    sender.acknowledged(Acknowledged("s", 5, "one"))
    assert sender.unacknowledged == 4


def test_a_rewind_below_the_acknowledged_mark_calls_for_a_hello() -> None:
    sender = Sender([StreamProgress("s", appended=5)])
    sender.welcomed(Welcome({"s": 4}, credit=100))
    assert sender.rewound("s", 4)
    assert not sender.rewound("s", 2)


def test_a_hello_above_the_databases_mark_shows_that_it_went_back() -> None:
    receiver = Receiver("one")
    assert receiver.has_gone_back(Hello("p", {"s": 5}, "one"), {"s": 4})
    assert receiver.has_gone_back(Hello("p", {"s": 5}, ""), {"s": 4})
    assert not receiver.has_gone_back(Hello("p", {"s": 5}, "one"), {"s": 5})


def test_a_database_below_what_the_writer_committed_went_back() -> None:
    """The producer may not know of the commit: its acknowledgement was lost, or went to the process before it. Found by
    the state machine in tests/chaos.
    """
    receiver = Receiver("one")
    receiver.greeted({"s": 0})
    receiver.admit("s", 1, 5)
    receiver.committed("s", 5)
    assert receiver.has_gone_back(Hello("p", {"s": 0}, "one"), {"s": 0})


def test_a_sender_of_an_earlier_epoch_begins_no_second_one() -> None:
    assert not Receiver("two").has_gone_back(Hello("p", {"s": 5}, "one"), {"s": 4})


class Delivery(RuleBasedStateMachine):
    """One producer and one writer over a network that loses, repeats and reorders, with crashes of either, damage to
    the outbox, and a database that goes back to an earlier commit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.appended: dict[str, int] = {}  # the outbox on disk
        self.archived: dict[str, int] = {}  # its finished streams
        self.gone: set[tuple[str, int]] = set()  # numbers that its files do not hold any more
        self.stored: dict[str, list[int]] = {}  # the database; a lost number is negative
        self.epochs = 1
        self.commits: list[dict[str, list[int]]] = [{}]
        self.to_writer: list[Batch] = []
        self.to_producer: list[ToProducer] = []
        self.group: list[Batch] = []
        self.start_producer()
        self.receiver = Receiver("1")

    def marks(self, streams: Iterable[str]) -> dict[str, int]:
        return {stream: len(self.stored.get(stream, [])) for stream in streams}

    @rule()
    def start_producer(self) -> None:
        """The process died (its memory is gone, its outbox is not) and a new one opens a new stream."""
        self.current = f"stream{len(self.appended)}"
        self.appended[self.current] = 0
        live = [stream for stream in self.appended if stream not in self.archived]
        self.sender = Sender([StreamProgress(stream, self.appended[stream]) for stream in live])

    @rule()
    def start_writer(self) -> None:
        self.receiver = Receiver(str(self.epochs))
        self.group.clear()

    @rule(back=st.integers(1, 6))
    def database_goes_back(self, back: int) -> None:
        """A backup is put in its place, or a server loses its last commits; the writer runs on."""
        self.commits = self.commits[: max(1, len(self.commits) - back)]
        self.stored = {stream: list(numbers) for stream, numbers in self.commits[-1].items()}

    @rule(position=st.integers(0, 30))
    def outbox_is_damaged(self, position: int) -> None:
        numbers = [(stream, number) for stream, last in self.appended.items() for number in range(1, last + 1)]
        if numbers:
            self.gone.add(numbers[position % len(numbers)])

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        self.appended[self.current] += count
        self.sender.appended(self.current, self.appended[self.current])

    @rule()
    def say_hello(self) -> None:
        """The network treats the answer like any message: lost, overtaken, or later than another hello."""
        self.sender.disconnected()
        hello = self.sender.hello("producer", self.archived)
        marks = self.marks(hello.acknowledged)
        if self.receiver.has_gone_back(hello, marks):
            self.begin_epoch()
        self.receiver.greeted(marks)
        taken = {stream: self.receiver.admitted_mark(stream) for stream in marks}
        self.to_producer.append(Welcome(marks, CREDIT, self.receiver.epoch, taken))

    def begin_epoch(self) -> None:
        self.epochs += 1
        self.receiver.began_epoch(str(self.epochs))
        self.group.clear()

    @rule(size=st.integers(1, 4))
    def send(self, size: int) -> None:
        if position := self.sender.next_to_send():
            stream, first = position
            is_gone = position in self.gone
            last = first
            while last < min(first + size - 1, self.appended[stream]) and ((stream, last + 1) in self.gone) == is_gone:
                last += 1
            self.sender.sent(stream, last)
            self.to_writer.append((stream, first, last - first + 1, is_gone))

    @rule(position=st.integers(0, 10), again=st.booleans())
    def receive(self, position: int, again: bool) -> None:
        if not self.to_writer:
            return
        position %= len(self.to_writer)
        stream, first, count, is_lost = self.to_writer[position] if again else self.to_writer.pop(position)
        if not self.receiver.knows(stream):
            return
        admission = self.receiver.admit(stream, first, count)
        if admission.decision == "take":
            self.group.append((stream, first + admission.skip, count - admission.skip, is_lost))
        elif admission.decision == "ahead":
            self.to_producer.append(Rewind(stream, self.receiver.admitted_mark(stream)))

    @rule(answer_lost=st.booleans())
    def commit(self, answer_lost: bool) -> None:
        """One transaction; its success may be unknown to the writer, which then reads the marks back. A group that
        does not follow what is stored shows that the database went back.
        """
        streams = {stream for stream, *_ in self.group}
        marks = self.marks(streams)
        for stream, first, count, _ in self.group:
            if first != marks[stream] + 1:
                self.begin_epoch()
                return
            marks[stream] += count
        for stream, first, count, is_lost in self.group:
            numbers = range(first, first + count)
            self.stored.setdefault(stream, []).extend(-number if is_lost else number for number in numbers)
        self.group.clear()
        self.commits.append({stream: list(numbers) for stream, numbers in self.stored.items()})
        if answer_lost:
            self.to_producer.extend(self.receiver.rolled_back(self.marks(sorted(streams))))
        else:
            epoch = self.receiver.epoch
            for stream in streams:
                self.receiver.committed(stream, len(self.stored[stream]))
            self.to_producer.extend(Acknowledged(stream, len(self.stored[stream]), epoch) for stream in streams)

    @rule()
    def commit_fails(self) -> None:
        streams = {stream for stream, *_ in self.group}
        self.group.clear()
        self.to_producer.extend(self.receiver.rolled_back(self.marks(sorted(streams))))

    @rule(position=st.integers(0, 10), lost=st.booleans())
    def receive_message(self, position: int, lost: bool) -> None:
        if not self.to_producer:
            return
        message = self.to_producer.pop(position % len(self.to_producer))
        if lost:
            return
        if isinstance(message, Acknowledged):
            self.sender.acknowledged(message)
        elif isinstance(message, Welcome):
            for stream, mark in reversed(list(self.sender.fallen(message, self.archived).items())):
                self.archived.pop(stream, None)
                self.sender.revived(stream, self.appended[stream], mark)
            self.sender.welcomed(message)
        elif isinstance(message, Rewind):
            self.sender.rewound(message.stream, message.last_taken)
        self.archived |= {stream: self.appended[stream] for stream in self.sender.finished()}

    @rule(position=st.integers(0, 10))
    def lose(self, position: int) -> None:
        if self.to_writer:
            self.to_writer.pop(position % len(self.to_writer))

    @invariant()
    def stored_is_a_prefix_of_what_was_appended_each_once_in_order(self) -> None:
        for stream, numbers in self.stored.items():
            assert list(map(abs, numbers)) == list(range(1, len(numbers) + 1))
            assert len(numbers) <= self.appended[stream]

    @invariant()
    def only_what_is_gone_is_stated_as_lost(self) -> None:
        assert {(stream, -n) for stream, numbers in self.stored.items() for n in numbers if n < 0} <= self.gone

    @invariant()
    def never_more_under_way_than_the_credit_and_one_batch(self) -> None:
        assert self.sender.under_way < CREDIT + 4

    def teardown(self) -> None:
        """Once the network behaves, everything that was appended arrives, or is stated as lost."""
        self.to_writer.clear()
        self.to_producer.clear()
        for _ in range(10_000):
            self.say_hello()
            self.receive_message(-1, lost=False)
            while self.sender.next_to_send():
                self.send(4)
            while self.to_writer:
                self.receive(0, again=False)
            self.commit(answer_lost=False)
            while self.to_producer:
                self.receive_message(0, lost=False)
            if not self.sender.unacknowledged and self.marks(self.appended) == self.appended:
                return
        raise AssertionError(f"not delivered: {self.sender!r}, {self.marks(self.appended)} of {self.appended}")


Delivery.TestCase.settings = settings(stateful_step_count=50)
TestDelivery = Delivery.TestCase
