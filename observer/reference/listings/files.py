"""The master files on the local disk: the version in force, its dated backups, and the versions pending approval.

Every step is one atomic replacement, and no file is written in place. After a kill at any moment each exchange has the
previous version or the new one, and the previous one is among the backups. A file with a wrong digest is incomplete and
counts as absent.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from observer.base.errors import DataFileError
from observer.base.files import read_file, replace_file
from observer.base.local_time import local_datetime
from observer.base.state_file import StateFile
from observer.base.units import NS_PER_US
from observer.brokers.bodies import MASTER_FILE_BYTES_MAX
from observer.brokers.broker import FileStamp
from observer.reference.listings.diff import UNKNOWN_STAMP
from observer.reference.listings.intake import unreadable
from observer.reference.listings.model import Listing, UnreadableLine

FOLDER: Final = "master"  # in the folder of data
_SUFFIX: Final = ".bak"
_ZIP: Final = b"PK"


class LocalCopy(msgspec.Struct, frozen=True):
    """The local master file's metadata: the server's stamp, the digest, the times of download and last check."""

    stamp: FileStamp
    downloaded_ns: int
    checked_ns: int
    sha256: str = ""


class PendingApproval(msgspec.Struct, frozen=True):
    """A version pending approval: the run that found it, and its metadata."""

    run: str
    reason: str
    held_ns: int
    copy: LocalCopy


class LocalFiles:
    """The master files in one folder (`<data>/master`), which is created if missing."""

    def __init__(self, folder: Path, backups_kept: int) -> None:
        self._folder = folder
        self._backups = folder / "backups"
        self._pending = folder / "pending"
        self._kept = backups_kept
        for each in (folder, self._backups, self._pending):
            each.mkdir(parents=True, exist_ok=True)

    def size_bytes(self, exchange: str) -> int | None:
        """The size of the version in force; None without one."""
        path = self.path(exchange)
        return path.stat().st_size if path.exists() else None

    def path(self, exchange: str) -> Path:
        """The path of the version in force."""
        return self._folder / f"{exchange.lower()}.mst"

    def incoming(self, exchange: str) -> Path:
        """The path for a download until it is judged."""
        return self._folder / f".{exchange.lower()}.{os.getpid()}.incoming"

    def copy(self, exchange: str) -> LocalCopy | None:
        """The metadata of the version in force; None when it is missing or differs from its metadata."""
        note = self._note(exchange).read()
        return note if note is not None and _digest(self.path(exchange)) == note.sha256 else None

    def keep(self, exchange: str, version: Path, copy: LocalCopy) -> None:
        """Move this version into force; the previous one becomes a backup."""
        path = self.path(exchange)
        if _digest(path) not in ("", copy.sha256):
            self._back_up(exchange, copy.checked_ns)
        version.replace(path)
        self.note(exchange, copy)

    def note(self, exchange: str, copy: LocalCopy) -> None:
        """Store the metadata of the version in force."""
        with _refused(self.path(exchange)):
            self._note(exchange).write(copy)

    def backups(self, exchange: str) -> Sequence[Path]:
        """The backups, newest first; each is named by the time of its replacement."""
        return sorted(self._backups.glob(f"{self.path(exchange).name}.*{_SUFFIX}"), reverse=True)

    def put_back(self, exchange: str, content: bytes, now_ns: int) -> None:
        """Put this content in force, unchecked: the next check compares with the host's file."""
        with _refused(self.path(exchange)):
            replace_file(self.path(exchange), content)
        self.note(exchange, LocalCopy(UNKNOWN_STAMP, now_ns, 0, hashlib.sha256(content).hexdigest()))

    def hold(self, exchange: str, version: Path, pending: PendingApproval) -> None:
        """Move this version to pending approval, in place of an earlier one."""
        version.replace(self.pending_path(exchange))
        with _refused(self.pending_path(exchange)):
            self._pending_note(exchange).write(pending)

    def pending(self, exchange: str) -> PendingApproval | None:
        """The version pending approval; None when it is missing or incomplete."""
        found = self._pending_note(exchange).read()
        return found if found is not None and _digest(self.pending_path(exchange)) == found.copy.sha256 else None

    def pending_path(self, exchange: str) -> Path:
        """The path of the version pending approval."""
        return self._pending / f"{exchange.lower()}.mst"

    def release(self, exchange: str) -> None:
        """Clear the pending approval."""
        self._pending_note(exchange).path.unlink(missing_ok=True)
        self.pending_path(exchange).unlink(missing_ok=True)

    def tidy(self, exchange: str) -> None:
        """Remove incomplete files of killed processes; the file names contain the process id."""
        name = exchange.lower()
        found = [path for end in ("incoming", "part") for path in self._folder.glob(f".{name}.*.{end}")]
        found += [*self._folder.glob(f"..{name}.*.part"), *self._pending.glob(f".{name}.*.part")]
        for left in found:
            process = left.name.split(".")[-2]
            if process == str(os.getpid()) or not Path("/proc", process).exists():
                left.unlink(missing_ok=True)

    def _note(self, exchange: str) -> StateFile[LocalCopy]:
        return StateFile(self.path(exchange).with_suffix(".json"), LocalCopy)

    def _pending_note(self, exchange: str) -> StateFile[PendingApproval]:
        return StateFile(self.pending_path(exchange).with_suffix(".json"), PendingApproval)

    def _back_up(self, exchange: str, now_ns: int) -> None:
        """Hard-link the version in force, which is only ever replaced, so that the backup keeps its content.

        Another version's backup of the same microsecond stays: this one takes the next free microsecond.
        """
        path = self.path(exchange)
        while (backup := self._backup_path(exchange, now_ns)).exists() and not backup.samefile(path):
            now_ns += NS_PER_US
        if not backup.exists():  # a process that was killed before the replacement may have made it
            backup.hardlink_to(path)
        for old in self.backups(exchange)[self._kept :]:
            old.unlink(missing_ok=True)

    def _backup_path(self, exchange: str, now_ns: int) -> Path:
        moment = local_datetime(now_ns).strftime("%Y%m%d_%H%M%S_%f")
        return self._backups / f"{self.path(exchange).name}.{moment}{_SUFFIX}"


def listings_in(
    path: Path, exchange: str, parse: Callable[[str, bytes], tuple[Sequence[Listing], Sequence[UnreadableLine]]]
) -> Sequence[Listing]:
    """The listings in an unpacked master file of that exchange.

    Raises:
        DataFileError: it is a zip archive, or no master file of the exchange.
        OSError: it cannot be read.
    """
    content = read_file(path, MASTER_FILE_BYTES_MAX)
    if content.startswith(_ZIP):
        raise DataFileError(f"{path} is a zip archive: unpack it and give the file in it")
    listings, bad_lines = parse(exchange, content)
    if reason := unreadable(listings, bad_lines):
        raise DataFileError(f"{path} is no master file of {exchange}: {reason}")
    return listings


def _digest(path: Path) -> str:
    """The digest of a file's content; empty without a file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Raises DataFileError where the disk refuses the file or its note."""
    try:
        yield
    except OSError as error:
        raise DataFileError(f"cannot write {path}: {error.strerror}") from error
