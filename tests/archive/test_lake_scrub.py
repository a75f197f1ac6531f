"""The nightly verification of the lake, and what `observer lake seal DAY` mends."""

import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.archive.copying import copy_lake
from observer.archive.day import (
    manifest_at,
    manifest_path,
    path_of,
    readable_days,
    sealed_day,
    version_path,
    write_manifest,
)
from observer.archive.scrub import EACH_WITHIN_DAYS, LakeFile, files_to_check, scrub, scrub_text
from observer.archive.sealing import seal_days
from observer.archive.target import FolderTarget
from observer.archive.verification import verify_stored_day
from observer.archive.whole import whole_files
from observer.base.clock import RealClock
from observer.base.errors import DataFileError
from observer.base.units import NS_PER_S
from tests.archive.stored import DAY, MARKET, NEXT_DAY, day_of, make_stored, remove_sealed

GO_ON = threading.Event()
DAY_S = 86_400


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.sets(st.integers(0, 59), max_size=4))
def test_each_file_is_read_within_thirty_days_also_when_the_machine_is_off_for_some(sizes, off):
    files = {f"{number}": LakeFile(f"{number}", size, 0) for number, size in enumerate(sizes)}
    for night in range(1, 70):
        if night in off:
            continue
        for each in files_to_check(list(files.values()), night * DAY_S):
            files[each.name] = msgspec.structs.replace(each, checked_s=night * DAY_S)
        if night > EACH_WITHIN_DAYS + 1:
            assert min(each.checked_s for each in files.values()) >= (night - EACH_WITHIN_DAYS - 1) * DAY_S


class Scene:
    """A lake with two sealed days and a copy of it."""

    def __init__(self, folder):
        self.lake, self.copy = folder / "lake", FolderTarget(folder / "copy")
        self.url = make_stored(folder, *day_of(DAY, 1, 2), *day_of(NEXT_DAY, 1, 2))
        self.seal()
        self.file, self.glob = (
            version_path(self.lake, "trades", MARKET, DAY, 1),
            path_of(self.lake, "trades", MARKET, DAY),
        )
        self.manifest = manifest_path(self.lake, MARKET, DAY)

    def seal(self, *mended, remove=()):
        days, copies = (DAY, NEXT_DAY), [self.copy.folder]
        made = seal_days(
            self.lake, self.url, MARKET, days, lambda: 1, GO_ON, remove=remove, mended=mended, copies=copies
        )
        list(made)

    def scrubbed(self):
        return scrub(self.lake, RealClock().now_ns() // NS_PER_S, GO_ON)

    def scrubbed_whole(self):
        """What thirty nights find, as if no file was read before: sealing has read them in this second."""
        whole_files.cache_clear()
        (self.lake / "_verified").unlink(missing_ok=True)
        return [problem for _ in range(30) for problem in self.scrubbed().problems]

    def restate(self, **changes):
        """Write a manifest that states other values of the trades."""
        day = sealed_day(self.lake, MARKET, DAY)
        trades = msgspec.structs.replace(day.newest("trades"), **changes)
        write_manifest(self.lake, msgspec.structs.replace(day, kinds={**day.kinds, "trades": (trades,)}))


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def flip(path):
    """Of the file alone: no link of it changes."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def both_damaged(scene):
    flip(scene.file)
    scene.glob.unlink()
    scene.glob.hardlink_to(scene.file)


def in_the_lake_alone(scene):
    scene.seal(remove=[DAY])
    copy_lake(scene.lake, scene.copy, GO_ON)
    remove_sealed(scene.url, scene.lake)
    both_damaged(scene)


FAULTS = {
    "a flipped bit in the version": lambda scene: flip(scene.file),
    "a flipped bit in what engines read": lambda scene: flip(scene.glob),
    "a flipped bit in both, which are one file": both_damaged,
    "the version is gone": lambda scene: scene.file.unlink(),
    "the manifest is no JSON": lambda scene: scene.manifest.write_text("{"),
    "the manifest has a false count": lambda scene: scene.restate(rows=7),
    "the manifest has a false digest": lambda scene: scene.restate(digest="0" * 64),
    "the rows are in the lake alone, and both its files are damaged": in_the_lake_alone,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_scrub_finds_names_the_one_remedy_which_mends_it(scene, fault):
    FAULTS[fault](scene)
    problems = scene.scrubbed_whole()
    assert problems
    assert all("the lake is damaged" in each and f"`observer lake seal {DAY}`" in each for each in problems), problems
    scene.seal(DAY)
    assert scene.scrubbed_whole() == []
    assert verify_stored_day(scene.lake, sealed_day(scene.lake, MARKET, DAY), scene.url, GO_ON).problems == ()


def test_one_damaged_manifest_hides_no_other_day_and_no_version_is_removed(scene):
    scene.manifest.write_text("{")
    days, wrong = readable_days(scene.lake)
    assert ([day.session_date for day in days], list(wrong)) == ([NEXT_DAY], [DAY])
    assert scene.scrubbed().problems == list(wrong.values())
    assert copy_lake(scene.lake, scene.copy, GO_ON).days == 1


def test_a_manifest_of_a_later_observer_stays_with_its_files(scene):
    write_manifest(scene.lake, msgspec.structs.replace(manifest_at(scene.manifest), format=2))
    before = scene.manifest.read_text()
    with pytest.raises(DataFileError, match="this program knows 1"):
        scene.seal()
    assert (scene.manifest.read_text(), scene.file.exists()) == (before, True)


def test_damage_is_found_again_each_night_until_it_is_mended_and_a_file_that_was_found_whole_waits_its_turn(scene):
    assert scene.scrubbed_whole() == []
    assert "read within 0 days" in scrub_text(scene.lake, RealClock().now_ns() // NS_PER_S)
    flip(scene.file)
    assert [len(scene.scrubbed().problems) for _ in range(3)] == [1, 1, 1]
