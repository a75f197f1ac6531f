"""Records what a process and its broker say to each other, while somebody wants it (`raw_wish`).

A record is one append to a journal: one system call, into the page cache. Nobody is waited for, and nothing here fails
for whoever calls: what the disk refuses ends the recording with a line in the log, never the stream.
"""

import logging
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bus.journal import JournalError, JournalWriter
from observer import logs
from observer.clock import Clock
from observer.providers.blanking import blanked, blanked_headers, blanked_query
from observer.providers.raw import SUFFIX, Direction, RawLabel, RawRecord, encode
from observer.providers.raw_wish import RawWish, read_wish

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.5  # machine seconds; a look costs a few microseconds, and only a process that talks looks


class RawRecorder:
    """One process's recorder, for all of its accounts.

    Args:
        wish: the file that says what is wanted.
        provider: whose decoders can read it again.
        process: names the journals.
        clock: market time.
        monotonic_s: machine time.
    """

    def __init__(
        self, *, wish: Path, provider: str, process: str, clock: Clock, monotonic_s: Callable[[], float]
    ) -> None:
        self.clock = clock
        self._wish = wish
        self._provider = provider
        self._process = process
        self._monotonic_s = monotonic_s
        self._look_again_s = monotonic_s()
        self._following: RawWish | None = None  # what the journal was opened for; it stays when the disk refuses
        self._journal: JournalWriter | None = None
        self._records = 0

    def of(self, account: str) -> "AccountRecorder":
        """The recorder of one account's frames and calls."""
        return AccountRecorder(self, account)

    @property
    def is_wanted(self) -> bool:
        """Whether a record would be kept now; looks for itself every half second."""
        now_s = self._monotonic_s()
        if now_s >= self._look_again_s:
            self._look_again_s = now_s + LOOK_S
            self._look()
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

    def _look(self) -> None:
        try:
            wish = read_wish(self._wish)
        except OSError as error:
            logger.warning("whether a raw capture is wanted cannot be read: %s", error)
            return
        if wish != self._following:
            self.close()
            self._following = wish
            if wish is not None:
                self._open(wish)

    def _open(self, wish: RawWish) -> None:
        self._records = 0
        name = f"{self._process}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        label = RawLabel(wish.capture_id, self._provider, self._process)
        try:
            self._journal = JournalWriter(Path(wish.folder) / name, str(label))
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
            without_secrets = blanked(content, logs.without_secrets)
            self._recorder.record(RawRecord(direction, "stream", self._account, connection, time_ns, without_secrets))

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
            content=blanked(content, logs.without_secrets),
            call=call,
            status=status,
            headers=blanked_headers(headers, logs.without_secrets),
            query=blanked_query(query, logs.without_secrets),
        )
        self._recorder.record(record)
