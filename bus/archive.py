"""An outbox's archive: acknowledged segments, kept until backups of the database hold their events.

A database can be lost or put back to an earlier state. The producer then delivers the events behind the database's mark
again from here. One folder below the outbox, used by the process that holds the outbox:

    <stream>-<first>-<last>.journal        a segment, with the numbers of its first and last event
    <stream>-<first>-<last>.journal.zst    the same, compressed

A segment leaves the archive when two verified backups hold its events (`trim`), or when the archive exceeds its limits
(`shrink`): the oldest first, and the caller reports it.
"""

import math
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from bus.codec import SEQUENCE_MAX
from bus.files import write_whole
from bus.journal import JournalReader

_SUFFIX: Final = ".journal"
_COMPRESSED: Final = ".journal.zst"
_NAME: Final = re.compile(r"(?P<stream>[0-9a-f]{32})-(?P<first>[0-9]{20})-(?P<last>[0-9]{20})\.journal(\.zst)?")
_LEVEL: Final = 3  # 200 MB/s and more; trades shrink to a fifth
# Each part is a frame of its own and has whole records, so that a flipped bit costs the events of one part: some 150
# trades. With parts of 256 KiB an archive is an eighth smaller. A dictionary saves a fortieth, and a flipped bit in it
# costs all parts.
_PART_BYTES: Final = 16 * 1024
# An outbox begins another segment after 8 MiB, and a batch has at most 8 MiB. What unpacks to more is damaged.
_SEGMENT_BYTES_MAX: Final = 32 * 1024 * 1024
_PORTION_BYTES: Final = 256  # packed bytes that are unpacked at once: they become 8 MiB at most
_FRAME_BEGINNING: Final = b"\x28\xb5\x2f\xfd"


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The size and the age of an archive, in bytes and machine seconds; without limits by default."""

    bytes_max: int = sys.maxsize
    age_s_max: float = math.inf


class ArchivedSegment(msgspec.Struct, frozen=True):
    """A file of the archive, and the numbers of its first and last event."""

    path: Path
    stream: str
    first_sequence: int
    last_sequence: int
    damaged: Path | None = None
    """Where the compressed file is kept for a person, if not all of it could be decompressed."""


class Archive:
    """The acknowledged segments of one outbox. `compress_next` may run in another thread than the rest."""

    def __init__(self, directory: Path, limits: ArchiveLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._lock = threading.Lock()  # a segment is not taken back while it is being compressed

    def segments(self) -> Sequence[ArchivedSegment]:
        """The segments by stream and number. Files with other names are left alone."""
        found = [segment for path in self._directory.glob(f"*{_SUFFIX}*") if (segment := _segment_of(path))]
        # A kill can leave a segment and its compressed form: the plain one comes first.
        return sorted(found, key=lambda each: (each.stream, each.first_sequence, each.path.suffix == ".zst"))

    def add(self, path: Path, stream: str, first_sequence: int, last_sequence: int) -> None:
        """Move a segment into the archive.

        Raises:
            OSError: the disk refused; the segment is where it was.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path.rename(self._directory / f"{stream}-{first_sequence:020d}-{last_sequence:020d}{_SUFFIX}")

    def last_sequences(self) -> Mapping[str, int]:
        return {segment.stream: segment.last_sequence for segment in self.segments()}

    def first_behind(self, stream: str, sequence: int) -> int | None:
        """The first number of the stream's next segment behind this number."""
        following = (each.first_sequence for each in self.segments() if each.stream == stream)
        return min((first for first in following if first > sequence), default=None)

    def take_back(self, stream: str, sequence: int, directory: Path) -> ArchivedSegment | None:
        """Move the segment with this number to the directory, decompressed, as `<stream>-<first>.journal`. Returns the
        segment with its new path; None if the archive lacks it. A damaged compressed segment is kept in `damaged/`.

        Raises:
            OSError: the disk refused; the segment is still in the archive.
        """
        with self._lock:
            for segment in self.segments():
                if segment.stream == stream and segment.first_sequence <= sequence <= segment.last_sequence:
                    return _moved(segment, directory)
        return None

    def trim(self, backed_up: Mapping[str, int]) -> None:
        """Delete the segments whose events two verified backups hold: up to these numbers, by stream."""
        with self._lock:
            for segment in self.segments():
                if segment.last_sequence <= backed_up.get(segment.stream, 0):
                    segment.path.unlink(missing_ok=True)

    def shrink(self, now_s: float) -> int:
        """Delete segments beyond the limits, the oldest first; return their number.

        Args:
            now_s: machine time since the epoch, as the files' times.
        """
        with self._lock:
            by_age = sorted((segment.path.stat().st_mtime, segment.path) for segment in self.segments())
            sizes = {path: path.stat().st_size for _, path in by_age}
            total_bytes, deleted = sum(sizes.values()), 0
            for modified_s, path in by_age:
                if total_bytes <= self._limits.bytes_max and now_s - modified_s <= self._limits.age_s_max:
                    break
                total_bytes -= sizes[path]
                path.unlink(missing_ok=True)
                deleted += 1
            return deleted

    def compress_next(self) -> bool:
        """Compress one segment; False when none is left to compress.

        Raises:
            OSError: the disk refused; the segment is as it was.
        """
        with self._lock:
            for path in self._directory.glob(f"*{_SUFFIX}"):
                if _segment_of(path):
                    _compress(path)
                    return True
        return False


def damaged_segments(directory: Path) -> Sequence[ArchivedSegment]:
    """The compressed segments of an archive that are not whole; all are read. Also while the archive is in use."""
    found = []
    for segment in Archive(directory, ArchiveLimits()).segments():
        if segment.path.name.endswith(_COMPRESSED):
            with suppress(FileNotFoundError):  # taken back or trimmed meanwhile
                if not _decompressed(segment.path.read_bytes())[1]:
                    found.append(segment)
    return found


def _segment_of(path: Path) -> ArchivedSegment | None:
    found = _NAME.fullmatch(path.name)
    if found is None or not 1 <= int(found["first"]) <= int(found["last"]) <= SEQUENCE_MAX:
        return None
    return ArchivedSegment(path, found["stream"], int(found["first"]), int(found["last"]))


def _moved(segment: ArchivedSegment, directory: Path) -> ArchivedSegment:
    destination = directory / f"{segment.stream}-{segment.first_sequence:020d}{_SUFFIX}"
    if not segment.path.name.endswith(_COMPRESSED):
        segment.path.rename(destination)
        return msgspec.structs.replace(segment, path=destination)
    content, is_whole = _decompressed(segment.path.read_bytes())
    write_whole(destination, content)
    if is_whole:
        segment.path.unlink()
        return msgspec.structs.replace(segment, path=destination)
    kept = directory / "damaged" / segment.path.name
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    segment.path.rename(kept)
    return msgspec.structs.replace(segment, path=destination, damaged=kept)


def _compress(path: Path) -> None:
    """Replace the file by its compressed form and keep its modification time. A kill leaves one of the two files, or
    both.
    """
    modified = path.stat()
    compressed = path.with_name(f"{path.name}.zst")
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    content = memoryview(path.read_bytes())
    ends = [*_ends_of_parts(path), len(content)]
    parts = (content[begin:end] for begin, end in pairwise([0, *ends]) if begin < end)
    write_whole(compressed, b"".join(compressor.compress(part) for part in parts))
    os.utime(compressed, ns=(modified.st_atime_ns, modified.st_mtime_ns))
    path.unlink()


def _ends_of_parts(path: Path) -> Iterator[int]:
    """Where the parts of a segment end: each behind a record, before the first that does not fit any more. What follows
    damage is one part.
    """
    with closing(JournalReader(path, damaged=True)) as reader:
        begin, end = 0, reader.offset
        for record in reader:
            if record.end_offset - begin > _PART_BYTES:
                yield end
                begin = end
            end = record.end_offset
        yield end


def _decompressed(content: bytes) -> tuple[bytes, bool]:
    """Return the whole parts, and whether every part is whole. Damaged parts are left out; their missing numbers show
    in the records around them.
    """
    parts, begin, is_whole, room_bytes = [], 0, True, _SEGMENT_BYTES_MAX
    while begin >= 0:
        part, end = _part_at(content, begin, room_bytes)
        if part is not None:
            parts.append(part)
            room_bytes -= len(part)
            begin = end if end < len(content) else -1
        else:  # damaged; a flipped bit can make a frame seem longer than the file
            begin, is_whole = content.find(_FRAME_BEGINNING, begin + 1), False
    return b"".join(parts), is_whole


def _part_at(content: bytes, begin: int, bytes_max: int) -> tuple[bytes | None, int]:
    """Return the part whose frame begins at `begin`, and the offset where the frame ends. None: the part is damaged, or
    larger than `bytes_max`.
    """
    frame, portions, size_bytes, end = zstandard.ZstdDecompressor().decompressobj(), list[bytes](), 0, begin
    while not frame.eof and end < len(content) and size_bytes <= bytes_max:
        try:
            portions.append(frame.decompress(content[end : end + _PORTION_BYTES]))
        except zstandard.ZstdError:
            return None, end
        size_bytes += len(portions[-1])
        end = min(end + _PORTION_BYTES, len(content))
    whole = frame.eof and size_bytes <= bytes_max
    return (b"".join(portions) if whole else None), end - len(frame.unused_data)
