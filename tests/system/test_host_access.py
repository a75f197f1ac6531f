"""What other users could reach is closed before the first process starts, or the start is refused with the remedy."""

import os
import stat
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import ConfigError
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.system.access import close_to_others
from observer.system.config import load_settings
from tests.folders import short_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


class Scene:
    """A configured system whose data folder was made under umask 022: a database, a lock and a ledger."""

    def __init__(self, folder):
        self.folder = folder
        self.configuration = write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7))
        self.data = folder / "data"
        for name in ("observer.db", "observer.db-shm", "observer/system/exports.lock"):
            path = self.data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.chmod(0o644)
            path.parent.chmod(0o755)
        self.data.chmod(0o755)

    @property
    def settings(self):
        return load_settings(self.configuration)

    def close(self, settings=None):
        return list(close_to_others(settings or self.settings, self.configuration))

    def open_paths(self):
        """What is in the data folder, itself included, that other users may use."""
        paths = (self.data, *self.data.rglob("*"))
        return [str(path) for path in paths if path.lstat().st_mode & 0o077 and not path.is_symlink()]


@pytest.fixture
def scene():
    with short_folder() as name, open_umask():
        yield Scene(Path(name))


@contextmanager
def open_umask():
    """What the block makes can be read by other users."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def test_an_open_data_folder_is_closed_with_all_that_is_in_it_and_one_line_says_so(scene):
    assert len(scene.open_paths()) == 6
    assert scene.close() == [
        f"run.data = {scene.data}: was open to other users (mode 0755), and is now its owner's alone (0700)"
    ]
    assert scene.open_paths() == []


def test_a_closed_folder_is_left_alone_without_a_line(scene):
    scene.close()
    assert scene.close() == []


def test_the_owners_own_permissions_stay(scene):
    (scene.data / "observer.db").chmod(0o466)
    scene.close()
    assert stat.S_IMODE((scene.data / "observer.db").stat().st_mode) == 0o400


@given(mode=st.integers(0, 0o777))
def test_after_any_mode_no_other_user_has_a_permission_and_the_owner_has_those_that_it_had(mode):
    with short_folder() as name, open_umask():
        scene = Scene(Path(name))
        scene.data.chmod(mode | 0o700)
        for path in (scene.data / "observer.db", scene.data / "observer.db-shm"):
            path.chmod(mode | 0o600)
        scene.close()
        assert scene.open_paths() == [] or not mode & 0o077, "in a closed folder the files' modes do not matter"
        assert (scene.data / "observer.db").stat().st_mode & 0o777 == (mode | 0o600) & 0o700


def test_the_files_of_a_database_elsewhere_are_closed_and_their_folder_may_be_read(scene):
    elsewhere = scene.folder / "databases"
    elsewhere.mkdir(mode=0o755)
    for name in ("x.db", "x.db-wal", "x.db-shm", "x.db.lock"):
        (elsewhere / name).touch(mode=0o644)
    settings = msgspec.structs.replace(
        scene.settings, store=msgspec.structs.replace(scene.settings.store, url=f"sqlite:///{elsewhere}/x.db")
    )
    assert len(scene.close(settings)) == 1 + 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in elsewhere.iterdir()} == {0o600}


def test_links_are_neither_followed_nor_changed(scene):
    outside = scene.folder / "outside"
    outside.touch()
    outside.chmod(0o644)
    (scene.data / "link").symlink_to(outside)
    scene.close()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def all_write_beside_database(scene):
    shared = scene.folder / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    return msgspec.structs.replace(
        scene.settings, store=msgspec.structs.replace(scene.settings.store, url=f"sqlite:///{shared}/x.db")
    )


def data_of_all(scene):
    scene.data.chmod(0o1777)


def settings_of_all(scene):
    scene.configuration.chmod(0o666)


def accounts_of_all(scene):
    (scene.folder / "provider_pool.json").chmod(0o646)


@pytest.mark.parametrize(
    ("arrange", "remedy"),
    [
        (all_write_beside_database, "run `chmod go-w {folder}/shared`"),
        (data_of_all, "all users share this folder: choose one of your own"),
        (settings_of_all, "run `chmod o-w {folder}/observer.toml`"),
        (accounts_of_all, "run `chmod o-w {folder}/provider_pool.json`"),
    ],
)
def test_what_other_users_may_write_is_refused_with_the_remedy(scene, arrange, remedy):
    settings = arrange(scene)
    with pytest.raises(ConfigError) as refusal:
        scene.close(settings)
    assert remedy.format(folder=scene.folder) in str(refusal.value)


@as_root
def test_a_data_folder_of_another_user_is_refused_with_the_remedy(scene):
    os.chown(scene.data, 65_534, 65_534)
    with pytest.raises(ConfigError) as refusal:
        scene.close()
    assert f"run `chown -R 0 {scene.data}`" in str(refusal.value)
    assert stat.S_IMODE(scene.data.stat().st_mode) == 0o755
