"""A database that is removed or replaced under its writer: nothing is acknowledged there, and the writer goes on with
the database that is put back."""

import os
import shutil
import sqlite3

import pytest
from sqlalchemy import event

from bus.delivery import Delivered
from observer.base.errors import (
    DatabaseInUseError,
    DatabaseRemovedError,
    DatabaseReplacedError,
    StoreError,
    StoreFailedError,
)
from observer.base.instance import Instance
from observer.store.owner import claim
from observer.store.reader import StoreReader
from observer.store.systems import this_system
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.conformance.conftest import postgresql_schema
from tests.store.migrated import make_database
from tests.store.raw import execute, query
from tests.store.replacing import marks_after_replacement

STREAM = "5" * 32
KOREA = Instance()


class Scene:
    """A database of three trades, its copy of two, and the writer at work."""

    def __init__(self, folder):
        self.path, self.copy = folder / "observer.db", folder / "copy.db"
        self.url = f"sqlite:///{self.path}"
        make_database(self.url)
        claim(self.url, KOREA, ["kis"], 0)
        with_two = StoreWriter(self.url)
        with_two.open()
        with_two.commit([batch(1, 2)])
        with_two.close()
        shutil.copy(self.path, self.copy)
        self.writer = StoreWriter(self.url)
        self.writer.open()
        self.writer.commit([batch(3, 1)])

    def sequences(self, path=None):
        found = query(f"sqlite:///{path or self.path}", "SELECT sequence FROM trades ORDER BY 1")
        return [sequence for (sequence,) in found]

    def beside(self):
        return sorted(path.name for path in self.path.parent.iterdir())


def batch(first, count):
    return Delivered("track-b", STREAM, first, trades(count, first=first))


@pytest.fixture
def scene(tmp_path):
    found = Scene(tmp_path)
    yield found
    found.writer.close()


def test_nothing_is_committed_into_a_removed_file_and_none_is_made(scene):
    scene.path.unlink()
    for _ in range(2):
        with pytest.raises(DatabaseRemovedError, match="was removed: `observer backup restore"):
            scene.writer.commit([batch(4, 1)])
        with pytest.raises(DatabaseRemovedError):
            scene.writer.high_water_marks([STREAM])
    scene.writer.close()
    assert scene.beside() == ["copy.db"]


def test_the_writer_goes_on_with_a_file_that_is_put_back(scene):
    scene.path.unlink()
    with pytest.raises(DatabaseRemovedError):
        scene.writer.commit([batch(4, 1)])
    shutil.copy(scene.copy, scene.path)
    with pytest.raises(DatabaseReplacedError, match="the database file was replaced"):
        scene.writer.commit([batch(4, 1)])
    assert scene.writer.high_water_marks([STREAM]) == {STREAM: 2}
    scene.writer.commit([batch(3, 2)])
    assert scene.sequences() == [1, 2, 3, 4]
    with pytest.raises(DatabaseInUseError):
        StoreWriter(scene.url).open()


def test_an_inode_that_is_used_again_is_another_file(scene):
    scene.writer._engine.dispose()
    for _ in range(20):
        scene.path.unlink()
        shutil.copy(scene.copy, scene.path)
        with pytest.raises(DatabaseReplacedError):
            scene.writer.commit([batch(4, 1)])


def test_a_file_whose_content_was_put_back_is_noticed_at_the_next_connection(scene):
    scene.writer._engine.dispose()
    scene.path.write_bytes(scene.copy.read_bytes())
    with pytest.raises(DatabaseReplacedError, match=r"put back to an earlier state: .* ends with 2, 3 was committed"):
        scene.writer.commit([batch(4, 1)])
    assert scene.writer.high_water_marks([STREAM]) == {STREAM: 2}
    scene.writer.commit([batch(3, 2)])
    assert scene.sequences() == [1, 2, 3, 4]


def test_the_log_of_a_replaced_file_is_not_applied_to_the_next_one(scene):
    scene.copy.replace(scene.path)
    with pytest.raises(DatabaseReplacedError):
        scene.writer.commit([batch(4, 1)])
    assert scene.beside() == ["observer.db", "observer.db.lock"]
    assert scene.sequences() == [1, 2]
    assert query(scene.url, "PRAGMA integrity_check") == [("ok",)]


def test_a_moved_file_has_all_that_was_committed(scene, tmp_path):
    scene.path.rename(tmp_path / "moved.db")
    with pytest.raises(DatabaseRemovedError):
        scene.writer.commit([batch(4, 1)])
    assert scene.sequences(tmp_path / "moved.db") == [1, 2, 3]
    (tmp_path / "moved.db").rename(scene.path)
    assert scene.writer.high_water_marks([STREAM]) == {STREAM: 3}
    scene.writer.commit([batch(4, 1)])


def test_a_link_to_another_file_is_noticed(tmp_path):
    (tmp_path / "data").mkdir()
    link = tmp_path / "data" / "link.db"
    scene = Scene(tmp_path)
    scene.writer.close()
    link.symlink_to(scene.path)
    writer = StoreWriter(f"sqlite:///{link}")
    writer.open()
    link.unlink()
    link.symlink_to(scene.copy)
    with pytest.raises(DatabaseReplacedError):
        writer.commit([batch(4, 1)])
    assert writer.high_water_marks([STREAM]) == {STREAM: 2}
    writer.close()
    assert scene.beside() == ["copy.db", "data", "observer.db"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE owner SET name = 'second'", r"belongs to instance 'second' .*not to 'main'"),
        ("UPDATE alembic_version SET version_num = '0000'", "its schema is 0000"),
        ("DROP TABLE alembic_version", "no schema of Observer in it"),
    ],
)
def test_a_file_that_is_not_this_instance_s_database_is_not_adopted(scene, damage, message, caplog):
    execute(f"sqlite:///{scene.copy}", damage)
    scene.copy.replace(scene.path)
    for _ in range(3):
        with pytest.raises(StoreError, match=message):
            scene.writer.high_water_marks([STREAM])
    assert [record.getMessage() for record in caplog.records] == [f"{scene.path}: the database file was replaced"]
    with pytest.raises(DatabaseReplacedError):
        scene.writer.commit([batch(4, 1)])
    assert scene.sequences() == [1, 2]


def test_an_adopted_file_names_the_system_that_writes_it(tmp_path):
    scene = Scene(tmp_path)
    scene.writer.close()
    system = this_system(tmp_path / "run")
    claim(scene.url, KOREA, ["kis"], 0, system)
    writer = StoreWriter(scene.url, system)
    writer.open()
    scene.copy.replace(scene.path)
    assert writer.high_water_marks([STREAM]) == {STREAM: 2}
    owner = "SELECT host, pid, runtime, place FROM owner"
    assert query(scene.url, owner) == [(system.host, os.getpid(), system.runtime, f"file {scene.path.stat().st_ino}")]
    writer.close()
    assert query(scene.url, owner) == [(None, None, None, None)]


def test_a_file_with_two_names_is_refused_because_sqlite_keeps_a_log_for_each(tmp_path):
    make_database(f"sqlite:///{tmp_path}/observer.db")
    (tmp_path / "other.db").hardlink_to(tmp_path / "observer.db")
    with pytest.raises(StoreError, match=r"has 2 names \(hard links\).*remove the others"):
        claim(f"sqlite:///{tmp_path}/other.db", KOREA, ["kis"], 0)


def test_a_reader_reads_the_file_that_is_put_back(scene):
    with StoreReader(scene.url) as reader:
        assert [stream.high_water_mark for stream in reader.streams()] == [3]
        scene.copy.replace(scene.path)
        assert scene.writer.high_water_marks([STREAM]) == {STREAM: 2}
        assert [stream.high_water_mark for stream in reader.streams()] == [2]


def test_a_reader_that_opens_the_new_file_first_does_not_keep_the_writer_from_it(tmp_path):
    assert marks_after_replacement(tmp_path) == {STREAM: 2}


def test_a_replaced_file_is_left_while_nothing_is_written(scene):
    scene.copy.replace(scene.path)
    scene.writer.renew_ownership()
    assert scene.beside() == ["observer.db", "observer.db.lock"]


def test_a_file_that_another_program_holds_is_waited_for(scene):
    event.listen(scene.writer._engine, "do_connect", lambda _, _entry, _arguments, named: named.update(timeout=0))
    scene.copy.replace(scene.path)
    scene.writer.renew_ownership()
    with sqlite3.connect(scene.path, isolation_level=None) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM trades").fetchone()
        with pytest.raises(StoreFailedError, match="another program holds it, find that with `fuser`"):
            scene.writer.high_water_marks([STREAM])
        other.execute("ROLLBACK")
    assert scene.writer.high_water_marks([STREAM]) == {STREAM: 2}


def test_a_database_put_back_under_the_connection_stores_no_new_stream_before_older_ones(database_url):
    writer = StoreWriter(database_url)
    writer.open()
    writer.commit([batch(1, 2)])
    writer.commit([batch(3, 1)])
    execute(database_url, "DELETE FROM trade_rows WHERE sequence = 3")
    execute(database_url, "UPDATE streams SET high_water_mark = 2")
    new = Delivered("track-b", "6" * 32, 1, trades(1))
    for _ in range(2):
        with pytest.raises(
            DatabaseReplacedError, match=r"put back to an earlier state: .* ends with 2, 3 was committed"
        ):
            writer.commit([new])
    assert query(database_url, "SELECT count(*) FROM streams") == [(1,)]
    assert writer.high_water_marks([STREAM]) == {STREAM: 2}
    writer.commit([batch(3, 1), new])
    assert query(database_url, "SELECT count(*) FROM trades") == [(4,)]
    writer.close()


def test_a_schema_made_anew_is_noticed_at_the_next_connection_and_adopted():
    with postgresql_schema() as url:
        make_database(url)
        claim(url, KOREA, ["kis"], 0)
        writer = StoreWriter(url)
        writer.open()
        writer.commit([batch(1, 2)])
        name = query(url, "SELECT current_schema()")[0][0]
        execute(url, f"DROP SCHEMA {name} CASCADE")
        execute(url, f"CREATE SCHEMA {name}")
        make_database(url)
        claim_without_lock(url)
        others = "application_name = current_setting('application_name') AND pid != pg_backend_pid()"
        execute(url, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
        with pytest.raises(StoreError):
            writer.commit([batch(3, 1)])  # the connection is lost
        for _ in range(2):
            with pytest.raises(DatabaseReplacedError, match="its owner row is another one"):
                writer.commit([batch(3, 1)])
        assert writer.high_water_marks([STREAM]) == {STREAM: 0}
        writer.commit([batch(1, 3)])
        assert query(url, "SELECT count(*) FROM trades") == [(3,)]
        writer.close()


def claim_without_lock(url):
    values = "1, 'main', 'kr_stocks', 'kis', 0, 'another database'"
    execute(url, f"INSERT INTO owner (id, name, market, providers, created_ns, database_id) VALUES ({values})")
