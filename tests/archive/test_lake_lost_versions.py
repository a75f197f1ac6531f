"""A version whose file is gone comes back from the file that a glob finds, or is named with the remedy."""

import json
import os
import shutil
import threading

import msgspec
import pytest

from observer.archive.catalogue import open_catalogue
from observer.archive.day import (
    CATALOGUE,
    lost_files,
    manifest_path,
    path_of,
    sealed_day,
    sealed_days,
    version_path,
    write_manifest,
)
from observer.archive.sealing import seal_days
from observer.archive.verification import verify_catalogue, verify_stored_day
from observer.base.errors import DataFileError
from observer.system.doctor import stored
from tests.archive.stored import DAY, MARKET, NEXT_DAY, append, remove_sealed, two_sealed_days
from tests.builders import trade

STOP = threading.Event()
pytestmark = pytest.mark.slow


class Scene:
    """A lake with two sealed days."""

    def __init__(self):
        self.lake, self.url = two_sealed_days()

    def seal(self, *days, remove=()):
        wanted = days or (DAY, NEXT_DAY)
        return list(seal_days(self.lake, self.url, MARKET, wanted, lambda: 1, STOP, remove=remove))

    def version(self, kind="trades", number=1):
        return version_path(self.lake, kind, MARKET, DAY, number)

    def glob(self, kind="trades"):
        return path_of(self.lake, kind, MARKET, DAY)

    def problems(self):
        day = sealed_day(self.lake, MARKET, DAY)
        assert day is not None
        return verify_stored_day(self.lake, day, self.url, STOP).problems

    def remove_rows(self):
        """Have the first day's rows leave the database."""
        self.seal(remove=[DAY])
        remove_sealed(self.url, self.lake)


@pytest.fixture
def scene():
    return Scene()


def damage(path):
    """Other content, in a file of its own."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:200])


@pytest.mark.parametrize("is_copy", [False, True])
def test_a_version_that_is_gone_comes_back_from_the_glob_s_file(scene, is_copy):
    scene.remove_rows()
    before = scene.version().read_bytes()
    scene.version().unlink()
    if is_copy:
        content = scene.glob().read_bytes()
        scene.glob().unlink()
        scene.glob().write_bytes(content)
    scene.seal(NEXT_DAY)
    assert scene.version().read_bytes() == before
    assert scene.problems() == ()


def test_a_damaged_version_does_not_replace_the_glob_s_whole_file(scene):
    scene.remove_rows()
    before = scene.version().read_bytes()
    damage(scene.version())
    scene.seal(NEXT_DAY)
    assert (scene.version().read_bytes(), scene.glob().read_bytes()) == (before, before)
    assert scene.problems() == ()


def test_a_glob_s_file_of_another_version_is_not_taken_for_the_newest(scene):
    append(scene.url, trade(99, symbol="000010"))
    first = scene.version().read_bytes()
    scene.seal()
    scene.remove_rows()
    scene.version(number=2).unlink()
    scene.glob().unlink()
    scene.glob().write_bytes(first)
    with pytest.raises(DataFileError, match=r"2\.parquet is gone, which has the trades of 2026-11-18: mount the lake"):
        scene.seal(NEXT_DAY)
    assert not scene.version(number=2).exists()


def test_a_version_that_is_lost_is_named_with_the_remedy_and_the_other_days_are_sealed(scene):
    scene.remove_rows()
    scene.version().unlink()
    scene.glob().unlink()
    append(scene.url, trade(99, symbol="000010", session_date=NEXT_DAY))
    text = f"{scene.version()} is gone, which has the trades of {DAY}: mount the lake, or `observer lake seal {DAY}`"
    with pytest.raises(DataFileError) as failed:
        scene.seal()
    assert str(failed.value).count(text) == 1
    assert [day.kinds["trades"][-1].version for day in sealed_days(scene.lake)] == [1, 2]
    assert verify_catalogue(scene.lake) == ()
    assert [each for each in scene.problems() if text in each]


def test_a_lost_version_is_written_again_from_the_rows_that_the_database_has(scene):
    scene.version().unlink()
    scene.glob().unlink()
    with pytest.raises(DataFileError, match=r"1\.parquet is gone"):
        scene.seal()
    assert scene.glob().samefile(scene.version(number=2))


@pytest.mark.parametrize("gone", ["nothing", "the version", "both"])
def test_of_a_kind_that_a_later_observer_sealed_only_what_is_gone_is_lost(scene, gone):
    day = sealed_day(scene.lake, MARKET, DAY)
    assert day is not None
    write_manifest(scene.lake, msgspec.structs.replace(day, kinds={**day.kinds, "later": day.kinds["sweeps"]}))
    for path, source in (
        (scene.version("later"), scene.version("sweeps")),
        (scene.glob("later"), scene.glob("sweeps")),
    ):
        path.parent.mkdir(parents=True)
        shutil.copyfile(source, path)  # as a copy of the lake without times and links
    if gone != "nothing":
        scene.version("later").unlink()
    if gone == "both":
        scene.glob("later").unlink()
        with pytest.raises(DataFileError, match="is gone, which has the later of 2026-11-18"):
            scene.seal()
    else:
        scene.seal()
        assert scene.glob("later").samefile(scene.version("later"))


def test_a_lost_version_costs_the_catalogue_no_table_and_is_added_once_it_is_back(scene):
    scene.remove_rows()
    away = shutil.move(scene.version(), scene.lake.parent / "away.parquet")
    scene.glob().unlink()
    shutil.rmtree(scene.lake / CATALOGUE)
    for _ in range(2):
        with pytest.raises(DataFileError, match=r"1\.parquet is gone"):
            scene.seal()
        with open_catalogue(scene.lake) as catalogue:
            assert catalogue.load_table("observer.trades").scan().to_arrow().num_rows == 5
    os.rename(away, scene.version())  # noqa: PTH104 - as a mount does
    scene.seal()
    assert verify_catalogue(scene.lake) == ()


def test_an_earlier_version_that_is_gone_is_named_and_keeps_nothing_from_being_sealed(scene):
    append(scene.url, trade(99, symbol="000010"))
    scene.seal()
    scene.version().unlink()
    scene.seal(NEXT_DAY)
    text = f"{scene.version()} is gone, which has the trades of {DAY}: mount the lake"
    [day, _] = sealed_days(scene.lake)
    for found in (scene.problems(), lost_files(scene.lake, day)):
        [problem] = found
        assert problem.startswith(text)
    finding, _ = stored.lake(scene.lake)
    assert (finding.level, finding.text.startswith(text)) == ("critical", True)
    assert list(stored.lake(scene.lake.parent)) == []


def test_what_an_earlier_observer_had_given_up_is_named_as_lost_until_it_is_back(scene):
    """It stated such versions apart, as `lacking`, and let the database keep the rows of the kind."""
    scene.remove_rows()
    append(scene.url, trade(99, symbol="000010"))
    path = manifest_path(scene.lake, MARKET, DAY)
    stated = json.loads(path.read_text())
    stated |= {"lacking": {"trades": stated["kinds"].pop("trades")}, "removed": []}
    path.write_text(json.dumps(stated))
    away = scene.version().rename(scene.lake / "away")
    scene.glob().unlink()
    day = sealed_day(scene.lake, MARKET, DAY)
    assert (day.removed, [text.partition(" ")[0] for text in lost_files(scene.lake, day)]) == (
        ("trades",),
        [str(scene.version())],
    )
    with pytest.raises(DataFileError, match=r"1\.parquet is gone"):
        scene.seal()
    away.rename(scene.version())
    scene.seal()
    assert [each.rows for each in sealed_day(scene.lake, MARKET, DAY).kinds["trades"]] == [60, 61]
    assert scene.problems() == ()
