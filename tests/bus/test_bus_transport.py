"""Producer, ingest and feed over real sockets."""

import asyncio
import struct
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bus.journal
from bus.codec import pack
from bus.delivery import HELLO, Delivered, Lost
from bus.endpoints import Endpoints
from bus.events import GapDetected, Poison, Snapshot, Trade
from bus.feed import LOSS, POSSIBLE_LOSS, FeedPublisher, FeedSubscriber
from bus.ingest import Listeners
from bus.journal import RecordTooLargeError
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import published_by_stream
from bus.sender import SILENCE_S_MAX, BatchSender, patience_s
from tests.builders import trade, trades
from tests.bus.wire import Memory, Writer, producer, writing
from tests.waiting import DEADLINE_S, until_async


@pytest.fixture
def sink():
    return Memory()


@pytest.fixture
def writer(tmp_path, sink):
    with writing(tmp_path, sink) as running:
        yield running


@pytest.mark.usefixtures("writer")
async def test_published_events_are_stored_in_order(tmp_path, sink):
    async with producer(tmp_path) as a:
        for event in trades(5000):
            a.publish(event)
        assert await a.drain(DEADLINE_S)
        assert a.published == 5000
    assert list(sink.stored.values()) == [trades(5000)]


@pytest.mark.usefixtures("writer")
async def test_the_latency_of_each_batch_is_counted_once(tmp_path):
    async with producer(tmp_path) as a:
        for event in trades(20):
            a.publish_together([event])
        assert await a.drain(DEADLINE_S)
        assert sum(a.latency.counts) == 20
        assert a.latency.sum_s > 0


@pytest.mark.usefixtures("writer")
async def test_an_event_that_cannot_be_encoded_is_counted_and_its_neighbours_are_stored(tmp_path, sink):
    async with producer(tmp_path) as a:
        for event in [trade(1), trade(2, cumulative_trades=2**70), trade(3, symbol="\udcff"), trade(4)]:
            a.publish(event)
        assert await a.drain(DEADLINE_S)
    assert a.unstorable == 2
    assert list(sink.stored.values()) == [[trade(1), trade(4)]]


@pytest.mark.usefixtures("writer")
async def test_a_batch_that_is_too_large_is_published_in_parts(tmp_path, sink, monkeypatch):
    monkeypatch.setattr(bus.journal, "RECORD_BYTES_MAX", 1000)
    published = [trade(1), trade(2, symbol="x" * 1000), *trades(98, first=3)]
    async with producer(tmp_path) as a:
        for event in published:
            a.publish(event)
        assert await a.drain(DEADLINE_S)
    assert a.unstorable == 1
    assert list(sink.stored.values()) == [[event for event in published if event.symbol == "005930"]]


async def test_an_oversized_group_that_must_stay_together_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(bus.journal, "RECORD_BYTES_MAX", 1000)
    async with producer(tmp_path) as a:
        with pytest.raises(RecordTooLargeError):
            a.publish_together(trades(100))
    assert a.published == 0


@pytest.mark.usefixtures("writer")
async def test_events_published_together_are_stored_in_one_commit(tmp_path, sink):
    async with producer(tmp_path) as a:
        a.publish_together(trades(3000))
        assert await a.drain(DEADLINE_S)
    assert sink.commits == 1


def test_publishing_does_not_need_the_writer_and_its_rest_is_delivered_by_the_next_process(tmp_path, sink):
    async def without_writer():
        async with producer(tmp_path) as a:
            a.publish_together(trades(700))
            assert not await a.drain(0.05)

    async def with_writer():
        async with producer(tmp_path) as a:
            a.publish_together(trades(5, first=701))
            assert await a.drain(DEADLINE_S)

    asyncio.run(without_writer())
    running = Writer(Endpoints(tmp_path), sink)
    asyncio.run(with_writer())
    running.stop()
    assert sorted(map(len, sink.stored.values())) == [5, 700]
    assert sum(published_by_stream(tmp_path / "outbox-a").values()) == 705
    assert not list((tmp_path / "outbox-a").glob("*.journal"))


async def test_a_writer_that_is_replaced_in_the_middle_stores_each_event_once(tmp_path, sink):
    async with producer(tmp_path, "a") as a, producer(tmp_path, "b") as b:
        for round_number in range(5):
            running = await asyncio.to_thread(Writer, Endpoints(tmp_path), sink)
            for event in trades(2000, first=round_number * 2000 + 1):
                a.publish(event)
                b.publish(event)
                if event.cumulative_volume % 500 == 0:
                    await asyncio.sleep(0)
            await asyncio.to_thread(running.stop)
        running = await asyncio.to_thread(Writer, Endpoints(tmp_path), sink)
        assert await a.drain(DEADLINE_S)
        assert await b.drain(DEADLINE_S)
        await asyncio.to_thread(running.stop)
    assert list(sink.stored.values()) == [trades(10_000), trades(10_000)]


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize("outcome_unknown", [False, True])
async def test_a_database_that_refuses_for_a_while_loses_and_repeats_nothing(tmp_path, sink, outcome_unknown):
    async with producer(tmp_path) as a:
        if outcome_unknown:
            sink.commit_then_refuse = 2
        else:
            sink.refusals = 2
        for event in trades(2000):
            a.publish(event)
        assert await a.drain(DEADLINE_S)
    assert list(sink.stored.values()) == [trades(2000)]


@pytest.mark.usefixtures("writer")
def test_a_database_that_went_back_between_two_processes_gets_the_rest_from_the_second_one(tmp_path, sink):
    """The second process knows of no acknowledgement, and the writer runs on: it has admitted those events before."""

    async def killed():
        outbox = Outbox(tmp_path / "outbox-a", "a", "aa" * 16)
        outbox.append(trades(3))
        delivery = asyncio.create_task(BatchSender(outbox, f"ipc://{tmp_path}/ingest").run())
        await until_async(lambda: sink.stored)
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)
        outbox.close(delivered=False)

    async def second():
        async with producer(tmp_path) as a:
            a.publish_together(trades(1))
            await until_async(lambda: not a.unacknowledged)

    asyncio.run(killed())
    sink.stored.clear()
    asyncio.run(second())
    assert list(sink.stored.values()) == [trades(3), trades(1)]


async def publish_together(folder, count, name="a"):
    """A process that publishes so many events and ends when they are stored."""
    async with producer(folder, name) as a:
        a.publish_together(trades(count))
        assert await a.drain(DEADLINE_S)


@pytest.mark.usefixtures("writer")
async def test_archived_streams_are_delivered_again_in_the_order_of_their_openings(tmp_path, sink):
    for count in (3, 2):
        await publish_together(tmp_path, count)
    sink.stored.clear()
    await publish_together(tmp_path, 1)
    assert list(sink.stored.values()) == [trades(3), trades(2), trades(1)]


async def test_a_new_stream_is_not_stored_before_older_ones_when_the_database_went_back(tmp_path, sink, writer):
    """The new stream has nothing stored that could be missed; the connection was lost with the older state."""

    await publish_together(tmp_path, 3)
    async with producer(tmp_path) as b:
        await until_async(lambda: len(writer.ingest._producers) == 2)
        sink.stored.clear()
        sink.refusals = 1
        b.publish_together(trades(1))
        await until_async(lambda: len(sink.stored) == 2)
    assert list(sink.stored.values()) == [trades(3), trades(1)]


@pytest.mark.usefixtures("writer")
async def test_a_disk_that_refuses_to_give_back_archived_events_is_asked_again(tmp_path, sink):
    folder = tmp_path / "outbox-a"
    for stream, moved in (("aa" * 16, True), ("bb" * 16, False)):
        outbox = Outbox(folder, "a", stream)
        outbox.append(trades(3))
        outbox.close(delivered=False)
        if moved:
            (folder / "archive").mkdir()
            archived = folder / "archive" / f"{stream}-{1:020d}-{3:020d}.journal.zst"
            next(folder.glob("*.journal")).rename(tmp_path / "content")
            archived.mkdir()  # reading it is an error

    async with producer(tmp_path) as a:
        a.publish_together(trades(1))
        await asyncio.sleep(0)
        assert not await a.drain(0.05)
        archived.rmdir()
        (tmp_path / "content").rename(archived.with_suffix(""))
        await until_async(lambda: not a.unacknowledged)
    assert list(sink.stored.values()) == [trades(3), trades(3), trades(1)]


@pytest.mark.usefixtures("writer")
async def test_a_database_that_went_back_under_a_running_writer_gets_everything_again(tmp_path, sink):
    """It was replaced by an earlier copy, or a server lost its last commits."""

    async with producer(tmp_path, "a") as a, producer(tmp_path, "b") as b:
        for each in (a, b):
            each.publish_together(trades(1000))
            assert await each.drain(DEADLINE_S)
        for events in sink.stored.values():
            del events[300:]
        a.publish_together(trades(10, first=1001))
        assert await a.drain(DEADLINE_S)
        await until_async(lambda: sorted(map(len, sink.stored.values())) == [1000, 1010])
        assert await b.drain(DEADLINE_S)
    assert sorted(sink.stored.values(), key=len) == [trades(1000), trades(1010)]
    assert len(sink.reasons) == 2


async def test_a_database_that_went_back_while_the_writer_was_stopped_gets_everything_again(
    tmp_path, sink, monkeypatch
):
    """The producers run on, and have nothing new to send."""
    monkeypatch.setattr("bus.sender.IDLE_S", 0.1)

    async with producer(tmp_path) as a:
        first = await asyncio.to_thread(Writer, Endpoints(tmp_path), sink)
        a.publish_together(trades(1000))
        assert await a.drain(DEADLINE_S)
        await asyncio.to_thread(first.stop)
        sink.stored.clear()
        second = await asyncio.to_thread(Writer, Endpoints(tmp_path), sink)
        await until_async(lambda: list(map(len, sink.stored.values())) == [1000])
        assert await a.drain(DEADLINE_S)
        await asyncio.to_thread(second.stop)
    assert list(sink.stored.values()) == [trades(1000)]


@pytest.mark.usefixtures("writer")
async def test_a_fall_that_several_processes_find_at_their_start_is_one_epoch(tmp_path, sink):
    for names in ("abc", "abc"):
        sink.stored.clear()
        for name in names:
            await publish_together(tmp_path, 50, name)
    assert sorted(map(len, sink.stored.values())) == [50] * 6
    assert len(sink.reasons) == 2


def test_what_a_database_lacks_stays_in_the_archive_though_backups_hold_it(tmp_path, sink):
    """The database was put back to a state before both backups."""
    with writing(tmp_path, sink):
        asyncio.run(publish_together(tmp_path, 70))
    [stream] = sink.stored
    del sink.stored[stream][20:]
    with writing(tmp_path, sink, backed_up=lambda: {stream: 70}):
        asyncio.run(publish_together(tmp_path, 70))
    assert sink.stored[stream] == trades(70)


@pytest.mark.usefixtures("writer")
async def test_numbers_that_are_gone_are_stated_and_the_rest_is_stored(tmp_path, sink):
    outbox = Outbox(tmp_path / "outbox-a", "a", "ab" * 16)
    for first in range(1, 31, 10):
        outbox.append(trades(10, first=first))
    outbox.close(delivered=False)
    segment = next((tmp_path / "outbox-a").glob("*.journal"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)

    async with producer(tmp_path) as a:
        assert await a.drain(DEADLINE_S)
    stored = sink.stored["ab" * 16]
    assert stored[:10] == trades(10)
    assert {type(each) for each in stored[10:20]} == {Lost}
    assert stored[20:] == trades(10, first=21)


async def test_an_outage_is_reported_once_with_its_end_and_sends_no_event_twice(tmp_path, sink):
    outages: list[str | float] = []
    writer = Writer(Endpoints(tmp_path), sink, listeners=Listeners(outage=outages.append, recovered=outages.append))

    try:
        async with producer(tmp_path) as a:
            sink.refusals = 4
            for event in trades(60_000):
                a.publish(event)
            assert await a.drain(DEADLINE_S)
    finally:
        writer.stop()
    assert list(sink.stored.values()) == [trades(60_000)]
    assert writer.ingest.duplicates == 0
    began, seconds = outages
    assert isinstance(began, str)
    assert isinstance(seconds, float)


async def test_a_silent_writer_receives_each_hello_later_than_the_one_before(tmp_path, monkeypatch):
    import zmq.asyncio

    monkeypatch.setattr("bus.sender.SILENCE_S", 0.02)
    expected_s = sum(patience_s(hellos) for hellos in range(5))
    assert expected_s == pytest.approx(0.62)
    outbox = Outbox(tmp_path / "outbox", "a", uuid.uuid4().hex)
    outbox.append(trades(1))
    sender = BatchSender(outbox, f"ipc://{tmp_path}/ingest")
    with zmq.asyncio.Context.instance().socket(zmq.ROUTER) as silent:
        silent.bind(f"ipc://{tmp_path}/ingest")
        began_s = asyncio.get_running_loop().time()
        task = asyncio.create_task(sender.run())
        for _ in range(6):
            assert (await asyncio.wait_for(silent.recv_multipart(), DEADLINE_S))[1] == HELLO
        assert asyncio.get_running_loop().time() - began_s >= 0.9 * expected_s
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    outbox.close(delivered=False)


@given(outage_s=st.floats(0, 100_000))
def test_a_silent_writer_gets_ever_fewer_hellos(outage_s):
    hellos, silent_s = 0, 0.0
    while silent_s + patience_s(hellos) <= outage_s:
        silent_s += patience_s(hellos)
        hellos += 1
    assert hellos <= 6 + outage_s / SILENCE_S_MAX


async def test_an_unreadable_event_is_handed_on_as_poison(tmp_path, sink, writer):
    del writer

    outbox = Outbox(tmp_path / "outbox", "a", "ab" * 16)
    outbox._writer.append(pack(outbox.stream, 1, trades(2)).replace(b"005930", b"00593\xff"))
    outbox._last_sequence = outbox._segments[outbox.stream][-1].last_sequence = 2
    running = Producer(outbox, f"ipc://{tmp_path}/ingest")
    task = asyncio.create_task(running.run())
    running.publish_together([trade(3)])
    assert await running.drain(DEADLINE_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    running.close()
    first, second, third = sink.stored["ab" * 16]
    assert isinstance(first, Poison)
    assert isinstance(second, Poison)
    assert third == trade(3)


@pytest.mark.usefixtures("writer")
async def test_the_feed_carries_only_the_kinds_of_the_subscription(tmp_path):
    gap = GapDetected("g", "kis", "005930", "2026-11-18", 1, 2, 3, 4.0, 5.0, 1.0, 1, "reconnect")
    received: list[object] = []

    async def listen(feed):
        async for event in feed:
            received.append(event)

    feed = FeedSubscriber(f"ipc://{tmp_path}/feed", [GapDetected, Snapshot])
    task = asyncio.create_task(listen(feed))
    async with producer(tmp_path) as a:

        def received_after_publishing():
            a.publish(trade())
            a.publish(gap)
            return bool(received)

        await until_async(received_after_publishing)  # a subscription takes a moment to arrive
    task.cancel()
    feed.close()
    assert set(map(type, received)) == {GapDetected}
    assert Trade not in set(map(type, received))


def test_a_reader_counts_a_writer_that_was_restarted_as_a_possible_loss(tmp_path, caplog):
    """The second writer sends more to this reader than the first one: the numbers alone show nothing."""
    feed, _ = after_a_second_writer(tmp_path)
    assert (feed.possible_losses, feed.missed) == (1, 0)
    assert caplog.text.count("the writer was restarted") == 1


def test_a_reader_with_alerts_reports_a_possible_loss_instead_of_logging_it(tmp_path, caplog):
    losses: list[tuple[str, str]] = []
    after_a_second_writer(tmp_path, lambda severity, text: losses.append((severity, text)))
    assert losses == [("info", POSSIBLE_LOSS)]
    assert "the writer was restarted" not in caplog.text


def after_a_second_writer(tmp_path, on_loss=None):
    """A reader that received one trade of a writer, and one of its successor."""
    feed_address = f"ipc://{tmp_path}/feed"
    received: list[object] = []

    async def listen(feed):
        async for event in feed:
            received.append(event)

    async def scenario():
        feed = FeedSubscriber(feed_address, [Trade], on_loss)
        task = asyncio.create_task(listen(feed))
        for number in (1, 2):
            publisher = FeedPublisher(feed_address)

            def received_after_publishing(publisher=publisher, number=number):
                publisher.publish([Delivered("a", "s", 1, [trade(number)])])
                return trade(number) in received

            await until_async(received_after_publishing)
            publisher.close()
        task.cancel()
        feed.close()
        return feed

    return asyncio.run(scenario()), received


def losses_after(folder, disturb):
    """What a subscriber counts and reports as missed when this happens between the first event and the next."""
    losses: list[tuple[str, str]] = []

    async def scenario():
        publisher = FeedPublisher(f"ipc://{folder}/feed")
        feed = FeedSubscriber(f"ipc://{folder}/feed", [Trade], lambda severity, text: losses.append((severity, text)))
        events = aiter(feed)
        first = asyncio.ensure_future(anext(events))

        def received_after_publishing():
            publisher.publish([Delivered("a", "s", 1, [trade()])])
            return first.done()

        await until_async(received_after_publishing)  # a subscription takes a moment to arrive
        disturb(publisher)
        publisher.publish([Delivered("a", "s", 2, [trade(2)])])
        while (await anext(events)) != trade(2):
            pass
        publisher.close()
        feed.close()
        return feed.missed

    return asyncio.run(scenario()), losses


def test_a_subscriber_counts_and_reports_the_events_that_it_missed(tmp_path):
    def skip(publisher):
        [subscriber] = publisher._subscribers
        subscriber.number += 7

    assert losses_after(tmp_path, skip) == (7, [("warning", LOSS)])


def test_events_of_the_feed_that_cannot_be_read_are_missed_and_reported(tmp_path):
    def send_unreadable(publisher):
        [subscriber] = publisher._subscribers
        for body in (b"\xc1", msgspec.msgpack.encode([["no kind"]])):
            publisher._subscribers.send(subscriber, [struct.pack("<16sQ", publisher._run, subscriber.number), body])

    missed, losses = losses_after(tmp_path, send_unreadable)
    assert (missed, set(losses)) == (2, {("warning", LOSS)})
