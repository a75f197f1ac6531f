"""Where the lake's files are, and which days are sealed. It reads and writes names and manifests, never Parquet.

    LAKE/kind=K/market=M/session_date=D/part-0.parquet    the newest version, for any engine that reads a glob
    LAKE/_versions/kind=K/market=M/session_date=D/N.parquet    every version, never changed; N is 1, 2 ...
    LAKE/_days/market=M/D.json                            the day's manifest
    LAKE/_catalogue/                                      the Iceberg tables' metadata
    LAKE/_staging/                                        files that are being written

A day is sealed when its manifest is there, and as the manifest says: its replacement is the one step that commits a
sealing. The glob's files and the catalogue follow from the manifests (`observer.archive.repair`), so after a
kill they can be behind, and nothing unfinished is ever visible. Engines ignore names that begin with an underscore.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.base.errors import DataFileError
from observer.base.files import read_file, replace_file, sync_path
from observer.store.removal import SealedRows

FORMAT: Final = 1
"""The version of the manifests' own format."""
PARTITIONED_BY: Final = ("market", "session_date")
"""The columns that a file does not hold: its folders' names give them."""
STAGING: Final = "_staging"
CATALOGUE: Final = "_catalogue"
DAYS: Final = "_days"
_VERSIONS: Final = "_versions"
_REMEDY: Final = "remove it, and `observer lake seal` makes it again from its files"
_FILE: Final = "part-0.parquet"
_ENDING: Final = ".parquet"
_FORGOTTEN: Final = ".forgotten"


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
    """One version of a kind's rows of a day: how many rows, their digest (`observer.archive.digest`), the bytes of
    the file, when it was sealed (UTC ns), the version of the events' schema, the positions of the rows, and whether it
    is known that no two rows have the same symbol and order (`observer.store.kinds`), as a trade that is stored twice
    has.
    """

    version: int
    rows: int
    digest: str
    size_bytes: int
    sealed_at_ns: int
    schema_version: int
    streams: tuple[StreamRows, ...] = ()
    is_distinct: bool = False

    def is_held_with(self, uids: Collection[str]) -> bool:
        """Whether a database with these event streams can hold all rows. Another database holds the others."""
        return all(each.uid in uids for each in self.streams)


class SealedDay(msgspec.Struct, frozen=True):
    """A manifest. `kinds` has the versions of each kind with rows, the newest one last; a kind without rows is absent.

    `marks` are the high-water marks of the event streams with rows of the day, by the streams' random ids, in the
    transaction that read the rows.
    `removed` are the kinds whose sealed rows the database need not have any more: they are being removed from it, or
    were. Such a kind's rows are those of its newest version, and those of the database at other positions.
    `lacking` are versions that the day had and whose files are not here, by kind: lost and forgotten in the lake, or
    damaged there and so not published at a target.
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
    lacking: Mapping[str, tuple[Version, ...]] = {}
    format: int = FORMAT

    def newest(self, kind: str) -> Version | None:
        """The newest version of a kind; None where the day has no rows of it."""
        found = self.kinds.get(kind, ())
        return found[-1] if found else None

    def last_number(self, kind: str) -> int:
        """The highest number of a version of a kind, here or lacking; 0 without one."""
        return max((each.version for found in (self.kinds, self.lacking) for each in found.get(kind, ())), default=0)

    @property
    def lost_kinds(self) -> Sequence[str]:
        """The kinds whose newest version is lacking: readers refuse them."""
        return [kind for kind, found in sorted(self.lacking.items()) if found[-1].version == self.last_number(kind)]

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


_decoder: Final = msgspec.json.Decoder(SealedDay)


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
    return f"{_VERSIONS}/{_partition(kind, market, day)}/{version}{_ENDING}"


class VersionFile(msgspec.Struct, frozen=True):
    """The file of a version, as its folders and its name say."""

    folder: str
    kind: str
    market: str
    session_date: str
    version: int

    @property
    def path(self) -> Path:
        return Path(self.folder, f"{self.version}{_ENDING}")


def lost_text(path: str, kind: str, day: str, what: str = "is gone") -> str:
    """What to say of the file of a version that is gone or damaged, with the remedies."""
    return (
        f"{path} {what}, which has the {kind} of {day}: mount the lake, `observer lake seal {day}` or "
        f"`observer backup restore --lake`; without a copy `observer lake forget {day}`"
    )


def version_files(lake: Path) -> list[VersionFile]:
    """The files of all versions, also those that no manifest names."""
    folders: list[tuple[str, tuple[str, ...]]] = [(str(lake / _VERSIONS), ())]
    for column in ("kind", *PARTITIONED_BY):
        folders = [
            (f"{folder}/{name}", (*values, value))
            for folder, values in folders
            for name, (found, _, value) in ((each, each.partition("=")) for each in _names(folder))
            if found == column
        ]
    return [
        VersionFile(folder, kind, market, day, int(name.removesuffix(_ENDING)))
        for folder, (kind, market, day) in folders
        for name in _names(folder)
        if name.endswith(_ENDING) and name.removesuffix(_ENDING).isdecimal()
    ]


def _names(folder: str) -> Sequence[str]:
    """The sorted names in a folder; none where there is no folder. A lake has as many folders as kinds and days: paths
    of pathlib would take ten times as long.
    """
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _partition(kind: str, market: str, day: str) -> str:
    return f"kind={kind}/market={market}/session_date={day}"


def sealed_days(lake: Path) -> list[SealedDay]:
    """The sealed days, by market and date; none where there is no lake.

    Raises:
        DataFileError: a manifest cannot be read, or is of a later version of Observer.
    """
    return [manifest_at(path) for path in _manifests(lake)]


def newest_sealed_days(lake: Path, count: int) -> list[SealedDay]:
    """So many of the newest sealed days of all markets, by date; the manifests of the others are not read.

    Raises:
        DataFileError: as for `sealed_days`.
    """
    newest = sorted(_manifests(lake), key=lambda path: path.stem)[-count:]
    return [manifest_at(path) for path in newest]


def sealed_markets(lake: Path) -> Sequence[str]:
    """The markets with a sealed day, sorted; no manifest is read."""
    return sorted({path.parent.name.removeprefix("market=") for path in _manifests(lake)})


class SealedDays(Mapping[str, SealedDay]):
    """The sealed days of a market by date, as their manifests are when this is made. A manifest is decoded when its day
    is asked for: to decode those of a year takes a tenth of a second.

    Raises:
        DataFileError: a manifest cannot be read; of a damaged or later one, when its day is asked for.
    """

    def __init__(self, lake: Path, market: str) -> None:
        self._contents = {path: _manifest_bytes(path) for path in _manifests(lake, market)}
        self._paths = {path.stem: path for path in self._contents}

    def __getitem__(self, day: str) -> SealedDay:
        """The day's manifest, decoded anew each time."""
        path = self._paths[day]
        return manifest_from(self._contents[path], str(path), _REMEDY)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _manifests(lake: Path, market: str = "*") -> Sequence[Path]:
    return sorted((lake / DAYS).glob(f"market={market}/*.json"))


def sealed_dates(lake: Path) -> set[str]:
    """The dates that have a manifest, of any market; it is not read."""
    return {path.stem for path in (lake / DAYS).glob("market=*/*.json")}


def forget_day(lake: Path, market: str, day: str) -> None:
    """State that the day's files are lost and are not expected back, so that no sealing looks for them any more.

    Raises:
        OSError: the folder cannot be written.
    """
    path = manifest_path(lake, market, day).with_suffix(_FORGOTTEN)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    sync_path(path.parent)


def forgotten_dates(lake: Path) -> set[str]:
    """The dates whose files are lost and are not expected back. A day that has a manifest again is not among them."""
    return {path.stem for path in (lake / DAYS).glob(f"market=*/*{_FORGOTTEN}")} - sealed_dates(lake)


def sealed_day(lake: Path, market: str, day: str) -> SealedDay | None:
    """The sealed day; None if it is not sealed.

    Raises:
        DataFileError: as for `sealed_days`.
    """
    path = manifest_path(lake, market, day)
    return manifest_at(path) if path.exists() else None


def versions(lake: Path, kind: str, day: str) -> list[tuple[Version, Path]]:
    """The versions of a kind's rows of a day with their files, in the order of markets and versions.

    Raises:
        DataFileError: as for `sealed_days`.
    """
    found = [each for each in sealed_days(lake) if each.session_date == day]
    return [
        (version, version_path(lake, kind, each.market, day, version.version))
        for each in found
        for version in each.kinds.get(kind, ())
    ]


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


def manifest_content(day: SealedDay) -> bytes:
    return msgspec.json.format(msgspec.json.encode(day), indent=1) + b"\n"


def manifest_from(content: bytes, name: str, remedy: str) -> SealedDay:
    """The manifest with this content; `name` and `remedy` are for the error.

    Raises:
        DataFileError: it is damaged, or of a later version of Observer.
    """
    try:
        manifest = _decoder.decode(content)
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"{name}: {error}; {remedy}") from error
    if manifest.format > FORMAT:
        raise DataFileError(f"{name}: format {manifest.format}, this program knows {FORMAT}: use the newer one")
    return manifest


def manifest_at(path: Path) -> SealedDay:
    """The manifest in this file.

    Raises:
        DataFileError: as for `sealed_days`.
    """
    return manifest_from(_manifest_bytes(path), str(path), _REMEDY)


def _manifest_bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise DataFileError(f"{path}: {error.strerror}") from error


def days_to_remove(days: Sequence[SealedDay], market: str, keep_days: int) -> Sequence[SealedDay]:
    """The sealed days of a market before the newest `keep_days` of them: the database need not keep their rows."""
    of_market = sorted((day for day in days if day.market == market), key=lambda day: day.session_date)
    return of_market[: max(0, len(of_market) - keep_days)]
