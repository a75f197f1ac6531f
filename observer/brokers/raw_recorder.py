"""Records the traffic between a process and its broker while a raw capture is requested.

The request is a file in the runtime directory, locked by the process that made it. The lock (`flock`) is the kernel's:
it goes with that process, however it dies. So a file that is not locked means nothing, a capture that was killed ends,
and workers that are started meanwhile join it.

A record is one append to a journal: one system call, into the page cache. It waits for nothing and never fails for its
caller: what the disk refuses ends the recording with a line in the log, never the stream.
"""

import contextlib
import fcntl
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bus.journal import JournalError, JournalWriter
from observer.base.clock import Clock
from observer.base.errors import ConfigError
from observer.base.text import without_secrets
from observer.brokers.raw import SUFFIX, Direction, RawLabel, RawRecord, encode
from observer.brokers.redaction import redacted, redacted_headers, redacted_query

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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(request), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES_S)
        else:
            return
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
        self._following: RawCaptureRequest | None = (
            None  # what the journal was opened for; it stays when the disk refuses
        )
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
    """Records one account's conversation. Satisfies `FrameRecorder` and `CallRecorder`."""

    def __init__(self, recorder: RawRecorder, account: str) -> None:
        self._recorder = recorder
        self._account = account
        self._requests = 0

    def frame(self, direction: Direction, connection: int, time_ns: int, content: bytes) -> None:
        """As `FrameRecorder`."""
        if self._recorder.is_wanted:
            kept = redacted(content, without_secrets)
            self._recorder.record(RawRecord(direction, "stream", self._account, connection, time_ns, kept))

    def request(self, call: str, headers: Mapping[str, str], query: Mapping[str, str], content: bytes) -> int:
        """As `CallRecorder`."""
        self._requests += 1
        self._keep("sent", self._requests, call, 0, headers, query, content)
        return self._requests

    def answer(
        self, number: int, call: str, status: int, headers: Mapping[str, str], query: Mapping[str, str], content: bytes
    ) -> None:
        """As `CallRecorder`."""
        self._keep("received", number, call, status, headers, query, content)

    def _keep(
        self,
        direction: Direction,
        number: int,
        call: str,
        status: int,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        content: bytes,
    ) -> None:
        if not self._recorder.is_wanted:
            return
        record = RawRecord(
            direction=direction,
            channel="rest",
            account=self._account,
            connection=number,
            time_ns=self._recorder.clock.now_ns(),
            content=redacted(content, without_secrets),
            call=call,
            status=status,
            headers=redacted_headers(headers, without_secrets),
            query=redacted_query(query, without_secrets),
        )
        self._recorder.record(record)
