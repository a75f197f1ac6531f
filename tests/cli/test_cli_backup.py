"""`observer backup` where no system runs: packages are made, listed, verified and restored by the command itself."""

import shutil
import signal
import sys
import time
import uuid
from pathlib import Path

import msgspec
import pytest
import tomli_w
from click.testing import CliRunner

from bus.commands import Done, Refused, RunJob, StatusReply, UnderWay
from bus.endpoints import Endpoints
from bus.events import UniverseBuilt
from bus.outbox import Outbox
from observer.archive.backup import back_up, plan_of
from observer.archive.settings import BackupSettings
from observer.base.clock import CLOCK_VARIABLE, ScaledClock
from observer.base.errors import BackupFailedError, ConfigError, DataFileError, NoDataError
from observer.base.instance import Instance
from observer.base.remedies import REMEDIES
from observer.base.settings import RunSettings
from observer.base.units import NS_PER_DAY
from observer.cli.app import command_line
from observer.demo.configuration import DAY
from observer.store.digest import digest
from observer.store.owner import claim
from observer.supervisor.instance import InstanceLock
from tests.archive.scene import GO_ON, NOW_NS, STREAM, commit
from tests.archive.stored import append
from tests.builders import trades
from tests.cli.test_cli_control import answering
from tests.cli.typed import command
from tests.folders import short_folder
from tests.privileges import at_work
from tests.store.raw import query
from tests.waiting import until


class Scene(msgspec.Struct):
    """A folder with a configuration and a database with a hundred trades."""

    folder: Path
    url: str

    def typed(self, *words):
        arguments = ["backup", *words, "--config", str(self.folder / "observer.toml")]
        return CliRunner().invoke(command_line(), arguments)

    def packages(self):
        return sorted(path.name for path in (self.folder / "data/backup").glob("2*"))

    def configure(self, **backup):
        document = {
            "run": {
                "data": str(self.folder / "data"),
                "runtime": str(self.folder / "run"),
                "universe": str(self.folder / "universe"),
            },
            "store": {"url": self.url},
            "backup": backup,
        }
        (self.folder / "observer.toml").write_text(tomli_w.dumps(document))


@pytest.fixture
def scene():
    with short_folder() as folder:
        found = Scene(folder, f"sqlite:///{folder}/data/observer.db")
        (folder / "data").mkdir()
        (folder / "run").mkdir(mode=0o700)
        (folder / "universe").mkdir()
        (folder / "universe" / "day.json").write_text("{}")
        found.configure()
        claim(found.url, Instance(), ["kis"], 1)
        commit(found.url, 100)
        yield found


def test_a_package_is_made_listed_and_verified(scene):
    made = scene.typed("now")
    assert made.exit_code == 0, made.output
    [name] = scene.packages()
    assert made.stdout.startswith(f"{scene.folder}/data/backup/{name}: 100 events, ")
    [listed] = msgspec.json.decode(scene.typed("list", "--json").stdout)
    assert (listed["name"], listed["kind"], listed["events"], listed["problem"]) == (name, "manual", 100, "")
    assert listed["verified_ns"] is not None
    table = scene.typed("list").stdout
    assert name in table
    assert scene.typed("verify").stdout == f"{name}: whole\n"
    (scene.folder / "data/backup" / name / "universe/day.json").write_text("[]")
    damaged = scene.typed("verify", name)
    assert (damaged.exit_code, damaged.stderr) == (1, f"{name}: universe/day.json is damaged: its digest differs\n")
    assert "no: `observer backup verify`" in " ".join(scene.typed("list").stdout.split())
    [found] = msgspec.json.decode(scene.typed("verify", "--all", "--json").stdout)
    assert found["problems"] == ["universe/day.json is damaged: its digest differs"]


@pytest.mark.parametrize(("days_later", "settings"), [(0, {}), (1, {}), (1, {"day_files": False})])
def test_a_package_of_a_stopped_system_writes_the_day_files_of_days_that_are_over_unless_they_are_left_out(
    scene, monkeypatch, days_later, settings
):
    append(scene.url, UniverseBuilt("kis", "kr_stocks", DAY.isoformat(), "2026-11-17", 1, 3, 3, 0.0))
    scene.configure(**settings)
    clock = ScaledClock(NOW_NS + days_later * NS_PER_DAY, time.monotonic_ns(), 1.0)
    monkeypatch.setenv(CLOCK_VARIABLE, clock.to_variable())
    assert scene.typed("now").exit_code == 0
    written = {path.name for path in (scene.folder / "data/observer").rglob(f"{DAY:%Y%m%d}/*.csv")}
    assert written == ({"trades.csv"} if days_later and not settings else set())


def test_a_restore_shows_first_what_it_would_do(scene):
    scene.typed("now")
    commit(scene.url, 50, after=100)
    [name] = scene.packages()
    shown = scene.typed("restore")
    assert shown.exit_code == 1
    assert f"package {name}: 100 events, whole" in shown.stdout
    assert f"replaces {scene.url}, which has 150 events and is kept beside it" in shown.stdout
    assert f"Nothing was changed. To do it: observer backup restore {name} --yes" in shown.stdout
    assert query(scene.url, "SELECT count(*) FROM trades") == [(150,)]


def test_a_restore_puts_the_database_back_and_delivers_what_the_outboxes_hold(scene):
    scene.typed("now")
    before = digest(scene.url).tables["trades"].digest
    outbox = Outbox(scene.folder / "run/outbox/track-b", "track-b", uuid.uuid4().hex)
    outbox.append(trades(30, 1))
    outbox.close(delivered=False)
    (scene.folder / "data/observer.db").write_bytes(b"damaged " * 100)
    (scene.folder / "universe/day.json").unlink()
    done = scene.typed("restore", "--yes", "--json")
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode(done.stdout)
    assert (report["events"], report["delivered"], report["undelivered"], report["losses"]) == (100, 30, 0, [])
    assert Path(report["kept_aside"]).read_bytes() == b"damaged " * 100
    assert Path(report["kept_aside"]).name.startswith("observer.db.replaced-")
    assert report["files"] == [str(scene.folder / "universe/day.json")]
    assert query(scene.url, "SELECT count(*) FROM trades") == [(130,)]
    assert digest(scene.url).tables["trades"].digest != before


def test_events_of_the_replaced_database_that_no_outbox_has_are_stated_as_lost(scene):
    scene.typed("now")
    commit(scene.url, 50, after=100)
    done = scene.typed("restore", "--yes")
    assert done.exit_code == 1
    assert "0 events were delivered again" in done.stdout
    assert f"50 events are lost: stream {STREAM}, 101 to 150: in the replaced database alone" in done.stderr


def test_a_damaged_package_is_not_restored(scene):
    scene.typed("now")
    [name] = scene.packages()
    path = scene.folder / "data/backup" / name / "database.sqlite3"
    content = path.read_bytes()
    path.write_bytes(content[:5000] + b"\xff" + content[5001:])
    before = (scene.folder / "data/observer.db").read_bytes()
    refused = scene.typed("restore", name, "--yes")
    assert isinstance(refused.exception, DataFileError)
    assert "is damaged, nothing was restored: database.sqlite3" in str(refused.exception)
    assert str(refused.exception).endswith(f": {REMEDIES['package damaged']}")
    refused = scene.typed("restore", "--yes")
    assert isinstance(refused.exception, NoDataError)
    assert "no whole package is in" in str(refused.exception)
    assert "and the database is: `observer backup now` makes one" in str(refused.exception)
    assert (scene.folder / "data/observer.db").read_bytes() == before


def test_a_package_is_unpacked_elsewhere_without_touching_the_system(scene):
    scene.typed("now")
    target = scene.folder / "elsewhere"
    done = scene.typed("restore", "--to", str(target))
    assert done.exit_code == 0, done.output
    assert query(f"sqlite:///{target}/database.sqlite3", "SELECT count(*) FROM trades") == [(100,)]
    assert (target / "universe/day.json").read_text() == "{}"
    again = scene.typed("restore", "--to", str(target))
    assert isinstance(again.exception, ConfigError)
    assert "is not empty" in str(again.exception)


def test_a_package_on_a_second_target_is_restored_by_its_folder(scene):
    (target := scene.folder / "nas").mkdir()
    scene.configure(copy_to=str(target))
    scene.typed("now")
    [name] = scene.packages()
    shutil.rmtree(scene.folder / "data/backup")
    assert scene.typed("verify", str(target / name)).exit_code == 0
    commit(scene.url, 50, after=100)
    scene.typed("restore", str(target / name), "--yes")
    assert query(scene.url, "SELECT count(*) FROM trades") == [(100,)]


def test_ctrl_c_ends_the_command_in_order(scene):
    started = scene.folder / "started"
    program = f"import time; open({str(started)!r}, 'w'); time.sleep(600)"
    scene.configure(command=[sys.executable, "-c", program, "{package}"])
    with at_work(command("backup", "now", "--config", scene.folder / "observer.toml"), scene.folder) as process:
        until(started.exists, "the command runs")
        process.send(signal.SIGINT)
        assert process.wait() == 130
        [line] = process.errors.splitlines()
    assert line.startswith("observer: [backup] command")
    assert line.endswith("was interrupted")


def test_the_package_of_a_time_is_the_newest_up_to_then(scene):
    scene.typed("now")
    commit(scene.url, 50, after=100)
    scene.typed("now")
    assert len(scene.packages()) == 2
    assert isinstance(scene.typed("restore", "--at", "2001-01-01").exception, NoDataError)
    assert "150 events, whole" in scene.typed("restore", "--at", "2100-01-01T09:00").stdout
    assert isinstance(scene.typed("restore", "--at", "soon").exception, ConfigError)
    assert isinstance(scene.typed("restore", "20010101T000000-daily").exception, ConfigError)


def test_a_package_of_another_instance_is_refused(scene):
    scene.typed("now")
    [name] = scene.packages()
    document = (scene.folder / "observer.toml").read_text()
    (scene.folder / "observer.toml").write_text(document + '[instance]\nname = "second"\n')
    assert isinstance(scene.typed("restore", "--yes").exception, NoDataError)
    refused = scene.typed("restore", name, "--yes")
    assert isinstance(refused.exception, ConfigError)
    assert "the package is of instance 'main'" in str(refused.exception)


def test_without_a_package_the_command_that_makes_one_is_named(scene):
    for words in (("list",), ("verify",), ("restore",)):
        assert "`observer backup now` makes one" in str(scene.typed(*words).exception)


def test_a_second_target_that_is_absent_leaves_the_package_and_fails_the_command(scene):
    scene.configure(copy_to=str(scene.folder / "unmounted"))
    failed = scene.typed("now")
    assert isinstance(failed.exception, BackupFailedError)
    assert "there is no such folder; mount it" in str(failed.exception)
    assert len(scene.packages()) == 1


@pytest.mark.parametrize(
    ("last", "exit_code", "said"),
    [
        (Done("core-writer", "backup: made"), 0, ""),
        (Refused("failed", "2 is whole, but: no route"), 1, "no route (failed)"),
    ],
    ids=["done", "the command failed"],
)
def test_with_a_running_system_the_command_waits_for_everything_that_is_done_with_the_package(
    scene, last, exit_code, said
):
    polls = 0

    def answer(request):
        nonlocal polls
        if not isinstance(request, RunJob):
            return StatusReply([], "IDLE", 0, 1, 2.0)
        if not request.arguments:
            return UnderWay("backup is running")
        polls += 1
        if polls == 1:  # the package is whole, its copy is under way
            url = scene.url
            back_up(
                plan_of(BackupSettings(), RunSettings(data=str(scene.folder / "data")), Instance(), url, None),
                "manual",
                NOW_NS,
                GO_ON,
            )
        return Refused("busy", "a job runs") if polls < 4 else last

    lock = InstanceLock(Endpoints(scene.folder / "run").runtime_directory)
    with answering(scene.folder, answer) as asked:
        made = scene.typed("now")
    lock.release()
    assert made.exit_code == exit_code
    assert polls == 4
    assert [each.arguments for each in asked if isinstance(each, RunJob)] == [[], *[["result"]] * 4]
    [name] = scene.packages()
    assert (name in made.stdout) == (exit_code == 0)
    assert said in str(made.exception)
