"""The ledgers in a package: those of a month are one file, a bundle, `ledgers/202611.tar`.

A package of a year would have a file for each ledger otherwise, and each backup would write all of them anew. A month
that is over does not change: the next package has its bundle as a hard link to that of the package before. Links are
made between packages only, never to a ledger, which can grow in its place.
"""

import hashlib
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from observer.backup.manifest import PackagedFile, is_below
from observer.backup.package import Package, digest_of, go_on, manifest_of
from observer.errors import DataFileError
from observer.files import PRIVATE_FILE, make_private_folder, replace_file, to_disk
from observer.lake.projection import is_day_file

_DAY: Final = re.compile(r"(?<!\d)(20\d\d(?:0[1-9]|1[0-2]))(?:0[1-9]|[12]\d|3[01])(?!\d)")
_SUFFIX: Final = ".tar"


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
) -> tuple[PackagedFile, str]:
    """Make the package's bundle `name` (`ledgers/202611`) of these files of a folder; a link to that of an earlier
    package where none of the files has changed since. Returns it, and the digest of what it was made from.

    Raises:
        OSError: the folders cannot be read or written.
        StoppedError: `stop` was set.
    """
    path = name + _SUFFIX
    made_from = hashlib.sha256(msgspec.json.encode(files)).hexdigest()
    for before in earlier:
        manifest = manifest_of(before)
        if manifest.bundles.get(path) != made_from:
            continue
        file = next(file for file in manifest.files if file.path == path)
        if link_from([before], package, file, stop):
            return file, made_from
    make_private_folder((package / path).parent)
    descriptor = os.open(package / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as writing:
        with tarfile.open(fileobj=writing, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for each in files:
                go_on(stop)
                _add(tar, source, each.name)
        to_disk(writing)
    return PackagedFile(path, (package / path).stat().st_size, digest_of(package / path, stop)), made_from


def _add(tar: tarfile.TarFile, source: Path, name: str) -> None:
    """Add what the file has now; it may have grown since it was found, and is another one for the next package then."""
    try:
        reading = (source / name).open("rb")
    except FileNotFoundError:
        return
    with reading:
        found = os.fstat(reading.fileno())
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = found.st_size, int(found.st_mtime), PRIVATE_FILE
        tar.addfile(entry, reading)


def link_from(earlier: Sequence[Package], package: Path, file: PackagedFile, stop: threading.Event) -> bool:
    """Whether one of the earlier packages had exactly this file, and the package has a link to it now. A file that is
    damaged there is not linked: the package gets its own.

    Raises:
        StoppedError: `stop` was set.
    """
    target = package / file.path
    for each in earlier:
        if file not in manifest_of(each).files:
            continue
        make_private_folder(target.parent)
        try:
            os.link(each.path / file.path, target)
        except OSError:  # it is gone, or the file system has no links
            continue
        if digest_of(target, stop) == file.sha256:
            return True
        target.unlink()
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
    for path in manifest.bundles:
        folder = path.partition("/")[0]
        with _opened(package.path / path) as tar:
            found += [HeldFile(f"{folder}/{name}", path) for name in tar.getnames() if is_below(name)]
    return found


def put_back(package: Package, wanted: Mapping[HeldFile, Path]) -> None:
    """Write files that the package holds to where they are wanted; their folders are made.

    Raises:
        DataFileError: a bundle cannot be read.
        OSError: likewise, or a folder cannot be written.
    """
    by_bundle: dict[str, dict[str, Path]] = {}
    for file, target in wanted.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.bundle:
            by_bundle.setdefault(file.bundle, {})[file.path.partition("/")[2]] = target
        else:
            shutil.copy2(package.path / file.path, target)
    for path, targets in by_bundle.items():
        with _opened(package.path / path) as tar:
            for entry in tar:
                if (target_of := targets.get(entry.name)) and (content := tar.extractfile(entry)):
                    replace_file(target_of, content.read())
                    os.utime(target_of, (entry.mtime, entry.mtime))


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise DataFileError(f"{path}: {error}") from error
