"""A capture: a journal of the batch feed that can report its missing events.

A record is a committed batch as its producer sent it, so stream and number of every event are kept, and the order is
that of the commits. The label is "capture <id> <kinds>": an id of its own, under which a replay is delivered, and the
kinds of events that were wanted, or `*` for all.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

from bus.batch_feed import Began
from bus.codec import Batch, join, kind_in, repack, split
from bus.coverage import Coverage
from bus.journal import JournalError, JournalWriter
from bus.outbox_notes import is_stream

ALL_KINDS: Final = "*"


class CaptureLabel(msgspec.Struct, frozen=True):
    """The content of a capture's label; `kinds` is None for all."""

    capture_id: str
    kinds: AbstractSet[str] | None

    def __str__(self) -> str:
        """As it stands in the file."""
        return f"capture {self.capture_id} {ALL_KINDS if self.kinds is None else ','.join(sorted(self.kinds))}"


def read_label(label: str) -> CaptureLabel:
    """The label of a capture's journal.

    Raises:
        JournalError: the journal is something else.
    """
    match label.split(" "):
        case ["capture", capture_id, kinds] if is_stream(capture_id):
            return CaptureLabel(capture_id, None if kinds == ALL_KINDS else frozenset(kinds.split(",")))
    raise JournalError(f"not a capture: its label is {label[:200]!r}")


class Capture:
    """Records the batch feed, from its first `Began` on.

    Args:
        path: the new journal.
        label: its label.
        marks: how far each stream was committed before the batch feed was connected to.

    Raises:
        OSError: the file exists already, or cannot be written; from `take` too, and then nothing more is recorded.
    """

    def __init__(self, path: Path, label: CaptureLabel, marks: Mapping[str, int]) -> None:
        self._journal = JournalWriter(path, str(label))
        self._kinds = label.kinds
        self._marks_before = dict(marks)
        self._coverage: Coverage | None = None
        self.events = 0

    @property
    def has_begun(self) -> bool:
        """Whether a writer was found."""
        return self._coverage is not None

    @property
    def size_bytes(self) -> int:
        return self._journal.size_bytes

    def take(self, message: Began | Batch) -> None:
        """Record the new and wanted part of a batch. The first `Began` sets the start of the capture; later ones come
        from restarted writers and change nothing.
        """
        if isinstance(message, Began):
            if self._coverage is None:
                self._coverage = Coverage({**self._marks_before, **message.marks})
            return
        assert self._coverage is not None, "the batch feed says where it begins before it brings anything"
        known = self._coverage.add(message.stream, message.first_sequence, message.count)
        for part in _wanted(message, known, self._kinds):
            self._journal.append(repack(part, part.stream, part.first_sequence))
            self.events += part.count

    def reaches(self, marks: Mapping[str, int]) -> bool:
        """Whether everything up to these marks was received. True without a writer and without committed events."""
        return self._so_far().reaches(marks)

    def missing(self, marks: Mapping[str, int]) -> dict[str, int]:
        """By stream, the number of events that were committed between the begin of the capture and these marks and that
        the capture lacks.
        """
        return self._so_far().missing(marks)

    def _so_far(self) -> Coverage:
        return self._coverage or Coverage(self._marks_before)

    def close(self) -> None:
        """Bring the journal to the disk and close it."""
        self._journal.sync()
        self._journal.close()


def _wanted(batch: Batch, known: int, kinds: AbstractSet[str] | None) -> Iterator[Batch]:
    """Yield the new events of the wanted kinds, adjacent events together. An unreadable event may be of a wanted kind,
    so it is recorded.
    """
    if known == batch.count:
        return
    contents = split(batch) if known or kinds is not None else None
    if contents is None:
        yield batch
        return
    part: list[bytes] = []
    for sequence, content in enumerate(contents[known:], batch.first_sequence + known):
        if kinds is None or kind_in(content) in kinds | {None}:
            part.append(content)
        elif part:
            yield join(batch, part, sequence - len(part))
            part = []
    if part:
        yield join(batch, part, batch.last_sequence + 1 - len(part))
