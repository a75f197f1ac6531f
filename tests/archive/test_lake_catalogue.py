"""The catalogue has the rows of the glob, its earlier snapshots those of earlier versions, and it can be made again."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from pyiceberg.manifest import read_manifest_list

from observer.archive import catalogue
from observer.archive.catalogue import KEPT_NS, MARKS, NAMESPACE, SCHEME, open_catalogue, outdated_tables
from observer.archive.day import CATALOGUE, glob_of, sealed_days
from observer.archive.parquet import file_schema
from observer.archive.sealing import seal_days
from observer.base.errors import DataFileError, UntidyCatalogueError
from observer.base.units import NS_PER_DAY
from tests.archive.stored import DAY, MARKET, NEXT_DAY, STREAM, append, day_of, lake_rows, make_stored, two_sealed_days
from tests.builders import trade

COLUMNS = file_schema("trades").names


@pytest.fixture
def url(tmp_path):
    return make_stored(tmp_path, *day_of(), *day_of(NEXT_DAY, symbols=1, each=5))


@pytest.fixture
def lake(tmp_path):
    return tmp_path / "lake"


@pytest.fixture
def sealed():
    return two_sealed_days()


def seal_all(lake, url, *days):
    for _ in seal_days(lake, url, MARKET, days or (DAY, NEXT_DAY), lambda: 1, threading.Event()):
        pass


def table_of(lake, kind="trades"):
    with open_catalogue(lake) as catalogue:
        return catalogue.load_table((NAMESPACE, kind))


def damage(catalogue, change):
    """Remove the catalogue, write over its file, or remove the tables' metadata."""
    if change == "lost":
        shutil.rmtree(catalogue)
    elif change == "damaged":
        (catalogue / "catalogue.sqlite3").write_bytes(b"no database " * 100)
    else:
        shutil.rmtree(catalogue / "observer")


def catalogue_rows(lake, snapshot=None):
    found = table_of(lake).scan(snapshot_id=snapshot).to_arrow().select(COLUMNS).to_pylist()
    return sorted((tuple(row.values()) for row in found), key=lambda row: row[:2])


def test_the_catalogue_has_the_rows_of_the_glob(sealed):
    lake, _ = sealed
    assert catalogue_rows(lake) == lake_rows(sorted(lake.glob(glob_of("trades"))), COLUMNS)
    assert outdated_tables(lake, sealed_days(lake)) == []


def test_a_table_has_market_and_day_and_reads_one_day_from_one_file(sealed):
    lake, _ = sealed
    scan = table_of(lake).scan(row_filter=f"session_date == '{NEXT_DAY}'")
    assert len(list(scan.plan_files())) == 1
    found = scan.to_arrow()
    assert set(zip(found["market"].to_pylist(), found["session_date"].to_pylist(), strict=True)) == {(MARKET, NEXT_DAY)}
    assert found.num_rows == 5


def test_a_snapshot_states_the_marks_of_its_days(sealed):
    lake, _ = sealed
    snapshot = table_of(lake).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    marks = json.loads(snapshot.summary[MARKS] or "")
    assert marks == {f"{MARKET} {day}": {STREAM: 69} for day in (DAY, NEXT_DAY)}


def test_an_earlier_snapshot_has_the_earlier_version(lake, url):
    seal_all(lake, url, DAY)
    earlier = table_of(lake).current_snapshot()
    assert earlier is not None
    append(url, trade(99, symbol="000010"))
    seal_all(lake, url, DAY)
    assert len(catalogue_rows(lake)) == 61
    assert len(catalogue_rows(lake, earlier.snapshot_id)) == 60


@pytest.mark.slow
@pytest.mark.parametrize("count", [9, pytest.param(15, marks=pytest.mark.slow)])
def test_of_the_snapshots_that_only_lack_days_the_newest_stay(lake, url, count):
    days = [f"2026-10-{day:02}" for day in range(1, count + 1)]
    append(url, *(event for day in days for event in day_of(day, symbols=1, each=1)))
    seal_all(lake, url, days[0])
    earlier = table_of(lake).current_snapshot()
    assert earlier is not None
    append(url, trade(99, symbol="000010", session_date=days[0]))
    for day in days:
        seal_all(lake, url, days[0], day)
    snapshots = table_of(lake).snapshots()
    assert len(snapshots) == 7
    assert len(catalogue_rows(lake, earlier.snapshot_id)) == 1, "it has the earlier version"
    assert len(catalogue_rows(lake)) == count + 1
    assert outdated_tables(lake, sealed_days(lake)) == []


def manifests_of(table, lists):
    found = [each for path in lists for each in read_manifest_list(table.io.new_input(str(path)))]
    return {Path(each.manifest_path.removeprefix(SCHEME)) for each in found}


def sealed_one_by_one(lake, url, month, days, *, age_days):
    """Seal so many days one by one; before each sealing the catalogue's files grow older by so many days."""
    dates = [f"2026-{month}-{number:02}" for number in range(1, days + 1)]
    append(url, *(trade(1, symbol="000010", session_date=date) for date in dates))
    for date in dates:
        grow_older(lake, age_days)
        seal_all(lake, url, date)


def grow_older(lake, days):
    for path in (lake / CATALOGUE).rglob("*.*"):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - round(days * NS_PER_DAY)))


@pytest.mark.slow
def test_lists_and_manifests_that_no_snapshot_of_the_last_week_needs_are_deleted(lake, url):
    sealed_one_by_one(lake, url, 10, 26, age_days=1.0)
    table = table_of(lake)
    folder = lake / CATALOGUE / "observer/trades/metadata"
    lists = set(folder.glob("snap-*"))
    assert len(lists) == 6 + 7, "of the snapshots that the table has, and of those that it had in the last week"
    needed, there = manifests_of(table, lists), set(folder.glob("*.avro")) - lists
    limit_ns = Path(table.metadata_location.removeprefix(SCHEME)).stat().st_mtime_ns - KEPT_NS
    assert needed <= there <= needed | {path for path in there if path.stat().st_mtime_ns >= limit_ns}
    assert len(catalogue_rows(lake)) == 26
    assert [len(catalogue_rows(lake, each.snapshot_id)) for each in table.snapshots()] == [21, 22, 23, 24, 25, 26]


@pytest.mark.slow
@pytest.mark.parametrize("pause_days", [0.5, 20.0])
def test_an_engine_with_a_state_of_the_last_week_finds_all_its_files(lake, url, pause_days):
    sealed_one_by_one(lake, url, 10, 6, age_days=1.0)
    grow_older(lake, pause_days)
    earlier = table_of(lake)
    assert (current := earlier.current_snapshot()) is not None
    sealed_one_by_one(lake, url, 12, 13, age_days=0.5)
    assert table_of(lake).snapshot_by_id(current.snapshot_id) is None, "the table has the snapshot no more"
    assert len(earlier.scan().to_arrow()) == 6


@pytest.mark.slow
def test_a_list_that_a_kill_left_unfinished_keeps_no_sealing_from_its_work(lake, url):
    sealed_one_by_one(lake, url, 10, 9, age_days=1.0)
    folder = lake / CATALOGUE / "observer/trades/metadata"
    (torn := folder / "snap-1-0-torn.avro").write_bytes(b"Obj\x01half")
    append(url, *day_of("2026-12-01", symbols=1, each=1))
    grow_older(lake, 6.0)
    before = len(list(folder.glob("snap-*")))
    seal_all(lake, url, "2026-12-01")
    assert torn.exists(), "it is not a week old"
    assert len(list(folder.glob("snap-*"))) < before
    assert len(catalogue_rows(lake)) == 10


@pytest.mark.slow
def test_a_damaged_list_of_an_earlier_snapshot_takes_nothing_from_the_catalogue(lake, url):
    sealed_one_by_one(lake, url, 10, 9, age_days=1.0)
    damaged = table_of(lake).snapshots()[1]
    Path(damaged.manifest_list.removeprefix(SCHEME)).write_bytes(b"Obj\x01half")
    grow_older(lake, 9.0)
    before = {each.snapshot_id for each in table_of(lake).snapshots()}
    folder = lake / CATALOGUE / "observer/trades/metadata"
    there = set(folder.glob("*.avro"))
    append(url, *day_of("2026-12-01", symbols=1, each=1))
    with pytest.raises(UntidyCatalogueError, match="is damaged, and what it needs is not known"):
        seal_all(lake, url, "2026-12-01")
    assert len(before - {each.snapshot_id for each in table_of(lake).snapshots()}) == 1, "the one that expires"
    assert there < set(folder.glob("*.avro")), "nothing is deleted while it is not known what is needed"
    assert outdated_tables(lake, sealed_days(lake)) == []


@pytest.mark.slow
@pytest.mark.parametrize("refused", ["utime", "scandir"])
def test_files_that_cannot_be_tidied_keep_no_sealing_from_its_work(lake, url, monkeypatch, refused):
    sealed_one_by_one(lake, url, 10, 9, age_days=1.0)
    before = {each.snapshot_id for each in table_of(lake).snapshots()}
    append(url, *day_of("2026-12-01", symbols=1, each=1))

    call = getattr(os, refused)

    def refuse(path):
        if "/metadata" in str(path):
            raise PermissionError(1, "Operation not permitted")
        return call(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, refused, refuse)
        with pytest.raises(UntidyCatalogueError, match=r"not tidied: .*Operation not permitted"):
            seal_all(lake, url, "2026-12-01")
    after = {each.snapshot_id for each in table_of(lake).snapshots()}
    assert (before < after) == (refused == "utime"), "a snapshot whose week cannot begin stays"
    assert outdated_tables(lake, sealed_days(lake)) == []
    assert len(catalogue_rows(lake)) == 10


def test_a_list_that_cannot_be_deleted_is_said_by_each_sealing_until_it_is(sealed):
    lake, url = sealed
    stuck = lake / CATALOGUE / "observer/trades/metadata/snap-1-0-stuck.avro"
    stuck.mkdir()
    os.utime(stuck, (1, 1))
    append(url, trade(99, symbol="000010", session_date=NEXT_DAY))
    for _ in range(3):
        with pytest.raises(UntidyCatalogueError, match=r"not tidied: what is not needed stays: .*snap-1-0-stuck"):
            seal_all(lake, url)
    stuck.rmdir()
    seal_all(lake, url)


@pytest.mark.slow
def test_a_kill_behind_the_commit_takes_the_week_from_no_list(lake, url, monkeypatch):
    sealed_one_by_one(lake, url, 10, 6, age_days=1.0)
    grow_older(lake, 8.0)
    earlier = table_of(lake).snapshots()

    class KilledError(BaseException):
        pass

    def kill(*_):
        raise KilledError

    append(url, *(event for day in (1, 2, 20) for event in day_of(f"2026-12-{day:02}", symbols=1, each=1)))
    with monkeypatch.context() as patched:
        patched.setattr(catalogue, "delete_unneeded", kill)
        for day in ("2026-12-01", "2026-12-02"):
            with pytest.raises(KilledError):
                seal_all(lake, url, day)
    seal_all(lake, url, "2026-12-20")
    assert table_of(lake).snapshot_by_id(earlier[0].snapshot_id) is None
    assert all(Path(each.manifest_list.removeprefix(SCHEME)).exists() for each in earlier)


def test_a_table_notes_its_files_under_the_name_that_earlier_lakes_have(sealed):
    lake, _ = sealed
    assert "observer.files" in table_of(lake).properties


def test_a_sealing_that_changes_nothing_makes_no_snapshot(sealed):
    lake, url = sealed
    before = table_of(lake).current_snapshot()
    seal_all(lake, url)
    assert table_of(lake).current_snapshot() == before


@pytest.mark.parametrize("change", ["lost", "damaged", "without metadata", "moved"])
def test_a_catalogue_that_is_lost_damaged_or_of_another_folder_is_made_again(sealed, change):
    lake, url = sealed
    if change != "moved":
        damage(lake / CATALOGUE, change)
        assert "trades" in outdated_tables(lake, sealed_days(lake))
    else:
        lake = lake.rename(lake.with_name("moved"))
    append(url, trade(99, symbol="000010", session_date=NEXT_DAY))
    seal_all(lake, url)
    assert outdated_tables(lake, sealed_days(lake)) == []
    assert len(catalogue_rows(lake)) == 66


def test_a_wrong_day_does_not_keep_a_later_one_from_being_sealed(lake, url):
    wrong = "2026-11-17"
    append(url, *day_of(wrong, market="other", symbols=1, each=2))
    with pytest.raises(DataFileError, match="rows of market other"):
        seal_all(lake, url, wrong, DAY)
    assert [day.session_date for day in sealed_days(lake)] == [DAY]
    assert outdated_tables(lake, sealed_days(lake)) == []


def test_the_catalogue_follows_although_a_later_day_fails(lake, url):
    append(url, *day_of(NEXT_DAY, market="other"))
    with pytest.raises(DataFileError, match="rows of market other"):
        seal_all(lake, url)
    assert [day.session_date for day in sealed_days(lake)] == [DAY]
    assert len(catalogue_rows(lake)) == 60
