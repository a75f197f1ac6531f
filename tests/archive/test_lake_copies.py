"""How many independent copies a sealed day has, and what the doctor says of them."""

import os

import msgspec
import pytest

from observer.archive.backup import back_up
from observer.archive.copies import Rows, copies_of
from observer.archive.copying import copy_of_lake
from observer.archive.day import SealedDay, StreamRows, Version, version_path
from observer.archive.settings import BackupSettings
from observer.base.instance import Instance
from observer.system.doctor import stored
from tests.archive.scene import GO_ON, NOW_NS, plan_in
from tests.archive.stored import DAY, MARKET, NEXT_DAY, first_day_removed

STREAM = "5" * 32
WHOLE, BEHIND = Rows({STREAM: 9}), Rows({STREAM: 8})
LACKING = Rows({STREAM: 9}, [DAY])


def day_with(*, removed=(), published=0):
    version = Version(2, 9, "", 1_000, NOW_NS, 1, (StreamRows(1, STREAM, 1, 9, 9),))
    return SealedDay(MARKET, DAY, NOW_NS, {"trades": (version,)}, removed=removed, published={"trades": published})


@pytest.mark.parametrize(
    ("files", "rows", "day", "places"),
    [
        ({"lake": (1, 7), "backup": (1, 8)}, {}, day_with(), ("lake", "backup")),
        ({"lake": (1, 7), "backup": (1, 7)}, {}, day_with(), ("lake",)),
        ({"lake": (1, 7), "backup": (2, 7)}, {}, day_with(), ("lake", "backup")),
        ({"backup": (1, 7)}, {}, day_with(), ("backup",)),
        ({}, {}, day_with(), ()),
        ({}, {"database": [WHOLE]}, day_with(), ("database",)),
        ({}, {"database": [BEHIND]}, day_with(), ()),
        ({}, {"database": [Rows({})]}, day_with(), ()),
        ({}, {"database": [LACKING]}, day_with(removed=("trades",)), ()),
        ({}, {"packages": [LACKING, WHOLE, WHOLE]}, day_with(removed=("trades",)), ("packages",)),
        ({}, {}, day_with(published=2), ("object store",)),
        ({}, {}, day_with(published=1), ()),
    ],
    ids=[
        "a file of its own is a copy",
        "two names of a file are one",
        "another disk's file of the same number is a copy",
        "a lost lake",
        "lost",
        "the database",
        "a database without the last rows",
        "another database",
        "a database whose rows were removed",
        "a package of before the removal, once",
        "published",
        "an earlier version published",
    ],
)
def test_a_place_is_a_copy_when_it_has_the_newest_version_in_bytes_of_its_own(files, rows, day, places):
    found = {place: {"trades": file} for place, file in files.items()}
    assert copies_of(day, "trades", found, rows, has_target=True) == places


def test_what_a_target_was_given_that_is_configured_no_more_is_no_copy():
    assert copies_of(day_with(published=2), "trades", {}, {}, has_target=False) == ()


@pytest.mark.parametrize("is_linked", [False, True])
def test_the_doctor_says_how_many_copies_each_day_has_and_names_those_of_one(tmp_path, is_linked):
    lake, url = first_day_removed()
    plan = plan_in(tmp_path, url, BackupSettings())
    folder = copy_of_lake(plan.folder, Instance()).folder
    plan = msgspec.structs.replace(plan, contents=msgspec.structs.replace(plan.contents, lake=lake))
    assert back_up(plan, "daily", NOW_NS, GO_ON).failures == []
    if is_linked:
        copied = version_path(folder, "trades", MARKET, DAY, 1)
        copied.unlink()
        os.link(version_path(lake, "trades", MARKET, DAY, 1), copied)
    where = stored.Stored(url=url, outboxes=tmp_path, backups=plan.folder, instance=Instance())
    [finding] = stored.copies(where, {"lake": lake, "backup": folder}, has_target=False)
    of_first = ("lake",) if is_linked else ("lake", "backup")
    assert finding.days == {DAY: of_first, NEXT_DAY: ("database", "packages", "lake", "backup")}
    text = f"independent copies of 2 sealed days: 1 in 4, 1 in {len(of_first)}"
    assert (finding.level, finding.text) == (("warning", f"{text}: {DAY} (lake)") if is_linked else ("ok", text))


def test_a_system_without_a_sealed_day_has_no_finding_about_copies(tmp_path):
    where = stored.Stored(url="sqlite:///none.db", outboxes=tmp_path, backups=tmp_path, instance=Instance())
    assert list(stored.copies(where, {"lake": tmp_path}, has_target=False)) == []
