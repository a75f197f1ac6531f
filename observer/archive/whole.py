"""Whether a file of the lake is whole: it has the bytes that were sealed. Each reader of sealed rows asks here first.

A file is read for it once, when it is first asked for or when its inode, time or size changed. The result is kept in
this process and, in the record, for other processes of this user: a line for each file that was found whole, in
LAKE/_verified, or in the user's folder of caches where the lake is another user's or cannot be written. The record
proves nothing by itself: a line counts for a file that still has the stated inode, time and size, and for the digest
that the manifest states. So a line that is damaged, or lost, costs one reading.

What rots on the disk without a change of time or size is found when the line is old (`TRUSTED_S`), by the nightly
verification, or by `observer lake verify`, which read the file in any case.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from observer.archive.day import SealedDay, Version, lost_file, lost_text
from observer.base.clock import RealClock
from observer.base.errors import DamagedFileError, DataFileError
from observer.base.file_lock import FileLock
from observer.base.files import make_private_folder
from observer.base.units import NS_PER_S, S_PER_DAY

TRUSTED_S: Final = 35 * S_PER_DAY
"""Machine seconds for which a file that was read counts as whole: longer than the verification of a lake takes."""
_RECORD: Final = "_verified"
_SPARE_LINES: Final = 1_000  # that the record may have beside one a file before it is written anew


class _Line(msgspec.Struct, frozen=True, array_like=True):
    """A file that was whole: its name below the lake, its identity, the digest that it had, and when (UTC seconds)."""

    name: str
    inode: int
    mtime_ns: int
    size_bytes: int
    digest: str
    verified_s: int


class WholeFiles:
    """The files of a lake that are known to be whole. Any thread may ask; `whole_files` gives the lake's one object."""

    def __init__(self, lake: Path, now_ns: Callable[[], int] | None = None) -> None:
        self._lake = lake
        self._now_ns = now_ns or RealClock().now_ns
        self._known: dict[str, _Line] = {}
        self._lock = Lock()  # of a verification, and of the record
        self._read_bytes = 0  # of the record
        self._lines = 0

    def wrong(self, name: str, version: Version) -> str:
        """What is wrong with the file of this name below the lake, which should be this version; empty if it is whole.
        A file that is not known to be whole is read, one that is not whole each time.
        """
        if self._is_known(name, version):
            return ""
        with self._lock:
            self._read_record()
            return "" if self._is_known(name, version) else self._verified(name, version)

    def checked(self, files: Mapping[str, Version]) -> dict[str, int]:
        """When each of these files was last found whole (UTC seconds); 0 for one that never was, or changed since, and
        -1 for one that was found wrong.
        """
        with self._lock:
            self._read_record()
            return {name: self._checked_s(name, version) for name, version in files.items()}

    def known_wrong(self, files: Mapping[str, Version]) -> dict[str, str]:
        """What is wrong with those of these files that any process found wrong, and that are. Only they are read."""
        with self._lock:
            self._read_record()
            found = [name for name in files if (line := self._known.get(name)) and not line.inode]
        return {name: wrong for name in found if (wrong := self.wrong(name, files[name]))}

    def verify(self, name: str, version: Version) -> str:
        """As `wrong`, but the file is read in any case, and the result is what readers know from now on."""
        with self._lock:
            self._read_record()
            return self._verified(name, version)

    def _is_known(self, name: str, version: Version) -> bool:
        line = self._known.get(name)
        if line is None or self._now_s() - line.verified_s > TRUSTED_S:
            return False
        return self._is_as_stated(line, version)

    def _is_as_stated(self, line: _Line, version: Version) -> bool:
        try:
            found = (self._lake / line.name).stat()
        except OSError:
            return False
        return line == _line_of(line.name, found, version, line.verified_s)

    def _checked_s(self, name: str, version: Version) -> int:
        line = self._known.get(name)
        if line is None:
            return 0
        if not line.inode:
            return -1
        return line.verified_s if self._is_as_stated(line, version) else 0

    def _verified(self, name: str, version: Version) -> str:
        path = self._lake / name
        try:
            found = path.stat()  # before the reading: what changes meanwhile is read again
        except OSError as error:
            self._note_wrong(name)
            return "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        if wrong := wrong_bytes(path, version):
            if (before := self._known.get(name)) is not None and before.verified_s:
                with suppress(OSError):
                    os.utime(path)  # so each process that knows it as whole reads it again
            self._note_wrong(name)
            return wrong
        self._known[name] = line = _line_of(name, found, version, self._now_s())
        self._append(line)
        return ""

    def _note_wrong(self, name: str) -> None:
        """The nightly verification begins with a file that was found wrong: its line is of no inode."""
        if (line := self._known.get(name)) is None or line.inode:
            self._known[name] = line = _Line(name, 0, 0, 0, "", 0)
            self._append(line)

    def _now_s(self) -> int:
        return self._now_ns() // NS_PER_S

    # --- the record: where the disk refuses it, the next process reads the files again ------------------------

    def _append(self, line: _Line) -> None:
        with suppress(OSError, RuntimeError), closing(self._opened()) as lock, lock.held():
            os.lseek(lock.descriptor, 0, os.SEEK_END)
            os.write(lock.descriptor, b"\n" + msgspec.json.encode(line) + b"\n")  # apart from what a kill cut off

    def _read_record(self) -> None:
        """Take over the lines that were added since; write the record anew where most of it is outdated."""
        with suppress(OSError, RuntimeError), closing(self._opened()) as lock, lock.held():
            if (size_bytes := os.fstat(lock.descriptor).st_size) < self._read_bytes:  # it was written anew
                self._read_bytes = self._lines = 0
            content = os.pread(lock.descriptor, size_bytes - self._read_bytes, self._read_bytes)
            self._read_bytes = size_bytes
            for text in content.split(b"\n"):
                with suppress(ValueError, RecursionError):
                    line = msgspec.json.decode(text, type=_Line)
                    self._known[line.name] = line
                self._lines += bool(text)
            if self._lines > 2 * len(self._known) + _SPARE_LINES:
                os.ftruncate(lock.descriptor, 0)
                lines = [msgspec.json.encode(line) + b"\n" for line in self._known.values()]
                self._lines, self._read_bytes = len(lines), os.pwrite(lock.descriptor, b"".join(lines), 0)

    def _opened(self) -> FileLock:
        """The record, this user's own: beside the lake, else among the user's caches. Raises OSError without one."""
        if self._lake.stat().st_uid == os.geteuid():
            with suppress(OSError):
                return _own(self._lake / _RECORD)
        make_private_folder(folder := cache_folder())
        return _own(folder / hashlib.sha256(bytes(self._lake.resolve())).hexdigest())


def _own(path: Path) -> FileLock:
    lock = FileLock(path)
    if os.fstat(lock.descriptor).st_uid != os.geteuid():
        lock.close()
        raise PermissionError(errno.EPERM, "it is another user's", str(path))
    return lock


@cache
def whole_files(lake: Path) -> WholeFiles:
    """What this process knows of the files of a lake."""
    return WholeFiles(lake)


def require_whole(lake: Path, day: SealedDay, kind: str, version: Version) -> None:
    """Return if the version's file is whole. Raises DamagedFileError."""
    if wrong := whole_files(lake).wrong(name := day.name_of(kind, version), version):
        raise DamagedFileError(lost_text(str(lake / name), kind, day.session_date, wrong))


def lost_or_damaged(lake: Path, day: SealedDay, kind: str, version: Version) -> str:
    """As `lost_file`; also of a file that is known to be damaged."""
    found = whole_files(lake).known_wrong({day.name_of(kind, version): version})
    known = [lost_text(str(lake / name), kind, day.session_date, wrong) for name, wrong in found.items()]
    return lost_file(lake, day, kind, version) or "".join(known)


def cache_folder() -> Path:
    """The user's folder for what can be made again of lakes; it may be absent. RuntimeError: no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "observer" / "lakes"


def wrong_bytes(path: Path, version: Version) -> str:
    """What is wrong with a file that should be this version; empty if it is whole. It is read once from its beginning
    to its end; of a version of an earlier Observer, which states no digest of the file, the rows are read.
    """
    try:
        if (size_bytes := path.stat().st_size) != version.size_bytes:
            return f"is damaged (it has {size_bytes:,} bytes, its manifest states {version.size_bytes:,})"
        if version.file_sha256:
            is_whole = file_sha256(path) == version.file_sha256
            return "" if is_whole else "is damaged (it has other bytes than were sealed)"
        from observer.archive.parquet import digest_of_file, wrong_footer  # they load pyarrow

        found = digest_of_file(path)
        if found != (version.rows, version.digest):
            return f"is damaged (other rows than were sealed: {found[0]:,}, of {version.rows:,})"
        return wrong_footer(path)
    except OSError as error:
        return "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    except DataFileError as error:
        return f"is damaged ({str(error).removeprefix(f'{path}: ')})"


def file_sha256(path: Path) -> str:
    """The digest of a file's bytes, as `sha256sum` prints it. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line_of(name: str, found: os.stat_result, version: Version, verified_s: int) -> _Line:
    digest = version.file_sha256 or version.digest
    return _Line(name, found.st_ino, found.st_mtime_ns, found.st_size, digest, verified_s)
