"""The delivery protocol without sockets: the state of each end, and its next action.

A producer numbers its events in a *stream*: one opening of its outbox by one process, with a random id and a sequence
from 1 without missing ranges. `Sender` is the producer's end, `Receiver` the writer's end. Both ends take an event (a
message came, a commit succeeded) and return the next actions. Neither touches a socket, a file or a clock, so a
property test can drive both through every loss, repetition and crash.

The rules:
- the receiver takes exactly the next number of a stream, drops and counts repeated numbers, and answers a jump by
  asking the sender to go back;
- the receiver acknowledges cumulatively, and only committed numbers;
- the sender has at most `credit` events under way; after a lost connection the sender continues behind the receiver's
  high-water mark, which the receiver keeps in the transaction of the events;
- a database can go back: a backup replaces it, or a server loses its last commits. Each such fall begins a new
  *epoch*. The receiver notices a fall when a hello names a mark above the database's, or when a commit does not follow.
  A welcome of another epoch is the truth for the sender: the sender goes back, into its archive if need be;
- numbers that the sender no longer has are stated as `Lost`; the stream continues behind them.

Why these rules, and what they do not promise: bus/DESIGN.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec

from bus.codec import SEQUENCE_MAX
from bus.decoding import DecodeError, Wire, decoder_of
from bus.events import Event, Poison

# Of a hello, also of one that a producer of ours makes: it names what it must deliver first, and the newest of its
# archive. A process that is restarted every ten minutes has as many streams after four weeks without a writer.
HELLO_STREAMS_MAX: Final = 4_096

StreamId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
ProducerName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9 _.:-]{0,63}\Z")]
Epoch = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9 _.:-]{0,64}\Z")]
Reason = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{0,200}\Z")]
Mark = Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)]
SequenceNumber = Annotated[int, msgspec.Meta(ge=1, le=SEQUENCE_MAX)]
Marks = Annotated[Mapping[StreamId, Mark], msgspec.Meta(max_length=HELLO_STREAMS_MAX)]


class Delivered(msgspec.Struct, frozen=True):
    """The next events of a stream, in order and without missing ranges: `first_sequence`, `first_sequence + 1`, ...

    `stream` is the stream's random id as 32 hexadecimal digits, `producer` the name of the process that opened it.
    `packed` is the batch as it came (`bus.codec`); it may begin with events before `first_sequence` that were known.
    """

    producer: str
    stream: str
    first_sequence: int
    events: Sequence[Event | Poison]
    packed: bytes = b""

    @property
    def last_sequence(self) -> int:
        return self.first_sequence + len(self.events) - 1


# --- messages between the two ends ---------------------------------------------------------------------------

# The first frame of a producer's message names its content: a `Hello`, a `Lost`, or a batch (`bus.codec`).
HELLO: Final = b"H"
BATCH: Final = b"B"
LOST: Final = b"L"


class Lost(Wire):
    """Producer to writer: these numbers of a stream exist no more, and why. `producer` is filled in by the writer."""

    stream: StreamId
    first_sequence: SequenceNumber
    last_sequence: SequenceNumber
    reason: Reason
    producer: Annotated[str, msgspec.Meta(max_length=0)] = ""

    @property
    def count(self) -> int:
        return self.last_sequence - self.first_sequence + 1


Part = Delivered | Lost
"""The next part of a stream."""


class Hello(Wire):
    """Producer to writer: the producer's name; the last acknowledged number of each stream that it can deliver,
    archived streams included; the epoch of these numbers, empty before the first welcome.
    """

    producer: ProducerName
    acknowledged: Marks
    epoch: Epoch = ""


class Welcome(Wire):
    """Writer to producer: how far each stream is committed and how many events may be under way at once.

    `taken` are the last numbers that the writer holds, committed or about to be; `backed_up` those that two verified
    backups hold.
    """

    high_water_marks: Marks
    credit: Mark
    epoch: Epoch = ""
    taken: Marks = msgspec.field(default_factory=dict)
    backed_up: Marks = msgspec.field(default_factory=dict)


class Acknowledged(Wire):
    """Writer to producer: the stream is committed up to and with this number."""

    stream: StreamId
    high_water_mark: Mark
    epoch: Epoch = ""


class Rewind(Wire):
    """Writer to producer: send again from behind this number, the last number taken, perhaps not yet committed."""

    stream: StreamId
    last_taken: Mark


class Unknown(Wire):
    """Writer to producer: no hello came from it since the writer's start, or since the database went back."""


ToProducer = Welcome | Acknowledged | Rewind | Unknown

HELLO_BYTES_MAX: Final = 256 * 1024  # each of its streams has some 45 bytes
LOST_BYTES_MAX: Final = 1_024
TO_PRODUCER_BYTES_MAX: Final = 3 * HELLO_BYTES_MAX  # a welcome has three numbers for each stream of the hello

# Each raises `DecodeError` for anything else.
decode_hello: Final[Callable[[bytes], Hello]] = decoder_of(Hello, HELLO_BYTES_MAX)
decode_to_producer: Final[Callable[[bytes], ToProducer]] = decoder_of(ToProducer, TO_PRODUCER_BYTES_MAX)
_decode_lost: Final[Callable[[bytes], Lost]] = decoder_of(Lost, LOST_BYTES_MAX)


def decode_lost(content: bytes) -> Lost:
    """Decode a producer's statement of lost numbers.

    Raises:
        DecodeError: the bytes are no such statement.
    """
    lost = _decode_lost(content)
    if lost.count < 1:
        raise DecodeError(f"no numbers from {lost.first_sequence} to {lost.last_sequence}")
    return lost


# --- the producer's end --------------------------------------------------------------------------------------


class StreamProgress:
    """Marks of one stream: `acknowledged <= sent <= appended`.

    Each is the number of the last event, 0 for none.
    """

    __slots__ = ("acknowledged", "appended", "sent", "stream")

    def __init__(self, stream: str, appended: int = 0, acknowledged: int = 0) -> None:
        self.stream = stream
        self.appended = appended
        self.acknowledged = acknowledged
        self.sent = acknowledged

    def __repr__(self) -> str:
        return f"<{self.stream[:6]} appended={self.appended} sent={self.sent} acknowledged={self.acknowledged}>"


class Sender:
    """The producer's end for its current stream and the rests of earlier ones.

    Args:
        streams: oldest first; the last one is the current stream.
        epoch: of the database, as an earlier process was welcomed in it.
    """

    def __init__(self, streams: Iterable[StreamProgress], epoch: str = "") -> None:
        self._streams = {progress.stream: progress for progress in streams}
        self._credit = 0
        self.epoch = epoch

    def __repr__(self) -> str:
        return f"Sender(credit={self._credit}, {list(self._streams.values())})"

    def hello(self, producer: str, archived: Mapping[str, int]) -> Hello:
        """The hello of these streams, the oldest if they are too many, and of the archived ones as far as there is
        room for them, the newest; their last numbers are given.
        """
        live = dict(list(self._acknowledged_marks.items())[:HELLO_STREAMS_MAX])
        newest = list(archived.items())[max(0, len(archived) + len(live) - HELLO_STREAMS_MAX) :]
        return Hello(producer, {**dict(newest), **live}, self.epoch)

    @property
    def _acknowledged_marks(self) -> dict[str, int]:
        return {stream: progress.acknowledged for stream, progress in self._streams.items()}

    @property
    def unacknowledged(self) -> int:
        """Events that are appended and not known to be committed."""
        return sum(progress.appended - progress.acknowledged for progress in self._streams.values())

    @property
    def appended_marks(self) -> Mapping[str, int]:
        """Return the number of the last appended event, by stream."""
        return {stream: progress.appended for stream, progress in self._streams.items()}

    def has_committed(self, marks: Mapping[str, int]) -> bool:
        """Whether every stream is known to be committed up to its mark; one that is not here any more is."""
        here = self._acknowledged_marks
        return all(here.get(stream, mark) >= mark for stream, mark in marks.items())

    @property
    def under_way(self) -> int:
        """The number of events that are sent and not acknowledged."""
        return sum(progress.sent - progress.acknowledged for progress in self._streams.values())

    def appended(self, stream: str, last_sequence: int) -> None:
        """The outbox now holds the stream up to and with this number."""
        self._streams[stream].appended = last_sequence

    def disconnected(self) -> None:
        """Nothing may be sent until the next welcome."""
        self._credit = 0

    def fallen(self, welcome: Welcome, archived: Mapping[str, int]) -> Mapping[str, int]:
        """The streams that the database holds less of than was acknowledged, with their marks. The caller brings
        their events back and calls `revived` for each before `welcomed`.
        """
        if welcome.epoch == self.epoch:
            return {}
        held = {**archived, **self._acknowledged_marks}
        return {stream: mark for stream, mark in welcome.high_water_marks.items() if mark < held.get(stream, 0)}

    def revived(self, stream: str, appended: int, high_water_mark: int) -> None:
        """The stream is to be delivered from behind the mark on; an archived one becomes the oldest of all: the caller
        begins with the youngest.
        """
        if stream not in self._streams:
            self._streams = {stream: StreamProgress(stream, appended), **self._streams}
        progress = self._streams[stream]
        progress.acknowledged = progress.sent = high_water_mark

    def welcomed(self, welcome: Welcome) -> None:
        """Continue behind what the writer has taken, within its credit.

        While the writer was away several hellos may have gone out: only the first answer counts, since sending
        everything again after each would never end.
        """
        is_first = self._credit == 0
        self._credit = welcome.credit
        self.epoch = welcome.epoch
        for stream, mark in welcome.high_water_marks.items():
            self._advance(stream, mark)
            if is_first:
                self.rewound(stream, welcome.taken.get(stream, mark))

    def rewound(self, stream: str, last_taken: int) -> bool:
        """Send again from behind this number. This implies no commit: a received event can still be lost. False when
        it is below the acknowledged mark: the database went back, and a hello finds out how far.
        """
        if progress := self._streams.get(stream):
            progress.sent = max(progress.acknowledged, min(progress.sent, last_taken))
            return last_taken >= progress.acknowledged
        return True

    def acknowledged(self, message: Acknowledged) -> None:
        """The writer has committed up to the mark. A message of another epoch is out of date and changes nothing."""
        if message.epoch == self.epoch:
            self._advance(message.stream, message.high_water_mark)

    def _advance(self, stream: str, high_water_mark: int) -> None:
        """Advance the stream's mark. A mark beyond the last appended number belongs to a tail that this outbox lost; it
        is capped at the last appended number.
        """
        progress = self._streams.get(stream)
        if progress is None:
            return
        progress.acknowledged = max(progress.acknowledged, min(high_water_mark, progress.appended))
        progress.sent = max(progress.sent, progress.acknowledged)

    def next_to_send(self) -> tuple[str, int] | None:
        """The stream and number to continue with, or None when all is sent or the credit is used up."""
        if self.under_way >= self._credit:
            return None
        for progress in self._streams.values():
            if progress.sent < progress.appended:
                return progress.stream, progress.sent + 1
        return None

    def sent(self, stream: str, last_sequence: int) -> None:
        """Note that the batch that ends with this number is on its way."""
        self._streams[stream].sent = last_sequence

    def finished(self) -> Sequence[str]:
        """Return and forget the earlier streams that are wholly committed."""
        *earlier, _current = self._streams.values()
        done = [progress.stream for progress in earlier if progress.acknowledged == progress.appended]
        for stream in done:
            del self._streams[stream]
        return done


# --- the writer's end ----------------------------------------------------------------------------------------


class Admission(msgspec.Struct, frozen=True):
    """The decision on a batch: take it without its first `skip` events, drop it, or ask for an earlier batch."""

    decision: Literal["take", "duplicate", "ahead"]
    skip: int = 0


class Receiver:
    """The writer's end: which number comes next in each stream, and the epoch of the database."""

    def __init__(self, epoch: str = "") -> None:
        self.epoch = epoch
        self._admitted: dict[str, int] = {}
        self._committed: dict[str, int] = {}
        self.duplicates = 0

    def has_gone_back(self, hello: Hello, high_water_marks: Mapping[str, int]) -> bool:
        """Whether the database holds less than in this epoch before: less than was committed, or than the producer saw
        acknowledged. A sender of an earlier epoch knows nothing of the fall that began this epoch.
        """
        known = hello.acknowledged if hello.epoch in ("", self.epoch) else {}
        return any(
            mark < max(known.get(stream, 0), self._committed.get(stream, 0))
            for stream, mark in high_water_marks.items()
        )

    def began_epoch(self, epoch: str) -> None:
        """The database went back: nothing that was admitted counts, and every producer must say hello."""
        self.epoch = epoch
        self._admitted.clear()
        self._committed.clear()

    def committed(self, stream: str, high_water_mark: int) -> None:
        """The stream is committed up to this number."""
        self._committed[stream] = high_water_mark

    def greeted(self, high_water_marks: Mapping[str, int]) -> None:
        """A producer sent a hello; these are its streams' marks in the database. Events admitted and not yet committed
        stay admitted.
        """
        for stream, mark in high_water_marks.items():
            self._admitted[stream] = max(mark, self._admitted.get(stream, 0))
            self._committed[stream] = mark

    def knows(self, stream: str) -> bool:
        """Whether a hello named this stream."""
        return stream in self._admitted

    def forget(self, stream: str) -> None:
        """Forget a stream without events that wait for a commit: its producer must say hello again."""
        self._admitted.pop(stream, None)
        self._committed.pop(stream, None)

    def admit(self, stream: str, first_sequence: int, count: int) -> Admission:
        """Judge a batch of a known stream, and remember it as admitted if it is to be taken."""
        mark = self._admitted[stream]
        last_sequence = first_sequence + count - 1
        if last_sequence <= mark:
            self.duplicates += count
            return Admission("duplicate")
        if first_sequence > mark + 1:
            return Admission("ahead")
        skip = mark + 1 - first_sequence
        self.duplicates += skip
        self._admitted[stream] = last_sequence
        return Admission("take", skip)

    def admitted_mark(self, stream: str) -> int:
        """The last number taken, committed or about to be."""
        return self._admitted[stream]

    def rolled_back(self, high_water_marks: Mapping[str, int]) -> Sequence[Rewind]:
        """A commit failed or its outcome is unknown; these are the database's marks now. Events admitted beyond them
        are forgotten and requested again.
        """
        for stream, mark in high_water_marks.items():
            self._admitted[stream] = self._committed[stream] = mark
        return [Rewind(stream, mark) for stream, mark in high_water_marks.items()]


def last_sequences(group: Sequence[Part]) -> Mapping[str, int]:
    return {part.stream: part.last_sequence for part in group}


def outcome_of(
    group: Sequence[Part], marks: Mapping[str, int], newest: Mapping[str, int]
) -> Literal["stored", "refused", "went back", "other"]:
    """Classify a group whose commit failed or has an unknown outcome, by the database's marks. `newest` are the ends of
    the commit before the group.
    """
    if any(marks[stream] < mark for stream, mark in newest.items()):
        return "went back"
    ends = last_sequences(group)
    starts = {part.stream: part.first_sequence - 1 for part in reversed(group)}
    if all(marks[stream] >= end for stream, end in ends.items()):
        return "stored"
    if all(marks[stream] == start for stream, start in starts.items()):
        return "refused"
    return "went back" if any(marks[stream] < start for stream, start in starts.items()) else "other"
