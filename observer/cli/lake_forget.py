"""`observer lake forget`: versions, or a day, whose files and copies are lost are not looked for any more."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
from click.exceptions import Exit

from observer.archive.day import (
    SealedDay,
    Version,
    forget_day,
    manifest_path,
    sealed_day,
    version_path,
    write_manifest,
)
from observer.archive.lake_copy import copied_files, copy_of_lake
from observer.archive.package import loss_of
from observer.base.errors import ConfigError, DataFileError, TargetError
from observer.cli.context import ConfigOption, DayArgument
from observer.cli.lake import Lake, finished_day, lake_of
from observer.cli.options import Option
from observer.store.removal import SealedRows

if TYPE_CHECKING:
    from observer.store.sealing import SealingReader

_Lost = Mapping[str, Sequence[Version]]


def forget_command(
    day: DayArgument,
    yes: Annotated[bool, Option("--yes", help="Do it; without it only say what is lost.")] = False,
    config: ConfigOption = None,
) -> None:
    """End the search for a day whose files are lost.

    Of a day with lost versions: for those alone. The lake's process and `observer lake seal --all` pass over the day
    then, and the alert ends with the next sealing. Readers refuse the kinds that are lost. What the database has of
    the day stays. Once its files or its rows are back, `observer lake seal DAY` makes it a sealed day again.

    Exit status 0: done; 1: without --yes; 2: the day is not lost, or a copy of the lake, the target or the database has
    what is, or one of them cannot be asked.
    """
    from observer.archive.lost_versions import lost_versions, without
    from observer.archive.repair import locked
    from observer.store.sealing import SealingReader

    lake = lake_of(config)
    asked = finished_day(lake, day)
    sealed = sealed_day(lake.folder, lake.market, asked)
    lost: _Lost = {} if sealed is None else lost_versions(lake.folder, sealed)
    with SealingReader(lake.url) as reader:
        if not lost and (sealed is not None or not reader.lacks_snapshots(asked)):
            raise DataFileError(f"{asked} is not lost: `observer lake seal {asked}`")
        if sealed is not None and _is_stored(lake, sealed, lost, reader):
            raise DataFileError(f"the database has all rows of {asked} that are lost: `observer lake seal {asked}`")
    looked = _require_no_copy(lake, asked, lost)
    names = [f"version {each.version} of {kind} ({each.rows:,} rows)" for kind, found in lost.items() for each in found]
    what = ", ".join(names) or "its files"
    if not yes:
        click.echo(f"{asked}: lost are {what}; looked for in {'; '.join(looked)}")
        click.echo(f"Nothing was changed. If none of these is only not mounted: observer lake forget {asked} --yes")
        raise Exit(1)
    with locked(lake.folder):
        if (now := sealed_day(lake.folder, lake.market, asked)) != sealed:
            raise DataFileError(f"{asked} was changed meanwhile: try again")
        if now is None:
            forget_day(lake.folder, lake.market, asked)
        else:
            write_manifest(lake.folder, without(now, lost))
    click.echo(f"{asked}: {what} are lost; what the database has of the day stays there")


def _is_stored(lake: Lake, day: SealedDay, lost: _Lost, reader: "SealingReader") -> bool:
    """Whether the database has the rows of each lost newest version, so that a sealing writes them again: it does where
    the file is gone, and the database has to keep them.
    """
    newest = [(kind, found[-1]) for kind, found in lost.items() if found[-1] == day.newest(kind)]
    return bool(newest) and all(
        kind not in day.removed
        and not version_path(lake.folder, kind, day.market, day.session_date, version.version).exists()
        and sum(map(reader.count_left, _positions(day, kind, version))) == version.rows
        for kind, version in newest
    )


def _positions(day: SealedDay, kind: str, version: Version) -> Sequence[SealedRows]:
    return [SealedRows(kind, day.session_date, each.uid, each.first, each.last, each.rows) for each in version.streams]


def _require_no_copy(lake: Lake, day: str, lost: _Lost) -> Sequence[str]:
    """Where was looked for the lost versions, or for the day where there are none.

    Raises:
        DataFileError: a copy of the lake or the target has them, or cannot be asked.
    """
    empty = "" if lake.sealed else ", which has no sealed day at all"
    looked = [f"{lake.folder}{empty}"]
    names = {
        version_path(Path(), kind, lake.market, day, each.version).as_posix()
        for kind, found in lost.items()
        for each in found
    }
    backup = lake.settings.backup
    for folder in (backup.folder_of(lake.settings.run), *([Path(backup.copy_to)] if backup.copy_to else [])):
        copy = copy_of_lake(folder, lake.settings.instance)
        if str(folder) == backup.copy_to and not folder.is_dir():
            raise DataFileError(f"backup.copy_to = {folder} is not there: mount it, or remove the setting")
        try:
            files = [file for file in copied_files(copy, lake.market, day) if not names or file.path in names]
            is_copied = any(not loss_of(copy, file, threading.Event()) for file in files)
        except OSError as error:
            raise DataFileError(f"{error.filename or copy} cannot be read: {error.strerror}") from error
        if is_copied:
            raise DataFileError(f"{copy} has a copy of {day}: `observer backup restore --lake --yes` puts it back")
        looked.append(f"{copy}{'' if copy.exists() else ', which is not there'}")
    try:
        if (target := lake.open_target()) is not None:
            manifest = manifest_path(Path(), lake.market, day).as_posix()
            if any(target.has_object(name) for name in names or {manifest}):
                raise DataFileError(f"{target.url} has {day}: copy its objects into {lake.folder}, then seal the day")
            looked.append(target.url)
    except (ConfigError, TargetError) as error:
        raise DataFileError(f"whether the target has {day} is unknown: {error}") from error
    return looked
