"""Targets: what arrives on the bus's sockets and lies in its files."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bus import archive, capture, codec, commands, control, coverage, outbox_notes, segments, verification
from bus.codec import BatchError, decode_events, pack, unpack
from bus.endpoints import BusError
from bus.journal import MAGIC, JournalError, JournalReader, _frame
from bus.keys import key_pair
from bus.replay import CaptureSource, moments
from tests.builders import trades
from tests.fuzz.folder import file_of
from tests.fuzz.target import Target, chosen, one_of

STREAM: Final = "ab" * 16
OTHER: Final = "cd" * 16
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


# --- control ---------------------------------------------------------------------------------------------------


def read_request(content: bytes) -> None:
    """A request of the control socket: understood or refused."""
    request_id, request = control._understand([content[:8], content[8:]])
    assert request_id == content[:8]
    _encoded(request)


def requests() -> Sequence[bytes]:
    alert = commands.OpenAlert("database_unavailable", "critical", 1, "disk full")
    made = [
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
    return [b"\0\0\0\0\0\0\0\1" + _encoded(each) for each in made]


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
    return MAGIC + b"".join(_frame(record) for record in content.split(b"\n--\n") if record)


def read_label(content: bytes) -> None:
    capture.read_label(content.decode("utf-8", "replace"))


def journal_of(label: str, *records: bytes) -> bytes:
    return MAGIC + _frame(label.encode()) + b"".join(map(_frame, records))


def journals() -> Sequence[bytes]:
    whole = journal_of(f"outbox track-b {STREAM}", *batches()[:2])
    return [whole, journal_of("capture abc *", batches()[0]), whole[:-5], whole + bytes(64), whole[20:]]


def captures() -> Sequence[bytes]:
    return [b"\n--\n".join([f"capture {OTHER} *".encode(), *batches()]), b"\n--\n".join([b"raw 1 kis x", *batches()])]


# --- notes and archives ----------------------------------------------------------------------------------------


def read_finished(content: bytes) -> None:
    notes, unreadable = outbox_notes.read_finished(file_of("finished", "finished", content).parent)
    assert len(notes) + unreadable <= content.count(b"\n") + 1


def read_progress(content: bytes) -> None:
    outbox_notes.read_progress(file_of("progress", f"{STREAM}.progress", content).parent)


def read_epoch(content: bytes) -> None:
    outbox_notes.read_epoch(file_of("epoch", "epoch", content).parent).encode()


def notes() -> Sequence[bytes]:
    lines = outbox_notes._finished_line(STREAM, 12) + outbox_notes._finished_line(OTHER, 7)
    gone = outbox_notes._finished_line(STREAM, 0)
    return [
        *chosen(0, lines.encode(), (lines + gone).encode(), lines[:-4].encode()),
        *chosen(1, outbox_notes._packed(outbox_notes.Progress(3, 12))),
        *chosen(2, b"0123456789abcdef\n"),
    ]


def read_archived(content: bytes) -> None:
    archive._decompressed(content)


def archived() -> Sequence[bytes]:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    parts = [compressor.compress(part) for part in (journals()[0], b"x" * 900)]
    return [b"".join(parts), parts[0], parts[1] * 2, parts[0][:-3] + parts[1]]


# --- keys ------------------------------------------------------------------------------------------------------


def read_key(content: bytes) -> None:
    public, _, secret = content.partition(b"--")
    file_of("keys", "server.secret", secret)
    key_pair(file_of("keys", "server.public", public).parent, "server")


def keys() -> Sequence[bytes]:
    key = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\n"
    return [key + b"--" + key, b"0" * 40 + b"--"]


# --- numbers of events that were received ----------------------------------------------------------------------


def read_marks(content: bytes) -> None:
    """What the batch feed says first, and the coverage from there on."""
    marks = msgspec.msgpack.decode(content, type=dict[str, int])
    seen = coverage.Coverage(marks)
    seen.add(STREAM, 5, 2)
    seen.missing(marks)


TARGETS: Final = (
    Target("batch", batches, read_batch, (BatchError,), weight=8, length_max=8192),
    Target("control_request", requests, read_request, (), weight=6),
    Target("journal", journals, read_journal, (JournalError,), weight=2),
    Target("segment", journals, read_segment, (), weight=2),
    Target("capture", captures, read_capture, (JournalError, BatchError), weight=2),
    Target("capture_label", captures, read_label, (JournalError,)),
    Target("outbox_notes", notes, one_of(read_finished, read_progress, read_epoch), (), weight=2, length_max=8192),
    Target("archive", archived, read_archived, (), weight=2),
    Target("bus_keys", keys, read_key, (BusError,), weight=1),
)
