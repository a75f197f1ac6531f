"""One log set-up for every process: JSON lines or plain ones, stamped with Korean market time, secrets removed.

The log goes to stderr by default; the parent process redirects it. Lines that the disk does not take are counted, never
waited for, and the first line that it takes again states their number.

The first line of each process in its log is its head: version, pid, instance, accounts and configuration. A file that
goes on after a rotation begins with it again (`continued_head`).

A secret that `observer.base.text.conceal` has taken never appears in the log, in any message or exception. A message is
cut and holds no control characters. Of the lines that one place in the code writes in a minute only the first are
written; the others are counted.
"""

import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal, NamedTuple, TextIO

import msgspec

from observer.base.clock import Clock
from observer.base.local_time import local_datetime
from observer.base.text import shown_lines

TRACEBACK_BYTES_MAX: Final = 16_384  # our own frames, and the text of the error behind them
REPEATED_MAX: Final = 100  # lines of one origin in a minute
REPEATED_S: Final = 60.0  # machine seconds
_BEGINS: Final = "log begins: "
_GOES_ON: Final = "log goes on: "
_TIME: Final = b'{"time":"'  # what each JSON line begins with
_HEADS: Final = tuple(f'"logger":"{__name__}","event":"{begin}'.encode() for begin in (_BEGINS, _GOES_ON))


class Head(msgspec.Struct, frozen=True):
    """What the first line of a log says of its process, beside version and pid; `configuration` is the file."""

    configuration: str
    instance: str
    accounts: Sequence[str]

    def text(self) -> str:
        """The head of this process."""
        accounts = ",".join(self.accounts)
        of_process = f"version={own_version()} pid={os.getpid()} instance={self.instance} accounts={accounts}"
        return f"{_BEGINS}{of_process} configuration={Path(self.configuration).absolute()}"


class _Present:
    head: Head | None = None  # of this process


def present_head() -> Head | None:
    """The head of this process's log, for a process that it starts; None before `set_up`."""
    return _Present.head


def own_version() -> str:
    """The version of this program; "unknown" where it runs from a folder without being installed."""
    try:
        return version("observer")
    except PackageNotFoundError:
        return "unknown"


def continued_head(lines: bytes, last_lines: bytes) -> bytes | None:
    """The head of a file that goes on behind these last lines: the last head in `lines`, without a line's end, with the
    time of the last of the lines; None if they have no head.
    """
    at = max(lines.rfind(mark) for mark in _HEADS)
    begin = lines.rfind(_TIME, 0, max(at, 0))
    end = lines.find(b"\n", at)
    if min(at, begin, end) < 0 or b"\n" in lines[begin:at]:
        return None
    own, _, rest = lines[begin + len(_TIME) : end].partition(b'"')
    last = last_lines.rfind(_TIME)
    time = last_lines[last + len(_TIME) :].partition(b'"')[0] if last >= 0 else own
    return _TIME + time + b'"' + rest.replace(_BEGINS.encode(), _GOES_ON.encode(), 1).rstrip()


def event_of(line: str) -> str:
    """The event of a JSON line; of any other output the line itself."""
    try:
        return str(msgspec.json.decode(line)["event"])
    except (msgspec.MsgspecError, TypeError, KeyError):
        return line


class Origin(NamedTuple):
    """Where lines come from: the logger, the level and the message without its values."""

    logger: str
    level: int
    message: str


class Repetitions:
    """Counts the lines of each origin, and decides which of them are written."""

    def __init__(self) -> None:
        self._began_s: dict[Origin, float] = {}
        self._counts: dict[Origin, int] = {}

    def is_written(self, origin: Origin, now_s: float) -> bool:
        """Whether this line is among the first of its origin in its minute; counts it."""
        self._began_s.setdefault(origin, now_s)
        count = self._counts[origin] = self._counts.get(origin, 0) + 1
        return count <= REPEATED_MAX

    def ended(self, now_s: float) -> dict[Origin, int]:
        """The lines of each origin that were not written, of all minutes that are over; forgets these minutes."""
        over = [origin for origin, began_s in self._began_s.items() if now_s >= began_s + REPEATED_S]
        counts = {origin: self._counts.pop(origin) - REPEATED_MAX for origin in over}
        for origin in over:
            del self._began_s[origin]
        return {origin: count for origin, count in counts.items() if count > 0}


class _Formatter(logging.Formatter):
    def __init__(self, process: str, clock: Clock) -> None:
        super().__init__()
        self._process = process
        self._clock = clock

    def _time(self) -> str:
        return local_datetime(self._clock.now_ns()).isoformat(timespec="milliseconds")

    def _text(self, record: logging.LogRecord) -> str:
        text = shown_lines(record.getMessage())
        if record.exc_info:
            text = f"{text}\n{shown_lines(self.formatException(record.exc_info), TRACEBACK_BYTES_MAX)}"
        return text


class _JsonLines(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One object a line: time (Korean market time), level, process, logger, event."""
        line = {
            "time": self._time(),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": self._text(record),
        }
        return msgspec.json.encode(line).decode()


class _Plain(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Time, level, process, message: for reading along."""
        process = getattr(record, "process_name", self._process)  # of an alert that another process raised
        return f"{self._time()} {record.levelname:<8} {process}: {self._text(record)}"


class _LossyHandler(logging.Handler):
    """Writes each line at once, past the stream's buffer, which would keep a refused line and refuse later ones."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._lost = 0
        self._is_cut = False  # the disk took the beginning of the last line
        self._head = _Present.head  # until it is written
        self._repetitions = Repetitions()

    def begin(self) -> None:
        """Write the head, if there is one that is not written."""
        head, self._head = self._head, None
        if head is not None:
            self._emit(logging.LogRecord(__name__, logging.INFO, __file__, 0, "%s", (head.text(),), None))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as a line, or count it as lost or repeated; the head before the first one."""
        self.begin()
        now_s = time.monotonic()
        self._state_repetitions(now_s)
        if self._repetitions.is_written(Origin(record.name, record.levelno, str(record.msg)), now_s):
            self._emit(record)

    def close(self) -> None:
        """State the repeated lines: the process ends."""
        self._state_repetitions(math.inf)
        super().close()

    def _state_repetitions(self, now_s: float) -> None:
        for origin, count in self._repetitions.ended(now_s).items():
            self._emit(_repeated(origin, count))

    def _emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a wrong message must not end the process either
            self.handleError(record)
            return
        try:
            if self._lost:
                self._write(self.format(_loss(self._lost)))
                self._lost = 0
            self._write(line)
        except OSError:
            self._lost += 1

    def _write(self, line: str) -> None:
        if self._descriptor is None:
            self._stream.write(f"{line}\n")
            self._stream.flush()
            return
        prefix = b"\n" if self._is_cut else b""
        content = prefix + f"{line}\n".encode(errors="backslashreplace")
        taken = 0
        try:
            while taken < len(content):
                taken += os.write(self._descriptor, content[taken:])
        finally:
            if taken:
                self._is_cut = len(prefix) < taken < len(content)


def _descriptor_of(stream: TextIO) -> int | None:
    """None for a stream without a file, such as a test's."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _loss(count: int) -> logging.LogRecord:
    """A record that states so many lost lines."""
    text = "%d lines were lost, the disk was full"
    return logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, (count,), None)


def _repeated(origin: Origin, count: int) -> logging.LogRecord:
    """A record that states so many lines that were not written."""
    text, values = "%d more lines in a minute like: %s", (count, origin.message)
    return logging.LogRecord(origin.logger, origin.level, __file__, 0, text, values, None)


def set_level(level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]) -> None:
    """Log from this level on."""
    logging.getLogger().setLevel(level)


def set_up(
    process: str,
    clock: Clock,
    form: Literal["json", "plain"] = "json",
    level: str = "INFO",
    stream: TextIO | None = None,
    head: Head | None = None,
    begins: bool = True,
) -> None:
    """Send the log of this process to stderr, or to `stream`, in place of whatever was set up before. With a head it
    begins with that, whatever the level; without `begins` only when its first line is written.
    """
    _Present.head = head
    handler = _LossyHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines(process, clock) if form == "json" else _Plain(process, clock))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    if begins:
        handler.begin()
    for chatty in ("httpx", "httpcore", "websockets", "aiohttp.access", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextlib.contextmanager
def writing_also(stream: TextIO, process: str, clock: Clock) -> Iterator[None]:
    """Send the log of this process to this file, too, while the block runs: as JSON lines, with the head of `set_up`
    before the first one.
    """
    handler = _LossyHandler(stream)
    handler.setFormatter(_JsonLines(process, clock))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
