"""Exactly once and in order, whatever happens: the real outbox, sender, ingest and store under every kind of trouble.

Hypothesis chooses the order of things. Processes die between any two calls that change a file and half way through a
write; messages are lost, repeated and reordered; the disk fills up under the outbox and under the database; the
database is locked or does not answer; a commit succeeds and its answer is lost; the database is put back to an earlier
copy, also while a group waits for its commit; bits flip in segments and in archived segments, and segments are removed.
After each step the database must hold a prefix of each stream, without gap, duplicate or change; at the end, after the
last fault, the whole stream, but for the numbers that are stated as lost and that no file holds.

What a run reaches is counted, and a run that reaches too little fails (tests/reach.py).
"""

import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bus.delivery import Lost, decode_to_producer
from bus.ingest import CLAIMED_EPOCH_EVERY_S, Ingest, Machine
from bus.outbox import Outbox
from bus.sender import BatchSender, Frames
from observer.base.errors import StoreError
from observer.store import engine
from observer.store.transaction import Transaction
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.bus.router import MemoryRouter
from tests.chaos.faulty_disk import FaultyDisk, KilledError
from tests.chaos.judge import appended, deliverable, segments
from tests.properties import examples
from tests.reach import Reach, run_machine
from tests.store.migrated import migrated_file

CREDIT = 12
SEGMENT_BYTES = 400  # a batch or two
PRODUCER = "producer"
TURN_S = 0.25  # of the writer: an answer to a peer's hello may be due again


# Fates of one direction's messages, oldest first: most arrive.
FATES = st.lists(
    st.sampled_from(["arrives"] * 7 + ["is lost", "arrives and comes again", "comes later"]), min_size=3, max_size=8
)
# Trouble is rare, so that most of it hits work in progress; most of it comes with work.
TURNS = st.sampled_from(
    ["publish"] * 5 + ["send"] * 2 + ["writer"] * 2 + ["answers"] * 2 + ["most arrives"] * 5 + ["all arrives"] * 4
    + ["hello", "time passes", "make room", "trouble", *["trouble at work"] * 3, *["disaster"] * 4]
)  # fmt: skip
DISASTERS: Final = (
    *["kill producer", "doom producer", "stop producer", "stop producer", "kill writer", "fill disk", "cut power"],
    *["back up", "put back", "flip bit", "remove segment", "compress"],
)
TROUBLES: Final = (
    *["answer lost", "locked", "dies before", "put back meanwhile", "dies after", "no answer"],
    *["answer lost", "locked", "stops meanwhile", "dies within", "full disk"],
)
MessageT = TypeVar("MessageT")


def arriving(messages, fates):
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
    """The writer's process, lost at its death; it is the `Sink` of its `Ingest`, and passes on to the store."""

    def __init__(self, delivery, number):
        self.delivery = delivery
        self.number = number
        self.store = StoreWriter(delivery.url)
        self.router = MemoryRouter()
        machine = Machine(lambda: delivery.now_s, lambda: 0.5, CREDIT)
        self.ingest = Ingest(self.router, self, lambda _group: None, StoreError, machine=machine)

    def die(self):
        self.store._engine.dispose()

    def high_water_marks(self, streams):
        if self.delivery.passes("no answer"):
            raise StoreError("no answer")
        return self.store.high_water_marks(streams)

    def epoch(self):
        return self.store.epoch()

    def begin_epoch(self, reason):
        self.delivery.reach.count("later_epoch_began", reason != "created")
        return self.store.begin_epoch(reason)

    def note_duplicates(self, stream, count):
        self.delivery.reach.count("duplicate_dropped", count)
        self.store.note_duplicates(stream, count)

    def commit(self, group):
        self.delivery.trouble_a_commit(self.store, group)
        self.delivery.reach.count("loss_stated", sum(isinstance(part, Lost) for part in group))
        self.delivery.reach.count("group_committed")


class Producer(Outbox):
    """The outbox of one process, which counts what it brings back."""

    reach: Reach

    def rewind(self, stream):
        self.reach.count("archive_revived" if stream in self.archived() else "live_stream_put_back")
        return super().rewind(stream)


class Delivery(RuleBasedStateMachine):
    """One producer and one writer; each dies and restarts. It is the `Stopping` that the writer waits for, too."""

    def __init__(self, reach):
        super().__init__()
        self.reach = reach
        self.patches = pytest.MonkeyPatch()
        self.folder = Path(tempfile.mkdtemp(prefix="machine"))
        self.outboxes = self.folder / PRODUCER
        self.disk = FaultyDisk()
        self.disk.install(self.patches, self.outboxes)
        self.patches.setattr("bus.outbox.SEGMENT_BYTES_MAX", SEGMENT_BYTES)
        self.url = self.make_database()
        self.truth: dict[str, list[int]] = {}  # what was appended, by stream
        self.in_doubt: dict[str, list[int]] = {}  # batches in progress at a process's death: stored whole or not at all
        self.offered = 0
        self.now_s = 0.0
        self.trouble = ""
        self.troubles = itertools.count()  # or most are of the few extents that Hypothesis likes
        self.is_stopping = False  # the writer
        self.processes = itertools.count()
        self.streams = itertools.count(1)
        self.process = 0  # of the producer
        self.to_writer: list[tuple[int, Frames]] = []  # the process it is from
        self.to_producer: list[bytes] = []
        self.outbox: Outbox | None = None
        self.backups: list[Any] = []
        self.back_up()
        self.is_damaged = False
        self.writer = Writer(self, 0)

    # --- the database, SQLite here ---------------------------------------------------------------------------

    def make_database(self):
        pragmas = (*engine._SQLITE_WRITER_PRAGMAS, "busy_timeout=0", "synchronous=OFF")  # no power cut reaches it
        self.patches.setattr(engine, "_SQLITE_WRITER_PRAGMAS", pragmas)
        (self.folder / "observer.db").write_bytes(migrated_file())
        return f"sqlite:///{self.folder}/observer.db"

    def rows(self, statement):
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db")) as database:
            return database.execute(statement).fetchall()

    @contextlib.contextmanager
    def locked_database(self):
        """Another program writes it."""
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    def refuse_rows(self):
        """SQLite may not grow by a page: it refuses as on a full disk, in the middle of a statement."""
        self.writer.store._hold.transactions.give_back()
        with self.writer.store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")

    def back_up(self):
        with contextlib.closing(sqlite3.connect(self.folder / "observer.db")) as database:
            self.backups.append(database.serialize())

    def put_back(self, extent):
        """An earlier copy takes the place of the database; the writer opens it and runs on."""
        self.writer.die()
        for path in self.folder.glob("observer.db-*"):
            path.unlink()
        (self.folder / "observer.db").write_bytes(self.backups[-1 - extent % len(self.backups)])

    # --- the producer ----------------------------------------------------------------------------------------

    @initialize()
    def start_producer(self):
        stream = f"{next(self.streams):032x}"  # the same in each run, as the order of the files depends on it
        with self.mortal():
            try:
                outbox = Producer(self.outboxes, PRODUCER, stream)
            except OSError:
                self.producer_dies()  # the disk is full: the producer reports it and ends
                return
            outbox.reach = self.reach
            self.sender = BatchSender(outbox, "ipc:///nowhere")
            self.outbox = outbox
            self.process = next(self.processes)
            self.truth[stream] = []
            self.settle_doubt()
            self.say_hello()

    def settle_doubt(self):
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

    def producer_dies(self):
        self.disk.reborn()
        self.outbox = None
        self.to_producer.clear()

    def kill_producer(self):
        self.producer_dies()
        self.start_producer()

    def doom_producer(self, calls):
        self.disk.calls_to_live = calls

    def stop_producer_orderly(self):
        self.exchange(UNDISTURBED)  # it waits until everything is committed, for a while
        if self.outbox is None:
            return
        with self.mortal():
            self.outbox.close(delivered=not self.sender.unacknowledged)
        self.producer_dies()
        self.start_producer()

    def publish(self, count):
        if self.outbox is None:
            return
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

    def say_hello(self):
        if self.outbox is not None:
            self.to_writer.append((self.process, self.sender.hello()))

    def send(self, batches):
        with self.mortal():
            while self.outbox is not None and batches and (frames := self.sender.next_message()):
                self.to_writer.append((self.process, frames))
                batches -= 1

    def receive_answers(self, fates):
        for content in arriving(self.to_producer, fates):
            with self.mortal():
                if self.outbox is not None and (hello := self.sender.received(content)):
                    self.to_writer.append((self.process, hello))

    # --- the writer ------------------------------------------------------------------------------------------

    def kill_writer(self):
        self.writer.die()
        self.writer = Writer(self, self.writer.number + 1)
        self.trouble = ""
        self.is_stopping = False

    def writer_turns(self, fates):
        """A connection's route is of one process at each end: what waited for a writer comes to the next one."""
        writer = self.writer
        for process, frames in arriving(self.to_writer, fates):
            writer.router.received.append([b"%d/%d" % (process, writer.number), *frames])
        self.now_s += TURN_S
        try:
            writer.ingest.take_group(self)
            if self.is_stopping:
                self.kill_writer()
        except KilledError:
            self.kill_writer()
        for route, content in writer.router.sent:
            self.reach.count(type(decode_to_producer(content)).__name__.lower())
            if self.outbox is not None and int(route.partition(b"/")[0]) == self.process:
                self.to_producer.append(content)
        writer.router.sent.clear()

    def passes(self, trouble):
        """Whether this trouble strikes now; it is over then."""
        if strikes := self.trouble == trouble:
            self.reach.count(trouble.replace(" ", "_"))
            self.trouble = ""
        return strikes

    def trouble_a_commit(self, store, group):
        """Commit the group, or what the trouble leaves of that."""
        if self.passes("dies before"):
            raise KilledError
        if self.passes("dies within"):
            self.die_in_transaction(store, group)
        if self.passes("locked"):
            with self.locked_database():
                self.offer(store, group)
        if self.passes("full disk"):
            self.refuse_rows()
            try:
                self.offer(store, group)  # a few rows find room in a page that is there
            finally:
                store._engine.dispose()
            return
        if self.trouble.endswith("meanwhile"):
            raise StoreError("no connection")
        store.commit(group)
        if self.passes("dies after"):
            raise KilledError
        if self.passes("answer lost"):
            raise StoreError("the connection is lost")

    def offer(self, store, group):
        """Commit to a database that may refuse it."""
        try:
            store.commit(group)
        except StoreError:
            self.reach.count("commit_refused")
            raise

    def die_in_transaction(self, store, group):
        """Rows inserted, not committed."""

        def die(_transaction):
            raise KilledError

        with pytest.MonkeyPatch.context() as process:
            process.setattr(Transaction, "commit", die)
            store.commit(group)

    def is_set(self):
        return self.is_stopping

    def wait(self, seconds, /):
        """The writer waits with a group that the database refuses; something else can happen meanwhile."""
        self.reach.count("group_waits")
        self.now_s += seconds
        if self.passes("put back meanwhile"):
            self.put_back(self.extent)
        self.is_stopping = self.passes("stops meanwhile")
        return self.is_stopping

    # --- the world -------------------------------------------------------------------------------------------

    @rule(turn=TURNS, extent=st.integers(0, 11), fates=FATES)
    def act(self, turn, extent, fates):
        self.extent = extent
        match turn:
            case "publish":
                for _ in range(1 + extent // 3):
                    self.publish(1 + extent % 3)
            case "send":
                self.send(1 + extent)
            case "writer":
                self.writer_turns(fates)
            case "answers":
                self.receive_answers(fates)
            case "most arrives":
                self.exchange(fates)
            case "all arrives":
                self.exchange(UNDISTURBED)
            case "hello":
                self.say_hello()
            case "time passes":
                self.now_s += CLAIMED_EPOCH_EVERY_S
            case "make room":
                self.disk.room_bytes = None
            case "trouble" | "trouble at work":
                self.trouble = TROUBLES[(extent + next(self.troubles)) % len(TROUBLES)]
                if turn == "trouble at work":
                    self.publish(1 + extent % 3)
                    self.exchange(fates)
            case "disaster":
                self.strike(DISASTERS[extent], extent)

    def exchange(self, fates):
        """What can be sent goes to the writer, and its answers come back."""
        if self.outbox is None:
            self.start_producer()
        self.send(100)
        self.writer_turns(fates)
        self.receive_answers(fates)

    def strike(self, disaster, extent):
        self.reach.count(disaster.replace(" ", "_"))
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

    def fill_disk(self, room_bytes):
        self.disk.room_bytes = room_bytes

    def cut_power(self, torn_bytes):
        """Both processes die, and the tail of the outbox's newest file never reached the disk."""
        if self.outbox is None:
            return
        newest = max(self.outboxes.glob(f"{self.outbox.stream}-*.journal"), default=None)
        self.producer_dies()
        self.to_writer.clear()
        if newest:
            newest.write_bytes(newest.read_bytes()[:-torn_bytes])
        self.is_damaged = True
        self.kill_writer()
        self.start_producer()

    def files(self):
        return sorted(segments(self.outboxes))

    def flip_bit(self, extent):
        files = self.files()
        if files:
            path = files[extent % len(files)]
            content = bytearray(path.read_bytes())
            content[len(content) * (extent + 1) // 13] ^= 1 << extent % 8
            with path.open("r+b") as file:  # in place: the process has it open
                file.write(content)
            self.is_damaged = True

    def remove_segment(self, extent):
        files = self.files()
        if files:
            os.unlink(files[extent % len(files)])  # noqa: PTH108 - not by the process, which may be dead
            self.is_damaged = True

    def compress(self):
        if self.outbox is not None:
            with self.mortal():
                while self.outbox.tidy_archive(0.0):
                    self.reach.count("segment_compressed")

    # --- invariants -------------------------------------------------------------------------------------

    def stored(self):
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
    def stored_is_a_beginning_of_what_was_appended(self):
        stored = self.stored()
        self.reach.count("step")
        self.reach.count("step_with_anything_stored", bool(stored))
        for stream, numbers in stored.items():
            appended_numbers = self.truth[stream][: len(numbers)]
            assert len(numbers) == len(appended_numbers)
            assert all(number in (None, true) for number, true in zip(numbers, appended_numbers, strict=True))

    def teardown(self):
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

    def assert_lost_for_good(self, stored):
        """No file holds an event that is stated as lost."""
        for stream, ranges in deliverable(self.outboxes, stored.keys()).items():
            for first, last in ranges:
                assert None not in stored[stream][first - 1 : last], "stated as lost, and still there"

    def recover(self):
        """No more faults: the disk has room, no process dies, messages arrive in order."""
        self.disk.room_bytes = self.disk.calls_to_live = None
        self.trouble = ""
        self.to_writer.clear()
        self.to_producer.clear()
        for turn in range(1_000):
            self.now_s += CLAIMED_EPOCH_EVERY_S
            if turn > 3 and not (self.sender.unacknowledged or self.to_producer or self.to_writer):
                return
            if self.outbox is not None and turn % 4 == 0:
                self.say_hello()
            self.exchange(UNDISTURBED)
        raise AssertionError(f"not delivered: {self.sender.unacknowledged} events")


FLOORS: Final = {
    "step": 1_000,
    "step_with_anything_stored": 400,
    "group_committed": 75,
    "commit_refused": 7,
    "answer_lost": 4,
    "group_waits": 60,
    "later_epoch_began": 8,
    "rewind": 22,
    "unknown": 32,
    "duplicate_dropped": 15,
    "loss_stated": 4,
    "live_stream_put_back": 7,
    "archive_revived": 4,
    "segment_compressed": 28,
}


@pytest.mark.hypothesis
def test_every_event_is_stored_exactly_once_and_in_order_whatever_happens():
    """A tenth of a second each; thousands with `make chaos`."""
    how = settings(examples(0.5), stateful_step_count=50, suppress_health_check=[*HealthCheck])
    run_machine(Delivery, how, **FLOORS)
