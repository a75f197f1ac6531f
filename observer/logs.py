"""One log set-up for every process: JSON lines or plain ones, stamped with Korean market time, secrets removed.

The log goes to stderr by default; the parent process redirects it. Lines that the disk does not take are counted, never
waited for, and the first line that it takes again states their number.

`conceal` takes a secret once, when it is read or received: from then on its text never appears in the log, in any
message or exception.
"""

import logging
import os
import sys
from typing import Final, Literal, TextIO

import msgspec

from observer.clock import Clock
from observer.local_time import local_datetime

CONCEALED: Final = "***"
SECRET_LENGTH_MIN: Final = 8  # shorter ones would redact ordinary words

_secrets: Final[set[str]] = set()


def conceal(secret: str) -> None:
    """Redact this text in every later log line of this process."""
    if len(secret) >= SECRET_LENGTH_MIN:
        _secrets.add(secret)


def without_secrets(text: str) -> str:
    """The text with every concealed secret redacted."""
    for secret in _secrets:
        text = text.replace(secret, CONCEALED)
    return text


class _Formatter(logging.Formatter):
    def __init__(self, process: str, clock: Clock) -> None:
        super().__init__()
        self._process = process
        self._clock = clock

    def _time(self) -> str:
        return local_datetime(self._clock.now_ns()).isoformat(timespec="milliseconds")

    def _text(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return without_secrets(text)


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

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as a line, or count it as lost."""
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


def set_level(level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]) -> None:
    """Log from this level on."""
    logging.getLogger().setLevel(level)


def set_up(
    process: str,
    clock: Clock,
    form: Literal["json", "plain"] = "json",
    level: str = "INFO",
    stream: TextIO | None = None,
) -> None:
    """Send the log of this process to stderr, or to `stream`, in place of whatever was set up before."""
    handler = _LossyHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines(process, clock) if form == "json" else _Plain(process, clock))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpcore", "websockets", "aiohttp.access", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
