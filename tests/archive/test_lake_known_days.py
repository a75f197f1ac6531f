"""What of the lake a process reads and looks at again: what changed each day, all of it once a week."""

import os
import shutil
import threading

import pytest

from observer.archive.day import manifest_path, path_of, sealed_day, sealed_days, version_path, write_manifest
from observer.archive.day_files import DayFiles
from observer.archive.known_days import LOOK_NS, KnownDays
from observer.archive.repair import staging_path
from observer.archive.sealing import seal_days
from observer.archive.upkeep import CHECKED_AGAIN, LakeUpkeep
from observer.base.errors import DataFileError
from observer.base.units import NS_PER_DAY
from tests.archive.stored import DAY, MARKET, NEXT_DAY, append, day_of, make_stored
from tests.builders import trade

BEGIN_NS = 1_000 * NS_PER_DAY


class Scene:
    """A lake with two sealed days, and the process that sealed them."""

    def __init__(self, folder):
        self.lake = folder / "lake"
        self.url = make_stored(folder, *day_of(DAY, 1, 2), *day_of(NEXT_DAY, 1, 2))
        self.known = KnownDays(self.lake)
        self.seal(0, DAY, NEXT_DAY)

    def seal(self, number, *days):
        """Seal these days so many days after the first sealing."""
        now_ns = BEGIN_NS + number * NS_PER_DAY
        return list(seal_days(self.lake, self.url, MARKET, days, lambda: now_ns, threading.Event(), known=self.known))

    def glob_file(self, day):
        return path_of(self.lake, "trades", MARKET, day)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_a_manifest_is_decoded_again_only_when_its_file_has_changed(scene):
    first = scene.known.days()
    again = scene.known.days()
    assert [each is other for each, other in zip(again, first, strict=True)] == [True, True]
    append(scene.url, trade(9, symbol="000020", session_date=DAY))
    scene.seal(1, DAY)
    changed = scene.known.days()
    assert [each is other for each, other in zip(changed, first, strict=True)] == [False, True]
    assert changed == sealed_days(scene.lake)


def test_days_without_new_rows_are_not_sealed_again_and_one_with_a_late_row_is(scene):
    assert [each.written for each in scene.seal(1, DAY, NEXT_DAY)] == [(), ()]
    append(scene.url, trade(9, symbol="000020", session_date=NEXT_DAY))
    assert [each.written for each in scene.seal(2, DAY, NEXT_DAY)] == [(), ("trades",)]
    assert scene.glob_file(NEXT_DAY).samefile(version_path(scene.lake, "trades", MARKET, NEXT_DAY, 2))


def test_a_file_that_is_gone_where_a_glob_finds_it_comes_back_within_a_week(scene):
    scene.seal(1)  # looks at the days that the first sealing changed
    scene.glob_file(DAY).unlink()
    scene.seal(2, NEXT_DAY)
    assert not scene.glob_file(DAY).exists()
    scene.seal(LOOK_NS // NS_PER_DAY, NEXT_DAY)
    assert scene.glob_file(DAY).exists()


def test_a_file_that_is_gone_where_a_glob_finds_it_comes_back_with_a_new_process(scene):
    scene.glob_file(DAY).unlink()
    scene.known = KnownDays(scene.lake)
    scene.seal(1, NEXT_DAY)
    assert scene.glob_file(DAY).exists()


def test_a_day_that_is_looked_at_again_is_put_where_a_glob_finds_it_at_once(scene):
    scene.glob_file(DAY).unlink()
    scene.seal(1, DAY)
    assert scene.glob_file(DAY).exists()


def test_what_another_process_sealed_and_did_not_publish_is_published_the_next_day(scene):
    append(scene.url, trade(9, symbol="000020", session_date=DAY))
    scene.seal(1)
    list(seal_days(scene.lake, scene.url, MARKET, [DAY], lambda: 1, threading.Event()))
    os.link(version_path(scene.lake, "trades", MARKET, DAY, 1), staging_path(scene.lake, "older"))
    staging_path(scene.lake, "older").replace(scene.glob_file(DAY))  # a kill behind the manifest
    scene.seal(2, NEXT_DAY)
    assert scene.glob_file(DAY).samefile(version_path(scene.lake, "trades", MARKET, DAY, 2))


def test_a_lost_manifest_is_made_again_the_next_day(scene):
    manifest_path(scene.lake, MARKET, DAY).unlink()
    scene.seal(1, NEXT_DAY)
    day = sealed_day(scene.lake, MARKET, DAY)
    assert day is not None
    assert day.newest("trades") is not None


def test_what_a_killed_sealing_was_writing_is_removed_the_next_day(scene):
    staging_path(scene.lake, "half").touch()
    scene.seal(1, NEXT_DAY)
    assert not staging_path(scene.lake, "half").exists()


def test_after_a_failure_the_next_sealing_looks_at_all_files(scene):
    orphan = version_path(scene.lake, "trades", MARKET, DAY, 2)
    orphan.touch()
    append(scene.url, *day_of("2026-11-20", 1, 1, market="other"))
    with pytest.raises(DataFileError):
        scene.seal(1, "2026-11-20")
    assert orphan.exists(), "the day before nothing had failed"
    scene.seal(2, NEXT_DAY)
    assert not orphan.exists()


def test_a_manifest_that_was_put_back_is_compared_with_the_database(scene):
    [before, _] = sealed_days(scene.lake)
    append(scene.url, trade(9, symbol="000020", session_date=DAY))
    scene.seal(1, DAY)
    write_manifest(scene.lake, before)
    [result] = scene.seal(2, DAY)
    assert result.written == ("trades",)


def test_day_files_come_back_the_next_day_where_their_folders_are_gone(tmp_path):
    lake, now_ns = tmp_path / "lake", BEGIN_NS
    days = [f"2026-11-{day}" for day in range(10, 10 + CHECKED_AGAIN + 2)]  # also older ones than are looked at again
    url = make_stored(tmp_path, *(event for day in days for event in day_of(day, 1, 1)))
    files = DayFiles(tmp_path / "observer", "kis")
    upkeep = LakeUpkeep(lake=lake, url=url, market=MARKET, now_ns=lambda: now_ns, day_files=files)
    for number in range(3):
        now_ns = BEGIN_NS + number * NS_PER_DAY
        shutil.rmtree(tmp_path / "observer", ignore_errors=True)
        upkeep.seal(days[-1], threading.Event())
        found = sorted(path.parent.name for path in (tmp_path / "observer").rglob("trades.parquet"))
        assert found == [day.replace("-", "") for day in days]
    assert upkeep.seal(days[-1], threading.Event()) == [], "nothing is sealed twice"
