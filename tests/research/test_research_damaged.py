"""A damaged file of the lake gives no wrong answer: its rows come from another place, and a warning says so."""

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest
from polars.testing import assert_frame_equal

import observer
from observer.archive.copying import copy_lake
from observer.archive.day import manifest_path, path_of, sealed_day, version_name, write_manifest
from observer.archive.places import DamagedFileWarning
from observer.archive.target import FolderTarget
from observer.archive.whole import whole_files
from observer.base.errors import DamagedFileError, DataFileError
from observer.cli.app import command_line
from tests.archive.stored import remove_sealed
from tests.folders import as_made
from tests.research.stored import DAY, MARKET, NEXT_DAY, STREAM, append, traded, url_of
from tests.research.test_research_sealed import make_removed, make_sealed, seal

FIRST, SECOND = (version_name("trades", MARKET, DAY, each) for each in (1, 2))
GLOBBED = str(path_of(Path(), "trades", MARKET, DAY))


def flip(folder, name, at=0.5):
    """Flip a bit of a file of the lake, and of every link to it."""
    path = folder / "data/lake" / name
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    with path.open("r+b") as file:
        file.write(content)


def version_of(folder, kind="trades"):
    day = sealed_day(folder / "data/lake", MARKET, DAY)
    assert day is not None
    return day.name_of(kind, day.kinds[kind][-1])


def trades_in(folder):
    with observer.open_store(folder) as opened:
        return opened.trades(None, DAY).collect()


@pytest.fixture
def truth(store):
    return store.trades(None, DAY).collect()


def test_rows_of_a_damaged_file_are_read_from_the_database_that_has_them(truth):
    folder = as_made(make_sealed)
    flip(folder, version_of(folder))
    with pytest.warns(DamagedFileWarning, match=r"1\.parquet is damaged .* were read from the database"):
        assert_frame_equal(trades_in(folder), truth)


def test_a_database_with_a_late_row_instead_of_a_sealed_one_does_not_pass_for_the_damaged_file():
    folder = as_made(make_sealed)
    flip(folder, version_of(folder))
    append(url_of(folder), STREAM, traded("005930", "09:06:00", 70_000, 5, 105))
    with sqlite3.connect(url_of(folder).removeprefix("sqlite:///")) as database:
        database.execute("DELETE FROM trade_rows WHERE sequence = (SELECT min(sequence) FROM trade_rows)")
    with pytest.raises(DamagedFileError, match=rf"1\.parquet is damaged .*`observer lake seal {DAY}` mends it"):
        trades_in(folder)


@pytest.mark.parametrize("place", ["data/backup/lake/main", "glob"])
def test_removed_rows_of_a_damaged_file_are_read_from_a_whole_copy(truth, place):
    folder = as_made(make_removed)
    name = version_of(folder)
    if place == "glob":
        [glob] = (folder / "data/lake").glob("kind=trades/*/*/*.parquet")
        shutil.copy2(glob, glob.with_name("other"))
        glob.with_name("other").replace(glob)
    else:
        (folder / place / name).parent.mkdir(parents=True)
        shutil.copy2(folder / "data/lake" / name, folder / place / name)
    flip(folder, name)
    with pytest.warns(DamagedFileWarning, match="were read from"):
        assert_frame_equal(trades_in(folder), truth)


def test_where_no_place_has_a_whole_file_the_error_names_it_and_the_remedy():
    folder = as_made(make_removed)
    name = version_of(folder)
    (folder / "data/backup/lake/main" / name).parent.mkdir(parents=True)
    shutil.copy2(folder / "data/lake" / name, folder / "data/backup/lake/main" / name)
    flip(folder, name)
    flip(folder, f"../backup/lake/main/{name}")
    with pytest.raises(DamagedFileError, match=rf"{name} is damaged .*`observer lake seal {DAY}` mends it"):
        trades_in(folder)


def test_a_damaged_file_stops_no_question_about_another_kind_or_day(store):
    folder = as_made(make_removed)
    flip(folder, version_of(folder))
    with observer.open_store(folder) as opened:
        assert_frame_equal(opened.snapshots(None, DAY).collect(), store.snapshots(None, DAY).collect())
        assert_frame_equal(opened.universe(NEXT_DAY).collect(), store.universe(NEXT_DAY).collect())


@pytest.mark.parametrize("make", [make_sealed, make_removed])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.97])
def test_a_day_with_a_damaged_manifest_is_read_by_its_files(truth, make, at):
    folder = as_made(make)
    flip(folder, manifest_path(folder / "data/lake", MARKET, DAY).relative_to(folder / "data/lake"), at)
    with pytest.raises(DataFileError, match=r"2026-11-18\.json: "):
        sealed_day(folder / "data/lake", MARKET, DAY)
    with pytest.warns(DamagedFileWarning, match=r"2026-11-18\.json: .*`observer lake seal 2026-11-18`"):
        assert_frame_equal(trades_in(folder), truth)


def test_a_manifest_of_an_earlier_observer_states_no_digest_and_is_read(truth):
    folder = as_made(make_removed)
    path = manifest_path(folder / "data/lake", MARKET, DAY)
    path.write_bytes(path.read_bytes().partition(b',\n "sha256"')[0] + b"\n}\n")
    assert_frame_equal(trades_in(folder), truth)


def test_a_command_says_on_stderr_where_the_rows_are_from(truth, capsys):
    folder = as_made(make_sealed)
    flip(folder, version_of(folder))
    asked = ["query", "SELECT count(*) AS n FROM trades", "--json", "--config", str(folder / "observer.toml")]
    with pytest.warns(DamagedFileWarning):
        command_line().main(asked, "observer", standalone_mode=False)
    assert f'"n":{truth.height}' in capsys.readouterr().out.replace(" ", "")


def test_a_file_that_rotted_before_its_first_reading_is_not_believed(truth):
    folder = as_made(make_removed)
    path = folder / "data/lake" / version_of(folder)
    before = path.stat()
    (folder / "data/lake/_verified").unlink()
    whole_files.cache_clear()  # an earlier test may have read a file of this inode and time
    flip(folder, version_of(folder))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedFileError):
        trades_in(folder)


@pytest.fixture
def late():
    """A folder whose first day has a late trade in a second version, which left the database, and its trades."""
    folder = as_made(make_removed)
    append(url_of(folder), STREAM, traded("005930", "09:06:00", 70_000, 5, 105))
    seal(folder)
    remove_sealed(url_of(folder), folder / "data/lake")
    return folder, trades_in(folder)


def damage_manifest_and_lose(folder, *names):
    lake = folder / "data/lake"
    manifest_path(lake, MARKET, DAY).write_text("{")
    for name in names:
        (lake / name).unlink()


def test_of_a_day_without_manifest_the_copies_name_the_versions_that_are_gone(late):
    folder, trades = late
    copy_lake(folder / "data/lake", FolderTarget(folder / "data/backup/lake/main"), threading.Event())
    damage_manifest_and_lose(folder, SECOND, GLOBBED)
    with pytest.warns(DamagedFileWarning, match="its copies' manifests"):
        assert_frame_equal(trades_in(folder), trades)


@pytest.mark.parametrize("others", [(), [FIRST]])
def test_a_day_without_manifest_is_not_believed_where_a_folder_lost_its_file(late, others):
    damage_manifest_and_lose(late[0], SECOND, GLOBBED, *others)
    with pytest.raises(DamagedFileError, match=rf"`observer lake seal {DAY}`.*{GLOBBED}.*, or remove its folder"):
        trades_in(late[0])


def test_of_a_day_without_manifest_the_glob_has_the_newest_version_and_another_lake_s_copy_says_nothing(late):
    folder, expected = late
    day = sealed_day(folder / "data/lake", MARKET, DAY)
    trades = msgspec.structs.replace(day.newest("trades"), size_bytes=1, digest="")
    write_manifest(folder / "data/backup/lake/other", msgspec.structs.replace(day, kinds={"trades": (trades,)}))
    damage_manifest_and_lose(folder, SECOND)
    with pytest.warns(DamagedFileWarning, match=rf"{SECOND} is gone.* were read from .*{GLOBBED}"):
        assert_frame_equal(trades_in(folder), expected)
