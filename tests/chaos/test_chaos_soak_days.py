"""What grew from day to day is found by the soak of days in a row; what each day is asked to add is not."""

from tests.chaos.soak_days import DayEnd, Limits, complaints, files_in

LIMITS = Limits()


def ends(memory_mb=0.0, descriptors=0, files=(0, 0, 0), rows=(0, 0, 0)):
    """Three days, each with so much more than the day before; files and rows are those beside 100 a day."""
    return [
        DayEnd(
            {"workers.core_writer 1": 80 + memory_mb * day},
            {"workers.core_writer 1": 20 + descriptors * day},
            {"data/logs": 100 * day + files[day]},
            {"trades": 1_000 * day + rows[day]},
        )
        for day in range(3)
    ]


def test_days_that_add_as_much_as_each_other_are_sound():
    assert complaints(ends(memory_mb=3, descriptors=1), LIMITS) == []


def test_memory_descriptors_files_and_rows_that_grow_are_found():
    assert complaints(ends(memory_mb=30), LIMITS) == ["workers.core_writer 1 has 30.0 MB more than on day 2"]
    assert complaints(ends(descriptors=3), LIMITS) == ["workers.core_writer 1 has 3 descriptors more than on day 2"]
    assert complaints(ends(files=(0, 0, 90)), LIMITS) == ["day 3 added 190 files to data/logs, day 2 100"]
    assert complaints(ends(rows=(0, 0, 1_000)), LIMITS) == ["day 3 added 2000 rows to trades, day 2 1000"]


def test_two_days_say_nothing():
    assert complaints(ends()[:2], LIMITS) == ["2 days say nothing about growth: choose 3 or more"]


def test_files_are_counted_by_folder(tmp_path):
    for name in ("a.toml", "data/logs/x.log", "run/outbox/track-b/archive/1", "run/outbox/track-b/2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_in(tmp_path) == {".": 1, "data/logs": 1, "run/outbox/track-b": 2}
