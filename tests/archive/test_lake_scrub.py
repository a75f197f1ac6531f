"""The nightly verification of the lake, and what `observer lake seal DAY` mends."""

import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.archive.copies import files_of, kinds_apart
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
from observer.archive.places import Places
from observer.archive.scrub import EACH_WITHIN_DAYS, LakeFile, files_to_check, scrub, scrub_text
from observer.archive.sealing import seal_days
from observer.archive.target import FolderTarget, pieces_of
from observer.archive.verification import verify_stored_day
from observer.archive.whole import whole_files
from observer.base.clock import RealClock
from observer.base.errors import DataFileError
from observer.base.units import NS_PER_S
from observer.system.doctor.stored import lake as doctor_lake
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
        self.at_target = None
        self.url = make_stored(folder, *day_of(DAY, 1, 2), *day_of(NEXT_DAY, 1, 2))
        self.seal()
        self.file, self.glob = (
            version_path(self.lake, "trades", MARKET, DAY, 1),
            path_of(self.lake, "trades", MARKET, DAY),
        )
        self.manifest = manifest_path(self.lake, MARKET, DAY)

    def seal(self, *mended, remove=()):
        days, places = (DAY, NEXT_DAY), Places(self.lake, [self.copy.folder], self.at_target)
        made = seal_days(
            self.lake, self.url, MARKET, days, lambda: 1, GO_ON, remove=remove, mended=mended, places=places
        )
        list(made)

    def scrubbed(self):
        return scrub(self.lake, RealClock().now_ns() // NS_PER_S, GO_ON, [self.copy.folder])

    def scrubbed_whole(self):
        """What thirty nights find, as if no file was read before: sealing has read them in this second."""
        whole_files.cache_clear()
        for folder in (self.lake, self.copy.folder):
            (folder / "_verified").unlink(missing_ok=True)
        return [problem for _ in range(30) for problem in self.scrubbed().problems]

    def restate(self, **changes):
        """Write a manifest that states other values of the trades."""
        day = sealed_day(self.lake, MARKET, DAY)
        trades = msgspec.structs.replace(day.newest("trades"), **changes)
        write_manifest(self.lake, msgspec.structs.replace(day, kinds={**day.kinds, "trades": (trades,)}))


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
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


def at_the_target_alone(scene):
    in_the_lake_alone(scene)
    store = scene.copy.folder.rename(scene.lake.with_name("store"))
    scene.at_target = lambda name: pieces_of(store / name)


def with_its_manifest(scene):
    in_the_lake_alone(scene)
    scene.manifest.write_text("{")


def with_its_manifest_and_gone(scene):
    gone_from_the_lake(scene)
    scene.manifest.write_text("{")


def gone_from_the_lake(scene):
    in_the_lake_alone(scene)
    scene.file.unlink()
    scene.glob.unlink()


FAULTS = {
    "a flipped bit in the version": lambda scene: flip(scene.file),
    "a flipped bit in what engines read": lambda scene: flip(scene.glob),
    "a flipped bit in both, which are one file": both_damaged,
    "the version is gone": lambda scene: scene.file.unlink(),
    "the manifest is no JSON": lambda scene: scene.manifest.write_text("{"),
    "the manifest has a false count": lambda scene: scene.restate(rows=7),
    "the manifest has a false digest": lambda scene: scene.restate(digest="0" * 64),
    "the rows are in the lake alone, and both its files are damaged": in_the_lake_alone,
    "likewise, and the object store has the file": at_the_target_alone,
    "likewise, and the manifest is no JSON": with_its_manifest,
    "the rows are in the lake alone, and both its files are gone": gone_from_the_lake,
    "likewise, and the manifest is damaged": with_its_manifest_and_gone,
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


def test_a_file_that_is_put_back_from_a_copy_is_not_that_of_the_copy(scene):
    in_the_lake_alone(scene)
    scene.seal(DAY)
    assert not scene.file.samefile(version_path(scene.copy.folder, "trades", MARKET, DAY, 1))
    assert scene.file.samefile(scene.glob)


def test_a_day_whose_manifest_and_file_are_damaged_keeps_no_other_day_from_being_sealed(scene):
    both_damaged(scene)
    scene.manifest.write_text("{")
    version_path(scene.lake, "trades", MARKET, NEXT_DAY, 1).unlink()
    path_of(scene.lake, "trades", MARKET, NEXT_DAY).unlink()
    with pytest.raises(DataFileError, match=DAY):
        scene.seal()
    assert path_of(scene.lake, "trades", MARKET, NEXT_DAY).exists()
    assert scene.file.exists()


def test_a_day_without_a_manifest_or_a_copy_is_not_made_of_what_is_left_until_a_hand_says_so(scene):
    scene.manifest.write_text("{")
    scene.file.unlink()
    scene.glob.unlink()
    with pytest.raises(DataFileError, match=f"{scene.glob}: .*, or remove its folder"):
        scene.seal(DAY)
    scene.glob.parent.rmdir()
    scene.file.parent.rmdir()
    scene.seal(DAY)
    assert scene.scrubbed_whole() == []


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


def test_the_doctor_names_what_a_reader_or_the_scrub_found_damaged_until_it_is_mended(scene):
    assert [each.level for each in doctor_lake(scene.lake)] == ["ok"]
    flip(scene.file)
    scene.scrubbed_whole()
    damaged, files = doctor_lake(scene.lake)
    assert (damaged.level, str(scene.file) in damaged.text) == ("critical", True)
    assert f"`observer lake seal {DAY}`" in damaged.text
    assert files.text.endswith(", 1 damaged")
    scene.seal(DAY)
    assert ["damaged" in each.text for each in doctor_lake(scene.lake)] == [False]


def test_a_copy_that_rots_counts_no_more_and_the_next_backup_replaces_it(scene):
    copy_lake(scene.lake, scene.copy, GO_ON)
    assert scene.scrubbed_whole() == []
    day = sealed_day(scene.lake, MARKET, DAY)
    assert "trades" in kinds_apart(scene.lake, scene.copy.folder, day)
    copied = version_path(scene.copy.folder, "trades", MARKET, DAY, 1)
    flip(copied)
    [problem] = set(scene.scrubbed_whole())
    assert problem == (
        f"{copied} is damaged (it has other bytes than were sealed), a copy of the trades of {DAY}: "
        "`observer backup now` copies it anew"
    )
    assert files_of(scene.copy.folder, day).keys() == day.kinds.keys() - {"trades"}
    assert kinds_apart(scene.lake, scene.copy.folder, day) == day.kinds.keys() - {"trades"}
    assert (copy_lake(scene.lake, scene.copy, GO_ON).files, copied.read_bytes()) == (1, scene.file.read_bytes())
    assert kinds_apart(scene.lake, scene.copy.folder, day) == day.kinds.keys()
    assert scene.scrubbed_whole() == []


def test_a_damaged_copy_is_kept_while_the_lake_s_own_file_is_damaged_too(scene):
    copy_lake(scene.lake, scene.copy, GO_ON)
    copied = version_path(scene.copy.folder, "trades", MARKET, DAY, 1)
    flip(copied)
    both_damaged(scene)
    before = copied.read_bytes()
    assert len(set(scene.scrubbed_whole())) == 2
    [problem] = copy_lake(scene.lake, scene.copy, GO_ON).problems
    assert ("is not copied" in problem, copied.read_bytes()) == (True, before)


def test_a_file_that_stays_damaged_keeps_no_other_one_from_its_turn():
    damaged, others = LakeFile("a", 1_000, -1), [LakeFile(each, 10, 0) for each in "bcd"]
    assert [each.name for each in files_to_check([*others, damaged], DAY_S)] == ["a", "b", "c", "d"]
