"""A short year: the hot database stays as large as its kept days, and one that keeps all days is found to grow."""

import time
from pathlib import Path

import msgspec

from tests.chaos.lake_year import DayMeasures, Options, Year, growths

BASE_DAY = 4  # with two kept days: until then the day that is written and the one that leaves add to them
KINDS = ("trades", "snapshots", "universes", "sweeps", "universe_members", "slot_assignments", "quality")


def run_of(folder: Path, keep_days: int) -> list[DayMeasures]:
    year = Year(folder, Options(days=6, trades_per_day=4_000, keep_days=keep_days, backup_every=2, kinds=KINDS))
    assert not year.run(time.monotonic() - 1), "no day is begun when the time is over"
    assert year.run(float("inf"))
    assert year.run(float("inf")), "nothing is left to do"
    return year.measured()


def timeless(days: list[DayMeasures]) -> list[DayMeasures]:
    """The same sizes; the times of so small backups say nothing."""
    return [msgspec.structs.replace(day, backup_s=None) for day in days]


def test_a_year_with_few_kept_days_stays_small(tmp_path: Path) -> None:
    days = run_of(tmp_path, keep_days=2)
    assert growths(timeless(days), BASE_DAY) == []
    assert [day.removed_days for day in days] == [0, 0, 0, 1, 2, 3]
    assert days[5].lake_bytes > 5 * days[0].lake_bytes
    assert [day.backup_s is not None for day in days] == [False, True] * 3


def test_a_year_that_keeps_all_days_is_found_to_grow(tmp_path: Path) -> None:
    [text] = growths(timeless(run_of(tmp_path, keep_days=9)), BASE_DAY)
    assert text.startswith("the hot database grew to ")


def test_a_backup_that_takes_ever_longer_is_found() -> None:
    days = [DayMeasures(number, "", 1, 1, 1.0, 0, 0, 0, 0, 1.0 + number / 10) for number in range(20)]
    assert growths(days, 10) == ["the backup grew to 1.59 of day 10's (1.7 to 2.7), allowed are 1.3"]
    assert growths(days[:11], 10) == []
