"""A short year: the hot database stays as large as its kept days, and a system that is started in it is measured."""

import time

import pytest

from tests.chaos.lake_year import Options, Year
from tests.chaos.year_growth import growths
from tests.chaos.year_looks import Look, rows_of, sizes_of, table_bytes_of

KINDS = ("trades", "snapshots", "universes", "sweeps", "universe_members", "slot_assignments", "quality")


def run_of(folder, keep_days, days=6):
    """A year of so many days, with what is in its folder after its fourth day and in the end."""
    found = []
    year = Year(folder, Options(days, 4_000, keep_days, backup_every=2, kinds=KINDS))
    assert not year.run(time.monotonic() - 1), "no day is begun when the time is over"
    for until in (4, days):
        year = Year(folder, Options(until, 4_000, keep_days, backup_every=2, kinds=KINDS))
        assert year.run(float("inf"))
        sizes, files = sizes_of(folder / "system")
        growing = ("data/logs", "lake's catalogue")  # not yet as large as they may be
        sizes = {part: size for part, size in sizes.items() if part not in growing}
        rows = rows_of(year.url)
        found.append(Look(until, "", {}, {}, {**sizes, **table_bytes_of(year.url)}, files, rows))
    assert year.run(float("inf")), "nothing is left to do"
    return year, year.measured(), found


@pytest.mark.slow
def test_a_year_with_few_kept_days_stays_small(tmp_path):
    _, days, looks = run_of(tmp_path, keep_days=2)
    assert growths(*looks) == []
    assert [day.removed_days for day in days] == [0, 0, 0, 1, 2, 3]
    assert days[5].lake_bytes > 5 * days[0].lake_bytes
    assert [day.backup_s is not None for day in days] == [False, True] * 3


@pytest.mark.slow
def test_a_year_that_keeps_all_days_is_found_to_grow(tmp_path):
    _, _, looks = run_of(tmp_path, keep_days=9)
    texts = growths(*looks)
    assert {text.partition(":")[0] for text in texts} >= {"rows of trade_rows", "rows of snapshots"}, texts


def look(number, **changes):
    """A look at a folder and a system in which nothing that has to stay as it is has changed since the first day."""
    found = Look(
        number,
        "2026-03-12",
        {"start, all": 4.0, "summary of a day": 0.004, "backup": 0.4},
        {"core-writer": 80.0},
        {"data/lake": 1_000_000 * number, "exports.json": 400, "table alerts": 40_960 * number, "data/logs": 500_000}
        | {"database beside its tables": 2_000_000, "database": 10_000_000 + 100_000 * number}
        | {"lake's catalogue": 500_000 + 10_000 * number},
        {"data/lake": 50 * number, "data/logs": 30},
        {"alerts": 3 * number, "trade_rows": 60_000, "owner": 1},
    )
    parts = {name: {**getattr(found, name), **values} for name, values in changes.items()}
    return Look(**{**{name: getattr(found, name) for name in found.__struct_fields__}, **parts})


def test_what_a_day_adds_may_grow_by_the_days():
    assert growths(look(50), look(250)) == []


@pytest.mark.parametrize(
    ("grown", "text"),
    [
        ({"seconds": {"start, all": 5.1}}, "start, all: 4.000 s after day 50, 5.100 s after day 250: 1.27 times"),
        ({"seconds": {"summary of a day": 0.02}}, "summary of a day: 0.004 s after day 50, 0.020 s after day 250"),
        ({"seconds": {"backup": 0.52}}, "backup: 0.400 s after day 50, 0.520 s after day 250: 1.30 times"),
        ({"memory_mb": {"core-writer": 101.0}}, "the memory of core-writer: 80.0 MB after day 50, 101.0 MB"),
        ({"sizes": {"exports.json": 400_000}}, "bytes of exports.json: 400 after day 50, 400,000 after day 250"),
        ({"sizes": {"data/lake": 400_000_000}}, "bytes of data/lake: 50,000,000 after day 50, 400,000,000"),
        ({"sizes": {"database beside its tables": 9_000_000}}, "bytes of database beside its tables: 2,000,000 after"),
        ({"sizes": {"lake's catalogue": 33_000_000}}, "bytes of lake's catalogue: 1,000,000 after day 50, 33,000,000"),
        ({"files": {"data/logs": 90}}, "files of data/logs: 30 after day 50, 90 after day 250: 3.00 times"),
        ({"rows": {"trade_rows": 80_000}}, "rows of trade_rows: 60,000 after day 50, 80,000 after day 250"),
        ({"rows": {"alerts": 1_000}}, "rows of alerts: 150 after day 50, 1,000 after day 250: 6.67 times"),
        ({"rows": {"made_up": 21}}, "rows of made_up: 0 after day 50, 21 after day 250: inf times"),
    ],
)
def test_what_grows_beyond_that_is_refused(grown, text):
    [found] = growths(look(50), look(250, **grown))
    assert found.startswith(text)
    assert growths(look(50), look(250)) == []


def test_a_made_up_table_that_each_day_adds_rows_to_is_refused():
    [found] = growths(look(50, rows={"made_up": 500}), look(250, rows={"made_up": 2_500}))
    assert found == "rows of made_up: 500 after day 50, 2,500 after day 250: 5.00 times"
