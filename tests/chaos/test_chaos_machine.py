"""Exactly once and in order, whatever happens: the real outbox, sender, receiver and store under every kind of trouble.

Hypothesis chooses the order of things. Processes die between any two calls that change a file and half way through a
write; messages are lost, repeated and reordered; the disk fills up under the outbox and under the database; the
database is locked; a commit succeeds and its acknowledgement is lost. After each step the database must hold a prefix
of each stream, without gap, duplicate or change; at the end, after the last fault, the whole stream.
"""

import contextlib
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, event

import bus.outbox
from bus.codec import decode_events, unpack
from bus.delivery import (
    Acknowledged,
    Delivered,
    Hello,
    Receiver,
    Rewind,
    Sender,
    ToProducer,
    Unknown,
    Welcome,
)
from bus.outbox import Outbox
from observer.errors import StoreError
from observer.store import engine
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.chaos.faulty_disk import FaultyDisk, KilledError
from tests.chaos.judge import appended
from tests.properties import examples
from tests.store.migrated import migrated_file

CREDIT = 12
SEGMENT_BYTES = 400  # a batch or two
PRODUCER = "producer"


# Fates of one direction's messages, oldest first: most arrive.
FATES = st.lists(st.sampled_from(["arrives"] * 5 + ["is lost", "arrives and comes again", "comes later"]), max_size=8)
DISASTERS = st.sampled_from(  # rare, so that a disaster usually hits work in progress
    ["none"] * 18 + ["kill producer", "doom producer", "stop producer", "kill writer", "fill disk", "cut power"]
)
MessageT = TypeVar("MessageT")


def arriving(messages: list[MessageT], fates: Iterable[str]) -> Iterator[MessageT]:
    """The messages that arrive now, by their fates; the others stay in the network."""
    for fate in fates:
        if not messages:
            return
        message = messages.pop(0)
        if fate in ("arrives", "arrives and comes again"):
            yield message
        if fate in ("comes later", "arrives and comes again"):
            messages.append(message)


UNDISTURBED = ["arrives"] * 1000


class Writer:
    """The writer's memory, lost at its death."""

    def __init__(self, url: str) -> None:
        self.store = StoreWriter(url)
        self.receiver = Receiver()
        self.group: list[Delivered] = []

    def die(self) -> None:
        self.store._engine.dispose()


class Delivery(RuleBasedStateMachine):
    """One producer and one writer; each dies and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.folder = Path(tempfile.mkdtemp(prefix="machine"))
        self.outboxes = self.folder / PRODUCER
        self.url = f"sqlite:///{self.folder}/observer.db"
        (self.folder / "observer.db").write_bytes(migrated_file())
        self.patch_surroundings()
        self.truth: dict[str, list[int]] = {}  # what was appended, by stream
        self.in_doubt: dict[str, list[int]] = {}  # batches in progress at a process's death: stored whole or not at all
        self.offered = 0
        self.to_writer: list[Hello | bytes] = []
        self.to_producer: list[ToProducer] = []
        self.outbox: Outbox | None = None
        self.writer = Writer(self.url)

    def patch_surroundings(self) -> None:
        self.disk = FaultyDisk()
        self.disk.install(self.patches, self.outboxes)
        self.patches.setattr(bus.outbox, "SEGMENT_BYTES_MAX", SEGMENT_BYTES)
        quick = (
            *engine._SQLITE_WRITER_PRAGMAS,
            "busy_timeout=0",
            "synchronous=OFF",
        )  # no power cut reaches the database
        self.patches.setattr(engine, "_SQLITE_WRITER_PRAGMAS", quick)

    # --- the producer ----------------------------------------------------------------------------------------

    @initialize()
    def start_producer(self) -> None:
        stream = uuid.uuid4().hex
        with self.mortal():
            try:
                outbox = Outbox(self.outboxes, PRODUCER, stream)
            except OSError:
                self.producer_dies()  # the disk is full: the producer reports it and ends
                return
            self.sender = Sender(outbox.progress())
            self.outbox = outbox
            self.truth[stream] = []
            self.settle_doubt()
            self.say_hello()

    def settle_doubt(self) -> None:
        """Check with the judge's reader whether the batch in progress at the process's death is stored."""
        marks = appended(self.outboxes)
        for stream, numbers in self.in_doubt.items():
            if marks.get(stream, 0) > len(self.truth[stream]):
                self.truth[stream] += numbers
        self.in_doubt.clear()

    @contextlib.contextmanager
    def mortal(self):
        """Let the producer die in any call inside the block."""
        try:
            yield
        except KilledError:
            self.producer_dies()

    def producer_dies(self) -> None:
        self.disk.reborn()
        self.outbox = None

    def kill_producer(self) -> None:
        self.producer_dies()
        self.start_producer()

    def doom_producer(self, calls: int) -> None:
        self.disk.calls_to_live = calls

    def stop_producer_orderly(self) -> None:
        if self.outbox is None:
            return
        with self.mortal():
            self.outbox.close(delivered=not self.sender.unacknowledged)
        self.producer_dies()
        self.start_producer()

    @precondition(lambda self: self.outbox is None)
    @rule()
    def restart_producer(self) -> None:
        self.start_producer()

    @precondition(lambda self: self.outbox is not None)
    @rule(count=st.integers(1, 3))
    def publish(self, count: int) -> None:
        assert self.outbox is not None
        numbers = list(range(self.offered + 1, self.offered + count + 1))
        self.offered += count
        self.in_doubt = {self.outbox.stream: numbers}
        with self.mortal():
            try:
                last_sequence = self.outbox.append([trade(number) for number in numbers])
            except OSError:
                assert self.disk.room_bytes is not None, "it refuses though there is room"
                numbers = []
            else:
                self.sender.appended(self.outbox.stream, last_sequence)
            self.truth[self.outbox.stream] += numbers
            self.in_doubt = {}

    @precondition(lambda self: self.outbox is not None)
    @rule(counts=st.lists(st.integers(1, 6), min_size=1, max_size=4))
    def publish_much(self, counts: list[int]) -> None:
        for count in counts:
            if self.outbox is not None:
                self.publish(count)

    @precondition(lambda self: self.outbox is not None and self.sender.unacknowledged)
    @rule()
    def say_hello(self) -> None:
        if self.outbox is not None:
            self.sender.disconnected()
            self.to_writer.append(Hello(PRODUCER, self.sender.streams))

    @precondition(lambda self: self.outbox is not None and self.sender.next_to_send() is None)
    @rule()
    def connect(self) -> None:
        """A hello that is answered at once; others are answered late, or never."""
        self.say_hello()
        self.handle(self.to_writer.pop())
        self.receive_one(self.to_producer.pop())

    @precondition(lambda self: self.outbox is not None and self.sender.next_to_send() is not None)
    @rule(batches=st.integers(1, 6))
    def send_some(self, batches: int) -> None:
        for _ in range(batches):
            self.send()

    def send(self) -> None:
        if self.outbox is not None and (position := self.sender.next_to_send()):
            packed, last_sequence = self.outbox.batch_at(*position)
            self.sender.sent(position[0], last_sequence)
            self.to_writer.append(packed)

    @precondition(lambda self: self.outbox is not None and self.to_producer)
    @rule(fates=FATES)
    def receive_messages(self, fates: list[str]) -> None:
        for message in arriving(self.to_producer, fates):
            self.receive_one(message)

    def receive_one(self, message: ToProducer) -> None:
        if self.outbox is not None:
            with self.mortal():
                self.act_on(self.outbox, message)

    def act_on(self, outbox: Outbox, message: ToProducer) -> None:
        match message:
            case Acknowledged(stream, mark):
                self.sender.acknowledged(stream, mark)
                outbox.acknowledge(stream, mark)
            case Welcome():
                self.sender.welcomed(message)
            case Rewind(stream, last_taken):
                self.sender.rewound(stream, last_taken)
            case Unknown():
                self.say_hello()
        for stream in self.sender.finished():
            outbox.finish(stream)

    # --- the writer ------------------------------------------------------------------------------------------

    def kill_writer(self) -> None:
        self.writer.die()
        self.writer = Writer(self.url)

    @precondition(lambda self: self.to_writer)
    @rule(fates=FATES)
    def receive(self, fates: list[str]) -> None:
        for message in arriving(self.to_writer, fates):
            self.handle(message)

    def handle(self, message: Hello | bytes) -> None:
        if isinstance(message, Hello):
            marks = self.writer.store.high_water_marks(message.streams)
            self.writer.receiver.greeted(marks)
            self.to_producer.append(Welcome(marks, CREDIT))
        else:
            self.take(message)

    def take(self, packed: bytes) -> None:
        batch = unpack(packed)
        receiver = self.writer.receiver
        if not receiver.knows(batch.stream):
            self.to_producer.append(Unknown())
            return
        admission = receiver.admit(batch.stream, batch.first_sequence, batch.count)
        if admission.decision == "ahead":
            self.to_producer.append(Rewind(batch.stream, receiver.admitted_mark(batch.stream)))
        elif admission.decision == "take":
            events = decode_events(batch)[admission.skip :]
            self.writer.group.append(Delivered(PRODUCER, batch.stream, batch.first_sequence + admission.skip, events))

    @precondition(lambda self: self.writer.group)
    @rule()
    def commit(self) -> None:
        group, self.writer.group = self.writer.group, []
        self.writer.store.commit(group)
        for stream in dict.fromkeys(batch.stream for batch in group):
            last = max(b.first_sequence + len(b.events) - 1 for b in group if b.stream == stream)
            self.to_producer.append(Acknowledged(stream, last))

    @precondition(lambda self: self.writer.group)
    @rule(trouble=st.integers(0, 4))
    def commit_in_trouble(self, trouble: int) -> None:
        (
            self.commit_and_die,
            self.die_in_transaction,
            self.commit_without_answer,
            self.commit_to_locked_database,
            self.commit_to_full_disk,
        )[trouble]()

    def commit_and_die(self) -> None:
        """The writer dies before the acknowledgement."""
        self.writer.store.commit(self.writer.group)
        self.kill_writer()

    def die_in_transaction(self) -> None:
        """The writer dies in the transaction: rows inserted, not committed."""

        @event.listens_for(self.writer.store._engine, "commit")
        def die(_connection: Connection) -> None:
            raise KilledError

        with contextlib.suppress(KilledError):
            self.writer.store.commit(self.writer.group)
        self.kill_writer()

    def commit_without_answer(self) -> None:
        """The commit succeeds without an answer; the writer reads the marks from the database."""
        group, self.writer.group = self.writer.group, []
        self.writer.store.commit(group)
        self.roll_back(group)

    def commit_to_locked_database(self) -> None:
        group, self.writer.group = self.writer.group, []
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked"):
                self.writer.store.commit(group)
        self.roll_back(group)

    def commit_to_full_disk(self) -> None:
        """SQLite may not grow by a page: it refuses as on a full disk, in the middle of a statement."""
        group, self.writer.group = self.writer.group, []
        with self.writer.store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with contextlib.suppress(StoreError):  # a few rows find room in a page that is there
            self.writer.store.commit(group)
        self.roll_back(group)
        self.writer.store._engine.dispose()

    def roll_back(self, group: Sequence[Delivered]) -> None:
        marks = self.writer.store.high_water_marks(sorted({batch.stream for batch in group}))
        self.to_producer.extend(self.writer.receiver.rolled_back(marks))

    # --- the world -------------------------------------------------------------------------------------------

    @rule(disaster=DISASTERS, extent=st.integers(0, 8))
    def strike(self, disaster: str, extent: int) -> None:
        match disaster:
            case "kill producer":
                self.kill_producer()
            case "doom producer":
                self.doom_producer(extent)
            case "stop producer":
                self.stop_producer_orderly()
            case "kill writer":
                self.kill_writer()
            case "fill disk":
                self.fill_disk(100 * extent)
            case "cut power":
                self.cut_power(1 + 50 * extent)

    def fill_disk(self, room_bytes: int) -> None:
        self.disk.room_bytes = room_bytes

    @precondition(lambda self: self.disk.room_bytes is not None)
    @rule()
    def make_room(self) -> None:
        self.disk.room_bytes = None

    def cut_power(self, torn_bytes: int) -> None:
        """Both processes die, and the tail of the outbox's newest file never reached the disk. Lost events that are not
        stored were not promised; lost events that are stored must not be taken for new ones.
        """
        if self.outbox is None:
            return
        newest = self.outbox._segments[self.outbox.stream][-1].path
        stream = self.outbox.stream
        self.producer_dies()
        self.to_writer.clear()
        newest.write_bytes(newest.read_bytes()[:-torn_bytes])
        kept = max(appended(self.outboxes).get(stream, 0), len(self.stored().get(stream, [])))
        del self.truth[stream][kept:]
        self.kill_writer()
        self.start_producer()

    # --- invariants -------------------------------------------------------------------------------------

    def stored(self) -> dict[str, list[int]]:
        """The database's events by stream, in sequence order."""
        found: dict[str, list[int]] = {}
        statement = "SELECT uid, sequence, cumulative_trades FROM trades JOIN streams ON id = stream ORDER BY 1, 2"
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db")) as database:
            for uid, sequence, number in database.execute(statement):
                numbers = found.setdefault(uid, [])
                numbers.append(number)
                assert sequence == len(numbers), "a gap, or a double"
        return found

    @invariant()
    def stored_is_a_beginning_of_what_was_appended(self) -> None:
        for stream, numbers in self.stored().items():
            assert numbers == self.truth[stream][: len(numbers)]

    @invariant()
    def never_more_under_way_than_the_credit_and_one_batch(self) -> None:
        if self.outbox is not None:
            assert self.sender.under_way < CREDIT + 6

    def teardown(self) -> None:
        try:
            self.recover()
            assert self.stored() == {stream: numbers for stream, numbers in self.truth.items() if numbers}
            assert self.outbox is not None
            assert [progress.stream for progress in self.outbox.progress()] == [self.outbox.stream]
            assert len(self.disk.open_descriptors) <= 3, "the lock, the segment, the cursor"
        finally:
            self.producer_dies()
            self.writer.die()
            self.patches.undo()
            shutil.rmtree(self.folder)

    def recover(self) -> None:
        """No more faults: the disk has room, no process dies, messages arrive in order."""
        self.disk.room_bytes = self.disk.calls_to_live = None
        self.to_writer.clear()
        self.to_producer.clear()
        if self.outbox is None:
            self.start_producer()
        self.say_hello()
        for _ in range(10_000):
            if not (self.sender.unacknowledged or self.to_producer or self.to_writer):
                return
            self.send()
            while self.to_writer:
                self.receive(UNDISTURBED)
            self.commit()
            while self.to_producer:
                self.receive_messages(UNDISTURBED)
        raise AssertionError(f"not delivered: {self.sender!r}")


class TestDelivery(Delivery.TestCase):
    """A tenth of a second each; thousands with `make chaos`."""

    settings = settings(examples(0.5), stateful_step_count=50, suppress_health_check=[*HealthCheck])
