"""Where the lake's files are, and what a sealed day is. It reads and writes names and manifests, never Parquet.

    LAKE/kind=K/market=M/session_date=D/part-0.parquet    the newest version, for any engine that reads a glob
    LAKE/_versions/kind=K/market=M/session_date=D/N.parquet    every version, never changed; N is 1, 2 ...
    LAKE/_days/market=M/D.json                            the day's manifest
    LAKE/_catalogue/                                      the Iceberg tables' metadata
    LAKE/_staging/                                        files that are being written

A day is sealed when its manifest is there, and as the manifest says: its replacement is the one step that commits a
sealing. The glob's files and the catalogue follow from the manifests (`observer.archive.repair`), so after a kill they
can be behind, and nothing unfinished is ever visible. Engines ignore names that begin with an underscore. A copy of the
lake (`observer.archive.copying`) has its versions and manifests under the same names.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from glob import glob
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from observer.base.errors import DamagedFileError, DataFileError
from observer.base.files import read_file, replace_file, sync_path
from observer.base.remedies import lake_damaged
from observer.store.kinds import REMOVABLE
from observer.store.removal import SealedRows

FORMAT: Final = 1
"""The version of the manifests' own format."""
PARTITIONED_BY: Final = ("market", "session_date")
"""The columns that a file does not hold: its folders' names give them."""
STAGING: Final = "_staging"
CATALOGUE: Final = "_catalogue"
DAYS: Final = "_days"
_VERSIONS: Final = "_versions"
_FILE: Final = "part-0.parquet"
_VERSION_NAME: Final = re.compile(rf"{_VERSIONS}/kind=(.+)/market=(.+)/session_date=(.+)/(\d+)\.parquet")
# An earlier Observer stated versions whose files were given up apart from the others.
_LACKING: Final = re.compile(rb'"lacking":\s*\{\s*"')
# An earlier Observer's manifests end without it.
_SHA256: Final = re.compile(rb',\n "sha256": "(.*)"\n\}\n\Z')


class StreamRows(msgspec.Struct, frozen=True):
    """The rows of one event stream in a version: the number that they carry as `stream`, the stream's random id, their
    first and last numbers in the stream, and how many they are.

    A database that was restored can give the number to another stream; the random id stays.
    """

    stream: int
    uid: str
    first: int
    last: int
    rows: int


def sealed_rows(kind: str, session_date: str, streams: Sequence[StreamRows]) -> Sequence[SealedRows]:
    """The positions of a version's rows, as the database is asked for them."""
    return [SealedRows(kind, session_date, each.uid, each.first, each.last, each.rows) for each in streams]


class Version(msgspec.Struct, frozen=True):
    """One version of a kind's rows of a day: how many rows, their digest (`observer.archive.digest`), the bytes of the
    file, when it was sealed (UTC ns), the version of the events' schema, the positions of the rows, whether it is
    known that no two rows have the same symbol and order (`observer.store.kinds`), as a trade that is stored twice has,
    and the SHA-256 of the file (`observer.archive.whole`); empty of one that an earlier Observer sealed.
    """

    version: int
    rows: int
    digest: str
    size_bytes: int
    sealed_at_ns: int
    schema_version: int
    streams: tuple[StreamRows, ...] = ()
    is_distinct: bool = False
    file_sha256: str = ""

    def is_held_with(self, uids: Collection[str]) -> bool:
        """Whether a database with these event streams can hold all rows. Another database holds the others."""
        return all(each.uid in uids for each in self.streams)


class SealedDay(msgspec.Struct, frozen=True):
    """A manifest. `kinds` has the versions of each kind with rows, the newest one last; a kind without rows is absent.

    `marks` are the high-water marks of the event streams with rows of the day, by the streams' random ids, in the
    transaction that read the rows.
    `removed` are the kinds whose sealed rows the database need not have any more: they are being removed from it, or
    were. Such a kind's rows are those of its newest version, and those of the database at other positions.
    `published` is the newest version of each kind that the lake's target has; empty where there is none. Only the local
    manifest states it.
    """

    market: str
    session_date: str
    sealed_at_ns: int
    kinds: Mapping[str, tuple[Version, ...]]
    marks: Mapping[str, int] = {}
    removed: tuple[str, ...] = ()
    published: Mapping[str, int] = {}
    format: int = FORMAT

    def newest(self, kind: str) -> Version | None:
        """The newest version of a kind; None where the day has no rows of it."""
        found = self.kinds.get(kind, ())
        return found[-1] if found else None

    @property
    def versions(self) -> Sequence[tuple[str, Version]]:
        """All versions, each with its kind."""
        return [(kind, version) for kind, found in self.kinds.items() for version in found]

    def name_of(self, kind: str, version: Version) -> str:
        """The name of a version's file below the lake's folder."""
        return version_name(kind, self.market, self.session_date, version.version)

    def glob_name_of(self, kind: str) -> str:
        """The name of the file where a glob finds the newest version of a kind."""
        return f"{_partition(kind, self.market, self.session_date)}/{_FILE}"

    def removable_rows(self, *, published_only: bool = False) -> Sequence[SealedRows]:
        """The positions of the rows that the database need not have; or of those only that the target has, too."""
        return [
            each
            for kind in self.removed
            for version in self.kinds[kind]
            if version.version == (self.published.get(kind) if published_only else self.kinds[kind][-1].version)
            for each in sealed_rows(kind, self.session_date, version.streams)
        ]

    @property
    def rows(self) -> int:
        """The rows of all kinds in their newest versions."""
        return sum(found[-1].rows for found in self.kinds.values())

    @property
    def size_bytes(self) -> int:
        """The bytes of the newest versions of all kinds."""
        return sum(found[-1].size_bytes for found in self.kinds.values())


class _Lacking(msgspec.Struct):
    lacking: Mapping[str, tuple[Version, ...]]


# --- files ------------------------------------------------------------------------------------------------------------


def path_of(lake: Path, kind: str, market: str, day: str) -> Path:
    """The file with the newest version of a kind's rows of a day, where a glob finds it."""
    return lake / f"{_partition(kind, market, day)}/{_FILE}"


def glob_of(kind: str = "*") -> str:
    """The pattern of all files with newest versions, below the lake's folder."""
    return f"kind={kind}/market=*/session_date=*/{_FILE}"


def version_path(lake: Path, kind: str, market: str, day: str, version: int) -> Path:
    """The file with one version of a kind's rows of a day. Its content never changes."""
    return lake / version_name(kind, market, day, version)


def version_name(kind: str, market: str, day: str, version: int) -> str:
    """The same file by its name below the lake's folder: to make a path of pathlib of each file takes long."""
    return f"{_VERSIONS}/{_partition(kind, market, day)}/{version}.parquet"


def _partition(kind: str, market: str, day: str) -> str:
    return f"kind={kind}/market={market}/session_date={day}"


class VersionFile(msgspec.Struct, frozen=True):
    """The file of a version, as its name below the lake's folder says."""

    name: str
    kind: str
    market: str
    session_date: str
    version: int


def version_files(lake: Path) -> Sequence[VersionFile]:
    """The files of all versions, also those that no manifest names."""
    pattern = f"{_VERSIONS}/kind=*/market=*/session_date=*/*.parquet"
    names = sorted(glob(pattern, root_dir=lake))  # noqa: PTH207 - paths of pathlib take ten times as long
    found = [match for name in names if (match := _VERSION_NAME.fullmatch(name))]
    return [VersionFile(each[0], each[1], each[2], each[3], int(each[4])) for each in found]


def lost_text(path: str, kind: str, day: str, what: str = "is gone") -> str:
    """What to say of the file of a version that is gone or damaged, with the remedy."""
    return lake_damaged(f"{path} {what}, which has the {kind} of {day}", day)


def lost_files(lake: Path, day: SealedDay) -> Sequence[str]:
    """What to say of the day's versions whose file is gone or has another size than stated; no file is read."""
    return [text for kind, version in day.versions if (text := lost_file(lake, day, kind, version))]


def lost_file(lake: Path, day: SealedDay, kind: str, version: Version) -> str:
    """What to say of a version's file that is gone or has another size than stated; empty of any other."""
    path = lake / day.name_of(kind, version)
    try:
        is_whole = path.stat().st_size == version.size_bytes
    except FileNotFoundError:
        return lost_text(str(path), kind, day.session_date)
    return "" if is_whole else lost_text(str(path), kind, day.session_date, "is damaged")


# --- manifests --------------------------------------------------------------------------------------------------------


def sealed_days(lake: Path) -> list[SealedDay]:
    """The sealed days, by market and date; none where there is no lake.

    Raises:
        DataFileError: a manifest cannot be read, or is of a later version of Observer.
    """
    return [manifest_at(path) for path in manifests(lake)]


def readable_days(lake: Path) -> tuple[list[SealedDay], dict[str, str]]:
    """The sealed days whose manifest can be read, by market and date, and what is wrong with the others', by date."""
    days, wrong = [], {}
    for path in manifests(lake):
        try:
            days.append(manifest_at(path))
        except DataFileError as error:
            wrong[path.stem] = str(error)
    return days, wrong


def newest_sealed_days(lake: Path, count: int) -> list[SealedDay]:
    """So many of the newest sealed days of all markets, by date; the manifests of the others are not read.

    Raises:
        DataFileError: as for `sealed_days`.
    """
    newest = sorted(manifests(lake), key=lambda path: path.stem)[-count:]
    return [manifest_at(path) for path in newest]


def sealed_markets(lake: Path) -> Sequence[str]:
    """The markets with a sealed day, sorted; no manifest is read."""
    return sorted({path.parent.name.removeprefix("market=") for path in manifests(lake)})


class SealedDays(Mapping[str, SealedDay]):
    """The sealed days of a market by date, as their manifests are when this is made. A manifest is decoded when its day
    is asked for: to decode those of a year takes a tenth of a second.

    Raises:
        DataFileError: a manifest cannot be read, is damaged or a later one: when its day is asked for.
    """

    def __init__(self, lake: Path, market: str) -> None:
        self._contents = {path.stem: (path, _read(path)) for path in manifests(lake, market)}

    def __getitem__(self, day: str) -> SealedDay:
        """The day's manifest, decoded anew each time."""
        path, content = self._contents[day]
        if isinstance(content, DataFileError):
            raise content
        return manifest_from(content, str(path), lake_damaged("a damaged manifest", day))

    def __iter__(self) -> Iterator[str]:
        return iter(self._contents)

    def __len__(self) -> int:
        return len(self._contents)


def manifests(lake: Path, market: str = "*") -> Sequence[Path]:
    """The files of the manifests, by market and date."""
    return sorted((lake / DAYS).glob(f"market={market}/*.json"))


def sealed_dates(lake: Path) -> set[str]:
    """The dates that have a manifest, of any market; it is not read."""
    return {path.stem for path in manifests(lake)}


def sealed_day(lake: Path, market: str, day: str) -> SealedDay | None:
    """The sealed day; None if it is not sealed.

    Raises:
        DataFileError: as for `sealed_days`.
    """
    path = manifest_path(lake, market, day)
    return manifest_at(path) if path.exists() else None


def write_manifest(lake: Path, day: SealedDay) -> None:
    """Seal the day: from now on it is as this manifest says. The versions' files are on the disk before.

    Raises:
        OSError: the folder cannot be written.
    """
    path = manifest_path(lake, day.market, day.session_date)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, manifest_content(day))
    sync_path(path.parent)


def manifest_path(lake: Path, market: str, day: str) -> Path:
    return lake / DAYS / f"market={market}" / f"{day}.json"


def manifest_name(market: str, day: str) -> str:
    """The name of a day's manifest below the lake's folder."""
    return f"{DAYS}/market={market}/{day}.json"


def manifest_content(day: SealedDay) -> bytes:
    """The manifest's text, with the SHA-256 of all of it before the last member, which states this digest."""
    text = msgspec.json.format(msgspec.json.encode(day), indent=1).removesuffix(b"\n}")
    return b'%s,\n "sha256": "%s"\n}\n' % (text, sha256(text).hexdigest().encode())


def manifest_from(content: bytes, name: str, remedy: str) -> SealedDay:
    """The manifest with this content; `name` and `remedy` are for the error.

    Raises:
        DamagedFileError: it is not what was written.
        DataFileError: it is of a later version of Observer.
    """
    if (stated := _SHA256.search(content)) and sha256(content[: stated.start()]).hexdigest().encode() != stated[1]:
        raise DamagedFileError(f"{name}: it is damaged (its own digest is another one); {remedy}")
    try:
        manifest = msgspec.json.decode(content, type=SealedDay)
        if _LACKING.search(content):
            manifest = _with_lacking(manifest, msgspec.json.decode(content, type=_Lacking).lacking)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{name}: {error}; {remedy}") from error
    if manifest.format > FORMAT:
        raise DataFileError(f"{name}: format {manifest.format}, this program knows {FORMAT}: use the newer one")
    return manifest


def _with_lacking(day: SealedDay, lacking: Mapping[str, tuple[Version, ...]]) -> SealedDay:
    """The day with the versions that an earlier Observer had given up: they are named as lost until they are back. The
    database did not have their rows, and need not have them.
    """
    kinds = {
        kind: tuple(sorted((*day.kinds.get(kind, ()), *lacking.get(kind, ())), key=lambda each: each.version))
        for kind in {**day.kinds, **lacking}
    }
    lost = {kind for kind, found in lacking.items() if kinds[kind][-1] == found[-1]}
    return msgspec.structs.replace(day, kinds=kinds, removed=tuple(sorted({*day.removed, *(lost & REMOVABLE)})))


def manifest_at(path: Path) -> SealedDay:
    """The manifest in this file.

    Raises:
        DataFileError: as for `sealed_days`.
    """
    return manifest_from(_content_of(path), str(path), lake_damaged("a damaged manifest", path.stem))


def _content_of(path: Path) -> bytes:
    if isinstance(found := _read(path), DataFileError):
        raise found
    return found


def _read(path: Path) -> bytes | DataFileError:
    try:
        return read_file(path)
    except OSError as error:
        return DamagedFileError(f"{path}: {error.strerror}")


def days_to_remove(days: Sequence[SealedDay], market: str, keep_days: int) -> Sequence[SealedDay]:
    """The sealed days of a market before the newest `keep_days` of them: the database need not keep their rows."""
    of_market = sorted((day for day in days if day.market == market), key=lambda day: day.session_date)
    return of_market[: max(0, len(of_market) - keep_days)]
