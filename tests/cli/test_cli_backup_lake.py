"""`observer backup` of a system with a lake: what the lake alone has comes back with the database, or without it."""

import shutil
from pathlib import Path

import msgspec
import pytest
import tomli_w
from click.testing import CliRunner

from bus.events import SweepCompleted
from observer.archive.lake.layout import path_of, version_path
from observer.archive.lake.sealing import seal_days
from observer.base.errors import BackupFailedError
from observer.base.instance import Instance
from observer.cli.app import command_line
from observer.store.owner import claim
from tests.archive.scene import GO_ON
from tests.archive.stored import DAY, NEXT_DAY, append, database_rows, day_of, lake_rows, remove_sealed
from tests.folders import short_folder

MARKET = "kr_stocks"
POSITION = ["stream", "sequence"]


class Scene(msgspec.Struct):
    """A folder with a configuration, and a database with two sealed days; only the lake has the first one's trades."""

    folder: Path
    url: str

    @property
    def lake(self):
        return self.folder / "data/lake"

    def typed(self, *words):
        return CliRunner().invoke(command_line(), [*words, "--config", str(self.folder / "observer.toml")])

    def trades(self):
        """In both places, each row once."""
        sealed = lake_rows([path_of(self.lake, "trades", MARKET, day) for day in (DAY, NEXT_DAY)], POSITION)
        stored = [row for day in (DAY, NEXT_DAY) for row in database_rows(self.url, "trades", day, POSITION)]
        return len({*sealed, *stored})


@pytest.fixture
def scene():
    with short_folder() as folder:
        found = Scene(folder, f"sqlite:///{folder}/data/observer.db")
        run = {"data": str(folder / "data"), "runtime": str(folder / "run"), "universe": str(folder / "universe")}
        (folder / "run").mkdir(mode=0o700)
        (folder / "observer.toml").write_text(tomli_w.dumps({"run": run, "store": {"url": found.url}}))
        claim(found.url, Instance(), ["kis"], 1)
        append(found.url, *day_of(market=MARKET), *day_of(NEXT_DAY, symbols=1, each=5, market=MARKET))
        for _ in seal_days(found.lake, found.url, MARKET, [DAY, NEXT_DAY], lambda: 1, GO_ON, remove=[DAY]):
            pass
        remove_sealed(found.url, found.lake)
        yield found


def test_database_and_lake_are_lost_and_both_come_back(scene):
    assert scene.typed("backup", "now").exit_code == 0
    assert scene.typed("backup", "verify").stdout.splitlines()[-1] == "lake: whole"
    shutil.rmtree(scene.lake)
    (scene.folder / "data/observer.db").unlink()
    shown = scene.typed("backup", "restore")
    assert (shown.exit_code, "puts back 6 files of the lake, of 2 days" in shown.stdout) == (1, True)
    assert not scene.lake.exists()
    done = scene.typed("backup", "restore", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert len(msgspec.json.decode(done.stdout)["lake"]["files"]) == 6
    assert scene.trades() == 65
    assert scene.typed("lake", "verify", "--all").exit_code == 0


@pytest.mark.slow  # `test_backup_lake.py` puts a lost lake back
def test_the_lake_alone_is_put_back(scene):
    scene.typed("backup", "now")
    before = (scene.folder / "data/observer.db").read_bytes()
    shutil.rmtree(scene.lake)
    failed = scene.typed("backup", "now")
    assert isinstance(failed.exception, BackupFailedError)
    assert f"the lake has no more {DAY}, {NEXT_DAY}: `observer backup restore --lake`" in str(failed.exception)
    shown = scene.typed("backup", "restore", "--lake")
    assert shown.exit_code == 1
    assert "Nothing was changed" in shown.stdout
    done = scene.typed("backup", "restore", "--lake", "--yes")
    assert (done.exit_code, done.stdout) == (0, "put back 6 files of the lake, of 2 days\n")
    assert scene.trades() == 65
    assert (scene.folder / "data/observer.db").read_bytes() == before
    assert scene.typed("backup", "now").exit_code == 0


def test_a_damaged_copy_is_named_by_verification_and_by_the_restore(scene):
    scene.typed("backup", "now")
    copy = version_path(scene.folder / "data/backup/lake/main", "trades", MARKET, DAY, 1)
    content = copy.read_bytes()
    copy.unlink()
    copy.write_bytes(content[:100] + b"x" + content[101:])
    verified = scene.typed("backup", "verify")
    assert (verified.exit_code, "is damaged: its digest differs" in verified.stderr) == (1, True)
    shutil.rmtree(scene.lake)
    done = scene.typed("backup", "restore", "--lake", "--yes")
    assert done.exit_code == 1
    assert "put back 3 files of the lake, of 1 days" in done.stdout
    assert f"{DAY}: its rows are in the lake alone, and neither the lake nor its copy has it" in done.stderr


@pytest.mark.slow  # `test_backup_lake.py` has what is not put back
def test_a_restore_names_what_still_lacks_and_is_no_success(scene):
    """A version that came after the backup, and is in no copy."""
    scene.typed("backup", "now")
    append(scene.url, *day_of(NEXT_DAY, symbols=1, each=1, market=MARKET))
    for _ in seal_days(scene.lake, scene.url, MARKET, [NEXT_DAY], lambda: 2, GO_ON):
        pass
    first = version_path(scene.lake, "trades", MARKET, DAY, 1)
    lost = version_path(scene.lake, "trades", MARKET, NEXT_DAY, 2)
    for path in (first, lost, *(path_of(scene.lake, "trades", MARKET, day) for day in (DAY, NEXT_DAY))):
        path.unlink()
    for words in (["--lake", "--yes"], ["--lake", "--yes"], ["--yes"]):
        done = scene.typed("backup", "restore", *words)
        assert done.exit_code == 1, done.output
        assert done.stderr.count(f"{lost} is gone, which has the trades of {NEXT_DAY}: mount the lake") == 1
        assert first.exists(), "what the copy has is put back"


def test_a_version_without_a_copy_is_put_back_from_the_glob_s_file(scene):
    scene.typed("backup", "now")
    shutil.rmtree(scene.folder / "data/backup/lake")
    path = version_path(scene.lake, "trades", MARKET, DAY, 1)
    path.unlink()
    done = scene.typed("backup", "restore", "--lake", "--yes")
    assert (done.exit_code, done.stdout) == (0, "put back 1 files of the lake, of 1 days\n"), done.output
    assert scene.typed("lake", "verify", "--all").exit_code == 0


def test_a_day_is_not_forgotten_that_a_copy_has(scene):
    scene.typed("backup", "now")
    for path in (version_path(scene.lake, "trades", MARKET, DAY, 1), path_of(scene.lake, "trades", MARKET, DAY)):
        path.unlink()
    words = ["lake", "forget", DAY, "--yes"]
    assert "has a copy of 2026-11-18: `observer backup restore --lake --yes`" in str(scene.typed(*words).exception)
    append(scene.url, SweepCompleted("kis", DAY, 2, 2, 3, 1, 1, 0))  # its snapshot is in no database
    shutil.rmtree(scene.lake)
    assert "has a copy of 2026-11-18: `observer backup restore --lake --yes`" in str(scene.typed(*words).exception)
    away = shutil.move(scene.folder / "data/backup/lake", scene.folder / "away")
    assert f"{scene.folder}/data/backup/lake/main, which is not there" in scene.typed(*words[:-1]).stdout
    assert scene.typed(*words).exit_code == 0
    shutil.move(away, scene.folder / "data/backup/lake")
    assert scene.typed("backup", "restore", "--lake", "--yes").exit_code == 0
    assert scene.trades() == 65
    assert [line["is_forgotten"] for line in msgspec.json.decode(scene.typed("lake", "status", "--json").stdout)] == [
        False,
        False,
    ]
