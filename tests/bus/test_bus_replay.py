"""A replay is a stream of its own that goes through the ingest socket, the same one every time."""

import asyncio

import pytest

from bus.batch_feed import Began
from bus.capture import Capture, CaptureLabel
from bus.codec import pack, repack, unpack
from bus.events import EVENT_TYPES, DailyBar, Poison, SharesAdjusted, UniverseMember, kind_of
from bus.journal import JournalError, JournalWriter
from bus.replay import CaptureSource, Replay, moment_ns
from tests.builders import trade, trades
from tests.bus.journals.keep import example
from tests.bus.wire import Memory, writing
from tests.waiting import DEADLINE_S, until_async

ID = "cc" * 16
A, B = "aa" * 16, "bb" * 16
NS_PER_S = 1_000_000_000


def captured(folder, *batches):
    path = folder / "captured"
    capture = Capture(path, CaptureLabel(ID, None), {})
    capture.take(Began({stream: first - 1 for stream, first, _ in reversed(batches)}))
    for stream, first, events in batches:
        capture.take(unpack(pack(stream, first, events)))
    capture.close()
    return path


def replayed(path, folder, sink, speed=None):
    """Replay what the sink has not got; the machine seconds that it took."""

    async def scenario(address):
        source = CaptureSource(path)
        committed = sink.high_water_marks([source.stream])[source.stream]
        replay = Replay(source, address, committed=committed, speed=speed)
        began_s = asyncio.get_running_loop().time()
        await asyncio.wait_for(replay.run(), DEADLINE_S)
        assert replay.committed == source.events
        source.close()
        return asyncio.get_running_loop().time() - began_s

    with writing(folder, sink) as writer:
        return asyncio.run(scenario(writer.endpoints.ingest))


def test_all_streams_of_a_capture_become_one_in_the_order_of_their_commits(tmp_path):
    path = captured(tmp_path, (A, 1, trades(2)), (B, 7, trades(2, first=10)), (A, 3, trades(1, first=3)))
    sink = Memory()
    replayed(path, tmp_path, sink)
    assert sink.stored == {ID: [*trades(2), *trades(2, first=10), trade(3)]}


def test_replayed_twice_nothing_changes(tmp_path):
    path = captured(tmp_path, (A, 1, trades(500)), (B, 1, trades(500)))
    sink = Memory()
    replayed(path, tmp_path, sink)
    replayed(path, tmp_path, sink)
    assert sink.stored == {ID: [*trades(500), *trades(500)]}
    assert not sink.duplicates


def test_a_replay_that_was_interrupted_goes_on_where_it_was(tmp_path):
    path = captured(tmp_path, *((A, first, trades(100, first=first)) for first in range(1, 100_000, 100)))

    async def interrupted(address):
        source = CaptureSource(path)
        replay = Replay(source, address, committed=0, speed=None)
        task = asyncio.create_task(replay.run())
        await until_async(lambda: replay.committed >= 20_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        source.close()

    broken = Memory(ends_at=20_000)
    with writing(tmp_path, broken) as writer:
        asyncio.run(interrupted(writer.endpoints.ingest))
    there = len(broken.stored[ID])
    assert 20_000 <= there < 100_000
    sink = Memory()
    sink.stored = broken.stored
    replayed(path, tmp_path, sink)
    assert sink.stored == {ID: trades(100_000)}
    assert not sink.duplicates


def test_an_unreadable_event_is_replayed_as_it_was(tmp_path):
    path = tmp_path / "captured"
    unreadable = pack(A, 1, trades(2)).replace(b"005930", b"00593\xff")
    journal = JournalWriter(path, str(CaptureLabel(ID, None)))
    journal.append(unreadable)
    journal.close()
    sink = Memory()
    replayed(path, tmp_path, sink)
    assert [type(event) for event in sink.stored[ID]] == [Poison, Poison]


def test_a_batch_can_be_asked_for_again_from_anywhere(tmp_path):
    batches = [(A, first, trades(3, first=first)) for first in range(1, 9_000, 3)]
    source = CaptureSource(captured(tmp_path, *batches))
    for sequence in (1, 8_999, 2, 5_000, 4_999, 4_000, 9_000):
        first = (sequence - 1) // 3 * 3 + 1
        packed = source.batch_at(ID, sequence)
        assert packed.content == repack(unpack(pack(A, first, trades(3, first=first))), ID, first)
        assert packed.last_sequence == first + 2
    with pytest.raises(KeyError):
        source.batch_at(ID, 9_001)
    source.close()


def test_a_replay_at_a_speed_sends_each_event_at_its_market_time(tmp_path):
    """Three trades, 100 market seconds apart, at 1,000 market seconds a second: a fifth of a second."""
    path = captured(tmp_path, *((A, n, [trade(n, receive_time_ns=n * 100 * NS_PER_S)]) for n in (1, 2, 3)))
    sink = Memory()
    assert replayed(path, tmp_path, sink, speed=1_000) >= 0.2
    assert sink.stored == {ID: trades_at(100)}


def trades_at(step_s):
    return [trade(n, receive_time_ns=n * step_s * NS_PER_S) for n in (1, 2, 3)]


def test_an_event_older_than_those_before_it_does_not_wait(tmp_path):
    late = trade(2, receive_time_ns=1)
    path = captured(tmp_path, (A, 1, [trade(1)]), (A, 2, [late]))
    assert replayed(path, tmp_path, Memory(), speed=0.001) < 5


def test_a_replay_at_a_speed_does_not_send_stored_events_again(tmp_path):
    path = captured(tmp_path, *((A, n, [trade(n, receive_time_ns=n * 1_000 * NS_PER_S)]) for n in (1, 2, 3)))
    sink = Memory()
    sink.stored = {ID: [trade(1, receive_time_ns=1_000 * NS_PER_S), trade(2, receive_time_ns=2_000 * NS_PER_S)]}
    assert replayed(path, tmp_path, sink, speed=0.01) < 5  # one is left, and the first that is sent is due at once
    assert not sink.duplicates
    assert len(sink.stored[ID]) == 3


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=kind_of)
def test_the_publication_time_of_an_event_is_known_unless_its_kind_has_none(event_type):
    """Daily bars, share adjustments and universe members have no publication time: the replay sends them with the
    event before them.
    """
    timeless = {DailyBar, SharesAdjusted, UniverseMember}
    moment = moment_ns(example(event_type))
    assert (moment is None) == (event_type in timeless)


def test_a_segment_of_an_outbox_is_not_replayed(tmp_path):
    JournalWriter(tmp_path / "segment", f"outbox track-b {A}").close()
    with pytest.raises(JournalError, match="not a capture"):
        CaptureSource(tmp_path / "segment")
