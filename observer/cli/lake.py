"""`observer lake`: finished days are sealed, listed, verified and published."""

import os
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click
import msgspec
from click.exceptions import Exit

from observer.archive.day import SealedDay, readable_days, sealed_dates, sealed_day
from observer.archive.places import places_of
from observer.archive.settings import LakeSettings, missing_libraries
from observer.base.clock import clock_from_environment
from observer.base.errors import ConfigError, DataFileError, NoDataError, TargetError
from observer.base.local_time import local_datetime
from observer.cli.context import (
    ConfigOption,
    DayArgument,
    JsonOption,
    asked_day,
    full_settings,
    print_json,
    stored_day,
    today,
)
from observer.cli.options import Option
from observer.cli.removed import folder_of_lake
from observer.cli.steps import Step, run_shown
from observer.cli.tables import Table
from observer.cli.tables import show as show_table
from observer.store.days import DayReader
from observer.store.exports import ledgers_folder
from observer.system.config import Settings

if TYPE_CHECKING:  # it loads pyarrow
    from observer.archive.object_store import ObjectStore
    from observer.archive.verification import VerifiedDay
    from observer.store.sealing import SealingReader

_NAMED_KINDS_MAX: Final = 4
AllOption = Annotated[bool, Option("--all", help="Every day.")]


class SealedLine(msgspec.Struct, frozen=True):
    """A day of `observer lake seal`: the kinds that got a new version, and the day's rows and bytes."""

    session_date: str
    market: str
    written: Sequence[str]
    rows: int
    size_bytes: int


class StatusLine(msgspec.Struct, frozen=True):
    """A day of `observer lake status`; one that is not sealed has no values. `version` is the largest of its kinds.

    `database`: "hot", it has the day's rows; "removing", it need not have those of many rows, and has `rows_left` of
    them; "removed", it has none of them; empty, it does not have the day.
    `target`: "published", the object store has the day as it is here; "behind", it has an earlier state; "no", it has
    none; None, there is no target, or it does not answer.
    """

    session_date: str
    market: str
    is_sealed: bool
    kinds: int = 0
    rows: int = 0
    size_bytes: int = 0
    bytes_a_trade: float | None = None
    version: int | None = None
    sealed_at_ns: int | None = None
    database: str = "hot"
    rows_left: int = 0
    target: str | None = None


class PublishedLine(msgspec.Struct, frozen=True):
    """A day that was published, or brought up to date, at the object store."""

    session_date: str
    market: str
    rows: int
    size_bytes: int


class Lake(msgspec.Struct, frozen=True):
    """The configured lake: its folder, its database and its market."""

    settings: Settings
    folder: Path
    url: str
    market: str

    @property
    def sealed(self) -> Sequence[SealedDay]:
        """The sealed days of the market."""
        return [day for day in readable_days(self.folder)[0] if day.market == self.market]

    def open_target(self) -> "ObjectStore | None":
        """The configured object store; None without one. Raises ConfigError: it has no keys."""
        if self.settings.lake is None or not self.settings.lake.target:
            return None
        from observer.archive.object_store import open_target

        return open_target(self.settings.lake, os.environ)

    def asked(self, day: str | None) -> str:
        """The date as it was typed, or the last stored session."""
        with DayReader(self.url) as reader:
            return asked_day(reader, day, self.settings.run).session_date


def lake_of(config: Path | None) -> Lake:
    """The lake of the named configuration, or of the chosen one of this folder.

    Raises:
        ConfigError: it is wrong, or the extra is not installed.
    """
    settings = full_settings(config)
    require_extra()
    return Lake(settings, folder_of_lake(settings), settings.store.url, settings.instance.market)


def require_extra() -> None:
    """Return if what the lake needs is installed. Raises ConfigError otherwise."""
    if text := missing_libraries():
        raise ConfigError(text)


def _require_one(day: str | None, *, every: bool) -> None:
    if every and day is not None:
        raise ConfigError("give a day or --all, not both")


def _write_line(text: str) -> None:
    """Write a line; on a terminal, above the line that shows the step."""
    click.echo(text, file=None if sys.stdout.isatty() else sys.stdout)


# --- seal -------------------------------------------------------------------------------------------------------------


def seal_command(
    day: DayArgument = None, every: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Seal a finished day, or bring it up to date.

    A sealed day is a Parquet file for each kind of data. A day that has not changed since stays as it is; one that has
    gets a new version of what changed, and the old one stays readable. Of a named day every file is read, and a file or
    a manifest that is damaged is mended: from the files, the database, or the copies of the lake beside the packages.

    A line for each day as soon as it is sealed. Exit status 0: sealed and verified; 1: another process seals, a day is
    wrong, or the database failed; 130 after ctrl-C.
    """
    lake = lake_of(config)
    from observer.archive.day_files import DayFiles
    from observer.archive.sealing import seal_days  # it loads pyarrow

    _require_one(day, every=every)
    days = _finished(lake) if every else [_finished_day(lake, day)]
    day_files = DayFiles(ledgers_folder(lake.settings.run.data), lake.settings.provider)
    clock = clock_from_environment()
    found: list[SealedLine] = []

    def sealing(show: Step, stop: threading.Event) -> None:
        def progress(day: str, kind: str, rows: int) -> None:
            show(f"sealing {day}, {days.index(day) + 1} of {len(days)}: {rows:,} rows of {kind}")

        settings = lake.settings
        places = places_of(settings.lake or LakeSettings(), settings.backup, settings.run)
        found_days = seal_days(
            lake.folder,
            lake.url,
            lake.market,
            days,
            clock.now_ns,
            stop,
            progress,
            mended=() if every else days,
            places=places,
        )
        for each in found_days:
            sealed = each.day
            day_files.write(lake.folder, sealed)
            line = SealedLine(sealed.session_date, sealed.market, each.written, sealed.rows, sealed.size_bytes)
            found.append(line)
            if not as_json:
                _write_line(f"{f'[{len(found)}/{len(days)}] ' if every else ''}{_text(line)}")

    try:
        run_shown(sealing, as_json=as_json)
    finally:
        if as_json:
            print_json(found)
        elif every:
            click.echo(_totals(found, len(days)))


def _finished(lake: Lake) -> Sequence[str]:
    """The stored days before the market's present one."""
    from observer.store.sealing import SealingReader

    now = today(lake.settings.run)
    with SealingReader(lake.url) as reader:
        return [day for day in reader.collected_days() if day < now]


def _finished_day(lake: Lake, day: str | None) -> str:
    """The stored day as it was typed, or the last one. Raises NoDataError: it is not stored, or not over."""
    if day in sealed_dates(lake.folder):  # the database need not have it
        asked = day
    else:
        with DayReader(lake.url) as reader:
            asked = stored_day(reader, day, lake.settings.run).session_date
    if asked >= today(lake.settings.run):
        raise NoDataError(f"{asked} is not over: seal it tomorrow; with [lake] its process does it after the backup")
    return asked


def _totals(found: Sequence[SealedLine], days: int) -> str:
    written = sum(bool(line.written) for line in found)
    rest = f", {days - len(found)} not" if len(found) < days else ""
    return f"{days} day{'s' * (days != 1)}: {written} sealed, {len(found) - written} unchanged{rest}"


def _text(line: SealedLine) -> str:
    whole = f"{line.rows:,} rows, {line.size_bytes:,} bytes"
    if not line.written:
        return f"{line.session_date}: unchanged since it was sealed, {whole}"
    kinds = ", ".join(line.written) if len(line.written) <= _NAMED_KINDS_MAX else f"{len(line.written)} kinds"
    return f"{line.session_date}: sealed {kinds}; {whole}"


# --- status -----------------------------------------------------------------------------------------------------------


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the sealed days, and the stored days that are not.

    A version above 1: the day changed after it was sealed. Bytes a trade are those of the trades' file. Database: hot,
    it has the day's rows; removed, only the lake has its trades, snapshots and other kinds of many rows ([store]
    keep_days); N left, they are being removed. Target ([lake] target): published, the object store has the day as it is
    here; behind, an earlier state of it; no, none.
    """
    lake = lake_of(config)
    from observer.store.sealing import SealingReader

    (days, wrong), published, now = readable_days(lake.folder), _published(lake), today(lake.settings.run)
    for text in wrong.values():
        click.echo(text, err=True)
    known = {day.session_date for day in days if day.market == lake.market}
    with SealingReader(lake.url) as reader:
        stored = set(reader.collected_days())
        found = [_status_line(reader, day, stored, published) for day in days]
    found += [StatusLine(day, lake.market, is_sealed=False) for day in stored if day < now and day not in known]
    found.sort(key=lambda line: (line.session_date, line.market))
    if as_json:
        print_json(found)
        return
    if not found:
        raise NoDataError(f"no day is stored, and none is sealed in {lake.folder}: `observer run` stores days")
    rows = [_cells(line, has_target=published is not None) for line in found]
    right = ("kinds", "rows", "MB", "bytes a trade", "version")
    cells = [list(row.values()) for row in rows]
    show_table(Table(list(rows[0]), cells, str(lake.folder), right, optional=("kinds", "market")))


def _published(lake: Lake) -> Mapping[tuple[str, str], SealedDay] | None:
    """The days at the target by market and date; None where there is no target, or it does not answer."""
    from observer.archive.copying import copied_days

    try:
        if (store := lake.open_target()) is None:
            return None
        return {(day.market, day.session_date): day for day in copied_days(store)}
    except (ConfigError, DataFileError, TargetError) as error:
        click.echo(f"what is published is unknown: {error}", err=True)
        return None


def _status_line(
    reader: "SealingReader",
    day: SealedDay,
    stored: Collection[str],
    published: Mapping[tuple[str, str], SealedDay] | None,
) -> StatusLine:
    from observer.archive.copying import state_at_target

    trades = day.newest("trades")
    left = sum(map(reader.count_left, day.removable_rows()))
    of_removed = "removing" if left else "removed"
    return StatusLine(
        day.session_date,
        day.market,
        is_sealed=True,
        kinds=len(day.kinds),
        rows=day.rows,
        size_bytes=day.size_bytes,
        bytes_a_trade=trades.size_bytes / trades.rows if trades else None,
        version=max((version.version for _, version in day.versions), default=None),
        sealed_at_ns=day.sealed_at_ns,
        database=of_removed if day.removed else "hot" if day.session_date in stored else "",
        rows_left=left,
        target=None if published is None else state_at_target(day, published),
    )


def _cells(line: StatusLine, *, has_target: bool) -> Mapping[str, str]:
    """The line's texts by column."""

    def text(value: float | None, form: str = ",") -> str:
        return "" if value is None or line.sealed_at_ns is None else format(value, form)

    return {
        "day": line.session_date,
        "market": line.market,
        "kinds": text(line.kinds),
        "rows": text(line.rows),
        "MB": text(line.size_bytes / 1e6, ",.1f"),
        "bytes a trade": text(line.bytes_a_trade, ".1f"),
        "version": text(line.version),
        "database": f"{line.rows_left:,} left" if line.rows_left else line.database,
        **({"target": line.target or ""} if has_target else {}),
        "sealed": f"no: `observer lake seal {line.session_date}`"
        if line.sealed_at_ns is None
        else local_datetime(line.sealed_at_ns).strftime("%Y-%m-%d %H:%M"),
    }


# --- verify -----------------------------------------------------------------------------------------------------------


def verify_command(
    day: DayArgument = None, every: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Compare sealed days with their digests and the database. Exit status 1: one differs.

    Each version's file is read whole, also at the object store ([lake] target). Rows of the database are compared as
    long as it has rows of that day. What differs is verified again after the end of a process that changes the lake:
    beside `lake seal --all` the command waits for the end of its last day.
    """
    lake = lake_of(config)
    _require_one(day, every=every)
    days, wrong = lake.sealed, readable_days(lake.folder)[1]
    if not every:
        asked = lake.asked(day)
        days = [each for each in days if each.session_date == asked]
        wrong = {date: text for date, text in wrong.items() if date == asked}
    if not days and not wrong:
        raise NoDataError(
            f"{'no day is' if every else f'{asked} is not'} sealed in {lake.folder}: see `observer lake status`"
        )
    target = lake.open_target()
    found = run_shown(partial(_verified, lake, days, target), as_json=as_json) if days else ()
    if as_json:
        print_json(found)
    for each in () if as_json else found:
        for problem in each.problems:
            click.echo(f"{each.session_date}: {problem}", err=True)
        if not each.problems:
            compared = f"{each.compared_rows:,} compared with the database"
            also = f", also at {target.url}" if target else ""
            click.echo(f"{each.session_date}: whole, {each.rows:,} rows of {each.kinds} kinds, {compared}{also}")
    for text in wrong.values():
        click.echo(text, err=True)
    if wrong or any(each.problems for each in found):
        raise Exit(1)


def _verified(
    lake: Lake, days: Sequence[SealedDay], target: "ObjectStore | None", show: Step, stop: threading.Event
) -> Sequence["VerifiedDay"]:
    from observer.archive.copying import wrong_at_target
    from observer.archive.lock import confirmed
    from observer.archive.verification import verify_catalogue, verify_stored_day

    def whole(day: SealedDay) -> "VerifiedDay":
        show(f"verifying {day.session_date}: {day.rows:,} rows")
        verified = verify_stored_day(lake.folder, day, lake.url, stop)
        if target is None:
            return verified
        show(f"verifying {day.session_date} at {target.url}: {day.size_bytes:,} bytes")
        now = sealed_day(lake.folder, day.market, day.session_date) or day  # it may have been sealed again
        wrong = wrong_at_target(lake.folder, target, now, stop)
        return msgspec.structs.replace(verified, problems=(*verified.problems, *wrong))

    def waiting() -> None:
        show("waiting for the process that changes the lake")

    found = [confirmed(lake.folder, partial(whole, day), lambda each: each.problems, stop, waiting) for day in days]
    show("verifying the catalogue")
    wrong = confirmed(lake.folder, partial(verify_catalogue, lake.folder), lambda each: each, stop, waiting)
    return [*found[:-1], msgspec.structs.replace(found[-1], problems=(*found[-1].problems, *wrong))]


# --- publish ----------------------------------------------------------------------------------------------------------


def publish_command(day: DayArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Publish sealed days at the object store.

    All days that are not at the target of [lake], or not as they are here; the lake's process does it each day after
    the sealing. Of a named day everything there is read again, and what is damaged is replaced.

    Exit status 1: the object store does not answer or refuses, or another process changes the lake; what was published
    until then stays, and the next publication goes on there.
    """
    from observer.archive.copying import publish_days

    lake = lake_of(config)
    again = None if day is None else lake.asked(day)
    days = lake.sealed
    if again is not None and again not in {each.session_date for each in days}:
        raise NoDataError(f"{again} is not sealed in {lake.folder}: see `observer lake status`")
    if (store := lake.open_target()) is None:
        raise ConfigError('no object store is configured: add target = "s3://BUCKET/PREFIX" to [lake]')

    def publishing(show: Step, stop: threading.Event) -> Sequence[PublishedLine]:
        def progress(session_date: str, kind: str) -> None:
            show(f"publishing {session_date}: {kind}")

        found = []
        for each in publish_days(lake.folder, store, lake.market, stop, progress, again):
            found.append(PublishedLine(each.session_date, each.market, each.rows, each.size_bytes))
            if not as_json:
                _write_line(f"{each.session_date}: published, {each.rows:,} rows, {each.size_bytes:,} bytes")
        return found

    found = run_shown(publishing, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{len(days)} sealed days: {len(found)} published now, {len(days) - len(found)} were there")
