"""A month's ledgers are one file of a package, and a link to that of the package before while none of them changes."""

import json
import os
import shutil
import stat
import threading
from pathlib import Path

import msgspec
import pytest

from observer.archive import bundles as bundles_module
from observer.archive import making
from observer.archive import package as package_module
from observer.archive.backup import back_up
from observer.archive.bundles import by_month, files_in, held_files, put_back
from observer.archive.making import copy_package, unpack
from observer.archive.manifest import Bundle, decoded, digest_line_of, encoded
from observer.archive.package import manifest_of, packages, safe_marks, unverify, verify
from observer.base.errors import DataFileError, StoppedError
from observer.base.units import NS_PER_S
from tests.archive.scene import GO_ON, NOW_NS, package_of, plan_in
from tests.store.migrated import make_database

OVERFLOW = "system/overflow/kis/20261117_overflow.jsonl"
LEDGERS = {
    OVERFLOW: b"an overflow\n",
    "scalp/kis/kr_stocks/20261117/recovery_093000_005930.jsonl": b"a recovery\n",
    "scalp/kis/kr_stocks/20261030/recovery_093000_20261117.jsonl": b"of a symbol like a day\n",
}
LATER_NS = NOW_NS + 10 * NS_PER_S


def test_a_package_has_no_day_files_which_the_next_backup_writes_again(plan, tmp_path):
    folder = plan.contents.folders["ledgers"] / "scalp/kis/kr_stocks/20261117"
    for name in ("trades.csv", "trades.parquet", ".rows.json"):
        (folder / name).write_text("rows")
    unpack(package_of(plan), tmp_path / "look", GO_ON)
    [found] = (tmp_path / "look/ledgers/scalp/kis/kr_stocks/20261117").iterdir()
    assert found.name == "recovery_093000_005930.jsonl"


@pytest.fixture
def plan(tmp_path):
    """A system with ledgers of two months, and one without a date."""
    make_database(url := f"sqlite:///{tmp_path / 'observer.db'}")
    found = plan_in(tmp_path, url)
    for name, content in LEDGERS.items():
        path = found.contents.folders["ledgers"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return found


def bundles(package):
    """The inodes of the bundles, by name."""
    return {path.name: path.stat().st_ino for path in (package / "ledgers").glob("*.tar")}


def test_a_package_has_a_file_for_each_month_and_gives_back_each_ledger(plan, tmp_path):
    package = package_of(plan)
    assert bundles(package.path).keys() == {"202610.tar", "202611.tar"}
    unpack(package, tmp_path / "look", GO_ON)
    found = {path.relative_to(tmp_path / "look/ledgers").as_posix() for path in (tmp_path / "look").rglob("*.jsonl")}
    assert found == set(LEDGERS)
    assert all((tmp_path / "look/ledgers" / name).read_bytes() == content for name, content in LEDGERS.items())
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "look").rglob("*")} == {0}
    assert not list((tmp_path / "look").rglob("*.tar"))


def test_the_next_package_has_the_months_that_did_not_change_as_links(plan):
    first = package_of(plan)
    before = (first.path / "ledgers/202611.tar").read_bytes()
    with (plan.contents.folders["ledgers"] / OVERFLOW).open("ab") as file:  # as an overflow ledger grows
        file.write(b"another\n")
    second = package_of(plan, LATER_NS)
    third = package_of(plan, LATER_NS + NS_PER_S)
    one, two, three = (bundles(each.path) for each in (first, second, third))
    assert one["202610.tar"] == two["202610.tar"] == three["202610.tar"]
    assert one["202611.tar"] != two["202611.tar"] == three["202611.tar"]
    assert (first.path / "ledgers/202611.tar").read_bytes() == before
    assert [verify(each.path, LATER_NS, GO_ON) for each in (first, second, third)] == [[], [], []]
    held = {file.path: file for file in held_files(third)}
    put_back(third, {held[f"ledgers/{OVERFLOW}"]: (target := third.path.parent / "overflow.jsonl")}, GO_ON)
    assert target.read_bytes() == b"an overflow\nanother\n"


def test_a_ledger_that_was_replaced_by_one_of_the_same_size_and_time_is_packed_anew(plan):
    first = package_of(plan)
    path = plan.contents.folders["ledgers"] / OVERFLOW
    status = path.stat()
    path.write_bytes(LEDGERS[OVERFLOW].upper())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = package_of(plan, LATER_NS)
    assert bundles(first.path)["202611.tar"] != bundles(second.path)["202611.tar"]


def test_a_bundle_that_is_damaged_in_the_last_package_is_made_anew(plan):
    first = package_of(plan)
    damaged = first.path / "ledgers/202610.tar"
    damaged.write_bytes(damaged.read_bytes().replace(b"symbol", b"SYMBOL"))
    second = package_of(plan, LATER_NS)
    assert second.verified_ns == LATER_NS
    assert bundles(second.path)["202610.tar"] != damaged.stat().st_ino
    [problem] = verify(first.path, LATER_NS, GO_ON)
    assert problem == "ledgers/202610.tar is damaged: its digest differs"
    third = package_of(plan, LATER_NS + NS_PER_S)
    assert bundles(third.path)["202610.tar"] == bundles(second.path)["202610.tar"]


def test_a_package_that_is_deleted_takes_no_file_from_later_ones(plan):
    first = package_of(plan)
    second = package_of(plan, LATER_NS)
    shutil.rmtree(first.path)
    assert verify(second.path, LATER_NS, GO_ON) == []


def test_the_second_target_has_links_of_its_own(plan, tmp_path):
    (target := tmp_path / "nas").mkdir()
    first, second = package_of(plan), package_of(plan, LATER_NS)
    one = bundles(copy_package(first, target, GO_ON))
    damaged = target / first.name / "ledgers/202610.tar"
    damaged.write_bytes(damaged.read_bytes().replace(b"symbol", b"SYMBOL"))
    two = bundles(copy_package(second, target, GO_ON))
    assert one["202611.tar"] == two["202611.tar"] != bundles(second.path)["202611.tar"]
    assert one["202610.tar"] != two["202610.tar"]
    assert verify(target / second.name, LATER_NS, GO_ON) == []


def test_a_package_that_is_not_verified_gives_no_links(plan, tmp_path):
    """Only what was read back is shared: unseen damage would be in two packages."""
    (target := tmp_path / "nas").mkdir()
    first, second = package_of(plan), package_of(plan, LATER_NS)
    for path in (first.path, second.path, copy_package(first, target, GO_ON)):
        unverify(path)
    third = package_of(plan, LATER_NS + NS_PER_S)
    copied = copy_package(third, target, GO_ON)
    inodes = [set(bundles(path).values()) for path in (second.path, third.path, target / first.name, copied)]
    assert len(set().union(*inodes)) == sum(map(len, inodes)) == 8


def test_a_file_system_without_links_gets_the_files(plan, monkeypatch):
    def refuse(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = package_of(plan), package_of(plan, LATER_NS)
    assert not set(bundles(first.path).values()) & set(bundles(second.path).values())
    assert verify(second.path, LATER_NS, GO_ON) == []


def test_a_ledger_that_is_being_written_is_in_no_package(plan):
    folder = plan.contents.folders["ledgers"]
    (folder / OVERFLOW).with_name(".20261117_overflow.jsonl.1.part").write_bytes(b"half")
    months = by_month(files_in(folder))
    assert {month: {file.name for file in files} for month, files in months.items()} == {
        "": {"kis/ledger.csv"},
        "202610": {name for name in LEDGERS if "20261030" in name},
        "202611": {name for name in LEDGERS if "20261030" not in name},
    }


def test_a_package_of_the_first_format_is_still_read(plan, tmp_path):
    package = package_of(msgspec.structs.replace(plan, contents=_unbundled(plan)))
    manifest = json.loads((package.path / "manifest.json").read_bytes())
    del manifest["bundles"]
    content = json.dumps(manifest | {"format": 1}).encode()
    (package.path / "manifest.json").write_bytes(content)
    (package.path / "manifest.sha256").write_bytes(digest_line_of(content))
    assert verify(package.path, LATER_NS, GO_ON) == []
    [again] = packages(package.path.parent)
    held = [file for file in held_files(again) if file.path.startswith("ledgers/")]
    put_back(again, {file: tmp_path / "look" / file.path for file in held}, GO_ON)
    found = {path for path in (tmp_path / "look").rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "look/ledgers").as_posix() for path in found} == {"kis/ledger.csv", *LEDGERS}
    assert all((tmp_path / "look/ledgers" / name).read_bytes() == content for name, content in LEDGERS.items())


def _unbundled(plan):
    return msgspec.structs.replace(plan.contents, bundled=frozenset())


def test_how_far_the_ledgers_are_is_never_ahead_of_those_of_a_package(plan, monkeypatch):
    folder = plan.contents.folders["ledgers"]
    (folder / "system/exports.json").write_text('{"n": 1}')
    package_of(plan)
    copy_file = making._copy_file

    def copy_beside_an_export(source, *others):
        if source.name == "exports.json":  # a ledger grows and one is new; the position follows
            with (folder / OVERFLOW).open("ab") as file:
                file.write(b"another\n")
            (folder / "system/20261231_new.jsonl").write_bytes(b"new\n")
            source.write_text('{"n": 2}')
        return copy_file(source, *others)

    monkeypatch.setattr(making, "_copy_file", copy_beside_an_export)
    package = package_of(plan, LATER_NS)
    unpack(package, look := plan.folder.parent / "look", GO_ON)
    assert (look / "ledgers/system/exports.json").read_text() == '{"n": 2}'
    assert (look / "ledgers" / OVERFLOW).read_bytes().endswith(b"another\n")
    assert (look / "ledgers/system/20261231_new.jsonl").exists()


def test_a_bundle_that_cannot_be_read_in_the_last_package_is_made_anew(plan, monkeypatch):
    first = package_of(plan)
    bad = bundles(first.path)["202610.tar"]
    digest = package_module.digest_of

    def digest_beside_a_bad_sector(path, stop):
        if path.stat().st_ino == bad:
            raise OSError(5, "Input/output error", str(path))
        return digest(path, stop)

    monkeypatch.setattr(package_module, "digest_of", digest_beside_a_bad_sector)
    monkeypatch.setattr(bundles_module, "digest_of", digest_beside_a_bad_sector)
    second = package_of(plan, LATER_NS)
    assert second.verified_ns == LATER_NS
    assert bundles(second.path)["202610.tar"] != bad
    assert [each.verified_ns for each in packages(plan.folder)] == [None, LATER_NS]


def test_damage_takes_the_mark_from_all_packages_that_share_the_file(plan, caplog):
    shared = [package_of(plan, NOW_NS + number * NS_PER_S) for number in range(3)]
    fourth = package_of(plan, LATER_NS)
    assert len({bundles(each.path)["202610.tar"] for each in shared}) == 1
    assert bundles(fourth.path)["202610.tar"] != bundles(shared[0].path)["202610.tar"], "not all have the same file"
    shutil.rmtree(fourth.path)
    shutil.rmtree(shared[0].path)
    damaged = shared[1].path / "ledgers/202610.tar"
    damaged.write_bytes(damaged.read_bytes().replace(b"symbol", b"SYMBOL"))
    caplog.set_level("WARNING")
    last = package_of(plan, LATER_NS)
    assert [each.verified_ns for each in packages(plan.folder)] == [None, None, LATER_NS]
    assert safe_marks(plan.folder, plan.contents.instance) == {}
    assert [each.path.name for each in shared[1:] if each.path.name in caplog.text] == [
        shared[1].name,
        shared[2].name,
    ]
    assert verify(last.path, LATER_NS, GO_ON) == []


def test_a_backup_that_finds_an_earlier_package_damaged_says_so(plan):
    first = package_of(plan)
    damaged = first.path / "ledgers/202610.tar"
    damaged.write_bytes(damaged.read_bytes().replace(b"symbol", b"SYMBOL"))
    made = back_up(plan, "daily", LATER_NS, GO_ON)
    assert made.failures == [f"damaged packages, which are verified no more: {first.name}"]
    assert back_up(plan, "daily", LATER_NS + NS_PER_S, GO_ON).failures == []


@pytest.mark.parametrize("damage", ["header", "cut"])
def test_damage_of_a_bundle_is_an_error_also_where_its_digest_was_not_read(plan, damage):
    package = package_of(plan)
    files = {file: plan.folder / "look" / file.path for file in held_files(package) if file.bundle}
    path = package.path / "ledgers/202611.tar"
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[1024 + 5] ^= 0xFF  # of the second file
    else:
        del content[1024 + 514 :]
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"202611\.tar is damaged"):
        held_files(package)
    with pytest.raises(DataFileError, match=r"202611\.tar is damaged"):
        put_back(package, files, GO_ON)


def test_a_ledger_that_becomes_shorter_while_it_is_read_fails_no_backup(plan, monkeypatch):
    fstat, cut = os.fstat, []

    def fstat_before_a_cut(descriptor):
        found = fstat(descriptor)
        if not cut and str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(OVERFLOW):
            cut.append(os.truncate(plan.contents.folders["ledgers"] / OVERFLOW, 3))
        return found

    monkeypatch.setattr(bundles_module.os, "fstat", fstat_before_a_cut)
    package = package_of(plan)
    assert cut
    assert package.verified_ns == NOW_NS
    unpack(package, plan.folder.parent / "look", GO_ON)
    assert (plan.folder.parent / "look/ledgers" / OVERFLOW).read_bytes() == LEDGERS[OVERFLOW][:3]


class SetLater(threading.Event):
    """An event that is set from the question on that has this number."""

    def __init__(self, number):
        super().__init__()
        self._left = number

    def is_set(self):
        self._left -= 1
        return self._left <= 0


@pytest.mark.parametrize("questions", [1, 5])
def test_files_are_put_back_until_the_work_is_stopped(plan, questions):
    package = package_of(plan)
    wanted = {file: plan.folder / "look" / file.path for file in held_files(package) if file.bundle}
    assert len(wanted) == 3
    with pytest.raises(StoppedError):  # before a file is looked for, and with the second that is taken out
        put_back(package, wanted, SetLater(questions))
    assert len([path for path in (plan.folder / "look").rglob("*") if path.is_file()]) == questions // 5


def test_a_manifest_with_a_bundle_that_it_states_no_digest_of_is_refused(plan):
    manifest = msgspec.structs.replace(manifest_of(package_of(plan)), bundles={"ledgers/202612.tar": Bundle("", 0)})
    content = encoded(manifest)
    with pytest.raises(DataFileError, match=r"does not state the digest of ledgers/202612\.tar"):
        decoded(content, digest_line_of(content))


@pytest.fixture
def synced(monkeypatch):
    """By its inode, each file and folder that was brought to the disk; of a folder the names that it had then."""
    sync, found = os.fsync, dict[int, set[str]]()

    def note(descriptor):
        status = os.fstat(descriptor)
        found[status.st_ino] = set(os.listdir(descriptor)) if stat.S_ISDIR(status.st_mode) else set()  # noqa: PTH208  # of a descriptor
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_an_empty_file_of_a_package_is_brought_to_the_disk(plan, synced):
    """The package counts as verified, and a crash must not take away a part of it."""
    (plan.contents.folders["master"] / "empty.mst").touch()
    package = package_of(plan)
    assert (package.path / "master/empty.mst").stat().st_ino in synced


@pytest.mark.parametrize("is_copied", [False, True])
def test_the_folders_of_a_package_are_brought_to_the_disk_with_all_their_names(plan, tmp_path, synced, is_copied):
    (target := tmp_path / "nas").mkdir()
    package = package_of(plan)
    path = copy_package(package, target, GO_ON) if is_copied else package.path
    folders = {path, *(each for each in path.rglob("*") if each.is_dir())}
    assert len(folders) > 4
    names = {each: {inside.name for inside in each.iterdir()} for each in folders}
    assert {each: synced.get(each.stat().st_ino) for each in folders} == names
    assert path.name in synced[path.parent.stat().st_ino], "the package's own name"
