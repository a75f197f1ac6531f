"""Attacks on the writer's sockets, with sockets of their own that speak bytes: no message ends it, floods hold up no
other peer, and memory is bounded.
"""

import asyncio
import contextlib
import itertools
import socket as system_socket
import struct
import uuid
from collections.abc import Mapping, Sequence

import msgspec
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

import bus.ingest
import bus.outbox
from bus.batch_feed import decode_batch_feed
from bus.codec import (
    BATCH_BYTES_MAX,
    BATCH_COUNT_MAX,
    SEQUENCE_MAX,
    BatchError,
    decode_body,
    decode_event,
    decode_events,
    encode_event,
    kind_in,
    pack,
    split,
    unpack,
)
from bus.commands import Heartbeat, RunJob, Status, decode_order, decode_order_reply, decode_reply, decode_request
from bus.decoding import DecodeError
from bus.delivery import (
    HELLO_STREAMS_MAX,
    Delivered,
    Hello,
    Lost,
    Sender,
    StreamProgress,
    Welcome,
    decode_hello,
    decode_lost,
    decode_to_producer,
)
from bus.endpoints import Endpoints
from bus.events import Snapshot, Trade
from bus.feed import FeedPublisher, FeedSubscriber, decode_feed
from bus.hellos import HELLO_EVERY_S, HELLOS_A_ROUND, HELLOS_WAITING_MAX, WaitingHellos
from bus.journal import RecordTooLargeError
from bus.keys import make_keys
from bus.outbox import Outbox
from bus.peers import IGNORED_MAX, IGNORED_S, LOGGED_EVERY_S, Peers
from bus.subscriptions import LEASE_S, SUBSCRIBERS_MAX, Subscribers, Subscription, decode_subscription
from tests.builders import trade, trades
from tests.bus.test_bus_curve import SOCKETS, assert_all_works, free_addresses, serving, using
from tests.bus.wire import producer, writing
from tests.waiting import DEADLINE_S, until, until_async

A, B = "ab" * 16, "ba" * 16
NESTED = b"\x91" * 200_000
encode = msgspec.msgpack.encode


def assert_stores(writer, count=1):
    """A producer that comes now gets its events stored."""

    async def publish():
        async with producer(writer.endpoints.runtime_directory, f"good-{uuid.uuid4().hex}") as running:
            running.publish(*trades(count))
            assert await running.drain(DEADLINE_S)

    asyncio.run(publish())
    assert trades(count) in writer.sink.stored.values()


@pytest.fixture
def writer(tmp_path):
    with writing(tmp_path) as running:
        yield running


@contextlib.contextmanager
def peer(folder, name="ingest"):
    """A client that sends what it likes."""
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(f"ipc://{folder}/{name}")
        yield socket


def head(count, first_sequence=1):
    return struct.pack("<16sQIH", bytes.fromhex(A), first_sequence, count, 2)


GREETING = [b"H", encode(Hello("evil", {A: 0}))]
HOSTILE: Mapping[str, Sequence[bytes]] = {
    "a hello with bad UTF-8": [b"H", b"\x94\xa5hello\xa2\xff\xfe\x80\xa0"],
    "a nested hello": [b"H", b"\x95\xa5hello\xa1a\x80\xa0" + NESTED],
    "a hello that is a number": [b"H", b"\x01"],
    "an empty hello": [b"H", b""],
    "a name with a NUL": [b"H", encode(Hello("a\0b", {A: 0}))],
    "a name with an escape": [b"H", encode(Hello("a\x1b[2J", {A: 0}))],
    "an empty name": [b"H", encode(Hello("", {A: 0}))],
    "a long name": [b"H", encode(Hello("a" * 65, {A: 0}))],
    "a stream that is no id": [b"H", encode(Hello("evil", {"x": 0}))],
    "a mark below zero": [b"H", encode(Hello("evil", {A: -1}))],
    "a mark beyond all": [b"H", encode(Hello("evil", {A: 2**63}))],
    "a long epoch": [b"H", encode(Hello("evil", {A: 0}, "e" * 65))],
    "too many streams": [b"H", encode(Hello("evil", {f"{n:032x}": 0 for n in range(HELLO_STREAMS_MAX + 1)}))],
    "a short batch": [b"B", b"too short"],
    "a batch that claims all": [b"B", head(2**32 - 1) + b"\xdd\xff\xff\xff\xff"],
    "a batch that claims more than it has": [b"B", head(40) + b"\x90" * 39],
    "a batch that claims many": [b"B", head(BATCH_COUNT_MAX + 1) + b"\xc0" * (BATCH_COUNT_MAX + 1)],
    "a batch beyond all numbers": [b"B", head(1, SEQUENCE_MAX + 1) + b"\x90"],
    "a loss with bad UTF-8": [b"L", b"\x96\xa4lost\xa2\xff\xfe\x01\x01\xa0\xa0"],
    "a nested loss": [b"L", b"\x97\xa4lost\xd9\x20" + A.encode() + b"\x01\x01\xa0\xa0" + NESTED],
    "a loss of nothing": [b"L", encode(Lost(A, 2, 1, "x"))],
    "a loss of too much": [b"L", encode(Lost(A, 1, 2**63 - 1, "x"))],
    "a loss with a long reason": [b"L", encode(Lost(A, 1, 2, "x" * 201))],
    "a loss with a NUL": [b"L", encode(Lost(A, 1, 2, "\0"))],
    "another kind": [b"Z", b"x"],
    "one frame": [b"H"],
    "an empty frame": [b""],
    "many frames": [b"B", *[b"x"] * 1_000],
}


@pytest.mark.parametrize("frames", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_message_that_cannot_be_read_is_counted_and_nothing_of_it_is_stored(writer, frames):
    with peer(writer.endpoints.runtime_directory) as evil:
        evil.send_multipart(GREETING)
        assert evil.poll(DEADLINE_S * 1000)
        evil.send_multipart(frames)
        until(lambda: writer.ingest.peers.refused)
        assert_stores(writer)
    assert A not in writer.sink.stored


def test_a_nested_event_becomes_poison_and_ends_nothing(writer):
    with peer(writer.endpoints.runtime_directory) as evil:
        evil.send_multipart(GREETING)
        assert evil.poll(DEADLINE_S * 1000)
        evil.send_multipart([b"B", head(1) + NESTED])
        evil.send_multipart([b"B", head(2, 2) + b"\x92" + encode_event(trade(2)) + b"\x92\xa5trade" + NESTED])
        until(lambda: len(writer.sink.stored.get(A, [])) == 3)
        assert_stores(writer)
    assert [type(event).__name__ for event in writer.sink.stored[A]] == ["Poison", "Poison", "Poison"]


def test_a_peer_that_sent_garbage_is_ignored_and_its_next_connection_is_not(writer):
    with peer(writer.endpoints.runtime_directory) as evil:
        evil.send_multipart([b"Z", b""])
        evil.send_multipart(GREETING)
        until(lambda: writer.ingest.peers.refused == 2)
        assert not evil.poll(0)
    with peer(writer.endpoints.runtime_directory) as other:
        other.send_multipart(GREETING)
        assert isinstance(decode_to_producer(other.recv()), Welcome)


def test_a_flood_of_hellos_costs_few_questions_and_holds_up_no_producer(writer):
    with peer(writer.endpoints.runtime_directory) as evil:
        for _ in range(30_000):
            evil.send_multipart(GREETING)
        assert_stores(writer)
        until(lambda: evil.poll(0))
        assert writer.sink.questions < 100


def test_what_streams_lack_is_forgotten_with_them(writer, monkeypatch):
    """A hello of another epoch may claim any marks, which begin no epoch."""
    monkeypatch.setattr(bus.ingest, "STREAMS_MAX", 100)
    with peer(writer.endpoints.runtime_directory) as evil:
        for number in range(5):
            names = {f"{number * 1000 + n:032x}": 7 for n in range(100)}
            evil.send_multipart([b"H", encode(Hello("evil", names, "another"))])
            assert evil.poll(DEADLINE_S * 1000)
            evil.recv()
        assert_stores(writer)
        until(lambda: len(writer.ingest._lacking) <= 100)


# --- what strangers send before any authentication ----------------------------------------------------------------


def zmtp(mechanism):
    """A client's greeting of ZMTP 3.1 (RFC 37)."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32)


GIB = (2**30).to_bytes(8, "big")
MORE = bytes(64 * 2**20)  # than the buffers of the system take
FRAMES = {"a command": b"\x06" + GIB, "a message": b"\x02" + GIB}


@pytest.mark.parametrize("name", SOCKETS)
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
async def test_a_frame_of_a_gibibyte_ends_its_connection_before_it_came(tmp_path, name, frame):
    def attack(address):
        host, _, port = address.url.removeprefix("tcp://").partition(":")
        with system_socket.create_connection((host, int(port)), DEADLINE_S) as stranger:
            stranger.sendall(zmtp(b"CURVE"))
            with pytest.raises(ConnectionError):
                stranger.sendall(frame + MORE)

    endpoints = Endpoints(tmp_path / "run", free_addresses())
    make_keys(endpoints.keys_directory)
    async with serving(endpoints), using(endpoints, tmp_path / "outbox") as clients:
        await asyncio.to_thread(attack, getattr(endpoints, name))
        await assert_all_works(clients)


def test_the_limit_holds_for_files_too(writer):
    with system_socket.socket(system_socket.AF_UNIX) as stranger:
        stranger.settimeout(DEADLINE_S)
        stranger.connect(str(writer.endpoints.runtime_directory / "ingest"))
        stranger.sendall(zmtp(b"NULL"))
        with pytest.raises(ConnectionError):
            stranger.sendall(FRAMES["a message"] + MORE)
    assert_stores(writer)


def test_the_largest_batch_of_ours_fits_and_a_larger_one_is_none(writer):
    largest = head(1) + encode(["x" * (BATCH_BYTES_MAX - len(head(1)) - 6)])
    assert len(largest) == BATCH_BYTES_MAX
    with peer(writer.endpoints.runtime_directory) as socket:
        socket.send_multipart(GREETING)
        assert socket.poll(DEADLINE_S * 1000)
        socket.send_multipart([b"B", largest])
        until(lambda: len(writer.sink.stored.get(A, [])) == 1)
    with pytest.raises(BatchError):
        unpack(largest + b"\0")


@pytest.mark.parametrize(("limit", "value"), [("BATCH_BYTES_MAX", 1_000), ("BATCH_COUNT_MAX", 7)])
def test_a_producer_makes_no_batch_that_does_not_fit(writer, monkeypatch, limit, value):
    outbox = Outbox(writer.endpoints.runtime_directory / "outbox", "a", A)
    monkeypatch.setattr(bus.outbox, limit, value)
    with pytest.raises(RecordTooLargeError):
        outbox.append(trades(100))
    outbox.close(delivered=True)
    assert_stores(writer, 100)


@given(streams=st.integers(0, 2 * HELLO_STREAMS_MAX), archived=st.integers(0, 2 * HELLO_STREAMS_MAX))
def test_any_hello_of_ours_can_be_read(streams, archived):
    sender = Sender([StreamProgress(f"{n:032x}", SEQUENCE_MAX, SEQUENCE_MAX) for n in range(streams)], "epoch 1")
    older = {f"{n:032x}": SEQUENCE_MAX for n in range(10**6, 10**6 + archived)}
    hello = sender.hello("gap-recovery", older)
    assert decode_hello(encode(hello)) == hello
    named = list(hello.acknowledged)
    assert len(named) == min(streams + archived, HELLO_STREAMS_MAX)
    assert set(named) >= {f"{n:032x}" for n in range(min(streams, HELLO_STREAMS_MAX))}


# --- the feeds -----------------------------------------------------------------------------------------------------

NO_SUBSCRIPTIONS: Mapping[str, Sequence[bytes]] = {
    "an empty message": [b""],
    "of XPUB": [b"\x01trade."],
    "bad UTF-8": [b"\x93\xacsubscription\xa2\xff\xfe\x90"],
    "nested": [b"\x94\xacsubscription\xd9\x20" + A.encode() + b"\x90" + b"\x91" * 8_000],
    "a reader without an id": [encode(Subscription("x"))],
    "two frames": [encode(Subscription(A)), b""],
    "a kind with an escape": [encode(Subscription(A, frozenset({"\x1b"})))],
}


@pytest.mark.parametrize("feed", ["feed", "batch_feed"])
@pytest.mark.parametrize("frames", NO_SUBSCRIPTIONS.values(), ids=NO_SUBSCRIPTIONS.keys())
def test_a_message_that_is_no_subscription_is_counted_and_ends_nothing(writer, feed, frames):
    with peer(writer.endpoints.runtime_directory, feed) as evil:
        evil.send_multipart(frames)
        until(lambda: getattr(writer, feed)._subscribers.refused)
        assert_stores(writer)
    assert not len(getattr(writer, feed)._subscribers)


def test_a_connection_has_one_subscription_however_many_it_sends(writer):
    with peer(writer.endpoints.runtime_directory, "feed") as evil:
        for number in range(20_000):
            evil.send(encode(Subscription(f"{number:032x}", frozenset({"trade"}))))
        assert_stores(writer)
        until(lambda: evil.poll(0) or len(writer.feed._subscribers))
        assert len(writer.feed._subscribers) == 1


def test_readers_beyond_the_limit_are_refused_and_the_others_go_on(writer, monkeypatch):
    monkeypatch.setattr("bus.subscriptions.SUBSCRIBERS_MAX", 2)
    assert SUBSCRIBERS_MAX > 2
    with contextlib.ExitStack() as stack:
        for number in range(5):
            each = stack.enter_context(peer(writer.endpoints.runtime_directory, "feed"))
            each.send(encode(Subscription(f"{number:032x}", frozenset({"trade"}))))
        until(lambda: writer.feed._subscribers.refused == 3)
        assert len(writer.feed._subscribers) == 2
        assert_stores(writer)


def test_a_reader_whose_connection_is_gone_is_forgotten_after_its_lease(tmp_path):
    """One that only renews nothing, because its process hangs, is kept until its place is needed."""
    now_s = 0.0
    socket = zmq.Context.instance().socket(zmq.ROUTER)
    subscribers = Subscribers(socket, f"ipc://{tmp_path}/feed", "feed", 10, lambda: now_s)

    def send_to_each():
        for each in subscribers:
            subscribers.send(each, [b""])
        return [each.is_gone for each in subscribers]

    with peer(tmp_path, "feed") as hanging:
        with peer(tmp_path, "feed") as leaving:
            for reader, name in ((leaving, A), (hanging, B)):
                reader.send(encode(Subscription(name, frozenset({"trade"}))))
                until(subscribers.receive)
        until(lambda: subscribers.receive() or send_to_each() == [True, False])
        now_s += 0.8 * LEASE_S
        assert subscribers.receive() == []
        assert len(subscribers) == 2
        now_s += 0.8 * LEASE_S
        assert subscribers.receive() == []
        assert [each.is_gone for each in subscribers] == [False]
    socket.close(0)


def test_a_reader_that_hung_for_longer_than_its_lease_gives_its_place_only_where_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("bus.subscriptions.SUBSCRIBERS_MAX", 1)
    now_s = 0.0
    socket = zmq.Context.instance().socket(zmq.ROUTER)
    subscribers = Subscribers(socket, f"ipc://{tmp_path}/feed", "feed", 10, lambda: now_s)
    with peer(tmp_path, "feed") as hanging, peer(tmp_path, "feed") as coming:
        hanging.send(encode(Subscription(A, frozenset({"trade"}))))
        until(subscribers.receive)
        now_s += 1.1 * LEASE_S
        coming.send(encode(Subscription(B, frozenset({"trade"}))))
        until(subscribers.receive)
        assert len(subscribers) == 1
        assert subscribers.refused == 0
    socket.close(0)


def test_a_reader_that_hung_for_longer_than_its_lease_knows_what_it_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("bus.subscriptions.LEASE_S", 0.0)
    monkeypatch.setattr("bus.feed.MESSAGES_MAX", 10)
    address = f"ipc://{tmp_path}/feed"
    numbers = itertools.count(1)

    async def scenario():
        publisher, reader = FeedPublisher(address), FeedSubscriber(address, [Trade])

        def publish():
            publisher.publish([Delivered("a", A, 1, [trade(next(numbers))])])
            return len(publisher._subscribers)

        await until_async(publish)
        [subscriber] = publisher._subscribers
        for _ in range(5_000):  # more than the system's buffers take; no step of the reader's loop between
            publish()
        seen = 0
        async with asyncio.timeout(DEADLINE_S):
            async for _ in reader:
                seen += 1
                if reader.missed:
                    break
                publish()
        sent = subscriber.number
        publisher.close()
        reader.close()
        return seen, sent

    seen, sent = asyncio.run(scenario())
    assert 0 < seen < sent


async def test_a_reader_renews_its_subscription_before_it_is_read_from(tmp_path, monkeypatch):
    monkeypatch.setattr("bus.subscriptions.RENEW_S", 0.01)
    address = f"ipc://{tmp_path}/feed"

    publisher, reader = FeedPublisher(address), FeedSubscriber(address, [Trade])

    def renewals():
        publisher.publish(())
        return {each.renewed_s for each in publisher._subscribers}

    await until_async(renewals)
    first = renewals()
    await until_async(lambda: max(renewals()) > max(first))
    publisher.close()
    reader.close()


def test_a_reader_that_lost_its_connection_knows_what_it_missed(tmp_path):
    """The same publisher listens again at the same address, as after a cut network."""
    address = f"ipc://{tmp_path}/feed"

    async def scenario():
        publisher = FeedPublisher(address)
        reader = FeedSubscriber(address, [Trade, Snapshot])
        events = aiter(reader)
        numbers = itertools.count(1)
        first = asyncio.ensure_future(anext(events))

        def arrives(waiting):
            publisher.publish([Delivered("a", A, 1, [trade(next(numbers))])])
            return waiting.done()

        await until_async(lambda: arrives(first))
        publisher._socket.unbind(address)
        [subscriber] = publisher._subscribers
        subscriber.route = b"gone"
        for _ in range(5):
            publisher.publish([Delivered("a", A, 1, [trade(next(numbers))])])
        publisher._socket.bind(address)
        seen = [await first]
        while reader.missed == 0:
            following = asyncio.ensure_future(anext(events))
            await until_async(lambda waiting=following: arrives(waiting))
            seen.append(await following)
        publisher.close()
        reader.close()
        return reader.missed

    assert asyncio.run(scenario()) >= 5


# --- every decoder: a value or a DecodeError -------------------------------------------------------------------------

DECODERS = {
    "hello": decode_hello,
    "lost": decode_lost,
    "to producer": decode_to_producer,
    "batch": lambda content: [*decode_events(batch := unpack(content)), split(batch)],
    "body": decode_body,
    "event": decode_event,
    "kind": kind_in,
    "request": decode_request,
    "reply": decode_reply,
    "order": decode_order,
    "order's reply": decode_order_reply,
    "subscription": decode_subscription,
    "feed": lambda content: decode_feed([content[:24], content[24:]]),
    "batch feed": lambda content: decode_batch_feed([content[:1], content[1:]]),
}
VALID = [
    encode(Hello("track-b", {A: 1, B: 2**40}, "e")),
    encode(Lost(A, 1, 2, "damaged")),
    encode(Welcome({A: 1}, 5, "e", {A: 2}, {A: 1})),
    pack(A, 1, trades(3)),
    bytes(8) + encode(trades(2)),
    encode(RunJob("universe", ["x"])),
    encode(Heartbeat("track-b", 1, 0.1, 3)),
    encode(Status()),
    encode(Subscription(A, frozenset({"trade"}))),
    b"M" + encode({A: 1}),
]


@st.composite
def damaged(draw):
    """A valid message with some bytes replaced, cut, repeated or nested."""
    content = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(0, len(content)))
        match draw(st.integers(0, 3)):
            case 0:
                content[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del content[position:]
            case 2:
                content[position:position] = draw(st.binary(max_size=9))
            case _:
                content[position:position] = b"\x91" * draw(st.sampled_from([1, 1_100, 100_000]))
    return bytes(content)


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS.keys())
@given(content=st.one_of(st.binary(max_size=200), damaged()))
def test_any_bytes_are_a_value_or_a_decode_error_of_one_short_line(decoder, content):
    assert callable(decoder)
    text = ""
    try:
        decoder(content)
    except DecodeError as error:
        text = str(error)
    assert text.isprintable()
    assert len(text) < 1_000


# --- hellos and peers ------------------------------------------------------------------------------------------------


@given(waits_s=st.lists(st.floats(0, 40), min_size=1, max_size=30))
def test_a_peer_is_ignored_for_a_while_after_each_mistake_and_others_are_not(waits_s):
    now_s = 0.0
    peers = Peers("test", lambda: now_s)
    until_s = 0.0
    for wait_s in waits_s:
        now_s += wait_s
        assert peers.is_ignored(b"a") == (now_s < until_s)
        assert not peers.is_ignored(b"b")
        peers.ignore(b"a", "a message", "why")
        until_s = now_s + IGNORED_S


def test_a_cause_is_logged_once_a_minute_and_ignored_peers_are_bounded(caplog):
    now_s = 0.0
    peers = Peers("test", lambda: now_s)
    for number in range(2 * IGNORED_MAX):
        peers.ignore(b"%d" % number, "a hello", "it is none")
    assert len(caplog.records) == 1
    assert len(peers._ignored_until_s) == IGNORED_MAX
    peers.refuse("a batch", "it is none")
    now_s += LOGGED_EVERY_S
    peers.refuse("a hello", "it is none")
    assert len(caplog.records) == 3
    assert peers.refused == 2 * IGNORED_MAX + 2


@given(steps=st.lists(st.tuples(st.integers(0, 40), st.floats(0, 0.3), st.booleans()), max_size=200))
def test_each_waiting_hello_is_answered_once_the_newest_of_its_peer_and_none_too_soon(
    steps,
):
    hellos, now_s = WaitingHellos(), 0.0
    newest: dict[bytes, bytes] = {}
    answered_s: dict[bytes, float] = {}

    def answer():
        due = hellos.take_due(now_s)
        assert len(due) <= HELLOS_A_ROUND
        for peer, content in due:
            assert newest.pop(peer) == content
            assert now_s >= answered_s.get(peer, -HELLO_EVERY_S) + HELLO_EVERY_S
            answered_s[peer] = now_s

    for number, (name, wait_s, is_hello) in enumerate(steps):
        now_s += wait_s
        if is_hello:
            peer = b"%d" % name
            newest[peer] = b"%d" % number
            assert hellos.keep(peer, newest[peer])
        answer()
    while newest:
        now_s += HELLO_EVERY_S
        answer()
    assert not len(hellos)


def test_more_hellos_than_can_wait_are_not_kept():
    hellos = WaitingHellos()
    assert all(hellos.keep(b"%d" % number, b"") for number in range(HELLOS_WAITING_MAX))
    assert not hellos.keep(b"another", b"")
    assert hellos.keep(b"0", b"newer")


def test_a_hello_that_is_put_off_makes_room_for_one_that_can_be_answered():
    hellos = WaitingHellos()
    assert all(hellos.keep(b"%d" % number, b"", 5.0) for number in range(HELLOS_WAITING_MAX))
    assert hellos.keep(b"another", b"x")
    assert len(hellos) == HELLOS_WAITING_MAX
    assert hellos.take_due(0.0) == [(b"another", b"x")]
