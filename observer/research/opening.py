"""Opens the stored data of an instance, from whatever names it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from observer.archive.copying import copies_in
from observer.archive.day import SealedDay, SealedDays, Version, sealed_dates, sealed_day, sealed_markets
from observer.archive.places import Places, places_of, read_elsewhere
from observer.archive.settings import TARGET_SCHEME, BackupSettings, LakeSettings, load_backup_settings
from observer.base.errors import ConfigError, DamagedFileError, DataFileError, NoDataError
from observer.base.local_time import use_zone
from observer.base.settings import RunSettings, load_base_settings, read_settings_file
from observer.calendar.venues import venue_of_market
from observer.research.arguments import path_of
from observer.research.following import Feed
from observer.research.reading import Rows, never_removed
from observer.research.sealed_file import SealedFile
from observer.research.store import Store
from observer.store.research import ResearchReader

_CONFIGURATIONS: Final = ("observer.toml", "config/observer.toml", "demo/observer.toml")
_DATABASES: Final = ("observer.db", "data/observer.db")
_SQLITE: Final = "sqlite:///"
_DEFAULT_RECORDS: Final = ("trades",)


class Target(msgspec.Struct, frozen=True):
    """What is opened: a configuration's file, the URL of a database, or the folder of a lake."""

    configuration: Path | None = None
    url: str | None = None
    lake: Path | None = None


def open_store(target: str | Path | None = None, *, tz: str | None = None) -> Store:
    """Open the stored data for reading, as they are now.

    Args:
        target: a folder, a configuration (.toml), a database (.db) or its URL, a lake's folder, or the URL of an object
            store to which a lake is published (s3://BUCKET/PREFIX, with the usual variables: AWS_ACCESS_KEY_ID,
            AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION); None: the nearest observer.toml, in this folder or one
            above it.
        tz: the IANA name of the zone of all times; None for the market's.

    Raises:
        NoDataError, ConfigError, StoreError, TargetError: there is nothing of this name, or it cannot be read.
    """
    if str(target).startswith(TARGET_SCHEME):
        return _open_published(str(target), tz)
    found = found_target(target)
    settings, lake, places = None, found.lake, None
    url = found.url
    if found.configuration is not None:
        settings = load_base_settings(found.configuration)
        url = _existing(settings.store.url, found.configuration)
        places = _places_of(found.configuration, settings.run, url)
        lake = places.lake
    elif url is not None and url.startswith(_SQLITE):
        lake = LakeSettings().folder_in(str(Path(url.removeprefix(_SQLITE)).parent))
    name = str(found.configuration or found.lake or "")
    records = None if found.configuration is None else _records(found.configuration)
    run = None if settings is None else settings.run
    opened = open_parts(url, lake, name, places=places, records=records, run=run, tz=tz)
    if settings is not None:
        opened.query_limit_s = settings.store.query_limit_s
    return opened


def open_parts(
    url: str | None,
    lake: Path | None,
    name: str = "",
    *,
    places: Places | None = None,
    records: Sequence[str] | None = None,
    run: RunSettings | None = None,
    tz: str | None = None,
) -> Store:
    """Open a database and the folder of its lake, which need not exist, or one of them alone.

    Args:
        url: the database's.
        lake: the folder with the sealed days.
        name: what is opened, for people; empty for the database's URL without secrets.
        places: where else a damaged file of the lake may be; None for the packages beside the lake.
        records: the kinds of records that are streamed; None if it is not known.
        run: where the running system is; None if it is not known.
        tz: as of `open_store`.

    Raises:
        ConfigError, StoreError: it cannot be read.
    """
    database = None if url is None else ResearchReader(url)
    market = (database.market() if database is not None else None) or ""
    if not market and lake is not None:
        market = next(iter(sealed_markets(lake)), "")
    venue = venue_of_market(market)
    use_zone(venue.zone)
    uids = None if database is None else set(database.stream_uids().values())
    sealed = None if lake is None else _SealedFiles(places or _places_beside(lake), market, uids)
    return Store(
        Rows(database, sealed or {}, market, never_removed if sealed is None else sealed.removed_version),
        name or (database.url if database is not None else ""),
        _zone(tz) or venue.zone_name,
        records=records,
        feed=Feed(run),
    )


def _open_published(url: str, tz: str | None) -> Store:
    """Open a lake that is published at an object store: its days as they are there now."""
    from observer.archive.copying import copied_days
    from observer.archive.object_store import open_url

    store = open_url(url)
    days = copied_days(store)
    if not days:
        raise NoDataError(f"{url} has no sealed day: `observer lake publish` puts them there")
    market = days[0].market
    venue = venue_of_market(market)
    use_zone(venue.zone)

    def url_of(day: SealedDay, kind: str, version: Version) -> str:
        return store.url_of(day.name_of(kind, version))

    sealed = {each.session_date: _files(each, url_of) for each in days if each.market == market}
    rows = Rows(None, sealed, market, storage=store.polars_options)
    return Store(rows, url, _zone(tz) or venue.zone_name, feed=Feed(None))


class _SealedFiles(Mapping[str, Mapping[str, SealedFile]]):
    """By sealed day and kind the file of the newest version at the opening; `uids` are the random ids of the database's
    event streams, None without a database.
    """

    def __init__(self, places: Places, market: str, uids: Collection[str] | None) -> None:
        self._uids = uids
        self._places = places
        self._market = market
        self._days = SealedDays(places.lake, market)
        self._known: dict[str, Mapping[str, SealedFile]] = {}

    def __getitem__(self, day: str) -> Mapping[str, SealedFile]:
        if day not in self._known:
            self._known[day] = _files(self._day(day), self._places.whole, self._uids)
        return self._known[day]

    def __iter__(self) -> Iterator[str]:
        return iter(self._days)

    def __len__(self) -> int:
        return len(self._days)

    def removed_version(self, day: str, kind: str) -> int:
        """The version that replaces the database's rows now; 0 for none."""
        try:
            now = sealed_day(self._places.lake, self._market, day)
        except DamagedFileError:  # since the opening, or `_day` has made one of the files
            return file.removed_version if (file := self.get(day, {}).get(kind)) is not None else 0
        newest = now.newest(kind) if now is not None and kind in now.removed else None
        return newest.version if newest is not None else 0

    def _day(self, day: str) -> SealedDay:
        """The day's manifest; where it is damaged, one of its copies and the day's files."""
        try:
            return self._days[day]
        except DamagedFileError as error:
            from observer.archive.repair import day_of_files  # it loads pyarrow's files

            try:
                found = day_of_files(self._places, self._market, day)
            except DataFileError as worse:
                raise DamagedFileError(f"{error}; {worse}") from error
            read_elsewhere(str(error), "the day's files and its copies' manifests")
            return found


def _files(
    day: SealedDay,
    whole: Callable[[SealedDay, str, Version], Path | str],
    uids: Collection[str] | None = None,
) -> Mapping[str, SealedFile]:
    """By kind the file of the newest version, which never changes; `whole` gives that of a day, kind and version. A
    database with the streams `uids` need not have the rows of a kind that is removed or that another database sealed.
    """
    newest = {kind: versions[-1] for kind, versions in day.kinds.items()}
    return {
        kind: SealedFile(
            partial(whole, day, kind, version),
            version.rows,
            version.version,
            version.streams,
            kind in day.removed,
            version.is_distinct,
            is_of_another=uids is not None and not version.is_held_with(uids),
        )
        for kind, version in newest.items()
    }


def _places_beside(lake: Path) -> Places:
    """The packages in the default folder, of any instance: a file counts by its digest."""
    return Places(lake, copies_in(BackupSettings().folder_of(RunSettings(data=str(lake.parent)))))


def found_target(target: str | Path | None) -> Target:
    """What a name stands for, as `open_store` takes it; an object store has none.

    Raises:
        NoDataError, ConfigError: there is nothing of this name.
    """
    if target is None:
        return Target(configuration=_nearest())
    if "://" in str(target):
        return Target(url=str(target))
    path = path_of(target, "a folder, an observer.toml, a database or its URL, or a lake")
    if path.suffix == ".toml" and path.exists():
        return Target(configuration=path)
    if path.is_file():
        return Target(url=f"{_SQLITE}{path.absolute()}")
    if not path.exists():
        raise NoDataError(f"there is no {path}: give a folder, an observer.toml, a database or its URL, or a lake")
    for name in _CONFIGURATIONS:
        if (path / name).is_file():
            return Target(configuration=path / name)
    for name in _DATABASES:
        if (path / name).is_file():
            return Target(url=f"{_SQLITE}{(path / name).absolute()}")
    if sealed_dates(path):
        return Target(lake=path)
    raise NoDataError(
        f"{path} has no observer.toml, no observer.db and no sealed day: `observer demo` makes the first two"
    )


def _nearest() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in _CONFIGURATIONS:
            if (folder / name).is_file() and _has_database(folder / name):
                return folder / name
    raise NoDataError(f"no observer.toml with a database is in {here} or above it: name one, or run `observer demo`")


def _has_database(configuration: Path) -> bool:
    try:
        url = _existing(load_base_settings(configuration).store.url, configuration)
    except ConfigError:
        return False
    return not url.startswith(_SQLITE) or Path(url.removeprefix(_SQLITE)).is_file()


def _existing(url: str, configuration: Path | None) -> str:
    """The URL; of a relative SQLite file, which is meant from Observer's folder, the first that exists: from this
    folder, that of the configuration, or one above it.
    """
    path = Path(url.removeprefix(_SQLITE))
    if not url.startswith(_SQLITE) or path.is_absolute() or configuration is None:
        return url
    folders = (Path.cwd(), *list(configuration.absolute().parents)[:2])
    return next((f"{_SQLITE}{folder / path}" for folder in folders if (folder / path).is_file()), url)


def _places_of(configuration: Path, run: RunSettings, url: str) -> Places:
    """The lake of a configuration, and the copies of it; relative data lie beside the SQLite database that was
    found.
    """
    section = read_settings_file(configuration).content.get("lake")
    if url.startswith(_SQLITE) and not Path(run.data).is_absolute():
        run = msgspec.structs.replace(run, data=str(Path(url.removeprefix(_SQLITE)).parent))
    try:
        backup = load_backup_settings(configuration)
    except ConfigError:  # of a section that no question needs
        backup = BackupSettings()
    return places_of(msgspec.convert(section or {}, LakeSettings), backup, run)


def _records(configuration: Path) -> Sequence[str]:
    """The streamed kinds of records, of the section [track_b]."""
    content: Mapping[str, Any] = read_settings_file(configuration).content
    section = content.get("track_b", {})
    return [str(each) for each in section.get("records", _DEFAULT_RECORDS)] if isinstance(section, dict) else ()


def _zone(tz: str | None) -> str | None:
    """The name of a zone that exists.

    Raises:
        ConfigError: there is none of this name.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return None if tz is None else ZoneInfo(tz).key
    except (ZoneInfoNotFoundError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{tz!r} is no time zone: give a name such as Europe/Berlin or UTC") from error
