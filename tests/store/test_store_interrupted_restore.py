"""A restore that is killed before the copy takes the database's name: the next writer and the next restore go on."""

import os
import shutil
import threading
from pathlib import Path
from signal import SIGKILL

import pytest

from bus.delivery import Delivered
from observer.base.errors import DatabaseInUseError, StoreError
from observer.store.engine import open_writer
from observer.store.owner import Hold
from observer.store.restore import replace_database, stored_state
from observer.store.systems import this_system
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.privileges import in_a_fork
from tests.store.migrated import make_database
from tests.store.raw import query

STREAM = "6" * 32
STAMP = "20261119T090000"


class Scene:
    """A database of three trades and its copy of two."""

    def __init__(self, folder):
        self.path, self.copy = folder / "observer.db", folder / "copy.db"
        self.second = folder / f"observer.db.replaced-{STAMP}"
        self.url = f"sqlite:///{self.path}"
        make_database(self.url)
        self.commit(1, 2)
        shutil.copy(self.path, self.copy)
        self.commit(3, 1)

    def commit(self, first, count):
        writer = StoreWriter(self.url)
        writer.open()
        writer.commit([Delivered("track-b", STREAM, first, trades(count, first=first))])
        writer.close()

    def kill_restore(self):
        def restore():
            Path.replace = lambda *_: os.kill(os.getpid(), SIGKILL)
            self.restore()

        assert in_a_fork(restore, self.path.parent).status == -SIGKILL
        assert self.second.samefile(self.path)

    def restore(self):
        return replace_database(self.url, self.copy, STAMP, this_system(), threading.Event())

    def sequences(self, path):
        return [number for (number,) in query(f"sqlite:///{path}", "SELECT sequence FROM trades ORDER BY 1")]

    def beside(self):
        return {path.name for path in self.path.parent.iterdir()}


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_the_writer_starts_on_the_database_whose_restore_was_killed(scene):
    scene.kill_restore()
    scene.commit(4, 1)
    assert scene.sequences(scene.path) == [1, 2, 3, 4]
    assert scene.beside() == {"observer.db", "copy.db"}


def test_the_next_restore_goes_on_after_one_that_was_killed(scene):
    scene.kill_restore()
    scene.kill_restore()
    assert scene.restore() == str(scene.second)
    assert stored_state(scene.url).marks == {STREAM: 2}
    assert scene.sequences(scene.second) == [1, 2, 3]
    assert (scene.path.stat().st_nlink, scene.second.stat().st_nlink) == (1, 1)


def test_a_log_that_the_killed_restore_moved_comes_back(scene):
    log = scene.path.with_name("observer.db-wal")
    move_log_as_a_killed_restore(scene, log)
    assert scene.sequences(scene.path) == [1, 2, 3]  # what a reader finds meanwhile
    scene.commit(5, 1)
    assert scene.sequences(scene.path) == [1, 2, 3, 4, 5]
    assert not scene.second.exists()


def test_a_log_beside_both_names_is_refused_and_both_stay(scene):
    log = scene.path.with_name("observer.db-wal")
    move_log_as_a_killed_restore(scene, log)
    log.write_bytes(b"commits of another program")
    moved = scene.second.with_name(f"{scene.second.name}-wal").read_bytes()
    with pytest.raises(StoreError, match=r"both observer\.db-wal and .*\.replaced-.*-wal have commits"):
        scene.commit(5, 1)
    assert scene.second.with_name(f"{scene.second.name}-wal").read_bytes() == moved
    assert log.read_bytes() == b"commits of another program"


def move_log_as_a_killed_restore(scene, log):
    """Leave a fourth trade in a log beside the second name."""
    writer = StoreWriter(scene.url)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 4, trades(1, first=4))])
    kept = log.read_bytes()
    before = scene.path.read_bytes()
    writer.close()  # folds the log
    scene.path.write_bytes(before)
    scene.second.hardlink_to(scene.path)
    scene.second.with_name(f"{scene.second.name}-wal").write_bytes(kept)


def test_a_restore_that_is_at_work_is_not_taken_back(scene):
    hold = Hold(open_writer(scene.url))
    hold.lock()
    scene.second.hardlink_to(scene.path)
    with pytest.raises(DatabaseInUseError):
        scene.commit(4, 1)
    assert scene.second.exists()
    hold.leave()


def test_a_second_name_of_another_origin_is_refused_after_those_of_restores_are_gone(scene):
    scene.kill_restore()
    (other := scene.path.with_name("other.db")).hardlink_to(scene.path)
    with pytest.raises(StoreError, match="has 2 names"):
        scene.commit(4, 1)
    other.unlink()
    scene.commit(4, 1)
