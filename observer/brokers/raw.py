"""A raw capture: what a broker and we said to each other, before anything was decoded.

Its records lie in journals (`bus.journal`), one for each process and start. The label is "raw <capture id> <provider>
<process>", a record is a `RawRecord` in MessagePack. Master files are no part of it: they are files already. A folder
is read while its journals grow, or afterwards.

A capture is requested by a file in the runtime directory, locked by the process that made it. The lock (`flock`) is the
kernel's: it goes with that process, however it dies. So a file that is not locked means nothing, a capture that was
killed ends, and workers that are started meanwhile join it.

A record is one append to a journal: one system call, into the page cache. It waits for nothing and never fails for its
caller: what the disk refuses ends the recording with a line in the log, never the stream.
"""

import contextlib
import fcntl
import heapq
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from bus.journal import JournalError, JournalReader, JournalWriter
from observer.base.clock import Clock
from observer.base.errors import ConfigError, DataFileError
from observer.base.file_lock import FileLock
from observer.base.text import without_secrets
from observer.brokers.redaction import redacted, redacted_headers, redacted_query

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


class RawFacts(msgspec.Struct, frozen=True):
    """The facts of one record of a raw capture, in their order. `refused`: the broker said no; `malformed`: the answer
    could not be read; `unknown`: the call has no decoder. These three have no facts.
    """

    facts: Sequence[msgspec.Struct] = ()
    outcome: RawOutcome = "decoded"


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


# --- recording: while a capture is requested ----------------------------------------------------------------------

logger = logging.getLogger(__name__)

POLL_S: Final = 0.5  # machine seconds; a check costs a few microseconds, and only a process with traffic checks
_NAME: Final = "raw-capture"
_REQUEST_BYTES_MAX: Final = 8192  # two paths of the longest kind
_TRIES: Final = 20  # a worker holds the lock for some microseconds during a check
_BETWEEN_TRIES_S: Final = 0.02


class RawCaptureRequest(msgspec.Struct, frozen=True):
    """A requested capture: its id, and the absolute path of the folder for its journals."""

    capture_id: str
    folder: str


def raw_request_path(runtime_directory: Path) -> Path:
    """The path of the request file."""
    return runtime_directory / _NAME


def read_raw_request(path: Path) -> RawCaptureRequest | None:
    """The current raw capture request; None without one, or when the requesting process has ended.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parsed(os.read(descriptor, _REQUEST_BYTES_MAX))
    finally:
        os.close(descriptor)
    return None


def _parsed(content: bytes) -> RawCaptureRequest | None:
    """The request; one that is just being written is none yet."""
    try:
        return msgspec.json.decode(content, type=RawCaptureRequest)
    except (ValueError, RecursionError):
        return None


@contextlib.contextmanager
def open_raw_request(path: Path, request: RawCaptureRequest) -> Iterator[None]:
    """Request a capture while the block runs.

    Raises:
        ConfigError: another one is wanted already.
        OSError: the file cannot be written.
    """
    lock = FileLock(path)
    try:
        _take(lock, path)
        os.ftruncate(lock.descriptor, 0)
        os.pwrite(lock.descriptor, msgspec.json.encode(request), 0)
        yield
        os.ftruncate(lock.descriptor, 0)
    finally:
        lock.close()


def _take(lock: FileLock, path: Path) -> None:
    for _ in range(_TRIES):
        if lock.take():
            return
        time.sleep(_BETWEEN_TRIES_S)
    raise ConfigError(f"a raw capture of this system runs already ({path} is locked): end that first")


class RawRecorder:
    """One process's recorder, for all of its accounts.

    Args:
        request: the request file.
        provider: whose decoders can read it again.
        process: names the journals.
        clock: market time.
        monotonic_s: machine time.
    """

    def __init__(
        self, *, request: Path, provider: str, process: str, clock: Clock, monotonic_s: Callable[[], float]
    ) -> None:
        self.clock = clock
        self._request = request
        self._provider = provider
        self._process = process
        self._monotonic_s = monotonic_s
        self._check_again_s = monotonic_s()
        # What the journal was opened for; it stays when the disk refuses.
        self._following: RawCaptureRequest | None = None
        self._journal: JournalWriter | None = None
        self._records = 0

    def of(self, account: str) -> "AccountRecorder":
        """The recorder of one account's frames and calls."""
        return AccountRecorder(self, account)

    @property
    def is_wanted(self) -> bool:
        """Whether `record` would keep a record now; checks the request every half second."""
        now_s = self._monotonic_s()
        if now_s >= self._check_again_s:
            self._check_again_s = now_s + POLL_S
            self._check()
        return self._journal is not None

    def record(self, record: RawRecord) -> None:
        """Keep a record; only while `is_wanted`."""
        assert self._journal is not None, "ask whether it is wanted first"
        try:
            self._journal.append(encode(record))
        except (OSError, JournalError) as error:
            self._give_up(error)
        else:
            self._records += 1

    def close(self) -> None:
        """Let go of the journal; the next record that is wanted begins another one."""
        if self._journal is not None:
            self._journal.close()
        self._journal = self._following = None

    def _check(self) -> None:
        try:
            request = read_raw_request(self._request)
        except OSError as error:
            logger.warning("whether a raw capture is wanted cannot be read: %s", error)
            return
        if request != self._following:
            self.close()
            self._following = request
            if request is not None:
                self._open(request)

    def _open(self, request: RawCaptureRequest) -> None:
        self._records = 0
        name = f"{self._process}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        label = RawLabel(request.capture_id, self._provider, self._process)
        try:
            self._journal = JournalWriter(Path(request.folder) / name, str(label))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError | JournalError) -> None:
        logger.error("raw capture: stopped after %d records, from here on they are missing: %s", self._records, error)
        if self._journal is not None:
            self._journal.close()
            self._journal = None


class AccountRecorder:
    """Records one account's conversation. Synchronous and quick; never fails. Without a recorder it keeps nothing."""

    def __init__(self, recorder: RawRecorder | None, account: str) -> None:
        self._recorder = recorder
        self._account = account
        self._requests = 0

    def frame(self, direction: Direction, connection: int, time_ns: int, content: bytes) -> None:
        """A frame as it came, or as it is sent."""
        if self._recorder is not None and self._recorder.is_wanted:
            kept = redacted(content, without_secrets)
            self._recorder.record(RawRecord(direction, "stream", self._account, connection, time_ns, kept))

    def request(self, call: str, headers: Mapping[str, str], query: Mapping[str, str], content: bytes) -> int:
        """A request as it is sent; returns its number, for the answer."""
        self._requests += 1
        asked = RawRecord("sent", "rest", self._account, self._requests, 0, content, call, 0, headers, query)
        self._keep(asked)
        return self._requests

    def answer(
        self, number: int, call: str, status: int, headers: Mapping[str, str], query: Mapping[str, str], content: bytes
    ) -> None:
        """An answer as it came, to the request of this number; a refusal too."""
        self._keep(RawRecord("received", "rest", self._account, number, 0, content, call, status, headers, query))

    def _keep(self, record: RawRecord) -> None:
        if self._recorder is not None and self._recorder.is_wanted:
            kept = msgspec.structs.replace(
                record,
                time_ns=self._recorder.clock.now_ns(),
                content=redacted(record.content, without_secrets),
                headers=redacted_headers(record.headers, without_secrets),
                query=redacted_query(record.query, without_secrets),
            )
            self._recorder.record(kept)


UNRECORDED: Final = AccountRecorder(None, "")
"""The recorder of a process without raw captures."""
