"""Exactly once and in order, whatever happens: the real outbox, sender, receiver and store under every kind of trouble.

Hypothesis chooses the order of things. Processes die between any two calls that change a file and half way through a
write; messages are lost, repeated and reordered; the disk fills up under the outbox and under the database; the
database is locked; a commit succeeds and its acknowledgement is lost; the database is put back to an earlier copy;
bits flip in segments and in archived segments, and segments are removed. After each step the database must hold a
prefix of each stream, without gap, duplicate or change; at the end, after the last fault, the whole stream, but for
the numbers that are stated as lost and that no file holds.
"""

import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from sqlalchemy import Connection, event

import bus.outbox
from bus.codec import Batch, decode_events, unpack
from bus.delivery import (
    Acknowledged,
    Delivered,
    Hello,
    Lost,
    Part,
    Receiver,
    Rewind,
    Sender,
    ToProducer,
    Unknown,
    Welcome,
)
from bus.outbox import Outbox
from bus.segments import Missing, Packed
from observer.errors import StoreError
from observer.store import engine
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.chaos.faulty_disk import FaultyDisk, KilledError
from tests.chaos.judge import appended, deliverable, segments
from tests.properties import examples
from tests.store.migrated import migrated_file

CREDIT = 12
SEGMENT_BYTES = 400  # a batch or two
PRODUCER = "producer"


# Fates of one direction's messages, oldest first: most arrive.
FATES = st.lists(st.sampled_from(["arrives"] * 5 + ["is lost", "arrives and comes again", "comes later"]), max_size=8)
DISASTERS = st.sampled_from(  # rare, so that a disaster usually hits work in progress
    ["none"] * 16
    + ["kill producer", "doom producer", "stop producer", "kill writer", "fill disk", "cut power"]
    + ["back up", "put back", "flip bit", "remove segment", "compress"]
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
        self.receiver = Receiver(self.store.epoch())
        self.group: list[Part] = []

    def die(self) -> None:
        self.store._engine.dispose()


class Delivery(RuleBasedStateMachine):
    """One producer and one writer; each dies and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.folder = Path(tempfile.mkdtemp(prefix="machine"))
        self.outboxes = self.folder / PRODUCER
        self.patch_surroundings()
        self.url = self.make_database()
        self.truth: dict[str, list[int]] = {}  # what was appended, by stream
        self.in_doubt: dict[str, list[int]] = {}  # batches in progress at a process's death: stored whole or not at all
        self.offered = 0
        self.to_writer: list[Hello | Lost | bytes] = []
        self.to_producer: list[ToProducer] = []
        self.outbox: Outbox | None = None
        self.backups: list[Any] = []
        self.back_up()
        self.is_damaged = False
        self.writer = Writer(self.url)

    def patch_surroundings(self) -> None:
        self.disk = FaultyDisk()
        self.disk.install(self.patches, self.outboxes)
        self.patches.setattr(bus.outbox, "SEGMENT_BYTES_MAX", SEGMENT_BYTES)

    # --- the database, SQLite here ---------------------------------------------------------------------------

    def make_database(self) -> str:
        pragmas = (*engine._SQLITE_WRITER_PRAGMAS, "busy_timeout=0", "synchronous=OFF")  # no power cut reaches it
        self.patches.setattr(engine, "_SQLITE_WRITER_PRAGMAS", pragmas)
        (self.folder / "observer.db").write_bytes(migrated_file())
        return f"sqlite:///{self.folder}/observer.db"

    def rows(self, statement: str) -> Iterable[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db")) as database:
            return database.execute(statement).fetchall()

    @contextlib.contextmanager
    def locked_database(self) -> Iterator[None]:
        """Another program writes it."""
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    def refuse_rows(self) -> None:
        """SQLite may not grow by a page: it refuses as on a full disk, in the middle of a statement."""
        with self.writer.store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")

    def back_up(self) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db")) as database:
            self.backups.append(database.serialize())

    def put_back(self, extent: int) -> None:
        """An earlier copy takes the place of the database; the writer opens it and runs on."""
        self.writer.die()
        for path in self.folder.glob("observer.db-*"):
            path.unlink()
        (self.folder / "observer.db").write_bytes(self.backups[-1 - extent % len(self.backups)])

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
            self.sender = Sender(outbox.progress(), outbox.epoch)
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

    @precondition(lambda self: self.outbox is not None)
    @rule()
    def say_hello(self) -> None:
        if self.outbox is not None:
            self.sender.disconnected()
            self.to_writer.append(self.sender.hello(PRODUCER, self.outbox.archived()))

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
            stream, sequence = position
            with self.mortal(), contextlib.suppress(OSError):
                match self.outbox.batch_at(stream, sequence):
                    case Packed(content, last_sequence):
                        self.to_writer.append(content)
                    case Missing(last_sequence, reason):
                        self.to_writer.append(Lost(stream, sequence, last_sequence, reason))
                self.sender.sent(stream, last_sequence)

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
            case Acknowledged(stream, mark, epoch):
                self.sender.acknowledged(message)
                if epoch == self.sender.epoch:
                    outbox.acknowledge(stream, mark)
            case Welcome():
                self.go_back(outbox, message)
            case Rewind(stream, last_taken):
                if not self.sender.rewound(stream, last_taken):
                    self.say_hello()
            case Unknown():
                self.say_hello()
        for stream in self.sender.finished():
            outbox.finish(stream)

    def go_back(self, outbox: Outbox, welcome: Welcome) -> None:
        try:
            for stream, mark in reversed(list(self.sender.fallen(welcome, outbox.archived()).items())):
                self.sender.revived(stream, outbox.rewind(stream), mark)
        except OSError:
            return
        self.sender.welcomed(welcome)
        outbox.remember_epoch(welcome.epoch)

    # --- the writer ------------------------------------------------------------------------------------------

    def kill_writer(self) -> None:
        self.writer.die()
        self.writer = Writer(self.url)

    @precondition(lambda self: self.to_writer)
    @rule(fates=FATES)
    def receive(self, fates: list[str]) -> None:
        for message in arriving(self.to_writer, fates):
            self.handle(message)

    def handle(self, message: Hello | Lost | bytes) -> None:
        if isinstance(message, Hello):
            self.greet(message)
        else:
            self.take(message if isinstance(message, Lost) else unpack(message))

    def greet(self, hello: Hello) -> None:
        marks = self.writer.store.high_water_marks(list(hello.acknowledged))
        receiver = self.writer.receiver
        if receiver.has_gone_back(hello, marks):
            self.begin_epoch()
        receiver.greeted(marks)
        taken = {stream: receiver.admitted_mark(stream) for stream in marks}
        self.to_producer.append(Welcome(marks, CREDIT, receiver.epoch, taken))

    def begin_epoch(self) -> None:
        self.writer.receiver.began_epoch(self.writer.store.begin_epoch("test"))
        self.writer.group.clear()

    def take(self, part: Batch | Lost) -> None:
        receiver = self.writer.receiver
        if not receiver.knows(part.stream):
            self.to_producer.append(Unknown())
            return
        admission = receiver.admit(part.stream, part.first_sequence, part.count)
        first_sequence = part.first_sequence + admission.skip
        if admission.decision == "ahead":
            self.to_producer.append(Rewind(part.stream, receiver.admitted_mark(part.stream)))
        elif admission.decision == "take" and isinstance(part, Lost):
            self.writer.group.append(replace(part, first_sequence=first_sequence, producer=PRODUCER))
        elif admission.decision == "take":
            events = decode_events(part)[admission.skip :]
            self.writer.group.append(Delivered(PRODUCER, part.stream, first_sequence, events))

    def goes_back(self, group: Sequence[Part]) -> bool:
        """Whether the database holds less than what the group follows; a new epoch has begun then."""
        marks = self.writer.store.high_water_marks([part.stream for part in group])
        starts = {part.stream: part.first_sequence - 1 for part in reversed(group)}
        if has_gone_back := any(marks[stream] < start for stream, start in starts.items()):
            self.begin_epoch()
        return has_gone_back

    @precondition(lambda self: self.writer.group)
    @rule()
    def commit(self) -> None:
        group, self.writer.group = self.writer.group, []
        if self.goes_back(group):
            return
        self.writer.store.commit(group)
        for stream, last_sequence in {part.stream: part.last_sequence for part in group}.items():
            self.writer.receiver.committed(stream, last_sequence)
            self.to_producer.append(Acknowledged(stream, last_sequence, self.writer.receiver.epoch))

    @precondition(lambda self: self.writer.group)
    @rule(trouble=st.integers(0, 4))
    def commit_in_trouble(self, trouble: int) -> None:
        if self.goes_back(self.writer.group):
            return
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
        with self.locked_database(), pytest.raises(StoreError, match="lock"):
            self.writer.store.commit(group)
        self.roll_back(group)

    def commit_to_full_disk(self) -> None:
        group, self.writer.group = self.writer.group, []
        self.refuse_rows()
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
            case "back up":
                self.back_up()
            case "put back":
                self.put_back(extent)
            case "flip bit":
                self.flip_bit(extent)
            case "remove segment":
                self.remove_segment(extent)
            case "compress":
                self.compress()

    def fill_disk(self, room_bytes: int) -> None:
        self.disk.room_bytes = room_bytes

    @precondition(lambda self: self.disk.room_bytes is not None)
    @rule()
    def make_room(self) -> None:
        self.disk.room_bytes = None

    def cut_power(self, torn_bytes: int) -> None:
        """Both processes die, and the tail of the outbox's newest file never reached the disk."""
        if self.outbox is None:
            return
        newest = self.outbox._segments[self.outbox.stream][-1].path
        self.producer_dies()
        self.to_writer.clear()
        if newest.exists():
            newest.write_bytes(newest.read_bytes()[:-torn_bytes])
        self.is_damaged = True
        self.kill_writer()
        self.start_producer()

    def files(self) -> list[Path]:
        return sorted(segments(self.outboxes))

    def flip_bit(self, extent: int) -> None:
        files = self.files()
        if files:
            path = files[extent % len(files)]
            content = bytearray(path.read_bytes())
            content[(len(content) * (extent + 1)) // 10] ^= 1 << extent % 8
            with path.open("r+b") as file:  # in place: the process has it open
                file.write(content)
            self.is_damaged = True

    def remove_segment(self, extent: int) -> None:
        files = self.files()
        if files:
            os.unlink(files[extent % len(files)])  # noqa: PTH108 - not by the process, which may be dead
            self.is_damaged = True

    def compress(self) -> None:
        if self.outbox is not None:
            with self.mortal():
                while self.outbox.tidy_archive(0.0):
                    pass

    # --- invariants -------------------------------------------------------------------------------------

    def stored(self) -> dict[str, list[int | None]]:
        """The database's events by stream, in sequence order; None for one that is stated as lost."""
        found: dict[str, list[int | None]] = {}
        events = "SELECT uid, sequence, sequence, cumulative_trades FROM trades JOIN streams ON id = stream"
        losses = "SELECT uid, first_sequence, last_sequence, NULL FROM delivery_losses JOIN streams ON id = stream"
        for uid, first, last, number in self.rows(f"{events} UNION ALL {losses} ORDER BY 1, 2"):
            numbers = found.setdefault(uid, [])
            assert first == len(numbers) + 1, "a gap, or a double"
            numbers += [number] * (last - first + 1)
        return found

    @invariant()
    def stored_is_a_beginning_of_what_was_appended(self) -> None:
        for stream, numbers in self.stored().items():
            appended_numbers = self.truth[stream][: len(numbers)]
            assert len(numbers) == len(appended_numbers)
            assert all(number in (None, true) for number, true in zip(numbers, appended_numbers, strict=True))

    @invariant()
    def never_more_under_way_than_the_credit_and_one_batch(self) -> None:
        if self.outbox is not None:
            assert self.sender.under_way < CREDIT + 6

    def teardown(self) -> None:
        try:
            self.recover()
            stored = self.stored()
            assert {stream: len(numbers) for stream, numbers in stored.items()} == {
                stream: len(numbers) for stream, numbers in self.truth.items() if numbers
            }
            assert self.is_damaged or None not in itertools.chain(*stored.values())
            self.assert_lost_for_good(stored)
            assert self.outbox is not None
            assert [progress.stream for progress in self.outbox.progress()] == [self.outbox.stream]
            assert len(self.disk.open_descriptors) <= 4, "the lock, the segment, its progress, the cursor"
        finally:
            self.producer_dies()
            self.writer.die()
            self.patches.undo()
            shutil.rmtree(self.folder)

    def assert_lost_for_good(self, stored: Mapping[str, Sequence[int | None]]) -> None:
        """No file holds an event that is stated as lost."""
        for stream, ranges in deliverable(self.outboxes, stored.keys()).items():
            for first, last in ranges:
                assert None not in stored[stream][first - 1 : last], "stated as lost, and still there"

    def recover(self) -> None:
        """No more faults: the disk has room, no process dies, messages arrive in order."""
        self.disk.room_bytes = self.disk.calls_to_live = None
        self.to_writer.clear()
        self.to_producer.clear()
        if self.outbox is None:
            self.start_producer()
        for turn in range(10_000):
            if turn > 2 and not (self.sender.unacknowledged or self.to_producer or self.to_writer):
                return
            if turn < 3 or self.sender.next_to_send() is None:
                self.say_hello()
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
