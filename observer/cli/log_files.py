"""Reads the log files of processes: the newest lines, and new ones as they are written, over any rotation.

The files of one process are `NAME.log`, which it writes, and before it `NAME.log.1`, `.2` and so on
(`observer.supervisor.output`). Joined in order they are its output. A rotation takes bytes off the front of the file,
so a reader knows its place by the last line that it read, not by a number of bytes.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from observer.cli.log_lines import LogEntry, log_entries, placed
from observer.supervisor.linux import data_begin

_SUFFIX: Final = ".log"
_BLOCK_BYTES: Final = 1 << 18
_LINE_BYTES_MAX: Final = 1 << 20  # a longer line is shown in parts
_ANCHOR_BYTES: Final = 1024  # of a file that grows, before the place of a reader: elsewhere the file was rotated
_ATTEMPTS: Final = 3  # a rotation within each of them is not to be expected

Wanted = Callable[[LogEntry], bool]


def log_names(folder: Path) -> Sequence[str]:
    """The names of the processes that have logs in this folder."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}"))


class ProcessLog:
    """The log of one process.

    `newest` and `all_since` read what is there; `new_entries` gives what was written since, from one of them, read to
    its end, or from the last call on.
    """

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        self._path = folder / f"{process}{_SUFFIX}"
        self._offset = 0  # of the present file, up to which whole lines were read
        self._last_line = b""  # the one that ends at the offset
        self._written_ns = 0  # when the present file was last written, at the last look; machine time
        self._at_ns = 0  # the newest line's market time

    def newest(self, wanted: Wanted, limit: int, since_ns: int = 0, *, is_followed: bool = False) -> Sequence[LogEntry]:
        """The last `limit` of the wanted entries since this market time (UTC nanoseconds), oldest first.

        A last line without an end is left out of a log that is followed: `new_entries` gives it when it has one.
        """
        found: Sequence[LogEntry] = ()
        for _ in range(_ATTEMPTS):
            with _opened(self._paths()) as parts:
                lines = itertools.islice(_lines_backwards(parts), int(is_followed), None)
                found = self._newest_of(lines, wanted, limit, since_ns)
                if parts and not _is_rotated(parts[-1]):
                    self._note_end(parts[-1])
                    break
        return found

    def all_since(self, wanted: Wanted, since_ns: int = 0, *, is_followed: bool = False) -> Iterator[LogEntry]:
        """As `newest`, but all of them: a block of a file is in memory at a time, however long the files are."""
        with _opened(self._paths()) as opened:
            parts = self._parts_since(opened, since_ns)
            at_ns = self._first_ns(parts) if parts == opened else 0  # other output behind an older line is as old
            is_within = at_ns >= since_ns or (parts == opened and not at_ns)
            for content in self._lines_forwards(parts, is_followed=is_followed):
                for entry in log_entries(self.process, content):
                    if entry.line is not None:
                        at_ns, is_within = entry.at_ns, entry.at_ns >= since_ns
                        self._at_ns = max(self._at_ns, at_ns)
                    if is_within and wanted(found := placed(entry, at_ns)):
                        yield found

    def new_entries(self) -> Sequence[LogEntry]:
        """Entries of the lines that were finished since the last look."""
        found: list[LogEntry] = []
        for content in self._new_lines():
            for entry in log_entries(self.process, content):
                self._at_ns = entry.at_ns or self._at_ns
                found.append(placed(entry, self._at_ns))
        return found

    def _newest_of(self, lines: Iterable[bytes], wanted: Wanted, limit: int, since_ns: int) -> Sequence[LogEntry]:
        found: list[LogEntry] = []
        waiting: list[LogEntry] = []  # other output that is shown, until the time of the line before it is known
        for content in lines:
            for entry in reversed(log_entries(self.process, content)):
                if entry.line is None:
                    if len(found) + len(waiting) < limit and wanted(entry):
                        waiting.append(entry)
                    continue
                if entry.at_ns < since_ns:
                    return found[::-1]
                self._at_ns = max(self._at_ns, entry.at_ns)
                found += (placed(each, entry.at_ns) for each in waiting)
                found += filter(wanted, [entry])
                waiting = []
            if len(found) >= limit:
                return found[:limit][::-1]
        found += [placed(each, found[-1].at_ns if found else self._at_ns) for each in waiting]
        return found[:limit][::-1]

    def _parts_since(self, parts: "Sequence[_Part]", since_ns: int) -> "Sequence[_Part]":
        """The parts from a line on behind which those since this time begin: the last block that begins before it."""
        for number in reversed(range(len(parts) if since_ns else 0)):
            part = parts[number]
            for at in _block_begins(part):
                content = os.pread(part.descriptor, _BLOCK_BYTES, at)
                skipped = content.find(b"\n") + 1 if at > part.begin else 0
                first_ns = self._time_of_first(content[skipped:].split(b"\n"))
                if 0 < first_ns < since_ns:
                    return [part._replace(begin=at + skipped), *parts[number + 1 :]]
        return parts

    def _first_ns(self, parts: "Sequence[_Part]") -> int:
        """The time of the first line, which other output before it takes; 0: there is no line."""
        blocks = (os.pread(part.descriptor, _BLOCK_BYTES, at) for part in parts for at in reversed(_block_begins(part)))
        return next(filter(None, (self._time_of_first(block.split(b"\n")) for block in blocks)), 0)

    def _time_of_first(self, lines: Iterable[bytes]) -> int:
        entries = (entry for content in lines for entry in log_entries(self.process, content))
        return next((entry.at_ns for entry in entries if entry.line is not None), 0)

    def _lines_forwards(self, parts: "Sequence[_Part]", *, is_followed: bool) -> Iterator[bytes]:
        """The lines of these files joined in order, without their ends; then what a rotation meanwhile moved."""
        rest = last = b""
        unread = sum(part.end - part.begin for part in parts)  # less what was read in whole lines
        self._offset, self._last_line, self._written_ns = 0, b"", parts[-1].written_ns if parts else 0
        for block in _blocks(parts):
            if block is None:
                self._last_line = last
                yield from self._new_lines()
                return
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if lines:
                last = lines[-1] + b"\n"
                unread -= sum(map(len, lines)) + len(lines)
            if len(rest) > _LINE_BYTES_MAX:
                yield rest
                unread -= len(rest)
                rest = last = b""
        if parts:
            self._offset = max(parts[-1].begin, parts[-1].end - unread)
            self._last_line = last[max(0, len(last) - (self._offset - parts[-1].begin)) :]
        if not is_followed:
            yield rest

    def _new_lines(self) -> Sequence[bytes]:
        with _opened([self._path]) as parts:
            if not parts:
                self._offset, self._last_line = 0, b""
                return []
            content, end = self._unread(parts[-1])
        whole, newline, rest = content.rpartition(b"\n")
        if not newline:
            return []
        lines = whole.split(b"\n")
        self._offset, self._last_line = end - len(rest), lines[-1] + b"\n"
        return lines

    def _unread(self, present: "_Part") -> tuple[bytes, int]:
        """The bytes behind the last line, and the offset of their end in the present file."""
        last, written_ns = self._last_line, self._written_ns
        self._written_ns = present.written_ns
        at = self._offset - len(last)
        if present.begin <= at and os.pread(present.descriptor, len(last), at) == last:
            return os.pread(present.descriptor, present.end - self._offset, self._offset), present.end
        newer = os.pread(present.descriptor, present.end - present.begin, present.begin)
        if not last or last in newer:
            return newer[newer.rfind(last) + len(last) if last else 0 :], present.end
        with _opened(self._paths()[:-1]) as kept:
            for part in reversed(kept):
                content = os.pread(part.descriptor, part.end, 0)
                if last in content:
                    return content[content.rfind(last) + len(last) :] + newer, present.end
                if part.written_ns <= written_ns:
                    break
                newer = content + newer
        return newer, present.end

    def _note_end(self, present: "_Part") -> None:
        """Continue behind the last whole line of the present file."""
        begin = max(present.begin, present.end - _LINE_BYTES_MAX)
        whole, newline, rest = os.pread(present.descriptor, present.end - begin, begin).rpartition(b"\n")
        self._written_ns = present.written_ns
        self._offset = present.end - len(rest) if newline else present.begin
        self._last_line = whole.rpartition(b"\n")[2] + newline if newline else b""

    def _paths(self) -> Sequence[Path]:
        """The process's files, oldest first."""
        kept = [path for path in self._path.parent.glob(f"{self._path.name}.*") if path.suffix[1:].isdecimal()]
        return [*sorted(kept, key=lambda path: int(path.suffix[1:]), reverse=True), self._path]


class _Part(NamedTuple):
    """An open file, as it was when it was opened: where its content begins and ends, and when it was last written."""

    descriptor: int
    begin: int
    end: int
    written_ns: int


@contextlib.contextmanager
def _opened(paths: Sequence[Path]) -> Iterator[Sequence[_Part]]:
    """Those of the files that are there. The last one is opened first: a rotation meanwhile changes it."""
    with contextlib.ExitStack() as stack:
        parts: list[_Part] = []
        for path in reversed(paths):
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                status = os.fstat(descriptor)
                parts.insert(0, _Part(descriptor, data_begin(descriptor), status.st_size, status.st_mtime_ns))
        yield parts


def _block_begins(part: _Part) -> Sequence[int]:
    """Where blocks of this part begin, the last one first."""
    return range(part.begin, part.end, _BLOCK_BYTES)[::-1]


def _blocks(parts: Sequence[_Part]) -> Iterator[bytes | None]:
    """The contents of these files in order. Only the last one may change: None at the end when it was rotated before
    all of it was read.
    """
    if not parts:
        return
    *kept, present = parts
    at = anchor_at = present.begin
    anchor = os.pread(present.descriptor, min(_ANCHOR_BYTES, present.end - at), at)
    for part in kept:
        for begin in reversed(_block_begins(part)):
            yield os.pread(part.descriptor, min(_BLOCK_BYTES, part.end - begin), begin)
    while at < present.end:
        size = min(at + _BLOCK_BYTES, present.end) - anchor_at
        content = os.pread(present.descriptor, size, anchor_at)
        is_there = len(content) == size and content.startswith(anchor)
        if not is_there or os.pread(present.descriptor, len(anchor), anchor_at) != anchor:
            yield None
            return
        yield content[at - anchor_at :]
        at = anchor_at + size
        anchor = content[-_ANCHOR_BYTES:]
        anchor_at = at - len(anchor)


def _is_rotated(part: _Part) -> bool:
    return data_begin(part.descriptor) != part.begin or os.fstat(part.descriptor).st_size < part.end


def _lines_backwards(parts: Sequence[_Part]) -> Iterator[bytes]:
    """The lines of these files joined in order, without their ends, the last one first."""
    rest = b""
    for part in reversed(parts):
        at = part.end
        while at > part.begin:
            begin = max(part.begin, at - _BLOCK_BYTES)
            rest = os.pread(part.descriptor, at - begin, begin) + rest
            at = begin
            first, *lines = rest.split(b"\n")
            yield from reversed(lines)
            rest = first
            if len(rest) > _LINE_BYTES_MAX:
                yield rest
                rest = b""
    yield rest
