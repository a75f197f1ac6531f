"""The journals of a raw capture in their folder, for whoever reads them: while they grow, or afterwards."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bus.journal import JournalError, JournalReader
from observer.errors import DataFileError
from observer.providers.raw import SUFFIX, RawLabel, RawRecord, decode, read_label


class RawTotals(msgspec.Struct, frozen=True):
    """What is in the folder so far. `bodies` are requests and answers alike."""

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
        """How much of the file was read."""
        return self._reader.offset

    @property
    def torn_bytes(self) -> int:
        """What is behind what was read: after the last record a torn tail."""
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

    def look(self) -> RawTotals:
        """Find what came since the last look; a file that is still empty waits for the next one.

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
