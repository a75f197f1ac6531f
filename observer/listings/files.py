"""The master files on our disk: the version in force, its dated backups, and the versions that wait for a person.

Every step is one atomic replacement, and no file is ever written in place: whatever is killed at whatever moment, each
exchange has the version before or the one after, and the one before is among the backups. What is not whole is
told by its digest, and then counts as absent.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from observer.clock import kst_datetime
from observer.errors import DataFileError
from observer.providers.interfaces import FileStamp

FOLDER: Final = "master"  # in the folder of data
_SUFFIX: Final = ".bak"
NO_STAMP: Final = FileStamp(None, "", "")  # of a version that came from a backup: no host's is like it
Noted = TypeVar("Noted", bound=msgspec.Struct)


class LocalCopy(msgspec.Struct, frozen=True):
    """What we know of the master file on our disk: the server's stamp of it, its digest, when it came and when it was
    checked.
    """

    stamp: FileStamp
    downloaded_ns: int
    checked_ns: int
    sha256: str = ""


class Held(msgspec.Struct, frozen=True):
    """A version that waits for a person: the run that found it, and what there is to know of it."""

    run: str
    reason: str
    held_ns: int
    copy: LocalCopy


class LocalFiles:
    """The master files in one folder (`<data>/master`), which is made if it is not there."""

    def __init__(self, folder: Path, backups_kept: int) -> None:
        self._folder = folder
        self._backups = folder / "backups"
        self._held = folder / "held"
        self._kept = backups_kept
        for each in (folder, self._backups, self._held):
            each.mkdir(parents=True, exist_ok=True)

    def path(self, exchange: str) -> Path:
        """Where the version in force is."""
        return self._folder / f"{exchange.lower()}.mst"

    def incoming(self, exchange: str) -> Path:
        """Where a download belongs until it is judged."""
        return self._folder / f".{exchange.lower()}.{os.getpid()}.incoming"

    def copy(self, exchange: str) -> LocalCopy | None:
        """What is known of the version in force; None when there is none, or it is not what the note says."""
        note = _read(self._note(exchange), LocalCopy)
        return note if note is not None and _digest(self.path(exchange)) == note.sha256 else None

    def keep(self, exchange: str, version: Path, copy: LocalCopy) -> None:
        """Put this version, which is moved, in force; the one before becomes a backup."""
        path = self.path(exchange)
        if _digest(path) not in ("", copy.sha256):
            self._back_up(exchange, copy.checked_ns)
        version.replace(path)
        self.note(exchange, copy)

    def note(self, exchange: str, copy: LocalCopy) -> None:
        """Remember this of the version in force."""
        _write(self._note(exchange), msgspec.json.encode(copy))

    def backups(self, exchange: str) -> Sequence[Path]:
        """The backups, newest first; each is named for when another version took its place."""
        return sorted(self._backups.glob(f"{self.path(exchange).name}.*{_SUFFIX}"), reverse=True)

    def put_back(self, exchange: str, content: bytes, now_ns: int) -> None:
        """Make this content the version in force, unchecked: the next check will look at the host's."""
        _write(self.path(exchange), content)
        self.note(exchange, LocalCopy(NO_STAMP, now_ns, 0, hashlib.sha256(content).hexdigest()))

    def hold(self, exchange: str, version: Path, held: Held) -> None:
        """Keep this version, which is moved, for a person to approve, in place of one that waited before."""
        version.replace(self._held / f"{exchange.lower()}.mst")
        _write(self._held / f"{exchange.lower()}.json", msgspec.json.encode(held))

    def held(self, exchange: str) -> Held | None:
        """The version that waits, if there is one and it is whole."""
        found = _read(self._held / f"{exchange.lower()}.json", Held)
        return found if found is not None and _digest(self.held_path(exchange)) == found.copy.sha256 else None

    def held_path(self, exchange: str) -> Path:
        """Where the version that waits is."""
        return self._held / f"{exchange.lower()}.mst"

    def release(self, exchange: str) -> None:
        """Nothing waits any more."""
        (self._held / f"{exchange.lower()}.json").unlink(missing_ok=True)
        self.held_path(exchange).unlink(missing_ok=True)

    def tidy(self, exchange: str) -> None:
        """Remove what killed processes left half done; each such name ends with the process that made it."""
        name = exchange.lower()
        for pattern in (f".{name}.*.incoming", f".{name}.*.part", f"..{name}.*.part", f"held/.{name}.*.part"):
            for left in self._folder.glob(pattern):
                process = left.name.split(".")[-2]
                if process == str(os.getpid()) or not Path("/proc", process).exists():
                    left.unlink(missing_ok=True)

    def _note(self, exchange: str) -> Path:
        return self.path(exchange).with_suffix(".json")

    def _back_up(self, exchange: str, now_ns: int) -> None:
        """A second name for the version in force, which only ever is replaced, so that this stays as it is."""
        path = self.path(exchange)
        moment = kst_datetime(now_ns).strftime("%Y%m%d_%H%M%S_%f")
        backup = self._backups / f"{path.name}.{moment}{_SUFFIX}"
        if not backup.exists():
            backup.hardlink_to(path)
        for old in self.backups(exchange)[self._kept :]:
            old.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    """Of a file's content; empty when there is no file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _read(path: Path, kind: type[Noted]) -> Noted | None:
    """A note; one that cannot be read is none, as after a change of its form."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all.

    Raises:
        DataFileError: the disk does not take it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataFileError(f"cannot write {path}: {error.strerror}") from error
