"""Where copies of sealed days go: a folder, as beside the packages, or an object store. It knows nothing of days.

Names are those of the lake's files below its folder. Each object appears in one step, whole, or not at all.
"""

import contextlib
import filecmp
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from observer.archive.day import DAYS
from observer.base.errors import StoppedError
from observer.base.files import PRIVATE_FILE, make_private_folder, replace_file, sync_path, to_disk

PIECE_BYTES: Final = 4 * 1024 * 1024
"""Read and written at a time; a request to stop is noticed between two."""
_EARLIER_DAYS: Final = "_copied"
_NEVER: Final = threading.Event()


class Target(Protocol):
    """A place of copies. Every method raises TargetError (an object store) or OSError (a folder) if it fails.

    `url` names it in texts. `has_glob`: engines read it, so that it has the newest version of each kind under the
    name that a glob finds, too.
    """

    url: str
    has_glob: bool

    def names(self, folder: str) -> Sequence[str]:
        """The names of all objects in a folder and those below it."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content of a small object; None where there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, in the place of another one."""
        ...

    def put(self, path: Path, name: str, stop: threading.Event) -> None:
        """Write a file's content as an object, in the place of another one. Read it again before anything names it.

        Raises:
            OSError: the file cannot be opened.
            StoppedError: `stop` was set.
        """
        ...

    def has(self, path: Path, name: str, stop: threading.Event) -> bool:
        """Whether an object is there and has exactly a file's content; it is read whole.

        Raises:
            OSError: the file cannot be read.
            StoppedError: `stop` was set.
        """
        ...

    def copy(self, name: str, copied: str) -> None:
        """Copy an object within the target in one step, in the place of another one."""
        ...


def pieces_of(path: Path) -> Iterator[bytes]:
    """The content of a file. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def is_content(found: Iterator[bytes], path: Path, stop: threading.Event) -> bool:
    """Whether pieces are the content of a file.

    Raises:
        OSError: the file cannot be read.
        StoppedError: `stop` was set.
    """
    with path.open("rb") as file:
        for piece in found:
            go_on(stop)
            if piece != file.read(len(piece)):
                return False
        return not file.read(1)


def go_on(stop: threading.Event) -> None:
    """Return, or raise StoppedError when `stop` is set."""
    if stop.is_set():
        raise StoppedError("the work on copies was interrupted")


class _EarlierDay(msgspec.Struct):
    day: msgspec.Raw


class _EarlierNote(msgspec.Struct):
    copied: _EarlierDay


class FolderTarget:
    """A folder. A file in it has bytes of its own: a link, or a reflink, would be damaged with the lake's."""

    has_glob = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)

    def names(self, folder: str) -> Sequence[str]:
        found = {path.relative_to(self.folder).as_posix() for path in (self.folder / folder).glob("**/*.json")}
        if folder == DAYS:  # an earlier Observer's copy has its manifests inside other files
            earlier = (self.folder / _EARLIER_DAYS).glob("*/*.json")
            found |= {f"{DAYS}/{path.relative_to(self.folder / _EARLIER_DAYS).as_posix()}" for path in earlier}
        return sorted(found)

    def read(self, name: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / name).read_bytes()
        with contextlib.suppress(FileNotFoundError):
            content = (self.folder / name.replace(DAYS, _EARLIER_DAYS, 1)).read_bytes()
            with contextlib.suppress(msgspec.DecodeError):  # a damaged one is no manifest either
                return bytes(msgspec.json.decode(content, type=_EarlierNote).copied.day)
            return content
        return None

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        make_private_folder(path.parent)
        replace_file(path, content)
        sync_path(path.parent)

    def put(self, path: Path, name: str, stop: threading.Event) -> None:
        make_private_folder((self.folder / name).parent)
        bring(path, self.folder / name, stop, is_apart=True)

    def has(self, path: Path, name: str, stop: threading.Event) -> bool:
        own = self.folder / name
        if not own.exists():
            return False
        return not own.samefile(path) and is_content(pieces_of(own), path, stop)

    def copy(self, name: str, copied: str) -> None:
        self.put(self.folder / name, copied, _NEVER)


def put_in_place(source: Path, target: Path) -> bool:
    """As `bring`, unless the target is this version already; return whether it was another file."""
    if is_same(source, target):
        return False
    bring(source, target)
    return True


def is_same(source: Path, target: Path, *, by_content: bool = False) -> bool:
    """Whether the target is this version: the same file, or a copy of it by size and time, with `by_content` also by
    its bytes.
    """
    own = source.stat()
    try:
        there = target.stat()
    except FileNotFoundError:
        return False
    if os.path.samestat(own, there):
        return True
    is_alike = (own.st_size, own.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
    return is_alike and (not by_content or filecmp.cmp(source, target, shallow=False))


def bring(source: Path, target: Path, stop: threading.Event = _NEVER, *, is_apart: bool = False) -> None:
    """Make the target a link to the source in one step, or a copy with its times where there are no links. Makes its
    folder. With `is_apart` it is a copy with bytes and times of its own, also where it was a link to the source: what
    follows from an earlier file of this name sees another one.

    Raises:
        OSError: the folder cannot be written, or the source is gone.
        StoppedError: `stop` was set.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = staged_beside(target)
    staged.unlink(missing_ok=True)  # of a process that was killed
    if is_apart:
        _copy(source, staged, stop, shutil.copymode)
    elif target.exists() and target.samefile(source):  # a name that replaces another one of its own file stays
        return
    else:
        try:
            os.link(source, staged)
        except OSError:  # another file system, one without links, or one that forbids them
            _copy(source, staged, stop, shutil.copystat)
    staged.replace(target)
    sync_path(target.parent)


def _copy(source: Path, target: Path, stop: threading.Event, adopt: Callable[[Path, Path], None]) -> None:
    copy_file(source, target, stop)
    with contextlib.suppress(OSError):  # a file system may have no modes
        adopt(source, target)


def staged_beside(target: Path) -> Path:
    """Where a file is until it takes the name of the target: no glob finds it."""
    return target.with_name(f".{target.name}.part")


def copy_file(source: Path, target: Path, stop: threading.Event) -> tuple[int, str]:
    """Write a file's content to the disk as a new file of its owner alone; return its bytes and its SHA-256. The bytes
    are written anew: `copy_file_range` and FICLONE would share the source's on some file systems.

    Raises:
        OSError: the file cannot be read or written.
        StoppedError: `stop` was set.
    """
    digest, size_bytes = hashlib.sha256(), 0
    with source.open("rb") as reading:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, PRIVATE_FILE), "wb") as writing:
            to_disk(writing)  # of an empty file, too
            while piece := reading.read(PIECE_BYTES):
                go_on(stop)
                digest.update(piece)
                size_bytes += writing.write(piece)
                to_disk(writing)  # each piece: a commit would wait until all of a large file is there
    return size_bytes, digest.hexdigest()
