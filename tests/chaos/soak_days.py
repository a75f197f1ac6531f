"""Market days in a row in one folder by one system: `python -m tests.chaos.soak_days --days 3`.

Every process but the simulated broker lives through all days; that is restarted each night with the market of the next
day. At each day's end memory and descriptors of the processes, the files of the folder and the rows of all tables are
read from outside. A quantity that is larger on the last day than on the first one whole, beyond what a day is asked to
add, fails the run: of files and rows it is the number that a day adds which must not grow.

Prints a line a day on stderr and one JSON object in the end. Exit status 0: nothing grew; 1: something did.
"""

import argparse
import json
import statistics
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec
import psutil
import tomli_w

from tests.chaos.soak import CACHES_MB, check
from tests.whole.running import observer
from tests.whole.staged import StagedDay, staged_day, stopped

MONDAY = date(2026, 11, 23)
SAMPLED_FROM_S, SAMPLED_UNTIL_S = 22 * 3600.0, 22.5 * 3600.0  # after the backup and the day's reports
NEXT_MARKET_S = 24.5 * 3600.0
DAY_S = 86_400.0
POLL_S = 1.0
WARM_DAYS = 2  # a process's first day fills its caches, a folder's first one has all that is made once


class Limits(msgspec.Struct, frozen=True):
    """What may be added from the first compared day to the last one."""

    memory_mb: float = 8.0
    descriptors: int = 2
    ratio: float = 1.5
    files: int = 12
    rows: int = 200


class DayEnd(msgspec.Struct, frozen=True):
    """What there is at the end of a day: medians of a process's samples, files by folder, rows by table."""

    memory_mb: Mapping[str, float]
    descriptors: Mapping[str, int]
    files: Mapping[str, int]
    rows: Mapping[str, int]


def complaints(ends: Sequence[DayEnd], limits: Limits) -> list[str]:
    """Everything that grew from the second day to the last one."""
    if len(ends) <= WARM_DAYS:
        return [f"{len(ends)} days say nothing about growth: choose {WARM_DAYS + 1} or more"]
    first, last = ends[WARM_DAYS - 1], ends[-1]
    wrong = []
    for name in sorted(first.memory_mb.keys() & last.memory_mb.keys()):
        grown_mb = last.memory_mb[name] - first.memory_mb[name]
        if grown_mb > limits.memory_mb + CACHES_MB.get(name.partition(" ")[0], 0):
            wrong.append(f"{name} has {grown_mb:.1f} MB more than on day {WARM_DAYS}")
        if (more := last.descriptors[name] - first.descriptors[name]) > limits.descriptors:
            wrong.append(f"{name} has {more} descriptors more than on day {WARM_DAYS}")
    for what, allowed in (("files", limits.files), ("rows", limits.rows)):
        before, after = (_added(ends, what, number) for number in (WARM_DAYS, len(ends)))
        for name, added in after.items():
            if added > limits.ratio * before.get(name, 0) + allowed:
                wrong.append(f"day {len(ends)} added {added} {what} to {name}, day {WARM_DAYS} {before.get(name, 0)}")
    return wrong


def _added(ends: Sequence[DayEnd], what: str, number: int) -> dict[str, int]:
    before, after = (getattr(ends[each], what) for each in (number - 2, number - 1))
    return {name: count - before.get(name, 0) for name, count in after.items()}


def files_in(folder: Path) -> dict[str, int]:
    """Files by the first two folders of their path, those of each process's outbox apart."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            parts = path.relative_to(folder).parts[:-1]
            name = "/".join(parts[:3]) or "."
            found[name] = found.get(name, 0) + 1
    return found


def _rows(day: StagedDay) -> dict[str, int]:
    tables = [name for (name,) in day.system.ask("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: int(day.system.ask(f"SELECT count(*) FROM {name}")[0][0]) for name in tables}


def _end_of_day(day: StagedDay, midnight_s: float) -> DayEnd:
    day.until_second(midnight_s + SAMPLED_FROM_S)
    memory: dict[str, list[float]] = {}
    descriptors: dict[str, list[int]] = {}
    root = psutil.Process(day.system.process.pid)
    while day.second() < midnight_s + SAMPLED_UNTIL_S or not memory:
        for name, sample in check(root).items():
            memory.setdefault(name, []).append(sample.memory_mb)
            descriptors.setdefault(name, []).append(sample.descriptors)
        time.sleep(POLL_S)  # the samples are taken at this interval
    return DayEnd(
        {name: round(statistics.median(each), 1) for name, each in memory.items() if "simulator" not in name},
        {name: round(statistics.median(each)) for name, each in descriptors.items()},
        files_in(day.folder),
        _rows(day),
    )


def _next_market(day: StagedDay, session: date) -> None:
    """Have the simulated broker deal the next day."""
    document = tomllib.loads(day.configuration.read_text())
    document["simulator"]["session_date"] = session.isoformat()
    day.configuration.write_text(tomli_w.dumps(document))
    done = observer("ctl", "restart", "simulator", "--config", day.configuration, cwd=day.folder)
    assert done.returncode == 0, done.stderr


def run(days: int, speed: float, symbols: int) -> list[DayEnd]:
    """The ends of so many days, Monday to Friday."""
    ends: list[DayEnd] = []
    with staged_day(speed=speed, symbols=symbols, session=MONDAY) as day:
        day.begin()
        for number in range(days):
            ends.append(_end_of_day(day, number * DAY_S))
            rows = ends[-1].rows["trades"]
            sys.stderr.write(f"day {number + 1}: {rows:,} trades, {sum(ends[-1].files.values())} files\n")
            if number + 1 < days:
                day.until_second(number * DAY_S + NEXT_MARKET_S)
                _next_market(day, MONDAY + timedelta(days=number + 1))
        assert stopped(day) == 0, day.system.errors
    return ends


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=5, choices=range(3, 6), help="Monday to Friday at most")
    parser.add_argument("--speed", type=float, default=480, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=60)
    given = parser.parse_args(arguments)
    ends = run(given.days, given.speed, given.symbols)
    wrong = complaints(ends, Limits())
    wrong += [
        f"day {number} stored no trade"
        for number in range(2, len(ends) + 1)
        if not _added(ends, "rows", number)["trades"]
    ]
    sys.stdout.write(json.dumps({"days": msgspec.to_builtins(ends), "complaints": wrong}, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
