"""A year of market days in one folder: `python -m tests.chaos.lake_year --folder F [--db URL]`.

Each day every process is started once (its stream, its outbox, its log), and rows of every kind are written by the real
store writer; then, in the order of the real system, the day is backed up (every few days), sealed, and the rows of old
sealed days are removed. After some of the days (--look-after) the whole system is started on the folder against the
simulated broker, measured (tests.chaos.year_looks) and stopped. A run that is ended goes on in its folder.

Prints a line a day on stderr and tables in the end. Exit status 0: nothing that has to stay as it is grew beyond the
limit from the last look but one to the last one (tests.chaos.year_growth); 1: something did; 3: --minutes are over, run
it again.
"""

import argparse
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TypeVar

import msgspec
import tomli_w
from sqlalchemy import make_url

from bus.delivery import Delivered
from observer.archive.backup import back_up, plan_of
from observer.archive.copying import copy_of_lake
from observer.archive.day import CATALOGUE, days_to_remove, sealed_days
from observer.archive.day_files import DayFiles
from observer.archive.package import safe_marks
from observer.archive.removal import Removal
from observer.archive.upkeep import LakeUpkeep
from observer.base.instance import schema_in
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_DAY
from observer.cli.tables import Table, show
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.store.exports import Ledgers, ledgers_folder
from observer.store.kinds import KINDS
from observer.store.owner import claim
from observer.store.statistics import refresh_statistics
from observer.store.write_ahead_log import fold_log
from observer.store.writer import StoreWriter
from observer.system.config import Settings, load_settings
from tests.chaos.year_days import FIRST_DAY, MARKET, events_of, session_dates
from tests.chaos.year_growth import growths
from tests.chaos.year_looks import Look, look_at, table_bytes_of
from tests.chaos.year_starts import LOG_BYTES_MAX, LOGS_KEPT, start_processes
from tests.chaos.year_tables import look_tables
from tests.ports import own_port
from tests.store.raw import execute

COMMIT_ROWS = 20_000  # of one transaction, as a writer under load has them
SYMBOLS_LISTED = 50  # by the simulated broker: the fewest that it takes
YEAR_KINDS = (
    *("trades", "conflated_trades", "snapshots", "order_books", "tape_pages", "tape_reports", "sweeps", "quality"),
    *("universes", "universe_members", "triggers", "slot_assignments", "slot_releases", "selection_steps"),
    *("gaps", "gap_recoveries"),
)
"""The kinds of the default: to seal one more costs as much as its rows do."""
KEPT_DAYS_LEAST = 30  # that the configuration takes; a short year of a test keeps fewer
LOOKS = (1, 50, 250)
COMPARED_DAYS = 5  # the shortest of the newest ones: a single one takes turns with everything else on the machine
UNFINISHED = 3


_Noted = TypeVar("_Noted", bound=msgspec.Struct)


class Options(msgspec.Struct, frozen=True):
    """What is made."""

    days: int
    trades_per_day: int
    keep_days: int
    backup_every: int = 5
    kinds: tuple[str, ...] = tuple(KINDS)
    look_after: tuple[int, ...] = ()


class DayMeasures(msgspec.Struct, frozen=True):
    """A day of the run: sizes at its end, and machine seconds; a day without a backup has None."""

    number: int
    session_date: str
    hot_bytes: int
    lake_bytes: int
    bytes_a_trade: float
    write_s: float
    seal_s: float
    remove_s: float
    removed_days: int
    backup_s: float | None


class Year:
    """The system's folder, `system` below this one, and its days. Without a URL the database is SQLite's file in it."""

    def __init__(self, folder: Path, options: Options, url: str = "") -> None:
        self._folder = folder / "system"  # of the commands that name it, none runs on at the end of a look
        self._options = options
        self._lake = self._folder / "data/lake"
        self._days = folder / "days.jsonl"
        self._looks = folder / "looks.jsonl"
        self.settings = self._prepared(url)
        self.url = self.settings.store.url
        self._instance = self.settings.instance
        self._now_ns = 0
        self._plan = plan_of(self.settings.backup, self.settings.run, self._instance, self.url, None, self._lake)
        self._upkeep = LakeUpkeep(
            lake=self._lake,
            url=self.url,
            market=MARKET,
            now_ns=lambda: self._now_ns,
            day_files=DayFiles(ledgers_folder(self.settings.run.data), self.settings.provider),
            keep_days=options.keep_days,
            copy=copy_of_lake(self._plan.folder, self._instance),
        )

    def _prepared(self, url: str) -> Settings:
        """Write the configuration and make the database, if that is not done."""
        path = self._folder / "observer.toml"
        if not path.exists():
            (self._folder / "data").mkdir(parents=True, exist_ok=True)
            (self._folder / "run").mkdir(mode=0o700, exist_ok=True)
            if url and (schema := schema_in(str(make_url(url).query.get("options", "")))) is not None:
                execute(url.split("?", maxsplit=1)[0], f"CREATE SCHEMA IF NOT EXISTS {schema}")
            demo = DemoConfiguration(
                symbols=SYMBOLS_LISTED,
                seed=7,
                day=FIRST_DAY,
                database=url,
                metrics_port=own_port(),
                web_port=own_port(),
            )
            write_demo_configuration(self._folder, demo)
            document = msgspec.toml.decode(path.read_bytes())
            document["store"]["keep_days"] = max(KEPT_DAYS_LEAST, self._options.keep_days)
            document |= {"lake": {}, "backup": {"daily_kept": 2}}
            document |= {"supervision": {"log_bytes_max": LOG_BYTES_MAX, "logs_kept": LOGS_KEPT}}
            path.write_text(tomli_w.dumps(document))
            settings = load_settings(path)
            claim(settings.store.url, settings.instance, settings.providers, local_ns(FIRST_DAY))
        return load_settings(path)

    def measured(self) -> list[DayMeasures]:
        """The days that are done."""
        return _read(self._days, DayMeasures)

    def looks(self) -> list[Look]:
        """The looks that are done."""
        return _read(self._looks, Look)

    def run(self, end_s: float) -> bool:
        """Make the days and the looks that are left, but begin none after `end_s`; return whether all are done."""
        dates = session_dates(self._options.days)
        for number in range(1, len(dates) + 1):
            if time.monotonic() >= end_s:
                return False
            if number > len(self.measured()):
                found = self._day(number, dates)
                _add(self._days, found)
                sys.stderr.write(
                    f"{found.session_date}: day {number}, hot {found.hot_bytes / 1e6:.1f} MB, lake "
                    f"{found.lake_bytes / 1e6:.1f} MB, written in {found.write_s:.1f}, sealed in {found.seal_s:.1f}, "
                    f"backup {found.backup_s or 0:.1f} s\n"
                )
            if number in self._options.look_after and number not in {look.number for look in self.looks()}:
                self.look(dates[:number])
        return True

    def look(self, dates: Sequence[str]) -> Look:
        """Start the system after the last of these days, and note what was found."""
        path = self._folder / "observer.toml"
        document = msgspec.toml.decode(path.read_bytes())
        document["simulator"]["session_date"] = dates[-1]
        path.write_text(tomli_w.dumps(document))
        days = self.measured()[: len(dates)]
        work_s = {
            "seal a day": min(day.seal_s for day in days[-COMPARED_DAYS:]),
            "write a day": min(day.write_s for day in days[-COMPARED_DAYS:]),
        }
        if backups := [day.backup_s for day in days if day.backup_s is not None]:
            work_s["backup"] = min(backups[-COMPARED_DAYS:])
        found = look_at(self._folder, self.url, dates, work_s)
        _add(self._looks, found)
        sys.stderr.write(f"{found.session_date}: looked at, {found.seconds}\n")
        return found

    def _day(self, number: int, dates: Sequence[str]) -> DayMeasures:
        session_date = dates[number - 1]
        write_s = _taken(lambda: self._write(session_date))
        backup_s = None
        if number % self._options.backup_every == 0 or number in self._options.look_after:
            backup_s = round(_taken(lambda: self._back_up(session_date)), 2)
        self._grow_older(dates, number)
        seal_s = _taken(lambda: self._seal(dates[:number]))
        remove_s = _taken(self._remove)
        fold_log(self.url, 5.0)
        days = sealed_days(self._lake)
        newest = next(day.newest("trades") for day in days if day.session_date == session_date)
        assert newest is not None
        return DayMeasures(
            number=number,
            session_date=session_date,
            hot_bytes=table_bytes_of(self.url)["database"],
            lake_bytes=sum(day.size_bytes for day in days),
            bytes_a_trade=round(newest.size_bytes / newest.rows, 1),
            write_s=round(write_s, 2),
            seal_s=round(seal_s, 2),
            remove_s=round(remove_s, 2),
            removed_days=sum(bool(day.removed) for day in days),
            backup_s=backup_s,
        )

    def _write(self, session_date: str) -> None:
        """Store the day as one event stream; what a killed run stored of it is not stored again. Then the ledgers and
        the statistics, as the core writer makes them.
        """
        events = events_of(session_date, self._options.trades_per_day, self._options.kinds)
        stream = uuid.uuid5(uuid.NAMESPACE_OID, session_date).hex
        with closing(self._writer()) as writer:
            stored = writer.high_water_marks([stream])[stream]
            if not stored:
                backed_up = safe_marks(self._plan.folder, self._instance)
                start_processes(self._folder, writer, session_date, backed_up)
            for first in range(stored, len(events), COMMIT_ROWS):
                writer.commit([Delivered("track-b", stream, first + 1, events[first : first + COMMIT_ROWS])])
        folder = ledgers_folder(self.settings.run.data)
        with closing(Ledgers(self.url, folder, self.settings.provider, MARKET)) as ledgers:
            ledgers.catch_up()
        refresh_statistics(self.url)

    def _writer(self) -> StoreWriter:
        writer = StoreWriter(self.url)
        writer.open()
        return writer

    def _back_up(self, session_date: str) -> None:
        at_ns = local_ns(date.fromisoformat(session_date), 21)
        made = back_up(self._plan, "daily", at_ns, threading.Event())
        assert not made.failures, made.failures

    def _seal(self, stored: Sequence[str]) -> None:
        """As the process `lake`: the new day, the newest sealed ones again, and the old ones' leave to go."""
        self._now_ns = local_ns(date.fromisoformat(stored[-1]), 21, 30)
        self._upkeep.seal(stored[-1], threading.Event())

    def _grow_older(self, dates: Sequence[str], number: int) -> None:
        """Take the days since the last session from the times of the catalogue's files: old ones are deleted."""
        days = (date.fromisoformat(dates[number - 1]) - date.fromisoformat(dates[max(0, number - 2)])).days
        for path in (self._lake / CATALOGUE).rglob("*.*"):
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - days * NS_PER_DAY))

    def _remove(self) -> None:
        """As the core writer while no event waits."""
        with closing(self._writer()) as writer:
            removal = Removal(writer)
            old = days_to_remove(sealed_days(self._lake), MARKET, self._options.keep_days)
            removal.add([rows for day in old for rows in day.removable_rows()])
            while removal.step_from_thread():
                pass


def _read(path: Path, kind: type[_Noted]) -> list[_Noted]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=kind) for line in lines]


def _add(path: Path, found: msgspec.Struct) -> None:
    with path.open("ab") as file:
        file.write(msgspec.json.encode(found) + b"\n")


def _taken(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of the system; a run goes on in it")
    parser.add_argument("--db", default="", help="URL of a PostgreSQL server and schema; default: SQLite in the folder")
    parser.add_argument("--days", type=int, default=250)
    parser.add_argument("--trades-per-day", type=int, default=20_000)
    parser.add_argument("--keep-days", type=int, default=30)
    parser.add_argument("--backup-every", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=YEAR_KINDS)
    parser.add_argument(
        "--look-after", nargs="*", type=int, default=LOOKS, help="the system is started after these days"
    )
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no day after these")
    given = parser.parse_args(arguments)
    options = Options(
        *(given.days, given.trades_per_day, given.keep_days, given.backup_every),
        *(tuple(given.kinds), tuple(given.look_after)),
    )
    year = Year(given.folder.absolute(), options, given.db)
    if not year.run(time.monotonic() + given.minutes * 60):
        return UNFINISHED
    _report(year.measured(), looks := year.looks())
    problems = growths(looks[-2], looks[-1]) if len(looks) > 1 else []
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _report(days: Sequence[DayMeasures], looks: Sequence[Look]) -> None:
    """Print the tables."""
    columns = ("day", "hot MB", "lake MB", "B a trade", "removed days")
    rows = [
        (
            *(str(day.number), f"{day.hot_bytes / 1e6:,.1f}", f"{day.lake_bytes / 1e6:,.1f}"),
            *(f"{day.bytes_a_trade:g}", str(day.removed_days)),
        )
        for day in (days[look.number - 1] for look in looks)
    ]
    show(Table(columns, rows, right=columns))
    for table in look_tables(looks):
        show(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
