"""Delivery under every kind of loss: each appended event is stored exactly once and in order, per stream."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bus.delivery import Acknowledged, Receiver, Rewind, Sender, StreamProgress, ToProducer, Welcome

CREDIT = 7
Batch = tuple[str, int, int]  # stream, first number, count


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
    sender.acknowledged("s", 2)
    assert sender.next_to_send() == ("s", 3)


def test_earlier_streams_are_delivered_before_the_current_one_and_then_forgotten() -> None:
    sender = Sender([StreamProgress("old", appended=2), StreamProgress("new", appended=1)])
    sender.welcomed(Welcome({"old": 0, "new": 0}, credit=100))
    assert sender.next_to_send() == ("old", 1)
    sender.sent("old", 2)
    assert sender.next_to_send() == ("new", 1)
    sender.acknowledged("old", 2)
    assert sender.finished() == ["old"]
    assert sender.streams == ["new"]


def test_a_mark_beyond_the_last_appended_event_counts_as_complete() -> None:
    """The outbox lost its tail after the writer committed it: the old stream counts as complete."""
    sender = Sender([StreamProgress("old", appended=3), StreamProgress("new")])
    sender.welcomed(Welcome({"old": 8, "new": 0}, credit=100))
    assert sender.next_to_send() is None
    assert sender.finished() == ["old"]


class Delivery(RuleBasedStateMachine):
    """One producer and one writer over a network that loses, repeats and reorders, with crashes of either."""

    def __init__(self) -> None:
        super().__init__()
        self.appended: dict[str, int] = {}  # the outbox on disk
        self.stored: dict[str, list[int]] = {}  # the database
        self.to_writer: list[Batch] = []
        self.to_producer: list[ToProducer] = []
        self.group: list[Batch] = []
        self.streams_opened = 0
        self.start_producer()
        self.receiver = Receiver()

    def marks(self, streams: Sequence[str]) -> dict[str, int]:
        return {stream: len(self.stored.get(stream, [])) for stream in streams}

    @rule()
    def start_producer(self) -> None:
        """The process died (its memory is gone, its outbox is not) and a new one opens a new stream."""
        self.current = f"stream{self.streams_opened}"
        self.streams_opened += 1
        self.appended[self.current] = 0
        self.sender = Sender([StreamProgress(stream, last) for stream, last in self.appended.items()])

    @rule()
    def start_writer(self) -> None:
        self.receiver = Receiver()
        self.group.clear()

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        self.appended[self.current] += count
        self.sender.appended(self.current, self.appended[self.current])

    @rule()
    def say_hello(self) -> None:
        """The network treats the answer like any message: lost, overtaken, or later than another hello."""
        self.sender.disconnected()
        streams = self.sender.streams
        self.receiver.greeted(self.marks(streams))
        self.to_producer.append(Welcome(self.marks(streams), CREDIT))

    @rule(size=st.integers(1, 4))
    def send(self, size: int) -> None:
        if position := self.sender.next_to_send():
            stream, first = position
            last = min(first + size - 1, self.appended[stream])
            self.sender.sent(stream, last)
            self.to_writer.append((stream, first, last - first + 1))

    @rule(position=st.integers(0, 10), again=st.booleans())
    def receive(self, position: int, again: bool) -> None:
        if not self.to_writer:
            return
        position %= len(self.to_writer)
        stream, first, count = self.to_writer[position] if again else self.to_writer.pop(position)
        if not self.receiver.knows(stream):
            return
        admission = self.receiver.admit(stream, first, count)
        if admission.decision == "take":
            self.group.append((stream, first + admission.skip, count - admission.skip))
        elif admission.decision == "ahead":
            self.to_producer.append(Rewind(stream, self.receiver.admitted_mark(stream)))

    @rule(answer_lost=st.booleans())
    def commit(self, answer_lost: bool) -> None:
        """One transaction; its success may be unknown to the writer, which then reads the marks back."""
        streams = {stream for stream, _, _ in self.group}
        for stream, first, count in self.group:
            self.stored.setdefault(stream, []).extend(range(first, first + count))
        self.group.clear()
        if answer_lost:
            self.to_producer.extend(self.receiver.rolled_back(self.marks(sorted(streams))))
        else:
            self.to_producer.extend(Acknowledged(stream, len(self.stored[stream])) for stream in streams)

    @rule()
    def commit_fails(self) -> None:
        streams = {stream for stream, _, _ in self.group}
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
            self.sender.acknowledged(message.stream, message.high_water_mark)
        elif isinstance(message, Welcome):
            self.sender.welcomed(message)
        elif isinstance(message, Rewind):
            self.sender.rewound(message.stream, message.last_taken)
        for stream in self.sender.finished():
            assert len(self.stored.get(stream, [])) == self.appended[stream], "trimmed before it was stored"

    @rule(position=st.integers(0, 10))
    def lose(self, position: int) -> None:
        if self.to_writer:
            self.to_writer.pop(position % len(self.to_writer))

    @invariant()
    def stored_is_a_prefix_of_what_was_appended_each_once_in_order(self) -> None:
        for stream, numbers in self.stored.items():
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) <= self.appended[stream]

    @invariant()
    def never_more_under_way_than_the_credit_and_one_batch(self) -> None:
        assert self.sender.under_way < CREDIT + 4

    def teardown(self) -> None:
        """Once the network behaves, everything that was appended arrives."""
        self.to_writer.clear()
        self.to_producer.clear()
        self.start_writer()
        self.say_hello()
        self.receive_message(0, lost=False)
        for _ in range(10_000):
            self.send(4)
            while self.to_writer:
                self.receive(0, again=False)
            self.commit(answer_lost=False)
            while self.to_producer:
                self.receive_message(0, lost=False)
            if not self.sender.unacknowledged:
                break
        assert self.marks(list(self.appended)) == self.appended


Delivery.TestCase.settings = settings(stateful_step_count=50)
TestDelivery = Delivery.TestCase
