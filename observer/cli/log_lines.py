"""Lines of log files: what they say, and how they are shown to people and to programs. Pure.

A line is the JSON object of `observer.base.logs`, or any other output of a process: the traceback of an interpreter
that crashed, the text of a library. Such output is shown as it is, below the process's name.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Literal

import click
import msgspec

from observer.base.text import plain_lines, plain_text
from observer.base.units import NS_PER_MS

Level = Literal["debug", "info", "warning", "error", "critical"]
LEVELS: Final[Sequence[Level]] = ("debug", "info", "warning", "error", "critical")
_RAW_LEVEL: Final = LEVELS.index("error")  # of output that is no log line: it may be the trace of a crash
_COLOURS: Final = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "bright_red"}
_BEGIN: Final = b'{"time":"'


class LogLine(msgspec.Struct, frozen=True):
    """A line as `observer.base.logs` writes it."""

    time: str
    level: str
    process: str
    logger: str
    event: str


class LogEntry(msgspec.Struct, frozen=True):
    """A line of a process's log, with the market time at which it sorts; `line` is None for other output."""

    process: str
    at_ns: int
    text: str
    line: LogLine | None = None


_decoder: Final = msgspec.json.Decoder(LogLine)


def log_entries(process: str, content: bytes) -> Sequence[LogEntry]:
    """The entries of one line, without its end. Other output has the time 0 and takes that of its neighbours
    (`placed`). A line that a killed process began and the next one continued is two entries.
    """
    content = content.replace(b"\0", b"")  # a gap that a rotation left in the file
    if (entry := _decoded(process, content)) is not None:
        return [entry]
    at = content.rfind(_BEGIN, 1)
    if at > 0 and (entry := _decoded(process, content[at:])) is not None:
        return [_other(process, content[:at]), entry]
    return [_other(process, content)] if content.strip() else []


def placed(entry: LogEntry, at_ns: int) -> LogEntry:
    """The entry; other output with this time."""
    return entry if entry.line is not None else msgspec.structs.replace(entry, at_ns=at_ns)


def reaches(entry: LogEntry, level: Level) -> bool:
    """Whether the entry is of this level at least; other output counts as an error."""
    own = _RAW_LEVEL
    if entry.line is not None and entry.line.level in LEVELS:
        own = LEVELS.index(entry.line.level)
    return own >= LEVELS.index(level)


class HumanLines:
    """Renders entries in the order in which they are shown, in colour where that is wanted."""

    def __init__(self, name_width: int, *, coloured: bool) -> None:
        self._name_width = name_width
        self._coloured = coloured
        self._below = ""  # the process whose other output was shown last

    def lines(self, entry: LogEntry) -> Iterator[str]:
        """The entry's lines: time, level, process and text; further lines of the text stand below, indented."""
        if entry.line is None:
            if self._below != entry.process:
                yield self._styled(f"{entry.process}:", "cyan")
            self._below = entry.process
            yield plain_text(entry.text)
            return
        self._below = ""
        first, *rest = plain_lines(entry.text).split("\n")
        level = plain_text(entry.line.level)
        when = f"{datetime.fromisoformat(entry.line.time):%m-%d %H:%M:%S.%f}"[:-3]
        name = self._styled(f"{entry.process:<{self._name_width}}", "cyan")
        yield f"{when} {self._styled(f'{level.upper():<8}', _COLOURS.get(level))} {name}  {first}".rstrip()
        yield from (f"  {line}" for line in rest)

    def _styled(self, text: str, colour: str | None) -> str:
        return click.style(text, fg=colour) if self._coloured and colour else text


def json_line(entry: LogEntry) -> str:
    """The entry as a JSON object like that of a file; other output has the text alone."""
    fields = {"time": None, "level": None, "logger": None} if entry.line is None else msgspec.structs.asdict(entry.line)
    return msgspec.json.encode({**fields, "process": entry.process, "event": plain_lines(entry.text)}).decode()


def _decoded(process: str, content: bytes) -> LogEntry | None:
    if not content.startswith(b"{"):
        return None
    try:
        line = _decoder.decode(content)
        at_ms = round(datetime.fromisoformat(line.time).timestamp() * 1000)
    except (msgspec.MsgspecError, ValueError, OverflowError, OSError, RecursionError):
        return None
    return LogEntry(process, at_ms * NS_PER_MS, line.event, line)


def _other(process: str, content: bytes) -> LogEntry:
    return LogEntry(process, 0, content.decode(errors="backslashreplace").rstrip())
