"""Packages in a folder: made, listed, verified, copied, deleted.

<stamp>-<kind>/                a package; it has this name once it is whole and on the disk
manifest.json              see `observer.backup.manifest`
manifest.sha256            the digest of manifest.json, as `sha256sum --check` reads it
verified.json              when the package was last found whole
database.sqlite3           or database.dump
universe/ ledgers/ master/ configuration/
.<name>.unfinished/            a package that is being made; a killed process leaves it to the next backup
.lock                          held while a process makes or deletes packages
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.backup.configuration import configuration_files
from observer.backup.manifest import (
    Kept,
    Kind,
    Manifest,
    PackagedFile,
    Verified,
    decoded,
    digest_line_of,
    encoded,
    is_package_name,
    moment_in,
    outdated,
    stamp_of,
)
from observer.errors import DataFileError, StoppedError, StoreError
from observer.files import PRIVATE_FILE, make_private_folder, replace_file, sync_path, to_disk
from observer.store.backup import (
    SQLITE_COPY,
    CopyContent,
    check_copy,
    content_of,
    copy_database,
    copy_name,
    selected_schema,
)
from observer.store.instance import Instance

CONFIGURATION: Final = "configuration"
_MANIFEST: Final = "manifest.json"
_DIGEST: Final = "manifest.sha256"
_VERIFIED: Final = "verified.json"
_LOCK: Final = ".lock"
_PORTION_BYTES: Final = 4 * 1024 * 1024


class Contents(msgspec.Struct, frozen=True):
    """What goes into a package: the database, folders by their names in the package, and the configuration that names
    further files (None: without it). An absent folder is left out.
    """

    url: str
    instance: Instance
    folders: Mapping[str, Path]
    configuration: Path | None


class Package(msgspec.Struct, frozen=True):
    """A package on the disk. `problem` says why there is no manifest; empty with one."""

    path: Path
    manifest: Manifest | None
    verified_ns: int | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.name

    @property
    def taken_ns(self) -> int:
        """The market time of the package in UTC nanoseconds; without a manifest that of its name."""
        return self.manifest.taken_ns if self.manifest else moment_in(self.name)


# --- reading -------------------------------------------------------------------------------------------------


def packages(folder: Path) -> Sequence[Package]:
    """All packages in the folder, oldest first."""
    paths = [path for path in folder.glob("*") if is_package_name(path.name) and path.is_dir()]
    return sorted(map(read_package, paths), key=lambda package: (package.taken_ns, package.name))


def read_package(path: Path) -> Package:
    """The package in this folder; nothing but its manifest is checked."""
    try:
        content = (path / _MANIFEST).read_bytes()
        manifest = decoded(content, (path / _DIGEST).read_bytes())
    except DataFileError as error:
        return Package(path, None, problem=str(error))
    except OSError as error:
        return Package(path, None, problem=f"{Path(error.filename).name}: {error.strerror}")
    return Package(path, manifest, _verified_ns(path, content))


def _verified_ns(path: Path, manifest: bytes) -> int | None:
    try:
        mark = msgspec.json.decode((path / _VERIFIED).read_bytes(), type=Verified)
    except (OSError, msgspec.DecodeError):
        return None
    return mark.verified_ns if mark.manifest_sha256 == hashlib.sha256(manifest).hexdigest() else None


def safe_marks(folder: Path) -> Mapping[str, int]:
    """The marks of the second-newest verified package, by event stream; empty with fewer than two of them.

    Two verified packages hold the events up to these numbers, so that no outbox need keep them.
    """
    verified = [package for package in packages(folder) if package.manifest and package.verified_ns is not None]
    if len(verified) < 2 or (manifest := verified[-2].manifest) is None:
        return {}
    return manifest.marks


# --- verifying -----------------------------------------------------------------------------------------------


def verify(path: Path, now_ns: int, stop: threading.Event) -> Sequence[str]:
    """Read every file of a package again, and let the database's own tools check the copy. Returns what is wrong.

    Marks the package as verified at this market time, or takes the mark away.

    Raises:
        StoppedError: `stop` was set; the mark is as it was.
        OSError: the mark cannot be written.
    """
    package = read_package(path)
    problems = [package.problem] if package.manifest is None else _problems(path, package.manifest, stop)
    if problems:
        (path / _VERIFIED).unlink(missing_ok=True)
    else:
        _mark_verified(path, now_ns)
    return problems


def _mark_verified(path: Path, now_ns: int) -> None:
    digest = hashlib.sha256((path / _MANIFEST).read_bytes()).hexdigest()
    mark = Verified(verified_ns=now_ns, manifest_sha256=digest)
    replace_file(path / _VERIFIED, msgspec.json.encode(mark), private=True)
    sync_path(path)


def _problems(path: Path, manifest: Manifest, stop: threading.Event) -> Sequence[str]:
    found = [problem for file in manifest.files if (problem := _problem_of(path, file, stop))]
    if found:
        return found
    try:
        check_copy(path / manifest.database, stop)
        content = content_of(path / manifest.database, stop)
    except StoreError as error:
        return [str(error)]
    if content != CopyContent(manifest.schema_revision, manifest.marks):
        return [f"{manifest.database} has other marks or another schema than the manifest states"]
    return []


def _problem_of(package: Path, file: PackagedFile, stop: threading.Event) -> str:
    path = package / file.path
    try:
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            return f"{file.path} has {size_bytes:,} bytes, the manifest states {file.size_bytes:,}"
        return "" if _digest_of(path, stop) == file.sha256 else f"{file.path} is damaged: its digest differs"
    except OSError as error:
        return f"{file.path}: {error.strerror}"


def _digest_of(path: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while portion := file.read(_PORTION_BYTES):
            _go_on(stop)
            digest.update(portion)
    return digest.hexdigest()


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise StoppedError("the work on a package was interrupted")


# --- making --------------------------------------------------------------------------------------------------


def make(folder: Path, contents: Contents, kind: Kind, now_ns: int, stop: threading.Event) -> Package:
    """Make a package, verify it, and give it its name.

    Args:
        folder: of the packages; made for its owner only if it is not there.
        contents: what goes into it.
        kind: daily, or manual.
        now_ns: market time.
        stop: ends the work.

    Raises:
        StoreError: the database cannot be copied, or the copy is damaged.
        DataFileError: the folder or its disk refused, another process makes a package, or a file read back differs.
        StoppedError: `stop` was set.
        In each case no new package is there, and the earlier ones are untouched.
    """
    path = folder / _new_name(folder, kind, now_ns)
    with _errors_of(folder), _alone(folder), _unfinished(folder, path.name) as unfinished:
        files = [*_copy_folders(contents, unfinished, stop), *_copy_configuration(contents, unfinished)]
        database = unfinished / copy_name(contents.url)
        copy_database(contents.url, database, stop)
        content = content_of(database, stop)
        files.append(PackagedFile(database.name, database.stat().st_size, _digest_of(database, stop)))
        manifest = Manifest(
            kind=kind,
            taken_ns=now_ns,
            instance=contents.instance,
            database=database.name,
            schema=None if database.name == SQLITE_COPY else selected_schema(contents.url),
            schema_revision=content.schema_revision,
            marks=content.marks,
            files=files,
        )
        replace_file(unfinished / _MANIFEST, described := encoded(manifest), private=True)
        replace_file(unfinished / _DIGEST, digest_line_of(described), private=True)
        if problems := verify(unfinished, now_ns, stop):
            raise DataFileError(f"the new package differs from what was written: {'; '.join(problems)}")
        _sync_folders(unfinished)
        unfinished.rename(path)
        sync_path(folder)
    return read_package(path)


def _new_name(folder: Path, kind: Kind, now_ns: int) -> str:
    stamp = stamp_of(now_ns)
    number, name = 1, f"{stamp}-{kind}"
    while (folder / name).exists():
        number += 1
        name = f"{stamp}-{kind}-{number}"
    return name


@contextlib.contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise DataFileError(f"no backup in {folder}: {where}: {error.strerror or error}") from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    make_private_folder(folder)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataFileError(f"another process makes a backup in {folder}: try again when it has ended") from None
    finally:
        os.close(descriptor)


def is_being_made(folder: Path) -> bool:
    """Whether a process makes or deletes packages there now."""
    try:
        with _alone(folder):
            return False
    except DataFileError:
        return True


@contextlib.contextmanager
def _unfinished(folder: Path, name: str) -> Iterator[Path]:
    """A new folder for a package; it is gone afterwards, unless it has its final name then."""
    for left in folder.glob(".*.unfinished"):  # of a process that was killed
        shutil.rmtree(left)
    unfinished = folder / f".{name}.unfinished"
    unfinished.mkdir(mode=0o700)
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_bytes(folder: Path) -> int:
    """The size of the package that is being made."""
    total = 0
    for path in folder.glob(".*.unfinished/**/*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _copy_folders(contents: Contents, unfinished: Path, stop: threading.Event) -> Iterator[PackagedFile]:
    for name, folder in contents.folders.items():
        for path in sorted(folder.rglob("[!.]*")):  # a name with a dot is a file that is being written
            copied = f"{name}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and (found := _copy_file(path, unfinished, copied, stop)):
                yield found


def _copy_file(source: Path, package: Path, name: str, stop: threading.Event) -> PackagedFile | None:
    """Copy into the package, and to the disk; None for a file that was removed meanwhile, as old universes are."""
    copied = package / name
    digest, size_bytes = hashlib.sha256(), 0
    try:
        reading = source.open("rb")
    except FileNotFoundError:
        return None
    for parent in reversed(Path(name).parents):
        make_private_folder(package / parent)
    with reading, os.fdopen(os.open(copied, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb") as writing:
        while portion := reading.read(_PORTION_BYTES):
            _go_on(stop)
            digest.update(portion)
            size_bytes += writing.write(portion)
        to_disk(writing)
    return PackagedFile(name, size_bytes, digest.hexdigest())


def _copy_configuration(contents: Contents, unfinished: Path) -> Iterator[PackagedFile]:
    found = configuration_files(contents.configuration) if contents.configuration else {}
    for name, content in found.items():
        make_private_folder(unfinished / CONFIGURATION)
        replace_file(unfinished / CONFIGURATION / name, content, private=True)
        yield PackagedFile(f"{CONFIGURATION}/{name}", len(content), hashlib.sha256(content).hexdigest())


def _sync_folders(path: Path) -> None:
    for folder in (*(each for each in path.rglob("*") if each.is_dir()), path):
        sync_path(folder)


# --- copying and deleting ------------------------------------------------------------------------------------


def copy_package(package: Package, folder: Path, stop: threading.Event) -> Path:
    """Copy a package to a folder that is there, and read the copy back. Returns the copy's path.

    Raises:
        DataFileError: the package has no manifest, the folder is not there, or its disk refused.
        StoppedError: `stop` was set. In both cases no new package is there.
    """
    manifest = manifest_of(package)
    if not folder.is_dir():
        raise DataFileError(f"cannot copy {package.name} to {folder}: there is no such folder; mount it, or make it")
    path = folder / package.name
    if path.exists():
        return path
    with _errors_of(folder), _alone(folder), _unfinished(folder, package.name) as unfinished:
        unpack(package, unfinished, stop)
        for name in (_MANIFEST, _DIGEST, _VERIFIED):
            _copy_file(package.path / name, unfinished, name, stop)
        if problems := [found for file in manifest.files if (found := _problem_of(unfinished, file, stop))]:
            raise DataFileError(f"the copy of {package.name} in {folder} differs: {'; '.join(problems)}")
        _sync_folders(unfinished)
        unfinished.rename(path)
        sync_path(folder)
    return path


def unpack(package: Package, folder: Path, stop: threading.Event) -> None:
    """Copy the files of a package to a folder in which none of them is.

    Raises:
        DataFileError: the package has no manifest, or a file of it is not there.
        OSError: the folder cannot be written.
        StoppedError: `stop` was set.
    """
    for file in manifest_of(package).files:
        if _copy_file(package.path / file.path, folder, file.path, stop) is None:
            raise DataFileError(f"{package.path}: {file.path} is not there")


def manifest_of(package: Package) -> Manifest:
    """The manifest of a package. Raises DataFileError when it cannot be read."""
    if package.manifest is None:
        raise DataFileError(f"{package.path} is no whole package: {package.problem}")
    return package.manifest


def delete_outdated(folder: Path, instance: Instance, kept: Mapping[Kind, int]) -> Sequence[str]:
    """Delete the packages of the instance that are too many, and return their names (`manifest.outdated`).

    Raises:
        DataFileError: the disk refused, or another process makes a package.
    """
    own = [each for each in packages(folder) if each.manifest and each.manifest.instance == instance]
    states = [_kept(each) for each in own]
    with _errors_of(folder), _alone(folder):
        for name in (gone := outdated(states, kept)):
            leaving = folder / f".{name}.unfinished"  # half of a package must not look like one
            (folder / name).rename(leaving)
            shutil.rmtree(leaving)
    return gone


def _kept(package: Package) -> Kept:
    manifest = manifest_of(package)
    return Kept(package.name, manifest.kind, manifest.taken_ns, package.verified_ns is not None)
