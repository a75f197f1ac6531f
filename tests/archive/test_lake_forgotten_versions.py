"""A day with forgotten versions: what of it is sealed on, and no row of a version is hidden by other rows."""

import threading

import msgspec
import pytest

from observer.archive.day import path_of, sealed_day, version_path, write_manifest
from observer.archive.day_files import DayFiles
from observer.archive.lost_versions import lost_versions, without
from observer.archive.sealing import seal_days
from observer.archive.target import published_days
from observer.archive.upkeep import CHECKED_AGAIN, LakeUpkeep
from tests.archive.object_stores import store_at
from tests.archive.stored import DAY, MARKET, append, day_of, make_stored, of_every_kind, remove_sealed
from tests.builders import trade

STOP = threading.Event()
pytestmark = pytest.mark.slow
LATER = [f"2026-12-{number:02}" for number in range(1, CHECKED_AGAIN + 1)]


class Scene:
    """A day with two versions of trades (60 and 61 rows) that left the database, and later sealed days."""

    def __init__(self, folder):
        self.folder = folder
        self.lake = folder / "lake"
        later = [event for day in LATER for event in day_of(day, symbols=1, each=1)]
        self.url = make_stored(folder, *day_of(), *later)
        self.seal(DAY, *LATER)
        append(self.url, trade(99, symbol="000010"))
        self.seal(DAY, remove=[DAY])
        remove_sealed(self.url, self.lake)

    def seal(self, *days, remove=()):
        return list(seal_days(self.lake, self.url, MARKET, days, lambda: 1, STOP, remove=remove))

    def upkeep(self, keep_days=None, *, has_target=False):
        """As a process that begins."""
        return LakeUpkeep(
            lake=self.lake,
            url=self.url,
            market=MARKET,
            now_ns=lambda: 1,
            day_files=DayFiles(self.folder / "files", "kis"),
            keep_days=keep_days,
            has_target=has_target,
        )

    def forget(self, *numbers):
        """Have the files of these versions of trades go, and forget them; return where the files are now."""
        away = []
        for number in numbers:
            away.append(self.version(number).rename(self.folder / f"{number}.parquet"))
        if 2 in numbers:
            path_of(self.lake, "trades", MARKET, DAY).unlink()
        write_manifest(self.lake, without(self.day, lost_versions(self.lake, self.day)))
        return away

    def append_late(self):
        """More late rows than are sealed."""
        append(self.url, *(trade(1_000 + number, symbol="000010") for number in range(70)))

    def version(self, number):
        return version_path(self.lake, "trades", MARKET, DAY, number)

    @property
    def day(self):
        day = sealed_day(self.lake, MARKET, DAY)
        assert day is not None
        return day

    @property
    def rows(self):
        """The numbers and the rows of the versions of trades."""
        return [(each.version, each.rows) for each in self.day.kinds.get("trades", ())]


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_late_rows_join_the_newest_version_when_an_earlier_one_is_forgotten(scene):
    scene.forget(1)
    assert (scene.day.removed, scene.day.lost_kinds) == (("trades",), [])
    assert scene.seal(DAY)[0].written == ()
    scene.append_late()
    scene.seal(DAY)
    assert scene.rows == [(2, 61), (3, 131)]


@pytest.mark.parametrize("numbers", [(2,), (1, 2)])
def test_as_many_other_rows_are_not_those_of_a_forgotten_version(scene, numbers):
    scene.forget(*numbers)
    before = scene.rows
    scene.append_late()
    [result] = scene.seal(DAY)
    text = "version 2 of trades is lost, and the database does not have its 61 rows: bring its file back"
    assert (result.written, text in result.lost[0]) == ((), True)
    assert (scene.rows, scene.day.lost_kinds) == (before, ["trades"])


@pytest.mark.parametrize("numbers", [(2,), (1, 2)])
def test_late_rows_join_a_forgotten_version_that_is_back(scene, numbers):
    away = scene.forget(*numbers)
    scene.append_late()
    away[-1].rename(scene.version(2))
    scene.upkeep().seal(LATER[-1], STOP)
    assert scene.rows[-2:] == [(2, 61), (3, 131)]


def test_late_rows_join_those_of_a_manifest_that_was_put_back_without_marks(scene):
    write_manifest(scene.lake, msgspec.structs.replace(scene.day, marks={}, removed=()))
    scene.append_late()
    scene.seal(DAY)
    assert scene.rows == [(1, 60), (2, 61), (3, 131)]


def test_the_other_kinds_of_a_day_with_a_lost_one_are_sealed_by_the_process(scene):
    scene.forget(1, 2)
    scene.append_late()
    kinds = ("fetched_minute_bars", "bar_fetches", "quality")
    append(scene.url, *of_every_kind(DAY, "000010", 7, kinds))
    said = scene.upkeep().seal(LATER[-1], STOP)
    assert said == [f"{DAY}: sealed fetched_minute_bars, bar_fetches, quality"]
    assert (set(kinds) < set(scene.day.kinds), scene.day.lost_kinds, scene.rows) == (True, ["trades"], [])
    assert scene.upkeep().seal(LATER[-1], STOP) == []


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [(2,), (1, 2)])
def test_the_rows_of_a_day_with_a_lost_kind_are_no_error_of_each_publication(scene, server, numbers):
    scene.forget(*numbers)
    append(scene.url, *of_every_kind(DAY, "000010", 7, ["bar_fetches", "fetched_minute_bars"]))
    scene.upkeep(keep_days=len(LATER)).seal(LATER[-1], STOP)
    store = store_at(server.make_bucket(f"lost-{len(numbers)}"), server.endpoint)
    upkeep = scene.upkeep(keep_days=len(LATER), has_target=True)
    assert upkeep.publish(store, STOP) == [f"{day}: published" for day in (DAY, *LATER)]
    assert [day.lost_kinds for day in published_days(store)][:2] == [["trades"], []]
    assert upkeep.publish(store, STOP) == []
