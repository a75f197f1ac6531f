"""Packages in a folder: listed and verified.

<stamp>-<kind>-<instance>/     a package; it has this name once it is whole and on the disk
    manifest.json              see `observer.archive.manifest`
    manifest.sha256            the digest of manifest.json, as `sha256sum --check` reads it
    verified.json              when the package was last found whole
    database.sqlite3           or database.dump
    universe/ master/ configuration/
    ledgers/                   a file for each month (`observer.archive.bundles`), and those without a date
lake/                          the sealed days' files, see `observer.archive.copying`
.<name>.unfinished/            a package that is being made; a killed process leaves it to the next backup
.lock                          held while a process makes or deletes packages
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.manifest import (
    Kind,
    Manifest,
    PackagedFile,
    Verified,
    decoded,
    instance_in,
    is_package_name,
    moment_in,
)
from observer.archive.target import go_on, pieces_of
from observer.base.errors import DataFileError, StoreError, StoreFailedError
from observer.base.files import replace_file, sync_path
from observer.base.instance import Instance
from observer.base.remedies import REMEDIES
from observer.store.backup import (
    CopyContent,
    check_copy,
    content_of,
)
from observer.store.engine import parse_url, sqlite_path

MANIFEST: Final = "manifest.json"
DIGEST: Final = "manifest.sha256"
VERIFIED: Final = "verified.json"
_LOOK_S: Final = 60.0  # machine seconds


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
    return sorted(map(read_package, _paths_in(folder)), key=lambda package: (package.taken_ns, package.name))


def packages_of(folder: Path, instance: Instance) -> Sequence[Package]:
    """The packages of the instance in the folder, oldest first; also those without a manifest that may be its own."""
    return [each for each in packages(folder) if is_of(each, instance)]


def is_of(package: Package, instance: Instance) -> bool:
    """Whether the package is the instance's by its manifest; without one, whether its name states no other instance."""
    if package.manifest is not None:
        return package.manifest.instance == instance
    return instance_in(package.name) in (None, instance.name)


def outdated(found: Sequence[Package], kept: Mapping[Kind, int]) -> Sequence[str]:
    """The names of the packages that go: of each kind those before the newest verified ones, as many as `kept` says.

    A package that is damaged or was not verified takes the turn of no other one, and goes when it is older than those.
    """
    gone: list[str] = []
    for kind, count in kept.items():
        of_kind = (each for each in found if each.manifest is not None and each.manifest.kind == kind)
        own = sorted(of_kind, key=lambda each: (each.taken_ns, each.name))
        verified = [each for each in own if each.verified_ns is not None][-count:]
        if len(verified) == count:
            gone += [each.name for each in own[: own.index(verified[0])]]
    return gone


def newest_packages(folder: Path, instance: Instance) -> Mapping[str, str]:
    """The name of the instance's newest package of each kind that was verified, by kind. Manifests are read only of
    packages whose names state no instance: those of an earlier Observer.
    """
    names = [path.name for path in _paths_in(folder) if (path / VERIFIED).exists()]
    own = [
        name
        for name in names
        if (stated := instance_in(name)) == instance.name
        or (stated is None and is_of(read_package(folder / name), instance))
    ]
    return {name.split("-")[1]: name for name in sorted(own, key=moment_in)}


def _paths_in(folder: Path) -> Sequence[Path]:
    return [path for path in folder.glob("*") if is_package_name(path.name) and path.is_dir()]


def read_package(path: Path) -> Package:
    """The package in this folder; nothing but its manifest is checked."""
    try:
        content = (path / MANIFEST).read_bytes()
        manifest = decoded(content, (path / DIGEST).read_bytes())
    except DataFileError as error:
        return Package(path, None, problem=str(error))
    except OSError as error:
        return Package(path, None, problem=f"{Path(error.filename).name}: {error.strerror}")
    return Package(path, manifest, _verified_ns(path, content))


def _verified_ns(path: Path, manifest: bytes) -> int | None:
    try:
        mark = msgspec.json.decode((path / VERIFIED).read_bytes(), type=Verified)
    except (OSError, ValueError, RecursionError):
        return None
    return mark.verified_ns if mark.manifest_sha256 == hashlib.sha256(manifest).hexdigest() else None


def safe_marks(folder: Path, instance: Instance) -> Mapping[str, int]:
    """The marks of the instance's second-newest verified package, by event stream; empty with fewer than two of them.

    Two verified packages hold the events up to these numbers, so that no outbox need keep them. Few manifests are read:
    the newest first, and no more than needed.
    """
    verified = 0
    for path in sorted(_paths_in(folder), key=lambda path: (moment_in(path.name), path.name), reverse=True):
        package = read_package(path)
        if package.manifest is None or package.manifest.instance != instance or package.verified_ns is None:
            continue
        verified += 1
        if verified == 2:
            return package.manifest.marks
    return {}


def cached_safe_marks(folder: Path, instance: Instance) -> Callable[[], Mapping[str, int]]:
    """`safe_marks`, read at most once a minute: every producer that greets the writer asks for it."""
    found: Mapping[str, int] = {}
    read_s = -_LOOK_S

    def cached() -> Mapping[str, int]:
        nonlocal found, read_s
        if time.monotonic() >= read_s + _LOOK_S:
            found, read_s = safe_marks(folder, instance), time.monotonic()
        return found

    return cached


def require_restored(url: str, folder: Path, instance: Instance) -> None:
    """Return if the SQLite database is there, or the instance has no package of it: a new one would begin empty.

    Raises:
        StoreFailedError: it is gone, and a package can put it back.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or sqlite_path(parsed).exists():
        return
    found = packages_of(folder, instance)
    if any(each.verified_ns is not None for each in found):
        raise StoreFailedError(
            f"there is no database {sqlite_path(parsed)}, and {len(found)} packages of it are in {folder}: "
            f"{REMEDIES['database missing']}; to begin with an empty one, move the packages away"
        )


# --- verifying -----------------------------------------------------------------------------------------------


def verify(path: Path, now_ns: int, stop: threading.Event) -> Sequence[str]:
    """Read every file of a package again, and let the database's own tools check the copy. Returns what is wrong.

    Marks the package as verified at this market time, or takes the mark away.

    Raises:
        StoppedError: `stop` was set; the mark is as it was.
        OSError: the mark cannot be written.
    """
    problems = problems_in(path, stop)
    if problems:
        unverify(path)
    else:
        _mark_verified(path, now_ns)
    return problems


def problems_in(path: Path, stop: threading.Event) -> Sequence[str]:
    """As `verify`, without a mark: the package may lie on a disk that cannot be written."""
    package = read_package(path)
    return [package.problem] if package.manifest is None else _problems(path, package.manifest, stop)


def unverify(path: Path) -> None:
    """Take a package's mark away: it is not counted any more. Raises OSError when its folder cannot be written."""
    (path / VERIFIED).unlink(missing_ok=True)
    sync_path(path)


def _mark_verified(path: Path, now_ns: int) -> None:
    digest = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    mark = Verified(verified_ns=now_ns, manifest_sha256=digest)
    replace_file(path / VERIFIED, msgspec.json.encode(mark))
    sync_path(path)


def _problems(path: Path, manifest: Manifest, stop: threading.Event) -> Sequence[str]:
    found = [problem for file in manifest.files if (problem := problem_of(path, file, stop))]
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


def problem_of(package: Path, file: PackagedFile, stop: threading.Event) -> str:
    """What is wrong with a file of a package; empty if nothing is. Raises StoppedError when `stop` is set."""
    path = package / file.path
    try:
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            return f"{file.path} has {size_bytes:,} bytes, the manifest states {file.size_bytes:,}"
        return "" if digest_of(path, stop) == file.sha256 else f"{file.path} is damaged: its digest differs"
    except OSError as error:
        return f"{file.path}: {error.strerror}"


def digest_of(path: Path, stop: threading.Event) -> str:
    """The digest of a file's content. Raises StoppedError when `stop` is set."""
    digest = hashlib.sha256()
    for piece in pieces_of(path):
        go_on(stop)
        digest.update(piece)
    return digest.hexdigest()


def manifest_of(package: Package) -> Manifest:
    """The manifest of a package. Raises DataFileError when it cannot be read."""
    if package.manifest is None:
        raise DataFileError(f"{package.path} is no whole package: {package.problem}")
    return package.manifest
