"""`observer lake`: a day is sealed, listed and verified by a person, and mistakes are answered in one line."""

import json
import signal
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest
import tomli_w
from click.testing import CliRunner

from observer.archive.day import path_of, version_path
from observer.archive.lock import locked
from observer.archive.sealing import seal_days
from observer.archive.settings import TARGET_VARIABLES
from observer.base.errors import ConfigError, DataFileError, LakeInUseError, MissingKeysError, NoDataError, TargetError
from observer.base.extras import install_command
from observer.cli.app import command_line
from observer.cli.removed import require_hot
from observer.system.config import load_settings
from tests.archive.object_stores import KEYS
from tests.archive.stored import DAY, NEXT_DAY, append, day_of, make_stored, remove_sealed
from tests.builders import trade
from tests.waiting import DEADLINE_S, until
from tests.whole.running import OBSERVER

MARKET = "kr_stocks"


class Scene(msgspec.Struct):
    """A folder with a configuration and a database with one day of 60 trades."""

    folder: Path
    url: str

    @property
    def configuration(self):
        return str(self.folder / "observer.toml")

    @property
    def lake(self):
        return self.folder / "data/lake"

    def configure(self, **sections):
        """Write the configuration, with these sections besides."""
        run = {"data": str(self.folder / "data"), "runtime": str(self.folder / "run")}
        Path(self.configuration).write_text(tomli_w.dumps({"run": run, "store": {"url": self.url}, **sections}))

    def typed(self, *words):
        return CliRunner().invoke(command_line(), ["lake", *words, "--config", self.configuration])


@pytest.fixture
def scene(tmp_path):
    url = make_stored(tmp_path, *day_of(market=MARKET))
    scene = Scene(tmp_path, url)
    scene.configure()
    return scene


def test_a_day_is_sealed_listed_and_verified(scene):
    sealed = scene.typed("seal", DAY)
    assert sealed.exit_code == 0, sealed
    assert sealed.stdout.startswith("2026-11-18: sealed trades, sweeps, universes; 62 rows, ")
    assert path_of(scene.lake, "trades", MARKET, DAY).exists()
    assert scene.typed("seal").stdout.startswith("2026-11-18: unchanged since it was sealed, 62 rows")
    [listed] = json.loads(scene.typed("status", "--json").stdout)
    assert (listed["session_date"], listed["is_sealed"], listed["rows"], listed["version"]) == (DAY, True, 62, 1)
    whole = scene.typed("verify", DAY)
    assert whole.stdout == "2026-11-18: whole, 62 rows of 3 kinds, 62 compared with the database\n"


def test_all_finished_days_are_sealed_in_their_order(scene):
    append(scene.url, *day_of(NEXT_DAY, market=MARKET, symbols=1), trade(99, symbol="000010"))
    lines = json.loads(scene.typed("seal", "--all", "--json").stdout)
    assert [(line["session_date"], line["rows"]) for line in lines] == [(DAY, 63), (NEXT_DAY, 22)]


def test_each_day_has_its_line_and_the_last_line_has_the_sums(scene):
    assert scene.typed("seal", "--all").stdout.splitlines()[-1] == "1 day: 1 sealed, 0 unchanged"
    append(scene.url, *day_of(NEXT_DAY, market=MARKET, symbols=1))
    lines = scene.typed("seal", "--all").stdout.splitlines()
    assert lines[0].startswith("[1/2] 2026-11-18: unchanged since it was sealed, 62 rows, ")
    assert lines[1].startswith("[2/2] 2026-11-19: sealed trades, sweeps, universes; 22 rows, ")
    assert lines[2:] == ["2 days: 1 sealed, 1 unchanged"]


def test_the_lines_of_the_other_days_are_there_when_a_day_is_wrong(scene):
    append(scene.url, *day_of("2026-11-17", market="other", symbols=1))
    failed = scene.typed("seal", "--all")
    assert isinstance(failed.exception, DataFileError)
    assert failed.stdout.splitlines()[-1] == "2 days: 1 sealed, 0 unchanged, 1 not"
    assert [line["session_date"] for line in json.loads(scene.typed("seal", "--all", "--json").stdout)] == [DAY]


def test_the_status_says_where_a_day_s_rows_are(scene):
    append(scene.url, *day_of(NEXT_DAY, market=MARKET, symbols=1))
    seal_and_allow(scene)
    assert database_of(scene) == [("removing", 60), ("hot", 0)]
    assert "60 left" in scene.typed("status").stdout
    remove_sealed(scene.url, scene.lake)
    assert database_of(scene) == [("removed", 0), ("hot", 0)]
    assert scene.typed("verify", DAY).stdout == "2026-11-18: whole, 62 rows of 3 kinds, 2 compared with the database\n"


def database_of(scene):
    return [(line["database"], line["rows_left"]) for line in json.loads(scene.typed("status", "--json").stdout)]


def seal_and_allow(scene):
    list(seal_days(scene.lake, scene.url, MARKET, [DAY], lambda: 1, threading.Event(), remove=[DAY]))


@pytest.mark.parametrize("words", [["exports", "rebuild", DAY], ["coverage", DAY]])
def test_a_command_that_needs_removed_rows_says_that_they_were_removed_and_what_reads_them(scene, words):
    append(scene.url, *day_of(NEXT_DAY, market=MARKET, symbols=1))
    seal_and_allow(scene)
    failed = CliRunner().invoke(command_line(), [*words, "--config", scene.configuration])
    assert isinstance(failed.exception, NoDataError)
    assert str(failed.exception).startswith("the rows of 2026-11-18 were removed from the database ([store] keep_days)")


def test_a_day_s_decisions_are_not_recomputed_beside_removed_days_that_they_compare_with(scene):
    append(scene.url, *day_of(NEXT_DAY, market=MARKET, symbols=1))
    seal_and_allow(scene)
    settings = load_settings(Path(scene.configuration))
    require_hot(settings, NEXT_DAY)
    list(seal_days(scene.lake, scene.url, MARKET, [NEXT_DAY], lambda: 1, threading.Event()))
    with pytest.raises(NoDataError, match="the rows of 2026-11-18 were removed"):
        require_hot(settings, NEXT_DAY, before=1)


def test_the_recount_of_the_doctor_adds_the_rows_of_the_lake(scene):
    seal_and_allow(scene)
    remove_sealed(scene.url, scene.lake)
    words = ["doctor", "--recount", "--json", "--config", scene.configuration]
    found = json.loads(CliRunner().invoke(command_line(), words).stdout)
    [rows] = [each for each in found if each["check"] == "rows"]
    assert rows["text"] == "2 rows and 60 in the lake alone, as the event streams' marks say"


def test_a_stored_day_that_is_not_sealed_is_listed_with_the_command(scene):
    assert "no: `observer lake seal 2026-11-18`" in scene.typed("status").stdout


def test_a_damaged_lake_is_exit_status_1(scene):
    scene.typed("seal")
    version_path(scene.lake, "trades", MARKET, DAY, 1).write_bytes(b"PAR1")
    failed = scene.typed("verify", "--all")
    assert failed.exit_code == 1
    assert "1.parquet" in failed.stderr


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["seal", "2026-11-17"], NoDataError, "2026-11-17 is not stored"),
        (["seal", DAY, "--all"], ConfigError, "give a day or --all, not both"),
        (["verify", DAY], NoDataError, "2026-11-18 is not sealed in "),
        (["verify", "--all"], NoDataError, "no day is sealed in "),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(scene, words, error, text):
    failed = scene.typed(*words)
    assert isinstance(failed.exception, error)
    assert text in str(failed.exception)


def test_a_day_that_is_not_over_is_not_sealed(scene):
    append(scene.url, *day_of("2999-01-01", market=MARKET, symbols=1))
    failed = scene.typed("seal", "2999-01-01")
    assert "2999-01-01 is not over" in str(failed.exception)


def test_a_second_process_waits_for_nothing(scene):
    with locked(scene.lake):
        failed = scene.typed("seal")
    assert isinstance(failed.exception, LakeInUseError)


def test_without_the_extra_the_remedy_is_one_line(scene):
    blocked = "import sys; sys.modules['pyarrow'] = None; from observer.cli.app import main; main()"
    words = [OBSERVER.replace("observer", "python"), "-c", blocked, "lake", "status", "--config", scene.configuration]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    [line] = ended.stderr.splitlines()
    assert line == f"observer: pyarrow not installed: {install_command('lake')}"
    assert ended.returncode == 2


# --- the object store ---


@pytest.fixture
def published(scene, server, monkeypatch):
    """The scene with a sealed day, a target that is empty, and its keys in the environment."""
    url = server.make_bucket(f"bucket-{abs(hash(scene.folder)):x}")
    scene.configure(lake={"target": url, "endpoint": server.endpoint})
    for name, value in zip(TARGET_VARIABLES, (KEYS.access_key, KEYS.secret_key), strict=True):
        monkeypatch.setenv(name, value)
    scene.typed("seal")
    return scene


def target_of(scene):
    return [line["target"] for line in json.loads(scene.typed("status", "--json").stdout)]


def test_a_day_is_published_listed_and_verified(published):
    assert target_of(published) == ["no"]
    done = published.typed("publish")
    assert done.exit_code == 0, done
    first, last = done.stdout.splitlines()
    assert first.startswith("2026-11-18: published, 62 rows, ")
    assert last == "1 sealed days: 1 published now, 0 were there"
    assert published.typed("publish").stdout == "1 sealed days: 0 published now, 1 were there\n"
    assert target_of(published) == ["published"]
    assert " published " in published.typed("status").stdout
    assert ", also at s3://bucket-" in published.typed("verify", DAY).stdout
    append(published.url, trade(99, symbol="000020"))
    published.typed("seal")
    assert target_of(published) == ["behind"]
    differs = published.typed("verify", DAY)
    assert differs.exit_code == 1
    assert f"2026-11-18 has another state there: `observer lake publish {DAY}`" in differs.stderr
    assert [line["rows"] for line in json.loads(published.typed("publish", DAY, "--json").stdout)] == [63]


def test_a_lost_object_store_hides_nothing_else(published):
    published.configure(lake={"target": "s3://bucket/x", "endpoint": "http://127.0.0.1:9"})
    listed = published.typed("status")
    assert listed.stderr.startswith("what is published is unknown: s3://bucket/x does not answer as it should: ")
    assert "2026-11-18" in listed.stdout
    failed = published.typed("publish")
    assert isinstance(failed.exception, TargetError)
    for text in (listed.output, str(failed.exception)):
        assert KEYS.secret_key not in text


def test_keys_that_are_missing_are_one_line_with_the_remedy(published, monkeypatch):
    monkeypatch.delenv(TARGET_VARIABLES[0])
    failed = published.typed("publish")
    assert isinstance(failed.exception, MissingKeysError)
    assert "set OBSERVER_LAKE_ACCESS_KEY and OBSERVER_LAKE_SECRET_KEY" in str(failed.exception)


def test_without_a_target_there_is_nothing_to_publish(scene):
    scene.typed("seal")
    assert 'add target = "s3://BUCKET/PREFIX" to [lake]' in str(scene.typed("publish").exception)
    assert "2026-11-17 is not sealed" in str(scene.typed("publish", "2026-11-17").exception)


@pytest.mark.slow
def test_ctrl_c_ends_a_sealing_in_order(scene):
    append(scene.url, *(trade(number, symbol="000040") for number in range(1, 60_000)))
    words = [OBSERVER, "lake", "seal", "--config", scene.configuration]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        until((scene.lake / "_staging").exists, "the sealing runs")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "observer: the sealing of 2026-11-18 was interrupted"
