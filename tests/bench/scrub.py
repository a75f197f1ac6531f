"""`python -m tests.bench.scrub --folder F`: what the nightly verification of a lake of 250 days costs, and its delay.

One day is sealed; the other days are copies of its files with manifests of their own. Then the nights follow each
other: each reads its share, and a file that was damaged in the first night is found in one of them.
"""

import argparse
import resource
import shutil
import sys
import threading
import time
from datetime import date, timedelta
from pathlib import Path

import msgspec

from observer.archive.day import manifest_path, sealed_day, write_manifest
from observer.archive.scrub import lake_files, scrub
from observer.archive.sealing import seal_days
from observer.archive.whole import WholeFiles, whole_files
from observer.base.clock import RealClock
from observer.base.units import NS_PER_S
from tests.archive.stored import make_stored
from tests.chaos.year_days import MARKET, events_of

FIRST = date(2026, 1, 5)


def built(folder: Path, trades: int, days: int) -> Path:
    """A lake of so many days."""
    lake, first = folder / "lake", FIRST.isoformat()
    if not manifest_path(lake, MARKET, first).exists():
        url = make_stored(folder, *events_of(first, trades))
        list(seal_days(lake, url, MARKET, [first], lambda: 1, threading.Event()))
    day = sealed_day(lake, MARKET, first)
    assert day is not None
    for number in range(1, days):
        other = msgspec.structs.replace(day, session_date=(FIRST + timedelta(days=number)).isoformat())
        for kind, version in day.versions:
            target = lake / other.name_of(kind, version)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(lake / day.name_of(kind, version), target)
        write_manifest(lake, other)
    return lake


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scrub", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--trades", type=int, default=200_000, help="of a day")
    parser.add_argument("--days", type=int, default=250)
    options = parser.parse_args(arguments)
    lake = built(options.folder, options.trades, options.days)
    files, _ = lake_files(lake)
    damaged = lake / files[len(files) // 2].name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    nights, found_in, start_s = list[tuple[float, float, int, int]](), 0, RealClock().now_ns() // NS_PER_S
    for night in range(1, 31):
        _at(lake, start_s + night * 86_400)
        before_s, cpu_s = time.perf_counter(), _cpu_s()
        found = scrub(lake, start_s + night * 86_400, threading.Event())
        nights.append((time.perf_counter() - before_s, _cpu_s() - cpu_s, found.files, found.size_bytes))
        found_in = found_in or (night if found.problems else 0)
    seconds, processor, read, sizes = (sorted(column)[len(column) // 2] for column in zip(*nights, strict=True))
    total = sum(each.size_bytes for each in files)
    sys.stdout.write(
        f"{options.days} days, {len(files):,} files, {total / 1e6:,.0f} MB\n"
        f"a night (medians): {seconds:.2f} s, {processor:.2f} s of processor, {read:,} files, {sizes / 1e6:,.0f} MB\n"
        f"the longest: {max(nights)[0]:.2f} s; the damaged file was named in night {found_in}\n"
        f"not read in 30 nights: {sum(each.checked_s <= 0 for each in lake_files(lake)[0]) - 1} files\n"
    )
    return 0


def _at(lake: Path, now_s: int) -> None:
    whole: WholeFiles = whole_files(lake)
    whole._now_ns = lambda: now_s * NS_PER_S


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
