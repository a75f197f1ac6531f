"""Packages, of both kinds of databases: whole, checked file by file, and put back over a changed database."""

import fcntl
import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest

from observer.archive.backup.making import make
from observer.archive.backup.package import packages, read_package, require_restored, safe_marks, verify
from observer.base.errors import DatabaseInUseError, DataFileError, StoppedError, StoreFailedError
from observer.base.instance import Instance
from observer.store.backup import copy_name
from observer.store.digest import digest
from observer.store.owner import claim
from observer.store.restore import replace_database, stored_state
from observer.store.schema import SCHEMA_REVISION
from observer.store.systems import started_ticks, this_system
from tests.archive.scene import GO_ON, NOW_NS, STREAM, commit, package_of, plan_in
from tests.store.migrated import make_database
from tests.store.raw import execute, query

LATER_NS = NOW_NS + 1_000_000_000


@pytest.fixture
def url(empty_database_url):
    """A database of its own with a hundred trades."""
    make_database(empty_database_url)
    commit(empty_database_url, 100)
    return empty_database_url


def manifest_of(package):
    assert package.manifest is not None, package.problem
    return package.manifest


def test_a_package_states_what_it_holds(url, tmp_path):
    package = package_of(plan_in(tmp_path, url))
    manifest = manifest_of(package)
    assert package.name == "20261118T210000-manual-main"
    assert (manifest.kind, manifest.taken_ns, manifest.events) == ("manual", NOW_NS, 100)
    assert (manifest.marks, manifest.schema_revision) == ({STREAM: 100}, SCHEMA_REVISION)
    assert package.verified_ns == NOW_NS
    listed = {file.path: (file.size_bytes, file.sha256) for file in manifest.files}
    own = {path.relative_to(package.path).as_posix(): path.read_bytes() for path in package.path.rglob("*.*")}
    for name in ("manifest.json", "manifest.sha256", "verified.json"):
        del own[name]
    assert listed == {name: (len(each), hashlib.sha256(each).hexdigest()) for name, each in own.items()}
    assert set(listed) == {
        copy_name(url),
        "universe/universe_kr_stocks_20261118.json",
        "ledgers/kis/ledger.csv",
        "master/nasd.mst",
        "configuration/observer.toml",
        "configuration/pool.json",
        "configuration/manual.csv",
        "configuration/trading_days.toml",
        "configuration/sessions.toml",
    }


def test_a_package_is_its_owners_alone_and_has_no_secret(url, tmp_path):
    plan = plan_in(tmp_path, url)
    package = package_of(plan)
    assert {path.stat().st_mode & 0o077 for path in (plan.folder, *plan.folder.rglob("*"))} == {0}
    for path in (package.path / "configuration").iterdir():
        assert not [word for word in ("p4ssw0rd", "s3cret", "a secret", "PS0123") if word in path.read_text()]
    assert "postgresql+psycopg://observer:***@db/market" in (package.path / "configuration/observer.toml").read_text()


def test_a_package_that_is_stopped_leaves_nothing(url, tmp_path):
    plan = plan_in(tmp_path, url)
    stop = type(GO_ON)()
    stop.set()
    with pytest.raises(StoppedError):
        make(plan.folder, plan.contents, "manual", NOW_NS, stop)
    assert [path.name for path in plan.folder.iterdir()] == [".lock"]


def test_damage_to_any_file_of_a_package_is_found(url, tmp_path):
    plan = plan_in(tmp_path, url)
    package = package_of(plan)
    paths = [path for path in package.path.rglob("*.*") if path.name != "verified.json"]
    assert len(paths) == 11
    for path in paths:
        whole = path.read_bytes()
        middle = len(whole) // 2
        for damaged in (
            whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            whole[:-1],
            whole + b" ",
            None,
        ):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            assert verify(package.path, LATER_NS, GO_ON), (path, damaged and len(damaged))
            assert read_package(package.path).verified_ns is None
            path.write_bytes(whole)
        assert verify(package.path, LATER_NS, GO_ON) == []
        assert read_package(package.path).verified_ns == LATER_NS


def test_a_manifest_that_states_other_marks_than_the_copy_is_found(url, tmp_path):
    package = package_of(plan_in(tmp_path, url))
    document = json.loads((package.path / "manifest.json").read_text())
    document["marks"][STREAM] += 1
    content = json.dumps(document).encode()
    (package.path / "manifest.json").write_bytes(content)
    (package.path / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
    [problem] = verify(package.path, LATER_NS, GO_ON)
    assert "other marks" in problem


def test_the_safe_marks_are_those_of_the_second_newest_verified_package(url, tmp_path):
    plan = plan_in(tmp_path, url)
    assert safe_marks(plan.folder, Instance()) == {}
    first = package_of(plan)
    assert safe_marks(plan.folder, Instance()) == {}
    commit(url, 50, after=100)
    second = package_of(plan, LATER_NS)
    assert safe_marks(plan.folder, Instance()) == {STREAM: 100}
    commit(url, 50, after=150)
    package_of(plan, LATER_NS + 1_000_000_000)
    assert safe_marks(plan.folder, Instance()) == {STREAM: 150}
    (second.path / "master/nasd.mst").unlink()
    verify(second.path, LATER_NS, GO_ON)
    assert safe_marks(plan.folder, Instance()) == {STREAM: 100}
    assert packages(plan.folder)[0].name == first.name


def test_packages_of_another_instance_give_no_safe_marks(url, tmp_path):
    plan = plan_in(tmp_path, url)
    other = Instance(name="second")
    of_other = msgspec.structs.replace(plan, contents=msgspec.structs.replace(plan.contents, instance=other))
    package_of(plan)
    package_of(of_other, LATER_NS)
    assert (safe_marks(plan.folder, Instance()), safe_marks(plan.folder, other)) == ({}, {})
    commit(url, 50, after=100)
    package_of(of_other, LATER_NS + 1_000_000_000)
    assert (safe_marks(plan.folder, Instance()), safe_marks(plan.folder, other)) == ({}, {STREAM: 100})


def test_a_package_is_put_back_in_the_place_of_a_changed_database(url, tmp_path):
    package = package_of(plan_in(tmp_path, url))
    before = digest(url)
    commit(url, 50, after=100)
    copy = package.path / manifest_of(package).database
    aside = replace_database(url, copy, "20261119T090000", this_system(), GO_ON)
    assert digest(url) == before
    assert stored_state(url).marks == {STREAM: 100}
    assert aside is not None
    if url.startswith("sqlite"):
        assert query(f"sqlite:///{aside}", "SELECT count(*) FROM trades") == [(150,)]
    else:
        assert query(url, f"SELECT count(*) FROM {aside.removeprefix('schema ')}.trades") == [(150,)]
        execute(url, f"DROP SCHEMA {aside.removeprefix('schema ')} CASCADE")
    commit(url, 50, after=100)  # the writer goes on behind the marks of the package


def test_the_database_of_another_living_system_is_not_replaced(url, tmp_path):
    package = package_of(plan_in(tmp_path, url))
    parent = os.getppid()
    other = msgspec.structs.replace(this_system(tmp_path / "other"), pid=parent, pid_started=started_ticks(parent) or 0)
    claim(url, Instance(), ["kis"], 1, other)
    copy = package.path / manifest_of(package).database
    with pytest.raises(DatabaseInUseError, match="another system owns this database"):
        replace_database(url, copy, "20261119T090000", this_system(), GO_ON)
    assert stored_state(url).marks == {STREAM: 100}


def test_a_package_is_put_back_where_the_database_is_gone(url, tmp_path):
    package = package_of(plan_in(tmp_path, url))
    before = digest(url)
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
    else:
        [(schema,)] = query(url, "SELECT current_schema()")
        execute(url, f"DROP SCHEMA {schema} CASCADE")
    aside = replace_database(url, package.path / manifest_of(package).database, "20261119T090000", this_system(), GO_ON)
    assert (aside, digest(url)) == (None, before)


def test_a_database_that_is_gone_is_not_made_anew_while_a_package_can_put_it_back(url, tmp_path):
    plan = plan_in(tmp_path, url)
    package_of(plan)
    require_restored(url, plan.folder, Instance())
    if not url.startswith("sqlite"):
        return  # a server's database is never made by Observer
    Path(url.removeprefix("sqlite:///")).unlink()
    with pytest.raises(StoreFailedError, match="observer backup restore"):
        require_restored(url, plan.folder, Instance())
    require_restored(url, tmp_path / "no packages", Instance())


def test_a_second_backup_of_one_folder_at_once_is_refused(url, tmp_path):
    plan = plan_in(tmp_path, url)
    package_of(plan)
    with (plan.folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataFileError, match="another process makes a backup"):
            package_of(plan, LATER_NS)
