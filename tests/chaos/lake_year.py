"""A year of market days in one folder: `python -m tests.chaos.lake_year --folder F --trades-per-day 20000`.

Each day is written by the real store writer, rows of every kind; then, in the order of the real system, it is backed up
(every few days), sealed, and the rows of old sealed days are removed. A run that is ended goes on in its folder.

Prints a line a day on stderr and a table in the end. Exit status 0: neither the hot database nor the backup grew beyond
the limit after the days that are kept; 1: one did; 3: --minutes are over, run it again.
"""

import argparse
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path

import msgspec
import tomli_w

import observer
from bus.delivery import Delivered
from observer.backup.settings import BackupSettings
from observer.backup.work import Plan, back_up, plan_of
from observer.base_settings import RunSettings
from observer.cli.tables import Table, show
from observer.lake.jobs import days_to_seal
from observer.lake.layout import days_to_remove, sealed_days
from observer.lake.removal import Removal
from observer.lake.sealing import seal_days
from observer.local_time import local_ns
from observer.store.instance import Instance
from observer.store.kinds import KINDS, REMOVABLE
from observer.store.ownership import claim
from observer.store.write_ahead_log import fold_log
from observer.store.writer import StoreWriter
from tests.chaos.year_days import FIRST_DAY, MARKET, SYMBOLS, events_of, session_dates

COMMIT_ROWS = 20_000  # of one transaction, as a writer under load has them
BARS_DAYS = 20
GROWTH_MAX = 1.3
BASE_DAY = 60  # twice the usual kept days: from then on nothing should grow
SHOWN_DAYS = (1, 30, 60, 125)
BACKUPS_COMPARED = 5  # the median of the newest ones: a single one takes turns with everything else on the machine
UNFINISHED = 3


class Options(msgspec.Struct, frozen=True):
    """What is made."""

    days: int
    trades_per_day: int
    keep_days: int
    backup_every: int = 5
    kinds: tuple[str, ...] = tuple(KINDS)


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
    """The system's folder, and its days."""

    def __init__(self, folder: Path, options: Options) -> None:
        self._folder = folder
        self._options = options
        self._lake = folder / "data/lake"
        self._database = folder / "data/observer.db"
        self.url = f"sqlite:///{self._database}"
        self._progress = folder / "days.jsonl"
        self._plan = self._prepared()

    def _prepared(self) -> Plan:
        """Write the configuration, make the database, and plan the backups."""
        run = {"data": str(self._folder / "data"), "runtime": str(self._folder / "run")}
        document = {"run": run, "store": {"url": self.url}, "lake": {}}
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        (self._folder / "observer.toml").write_text(tomli_w.dumps(document))
        claim(self.url, Instance(), ["kis"], local_ns(FIRST_DAY))
        settings = BackupSettings(daily_kept=2)
        paths = RunSettings(data=run["data"], universe=str(self._folder / "universe"))
        return plan_of(settings, paths, Instance(), self.url, None, self._lake)

    def measured(self) -> list[DayMeasures]:
        """The days that are done."""
        lines = self._progress.read_bytes().splitlines() if self._progress.exists() else []
        return [msgspec.json.decode(line, type=DayMeasures) for line in lines]

    def run(self, end_s: float) -> bool:
        """Make the days that are left, but begin none after `end_s`; return whether all are done."""
        dates = session_dates(self._options.days)
        for number in range(len(self.measured()) + 1, len(dates) + 1):
            if time.monotonic() >= end_s:
                return False
            found = self._day(number, dates)
            with self._progress.open("ab") as progress:
                progress.write(msgspec.json.encode(found) + b"\n")
            sys.stderr.write(
                f"{found.session_date}: day {number}, hot {found.hot_bytes / 1e6:.1f} MB, lake "
                f"{found.lake_bytes / 1e6:.1f} MB, sealed in {found.seal_s:.1f} s, backup {found.backup_s or 0:.1f} s\n"
            )
        return True

    def _day(self, number: int, dates: Sequence[str]) -> DayMeasures:
        session_date = dates[number - 1]
        _, write_s = _timed(lambda: self._write(session_date))
        backup_s = None
        if number % self._options.backup_every == 0:
            _, backup_s = _timed(lambda: self._back_up(session_date))
        _, seal_s = _timed(lambda: self._seal(dates[:number]))
        _, remove_s = _timed(self._remove)
        fold_log(self.url, 5.0)
        days = sealed_days(self._lake)
        newest = next(day.newest("trades") for day in days if day.session_date == session_date)
        assert newest is not None
        return DayMeasures(
            number=number,
            session_date=session_date,
            hot_bytes=sum(path.stat().st_size for path in self._database.parent.glob("observer.db*")),
            lake_bytes=sum(day.size_bytes for day in days),
            bytes_a_trade=round(newest.size_bytes / newest.rows, 1),
            write_s=round(write_s, 2),
            seal_s=round(seal_s, 2),
            remove_s=round(remove_s, 2),
            removed_days=sum(bool(day.removed) for day in days),
            backup_s=None if backup_s is None else round(backup_s, 2),
        )

    def _write(self, session_date: str) -> None:
        """Store the day as one event stream; what a killed run stored of it is not stored again."""
        events = events_of(session_date, self._options.trades_per_day, self._options.kinds)
        stream = uuid.uuid5(uuid.NAMESPACE_OID, session_date).hex
        with closing(self._writer()) as writer:
            for first in range(writer.high_water_marks([stream])[stream], len(events), COMMIT_ROWS):
                writer.commit([Delivered("track-b", stream, first + 1, events[first : first + COMMIT_ROWS])])

    def _writer(self) -> StoreWriter:
        writer = StoreWriter(self.url)
        writer.open()
        return writer

    def _back_up(self, session_date: str) -> None:
        at_ns = local_ns(date.fromisoformat(session_date), 21)
        made = back_up(self._plan, "daily", at_ns, threading.Event())
        assert not made.failures, made.failures

    def _seal(self, stored: Sequence[str]) -> None:
        """As `observer.lake.jobs`: the new day, the newest sealed ones again, and the old ones' leave to go."""
        sealed = sealed_days(self._lake)
        old = days_to_remove(sealed, MARKET, self._options.keep_days)
        leaving = {day.session_date for day in old if REMOVABLE & day.kinds.keys() != set(day.removed)}
        days = days_to_seal(stored, {day.session_date for day in sealed})
        days += sorted(leaving.difference(days))
        now_ns = local_ns(date.fromisoformat(stored[-1]), 21, 30)
        for _ in seal_days(self._lake, self.url, MARKET, days, lambda: now_ns, threading.Event(), remove=leaving):
            pass

    def _remove(self) -> None:
        """As the core writer while no event waits."""
        with closing(self._writer()) as writer:
            removal = Removal(writer)
            old = days_to_remove(sealed_days(self._lake), MARKET, self._options.keep_days)
            removal.add([rows for day in old for rows in day.removable_rows()])
            while removal.step_from_thread():
                pass

    def questions(self) -> Mapping[str, tuple[float, float]]:
        """The milliseconds of five questions about the first and the last day, each the median of three."""
        dates = session_dates(self._options.days)
        first, last = (
            _asked(self._folder, dates[0], dates[:BARS_DAYS]),
            _asked(self._folder, dates[-1], dates[-BARS_DAYS:]),
        )
        return {name: (first[name], last[name]) for name in first}


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    began_s = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began_s


def _asked(folder: Path, day: str, span: Sequence[str]) -> Mapping[str, float]:
    symbol = SYMBOLS[0]
    top = (
        f"SELECT symbol, sum(volume) AS shares FROM trades WHERE day = '{day}' GROUP BY symbol ORDER BY 2 DESC LIMIT 10"
    )
    with observer.open_store(folder / "observer.toml") as store:
        questions: Mapping[str, Callable[[], object]] = {
            "one symbol's trades of a day": lambda: store.trades(symbol, day).collect(),
            f"one symbol's 1-minute bars of {len(span)} days": lambda: store.bars(symbol, span[0], span[-1]).collect(),
            "all symbols' 1-minute bars of a day": lambda: store.bars(None, day).collect(),
            "quality of a day": lambda: store.quality(day).collect(),
            "ten symbols of the largest volume of a day": lambda: store.sql(top).collect(),
        }
        return {
            name: round(statistics.median(_timed(ask)[1] for _ in range(3)) * 1_000, 1)
            for name, ask in questions.items()
        }


def growths(days: Sequence[DayMeasures], base_day: int = BASE_DAY) -> list[str]:
    """What grew beyond the limit from the base day to the last one."""
    base, last = days[:base_day], days
    pairs = {
        "the hot database": (base[-1].hot_bytes, last[-1].hot_bytes),
        "the backup": (_backup_s(base), _backup_s(last)),
    }
    return [
        f"{what} grew to {after / before:.2f} of day {base_day}'s ({before:,} to {after:,}), allowed are {GROWTH_MAX}"
        for what, (before, after) in pairs.items()
        if before and after and after > GROWTH_MAX * before
    ]


def _backup_s(days: Sequence[DayMeasures]) -> float:
    newest = [day.backup_s for day in days if day.backup_s is not None][-BACKUPS_COMPARED:]
    return statistics.median(newest) if newest else 0.0


def _row(days: Sequence[DayMeasures], number: int) -> Sequence[str]:
    day, backup_s = days[number - 1], _backup_s(days[:number])
    sizes = (f"{day.hot_bytes / 1e6:,.1f}", f"{day.lake_bytes / 1e6:,.1f}", f"{day.bytes_a_trade:g}")
    return (str(number), *sizes, f"{day.seal_s:.1f}", f"{day.remove_s:.2f}", f"{backup_s:.2f}" if backup_s else "")


def report(days: Sequence[DayMeasures], asked: Mapping[str, tuple[float, float]]) -> None:
    """Print both tables."""
    numbers = [*(number for number in SHOWN_DAYS if number < len(days)), len(days)]
    columns = ("day", "hot MB", "lake MB", "B a trade", "seal s", "remove s", "backup s")
    show(Table(columns, [_row(days, number) for number in numbers], right=columns))
    rows = [(name, f"{first:,.1f}", f"{last:,.1f}") for name, (first, last) in asked.items()]
    show(Table(("question, ms", "first day", "last day"), rows, right=("first day", "last day")))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of the system; a run goes on in it")
    parser.add_argument("--days", type=int, default=250)
    parser.add_argument("--trades-per-day", type=int, default=20_000)
    parser.add_argument("--keep-days", type=int, default=30)
    parser.add_argument("--backup-every", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="default: all")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no day after these")
    given = parser.parse_args(arguments)
    year = Year(
        given.folder, Options(given.days, given.trades_per_day, given.keep_days, given.backup_every, tuple(given.kinds))
    )
    if not year.run(time.monotonic() + given.minutes * 60):
        return UNFINISHED
    report(days := year.measured(), year.questions())
    for problem in (problems := growths(days)):
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
