"""A raw capture: what a broker and we said to each other, before anything was decoded; its records and their folder.

Its records lie in journals (`bus.journal`), one for each process and start. The label is "raw <capture id> <provider>
<process>", a record is a `RawRecord` in MessagePack. Master files are no part of it: they are files already. A folder
is read while its journals grow, or afterwards.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from bus.journal import JournalError, JournalReader
from observer.base.errors import DataFileError

SUFFIX: Final = ".journal"

Direction = Literal["sent", "received"]
Channel = Literal["stream", "rest"]


class RawRecord(msgspec.Struct, frozen=True, array_like=True):
    """One frame, one request or one answer, without secrets (`observer.brokers.redaction`).

    `connection` counts the connections of the account's stream; for REST it counts the requests, and an answer has
    the number of its request. `time_ns` is market time: of receiving, the same that the decoder was given, or of
    sending. `call`, `status`, `headers` and `query` are empty (0) for frames; an answer repeats what its request asked.
    """

    direction: Direction
    channel: Channel
    account: str
    connection: int
    time_ns: int
    content: bytes
    call: str = ""
    status: int = 0
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}


class RawLabel(msgspec.Struct, frozen=True):
    """The fields of such a journal's label."""

    capture_id: str
    provider: str
    process: str

    def __str__(self) -> str:
        """As it stands in the file."""
        return f"raw {self.capture_id} {self.provider} {self.process}"


class FrameRecorder(Protocol):
    """Records the frames of one account's stream. Synchronous and quick; never fails."""

    def frame(self, direction: Direction, connection: int, time_ns: int, content: bytes) -> None:
        """A frame as it came, or as it is sent."""
        ...


class CallRecorder(Protocol):
    """Records one account's REST calls. Synchronous and quick; never fails."""

    def request(self, call: str, headers: Mapping[str, str], query: Mapping[str, str], content: bytes) -> int:
        """A request as it is sent; returns its number, for the answer."""
        ...

    def answer(
        self, number: int, call: str, status: int, headers: Mapping[str, str], query: Mapping[str, str], content: bytes
    ) -> None:
        """An answer as it came, to the request of this number; a refusal too."""
        ...


class _Unrecorded:
    """Records nothing. Satisfies `FrameRecorder` and `CallRecorder`."""

    def frame(self, direction: Direction, connection: int, time_ns: int, content: bytes) -> None:
        pass

    # ruff: disable[ARG002] - the names are the Protocol's
    def request(
        self,
        call: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        content: bytes,
    ) -> int:
        return 0

    # ruff: enable[ARG002]

    def answer(
        self, number: int, call: str, status: int, headers: Mapping[str, str], query: Mapping[str, str], content: bytes
    ) -> None:
        pass


UNRECORDED: Final = _Unrecorded()
"""The recorder of a process without raw captures."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RawRecord)


def encode(record: RawRecord) -> bytes:
    """A record as a journal's payload."""
    return _encoder.encode(record)


def decode(payload: bytes) -> RawRecord:
    """A journal's payload as a record.

    Raises:
        JournalError: it is something else.
    """
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(f"no record of a raw capture: {error}") from error


def read_label(label: str) -> RawLabel:
    """The label of a raw capture's journal.

    Raises:
        JournalError: the journal is something else.
    """
    match label.split(" "):
        case ["raw", capture_id, provider, process]:
            return RawLabel(capture_id, provider, process)
    raise JournalError(f"not a raw capture: its label is {label!r}")


RawOutcome = Literal["decoded", "refused", "malformed", "unknown"]


class RawFacts(Protocol):
    """The facts of one record of a raw capture, or none and the reason (see `RawOutcome`)."""

    @property
    def facts(self) -> Sequence[msgspec.Struct]:
        """In their order."""
        ...

    @property
    def outcome(self) -> RawOutcome:
        """`refused`: the broker said no; `malformed`: it could not be read; `unknown`: the call has no decoder."""
        ...


class RawCaptureDecoder(Protocol):
    """Decodes the records of one raw journal, in their order."""

    def decode(self, record: RawRecord) -> RawFacts:
        """The facts of a record. Never raises; sent frames and requests have none."""
        ...


class RawTotals(msgspec.Struct, frozen=True):
    """Totals of the folder so far. `bodies` counts requests and answers alike."""

    files: int = 0
    frames: int = 0
    bodies: int = 0
    size_bytes: int = 0


class RawJournal:
    """One journal of a capture. Iterating goes on where it stopped, so that one that grows can be followed.

    Raises:
        DataFileError: the file is no such journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = JournalReader(path)
        except (JournalError, OSError) as error:
            raise DataFileError(f"{path}: {error}") from error
        try:
            self.label: RawLabel = read_label(self._reader.label)
        except JournalError as error:
            self.close()
            raise DataFileError(f"{path}: {error}") from error

    def __iter__(self) -> Iterator[RawRecord]:
        """The records from here to the last whole one.

        Raises:
            DataFileError: a whole record that is none of a raw capture.
        """
        for record in self._reader:
            try:
                yield decode(record.payload)
            except JournalError as error:
                raise DataFileError(f"{self.path}, the record before byte {record.end_offset:,}: {error}") from error

    @property
    def read_bytes(self) -> int:
        """The number of bytes read."""
        return self._reader.offset

    @property
    def torn_bytes(self) -> int:
        """The number of unread bytes; after the last record, a torn tail."""
        return self.path.stat().st_size - self._reader.offset

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


class RawFolder:
    """All journals of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.journals: list[RawJournal] = []
        self._frames = 0
        self._bodies = 0

    def check(self) -> RawTotals:
        """Find what came since the last check; a file that is still empty waits for the next one.

        Raises:
            DataFileError: a journal holds something else.
        """
        self._find_new()
        for journal in self.journals:
            for record in journal:
                if record.channel == "stream":
                    self._frames += 1
                else:
                    self._bodies += 1
        size_bytes = sum(journal.read_bytes for journal in self.journals)
        return RawTotals(len(self.journals), self._frames, self._bodies, size_bytes)

    def _find_new(self) -> None:
        known = {journal.path for journal in self.journals}
        for path in paths_in(self._folder):
            if path not in known and path.stat().st_size:
                self.journals.append(RawJournal(path))

    def close(self) -> None:
        """Let go of the files."""
        for journal in self.journals:
            journal.close()


def paths_in(folder: Path) -> Sequence[Path]:
    """The journals of a folder, by name."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def merged(journals: Sequence[RawJournal]) -> Iterator[tuple[RawJournal, RawRecord]]:
    """All records with their journals, as one course of events by the records' times.

    Raises:
        DataFileError: see `RawJournal`.
    """
    return heapq.merge(*map(_named, journals), key=lambda pair: pair[1].time_ns)


def _named(journal: RawJournal) -> Iterator[tuple[RawJournal, RawRecord]]:
    return ((journal, record) for record in journal)
