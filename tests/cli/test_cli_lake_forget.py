"""`observer lake forget` refuses what may be somewhere: in the database, in a copy, at the target, on a broken disk."""

import pytest

from observer.archive.day import manifest_path, path_of, version_path
from observer.archive.settings import TARGET_VARIABLES
from observer.base.errors import DataFileError, UnreadableFileError
from tests.archive.object_stores import KEYS
from tests.archive.stored import DAY, day_of, make_stored, remove_sealed
from tests.cli.test_cli_lake import MARKET, Scene, seal_and_allow


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path, make_stored(tmp_path, *day_of(market=MARKET)))
    scene.configure()
    return scene


def test_a_day_with_a_file_that_cannot_be_read_is_not_forgotten(scene):
    seal_and_allow(scene)
    remove_sealed(scene.url, scene.lake)
    path_of(scene.lake, "trades", MARKET, DAY).unlink()
    path = version_path(scene.lake, "trades", MARKET, DAY, 1)
    path.unlink()
    path.symlink_to(path)  # the system refuses to open it, also to root
    assert isinstance(scene.typed("forget", DAY, "--yes").exception, UnreadableFileError)


def test_a_day_is_not_forgotten_whose_rows_the_database_has(scene):
    scene.typed("seal", DAY)
    for kind in ("trades", "sweeps"):
        version_path(scene.lake, kind, MARKET, DAY, 1).unlink()
        path_of(scene.lake, kind, MARKET, DAY).unlink()
    refused = scene.typed("forget", DAY, "--yes").exception
    assert str(refused) == f"the database has all rows of {DAY} that are lost: `observer lake seal {DAY}`"
    assert isinstance(scene.typed("seal", DAY).exception, DataFileError), "the earlier versions stay lost"
    assert scene.typed("forget", DAY, "--yes").exit_code == 0
    assert scene.typed("seal", DAY).exit_code == 0
    assert scene.typed("verify", DAY).exit_code == 0


def test_a_damaged_day_can_be_forgotten_although_the_database_has_its_rows(scene):
    """A sealing writes only a file again that is gone."""
    scene.typed("seal", DAY)
    path_of(scene.lake, "trades", MARKET, DAY).unlink()
    version_path(scene.lake, "trades", MARKET, DAY, 1).write_bytes(b"PAR1")
    assert scene.typed("forget", DAY, "--yes").exit_code == 0
    assert scene.typed("seal", DAY).exit_code == 0
    assert scene.typed("verify", DAY).exit_code == 0


def test_a_day_is_not_forgotten_while_a_place_that_may_have_it_cannot_be_asked(scene, monkeypatch):
    seal_and_allow(scene)
    remove_sealed(scene.url, scene.lake)
    version_path(scene.lake, "trades", MARKET, DAY, 1).unlink()
    path_of(scene.lake, "trades", MARKET, DAY).unlink()
    before = manifest_path(scene.lake, MARKET, DAY).read_bytes()

    def refusal(**sections):
        scene.configure(**sections)
        refused = scene.typed("forget", DAY, "--yes").exception
        assert isinstance(refused, DataFileError)
        assert manifest_path(scene.lake, MARKET, DAY).read_bytes() == before
        return str(refused)

    away = scene.folder / "away"
    assert f"backup.copy_to = {away} is not there: mount it" in refusal(backup={"copy_to": str(away)})
    lake = {"target": "s3://bucket/x", "endpoint": "http://127.0.0.1:9"}
    for name in TARGET_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert "whether the target has 2026-11-18 is unknown: no keys of s3://bucket/x" in refusal(lake=lake)
    for name, value in zip(TARGET_VARIABLES, (KEYS.access_key, KEYS.secret_key), strict=True):
        monkeypatch.setenv(name, value)
    assert "is unknown: s3://bucket/x does not answer as it should" in refusal(lake=lake)
    away.mkdir()
    scene.configure(backup={"copy_to": str(away)})
    assert scene.typed("forget", DAY, "--yes").exit_code == 0
