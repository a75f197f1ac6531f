"""The lake's copy beside the packages: each version once, whole after any kill, and put back when the lake is lost."""

import multiprocessing
import os
import shutil
import signal
import threading
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from observer.archive import copying
from observer.archive.backup import back_up
from observer.archive.bundles import held_files
from observer.archive.catalogue import outdated_tables
from observer.archive.copying import LakeCopied, copy_lake, copy_of_lake, problems_in_copy
from observer.archive.day import path_of, sealed_day, sealed_days, version_path
from observer.archive.day_files import DayFiles
from observer.archive.lock import locked
from observer.archive.package import manifest_of, packages
from observer.archive.parquet import file_schema
from observer.archive.restore import LakePlan, lacking, put_back
from observer.archive.sealing import seal_days
from observer.archive.settings import BackupSettings
from observer.archive.target import FolderTarget, staged_beside
from observer.base.errors import LakeInUseError, StoppedError
from observer.base.instance import Instance
from observer.base.units import NS_PER_S
from tests.archive.scene import GO_ON, NOW_NS, plan_in
from tests.archive.stored import DAY, MARKET, NEXT_DAY, append, lake_rows, remove_sealed, two_sealed_days
from tests.builders import trade

COLUMNS = file_schema("trades").names
FILES_A_DAY = 3  # trades, universes, sweeps


@pytest.fixture
def kept():
    return two_sealed_days()


@pytest.fixture
def lake(kept):
    return kept[0]


@pytest.fixture
def url(kept):
    return kept[1]


@pytest.fixture
def plan(tmp_path, url, lake):
    found = plan_in(tmp_path, url, BackupSettings(manual_kept=9))
    return msgspec.structs.replace(found, contents=msgspec.structs.replace(found.contents, lake=lake))


@pytest.fixture
def copy(plan):
    return copy_of_lake(plan.folder, Instance()).folder


def sealed(lake, url, *days, now_ns=1, remove=False):
    wanted = days or (DAY, NEXT_DAY)
    removed = [DAY] if remove else []
    for _ in seal_days(lake, url, MARKET, wanted, lambda: now_ns, threading.Event(), remove=removed):
        pass


def copied(lake, copy):
    return copy_lake(lake, FolderTarget(copy), GO_ON)


def restored(lake, copy):
    """Put back what the lake lacks."""
    put_back(lake, lacks(lake, copy), GO_ON)


def lacks(lake, copy, *needed):
    return lacking(lake, FolderTarget(copy), needed, GO_ON)


def wrong(copy, needed=MappingProxyType({})):
    return problems_in_copy(FolderTarget(copy), needed, GO_ON)


def notes(copy):
    """The manifests at the copy."""
    return sorted((copy / "_days").glob("*/*.json"))


def identities(copy):
    found = {path: path.stat() for path in copy.rglob("*.parquet")}
    return {str(path.relative_to(copy)): (each.st_ino, each.st_mtime_ns) for path, each in found.items()}


def damage(path):
    """Another byte in the middle, in a file of its own."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()
    path.write_bytes(content)


def test_each_version_is_copied_once_and_a_new_one_beside_it(plan, lake, copy, url):
    assert back_up(plan, "manual", NOW_NS, GO_ON).failures == []
    first = identities(copy)
    assert len(first) == 2 * FILES_A_DAY
    append(url, trade(99, symbol="000010"))
    sealed(lake, url, now_ns=2)
    assert back_up(plan, "manual", NOW_NS + NS_PER_S, GO_ON).failures == []
    second = identities(copy)
    assert second.keys() - first.keys() == {f"_versions/kind=trades/market={MARKET}/session_date={DAY}/2.parquet"}
    assert {name: second[name] for name in first} == first
    assert copied(lake, copy) == LakeCopied(0, 0, [])
    assert wrong(copy) == []


def test_a_package_has_the_ledgers_but_not_the_day_files_beside_them(plan, lake):
    ledgers = plan.contents.folders["ledgers"]
    for day in sealed_days(lake):
        for path in DayFiles(ledgers, "kis").write(lake, day):
            staged_beside(path).write_bytes(b"of a process that was killed")
            (path.parent / "recovery_000010.jsonl").write_text("{}")
    day_files = {path.relative_to(ledgers).as_posix() for path in ledgers.rglob("trades.parquet")}
    assert len(day_files) == 2
    back_up(plan, "manual", NOW_NS, GO_ON)
    [package] = packages(plan.folder)
    assert {file.path for file in held_files(package) if file.path.startswith("ledgers/")} == {
        "ledgers/kis/ledger.csv",
        *(f"ledgers/{Path(name).parent}/recovery_000010.jsonl" for name in day_files),
    }
    assert not list(package.path.rglob("*.parquet"))


def linked(lake, copy):
    """The names of the copied files that are the lake's own."""
    names = identities(copy)
    return {name for name in names if (lake / name).samefile(copy / name)}


def link(lake, copy):
    """Make the copied files the lake's own, as an earlier Observer did."""
    for name in identities(copy):
        (copy / name).unlink()
        os.link(lake / name, copy / name)


def flip(path):
    """Another bit in the middle, as a disk does it: the file, its names and its times stay."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(times.st_size // 2)
        [byte] = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_copy_has_bytes_of_its_own(lake, copy):
    assert copied(lake, copy).files == 2 * FILES_A_DAY
    assert linked(lake, copy) == set()
    own, other = (version_path(each, "trades", MARKET, DAY, 1) for each in (lake, copy))
    assert own.read_bytes() == other.read_bytes()
    assert wrong(copy) == []


def test_the_links_of_an_earlier_observer_become_copies(lake, copy):
    copied(lake, copy)
    link(lake, copy)
    before = identities(lake)
    assert copied(lake, copy) == LakeCopied(2, 2 * FILES_A_DAY, [])
    assert linked(lake, copy) == set()
    assert (wrong(copy), identities(lake)) == ([], before)
    assert copied(lake, copy) == LakeCopied(0, 0, [])


def test_a_backup_makes_copies_of_the_oldest_links_and_leaves_the_others_to_the_next(lake, copy, monkeypatch):
    copied(lake, copy)
    link(lake, copy)
    monkeypatch.setattr(copying, "APART_BYTES_MAX", 1)
    assert copied(lake, copy) == LakeCopied(1, FILES_A_DAY, [])
    assert len(linked(lake, copy)) == FILES_A_DAY
    assert all(NEXT_DAY in name for name in linked(lake, copy))
    assert copied(lake, copy) == LakeCopied(1, FILES_A_DAY, [])
    assert linked(lake, copy) == set()


def test_links_stay_where_the_disk_has_no_room_and_the_backup_says_so(lake, copy, monkeypatch):
    copied(lake, copy)
    link(lake, copy)
    monkeypatch.setattr(copying, "FREE_SHARE_MIN", 1.0)
    [problem] = copied(lake, copy).problems
    assert problem.startswith(f"2 days of {copy} since {DAY} are the lake's own files, and its disk has less than")
    assert len(linked(lake, copy)) == 2 * FILES_A_DAY


def test_a_version_that_the_lake_states_no_more_stays_a_link_and_is_not_forgotten(lake, copy, url, tmp_path):
    shutil.copytree(lake / "_days", tmp_path / "earlier")
    append(url, trade(99, symbol="000010"))
    sealed(lake, url, now_ns=2)
    copied(lake, copy)
    link(lake, copy)
    shutil.copytree(tmp_path / "earlier", lake / "_days", dirs_exist_ok=True)
    before_notes = [path.read_bytes() for path in notes(copy)]
    assert ["other rows of trades" in text for text in copied(lake, copy).problems] == [True]
    assert [path.read_bytes() for path in notes(copy)] == before_notes


def test_a_flip_of_a_file_of_a_removed_day_costs_nothing(lake, copy, url):
    sealed(lake, url, remove=True)
    remove_sealed(url, lake)
    before = lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS)
    copied(lake, copy)
    flip(version_path(lake, "trades", MARKET, DAY, 1))
    found = lacks(lake, copy, DAY)
    assert (list(found.files.values()), found.problems) == ([version_path(copy, "trades", MARKET, DAY, 1)], ())
    put_back(lake, found, GO_ON)
    for path in (version_path(lake, "trades", MARKET, DAY, 1), path_of(lake, "trades", MARKET, DAY)):
        assert lake_rows([path], COLUMNS) == before
    assert linked(lake, copy) == set(), "what was put back is no link to the copy"
    assert lacks(lake, copy, DAY) == LakePlan()


def test_the_second_target_gets_the_lake_too(plan, tmp_path):
    (target := tmp_path / "nas").mkdir()
    with_target = msgspec.structs.replace(plan, settings=BackupSettings(copy_to=str(target)))
    assert back_up(with_target, "manual", NOW_NS, GO_ON).failures == []
    assert len(identities(copy_of_lake(target, Instance()).folder)) == 2 * FILES_A_DAY


def killed_after(steps, lake, copy):
    """Copy in a process that is killed before or behind so many writings to the disk and renamings."""

    def child():
        left = iter(range(steps))

        def counted(call):
            def step(*given, **named):
                for act in (lambda: None, lambda: call(*given, **named)):
                    act()
                    if next(left, None) is None:
                        os.kill(os.getpid(), signal.SIGKILL)

            return step

        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
        copied(lake, copy)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)


@pytest.mark.slow
def test_a_backup_that_is_killed_at_any_step_goes_on_with_the_next_one(lake, copy):
    days = []
    for steps in range(2 * (4 * 2 * FILES_A_DAY + 2 * 3) + 1):
        shutil.rmtree(copy, ignore_errors=True)
        killed_after(steps, lake, copy)
        assert wrong(copy) == [], "what a note names is whole"
        days.append(len(notes(copy)))
        assert copied(lake, copy).problems == []
        assert len(identities(copy)) == 2 * FILES_A_DAY
        assert not list(copy.rglob("*.parquet.part"))
    assert days == sorted(days)
    assert set(days) == {0, 1, 2}


@pytest.mark.slow
def test_a_backup_that_is_killed_while_links_become_copies_loses_nothing_and_the_next_one_goes_on(lake, copy):
    copied(lake, copy)
    left = []
    for steps in range(2 * (4 * 2 * FILES_A_DAY + 2 * 3) + 1):
        link(lake, copy)
        killed_after(steps, lake, copy)
        assert (wrong(copy), len(notes(copy)), len(identities(copy))) == ([], 2, 2 * FILES_A_DAY)
        left.append(len(linked(lake, copy)))
        assert copied(lake, copy).problems == []
        assert linked(lake, copy) == set()
        assert not list(copy.rglob("*.parquet.part"))
    assert left == sorted(left, reverse=True)
    assert set(left) == set(range(2 * FILES_A_DAY + 1))


def test_a_stop_leaves_whole_days(lake, copy):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        copy_lake(lake, FolderTarget(copy), stop)
    assert notes(copy) == []


def test_a_damaged_file_of_the_lake_is_not_copied_and_the_other_days_are(lake, copy):
    damage(version_path(lake, "trades", MARKET, DAY, 1))
    [problem] = copied(lake, copy).problems
    assert str(version_path(lake, "trades", MARKET, DAY, 1)) in problem
    assert [path.stem for path in notes(copy)] == [NEXT_DAY]


def test_a_file_that_is_gone_from_the_copy_is_copied_again(lake, copy):
    copied(lake, copy)
    version_path(copy, "trades", MARKET, DAY, 1).unlink()
    note = notes(copy)[1]
    note.write_text("damaged")
    first, second = wrong(copy)
    assert first.startswith(str(version_path(copy, "trades", MARKET, DAY, 1)))
    assert second.startswith(str(note))
    found = copied(lake, copy)
    assert (found.files, len(found.problems)) == (1, 1), "what it named is not known"
    note.unlink()
    assert copied(lake, copy).problems == []
    assert wrong(copy) == []


def test_the_copy_of_an_earlier_observer_is_known_and_put_back(lake, copy):
    """Its manifests were in other files."""
    copied(lake, copy)
    (copy / "_days").rename(copy / "_copied")
    for path in (copy / "_copied").glob("*/*.json"):
        path.write_bytes(b'{"sha256": "", "copied": {"day": ' + path.read_bytes() + b', "files": []}}')
    assert copied(lake, copy) == LakeCopied(0, 0, [])
    assert wrong(copy) == []
    days = sealed_days(lake)
    shutil.rmtree(lake)
    restored(lake, copy)
    assert [msgspec.structs.replace(day, marks={}) for day in days] == sealed_days(lake)
    (copy / f"_copied/market={MARKET}/{DAY}.json").write_bytes(b"{}")
    assert [text.partition(":")[0] for text in wrong(copy)] == [f"{copy}/_days/market={MARKET}/{DAY}.json"]


def test_a_lost_lake_is_stated_by_each_backup_and_put_back(plan, lake, copy, url, tmp_path):
    sealed(lake, url, remove=True)
    remove_sealed(url, lake)
    made = back_up(plan, "manual", NOW_NS, GO_ON)
    assert manifest_of(made.package).lake_days == [DAY]
    before = lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS)
    days = sealed_days(lake)
    shutil.rmtree(lake)
    [failure] = back_up(plan, "manual", NOW_NS + NS_PER_S, GO_ON).failures
    assert failure.startswith(f"the lake has no more {DAY}, {NEXT_DAY}: `observer backup restore --lake`")
    found = lacks(lake, copy, DAY)
    assert (len(found.files), found.problems) == (2 * FILES_A_DAY, ())
    put_back(lake, found, GO_ON)
    assert lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS) == before
    assert outdated_tables(lake, days) == []
    assert lacks(lake, copy, DAY) == LakePlan()
    sealed(lake, url, now_ns=2)
    assert sealed_days(lake) == days
    assert back_up(plan, "manual", NOW_NS + 2 * NS_PER_S, GO_ON).failures == []


def test_a_package_whose_days_are_in_no_lake_says_so(plan, lake, copy):
    text = f"{DAY}: its rows are in the lake alone, and neither the lake nor its copy has it"
    shutil.rmtree(lake)
    assert lacks(lake, copy, DAY) == LakePlan(problems=(text,))
    assert wrong(copy, {"20261118T210000-daily": [DAY]}) == [
        f"20261118T210000-daily needs 1 days of the lake that are not copied: {DAY}"
    ]


def test_a_damaged_file_of_the_lake_is_replaced_by_its_copy(lake, copy):
    copied(lake, copy)
    before = lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS)
    damage(path := version_path(lake, "trades", MARKET, DAY, 1))
    path_of(lake, "trades", MARKET, DAY).unlink()
    found = lacks(lake, copy)
    assert (list(found.files), found.problems) == ([path.relative_to(lake).as_posix()], ())
    put_back(lake, found, GO_ON)
    assert lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS) == before


def test_a_damaged_copy_is_found_and_never_put_back(lake, copy):
    copied(lake, copy)
    damage(version_path(copy, "trades", MARKET, DAY, 1))
    [problem] = wrong(copy)
    assert problem.startswith(str(path := version_path(copy, "trades", MARKET, DAY, 1)))
    assert lacks(lake, copy) == LakePlan(), "the lake's own file is whole"
    shutil.rmtree(lake)
    found = lacks(lake, copy, DAY)
    assert [day.session_date for day in found.days] == [NEXT_DAY]
    assert found.problems == (
        f"the lake lacks {path.relative_to(copy)}, and its copy is damaged: {problem}",
        f"{DAY}: its rows are in the lake alone, and neither the lake nor its copy has it",
    )
    put_back(lake, found, GO_ON)
    assert [day.session_date for day in sealed_days(lake)] == [NEXT_DAY]


def test_a_lake_that_went_back_gets_its_later_versions_again(lake, copy, url, tmp_path):
    shutil.copytree(lake, tmp_path / "earlier")
    append(url, trade(99, symbol="000010"))
    sealed(lake, url, now_ns=2)
    copied(lake, copy)
    shutil.rmtree(lake)
    shutil.copytree(tmp_path / "earlier", lake)
    restored(lake, copy)
    day = sealed_day(lake, MARKET, DAY)
    assert day is not None
    assert [version.rows for version in day.kinds["trades"]] == [60, 61]
    assert len(lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS)) == 61


def test_newer_versions_than_the_copy_has_are_not_removed_with_a_lost_manifest(lake, copy, url):
    copied(lake, copy)
    append(url, trade(99, symbol="000010"))
    sealed(lake, url, now_ns=2)
    (lake / f"_days/market={MARKET}/{DAY}.json").unlink()
    [problem] = lacks(lake, copy).problems
    assert problem == (
        f"{version_path(lake, 'trades', MARKET, DAY, 2)} is newer than the copy and has no manifest: "
        "`observer lake seal` makes one"
    )


def test_a_lake_that_was_sealed_again_with_other_rows_replaces_no_copied_file(lake, copy, url):
    append(url, trade(99, symbol="000010"))
    sealed(lake, url, now_ns=2)
    copied(lake, copy)
    before = identities(copy)
    shutil.rmtree(lake)
    sealed(lake, url, now_ns=3)
    assert ["other rows of trades" in text for text in copied(lake, copy).problems] == [True]
    assert {name: each for name, each in identities(copy).items() if DAY in name} == {
        name: each for name, each in before.items() if DAY in name
    }
    assert ["other rows of trades" in text for text in lacks(lake, copy).problems] == [True]


def test_a_lake_that_was_sealed_again_without_removed_rows_costs_the_copy_none_and_gets_them_back(lake, copy, url):
    sealed(lake, url, remove=True)
    remove_sealed(url, lake)
    before = lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS)
    copied(lake, copy)
    before_notes = [path.read_bytes() for path in notes(copy)]
    shutil.rmtree(lake)
    sealed(lake, url, DAY, now_ns=3)
    day = sealed_day(lake, MARKET, DAY)
    assert day is not None
    assert sorted(day.kinds) == ["sweeps", "universes"]
    assert "other rows of trades" in copied(lake, copy).problems[0]
    assert [path.read_bytes() for path in notes(copy)] == before_notes
    found = lacks(lake, copy, DAY)
    assert (len(found.files), found.problems) == (2 * FILES_A_DAY, ())  # those that were sealed again have other bytes
    put_back(lake, found, GO_ON)
    assert lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS) == before
    assert copied(lake, copy).problems == []
    assert wrong(copy) == []


def test_a_day_whose_rows_left_the_database_after_the_backup_is_removed_when_it_is_put_back_and_sealed(lake, copy, url):
    copied(lake, copy)
    sealed(lake, url, remove=True)
    remove_sealed(url, lake)
    shutil.rmtree(lake)
    restored(lake, copy)
    sealed(lake, url, now_ns=2)
    assert [day.removed for day in sealed_days(lake)] == [("trades",), ()]
    append(url, trade(99, symbol="000010"))
    sealed(lake, url, now_ns=3)
    day = sealed_day(lake, MARKET, DAY)
    assert day is not None
    assert [version.rows for version in day.kinds["trades"]] == [60, 61]


def test_more_late_rows_than_sealed_ones_join_those_of_a_removed_day_that_was_put_back(lake, copy, url):
    sealed(lake, url, remove=True)
    remove_sealed(url, lake)
    copied(lake, copy)
    shutil.rmtree(lake)
    restored(lake, copy)
    append(url, *(trade(number, symbol="000010") for number in range(100, 161)))
    sealed(lake, url, now_ns=2)
    assert len(lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS)) == 60 + 61


def test_a_lake_that_went_back_costs_the_copy_no_later_version(lake, copy, url, tmp_path):
    shutil.copytree(lake, tmp_path / "earlier")
    append(url, trade(99, symbol="000010"))
    sealed(lake, url, now_ns=2)
    copied(lake, copy)
    before_notes = [path.read_bytes() for path in notes(copy)]
    shutil.rmtree(lake)
    shutil.copytree(tmp_path / "earlier", lake)
    assert ["other rows of trades" in text for text in copied(lake, copy).problems] == [True]
    assert [path.read_bytes() for path in notes(copy)] == before_notes


def test_a_lake_that_was_sealed_again_with_the_same_rows_is_copied_again(lake, copy, url):
    copied(lake, copy)
    shutil.rmtree(lake)
    sealed(lake, url, now_ns=2)
    assert lacks(lake, copy) == LakePlan()
    assert (copied(lake, copy).files, copied(lake, copy).files) == (2 * FILES_A_DAY, 0)


def test_nothing_is_put_back_while_another_process_seals(lake, copy):
    copied(lake, copy)
    shutil.rmtree(lake / "_versions")
    found = lacks(lake, copy)
    with locked(lake), pytest.raises(LakeInUseError):
        put_back(lake, found, GO_ON)
    assert not (lake / "_versions").exists()
