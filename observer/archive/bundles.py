"""The ledgers in a package: those of a month are one file, a bundle, `ledgers/202611.tar`.

A package of a year would have a file for each ledger otherwise, and each backup would write all of them anew. A month
that is over does not change: the next package has its bundle as a hard link to that of the package before. Links are
made between packages only, never to a ledger, which can grow in its place. A few packages share a file, not all: damage
of it is damage of each of them.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from observer.archive.day_files import is_day_file
from observer.archive.manifest import Bundle, PackagedFile, is_below
from observer.archive.package import (
    Package,
    digest_of,
    manifest_of,
    problem_of,
    unverify,
)
from observer.archive.target import PIECE_BYTES, go_on
from observer.base.errors import DataFileError
from observer.base.files import PRIVATE_FILE, make_private_folder, replacing, to_disk

_DAY: Final = re.compile(r"(?<!\d)(20\d\d(?:0[1-9]|1[0-2]))(?:0[1-9]|[12]\d|3[01])(?!\d)")
_SUFFIX: Final = ".tar"
SHARED_BY_MAX: Final = 3
"""So many packages have one bundle at most."""

logger = logging.getLogger(__name__)


class FoundFile(msgspec.Struct, frozen=True):
    """A file of a folder as it was found: its name below the folder, its size and its times."""

    name: str
    size_bytes: int
    modified_ns: int
    changed_ns: int


def files_in(folder: Path) -> list[FoundFile]:
    """The files below the folder, by name; none that begins with a dot (it is being written), and no day files, which
    the lake has. A file that goes meanwhile, as old universes do, is left out.
    """
    return sorted(_files_in(str(folder), ""), key=lambda each: each.name)


def _files_in(folder: str, inside: str) -> Iterator[FoundFile]:
    """Paths of pathlib would take ten times as long."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        name = inside + entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files_in(entry.path, f"{name}/")
        elif entry.is_file() and not is_day_file(PurePath(name)):
            try:
                found = entry.stat()
            except FileNotFoundError:
                continue
            yield FoundFile(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def by_month(files: Sequence[FoundFile]) -> dict[str, list[FoundFile]]:
    """The files by the month in their names, `202611`; those without a date are under an empty name."""
    found: dict[str, list[FoundFile]] = {}
    for file in files:
        day = _DAY.search(file.name)
        found.setdefault(day[1] if day else "", []).append(file)
    return found


def bundle(
    source: Path,
    package: Path,
    name: str,
    files: Sequence[FoundFile],
    earlier: Sequence[Package],
    stop: threading.Event,
) -> tuple[PackagedFile, Bundle]:
    """Make the package's bundle `name` (`ledgers/202611`) of these files of a folder; a link to that of an earlier
    package where none of the files has changed since.

    Raises:
        OSError: the folders cannot be read or written.
        StoppedError: `stop` was set.
    """
    path = name + _SUFFIX
    made_from = hashlib.sha256(msgspec.json.encode(files)).hexdigest()
    for before in earlier:
        manifest = manifest_of(before)
        stated = manifest.bundles.get(path)
        if stated is None or stated.made_from != made_from:
            continue
        file = next(file for file in manifest.files if file.path == path)
        if link_from(earlier, package, file, stop):
            return file, stated
    make_private_folder((package / path).parent)
    try:
        count = _write_bundle(package / path, source, files, stop)
    except OSError:  # a file became shorter while it was read
        count = _write_bundle(package / path, source, files, stop)
    made = PackagedFile(path, (package / path).stat().st_size, digest_of(package / path, stop))
    return made, Bundle(made_from, count)


def _write_bundle(path: Path, source: Path, files: Sequence[FoundFile], stop: threading.Event) -> int:
    """Write the bundle; return how many files it holds."""
    count = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as writing:
        with tarfile.open(fileobj=writing, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for each in files:
                go_on(stop)
                count += _add(tar, source, each.name)
        to_disk(writing)
    return count


def _add(tar: tarfile.TarFile, source: Path, name: str) -> bool:
    """Add what the file has now; it may have grown since it was found, and is another one for the next package then.
    False for one that is gone.
    """
    try:
        reading = (source / name).open("rb")
    except FileNotFoundError:
        return False
    with reading:
        found = os.fstat(reading.fileno())
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = found.st_size, int(found.st_mtime), PRIVATE_FILE
        tar.addfile(entry, reading)
    return True


def link_from(earlier: Sequence[Package], package: Path, file: PackagedFile, stop: threading.Event) -> bool:
    """Whether one of the earlier packages had exactly this file, and the package has a link to it now. A file that is
    damaged there is not linked, and the mark of all packages that have it is taken away. The caller holds their lock.

    Raises:
        OSError: the folders cannot be written.
        StoppedError: `stop` was set.
    """
    target = package / file.path
    holders = [each for each in earlier if file in manifest_of(each).files]
    damaged: set[str] = set()
    make_private_folder(target.parent)
    for each in holders:
        held = each.path / file.path
        try:
            if each.name in damaged or held.stat().st_nlink >= SHARED_BY_MAX:
                continue
            os.link(held, target)
        except OSError:  # it is gone, or the file system has no links
            continue
        if problem := problem_of(package, file, stop):
            for other in holders:
                with contextlib.suppress(FileNotFoundError):
                    if target.samefile(other.path / file.path):
                        logger.warning("%s is no verified package any more: %s", other.path, problem)
                        unverify(other.path)
                        damaged.add(other.name)
            target.unlink()
        else:
            return True
    return False


# --- taking out ----------------------------------------------------------------------------------------------


class HeldFile(msgspec.Struct, frozen=True):
    """A file that a package holds, as `ledgers/system/exports.json`: in the bundle of this path, or as itself."""

    path: str
    bundle: str = ""


def held_files(package: Package) -> list[HeldFile]:
    """The files that a package holds.

    Raises:
        DataFileError: the manifest or a bundle cannot be read.
        OSError: likewise.
    """
    manifest = manifest_of(package)
    found = [HeldFile(file.path) for file in manifest.files if file.path not in manifest.bundles]
    for path, stated in manifest.bundles.items():
        folder = path.partition("/")[0]
        with _opened(package.path / path) as tar:
            names = tar.getnames()
        if len(names) != stated.files:  # damage ends the reading of a bundle like its end
            raise DataFileError(f"{package.path / path} is damaged: {len(names)} of its {stated.files} files are found")
        if strange := [name for name in names if not is_below(name)]:
            raise DataFileError(f"{package.path / path} has {strange[0]!r}, which is no file of the package")
        found += [HeldFile(f"{folder}/{name}", path) for name in names]
    return found


def put_back(package: Package, wanted: Mapping[HeldFile, Path], stop: threading.Event) -> None:
    """Write files that the package holds to where they are wanted; their folders are made.

    Raises:
        DataFileError: a bundle cannot be read.
        OSError: likewise, or a folder cannot be written.
        StoppedError: `stop` was set. In each case some files may be back.
    """
    by_bundle: dict[str, dict[str, Path]] = {}
    for file, target in wanted.items():
        go_on(stop)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.bundle:
            by_bundle.setdefault(file.bundle, {})[file.path.partition("/")[2]] = target
        else:
            shutil.copy2(package.path / file.path, target)
    for path, targets in by_bundle.items():
        with _opened(package.path / path) as tar:
            for entry in tar:
                if target_of := targets.pop(entry.name, None):
                    _take_out(tar, entry, target_of, stop)
        if targets:
            raise DataFileError(f"{package.path / path} is damaged: {min(targets)} is not found in it")


def _take_out(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, stop: threading.Event) -> None:
    content = tar.extractfile(entry)
    assert content is not None, "a bundle has files only"
    with replacing(target) as file:
        while portion := content.read(PIECE_BYTES):
            go_on(stop)
            file.write(portion)
    os.utime(target, (entry.mtime, entry.mtime))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise DataFileError(f"{path} is damaged: {error}") from error
