"""Targets: what arrives on the bus's sockets and lies in its files."""

import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from bus import archive, capture, codec, commands, control, delivery, outbox_notes, segments, verification
from bus.batch_feed import decode_batch_feed
from bus.codec import BatchError, decode_events, encode_body, pack, unpack
from bus.coverage import Coverage
from bus.decoding import DecodeError
from bus.delivery import (
    BATCH,
    HELLO,
    LOST,
    Hello,
    Lost,
    Sender,
    StreamProgress,
    Welcome,
    decode_hello,
    decode_lost,
    decode_to_producer,
)
from bus.endpoints import BusError
from bus.feed import decode_feed
from bus.ingest import Ingest
from bus.journal import MAGIC, JournalError, JournalReader, _frame
from bus.keys import clients, key_pair
from bus.outbox import Outbox
from bus.replay import CaptureSource, moments
from bus.segments import published_by_stream
from bus.subscriptions import Subscription, decode_subscription
from tests.builders import trades
from tests.bus.epochs import Epochs
from tests.bus.router import MemoryRouter
from tests.fuzz.folder import file_of
from tests.fuzz.target import Target, chosen, one_of

STREAM: Final = "ab" * 16
OTHER: Final = "cd" * 16
KEY: Final = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
SEPARATOR: Final = b"\n--\n"
_encoded: Final = msgspec.msgpack.encode


# --- batches and events ----------------------------------------------------------------------------------------


def read_batch(content: bytes) -> None:
    """A batch: exactly as many events as it counts, and its parts make the same bytes."""
    batch = unpack(content)
    events = decode_events(batch)
    assert len(events) == batch.count
    if parts := codec.split(batch):
        assert len(parts) == batch.count
        for part in parts:
            codec.kind_in(part)
        assert codec.join(batch, parts, batch.first_sequence).count == batch.count
    assert unpack(codec.repack(batch, OTHER, 1)).body == batch.body


def batches() -> Sequence[bytes]:
    return [pack(STREAM, 1, trades(1)), pack(STREAM, 7, trades(3)), pack(OTHER, 2**40, trades(2, symbol="A"))]


# --- the ingest socket -----------------------------------------------------------------------------------------


def read_from_producer(content: bytes) -> None:
    decode_hello(content)


def read_lost(content: bytes) -> None:
    assert decode_lost(content).count > 0


class Sink(Epochs):
    """Takes everything, and says so."""

    def __init__(self) -> None:
        self.marks: dict[str, int] = {}

    def high_water_marks(self, streams: Sequence[str]) -> Mapping[str, int]:
        return {stream: self.marks.get(stream, 0) for stream in streams}

    def commit(self, batches: Sequence[delivery.Part]) -> None:
        for part in batches:
            assert part.first_sequence == self.marks.get(part.stream, 0) + 1
            self.marks[part.stream] = part.last_sequence

    def note_duplicates(self, stream: str, count: int) -> None:
        assert count > 0


def take_messages(content: bytes) -> None:
    """A conversation of one peer with the writer: no message ends it, and each event of a stream is stored once."""
    router = MemoryRouter()
    ingest = Ingest(router, Sink(), lambda _group: None, OSError)
    for message in content.split(SEPARATOR):
        router.received.append([b"peer", message[:1], message[1:]])
        ingest.take_group(threading.Event())


def messages() -> Sequence[bytes]:
    hello = HELLO + _encoded(Hello("track-b", {STREAM: 0}))
    earlier = HELLO + _encoded(Hello("track-b", {STREAM: 5, OTHER: 1}, "epoch 1"))
    lost = LOST + _encoded(Lost(STREAM, 1, 3, "damaged"))
    return [
        SEPARATOR.join([hello, BATCH + batches()[0], BATCH + pack(STREAM, 2, trades(2)), BATCH + batches()[0]]),
        SEPARATOR.join([hello, BATCH + batches()[1], lost]),
        SEPARATOR.join([earlier, lost, hello]),
    ]


# --- the producer's end ----------------------------------------------------------------------------------------


def hellos() -> Sequence[bytes]:
    made = [Hello("track-b", {}), Hello("core-writer", {STREAM: 5, OTHER: 2**40}, "20261120-1")]
    return [*chosen(0, *map(_encoded, made)), *chosen(1, _encoded(Lost(STREAM, 2, 9, "damaged")))]


def take_answers(content: bytes) -> None:
    """The writer's messages to a producer with two streams, whose marks stay in their order."""
    sender = Sender([StreamProgress(OTHER, 9, 2), StreamProgress(STREAM, 5)], "epoch 1")
    for message in content.split(SEPARATOR):
        match decode_to_producer(message):
            case delivery.Welcome() as welcome:
                for stream, mark in reversed(list(sender.fallen(welcome, {}).items())):
                    sender.revived(stream, 9, mark)
                sender.welcomed(welcome)
            case delivery.Acknowledged() as acknowledged:
                sender.acknowledged(acknowledged)
            case delivery.Rewind(stream, last_taken):
                sender.rewound(stream, last_taken)
        if position := sender.next_to_send():
            sender.sent(*position)
        sender.finished()
        for progress in sender._streams.values():
            assert 0 <= progress.acknowledged <= progress.sent <= progress.appended


def answers() -> Sequence[bytes]:
    welcome = _encoded(Welcome({OTHER: 3, STREAM: 0}, 40_000, "epoch 2", {OTHER: 5, STREAM: 0}, {OTHER: 1}))
    acknowledged = _encoded(delivery.Acknowledged(STREAM, 2, "epoch 2"))
    rewind, unknown = _encoded(delivery.Rewind(STREAM, 1)), _encoded(delivery.Unknown())
    return [SEPARATOR.join([welcome, acknowledged, rewind]), SEPARATOR.join([unknown, welcome]), acknowledged]


# --- the feeds -------------------------------------------------------------------------------------------------


def read_feed(content: bytes) -> None:
    _, number, events = decode_feed([content[:24], content[24:]])
    assert number >= 0
    assert isinstance(events, Sequence)


def read_batch_feed(content: bytes) -> None:
    """What a capture receives, and the coverage from there on."""
    message = decode_batch_feed([content[:1], content[1:]])
    if isinstance(message, codec.Batch):
        seen = Coverage({STREAM: 3})
        assert seen.add(message.stream, message.first_sequence, message.count) <= message.count
    else:
        seen = Coverage(message.marks)
        seen.add(STREAM, 5, 2)
    seen.missing({STREAM: 7})


def read_subscription(content: bytes) -> None:
    assert len(decode_subscription(content).reader) == 32


def feeds() -> Sequence[bytes]:
    kinds = frozenset({"trade", "snapshot"})
    return [
        *chosen(0, bytes(8) + encode_body(trades(2)), b"\7" + bytes(7) + encode_body([])),
        *chosen(1, b"B" + batches()[0], b"M" + _encoded({STREAM: 12, OTHER: 1})),
        *chosen(2, _encoded(Subscription(STREAM, kinds))),
    ]


# --- control ---------------------------------------------------------------------------------------------------


def read_request(content: bytes) -> None:
    """A request of the control socket: its answer and its line in the log can be made."""
    request_id, request = control._understand([content[:8], content[8:]])
    assert request_id == content[:8]
    _encoded(request)
    commands.allows("reader", request)


def read_control(decode: Callable[[bytes], object]) -> Callable[[bytes], object]:
    return lambda content: _encoded(decode(content))


READ_CONTROL: Final = one_of(
    read_request, *map(read_control, (commands.decode_reply, commands.decode_order, commands.decode_order_reply))
)


def control_messages() -> Sequence[bytes]:
    alert = commands.OpenAlert("database_unavailable", "critical", 1, "disk full")
    requests = [
        commands.Ready("track-b", 7),
        commands.Heartbeat("track-b", 7, 0.01, 5, [alert]),
        commands.Status(),
        commands.Reload(dry_run=True),
        commands.StartCapture("/data/x.journal", ["trade"]),
        commands.Drain(),
        commands.RunJob("etf", ["a"]),
        commands.SetLogLevel("etf", "DEBUG"),
        commands.Pin("005930"),
        commands.SilenceAlert("x", 60.0),
        commands.RetryGaps(["a"]),
    ]
    status = commands.StatusReply([commands.ProcessStatus("etf", "RUNNING", 7)], "open", 1, 2, 3.0)
    replies = [commands.Done("etf", "ready"), commands.UnderWay("x"), commands.Refused("busy", "x")]
    each = commands.EachReply({"etf": replies[0]})
    return [
        *chosen(0, *(b"\0\0\0\0\0\0\0\1" + _encoded(request) for request in requests)),
        *chosen(1, *map(_encoded, [status, each, *replies])),
        *chosen(2, *map(_encoded, requests[5:])),
        *chosen(3, *map(_encoded, replies)),
    ]


# --- journals --------------------------------------------------------------------------------------------------


def read_journal(content: bytes) -> None:
    """A journal file as it is: verified, read around damage as a segment, and cut."""
    path = file_of("journal", "x.journal", content)
    report = verification.verify(path)
    assert report.size_bytes == len(content)
    reader = JournalReader(path, damaged=True)
    try:
        for batch, _ in segments.batches_around_damage(reader, STREAM):
            decode_events(batch)
    finally:
        reader.close()


def read_segment(content: bytes) -> None:
    """A segment of an outbox with a damaged head or body."""
    path = file_of("outbox", f"{STREAM}-{1:020d}.journal", content)
    segment = segments.Segment(path, 1, 0)
    segments.recover(segment, STREAM, 3, lambda _segment, _text: None)


def read_capture(content: bytes) -> None:
    """A capture of batches, whose frames are sound: what a person hands to `observer replay`."""
    path = file_of("capture", "x.journal", framed(content))
    source = CaptureSource(path)
    try:
        for sequence in range(1, min(source.events, 5) + 1):
            source.batch_at(source.stream, sequence)
    finally:
        source.close()
    list(moments(path))


def framed(content: bytes) -> bytes:
    """A journal of these records, separated by a line of their own, each with its length and checksum."""
    return MAGIC + b"".join(_frame(record) for record in content.split(SEPARATOR) if record)


def read_label(content: bytes) -> None:
    capture.read_label(content.decode("utf-8", "replace"))


def journal_of(label: str, *records: bytes) -> bytes:
    return MAGIC + _frame(label.encode()) + b"".join(map(_frame, records))


def journals() -> Sequence[bytes]:
    whole = journal_of(f"outbox track-b {STREAM}", *batches()[:2])
    return [whole, journal_of("capture abc *", batches()[0]), whole[:-5], whole + bytes(64), whole[20:]]


def captures() -> Sequence[bytes]:
    return [SEPARATOR.join([f"capture {OTHER} *".encode(), *batches()]), SEPARATOR.join([b"raw 1 kis x", *batches()])]


# --- notes and archives ----------------------------------------------------------------------------------------


def read_finished(content: bytes) -> None:
    notes, unreadable = outbox_notes.read_finished(file_of("finished", "finished", content).parent)
    assert len(notes) + unreadable <= content.count(b"\n") + 1


def read_progress(content: bytes) -> None:
    outbox_notes.read_progress(file_of("progress", f"{STREAM}.progress", content).parent)


def read_epoch(content: bytes) -> None:
    outbox_notes.read_epoch(file_of("epoch", "epoch", content).parent).encode()


# The note of the third stream whose last event is the twelfth: both numbers, and the CRC-32 of their text.
PROGRESS: Final = struct.pack("<QQI", 3, 12, zlib.crc32(b"3 12"))


def notes() -> Sequence[bytes]:
    lines = outbox_notes._finished_line(STREAM, 12) + outbox_notes._finished_line(OTHER, 7)
    gone = outbox_notes._finished_line(STREAM, 0)
    return [
        *chosen(0, lines.encode(), (lines + gone).encode(), lines[:-4].encode()),
        *chosen(1, PROGRESS),
        *chosen(2, b"0123456789abcdef\n"),
    ]


def read_archived(content: bytes) -> None:
    archive._decompressed(content)


def archived() -> Sequence[bytes]:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    parts = [compressor.compress(part) for part in (journals()[0], b"x" * 900)]
    return [b"".join(parts), parts[0], parts[1] * 2, parts[0][:-3] + parts[1]]


# --- a whole outbox ----------------------------------------------------------------------------------------------


def open_outbox(content: bytes) -> None:
    """A folder that an earlier process left, with any content: opened, read to its end, acknowledged, appended to."""
    top = file_of("whole", "damaged.txt", b"").parent / "outbox"
    shutil.rmtree(top, ignore_errors=True)
    (top / "archive").mkdir(parents=True)
    parts = dict(zip(_OUTBOX_FILES, content.split(SEPARATOR), strict=False))
    for name, part in parts.items():
        (top / name).write_bytes(part)
    if len(parts) < content.count(SEPARATOR) + 1:  # the next part is the name of another file
        name = content.split(SEPARATOR)[len(parts)].replace(b"/", b"").replace(b"\0", b"")[:200]
        (top / os.fsdecode(name + b".journal")).write_bytes(parts[_OUTBOX_FILES[0]])
    outbox = Outbox(top, "track-b", OTHER)
    outbox.append(trades(1))
    for progress in outbox.progress():
        sequence = 1
        while sequence <= min(progress.appended, 40):
            sequence = outbox.batch_at(progress.stream, sequence).last_sequence + 1
        outbox.acknowledge(progress.stream, progress.appended)
    _encoded(Hello("track-b", outbox.archived(), outbox.epoch))
    published_by_stream(top)
    outbox.close(delivered=False)


_OUTBOX_FILES: Final = (f"{STREAM}-{1:020d}.journal", f"{STREAM}.progress", "finished", "epoch")


def outboxes() -> Sequence[bytes]:
    journal, progress = journals()[0], PROGRESS
    finished = outbox_notes._finished_line(OTHER[::-1], 7).encode()
    return [
        SEPARATOR.join([journal, progress, finished, b"epoch 1\n"]),
        SEPARATOR.join([journal, progress, finished, b"epoch 1\n", f"{STREAM}-{2:020d}".encode()]),
        SEPARATOR.join([journal[:-9], b"", b""]),
    ]


# --- keys ------------------------------------------------------------------------------------------------------


def read_key(content: bytes) -> None:
    public, _, secret = content.partition(b"--")
    file_of("keys", "server.secret", secret)
    key_pair(file_of("keys", "server.public", public).parent, "server")


def read_clients(content: bytes) -> None:
    path = file_of("clients", "clients", content)
    file_of("clients", "client.public", KEY)
    assert clients(path.parent)[0].role == "operator"


def keys() -> Sequence[bytes]:
    other = b"reader-1 reader " + KEY + b"\nfarm operator " + KEY
    return [*chosen(0, KEY + b"--" + KEY, b"0" * 40 + b"--"), *chosen(1, other)]


TARGETS: Final = (
    Target("batch", batches, read_batch, (BatchError,), weight=10, length_max=8192),
    Target("hello", hellos, one_of(read_from_producer, read_lost), (DecodeError,), weight=8),
    Target("conversation", messages, take_messages, (), weight=2),
    Target("to_producer", answers, take_answers, (DecodeError,), weight=5),
    Target("feed", feeds, one_of(read_feed, read_batch_feed, read_subscription), (DecodeError,), weight=8),
    Target("control", control_messages, READ_CONTROL, (DecodeError,), weight=8),
    Target("journal", journals, read_journal, (JournalError,), weight=2),
    Target("segment", journals, read_segment, (), weight=2),
    Target("capture", captures, read_capture, (JournalError, BatchError), weight=2),
    Target("capture_label", captures, read_label, (JournalError,)),
    Target("outbox_notes", notes, one_of(read_finished, read_progress, read_epoch), (), weight=2, length_max=8192),
    Target("archive", archived, read_archived, (), weight=2, length_max=16_384),
    Target("outbox", outboxes, open_outbox, ()),
    Target("bus_keys", keys, one_of(read_key, read_clients), (BusError,), weight=1),
)
