"""Makes packages, copies them to a second target, unpacks and deletes them.

.<name>.unfinished/            a package that is being made; a killed process leaves it to the next backup
.lock                          held while a process makes or deletes packages
"""

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.bundles import bundle, by_month, files_in, held_files, link_from, put_back
from observer.archive.configuration import configuration_files
from observer.archive.copying import removed_days
from observer.archive.manifest import (
    Bundle,
    Kind,
    Manifest,
    PackagedFile,
    digest_line_of,
    encoded,
    package_name,
)
from observer.archive.package import (
    DIGEST,
    MANIFEST,
    VERIFIED,
    Package,
    digest_of,
    manifest_of,
    outdated,
    packages_of,
    problem_of,
    read_package,
    verify,
)
from observer.archive.target import copy_file
from observer.base.errors import DataFileError
from observer.base.file_lock import FileLock
from observer.base.files import bytes_below, make_private_folder, replace_file, sync_path
from observer.base.instance import Instance
from observer.store.backup import SQLITE_COPY, content_of, copy_database, copy_name, selected_schema
from observer.store.integrity import require_whole

CONFIGURATION: Final = "configuration"
_LOCK: Final = ".lock"


class Contents(msgspec.Struct, frozen=True):
    """What goes into a package: the database, folders by their names in the package, and the configuration that names
    further files (None: without it). An absent folder is left out. The files of the lake are copied beside the packages
    (`observer.archive.copying`), and a folder's day files, which follow from them, are left out. The files of
    the folders in `bundled` go into one file a month (`observer.archive.bundles`).
    """

    url: str
    instance: Instance
    folders: Mapping[str, Path]
    configuration: Path | None
    lake: Path | None = None
    bundled: frozenset[str] = frozenset()


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
        DatabaseDamagedError: a page of the database is damaged.
        DataFileError: the folder or its disk refused, another process makes a package, or a file read back differs.
        StoppedError: `stop` was set.
        In each case no new package is there, and the earlier ones are untouched.
    """
    require_whole(contents.url, stop)
    path = folder / _new_name(folder, package_name(now_ns, kind, contents.instance))
    with _alone(folder), _unfinished(folder, path.name) as unfinished:
        earlier = _verified(folder, contents.instance)
        files, bundles = _pack_folders(contents, unfinished, earlier, stop)
        files += _copy_configuration(contents, unfinished)
        database = unfinished / copy_name(contents.url)
        copy_database(contents.url, database, stop)
        content = content_of(database, stop)
        files.append(PackagedFile(database.name, database.stat().st_size, digest_of(database, stop)))
        manifest = Manifest(
            kind=kind,
            taken_ns=now_ns,
            instance=contents.instance,
            database=database.name,
            schema=None if database.name == SQLITE_COPY else selected_schema(contents.url),
            schema_revision=content.schema_revision,
            marks=content.marks,
            files=files,
            lake_days=removed_days(contents.lake),  # after the copy: no row is in neither
            bundles=bundles,
        )
        replace_file(unfinished / MANIFEST, described := encoded(manifest))
        replace_file(unfinished / DIGEST, digest_line_of(described))
        if problems := verify(unfinished, now_ns, stop):
            raise DataFileError(f"the new package differs from what was written: {'; '.join(problems)}")
    return read_package(path)


def _new_name(folder: Path, first: str) -> str:
    number, name = 1, first
    while (folder / name).exists():
        number += 1
        name = f"{first}-{number}"
    return name


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Exclude other processes that make or delete packages; the system's refusals are DataFileErrors."""
    try:
        make_private_folder(folder)
        with contextlib.closing(FileLock(folder / _LOCK)) as lock:
            if not lock.take():
                raise DataFileError(f"another process makes a backup in {folder}: try again when it has ended")
            yield
    except OSError as error:
        where = error.filename or folder
        raise DataFileError(f"no backup in {folder}: {where}: {error.strerror or error}") from error


@contextlib.contextmanager
def _unfinished(folder: Path, name: str) -> Iterator[Path]:
    """A new folder for a package; it gets the package's name when the block ends, and is gone when that fails."""
    for left in folder.glob(".*.unfinished"):  # of a process that was killed
        shutil.rmtree(left)
    unfinished = folder / f".{name}.unfinished"
    unfinished.mkdir(mode=0o700)
    try:
        yield unfinished
        for path in (*filter(Path.is_dir, unfinished.rglob("*")), unfinished):
            sync_path(path)
        unfinished.rename(folder / name)
        sync_path(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_bytes(folder: Path) -> int:
    """The size of the package that is being made."""
    return sum(map(bytes_below, folder.glob(".*.unfinished")))


def _verified(folder: Path, instance: Instance) -> Sequence[Package]:
    """The instance's verified packages, the newest first."""
    return [each for each in reversed(packages_of(folder, instance)) if each.verified_ns is not None]


def _pack_folders(
    contents: Contents, unfinished: Path, earlier: Sequence[Package], stop: threading.Event
) -> tuple[list[PackagedFile], dict[str, Bundle]]:
    """Bring the folders into the package; return its files and its bundles. Of a folder in bundles the files without a
    date come first, before the others are looked for: how far the ledgers are must not be ahead of the ledgers.
    """
    packed: list[PackagedFile] = []
    bundles: dict[str, Bundle] = {}
    for name, folder in contents.folders.items():
        is_bundled, found = name in contents.bundled, files_in(folder)
        single = by_month(found).get("", []) if is_bundled else found
        copied = (_copy_file(folder / file.name, unfinished, f"{name}/{file.name}", stop) for file in single)
        packed += [file for file in copied if file]
        months = by_month(files_in(folder)) if is_bundled else {}
        for month, files in months.items():
            if month:
                made, stated = bundle(folder, unfinished, f"{name}/{month}", files, earlier, stop)
                packed.append(made)
                bundles[made.path] = stated
    return packed, bundles


def _copy_file(source: Path, package: Path, name: str, stop: threading.Event) -> PackagedFile | None:
    """Copy into the package, and to the disk; None for a file that was removed meanwhile, as old universes are."""
    if not source.exists():
        return None
    for parent in reversed(Path(name).parents):
        make_private_folder(package / parent)
    try:
        return PackagedFile(name, *copy_file(source, package / name, stop))
    except FileNotFoundError:
        return None


def _copy_configuration(contents: Contents, unfinished: Path) -> Iterator[PackagedFile]:
    found = configuration_files(contents.configuration) if contents.configuration else {}
    for name, content in found.items():
        make_private_folder(unfinished / CONFIGURATION)
        replace_file(unfinished / CONFIGURATION / name, content)
        yield PackagedFile(f"{CONFIGURATION}/{name}", len(content), hashlib.sha256(content).hexdigest())


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
    with _alone(folder), _unfinished(folder, package.name) as unfinished:
        earlier = _verified(folder, manifest.instance)
        for file in manifest.files:
            if not (file.path in manifest.bundles and link_from(earlier, unfinished, file, stop)):
                _copy_packaged(package, file, unfinished, stop)
        for name in (MANIFEST, DIGEST, VERIFIED):
            _copy_file(package.path / name, unfinished, name, stop)
        if problems := [found for file in manifest.files if (found := problem_of(unfinished, file, stop))]:
            raise DataFileError(f"the copy of {package.name} in {folder} differs: {'; '.join(problems)}")
    return path


def _copy_packaged(package: Package, file: PackagedFile, folder: Path, stop: threading.Event) -> None:
    if _copy_file(package.path / file.path, folder, file.path, stop) is None:
        raise DataFileError(f"{package.path}: {file.path} is not there")


def unpack(package: Package, folder: Path, stop: threading.Event) -> None:
    """Copy the files that a package holds to a folder in which none of them is.

    Raises:
        DataFileError: the package has no manifest, or a file of it is not there.
        OSError: the folder cannot be written.
        StoppedError: `stop` was set.
    """
    manifest = manifest_of(package)
    for file in manifest.files:
        if file.path not in manifest.bundles:
            _copy_packaged(package, file, folder, stop)
    bundled = {file: folder / file.path for file in held_files(package) if file.bundle}
    for parent in sorted({parent for file in bundled for parent in Path(file.path).parents}):
        make_private_folder(folder / parent)
    put_back(package, bundled, stop)


def delete_outdated(folder: Path, instance: Instance, kept: Mapping[Kind, int]) -> Sequence[str]:
    """Delete the packages of the instance that are too many, and return their names (`package.outdated`).

    Raises:
        DataFileError: the disk refused, or another process makes a package.
    """
    with _alone(folder):
        for name in (gone := outdated(packages_of(folder, instance), kept)):
            leaving = folder / f".{name}.unfinished"  # half of a package must not look like one
            (folder / name).rename(leaving)
            shutil.rmtree(leaving)
    return gone
