"""One log set-up for every process: JSON lines or plain ones, stamped with Korean market time, secrets removed.

The log goes to stderr by default; the parent process redirects it. `conceal` takes a secret once, when it is read or
received: from then on its text never appears in the log, in any message or exception.
"""

import logging
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
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines(process, clock) if form == "json" else _Plain(process, clock))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpcore", "websockets", "aiohttp.access", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
