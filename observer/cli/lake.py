"""`observer lake`: finished days are sealed, listed and verified."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click
import msgspec
from click.exceptions import Exit

from observer.archive.day import SealedDay, forgotten_dates, sealed_days
from observer.archive.settings import LakeSettings, missing_libraries
from observer.base.clock import clock_from_environment
from observer.base.errors import ConfigError, DataFileError, NoDataError, TargetError
from observer.base.local_time import local_datetime
from observer.cli.backup import shown
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
    none; None, there is no target, or it does not answer. `is_forgotten`: `observer lake forget` has it; of a sealed
    day it has the kinds `lost`.
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
    is_forgotten: bool = False
    lost: Sequence[str] = ()


class Lake(msgspec.Struct, frozen=True):
    """The configured lake: its folder, its database and its market."""

    settings: Settings
    folder: Path

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.settings.store.url

    @property
    def market(self) -> str:
        """The market of the instance."""
        return self.settings.instance.market

    @property
    def sealed(self) -> Sequence[SealedDay]:
        """The sealed days of the market."""
        return [day for day in sealed_days(self.folder) if day.market == self.market]

    def open_target(self) -> "ObjectStore | None":
        """The configured object store; None without one. Raises ConfigError: it has no keys."""
        if self.settings.lake is None or not self.settings.lake.target:
            return None
        from observer.archive.object_store import open_target

        return open_target(self.settings.lake, os.environ)


def seal_command(
    day: DayArgument = None, every: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Seal a finished day, or bring it up to date.

    A sealed day is a Parquet file for each kind of data. A day that has not changed since stays as it is; one that has
    gets a new version of what changed, and the old one stays readable.

    A line for each day as soon as it is sealed. Exit status 0: sealed and verified; 1: another process seals, a day is
    wrong, or the database failed; 130 after ctrl-C.
    """
    lake = lake_of(config)
    _require_one(day, every=every)
    wanted = _finished(lake) if every else [finished_day(lake, day)]
    out = None if sys.stdout.isatty() else sys.stdout  # on a terminal, above the line that shows the step
    found: list[SealedLine] = []

    def take(line: SealedLine) -> None:
        found.append(line)
        if not as_json:
            number = f"[{len(found)}/{len(wanted)}] " if every else ""
            click.echo(f"{number}{_text(line)}", file=out)

    try:
        lost = asyncio.run(_seal(lake, wanted, take, as_json=as_json))
    finally:
        if as_json:
            print_json(found)
        elif every:
            click.echo(_totals(found, len(wanted)))
    if lost and not every:
        raise DataFileError("; ".join(lost))


async def _seal(lake: Lake, days: Sequence[str], take: Callable[[SealedLine], None], *, as_json: bool) -> Sequence[str]:
    """Seal the days; return what to say of the kinds that are lost."""
    from observer.archive.day_files import DayFiles
    from observer.archive.sealing import seal_days

    clock = clock_from_environment()
    day_files = DayFiles(ledgers_folder(lake.settings.run.data), lake.settings.provider)

    lost: list[str] = []

    async def sealing(show: Callable[[str], None], stop: threading.Event) -> None:
        def work() -> None:
            def progress(day: str, kind: str, rows: int) -> None:
                show(f"sealing {day}, {days.index(day) + 1} of {len(days)}: {rows:,} rows of {kind}")

            for each in seal_days(lake.folder, lake.url, lake.market, days, clock.now_ns, stop, progress):
                day = each.day
                day_files.write(lake.folder, day)
                take(SealedLine(day.session_date, day.market, each.written, day.rows, day.size_bytes))
                lost.extend(each.lost)

        await asyncio.to_thread(work)

    await shown(sealing, as_json=as_json)
    return lost


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


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the sealed days, and the stored days that are not.

    A version above 1: the day changed after it was sealed. Bytes a trade are those of the trades' file. Database: hot,
    it has the day's rows; removed, only the lake has its trades, snapshots and other kinds of many rows ([store]
    keep_days); N left, they are being removed. Target ([lake] target): published, the object store has the day as it is
    here; behind, an earlier state of it; no, none.
    """
    lake = lake_of(config)
    from observer.store.sealing import SealingReader

    days = sealed_days(lake.folder)
    published = _published(lake)
    known = {day.session_date for day in days if day.market == lake.market}
    now = today(lake.settings.run)
    with SealingReader(lake.url) as reader:
        stored = set(reader.collected_days())
        found = [_status_line(day, _in_database(reader, day, stored), published) for day in days]
    forgotten = forgotten_dates(lake.folder)
    found = [msgspec.structs.replace(line, lost=day.lost_kinds) for line, day in zip(found, days, strict=True)]
    found += [
        StatusLine(day, lake.market, is_sealed=False, is_forgotten=day in forgotten)
        for day in stored
        if day < now and day not in known
    ]
    found.sort(key=lambda line: (line.session_date, line.market))
    if as_json:
        print_json(found)
        return
    if not found:
        raise NoDataError(f"no day is stored, and none is sealed in {lake.folder}: `observer run` stores days")
    columns = ["day", "market", "kinds", "rows", "MB", "bytes a trade", "version", "database", "target", "sealed"]
    right = ("kinds", "rows", "MB", "bytes a trade", "version")
    rows = [_row(line) for line in found]
    if published is None:
        place = columns.index("target")
        columns.pop(place)
        rows = [(*row[:place], *row[place + 1 :]) for row in rows]
    show_table(Table(columns, rows, str(lake.folder), right, optional=("kinds", "market")))


def _published(lake: Lake) -> Mapping[tuple[str, str], SealedDay] | None:
    """The days at the target by market and date; None where there is no target, or it does not answer."""
    from observer.archive.target import published_days

    try:
        if (store := lake.open_target()) is None:
            return None
        return {(day.market, day.session_date): day for day in published_days(store)}
    except (ConfigError, DataFileError, TargetError) as error:
        click.echo(f"what is published is unknown: {error}", err=True)
        return None


def _in_database(reader: "SealingReader", day: SealedDay, stored: Collection[str]) -> tuple[str, int]:
    """What the database has of a sealed day, and of rows that it need not have, how many it has."""
    if day.removed:
        left = sum(map(reader.count_left, day.removable_rows()))
        return ("removing" if left else "removed"), left
    return ("hot" if day.session_date in stored else ""), 0


def _status_line(
    day: SealedDay, in_database: tuple[str, int], published: Mapping[tuple[str, str], SealedDay] | None
) -> StatusLine:
    from observer.archive.target import state_at_target

    trades = day.newest("trades")
    return StatusLine(
        day.session_date,
        day.market,
        is_sealed=True,
        kinds=len(day.kinds),
        rows=day.rows,
        size_bytes=day.size_bytes,
        bytes_a_trade=trades.size_bytes / trades.rows if trades else None,
        version=max(found[-1].version for found in day.kinds.values()) if day.kinds else None,
        sealed_at_ns=day.sealed_at_ns,
        database=in_database[0],
        rows_left=in_database[1],
        target=None if published is None else state_at_target(day, published),
    )


def _row(line: StatusLine) -> Sequence[str]:
    if line.sealed_at_ns is None:
        state = "lost" if line.is_forgotten else f"no: `observer lake seal {line.session_date}`"
        return (line.session_date, line.market, *[""] * 5, line.database, "", state)
    return (
        line.session_date,
        line.market,
        f"{line.kinds}",
        f"{line.rows:,}",
        f"{line.size_bytes / 1e6:,.1f}",
        "" if line.bytes_a_trade is None else f"{line.bytes_a_trade:.1f}",
        "" if line.version is None else f"{line.version}",
        f"{line.rows_left:,} left" if line.rows_left else line.database,
        line.target or "",
        f"lost: {', '.join(line.lost)}" if line.lost else local_datetime(line.sealed_at_ns).strftime("%Y-%m-%d %H:%M"),
    )


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
    days = lake.sealed
    if not every:
        with DayReader(lake.url) as reader:
            asked = asked_day(reader, day, lake.settings.run).session_date
        days = [each for each in days if each.session_date == asked]
    if not days:
        raise NoDataError(
            f"{'no day is' if every else f'{asked} is not'} sealed in {lake.folder}: see `observer lake status`"
        )
    found = asyncio.run(_verify(lake, days, as_json=as_json))
    if as_json:
        print_json(found)
    for each in () if as_json else found:
        for problem in each.problems:
            click.echo(f"{each.session_date}: {problem}", err=True)
        if not each.problems:
            compared = f"{each.compared_rows:,} compared with the database"
            also = f", also at {lake.settings.lake.target}" if lake.settings.lake and lake.settings.lake.target else ""
            click.echo(f"{each.session_date}: whole, {each.rows:,} rows of {each.kinds} kinds, {compared}{also}")
    if any(each.problems for each in found):
        raise Exit(1)


async def _verify(lake: Lake, days: Sequence[SealedDay], *, as_json: bool) -> Sequence["VerifiedDay"]:
    from observer.archive.day import sealed_day
    from observer.archive.repair import confirmed
    from observer.archive.target import wrong_at_target
    from observer.archive.verification import verify_catalogue, verify_stored_day

    target = lake.open_target()

    async def verifying(show: Callable[[str], None], stop: threading.Event) -> Sequence["VerifiedDay"]:
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

        def work() -> list["VerifiedDay"]:
            found = [
                confirmed(lake.folder, partial(whole, day), lambda each: each.problems, stop, waiting) for day in days
            ]
            show("verifying the catalogue")
            wrong = confirmed(lake.folder, partial(verify_catalogue, lake.folder), lambda each: each, stop, waiting)
            last = msgspec.structs.replace(found[-1], problems=(*found[-1].problems, *wrong))
            return [*found[:-1], last]

        return await asyncio.to_thread(work)

    return await shown(verifying, as_json=as_json)


def lake_of(config: Path | None) -> Lake:
    """The lake of the named configuration, or of the chosen one of this folder.

    Raises:
        ConfigError: it is wrong, or the extra is not installed.
    """
    settings = full_settings(config)
    require_extra()
    return Lake(settings, (settings.lake or LakeSettings()).folder_in(settings.run.data))


def require_extra() -> None:
    """Return if what the lake needs is installed. Raises ConfigError otherwise."""
    if text := missing_libraries():
        raise ConfigError(text)


def _finished(lake: Lake) -> Sequence[str]:
    """The stored days before the market's present one, but for those whose files are lost."""
    from observer.store.sealing import SealingReader

    now = today(lake.settings.run)
    forgotten = forgotten_dates(lake.folder)
    with SealingReader(lake.url) as reader:
        return [day for day in reader.collected_days() if day < now and day not in forgotten]


def _require_one(day: str | None, *, every: bool) -> None:
    if every and day is not None:
        raise ConfigError("give a day or --all, not both")


def finished_day(lake: Lake, day: str | None) -> str:
    """The stored day as it was typed, or the last one. Raises NoDataError: it is not stored, or not over."""
    with DayReader(lake.url) as reader:
        asked = stored_day(reader, day, lake.settings.run).session_date
    if asked >= today(lake.settings.run):
        raise NoDataError(f"{asked} is not over: seal it tomorrow; with [lake] its process does it after the backup")
    return asked
