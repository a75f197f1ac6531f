"""What each sealing of a lake looks at again, and mends: all its files, and the day files of days that changed."""

import os
import shutil
import threading

import pytest

from observer.archive.day import manifest_path, path_of, sealed_day, sealed_days, version_path, write_manifest
from observer.archive.day_files import DayFiles
from observer.archive.repair import scratch_folder
from observer.archive.sealing import seal_days
from observer.archive.upkeep import CHECKED_AGAIN, LakeUpkeep
from observer.base.errors import DataFileError
from tests.archive.stored import DAY, MARKET, NEXT_DAY, append, day_of, make_stored
from tests.builders import trade


class Scene:
    """A lake with two sealed days."""

    def __init__(self, folder):
        self.lake = folder / "lake"
        self.url = make_stored(folder, *day_of(DAY, 1, 2), *day_of(NEXT_DAY, 1, 2))
        self.seal(DAY, NEXT_DAY)

    def seal(self, *days):
        return list(seal_days(self.lake, self.url, MARKET, days, lambda: 1, threading.Event()))

    def version(self, number):
        return version_path(self.lake, "trades", MARKET, DAY, number)

    @property
    def glob_file(self):
        return path_of(self.lake, "trades", MARKET, DAY)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_days_without_new_rows_are_not_sealed_again_and_one_with_a_late_row_is(scene):
    assert [each.written for each in scene.seal(DAY, NEXT_DAY)] == [(), ()]
    append(scene.url, trade(9, symbol="000020", session_date=DAY))
    assert [each.written for each in scene.seal(DAY, NEXT_DAY)] == [("trades",), ()]
    assert scene.glob_file.samefile(scene.version(2))


def gone(scene):
    scene.glob_file.unlink()
    return lambda: scene.glob_file.samefile(scene.version(1))


def of_an_earlier_version(scene):
    """A kill behind the manifest."""
    append(scene.url, trade(9, symbol="000020", session_date=DAY))
    scene.seal(DAY)
    os.link(scene.version(1), scratch_folder(scene.lake) / "older")
    (scratch_folder(scene.lake) / "older").replace(scene.glob_file)
    return lambda: scene.glob_file.samefile(scene.version(2))


def without_a_manifest(scene):
    manifest_path(scene.lake, MARKET, DAY).unlink()
    return lambda: sealed_day(scene.lake, MARKET, DAY).newest("trades")


def half_written(scene):
    (scratch_folder(scene.lake) / "half").touch()
    return lambda: not (scratch_folder(scene.lake) / "half").exists()


def unnamed(scene):
    scene.version(2).touch()
    return lambda: not scene.version(2).exists()


@pytest.mark.parametrize("fault", [gone, of_an_earlier_version, without_a_manifest, half_written, unnamed])
@pytest.mark.parametrize("is_failure", [False, True])
def test_what_a_kill_or_a_hand_left_is_mended_by_the_next_sealing_of_any_day(scene, fault, is_failure):
    is_mended = fault(scene)
    if is_failure:
        append(scene.url, *day_of("2026-11-20", 1, 1, market="other"))
        with pytest.raises(DataFileError):
            scene.seal("2026-11-20")
    else:
        scene.seal(NEXT_DAY)
    assert is_mended()


def test_a_manifest_that_was_put_back_is_compared_with_the_database(scene):
    [before, _] = sealed_days(scene.lake)
    append(scene.url, trade(9, symbol="000020", session_date=DAY))
    scene.seal(DAY)
    write_manifest(scene.lake, before)
    [result] = scene.seal(DAY)
    assert result.written == ("trades",)


def test_day_files_come_back_the_next_day_where_their_folders_are_gone(tmp_path):
    lake = tmp_path / "lake"
    days = [f"2026-11-{day}" for day in range(10, 10 + CHECKED_AGAIN + 2)]  # also older ones than are looked at again
    url = make_stored(tmp_path, *(event for day in days for event in day_of(day, 1, 1)))
    files = DayFiles(tmp_path / "observer", "kis")
    upkeep = LakeUpkeep(lake=lake, url=url, market=MARKET, now_ns=lambda: 1, day_files=files)
    for _ in range(3):
        shutil.rmtree(tmp_path / "observer", ignore_errors=True)
        upkeep.seal(days[-1], threading.Event())
        found = sorted(path.parent.name for path in (tmp_path / "observer").rglob("trades.parquet"))
        assert found == [day.replace("-", "") for day in days]
    assert upkeep.seal(days[-1], threading.Event()) == [], "nothing is sealed twice"
