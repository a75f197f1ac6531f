"""What a package states about itself. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

import msgspec

from observer.base.errors import DataFileError
from observer.base.instance import Instance
from observer.base.local_time import local_datetime, local_ns

Kind = Literal["daily", "manual"]
FORMAT: Final = 2
"""2: ledgers are in bundles. This program reads 1, too."""

LEDGERS: Final = "ledgers"
"""The folder of the ledgers in a package."""

Stored = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number that a database can hold."""

_STAMP: Final = "%Y%m%dT%H%M%S"
_NAME: Final = re.compile(r"\d{8}T\d{6}-(daily|manual)(?:-(?P<instance>[a-z][a-z0-9_]{0,39}))?(-\d+)?\Z")


class PackagedFile(msgspec.Struct, frozen=True):
    """A file of a package: its path below the package's folder, and its content's digest in hexadecimal digits."""

    path: str
    size_bytes: Stored
    sha256: str


class Bundle(msgspec.Struct, frozen=True):
    """A file of a package that holds others (`observer.archive.bundles`): the digest of names, sizes and times
    of the files that it was made from, and how many it holds.
    """

    made_from: str
    files: Stored


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`. `taken_ns` is market time in UTC nanoseconds, before the copy began.

    `database` is the path of the database's copy, `schema` its PostgreSQL schema, and None for SQLite. `marks` are the
    last committed numbers of all event streams, as the copy itself has them. `lake_days` are the days whose rows it
    need not have: the lake has them, whose copy lies beside the packages. `bundles` are the files that hold
    others, by path.
    """

    format: int = FORMAT
    kind: Kind
    taken_ns: Stored
    instance: Instance
    database: str
    schema: str | None
    schema_revision: str
    marks: Mapping[str, Stored]
    files: Sequence[PackagedFile]
    lake_days: Sequence[str] = ()
    bundles: Mapping[str, Bundle] = {}

    @property
    def events(self) -> int:
        """Number of committed events in the copy."""
        return sum(self.marks.values())

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def ledgers_bytes(self) -> int:
        """The size of the ledgers."""
        return sum(file.size_bytes for file in self.files if file.path.startswith(f"{LEDGERS}/"))


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """`verified.json`: the package was whole at this market time. It counts for the manifest with this digest only."""

    verified_ns: Stored
    manifest_sha256: str


def is_package_name(name: str) -> bool:
    """Whether a folder of this name is a package."""
    try:
        return _NAME.match(name) is not None and moment_in(name) > 0
    except ValueError:  # no day has this number, say
        return False


def stamp_of(moment_ns: int) -> str:
    """The beginning of a package's name: the venue's local time."""
    return local_datetime(moment_ns).strftime(_STAMP)


def package_name(moment_ns: int, kind: Kind, instance: Instance) -> str:
    """The name of a package: its time, its kind and its instance, as several share a folder."""
    return f"{stamp_of(moment_ns)}-{kind}-{instance.name}"


def instance_in(name: str) -> str | None:
    """The instance in a package's name; None in a name of an earlier Observer, which has none."""
    found = _NAME.match(name)
    return found["instance"] if found else None


def moment_in(name: str) -> int:
    """The moment in a package's name, in UTC nanoseconds."""
    found = datetime.strptime(name.partition("-")[0], _STAMP)  # noqa: DTZ007 - local_ns knows the zone
    return local_ns(found.date(), found.hour, found.minute, found.second)


def encoded(manifest: Manifest) -> bytes:
    """The content of `manifest.json`."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decoded(content: bytes, digest_line: bytes) -> Manifest:
    """The manifest in `manifest.json`; `digest_line` is the content of `manifest.sha256`.

    Raises:
        DataFileError: the content does not have that digest, is of another version of Observer, or names a file
            outside the package.
    """
    if digest_line != digest_line_of(content):
        raise DataFileError("manifest.json or manifest.sha256 is damaged: the digests differ")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"manifest.json cannot be read: {error}") from error
    if not 1 <= manifest.format <= FORMAT:
        raise DataFileError(f"the package has format {manifest.format}, this program reads {FORMAT}")
    files = {file.path for file in manifest.files}
    if absent := manifest.bundles.keys() - files:
        raise DataFileError(f"manifest.json does not state the digest of {min(absent)}")
    for path in (manifest.database, *files):
        if not is_below(path):
            raise DataFileError(f"manifest.json names {path!r}, which is no file of the package")
    return manifest


def is_below(path: str) -> bool:
    """Whether the path stays below the folder that it is joined to."""
    parts = PurePosixPath(path)
    return bool(parts.name) and not parts.is_absolute() and ".." not in parts.parts and "\0" not in path


def digest_line_of(content: bytes) -> bytes:
    """The content of `manifest.sha256`, as `sha256sum` writes it."""
    return f"{hashlib.sha256(content).hexdigest()}  manifest.json\n".encode()
