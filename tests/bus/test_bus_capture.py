"""A capture records every batch committed after its start, unchanged, and reports its missing ranges."""

import asyncio
import contextlib
import itertools

import pytest

from bus.batch_feed import BATCHES_MAX, BatchFeedPublisher, BatchFeedSubscriber, Began
from bus.capture import Capture, CaptureLabel, read_label
from bus.codec import Batch, decode_events, pack, unpack
from bus.delivery import Delivered
from bus.events import Event, PhaseChanged, Poison, SlotReleased
from bus.journal import JournalError, JournalReader
from tests.builders import trade, trades
from tests.bus.journals.keep import example
from tests.bus.wire import Memory, producer, writing
from tests.waiting import DEADLINE_S, until_async

ID = "cc" * 16
A, B = "aa" * 16, "bb" * 16
ALL = CaptureLabel(ID, None)


@contextlib.asynccontextmanager
async def publishing(folder, stream):
    """A producer whose events are committed at the end of the block."""
    async with producer(folder, stream[:2], stream) as running:
        yield running
        assert await running.drain(DEADLINE_S)


@contextlib.asynccontextmanager
async def recording(folder, capture):
    """The capture listens to the batch feed in the folder while the block runs."""

    async def listen():
        async for message in batch_feed:
            capture.take(message)

    batch_feed = BatchFeedSubscriber(f"ipc://{folder}/batch_feed")
    task = asyncio.create_task(listen())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        batch_feed.close()


def opened(folder, marks=None, label=ALL):
    return Capture(folder / "captured", label, marks or {})


def held(path):
    """The events in a journal, by stream and number."""
    found: dict[str, dict[int, Event | Poison]] = {}
    reader = JournalReader(path)
    for record in reader:
        batch = unpack(record.payload)
        events = enumerate(decode_events(batch), batch.first_sequence)
        found.setdefault(batch.stream, {}).update(events)
    reader.close()
    return found


def taken(capture, stream, first_sequence, events):
    capture.take(unpack(pack(stream, first_sequence, events)))


# --- over real sockets ---------------------------------------------------------------------------------------


async def test_a_capture_that_was_there_first_has_everything(tmp_path):
    sink = Memory()
    capture = opened(tmp_path)

    async with recording(tmp_path, capture):
        with writing(tmp_path, sink):
            await until_async(lambda: capture.has_begun)
            async with publishing(tmp_path, A) as a, publishing(tmp_path, B) as b:
                for event in trades(3000):
                    a.publish(event)
                    b.publish(event)
            await until_async(lambda: capture.reaches(sink.marks))
    capture.close()
    assert capture.missing(sink.marks) == {}
    whole = dict(enumerate(trades(3000), 1))
    assert held(tmp_path / "captured") == {A: whole, B: whole}


async def test_an_idle_writer_reports_the_marks_at_which_a_capture_begins(tmp_path):
    sink = Memory()
    (tmp_path / "early").mkdir()
    early, capture = opened(tmp_path / "early"), opened(tmp_path)

    with writing(tmp_path, sink):
        async with recording(tmp_path, early):  # the writer is idle once its feed has delivered the first batch
            async with publishing(tmp_path, A) as a:
                a.publish_together(trades(7))
            await until_async(lambda: early.reaches(sink.marks))
        async with recording(tmp_path, capture):
            await until_async(lambda: capture.has_begun)
            async with publishing(tmp_path, B) as b:
                b.publish(trade())
            await until_async(lambda: capture.reaches(sink.marks))
    early.close()
    capture.close()
    assert sink.marks == {A: 7, B: 1}
    assert capture.missing(sink.marks) == {}
    assert held(tmp_path / "captured") == {B: {1: trade()}}


async def test_two_captures_begin_each_at_its_own_sequence_number(tmp_path):
    sink = Memory()
    (tmp_path / "late").mkdir()
    early, late = opened(tmp_path), opened(tmp_path / "late")

    with writing(tmp_path, sink):
        async with publishing(tmp_path, A) as a, recording(tmp_path, early):
            await until_async(lambda: early.has_begun)
            a.publish_together(trades(5))
            await until_async(lambda: early.reaches({A: 5}))  # the acknowledgement precedes the batch feed
            async with recording(tmp_path, late):
                await until_async(lambda: late.has_begun)
                a.publish_together(trades(2, first=6))
                await until_async(lambda: early.reaches({A: 7}) and late.reaches({A: 7}))
    for capture in (early, late):
        capture.close()
        assert capture.missing(sink.marks) == {}
    assert sorted(held(tmp_path / "captured")[A]) == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(held(tmp_path / "late" / "captured")[A]) == [6, 7]


async def test_a_writer_that_stops_gives_its_captures_the_rest_first(tmp_path):
    sink = Memory()
    capture = opened(tmp_path)

    async with recording(tmp_path, capture):
        with writing(tmp_path, sink):
            await until_async(lambda: capture.has_begun)
            async with publishing(tmp_path, A) as a:
                a.publish_together(trades(5000))
        await until_async(lambda: capture.reaches(sink.marks))
    capture.close()
    assert capture.missing({A: 5000}) == {}


async def test_a_capture_records_a_commit_whose_outcome_was_lost(tmp_path):
    sink = Memory()
    capture = opened(tmp_path)

    async with recording(tmp_path, capture):
        with writing(tmp_path, sink):
            await until_async(lambda: capture.has_begun)
            sink.commit_then_refuse = 1
            async with publishing(tmp_path, A) as a:
                a.publish_together(trades(3))
            await until_async(lambda: capture.reaches({A: 3}))
    capture.close()
    assert capture.missing({A: 3}) == {}


async def test_a_capture_outlives_writers_and_counts_the_events_that_it_missed_between_them(tmp_path):
    sink = Memory()
    capture = opened(tmp_path)

    async with publishing(tmp_path, A) as a:
        async with recording(tmp_path, capture):
            with writing(tmp_path, sink):
                await until_async(lambda: capture.has_begun)
                a.publish_together(trades(10))
                await until_async(lambda: capture.reaches({A: 10}))
        with writing(tmp_path, sink):  # no subscriber
            a.publish_together(trades(20, first=11))
            assert await a.drain(DEADLINE_S)
        async with recording(tmp_path, capture):
            with writing(tmp_path, sink):
                a.publish_together(trades(5, first=31))
                await until_async(lambda: capture.reaches({A: 35}) or sink.marks.get(A) == 35)
    capture.close()
    there = held(tmp_path / "captured")[A].keys()
    assert sum(capture.missing({A: 35}).values()) == 35 - len(there)
    assert there >= set(range(1, 11))
    assert there.isdisjoint(range(11, 31))


def test_a_capture_that_does_not_read_blocks_no_process_and_reports_what_it_lost(tmp_path):
    batch_feed = BatchFeedPublisher(f"ipc://{tmp_path}/batch_feed")
    capture = opened(tmp_path)
    batches = 3 * BATCHES_MAX
    payload = "x" * 1_000  # so that what waits fills the socket's own buffers

    async def scenario():
        subscriber = BatchFeedSubscriber(f"ipc://{tmp_path}/batch_feed")
        messages = aiter(subscriber)
        first = asyncio.ensure_future(anext(messages))

        def received_after_publishing():
            batch_feed.publish([])
            return first.done()

        await until_async(received_after_publishing)  # a subscription takes a moment to arrive
        capture.take(await first)
        for sequence in range(1, batches + 1):  # without a pause: the subscriber never runs in between
            event = trade(sequence, provider=payload)
            batch_feed.publish([Delivered("a", A, sequence, [event], pack(A, sequence, [event]))])

        async def take_what_is_left():
            while not (isinstance(message := await anext(messages), Batch) and message.first_sequence > batches):
                capture.take(message)

        taking = asyncio.create_task(take_what_is_left())
        later = itertools.count(batches + 1)

        def received_one_more():
            sequence = next(later)
            batch_feed.publish([Delivered("a", A, sequence, [trade()], pack(A, sequence, [trade()]))])
            return taking.done()

        await until_async(received_one_more)  # a later batch proves that no earlier one is under way
        await taking
        subscriber.close()

    asyncio.run(scenario())
    batch_feed.close()
    capture.close()
    missing = sum(capture.missing({A: batches}).values())
    assert missing == batches - capture.events
    assert missing > 0


# --- what is recorded ----------------------------------------------------------------------------------------


def test_batches_stand_in_the_journal_byte_for_byte_in_the_order_of_the_commits(tmp_path):
    capture = opened(tmp_path)
    packed = [pack(A, 1, trades(3)), pack(B, 1, trades(1)), pack(A, 4, trades(2))]
    capture.take(Began({}))
    for batch in packed:
        capture.take(unpack(batch))
    capture.close()
    assert [record.payload for record in JournalReader(tmp_path / "captured")] == packed


def test_only_the_wanted_kinds_are_recorded_and_keep_their_numbers(tmp_path):
    phase, slot = example(PhaseChanged), example(SlotReleased)
    capture = opened(tmp_path, label=CaptureLabel(ID, {"phase_changed", "slot_released"}))
    capture.take(Began({}))
    taken(capture, A, 1, [trade(), phase, slot, trade(), phase])
    taken(capture, A, 6, [trade()])
    capture.close()
    assert held(tmp_path / "captured") == {A: {2: phase, 3: slot, 5: phase}}
    assert capture.events == 3
    assert capture.missing({A: 6}) == {}


def test_an_unreadable_event_is_recorded_whatever_kinds_are_wanted(tmp_path):
    capture = opened(tmp_path, label=CaptureLabel(ID, {"phase_changed"}))
    batch = pack(A, 1, [trade()])
    unreadable = batch[: -len(b"trade")] + b"\xc1" * len(b"trade")
    capture.take(Began({}))
    capture.take(unpack(unreadable))
    capture.close()
    assert [record.payload for record in JournalReader(tmp_path / "captured")] == [unreadable]


def test_only_the_new_part_of_a_partly_known_batch_is_recorded(tmp_path):
    capture = opened(tmp_path)
    capture.take(Began({A: 3}))
    taken(capture, A, 2, trades(4, first=2))
    capture.close()
    assert held(tmp_path / "captured") == {A: {4: trade(4), 5: trade(5)}}


def test_a_capture_expects_streams_unknown_to_the_writer_from_the_marks_of_the_database(tmp_path):
    capture = opened(tmp_path, marks={A: 5, B: 9})
    capture.take(Began({A: 8}))
    taken(capture, A, 9, trades(1))
    taken(capture, B, 12, trades(1))
    capture.close()
    assert capture.missing({A: 9, B: 12}) == {B: 2}


def test_a_capture_that_found_no_writer_misses_whatever_was_committed_meanwhile(tmp_path):
    capture = opened(tmp_path, marks={A: 5})
    capture.close()
    assert capture.missing({A: 5}) == {}
    assert capture.missing({A: 6, B: 2}) == {A: 1, B: 2}


def test_an_existing_file_is_never_written_over(tmp_path):
    (tmp_path / "captured").write_text("precious")
    with pytest.raises(FileExistsError):
        opened(tmp_path)


@pytest.mark.parametrize("label", [ALL, CaptureLabel(ID, frozenset({"trade", "snapshot"}))])
def test_a_label_round_trips_through_its_text(label):
    assert read_label(str(label)) == label


def test_an_outbox_label_is_not_a_capture_label():
    with pytest.raises(JournalError):
        read_label(f"outbox track-b {A}")
