"""A file of the lake is read once before its rows are believed; the result serves other processes of this user."""

import hashlib
import multiprocessing
import os
import shutil
import threading

import msgspec
import pytest

from observer.archive.day import SealedDay, sealed_day
from observer.archive.sealing import seal_days
from observer.archive.whole import TRUSTED_S, WholeFiles, wrong_bytes
from observer.base.units import NS_PER_S
from tests.archive.sealed.keep import FOLDER
from tests.archive.stored import DAY, MARKET, two_sealed_days

DAMAGED = "is damaged (it has other bytes than were sealed)"


class Scene:
    """A sealed day's file of trades, and a machine's clock."""

    def __init__(self):
        self.lake, self.url = two_sealed_days()
        day = sealed_day(self.lake, MARKET, DAY)
        assert isinstance(day, SealedDay)
        self.version = day.kinds["trades"][-1]
        self.name = day.name_of("trades", self.version)
        self.path = self.lake / self.name
        self.now_s = 1_000_000
        (self.lake / "_verified").unlink()  # the sealing has read the files, for the catalogue

    def files(self):
        """What a process knows that begins now."""
        return WholeFiles(self.lake, lambda: self.now_s * NS_PER_S)

    def wrong(self):
        return self.files().wrong(self.name, self.version)

    def flip(self, bit=40_001, *, keeps_time=True):
        """Flip a bit as a disk does, or as somebody who writes the file."""
        before = self.path.stat()
        content = bytearray(self.path.read_bytes())
        content[bit // 8 % len(content)] ^= 1 << bit % 8
        self.path.write_bytes(content)
        if keeps_time:
            os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def scene():
    return Scene()


def test_a_sealing_states_what_sha256sum_prints_of_the_file(scene):
    assert scene.version.file_sha256 == hashlib.sha256(scene.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("bit", [0, 40_001, -1])
def test_one_flipped_bit_is_seen_at_the_first_reading(scene, bit):
    assert scene.wrong() == ""
    (scene.lake / "_verified").unlink()
    scene.flip(bit)
    assert scene.wrong() == DAMAGED


def test_a_file_that_was_read_is_not_read_again_by_other_processes(scene):
    assert scene.wrong() == ""
    scene.flip()
    assert scene.wrong() == ""  # what has rotten since, the verification of the night finds
    assert scene.files().verify(scene.name, scene.version) == DAMAGED


def test_a_file_that_changed_its_time_is_read_again(scene):
    files = scene.files()
    assert files.wrong(scene.name, scene.version) == ""
    scene.flip(keeps_time=False)
    assert files.wrong(scene.name, scene.version) == scene.wrong() == DAMAGED


def test_a_file_in_another_ones_place_is_read_again(scene):
    assert scene.wrong() == ""
    shutil.copy2(scene.path, scene.path.with_name("other"))
    scene.path.with_name("other").replace(scene.path)
    scene.flip()
    assert scene.wrong() == DAMAGED


def test_after_thirty_five_days_a_file_is_read_again(scene):
    assert scene.wrong() == ""
    scene.flip()
    scene.now_s += TRUSTED_S
    assert scene.wrong() == ""
    scene.now_s += 1
    assert scene.wrong() == DAMAGED


def test_a_file_that_is_gone_or_cut_is_named_so(scene):
    scene.path.write_bytes(scene.path.read_bytes()[:-1])
    assert "bytes, its manifest states" in scene.wrong()
    scene.path.unlink()
    assert scene.wrong() == "is gone"


def test_a_verification_that_finds_damage_says_so_to_every_process(scene):
    files = scene.files()
    assert files.wrong(scene.name, scene.version) == ""
    scene.flip()
    assert scene.files().verify(scene.name, scene.version) == DAMAGED
    assert files.wrong(scene.name, scene.version) == scene.wrong() == DAMAGED


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b'["kind=', b"[1]\n{}\n"])
def test_a_broken_record_is_made_anew(scene, content):
    (scene.lake / "_verified").write_bytes(content)
    assert scene.wrong() == ""
    scene.flip()
    assert scene.wrong() == ""


def test_a_line_of_the_record_with_a_flipped_bit_makes_no_damaged_file_whole(scene):
    assert scene.wrong() == ""
    whole = (scene.lake / "_verified").read_bytes()
    scene.flip(keeps_time=False)
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        (scene.lake / "_verified").write_bytes(content)
        assert scene.wrong() == DAMAGED


def test_where_the_lake_takes_no_record_the_caches_of_the_user_do(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (scene.lake / "_verified").mkdir()
    assert scene.wrong() == ""
    scene.flip()
    assert scene.wrong() == ""
    assert len(list((tmp_path / "observer/lakes").iterdir())) == 1


def test_processes_that_note_files_together_lose_no_line(scene):
    processes = [multiprocessing.Process(target=_note, args=(scene, part)) for part in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    names = {f"{part}/{number}" for part in range(4) for number in range(50)}
    for name in names:
        (scene.lake / name).write_bytes(b"\0" * scene.version.size_bytes)  # neither time nor content is that noted
    lines = (scene.lake / "_verified").read_bytes().split()
    assert {msgspec.json.decode(line)[0] for line in lines} == names


def test_the_record_is_written_anew_when_most_of_it_is_outdated(scene):
    files = scene.files()
    for _ in range(1_100):
        assert files.verify(scene.name, scene.version) == ""
    assert scene.wrong() == ""
    assert len((scene.lake / "_verified").read_bytes().split()) < 1_100
    scene.flip()
    assert scene.wrong() == files.wrong(scene.name, scene.version) == ""


def test_a_version_of_an_earlier_observer_is_judged_by_its_rows(tmp_path):
    shutil.copytree(FOLDER / "version-8", lake := tmp_path / "lake")
    day = sealed_day(lake, MARKET, DAY)
    assert day is not None
    for kind, version in day.versions:
        path = lake / day.name_of(kind, version)
        assert wrong_bytes(path, version) == ""
        whole = path.read_bytes()
        at = whole.index(b"PAR1", 4) // 2  # of its pages
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert "damaged" in wrong_bytes(path, version)


def test_a_next_version_states_its_own_digest(scene):
    seal_days(scene.lake, scene.url, MARKET, [DAY], lambda: 1, threading.Event())
    day = sealed_day(scene.lake, MARKET, DAY)
    assert day is not None
    assert all(version.file_sha256 for _, version in day.versions)


def _note(scene, part):
    files = scene.files()
    (scene.lake / str(part)).mkdir()
    for number in range(50):
        shutil.copy2(scene.path, scene.lake / f"{part}/{number}")
        assert files.verify(f"{part}/{number}", scene.version) == ""
